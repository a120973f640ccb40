//! Parses the arguments and calls the command.

use std::process::ExitCode;

/// Gives memory back to the system after a peak, which the one of the C library keeps for its threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, which keep 2 MiB for a few kilobytes. Without them a server at rest needs half the memory.
    // A kernel that cannot turn them off changes nothing but that.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    chatlake::cli::run()
}
