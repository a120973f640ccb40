//! Named steps at which a debug build can be made to die, as `kill -9` would end it: the crash matrix in `tests/it/crash_matrix.rs`
//! names one in `CHATLAKE_DIE_AT`. At other places it can be made to panic, once. A release build has none of this.

/// Every step that is marked, in the order in which they come in their stories.
pub const STEPS: [&str; 35] = [
    "commit.files_whole",
    "build.rewritten",
    "build.compacted",
    "commit.begun",
    "commit.inserted",
    "commit.done",
    "keep.written",
    "keep.done",
    "unchanged.written",
    "unchanged.done",
    "accept.written",
    "accept.done",
    "end.done",
    "retain.dropped",
    "retain.done",
    "sweep.dropped",
    "sweep.file_gone",
    "sweep.done",
    "revert.run_written",
    "revert.inserted",
    "revert.done",
    "delete_version.dropped",
    "delete_version.done",
    "backfill.asked",
    "backfill.chunk_queued",
    "backfill.chunk_counted",
    "backfill.stopped",
    "backfill.cancelled",
    "backfill.resumed",
    "notify.written",
    "notify.gathered",
    "notify.message",
    "notify.taken_up",
    "notify.delivered",
    "notify.settled",
];

/// Ends the process here and now when the environment names this step.
#[cfg(debug_assertions)]
pub fn step(name: &str) {
    debug_assert!(STEPS.contains(&name), "the step {name} is not in the list");
    #[expect(clippy::disallowed_methods, reason = "no setting: only a debug build knows it")]
    let wanted = std::env::var("CHATLAKE_DIE_AT");
    if wanted.is_ok_and(|wanted| wanted == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(debug_assertions))]
pub fn step(_: &str) {}

/// The places at which a run can be made to panic.
pub const STUMBLES: [&str; 3] = ["gather", "read", "save"];

/// Panics here, the first time it is met, when `CHATLAKE_PANIC_AT` names this place.
#[cfg(debug_assertions)]
pub fn stumble(name: &str) {
    static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    debug_assert!(STUMBLES.contains(&name), "the place {name} is not in the list");
    #[expect(clippy::disallowed_methods, reason = "no setting: only a debug build knows it")]
    let wanted = std::env::var("CHATLAKE_PANIC_AT");
    if wanted.is_ok_and(|wanted| wanted == name) && !DONE.swap(true, std::sync::atomic::Ordering::Relaxed) {
        #[expect(clippy::panic, reason = "that is what it is for")]
        {
            panic!("kanarie: what a panic says is not told");
        }
    }
}

#[cfg(not(debug_assertions))]
pub fn stumble(_: &str) {}
