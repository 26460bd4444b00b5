//! The status page in a real browser: real programs that hide two validators, something to show in every view, and the driver of a
//! browser, which is told where it finds all that. What it looks for, and how, is the driver's (`tests/page`).

mod issuer;

use crate::{Host, LabError, Output, clean_left_overs, mesh::Internet, mesh::SOON, stop, wait_until};
use issuer::Issuer;
use picket_model::PrepId;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::OpenOptionsExt as _, path::PathBuf, process::Command, time::Duration};

/// How a run is done.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interpreter that the driver runs in.
    #[arg(long)]
    python: PathBuf,
    /// The driver.
    #[arg(long)]
    driver: PathBuf,
    /// What sets an identity provider up and starts it.
    #[arg(long)]
    issuer: PathBuf,
    /// Where pictures go.
    #[arg(long)]
    pictures: PathBuf,
    /// Take pictures and look at nothing else.
    #[arg(long)]
    pictures_only: bool,
}

/// How long it may take to the end of a step once somebody wants to stop.
const IN_ORDER: Duration = Duration::from_secs(5);
/// Sentries: enough that one may go.
const SENTRIES: u8 = 3;
/// P-Reps that leave the list at once: more than the brakes let through.
const LEAVING: usize = 40;
/// A name that somebody may register.
const HOSTILE: &str = "<img src=x onerror=alert(1)></td><script>alert(1)</script>";

/// Runs the driver; whether all that it looked for was there.
///
/// # Errors
/// What keeps the mesh from coming up, or the driver from being run.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let _stop = stop::on_signal(IN_ORDER)?;
    clean_left_overs()?;
    let mut internet = Internet::started("page", SENTRIES)?;
    let mesh = &mut internet.mesh;
    let mut issuer = None;
    if !args.pictures_only {
        issuer = Some(Issuer::start(mesh, &args.python, &args.issuer)?);
        name_one(mesh, HOSTILE);
        wait_until("the hostile name to be in the set", SOON, || {
            let view = mesh.controller.validators().map_err(|error| error.to_string())?;
            let is_there = view.validators.iter().any(|validator| validator.name == HOSTILE);
            if is_there { Ok(()) } else { Err("it is not".to_owned()) }
        })?;
    }
    // What a host counts first is how its tunnels came up.
    wait_until("hosts to report that no probe is lost", SOON * 4, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let paths = nodes.iter().filter_map(|view| view.report.as_ref()?.paths.as_ref());
        let lost = paths.flat_map(|paths| paths.sentries.values()).filter(|way| way.lost_permille > 0).count();
        if lost == 0 { Ok(()) } else { Err(format!("{lost} ways lose some")) }
    })?;
    let leaving: Vec<PrepId> = last_preps(mesh);
    for prep in leaving {
        mesh.chain.remove(prep);
    }
    wait_until("the brakes to hold the list back", SOON, || {
        let view = mesh.controller.validators().map_err(|error| error.to_string())?;
        view.held.map(drop).ok_or_else(|| "nothing is held".to_owned())
    })?;
    let mut told = told(&mut internet)?;
    told["issuer"] = issuer.as_ref().map_or(Value::Null, Issuer::told);
    let file = internet.mesh.lab.folder().join("page.json");
    // It has tokens in it.
    let mut open = fs::OpenOptions::new();
    let mut written = open.write(true).create_new(true).mode(0o600).open(&file)?;
    std::io::Write::write_all(&mut written, told.to_string().as_bytes())?;
    let mut driver = Command::new(&args.python);
    driver.arg(&args.driver).arg(&file).arg(&args.pictures).args(args.pictures_only.then_some("--pictures-only"));
    Ok(driver.status()?.success())
}

/// What the driver needs to know.
fn told(internet: &mut Internet) -> Result<Value, LabError> {
    let mesh = &mut internet.mesh;
    let tokens = ["admin", "viewer"].map(|role| {
        let output = mesh.controller.picket(&["operator", "create", "--role", role])?;
        token(&output)
    });
    let [admin, viewer] = tokens;
    let hosts: Vec<&Host> =
        mesh.agents().map(|agent| &agent.host).chain(mesh.validators.iter().map(|v| &v.host)).collect();
    let mut addresses = Vec::new();
    for host in hosts {
        addresses.extend([host.v4(0)?.ip().to_string(), host.v6(0)?.ip().to_string()]);
    }
    for view in mesh.controller.nodes()? {
        addresses.extend([view.node.overlay.v4.to_string(), view.node.overlay.v6.to_string()]);
    }
    let public = mesh.controller.public_page()?;
    Ok(json!({
        "page": format!("http://{}", mesh.controller.page()?),
        "public": format!("http://{public}"),
        "admin": admin?,
        "viewer": viewer?,
        "addresses": addresses,
    }))
}

/// The token in a context file.
fn token(output: &Output) -> Result<String, LabError> {
    let text = output.clone().success()?;
    let file: toml::Table = text.parse().map_err(|_| LabError::Unexpected { found: "no context file".to_owned() })?;
    let token = file.get("token").and_then(toml::Value::as_str);
    token.map(str::to_owned).ok_or_else(|| LabError::Unexpected { found: "a context file without a token".to_owned() })
}

/// One P-Rep that stays calls itself so.
fn name_one(mesh: &crate::mesh::Mesh, name: &str) {
    let mut preps = mesh.chain.state().preps;
    if let Some(one) = preps.get_mut(LEAVING / 2) {
        one.insert("name".to_owned(), name.into());
    }
    mesh.chain.set_preps(preps);
}

/// P-Reps of nobody in the lab.
fn last_preps(mesh: &crate::mesh::Mesh) -> Vec<PrepId> {
    let preps = mesh.chain.state().preps;
    preps.iter().rev().take(LEAVING).filter_map(|entry| entry.get("address")?.as_str()?.parse().ok()).collect()
}
