//! The complete example applied to moto, read back, planned again, brought to life, and destroyed; and checkov over all of it. moto,
//! AWS's command line and checkov are of PyPI, in environments under the build folder.

use super::tools::Terraform;
use crate::{
    demo::{self, Build},
    machine,
    outcome::Outcome,
    python::environment,
    step,
};
use anyhow::{Context, Result, ensure};
use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// Each in an environment of its own: what they need contradicts itself.
const MOTO: (&str, &[&str]) = ("moto-5.2.2", &["moto[server]==5.2.2"]);
const CHECKOV: (&str, &[&str]) = ("checkov-3.3.30", &["checkov==3.3.30"]);
const COMMAND_LINE: (&str, &[&str]) = ("awscli-1.46.2", &["awscli==1.46.2"]);
/// What moto prints once it does.
const LISTENS: &str = "Running on";

/// moto's server; it ends with this value.
struct Moto {
    child: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Moto {
    fn start(python: &Path, log: &Path) -> Result<Self> {
        // Free now; nobody else here asks for ports by number.
        let address = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.local_addr()?;
        let mut log = fs::File::create(log).with_context(|| format!("write {}", log.display()))?;
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut moto = Self { child: child.context("start moto")?, url: format!("http://{address}") };
        let mut said = BufReader::new(moto.child.stderr.take().context("hear moto")?);
        let mut line = String::new();
        while !line.contains(LISTENS) {
            line.clear();
            ensure!(said.read_line(&mut line).context("hear moto")? > 0, "moto ended and did not listen");
        }
        thread::spawn(move || io::copy(&mut said, &mut log));
        Ok(moto)
    }

    /// A program that takes moto for AWS, and can reach no other.
    fn instead_of_aws<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", "nobody")
            .env("AWS_SECRET_ACCESS_KEY", "nothing")
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
    }
}

/// The input that is known after the first apply.
const FINGERPRINT: &str = "ca_fingerprint";

/// Applies `examples/complete`, looks at what came of it, has it come to life, and takes it away again.
pub(super) fn apply(
    root: &Path,
    terraform: &Terraform,
    scratch: &Path,
    work: &Path,
    outcome: &mut Outcome,
) -> Result<()> {
    let Some(python) = environment(scratch, MOTO)? else {
        outcome.not_run("apply: moto cannot be installed from PyPI");
        return Ok(());
    };
    let moto = Moto::start(&python, &scratch.join("moto.log"))?;
    let folder = work.join("examples/complete");
    let tests = work.join("tests");
    fs::copy(tests.join("provider_override.tf"), folder.join("provider_override.tf"))
        .context("copy provider_override.tf")?;
    let inputs = fs::read_to_string(tests.join("complete.tfvars")).context("read complete.tfvars")?;
    let before: String = inputs.split_inclusive('\n').filter(|line| !line.starts_with(FINGERPRINT)).collect();
    ensure!(before.len() < inputs.len(), "complete.tfvars has no {FINGERPRINT}");
    let write = |text: &str| fs::write(folder.join("terraform.tfvars"), text).context("write terraform.tfvars");
    let mut run = |what: &str, arguments: &[&str]| -> Result<bool> {
        let mut command = terraform.command(&folder, arguments);
        let held = step::run(what, moto.instead_of_aws(&mut command))?;
        Ok(outcome.of(what, held))
    };
    let look = |arguments: &[&str]| -> Result<bool> {
        let mut command = Command::new(&python);
        command.arg(tests.join("cloud.py")).args(arguments).current_dir(&folder);
        step::run(&format!("cloud.py {}", arguments.join(" ")), moto.instead_of_aws(&mut command))
    };
    ensure!(look(&["prepare"])?, "moto has no image, or takes no certificate");
    // In two steps, as the example's README has it: the fingerprint is known once there is a controller.
    write(&before)?;
    let begun = run("apply to moto: network and controller", &["apply", "-auto-approve"])?;
    write(&inputs)?;
    let applied = begun && run("apply to moto: sentries and hooks", &["apply", "-auto-approve"])?;
    let planned = applied && run("plan again", &["plan", "-out", "again.tfplan"])?;
    let mut show = terraform.command(&folder, &["show", "-json", "again.tfplan"]);
    let plan = if planned { show.output().context("read the plan")?.stdout } else { Vec::new() };
    fs::write(folder.join("again.json"), plan).context("write the plan")?;
    if applied {
        outcome.of("what AWS would show", look(&["made"])?);
    }
    if planned {
        outcome.of("only known drift", look(&["drift", "again.json"])?);
    }
    if applied {
        alive(root, scratch, &moto, &python, &tests, outcome)?;
    }
    let mut destroy = terraform.command(&folder, &["destroy", "-auto-approve"]);
    let destroyed = step::run("destroy", moto.instead_of_aws(&mut destroy))?;
    outcome.of("destroy leaves nothing", destroyed && look(&["gone"])?);
    Ok(())
}

/// The controllers' scripts with AWS's command line; the group's instances as machines, our programs on them, packets between them.
fn alive(root: &Path, scratch: &Path, moto: &Moto, python: &Path, tests: &Path, outcome: &mut Outcome) -> Result<()> {
    const SCRIPTS: &str = "scripts of the controllers";
    const WHOLE: &str = "the layer as a whole";
    if let Err(why) = machine::prepare().and_then(|()| machine::web_client()) {
        for what in [SCRIPTS, WHOLE] {
            outcome.not_run(format!("{what}: {why:#}"));
        }
        return Ok(());
    }
    match environment(scratch, COMMAND_LINE)? {
        Some(command_line) => {
            let mut scripts = Command::new("unshare");
            scripts.args(["--mount", "--propagation", "private"]).arg(python).arg(tests.join("controllers.py"));
            let folders = env::var_os("PATH").unwrap_or_default();
            let folders = command_line.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&folders));
            scripts.env("PATH", env::join_paths(folders).context("put AWS's command line first in PATH")?);
            let held = step::run(SCRIPTS, moto.instead_of_aws(&mut scripts))?;
            outcome.of(SCRIPTS, held);
        }
        None => outcome.not_run(format!("{SCRIPTS}: AWS's command line cannot be installed from PyPI")),
    }
    let mut lab = demo::lab(root, Build::Dev)?;
    lab.arg("autoscaled").arg("--python").arg(python).arg("--script").arg(tests.join("cloud.py"));
    let held = step::run(WHOLE, moto.instead_of_aws(&mut lab))?;
    outcome.of(WHOLE, held);
    Ok(())
}

/// checkov over modules and examples; what it is told to pass over stands in its configuration, with the reason.
pub(super) fn checkov(root: &Path, scratch: &Path, outcome: &mut Outcome) -> Result<()> {
    let Some(python) = environment(scratch, CHECKOV)? else {
        outcome.not_run("checkov: it cannot be installed from PyPI");
        return Ok(());
    };
    let mut command = Command::new(&python);
    command.args(["-m", "checkov.main", "--config-file", "terraform/tests/checkov.yaml"]).current_dir(root);
    let held = step::run("checkov", command.env("LOG_LEVEL", "ERROR"))?;
    outcome.of("checkov", held);
    Ok(())
}
