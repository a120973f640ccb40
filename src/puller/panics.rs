//! A panic in a run ends that run. The error names the source position and leaves out the panic
//! message, which may contain rows or secrets.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use futures_util::FutureExt;

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// Where this thread last panicked. Read right after the panic was caught, on the thread that
    /// caught it.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that stores the source position of each panic, and then calls the previous
/// hook.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let at = panic
                .location()
                .map(|at| format!("{}:{}", short(at.file()), at.line()));
            // The thread local is not available on a thread that is ending.
            let _ = LAST_PANIC.try_with(|last| last.replace(at));
            before(panic);
        }));
    });
}

/// The path of a dependency's file without the directories of the build machine.
fn short(file: &str) -> &str {
    file.split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(file, |(_, file)| file)
}

/// Converts a panic in `future` to an error with its source position. The future of a run is large,
/// so it is moved to the heap; otherwise each caller's future contains it and the stack overflows.
pub(super) fn guarded<T>(
    future: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    let future = AssertUnwindSafe(Box::pin(future)).catch_unwind();
    async move {
        future.await.unwrap_or_else(|_| {
            let at = LAST_PANIC
                .with(RefCell::take)
                .unwrap_or_else(|| "an unknown location".to_owned());
            Err(Error::new(
                ErrorKind::Internal,
                "internal",
                format!("Chatlake stopped because of an internal error at {at}."),
            )
            .with_log_cause("a panic"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_only_by_its_source_position() {
        install_hook();
        let broken = guarded(async {
            if true {
                panic!("kanarie");
            }
            Ok(())
        });
        let error = broken.await.unwrap_err();
        assert!(
            error.message().contains("at src/puller/panics.rs:"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("kanarie"));
        assert_eq!(guarded(async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(
            short("/home/x/.cargo/registry/src/index-1/arrow-1/src/a.rs"),
            "arrow-1/src/a.rs"
        );
    }
}
