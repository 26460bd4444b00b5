//! Other programs on the host: what they do to our table is put right when it happens and told with their name, what they
//! do elsewhere costs nothing. Judged by packets: a stranger knocks all the time, an allowed peer's stream runs.

use crate::support::{DROPPED, GUARDED, QUIET, dropped, open, serve_on, small_mesh};
use picket_lab::{
    Host, Stream,
    mesh::{Mesh, SOON},
    wait_until,
};
use picket_model::FirewallRepairs;
use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A repair that takes longer was made by the timer, which comes every 30 s.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long a knock waits for its answer; the resolution of what is measured.
const KNOCK: Duration = Duration::from_millis(1);

/// A stranger that knocks by UDP without a rest.
struct Knocker {
    stop: Arc<AtomicBool>,
    /// When the knocks were sent that were answered.
    answered: JoinHandle<Vec<Duration>>,
}

impl Knocker {
    fn start(stranger: &Host, to: SocketAddr) -> Self {
        let socket = stranger.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(KNOCK)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let answered = std::thread::spawn(move || {
            let (start, mut answered, mut answer) = (Instant::now(), Vec::new(), [0; 8]);
            while !stopped.load(Ordering::Relaxed) {
                let now = u64::try_from(start.elapsed().as_nanos()).unwrap();
                socket.send(&now.to_be_bytes()).unwrap();
                // On a busy machine an answer comes late: what counts is when its knock was let in.
                if socket.recv(&mut answer).is_ok() {
                    answered.push(Duration::from_nanos(u64::from_be_bytes(answer)));
                }
            }
            answered
        });
        Self { stop, answered }
    }

    /// How long it was let in: from the first knock that was answered to the last.
    fn window(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let answered = self.answered.join().unwrap();
        let (first, last) = (answered.iter().min(), answered.iter().max());
        last.zip(first).map_or(Duration::ZERO, |(last, first)| last.saturating_sub(*first))
    }
}

fn repairs(mesh: &Mesh) -> Option<FirewallRepairs> {
    let nodes = mesh.controller.nodes().unwrap();
    let prep = nodes.into_iter().find(|view| view.node.name.as_str() == mesh.preps[0].name()).unwrap();
    prep.report.and_then(|report| report.firewall_repairs)
}

fn count(mesh: &Mesh) -> u64 {
    repairs(mesh).map_or(0, |repairs| repairs.count)
}

/// Waits until the controller was told of so many repairs; the last one.
fn wait_told(mesh: &Mesh, number: u64) -> FirewallRepairs {
    wait_until(&format!("repair {number} to be told"), SOON, || match repairs(mesh) {
        Some(repairs) if repairs.count >= number => Ok(repairs),
        other => Err(format!("{other:?}")),
    })
    .unwrap()
    .value
}

/// Does something to our table and waits until it is as before; prints how long the stranger was let in.
fn repaired(mesh: &Mesh, case: &str, stream: &Stream, disturb: impl FnOnce(&Host)) {
    let prep = &mesh.preps[0];
    let before = prep.rules_in_kernel().unwrap();
    let knocker = Knocker::start(&mesh.stranger, prep.host.v4(GUARDED[0]).unwrap());
    disturb(&prep.host);
    let done = Instant::now();
    wait_until(&format!("{case} to be repaired"), AT_ONCE, || match prep.rules_in_kernel() {
        Ok(text) if text == before => Ok(()),
        Ok(text) => Err(text),
        Err(error) => Err(error.to_string()),
    })
    .unwrap();
    let seen = done.elapsed();
    stream.wait_flowing(SOON).unwrap();
    dropped(&mesh.stranger, prep.host.v4(GUARDED[0]).unwrap());
    println!(
        "{case}: strangers were let in for {:?}; seen repaired {seen:?} after the program ended",
        knocker.window()
    );
}

#[test]
fn what_another_program_does_to_our_table_is_put_right_at_once_and_told() {
    let mesh = small_mesh("drift");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    let (validator, stranger) = (&mesh.validators[0].host, &mesh.stranger);
    let stream = validator.stream(to).unwrap();
    let of = |host: &Host| host.v4(0).unwrap().ip().to_string();
    let cases = [
        ("flush ruleset".to_owned(), "table deleted"),
        ("delete table inet picket".to_owned(), "table deleted"),
        ("insert rule inet picket raw_in accept".to_owned(), "rule added to raw_in"),
        ("flush chain inet picket gate_p2p".to_owned(), "rule deleted from gate_p2p"),
        (format!("add element inet picket p2p_hosts4 {{ {} }}", of(stranger)), "element added to p2p_hosts4"),
        // What Debian's nftables.service loads as it comes.
        (
            "flush ruleset; table inet filter { chain input { type filter hook input priority filter; }; }".to_owned(),
            "table deleted",
        ),
        // The stream loses packets by this one.
        (format!("delete element inet picket p2p_hosts4 {{ {} }}", of(validator)), "element deleted from p2p_hosts4"),
    ];
    assert_eq!(repairs(&mesh), None);
    let mut silence = Duration::ZERO;
    for (number, (damage, what)) in (1..).zip(&cases) {
        silence = stream.longest_silence();
        repaired(&mesh, damage, &stream, |host| host.load_nft(damage).unwrap());
        let told = wait_told(&mesh, number);
        assert_eq!(told.count, number, "{damage}: one repair, {told}");
        assert!(told.by.starts_with("nft (process ") && told.what.starts_with(what), "{damage}: {told}");
    }
    assert!(silence < QUIET, "{silence:?}");
    open(validator, to);
    // The table of the other program is its own.
    prep.host.nft(&["list", "table", "inet", "filter"]).unwrap();
    let nodes = mesh.controller.picket(&["nodes"]).unwrap().success().unwrap();
    assert!(nodes.contains("firewall repaired 7 times, last at "), "{nodes}");
    let status = prep.command(&["status"]).unwrap().success().unwrap();
    assert!(status.contains("repaired    7 times, last at "), "{status}");
    crate::support::wait_told(&mesh, "firewall-disturbed", "another program changed the firewall");
}

#[test]
fn a_program_that_keeps_writing_does_not_make_the_agent_spin() {
    let mesh = small_mesh("fight");
    let prep = &mesh.preps[0];
    let before = prep.rules_in_kernel().unwrap();
    let (began, mut deletions) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_secs(4) {
        // Fails where there is none: it comes back at the agent's pace.
        deletions += u32::from(prep.host.nft(&["delete", "table", "inet", "picket"]).is_ok());
    }
    wait_until("the table to be back", AT_ONCE, || prep.rules_in_kernel().is_ok_and(|text| text == before)).unwrap();
    let told = wait_told(&mesh, u64::from(deletions));
    // Eight at once, then one each second.
    assert!(u64::from(deletions) <= told.count && told.count <= 8 + began.elapsed().as_secs(), "{deletions}, {told}");
    assert!(deletions > 4, "{deletions}");
    println!("{} repairs in {:?}", told.count, began.elapsed());
}

#[test]
fn what_others_do_in_their_own_tables_costs_nothing() {
    let mesh = small_mesh("churn");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    prep.host
        .load_nft("table inet theirs { set hosts { typeof ip saddr; }; }; table ip picket { chain raw_in { }; }")
        .unwrap();
    let before = faults_of_programs(prep.process().unwrap().id());
    for number in 0..200 {
        let verb = if number % 2 == 0 { "add" } else { "delete" };
        prep.host.nft(&[verb, "element", "inet", "theirs", "hosts", "{ 192.0.2.1 }"]).unwrap();
    }
    // The agent has heard all of it when it repairs what comes after.
    prep.host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    let told = wait_told(&mesh, 1);
    assert_eq!(told.what.split(',').next(), Some("table deleted"));
    // A look through nft costs 300 and more; the repair took three or four, and the timer may have looked once.
    let faults = faults_of_programs(prep.process().unwrap().id()) - before;
    assert!((300..12_000).contains(&faults), "{faults} page faults of programs that the agent ran");
    open(&mesh.validators[0].host, prep.host.v4(GUARDED[0]).unwrap());
}

/// Minor page faults of all programs that a process has run and waited for: proc(5), `cminflt`.
fn faults_of_programs(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(8).unwrap().parse().unwrap()
}

#[test]
fn iptables_and_we_leave_each_other_alone() {
    let mesh = small_mesh("iptables");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let (validator, to) = (&mesh.validators[0].host, prep.host.v4(GUARDED[0]).unwrap());
    let ours = crate::support::table(prep);
    let iptables = |args: &[&str]| prep.host.run("iptables-nft", args).unwrap().success().unwrap();
    iptables(&["-A", "INPUT", "-s", "192.0.2.99", "-j", "DROP"]);
    iptables(&[
        "-t",
        "nat",
        "-A",
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        "8888",
        "-j",
        "REDIRECT",
        "--to-ports",
        "9999",
    ]);
    let theirs = iptables(&["-S"]);
    assert!(theirs.contains("192.0.2.99"), "{theirs}");
    for args in [["-F"], ["-X"], ["-Z"]] {
        iptables(&args);
        open(validator, to);
        dropped(&mesh.stranger, to);
    }
    iptables(&["-A", "INPUT", "-s", "192.0.2.99", "-j", "DROP"]);
    assert_eq!(ours, crate::support::table(prep), "no handle moved");
    // Ours is written anew, theirs stays.
    let theirs = iptables(&["-S"]) + &iptables(&["-t", "nat", "-S"]);
    prep.host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    assert_eq!(wait_told(&mesh, 1).count, 1);
    assert_eq!(theirs, iptables(&["-S"]) + &iptables(&["-t", "nat", "-S"]));
    assert_eq!(count(&mesh), 1);
    dropped(&mesh.stranger, to);
}

#[test]
fn what_is_taken_from_our_interface_is_back_at_once() {
    /// Far less than the agent's own timer takes to find it, which is 30 s; on a loaded machine.
    const BACK: Duration = Duration::from_secs(10);
    let mesh = small_mesh("interface");
    for agent in mesh.agents() {
        // Written once the handshake was seen.
        let kept = || fs::read_to_string(format!("{}/endpoints.json", agent.state_folder())).unwrap_or_default();
        wait_until("the place of the peer to be kept", SOON, || kept().contains("203.0.113.")).unwrap();
    }
    // The sentry first: where the validator is it knows from before, until that begins anew elsewhere.
    for (agent, other) in [(&mesh.sentries[0], &mesh.preps[0]), (&mesh.preps[0], &mesh.sentries[0])] {
        let (own, far) = (agent.overlay().unwrap(), other.overlay().unwrap());
        let gone = |what: &str| {
            let command = what.split(' ').collect::<Vec<_>>();
            agent.host.run("ip", &command).unwrap().success().unwrap();
        };
        for (what, to) in [
            ("link delete picket0".to_owned(), IpAddr::from(far.v4)),
            ("link set picket0 down".to_owned(), IpAddr::from(far.v6)),
            (format!("route delete {} dev picket0", far.v4), IpAddr::from(far.v4)),
            (format!("address delete {}/32 dev picket0", own.v4), IpAddr::from(far.v4)),
        ] {
            gone(&what);
            let answered = || agent.host.ping(to, DROPPED).ok_or("no answer");
            let back =
                wait_until(&format!("{} to be as it was after `ip {what}`", agent.name()), BACK, answered).unwrap();
            println!("{}: `ip {what}` repaired after {:?}", agent.name(), back.took);
        }
    }
}
