//! Parses the arguments and calls the command.

use std::process::ExitCode;

/// Gives memory back to the system after a peak, which the one of the C library keeps for its threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chatlake::cli::run()
}
