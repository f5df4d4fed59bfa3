//! The `tandem` binary.

use std::process::ExitCode;

use clap::Parser as _;
use tandem::cli::Cli;

/// A call makes hundreds of small allocations that end on other threads than they began on. On
/// the system's allocator they took a seventh of the node's time and left its memory in pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With huge pages a sparsely used arena costs whole pages of 2 MiB: half of an idle node's
    // memory. Where the kernel has no such setting there is nothing to switch off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    Cli::parse().run()
}
