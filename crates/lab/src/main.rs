//! `picket-lab`: the lab's tools for people. Reads the command line, nothing else.

use clap::{Parser, Subcommand};
use picket_lab::icon;
use tokio::runtime::Runtime;

#[derive(Parser)]
#[command(name = "picket-lab", version, about = "Hosts in network namespaces, to try Picket on one machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a made-up ICON chain to controllers
    Icon(icon::Args),
    /// Remove the namespaces, processes and files of labs that died without cleaning up
    Clean,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Icon(args) => Runtime::new()?.block_on(icon::run(args)),
        Command::Clean => {
            let removed = picket_lab::clean_left_overs()?;
            removed.iter().for_each(|name| println!("removed {name}"));
            if removed.is_empty() {
                println!("nothing to clean");
            }
            Ok(())
        }
    }
}
