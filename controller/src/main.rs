//! `picket-controller`: see `cli`.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Takes less time than glibc's with thousands of hosts, and gives freed memory back (docs/decisions/0047).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match picket_controller::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
