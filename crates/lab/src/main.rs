//! `picket-lab`: the lab's tools for people. Reads the command line, nothing else.

use clap::{Parser, Subcommand};
use picket_lab::{
    autoscaled, bench, containers, demo, guest, hosts, icon, image, monitoring, page, soak, stop, tunnels::carry,
};
use std::process::ExitCode;
use tokio::runtime::Runtime;

#[derive(Parser)]
#[command(name = "picket-lab", version, about = "Hosts in network namespaces, to try Picket on one machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job end to end with real packets
    Demo(demo::Args),
    /// Measure the real programs, beside plain WireGuard
    Bench(bench::Args),
    /// Let a mesh run for long with random faults, and look whether anything breaks or grows
    Soak(soak::Args),
    /// Have the group that Terraform made in moto come up as machines, serve and go: `cargo xtask test --terraform` runs it
    #[command(hide = true)]
    Autoscaled(autoscaled::Args),
    /// Take booted machines from nothing to a mesh with Ansible, and through their lives
    Hosts(hosts::Args),
    /// Take hosts from nothing to a mesh with our images and compose files: `cargo xtask test --containers` runs it
    #[command(hide = true)]
    Containers(containers::Args),
    /// Run a program in a virtual machine with Debian's kernel, which has WireGuard: `cargo xtask test --kernel` does
    #[command(hide = true)]
    Guest(guest::Args),
    /// Make the image of a sentry by our Packer template, and start a machine with it: `cargo xtask test --hosts` does
    #[command(hide = true)]
    Image(image::Args),
    /// Look at a mesh with a real Prometheus and Alertmanager, by our rules and dashboards
    Monitoring(monitoring::Args),
    /// Show the status page to a real browser and look what comes of it: `cargo xtask test --page` runs it
    #[command(hide = true)]
    Page(page::Args),
    /// Serve a made-up ICON chain to controllers
    Icon(icon::Args),
    /// Carry one WireGuard device with our engine, for benches and tests
    #[command(hide = true)]
    Carry(carry::Args),
    /// Remove the namespaces, processes and files of labs that died without cleaning up
    Clean {
        /// What this very process made, before it became this command.
        #[arg(long, hide = true)]
        own: bool,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let held = match Cli::parse().command {
        Command::Demo(args) => demo::run(args)?,
        Command::Autoscaled(args) => autoscaled::run(&args)?,
        Command::Soak(args) => soak::run(args)?,
        Command::Hosts(args) => hosts::run(&args)?,
        Command::Containers(args) => containers::run(&args)?,
        Command::Guest(args) => guest::run(&args)?,
        Command::Image(args) => image::run(&args)?,
        Command::Monitoring(args) => monitoring::run(&args)?,
        Command::Page(args) => page::run(&args)?,
        Command::Bench(args) => done(bench::run(&args)?),
        Command::Icon(args) => done(Runtime::new()?.block_on(icon::run(args))?),
        Command::Carry(args) => done(Runtime::new()?.block_on(carry::run(args))?),
        Command::Clean { own: true } => return Ok(ExitCode::from(stop::clean_own()?)),
        Command::Clean { .. } => {
            let removed = picket_lab::clean_left_overs()?;
            removed.iter().for_each(|name| println!("removed {name}"));
            if removed.is_empty() {
                println!("nothing to clean");
            }
            true
        }
    };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What has no verdict holds when it has ended.
const fn done((): ()) -> bool {
    true
}
