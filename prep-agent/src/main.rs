//! The agent of a validator: composition only.

use picket_model::NodeRole;
use std::process::ExitCode;

fn main() -> ExitCode {
    picket_agent::main(NodeRole::Prep)
}
