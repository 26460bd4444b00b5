//! Whole machines: a small Debian under its own systemd, with our units as packages ship them. A stranger knocks without a
//! rest, from before power-on to the end, and nothing that is guarded ever answers.

use crate::{
    boot::FullDisk,
    support::{ANSWERED, GUARDED, UNGUARDED, dropped, open, small_mesh},
};
use picket_lab::{
    Heard, Host, Knocks, Machine, install_program,
    mesh::{Agent, Mesh, SOON, without_meters},
    wait_until,
};
use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

const SSH: u16 = 22;
/// What a repair by the agent takes at most, on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(1);
const AGENT: &str = "picket-prep-agent";

/// The validator's host of a mesh as a machine that is off. Its firewall was in force before, so it is in the ledger.
fn machine(mesh: &mut Mesh) -> Machine {
    machine_of(&mut mesh.preps[0], &mesh.stranger)
}

/// The same of the host of any agent.
fn machine_of(agent: &mut Agent, stranger: &Host) -> Machine {
    agent.kill();
    let ports: Vec<u16> = GUARDED.into_iter().chain([UNGUARDED]).collect();
    let mut machine = Machine::new(&agent.host, &ports).unwrap();
    machine.install(agent).unwrap();
    machine.known_to(stranger).unwrap();
    machine
}

/// What a stranger knocks on: guarded ports in both families, and last, in both, one that nobody guards.
fn targets(machine: &Machine) -> [SocketAddr; 6] {
    let [[p2p4, p2p6], [unguarded4, unguarded6]] = [GUARDED[0], UNGUARDED].map(|port| machine.ports(port));
    [p2p4, p2p6, machine.ports(GUARDED[1])[0], machine.ports(GUARDED[2])[0], unguarded4, unguarded6]
}

fn knock(mesh: &Mesh, machine: &Machine) -> Knocks {
    mesh.stranger.knock(&targets(machine)).unwrap()
}

/// No guarded port answered a single knock, and the others say that knocks came through at all, in each family.
fn nothing_answered(heard: &Heard, machine: &Machine, case: &str) {
    let [guarded @ .., unguarded4, unguarded6] = targets(machine);
    let since = |knock: &Instant| knock.saturating_duration_since(heard.sent[0]);
    for port in guarded {
        let answered: Vec<_> = heard.answered(port).iter().map(since).collect();
        assert!(answered.is_empty(), "{case}: {port} answered {} knocks: {answered:?}", answered.len());
    }
    for unguarded in [unguarded4, unguarded6] {
        let (answered, sent) = (heard.answered(unguarded).len(), heard.sent.len());
        assert!(answered > 50, "{case}: {unguarded} answered {answered} of {sent} knocks");
        println!("{case}: {sent} rounds of knocks, {answered} answered by {unguarded}, which nobody guards");
    }
}

fn systemctl(machine: &Machine, args: &[&str]) {
    let output = machine.run(&[&["systemctl"], args].concat()).unwrap();
    if !output.status.success() {
        let journal = machine.run(&["journalctl", "--no-pager", "--lines=40"]).unwrap().stdout;
        panic!("{output:?}\n{journal}");
    }
}

fn wait_active(machine: &Machine, unit: &str) {
    wait_until(&format!("{unit} to be active"), SOON, || {
        let said = machine.run(&["systemctl", "is-active", unit]).map_err(|error| error.to_string())?.stdout;
        if said == "active\n" { Ok(()) } else { Err(said) }
    })
    .unwrap();
}

/// sshd itself says its name.
fn ssh_greets(from: &Host, to: SocketAddr) {
    let greeting = wait_until("sshd to greet", SOON, || {
        from.inside(|| {
            let mut stream = TcpStream::connect_timeout(&to, ANSWERED)?;
            stream.set_read_timeout(Some(ANSWERED))?;
            let mut greeting = [0; 7];
            stream.read_exact(&mut greeting).map(|()| greeting)
        })
        .unwrap()
    });
    assert_eq!(&greeting.unwrap().value, b"SSH-2.0");
}

/// As it is to be with what was confirmed last: in for validators and the operator, out for strangers.
fn is_guarded(mesh: &Mesh, machine: &Machine) {
    let [v4, v6] = machine.ports(GUARDED[0]);
    for to in [v4, v6] {
        open(&mesh.admin, to);
        dropped(&mesh.stranger, to);
    }
    open(&mesh.validators[0].host, v4);
    open(&mesh.stranger, machine.ports(UNGUARDED)[0]);
}

/// Starts a machine in each way there is, and does to its agent what happens in an agent's life.
fn starts_and_lives(mesh: &Mesh, machine: &mut Machine, agent: &str) {
    for boot in ["power on", "reboot", "power cut"] {
        let began = Instant::now();
        match boot {
            "reboot" => machine.reboot().unwrap(),
            "power cut" => {
                machine.cut_power().unwrap();
                machine.boot().unwrap();
            }
            _ => machine.boot().unwrap(),
        }
        println!("{boot}: up after {:?}", began.elapsed());
        wait_active(machine, agent);
        is_guarded(mesh, machine);
        ssh_greets(&mesh.stranger, machine.ports(SSH)[0]);
    }
    mesh.wait_in_force().unwrap();
    let unit = format!("{agent}.service");
    for args in [["stop", &unit], ["start", &unit], ["restart", &unit], ["kill", &unit], ["restart", "picket-lockdown"]]
    {
        systemctl(machine, &args);
        is_guarded(mesh, machine);
    }
    systemctl(machine, &["kill", "--signal=SIGKILL", &unit]);
    is_guarded(mesh, machine);
    wait_active(machine, &unit);
}

#[test]
fn a_machine_is_closed_from_the_first_moment_of_its_network_and_stays_so() {
    let mut mesh = small_mesh("booted");
    let mut machine = machine(&mut mesh);
    let knocks = knock(&mesh, &machine);
    starts_and_lives(&mesh, &mut machine, AGENT);
    // A package puts another program in the place of the one that runs, and starts it.
    let program = format!("/usr/bin/{AGENT}");
    machine.run(&["cp", &program, "/usr/bin/new"]).unwrap().success().unwrap();
    machine.run(&["mv", "/usr/bin/new", &program]).unwrap().success().unwrap();
    systemctl(&machine, &["daemon-reload"]);
    systemctl(&machine, &["restart", AGENT]);
    mesh.wait_in_force().unwrap();
    is_guarded(&mesh, &machine);
    nothing_answered(&knocks.end().unwrap(), &machine, "boots and an agent's life");
}

#[test]
fn a_sentrys_machine_is_closed_from_the_first_moment_of_its_network_and_stays_so() {
    let mut mesh = small_mesh("booted sentry");
    let mut machine = machine_of(&mut mesh.sentries[0], &mesh.stranger);
    let knocks = knock(&mesh, &machine);
    starts_and_lives(&mesh, &mut machine, "picket-sentry-agent");
    mesh.wait_in_force().unwrap();
    is_guarded(&mesh, &machine);
    // It is what a sentry is for: the validator's tunnel is back.
    mesh.wait_for_tunnels().unwrap();
    nothing_answered(&knocks.end().unwrap(), &machine, "boots and the life of a sentry's agent");
}

/// How long a stranger was let in while `disturb` was done and put right.
fn window(mesh: &Mesh, machine: &Machine, case: &str, disturb: impl FnOnce()) -> Duration {
    let knocks = knock(mesh, machine);
    disturb();
    wait_until("our table to be in the kernel", SOON, || mesh.preps[0].rules_in_kernel()).unwrap();
    is_guarded(mesh, machine);
    let heard = knocks.end().unwrap();
    let [guarded @ .., _, _] = targets(machine);
    let window = guarded.iter().filter_map(|port| heard.window(*port)).max();
    let knocks: usize = guarded.iter().map(|port| heard.answered(*port).len()).sum();
    println!("{case}: {knocks} knocks let in, within {:?}", window.unwrap_or_default());
    if knocks == 0 { Duration::ZERO } else { window.unwrap_or_default().max(Duration::from_micros(1)) }
}

/// What nftables.service is to load.
fn theirs_is(machine: &Machine, text: &str) {
    let line = format!("echo '{text}' > /etc/nftables.conf");
    machine.run(&["sh", "-c", &line]).unwrap().success().unwrap();
}

/// Our table without what it counted and met.
fn ruleset(machine: &Machine) -> String {
    without_meters(&machine.run(&["nft", "-s", "list", "table", "inet", "picket"]).unwrap().success().unwrap())
}

/// Where our table cannot be had, and where nft refuses it beside that file, the service loads its own and the host is
/// closed to all but the operator after it. The guard's file cannot be read meanwhile.
fn ends_closed(mesh: &Mesh, machine: &Machine) {
    let closed = |case: &str| {
        let [v4, v6] = machine.ports(GUARDED[0]);
        for to in [v4, v6] {
            open(&mesh.admin, to);
            dropped(&mesh.stranger, to);
        }
        dropped(&mesh.validators[0].host, v4);
        let theirs = machine.run(&["nft", "list", "table", "inet", "theirs"]).unwrap();
        assert!(theirs.status.success(), "{case}: {theirs:?}");
        systemctl(machine, &["reset-failed", "nftables"]);
    };
    theirs_is(machine, "flush ruleset; add table inet theirs");
    systemctl(machine, &["stop", "nftables"]);
    machine.run(&["nft", "delete", "table", "inet", "picket"]).unwrap().success().unwrap();
    // It fails, so that somebody looks: what the host is to have cannot be known.
    assert!(!machine.run(&["systemctl", "start", "nftables"]).unwrap().status.success());
    closed("no table to be had");
    // It takes anything but two files at once.
    let refuses = "#!/bin/sh\ncase \"$*\" in \"-f -\") text=$(cat); case $text in *include*) exit 1;; esac; \
                   printf \"%s\\n\" \"$text\" | exec /usr/sbin/nft.whole -f -;; esac; exec /usr/sbin/nft.whole \"$@\"\n";
    machine.run(&["mv", "/usr/sbin/nft", "/usr/sbin/nft.whole"]).unwrap().success().unwrap();
    let write = format!("cat > /usr/sbin/nft <<'END'\n{refuses}END\nchmod 755 /usr/sbin/nft");
    machine.run(&["sh", "-c", &write]).unwrap().success().unwrap();
    assert!(!machine.run(&["systemctl", "restart", "nftables"]).unwrap().status.success());
    closed("refused beside theirs");
    machine.run(&["mv", "/usr/sbin/nft.whole", "/usr/sbin/nft"]).unwrap().success().unwrap();
    theirs_is(machine, "flush ruleset");
}

#[test]
fn an_nftables_service_that_flushes_leaves_no_open_instant() {
    let mut mesh = small_mesh("nftables");
    let mut machine = machine(&mut mesh);
    machine.enable("nftables.service", None, "sysinit.target").unwrap();
    let knocks = knock(&mesh, &machine);
    machine.boot().unwrap();
    wait_active(&machine, AGENT);
    is_guarded(&mesh, &machine);
    for verb in ["restart", "reload", "stop", "start"] {
        systemctl(&machine, &[verb, "nftables"]);
        is_guarded(&mesh, &machine);
        let theirs = mesh.preps[0].host.nft(&["list", "tables"]).unwrap().contains("inet filter");
        assert_eq!(theirs, verb != "stop", "{verb}: its own file is loaded as ever");
    }
    // The agent does not run, and nobody would repair.
    systemctl(&machine, &["stop", AGENT]);
    systemctl(&machine, &["restart", "nftables"]);
    is_guarded(&mesh, &machine);
    // A file that cannot be loaded changes nothing.
    theirs_is(&machine, "flush ruleset; nonsense");
    assert!(!machine.run(&["systemctl", "restart", "nftables"]).unwrap().status.success());
    is_guarded(&mesh, &machine);
    // systemd starts a unit five times in ten seconds, and then no more.
    systemctl(&machine, &["reset-failed", "nftables"]);
    // One that flushes nothing is loaded beside our table as often as anybody likes, and that stays one table.
    let before = ruleset(&machine);
    theirs_is(&machine, "table inet theirs { chain seen { type filter hook input priority 0; }; }");
    for verb in ["restart", "reload", "reload"] {
        systemctl(&machine, &[verb, "nftables"]);
        is_guarded(&mesh, &machine);
        assert_eq!(ruleset(&machine), before, "{verb}");
        machine.run(&["nft", "list", "table", "inet", "theirs"]).unwrap().success().unwrap();
    }
    systemctl(&machine, &["reset-failed", "nftables"]);
    // Where the agent's program cannot say what is wanted, what the kernel has goes on, in the same transaction.
    theirs_is(&machine, "flush ruleset");
    machine
        .run(&["sh", "-c", "mkdir -p /etc/picket && echo nonsense > /etc/picket/guard.toml"])
        .unwrap()
        .success()
        .unwrap();
    assert!(!machine.run(&[&format!("/usr/bin/{AGENT}"), "rules", "show", "--load"]).unwrap().status.success());
    for verb in ["restart", "reload"] {
        systemctl(&machine, &[verb, "nftables"]);
        is_guarded(&mesh, &machine);
        assert_eq!(ruleset(&machine), before, "{verb} without the agent's word");
    }
    nothing_answered(&knocks.end().unwrap(), &machine, "nftables.service");
    ends_closed(&mesh, &machine);
    machine.run(&["rm", "/etc/picket/guard.toml"]).unwrap().success().unwrap();
    // A host that somebody opened by hand is none of its business.
    machine.run(&[&format!("/usr/bin/{AGENT}"), "release", "--yes"]).unwrap().success().unwrap();
    systemctl(&machine, &["restart", "nftables"]);
    open(&mesh.stranger, machine.ports(GUARDED[0])[0]);
    machine.run(&[&format!("/usr/bin/{AGENT}"), "close"]).unwrap().success().unwrap();
    systemctl(&machine, &["start", AGENT]);
    is_guarded(&mesh, &machine);
    // What happens by hand, and without our part of that unit, is what the agent is there for.
    mesh.wait_in_force().unwrap();
    let flush = || drop(machine.run(&["nft", "flush", "ruleset"]).unwrap().success().unwrap());
    let by_hand = window(&mesh, &machine, "nft flush ruleset", flush);
    let part = "/etc/systemd/system/nftables.service.d/picket.conf";
    machine.run(&["rm", part]).unwrap().success().unwrap();
    systemctl(&machine, &["daemon-reload"]);
    let service = window(&mesh, &machine, "nftables.service without our part", || {
        systemctl(&machine, &["restart", "nftables"]);
    });
    assert!(by_hand < AT_ONCE && service < AT_ONCE, "{by_hand:?} {service:?}");
}

/// A machine that is broken in one way boots: closed at every instant to all but the operator, who also gets in by SSH.
fn boots_closed(mesh: &Mesh, machine: &mut Machine, case: &str) {
    let knocks = knock(mesh, machine);
    machine.boot().unwrap();
    let [v4, v6] = machine.ports(GUARDED[0]);
    for to in [v4, v6] {
        open(&mesh.admin, to);
        dropped(&mesh.stranger, to);
    }
    ssh_greets(&mesh.stranger, machine.ports(SSH)[0]);
    nothing_answered(&knocks.end().unwrap(), machine, case);
}

#[test]
fn a_machine_that_is_broken_boots_closed_and_locks_nobody_out() {
    let mut mesh = small_mesh("broken");
    let mut machine = machine(&mut mesh);
    let admins = ["198.51.100.248/29", "2001:db8:ad::/48"].map(|network| format!("\"{network}\"")).join(", ");
    machine.write("etc/picket/guard.toml", &format!("admin = [{admins}]\n")).unwrap();
    let validator = mesh.validators[0].host.clone();
    let to = machine.ports(GUARDED[0])[0];

    // No room for a byte.
    let disk = FullDisk::over(mesh.preps[0].state_folder());
    boots_closed(&mesh, &mut machine, "full disk");
    open(&validator, to);
    machine.cut_power().unwrap();
    drop(disk);
    let state = mesh.preps[0].state_folder();
    std::fs::remove_dir(state).unwrap();
    std::fs::rename(format!("{state}.before"), state).unwrap();

    // Another program's file that cannot be loaded.
    machine.write("etc/nftables.conf", "flush ruleset\ntable inet filter { nonsense\n").unwrap();
    machine.enable("nftables.service", None, "sysinit.target").unwrap();
    boots_closed(&mesh, &mut machine, "broken nftables.conf");
    open(&validator, to);
    machine.cut_power().unwrap();

    // Nobody but the operator where what was in force cannot be known.
    let ledger = PathBuf::from(mesh.preps[0].state_folder()).join("ledger.json");
    let whole = std::fs::read(&ledger).unwrap();
    std::fs::write(&ledger, &whole[..whole.len() / 2]).unwrap();
    boots_closed(&mesh, &mut machine, "half a ledger");
    dropped(&validator, to);
    machine.cut_power().unwrap();
    std::fs::write(&ledger, &whole).unwrap();

    // No nft, and one that crashes: closed through the kernel itself.
    for (case, nft) in [("no nft", None), ("an nft that crashes", Some("#!/bin/sh\nkill -SEGV $$\n"))] {
        let (program, bytes) = (machine.path("usr/sbin/nft").unwrap(), nft.unwrap_or_default());
        // An empty file that is none to run is one that is there; a folder is none.
        match nft {
            None => std::fs::create_dir(&program).unwrap(),
            Some(_) => {
                std::fs::remove_dir(&program).unwrap();
                let written = machine.path("etc/nft").unwrap();
                std::fs::write(&written, bytes).unwrap();
                install_program(&written, &program).unwrap();
            }
        }
        boots_closed(&mesh, &mut machine, case);
        dropped(&validator, to);
        machine.cut_power().unwrap();
    }

    // Whole again, it is as it was.
    std::fs::remove_file(machine.path("usr/sbin/nft").unwrap()).unwrap();
    boots_closed(&mesh, &mut machine, "whole again");
    wait_active(&machine, AGENT);
    mesh.wait_in_force().unwrap();
    open(&validator, to);
}
