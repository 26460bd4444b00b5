//! What the tests share: a small mesh, the ports, how long to wait, what stays in force and what an operator is told.

use picket_api::operator::EventView;
use picket_lab::{
    Connect, EchoServer, Host,
    mesh::{Agent, Mesh, MeshSize, SOON, without_meters},
    wait_until,
};
use picket_model::Validator;
use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Guarded ports: P2P and the two of JSON-RPC.
pub(crate) const GUARDED: [u16; 3] = [7100, 9000, 9080];
/// A port that nobody guards.
pub(crate) const UNGUARDED: u16 = 2222;
/// A packet without an answer for this long was dropped: round trips in the lab take well under a millisecond.
pub(crate) const DROPPED: Duration = Duration::from_millis(300);
/// Long enough for an answer on a loaded machine.
pub(crate) const ANSWERED: Duration = Duration::from_secs(3);
/// A stream that is silent for this long is dead.
pub(crate) const QUIET: Duration = Duration::from_millis(400);

/// One validator, one sentry: all roles there are.
pub(crate) fn small_mesh(label: &str) -> Mesh {
    Mesh::started(label, MeshSize { preps: 1, sentries: 1 }).unwrap()
}

/// The controller with another configuration, started anew; waits until all is in force and all agents listen again.
pub(crate) fn reconfigure(mesh: &mut Mesh, change: impl FnOnce(String) -> String) {
    mesh.controller.kill();
    mesh.controller.configure(change).unwrap();
    mesh.controller.start().unwrap();
    mesh.wait_in_force().unwrap();
    wait_listening(mesh);
}

/// Waits until every agent waits for news: after a controller's restart each comes back in its own time.
pub(crate) fn wait_listening(mesh: &Mesh) {
    wait_until("the agents to listen", SOON, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        match nodes.iter().find(|view| view.wanted.is_some() && !view.connected) {
            Some(away) => Err(format!("{} does not", away.node.name)),
            None => Ok(()),
        }
    })
    .unwrap();
}

/// Something that answers on guarded ports and on one that is not guarded, in both families.
pub(crate) fn serve_on(agent: &Agent) -> Vec<EchoServer> {
    // The unspecified IPv6 address takes IPv4 as well.
    let addresses = GUARDED.into_iter().chain([UNGUARDED]).map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    addresses.map(|address| agent.host.listen_echo(address).unwrap()).collect()
}

/// Both addresses of a host with a port, IPv4 first.
pub(crate) fn both(agent: &Agent, port: u16) -> [SocketAddr; 2] {
    [agent.host.v4(port).unwrap(), agent.host.v6(port).unwrap()]
}

/// TCP to this address is answered.
pub(crate) fn open(from: &Host, to: SocketAddr) {
    assert_eq!(from.can_connect(to, ANSWERED), Connect::Open, "{} to {to}", from.name());
}

/// TCP to this address gets no answer at all.
pub(crate) fn dropped(from: &Host, to: SocketAddr) {
    assert_eq!(from.can_connect(to, DROPPED), Connect::Filtered, "{} to {to}", from.name());
}

/// The table as the kernel has it, with handles, which show a rule that was replaced by its like; without counters.
pub(crate) fn table(agent: &Agent) -> String {
    without_meters(&agent.host.nft(&["-s", "-a", "list", "table", "inet", "picket"]).unwrap())
}

/// What is in force at one moment: the validator set, and the rules of every host with their handles.
#[derive(Debug)]
pub(crate) struct InForce {
    validators: Vec<Validator>,
    rules: Vec<String>,
}

impl InForce {
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let validators = mesh.controller.validators().unwrap().validators;
        Self { validators, rules: mesh.agents().map(table).collect() }
    }

    /// Validators in the set.
    pub(crate) fn len(&self) -> usize {
        self.validators.len()
    }

    /// Nothing moved: not the set, not one rule or element, and packets fare as before.
    pub(crate) fn stands(&self, mesh: &Mesh, case: &str) {
        let now = Self::of(mesh);
        assert_eq!(now.validators, self.validators, "{case}");
        assert_eq!(now.rules, self.rules, "{case}");
        let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
        open(&mesh.validators[0].host, to);
        dropped(&mesh.stranger, to);
    }
}

/// Waits until the operator is told: a line of the status and an event with this part, but for its numbers, and a metric,
/// both of this kind.
pub(crate) fn wait_told(mesh: &Mesh, kind: &str, part: &str) {
    wait_until(&format!("status, event and metric to tell of {kind} with {part:?}"), SOON * 2, || {
        let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
        if !complaints.iter().any(|line| line.contains(part)) {
            return Err(format!("the status says {complaints:?}"));
        }
        let events = mesh.controller.events().map_err(|error| error.to_string())?;
        let raised = |event: &&EventView| ["alarm.raised", "alarm.changed"].contains(&event.action.as_str());
        let mut of_kind = events.iter().filter(raised).filter(|event| event.subject.starts_with(kind));
        if !of_kind.any(|event| words(&event.detail).contains(&words(part))) {
            return Err(format!("the events are {events:?}"));
        }
        let metrics = mesh.controller.metrics().map_err(|error| error.to_string())?;
        let wanted = format!("picket_alarms{{kind=\"{kind}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&wanted));
        match value {
            Some(value) if value != "0" => Ok(()),
            other => Err(format!("the metric {wanted}is {other:?}")),
        }
    })
    .unwrap();
}

/// A text without its numbers: where those alone change, an alarm is the same.
fn words(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// Waits until nothing is wrong.
pub(crate) fn wait_calm(mesh: &Mesh) {
    wait_until("the status to be without complaints", SOON * 2, || {
        let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
        if complaints.is_empty() { Ok(()) } else { Err(format!("{complaints:?}")) }
    })
    .unwrap();
}
