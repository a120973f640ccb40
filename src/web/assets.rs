//! Stylesheet, scripts and icons: embedded, compressed, and cached forever at a path that contains
//! their hash.

use std::sync::LazyLock;

use axum::Router;
use memory_serve::{CacheControl, MemoryServe};

fn embedded() -> MemoryServe {
    memory_serve::load!()
        .index_file(None)
        .cache_control(CacheControl::Long)
        .enable_hashed_routes(true)
}

/// The routes of the files below `/static`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    embedded().into_router()
}

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let manifest = embedded().manifest();
    let mut served: Vec<&str> = manifest.iter().map(|(_, served)| served).collect();
    served.sort_unstable();
    // Each served name contains the hash of its file; a few characters of each identify the build.
    served
        .iter()
        .filter_map(|name| name.split('.').rev().nth(1))
        .map(|hash| hash.get(..6).unwrap_or(hash))
        .collect()
});

/// A version that changes whenever one of the files changes.
pub fn version() -> &'static str {
    &VERSION
}
