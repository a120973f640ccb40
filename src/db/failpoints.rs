//! Failpoints of debug builds. `kill_point` ends the process like `kill -9` at the step named in
//! `CHATLAKE_DIE_AT`; the crash matrix in `tests/faults/crash_matrix/` uses all of them.
//! `panic_point` panics once at the place named in `CHATLAKE_PANIC_AT`. A release build contains
//! none of this.

/// All kill points, in the order in which a server passes them.
pub const KILL_POINTS: [&str; 35] = [
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

/// Ends the process at once if the environment names this step.
#[cfg(debug_assertions)]
pub fn kill_point(name: &str) {
    debug_assert!(
        KILL_POINTS.contains(&name),
        "the step {name} is not in the list"
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting: only a debug build knows it"
    )]
    let wanted = std::env::var("CHATLAKE_DIE_AT");
    if wanted.is_ok_and(|wanted| wanted == name) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(debug_assertions))]
pub fn kill_point(_: &str) {}

/// All panic points of a run.
pub const PANIC_POINTS: [&str; 3] = ["batch_wait", "read", "save"];

/// Panics on the first call with the name in `CHATLAKE_PANIC_AT`.
#[cfg(debug_assertions)]
pub fn panic_point(name: &str) {
    static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    debug_assert!(
        PANIC_POINTS.contains(&name),
        "the place {name} is not in the list"
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting: only a debug build knows it"
    )]
    let wanted = std::env::var("CHATLAKE_PANIC_AT");
    if wanted.is_ok_and(|wanted| wanted == name)
        && !DONE.swap(true, std::sync::atomic::Ordering::Relaxed)
    {
        #[expect(clippy::panic, reason = "that is what it is for")]
        {
            panic!("kanarie: the text of a panic is not shown");
        }
    }
}

#[cfg(not(debug_assertions))]
pub fn panic_point(_: &str) {}
