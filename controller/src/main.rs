//! `picket-controller`: see `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match picket_controller::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
