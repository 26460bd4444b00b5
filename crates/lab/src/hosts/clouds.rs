//! New machines that become members by themselves, by what `picket cloud-init` wrote and by Debian's own cloud-init: one in a booted
//! container that waits for its token, one in a virtual machine that AWS vouches for, and a validator's that Google does. No secret is in what they are given.

use super::{
    instance::{self, Cloud, Running},
    packages,
    site::{P2P, PORTS, Site, UNGUARDED},
};
use crate::{
    Connect, Host, Machine,
    cloud::{Instance, Signer, aws_certificate, jwks},
    command::said,
    guarded::{self, IN_FORCE, tried},
    steps::Seen,
    wait_until,
};
use anyhow::{Context as _, Result, ensure};
use picket_model::Timestamp;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

/// What join tokens begin with.
const TOKEN: &str = "picket1.";
/// Where a machine without a cloud that vouches for it waits for one.
const TOKEN_FILE: &str = "/etc/picket/join-token";
/// Begins the names of these machines.
const NAME: &str = "edge";
/// Where they find packages.
const REPOSITORY: &str = "srv/packages";
const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";
const IMAGE: &str = "ami-0123456789abcdef0";
const INSTANCE: &str = "i-00000000000000c16";
const PROJECT: &str = "my-project";
const NUMBER: &str = "4570452845155348778";
/// Where the controller's machine has the keys of those whose word it takes.
const KEYS: &str = "/etc/picket/aws.pem";
const GOOGLES_KEYS: &str = "/etc/picket/google.json";
/// From power-on to a member where the processor is emulated: two or three minutes, on a loaded machine more.
const EMULATED: Duration = Duration::from_secs(900);

/// The token comes by other means when the machine is up; until then it is closed.
pub(super) fn no_cloud(site: &mut Site) -> Seen {
    let user_data = user_data(site, "sentry", &["--cloud", "nocloud"])?;
    let host = place(site, "nocloud", 23)?;
    let mut machine = bare(site, &host, "picket-sentry-agent")?;
    machine.write("var/lib/cloud/seed/nocloud/user-data", &user_data)?;
    machine.write("var/lib/cloud/seed/nocloud/meta-data", "instance-id: nocloud-1\nlocal-hostname: nocloud-1\n")?;
    let began = Instant::now();
    machine.boot()?;
    let said = machine.run(&["cloud-init", "status", "--long", "--wait"])?;
    is_done(&(said.stdout + &said.stderr), "DataSourceNoCloud")?;
    let took = began.elapsed();
    for to in machine.ports(P2P) {
        tried(&site.mesh.stranger, to, &Connect::Filtered)?;
        tried(&site.mesh.admin, to, &Connect::Open)?;
    }
    tried(site.validator()?, machine.ports(P2P)[0], &Connect::Filtered)?;
    let token = site.picket(&["token", "create", "--role", "sentry"])?;
    let put = format!("umask 077; echo '{}' > {TOKEN_FILE}", token.trim());
    machine.run(&["sh", "-c", &put])?.success()?;
    let name = format!("{NAME}-nocloud-1");
    let joined = joined(site, &machine, &name, IN_FORCE, || Ok(()))?;
    guarded::tunnel_carries(site.prep_host()?, &site.members()?, &name)?;
    ensure!(!machine.run(&["test", "-e", TOKEN_FILE])?.status.success(), "the token lies there still");
    Ok(format!(
        "cloud-init done {:.1} s after power-on, closed; in force {:.1} s after its token came; {TELLS}",
        took.as_secs_f64(),
        joined.as_secs_f64()
    ))
}

/// By its instance's document, with nothing else; its tunnels are the kernel's.
pub(super) fn ec2(site: &mut Site) -> Seen {
    let lines = format!(
        "\n[attest]\naws_certificates = {{ {REGION} = \"{KEYS}\" }}\n\n[[enroll]]\nname = \"edge\"\nproof = \"aws-document\"\n\
         account = \"{ACCOUNT}\"\nregions = [\"{REGION}\"]\nimages = [\"{IMAGE}\"]\nrole = \"sentry\"\nnames = \"{NAME}-*\"\nmax_nodes = 2\n"
    );
    let fingerprint = believe(site, KEYS, &aws_certificate(0, 2020, 2120), &lines)?;
    let user_data = user_data(site, "sentry", &["--cloud", "aws", "--ca", &fingerprint])?;
    let host = place(site, "ec2", 25)?;
    let machine = bare(site, &host, "picket-sentry-agent")?;
    let running =
        instance::switch_on(&site.mesh.lab, &host, &machine, Cloud::Aws, instance(ACCOUNT, INSTANCE), user_data)?;
    let name = format!("{NAME}-{INSTANCE}");
    let seen = came(site, &machine, &running, &name, "DataSourceEc2Local")?;
    guarded::tunnel_carries(site.prep_host()?, &site.members()?, &name)?;
    Ok(format!("{seen}; {TELLS}"))
}

/// A validator's: by the token of its metadata server, with nothing else; its tunnels are the kernel's.
pub(super) fn gce(site: &mut Site) -> Seen {
    let lines = format!(
        "\n[[attest.issuers]]\nproof = \"gcp\"\nissuer = \"https://accounts.google.com\"\njwks = \"{GOOGLES_KEYS}\"\n\n[[enroll]]\n\
         name = \"validators\"\nproof = \"gcp\"\naccount = \"{PROJECT}\"\nrole = \"prep\"\nnames = \"{NAME}-*\"\nmax_nodes = 2\n"
    );
    let fingerprint = believe(site, GOOGLES_KEYS, &jwks(&[&Signer::rsa("gcp", 1)]), &lines)?;
    let node = "http://127.0.0.1:9000";
    let user_data = user_data(site, "prep", &["--cloud", "gcp", "--ca", &fingerprint, "--goloop", node])?;
    let host = place(site, "gce", 24)?;
    let machine = bare(site, &host, "picket-prep-agent")?;
    let running =
        instance::switch_on(&site.mesh.lab, &host, &machine, Cloud::Gcp, instance(PROJECT, NUMBER), user_data)?;
    let name = format!("{NAME}-{NUMBER}");
    let seen = came(site, &machine, &running, &name, "DataSourceGCELocal")?;
    let asks = site.ansible.on(machine.ports(0)[0].ip(), "systemctl show --property=Environment picket-prep-agent")?;
    ensure!(asks.contains(node), "its agent does not ask its node: {asks}");
    let sentry = &site.mesh.sentries.first().context("no sentry")?.host;
    guarded::tunnel_carries(sentry, &site.members()?, &name)?;
    Ok(format!("{seen}; validators reach it, strangers do not, the sentry's tunnel to it carries"))
}

/// The controller has these lines more, and the keys that they name. What hosts know it by.
fn believe(site: &Site, path: &str, keys: &str, lines: &str) -> Result<String> {
    let believe = format!(
        "cat > {path} <<'END'\n{}\nEND\ncat >> /etc/picket/controller.toml <<'END'\n{lines}END\nsystemctl restart picket-controller",
        keys.trim_end()
    );
    site.controller.run(&["sh", "-e", "-c", &believe])?.success()?;
    site.controller_answers()?;
    Ok(site.controller.run(&["picket-controller", "fingerprint"])?.success()?.trim().to_owned())
}

/// Launched now.
fn instance(account: &str, id: &str) -> Instance {
    let now = Timestamp::from(SystemTime::now()).as_millis() / 1000 * 1000;
    Instance {
        account: account.to_owned(),
        region: REGION.to_owned(),
        image: IMAGE.to_owned(),
        id: id.to_owned(),
        launched_at: Timestamp::from_millis(now),
    }
}

/// It became a member, cloud-init knew its cloud, and its tunnels are the kernel's.
fn came(site: &Site, machine: &Machine, running: &Running, name: &str, source: &str) -> Result<String> {
    let inside = |command: &str| site.ansible.on(machine.ports(0)[0].ip(), command);
    let took = joined(site, machine, name, EMULATED, || Ok(running.must_run()?))
        .with_context(|| format!("its console ends with\n{}", running.console()))?;
    let status = wait_until("cloud-init to be done", EMULATED, || {
        let status = inside("cloud-init status --long").map_err(|error| format!("{error:#}"))?;
        if status.contains("status: running") { Err(status) } else { Ok(status) }
    })?;
    is_done(&status.value, source)?;
    let kernel = inside("uname -r")?;
    let tunnel = inside("ip -details link show dev picket0")?;
    ensure!(tunnel.contains("wireguard"), "its tunnels are not the kernel's: {tunnel}");
    let (took, kernel) = (took.as_secs_f64(), kernel.trim());
    Ok(format!("in force {took:.0} s after power-on, emulated, by WireGuard of Linux {kernel}"))
}

/// What was seen of a sentry.
const TELLS: &str = "validators reach it, strangers do not, the P-Rep's tunnel to it carries";

/// The user data of a host, as the operator's program writes them.
fn user_data(site: &Site, role: &str, more: &[&str]) -> Result<String> {
    let url = format!("https://{}", site.controller.ports(7443)[0]);
    let mut program = Command::new(site.ansible.path("picket/usr/bin/picket"));
    program.args(["cloud-init", role, "--controller", &url, "--name", NAME]).args(more);
    let text = said(program.args(site.admin().iter().flat_map(|network| ["--admin", network])))?;
    ensure!(!text.contains(TOKEN), "there is a join token in the user data:\n{text}");
    Ok(text)
}

fn place(site: &Site, name: &str, last: u8) -> Result<Host> {
    let addresses = [format!("203.0.113.{last}/24"), format!("2001:db8:1::{last}/64")];
    Ok(addresses.iter().fold(site.mesh.lab.host(name), |host, address| host.address(address)).create()?)
}

/// A machine as a cloud starts it: nothing of ours is there, and apt knows where our packages are.
fn bare(site: &Site, host: &Host, agent: &str) -> Result<Machine> {
    let machine = Machine::instance(host, &PORTS, &site.ansible.public_key()?)?;
    let package = packages::file(&site.packages, agent)?;
    let file = package.file_name().context("a package without a name")?.to_string_lossy().into_owned();
    let to = machine.path(&format!("{REPOSITORY}/{file}"))?;
    fs::copy(&package, &to).with_context(|| format!("copy {}", package.display()))?;
    machine.write(&format!("{REPOSITORY}/Packages"), &packages::entry(&package, &file)?)?;
    machine.write("etc/apt/sources.list", &format!("deb [trusted=yes] file:/{REPOSITORY} ./\n"))?;
    Ok(machine)
}

/// cloud-init came to its end without an error, and found out by itself where it is.
fn is_done(said: &str, source: &str) -> Result<()> {
    ensure!(said.contains("status: done") && said.contains(source), "cloud-init: {said}");
    Ok(())
}

/// Waits until the machine is a member under this name and in force, and looks at it by packets. How long that took.
fn joined(
    site: &Site,
    machine: &Machine,
    name: &str,
    within: Duration,
    look: impl Fn() -> Result<()>,
) -> Result<Duration> {
    let began = Instant::now();
    wait_until(&format!("{name} to be in force"), within, || {
        look().map_err(|error| format!("{error:#}"))?;
        let members = site.members().map_err(|error| format!("{error:#}"))?;
        let found = members.iter().find(|view| view.node.name.as_str() == name).ok_or("it is no member")?;
        if found.in_force && found.connected { Ok(()) } else { Err(format!("{found:?}")) }
    })?;
    let took = began.elapsed();
    let [v4, v6] = machine.ports(P2P);
    for to in [v4, v6] {
        tried(&site.mesh.stranger, to, &Connect::Filtered)?;
        tried(&site.mesh.admin, to, &Connect::Open)?;
    }
    tried(site.validator()?, v4, &Connect::Open)?;
    tried(&site.mesh.stranger, machine.ports(UNGUARDED)[0], &Connect::Open)?;
    Ok(took)
}
