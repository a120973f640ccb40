//! Pins: marks of readers that prevent the deletion of a version and its segments.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Version, Versions};
use crate::ids::{SegmentId, VersionId};

/// The versions and segments in use.
#[derive(Default)]
pub(super) struct Pins {
    /// The versions in use, each with its number of users. All users share one `Version`, because
    /// its list of segments can be large.
    pub versions: HashMap<VersionId, (usize, Arc<Version>)>,
    pub segments: HashMap<SegmentId, usize>,
}

/// A version in use. Neither retention nor the sweep deletes it before the pin is dropped.
pub struct Pin {
    version: Arc<Version>,
    pins: Arc<Mutex<Pins>>,
}

impl Deref for Pin {
    type Target = Version;

    fn deref(&self) -> &Version {
        &self.version
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.pins);
        let Some((count, _)) = pins.versions.get_mut(&self.version.id) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        pins.versions.remove(&self.version.id);
        for segment in &self.version.segments {
            if let Some(count) = pins.segments.get_mut(&segment.id) {
                *count -= 1;
                if *count == 0 {
                    pins.segments.remove(&segment.id);
                }
            }
        }
    }
}

pub(super) fn lock(pins: &Mutex<Pins>) -> MutexGuard<'_, Pins> {
    pins.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Versions {
    /// Keeps the rows of a version readable until the pin is dropped.
    pub fn pin(&self, version: &Version) -> Pin {
        let mut pins = lock(&self.pins);
        if let Some((count, version)) = pins.versions.get_mut(&version.id) {
            *count += 1;
            return Pin {
                version: version.clone(),
                pins: self.pins.clone(),
            };
        }
        for segment in &version.segments {
            *pins.segments.entry(segment.id.clone()).or_default() += 1;
        }
        let version = Arc::new(version.clone());
        pins.versions
            .insert(version.id.clone(), (1, version.clone()));
        Pin {
            version,
            pins: self.pins.clone(),
        }
    }
}
