//! A small internet: four validators of others, two that hide behind sentries, strangers, and on each of the six a stand-in for
//! its node. For what is tried with hidden validators: cut a sentry, see who hears whom again and when.

use super::{Agent, Mesh, MeshSize, SOON, Validator};
use crate::{
    Capture, Captured, LabError, NameServer,
    p2p::{Network, Pair, Place},
    wait_until,
};
use picket_model::PrepId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

/// Where both hidden validators are reached at every sentry. The second listens on the first's port at home.
const PORTS: [u16; 2] = [7100, 7200];
/// The port of everybody's node.
pub(super) const NODE: u16 = 7100;
/// Where tunnels end.
const WIREGUARD: u16 = 51820;
/// Where agents call their controller.
const CONTROLLER: u16 = 7443;

/// The name that both hidden validators are registered and advertised under: it gives all sentries, so that whoever looks at the
/// list lets in all of them.
const NAME: &str = "sentries.example";

/// What a controller's configuration needs before anybody hides.
fn prepared(text: &str) -> String {
    // Sentries are where only documentation is; both ports are guarded, or nothing is forwarded at them.
    let text = text.replace("special_ranges = [", "special_ranges = [\"203.0.113.0/24\", ");
    let [first, second] = PORTS;
    format!("{text}\n[policy.ports]\np2p = [{first}, {second}]\nrpc = [9000, 9080]\n")
}

/// The lines of hidden validators, at the sentries' first addresses and each at a port of its own.
fn lines(sentries: &[SocketAddr], strict: bool) -> String {
    let addresses: Vec<String> = sentries.iter().map(|address| address.ip().to_string()).collect();
    let line = |(number, port): (usize, u16)| {
        format!(
            "\n[[policy.hidden]]\nprep = \"prep-{number}\"\nport = {port}\nto_port = {NODE}\naddresses = {addresses:?}\nstrict = {strict}\n"
        )
    };
    (1..).zip(PORTS).map(line).collect()
}

/// A mesh with hidden validators, and the nodes of all. The nodes end before the mesh.
#[derive(Debug)]
pub struct Internet {
    /// The nodes, by their places: validators first, then the hidden ones.
    pub nodes: Network,
    /// Everything else.
    pub mesh: Mesh,
    _names: NameServer,
}

impl Internet {
    /// Starts everything, and waits until every pair of nodes exchanges blocks.
    ///
    /// # Errors
    /// What does not come up.
    pub fn started(label: &str, sentries: u8) -> Result<Self, LabError> {
        Self::start(label, sentries, true)
    }

    /// As [`Internet::started`], but nobody hides yet: their own addresses are advertised, and sentries carry nothing.
    ///
    /// # Errors
    /// What does not come up.
    pub fn exposed(label: &str, sentries: u8) -> Result<Self, LabError> {
        Self::start(label, sentries, false)
    }

    fn start(label: &str, sentries: u8, is_hidden: bool) -> Result<Self, LabError> {
        let mut mesh = Mesh::new(label, MeshSize { preps: 2, sentries })?;
        mesh.validators.push(fourth(&mesh)?);
        let addresses = first_addresses(&mesh.sentries)?;
        let lines = if is_hidden { lines(&addresses, true) } else { String::new() };
        mesh.controller.configure(|text| prepared(&text) + &lines)?;
        let names = mesh.controller.host.name_server()?;
        let own = if is_hidden { Vec::new() } else { first_addresses(&mesh.preps)? };
        names.set(NAME, addresses.iter().chain(&own).filter_map(|address| v4(address.ip())));
        let listed = list_hidden(&mesh);
        mesh.controller.start()?;
        wait_until("the sentries' name to be looked up", SOON, || {
            let view = mesh.controller.validators().map_err(|error| error.to_string())?;
            let is_known =
                |entry: &&picket_model::Validator| listed.contains(&entry.prep) && !entry.addresses.is_empty();
            let known = view.validators.iter().filter(is_known).count();
            if known == listed.len() { Ok(()) } else { Err(format!("{NAME} is not known")) }
        })?;
        for agent in mesh.preps.iter_mut().chain(&mut mesh.sentries) {
            agent.enroll(&mesh.controller)?;
            agent.guard = Some(
                agent.host.write("guard.toml", &format!("guardable = [9000, 9080, {}, {}]\n", PORTS[0], PORTS[1]))?,
            );
            agent.start()?;
        }
        mesh.wait_in_force()?;
        mesh.wait_for_tunnels()?;
        let started = Instant::now();
        let nodes = Network::start(&mesh.lab, places(&mesh, is_hidden)?)?;
        nodes.wait_relinked(started, SOON * 2)?;
        Ok(Self { nodes, mesh, _names: names })
    }

    /// The controller started anew with the hidden validators' lines; waits until they are in force.
    ///
    /// # Errors
    /// What does not come into force.
    pub fn hide(&mut self, strict: bool) -> Result<(), LabError> {
        let lines = lines(&first_addresses(&self.mesh.sentries)?, strict);
        self.mesh.controller.kill();
        self.mesh
            .controller
            .configure(|text| text.split("\n[[policy.hidden]]").next().unwrap_or_default().to_owned() + &lines)?;
        self.mesh.controller.start()?;
        self.mesh.wait_in_force().map(drop)
    }

    /// Others find the hidden validators at the sentries alone from now on.
    ///
    /// # Errors
    /// [`LabError::NoAddress`]
    pub fn advertise_sentries(&self) -> Result<(), LabError> {
        for (node, place) in (self.mesh.validators.len()..).zip(hidden_places(&self.mesh, true)?) {
            self.nodes.advertise(node, place.advertised);
        }
        Ok(())
    }

    /// The places of the hidden validators' nodes.
    #[must_use]
    pub fn hidden(&self) -> [usize; 2] {
        let first = self.mesh.validators.len();
        [first, first + 1]
    }

    /// Pairs of one validator and one hidden one, whose links sentries carry.
    #[must_use]
    pub fn carried(&self) -> Vec<Pair> {
        let first = self.mesh.validators.len();
        self.nodes.pairs().into_iter().filter(|Pair(a, b)| *a < first && *b >= first).collect()
    }

    /// Which sentry carries the link of each such pair: it is the other end's address as the validator sees it.
    #[must_use]
    pub fn carriers(&self) -> BTreeMap<Pair, usize> {
        let book = self.nodes.book();
        let address = |agent: &Agent| agent.host.v4(0).map(|address| address.ip()).ok();
        let sentries: Vec<Option<IpAddr>> = self.mesh.sentries.iter().map(address).collect();
        let carrier = |pair: Pair| {
            let remote = book.link(pair.0, pair.1)?.remote.ip();
            sentries.iter().position(|sentry| *sentry == Some(remote))
        };
        self.carried().into_iter().filter_map(|pair| Some((pair, carrier(pair)?))).collect()
    }

    /// The same of links alone that the hidden validator dialled: only those it moves before they end by themselves.
    #[must_use]
    pub fn dialled_carriers(&self) -> BTreeMap<Pair, usize> {
        let book = self.nodes.book();
        let is_own = |pair: &Pair| book.link(pair.1, pair.0).is_some_and(|link| link.dialled);
        self.carriers().into_iter().filter(|(pair, _)| is_own(pair)).collect()
    }

    /// Of the sentries that run, the one that carries most links.
    #[must_use]
    pub fn busiest(&self) -> usize {
        let carriers = self.carriers();
        let running = (0..self.mesh.sentries.len()).filter(|sentry| self.mesh.sentries[*sentry].is_running());
        let load = |sentry: &usize| carriers.values().filter(|carrier| *carrier == sentry).count();
        running.max_by_key(load).unwrap_or_default()
    }

    /// Begins to write down every packet with an address of the hidden validators' own.
    ///
    /// # Errors
    /// [`LabError::Io`] where that is not possible.
    pub fn capture(&self) -> Result<Capture, LabError> {
        let own: Result<Vec<[IpAddr; 2]>, LabError> =
            self.mesh.preps.iter().map(|prep| Ok([prep.host.v4(0)?.ip(), prep.host.v6(0)?.ip()])).collect();
        self.mesh.lab.capture(own?.into_iter().flatten())
    }

    /// What of a capture is a leak: neither a tunnel to a sentry or what ICMP says of one, nor the agent's call to its controller, nor what neighbours on
    /// one link say to each other.
    ///
    /// # Errors
    /// [`LabError::Unexpected`] if the capture saw not even the tunnels, and so shows nothing.
    pub fn leaks(&self, captured: &[Captured]) -> Result<Vec<Captured>, LabError> {
        let sentries =
            self.mesh.sentries.iter().flat_map(|sentry| [sentry.host.v4(WIREGUARD), sentry.host.v6(WIREGUARD)]);
        let sentries: BTreeSet<SocketAddr> = sentries.collect::<Result<_, _>>()?;
        let host = &self.mesh.controller.host;
        let controller = [host.v4(CONTROLLER)?, host.v6(CONTROLLER)?];
        let ends = |packet: &Captured| [packet.from, packet.to];
        let tunnels = |packet: &Captured| packet.is_udp() && ends(packet).iter().any(|end| sentries.contains(end));
        // A sentry whose agent is dead says so to whom its tunnels lead.
        let is_sentry = |end: &SocketAddr| sentries.iter().any(|sentry| sentry.ip() == end.ip());
        let is_told = |packet: &Captured| packet.is_icmp() && ends(packet).iter().any(is_sentry);
        if !captured.iter().any(tunnels) {
            return Err(LabError::Unexpected { found: "the capture saw no tunnel".to_owned() });
        }
        let is_known = |packet: &Captured| {
            let agent = packet.is_tcp() && [packet.from, packet.to].iter().any(|end| controller.contains(end));
            tunnels(packet) || is_told(packet) || agent || packet.is_of_the_link()
        };
        Ok(captured.iter().filter(|packet| !is_known(packet)).copied().collect())
    }
}

/// One more validator than a mesh has.
fn fourth(mesh: &Mesh) -> Result<Validator, LabError> {
    let host = mesh.lab.host("validator-4").address("198.51.100.14/24").address("2001:db8:2::14/64").create()?;
    let prep = unused(mesh, 0).ok_or(LabError::Gone)?;
    mesh.chain.set_endpoint(prep, &host.v4(NODE)?.to_string());
    Ok(Validator { host, prep })
}

/// The list names the hidden validators where they are reached; which they are.
fn list_hidden(mesh: &Mesh) -> Vec<PrepId> {
    let preps: Vec<PrepId> = (0..).zip(PORTS).filter_map(|(number, _)| unused(mesh, number)).collect();
    for (prep, port) in preps.iter().zip(PORTS) {
        mesh.chain.set_endpoint(*prep, &format!("{NAME}:{port}"));
    }
    preps
}

/// A P-Rep of the list that is none of the lab's.
fn unused(mesh: &Mesh, number: usize) -> Option<PrepId> {
    let chain = mesh.chain.state();
    let listed = chain.preps.iter().filter_map(|entry| entry.get("address")?.as_str()?.parse().ok());
    listed.filter(|prep| mesh.validators.iter().all(|validator| validator.prep != *prep)).nth(number)
}

fn first_addresses(sentries: &[Agent]) -> Result<Vec<SocketAddr>, LabError> {
    sentries.iter().map(|sentry| sentry.host.v4(0)).collect()
}

fn places(mesh: &Mesh, is_hidden: bool) -> Result<Vec<Place>, LabError> {
    let mut places = Vec::new();
    for validator in &mesh.validators {
        let host = validator.host.clone();
        places.push(Place { advertised: vec![host.v4(NODE)?], port: NODE, host });
    }
    places.extend(hidden_places(mesh, is_hidden)?);
    Ok(places)
}

fn hidden_places(mesh: &Mesh, is_hidden: bool) -> Result<Vec<Place>, LabError> {
    let sentries = first_addresses(&mesh.sentries)?;
    let place = |(prep, port): (&Agent, u16)| {
        let at_sentries = sentries.iter().map(|sentry| SocketAddr::new(sentry.ip(), port)).collect();
        let advertised = if is_hidden { at_sentries } else { vec![prep.host.v4(NODE)?] };
        Ok(Place { host: prep.host.clone(), port: NODE, advertised })
    };
    mesh.preps.iter().zip(PORTS).map(place).collect()
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}
