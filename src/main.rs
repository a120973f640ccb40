//! Parses the arguments and runs the command.

use std::process::ExitCode;

/// This allocator returns memory to the system after a peak; that of the C library keeps it per
/// thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Turns off huge pages, which would hold 2 MiB for a few kilobytes. Without them an idle server
    // needs half the memory. Kernels without this option are not affected otherwise.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    chatlake::cli::run()
}
