//! A name server that takes updates (RFC 2136), over TCP, each message signed by a shared key (TSIG, RFC 8945), and each answer
//! held against its signature. An update is atomic, and names as its condition all that was found before.

use super::{DnsError, words};
use crate::{
    Change, Found, Rfc2136Lines,
    record::{is_mark, mark_name},
    secret::Secret,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode, UpdateMessage as _},
    rr::{
        DNSClass, Name, RData, Record, RecordType, TSigner,
        rdata::{A, AAAA, TXT, tsig::TsigAlgorithm},
    },
};
use picket_model::DnsName;
use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    str::FromStr as _,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How far clocks may differ, in seconds (RFC 8945, section 10).
const FUDGE: u16 = 300;
const PORT: u16 = 53;
/// Below a name or beside it, and nobody's.
const WILD_LABEL: &str = "_none";

/// A zone's primary server.
pub(super) struct Server {
    place: String,
    zone: Name,
    signer: TSigner,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.place)
    }
}

impl Server {
    pub(super) fn new(lines: &Rfc2136Lines, secret: &Secret) -> Result<Self, String> {
        let key = STANDARD.decode(secret.0.as_bytes());
        let key = key.map_err(|_| format!("{} is not base64", lines.secret_file.display()))?;
        let algorithm = match lines.algorithm.as_str() {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            other => return Err(format!("algorithm {other:?} is none")),
        };
        let name = whole(lines.key.trim_end_matches('.')).map_err(|error| format!("key {:?}: {error}", lines.key))?;
        let signer = TSigner::new(key, algorithm, name, FUDGE).map_err(|error| error.to_string())?;
        let zone = whole(lines.zone.as_str())?;
        Ok(Self { place: with_port(&lines.server), zone, signer })
    }

    pub(super) async fn read(&self, name: &DnsName) -> Result<Found, DnsError> {
        let (name, mark) = names(name)?;
        let mut connection = self.connect().await?;
        let mut found = Found::default();
        for (place, kind) in [(&name, RecordType::A), (&name, RecordType::AAAA), (&mark, RecordType::TXT)] {
            for record in self.ask(&mut connection, place, kind).await? {
                take(&mut found, place, &record);
            }
        }
        if !found.marks.is_empty() && !found.marks.iter().any(|mark| is_mark(mark)) {
            // A wildcard of the zone answers for every name that is not there: then it answers for this one too.
            let other = name.prepend_label(WILD_LABEL).map_err(|error| DnsError::Setup(error.to_string()))?;
            let mut wild = Found::default();
            for record in self.ask(&mut connection, &other, RecordType::TXT).await? {
                take(&mut wild, &other, &record);
            }
            found.marks = found.marks.difference(&wild.marks).cloned().collect();
        }
        // A name that has anything of its own, or below it as the mark is, has nothing of a wildcard (RFC 4592, section 2.2.1).
        if !found.addresses.is_empty() && found.marks.is_empty() && name != self.zone {
            let beside = name.base_name().prepend_label(WILD_LABEL);
            let beside = beside.map_err(|error| DnsError::Setup(error.to_string()))?;
            let mut wild = Found::default();
            for kind in [RecordType::A, RecordType::AAAA] {
                for record in self.ask(&mut connection, &beside, kind).await? {
                    take(&mut wild, &beside, &record);
                }
            }
            // Where records of the name's own are just the same, the update's conditions find them, and nothing is written.
            if (&wild.addresses, wild.ttl) == (&found.addresses, found.ttl) {
                found = Found { wild: wild.addresses, ..Found::default() };
            }
        }
        Ok(found)
    }

    pub(super) async fn write(&self, change: &Change) -> Result<(), DnsError> {
        let update = update(&self.zone, change)?;
        let mut connection = self.connect().await?;
        let answer = self.exchange(&mut connection, update).await?;
        match answer.response_code {
            ResponseCode::NoError => Ok(()),
            ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain => {
                Err(DnsError::Changed(change.name.clone()))
            }
            other => Err(self.refused(other)),
        }
    }

    /// The records of one kind at a name, by the server's own word.
    async fn ask(&self, connection: &mut TcpStream, name: &Name, kind: RecordType) -> Result<Vec<Record>, DnsError> {
        let mut message = Message::query();
        message.metadata.id = id()?;
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(name.clone(), kind));
        let answer = self.exchange(connection, message).await?;
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain if answer.authoritative => Ok(answer.answers.clone()),
            ResponseCode::NoError | ResponseCode::NXDomain => {
                let reason = format!("it does not keep {name} itself: name the zone's primary server");
                Err(DnsError::Refused { place: self.place.clone(), reason })
            }
            other => Err(self.refused(other)),
        }
    }

    async fn connect(&self) -> Result<TcpStream, DnsError> {
        let connection = TcpStream::connect(&self.place).await.map_err(|error| self.unreachable(&error))?;
        // Each message is written at once and then waited for.
        let _ = connection.set_nodelay(true);
        Ok(connection)
    }

    /// Sends a message, signed, and waits for its answer, whose signature is held against the key.
    async fn exchange(&self, connection: &mut TcpStream, mut message: Message) -> Result<Message, DnsError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let verifier = message.finalize(&self.signer, now).map_err(|error| self.unreachable(&error))?;
        let Some(mut verifier) = verifier else { return Err(self.unreachable(&"the message was not signed")) };
        let bytes = message.to_vec().map_err(|error| self.unreachable(&error))?;
        let length = u16::try_from(bytes.len()).map_err(|_| self.unreachable(&"the message is too long"))?;
        // RFC 7766, section 8: the length and the message in one write.
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        connection.write_all(&framed).await.map_err(|error| self.unreachable(&error))?;
        let length = connection.read_u16().await.map_err(|error| self.unreachable(&error))?;
        let mut answer = vec![0; length.into()];
        connection.read_exact(&mut answer).await.map_err(|error| self.unreachable(&error))?;

        let parsed =
            Message::from_vec(&answer).map_err(|error| self.unreachable(&format!("no message of DNS: {error}")))?;
        if parsed.id != message.id {
            return Err(self.unreachable(&"an answer to another question"));
        }
        match verifier.verify(&answer) {
            Ok(_) => Ok(parsed),
            // RFC 8945, section 5.3.2: a server that does not know the key, or finds the signature wrong, cannot sign that.
            Err(_) if parsed.response_code == ResponseCode::NotAuth => Err(self.not_auth(&parsed)),
            Err(_) if parsed.response_code != ResponseCode::NoError => Err(self.refused(parsed.response_code)),
            Err(error) => {
                Err(self.unreachable(&format!("its answer is not signed by the key: {}", words(&error.to_string()))))
            }
        }
    }

    fn not_auth(&self, answer: &Message) -> DnsError {
        let why = answer.signature().and_then(|record| record.data.error.as_ref());
        let reason = match why.map(|error| u16::from(*error)) {
            Some(16) => "the signature does not fit: see secret_file and algorithm (BADSIG)".to_owned(),
            Some(17) => {
                format!("it does not know the key {}, or does not let it do that (BADKEY)", self.signer.signer_name())
            }
            Some(18) => "its clock or this host's is wrong by more than five minutes (BADTIME)".to_owned(),
            _ => format!("it keeps no zone {}, or the key may not change it (NOTAUTH)", self.zone),
        };
        DnsError::Refused { place: self.place.clone(), reason }
    }

    fn refused(&self, code: ResponseCode) -> DnsError {
        let reason = match code {
            ResponseCode::NotAuth => format!("it keeps no zone {}, or the key may not change it (NOTAUTH)", self.zone),
            ResponseCode::NotZone => format!("the name is not in the zone {} (NOTZONE)", self.zone),
            ResponseCode::Refused => "the key may not do that (REFUSED)".to_owned(),
            other => format!("{other}"),
        };
        DnsError::Refused { place: self.place.clone(), reason }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> DnsError {
        DnsError::Unreachable { place: self.place.clone(), reason: reason.to_string() }
    }
}

/// A change as one message: what was found, as conditions, and what shall stand there.
fn update(zone: &Name, change: &Change) -> Result<Message, DnsError> {
    let (name, mark) = names(&change.name)?;
    let mut message = Message::new(id()?, hickory_proto::op::MessageType::Query, OpCode::Update);
    let mut query = Query::new();
    query.set_name(zone.clone()).set_query_class(DNSClass::IN).set_query_type(RecordType::SOA);
    message.add_zone(query);
    let Change { from, to, ttl, mark: text, .. } = change;
    let is_same = |a: &BTreeSet<IpAddr>, b: &BTreeSet<IpAddr>, kind| of_kind(a, kind).eq(of_kind(b, kind));
    message.add_pre_requisite(of_class(&name, RecordType::CNAME, DNSClass::NONE));
    for (kind, ttl_before) in [(RecordType::A, from.ttl.v4), (RecordType::AAAA, from.ttl.v6)] {
        let stood: Vec<RData> = of_kind(&from.addresses, kind).collect();
        require(&mut message, &name, kind, &stood);
        // A record with another time to live is another record.
        if is_same(&from.addresses, to, kind) && ttl_before == Some(*ttl) {
            continue;
        }
        if !stood.is_empty() {
            message.add_update(of_class(&name, kind, DNSClass::ANY));
        }
        message.add_updates(of_kind(to, kind).map(|data| Record::from_rdata(name.clone(), *ttl, data)));
    }
    let marks: Vec<RData> = from.marks.iter().map(|mark| txt(mark)).collect();
    require(&mut message, &mark, RecordType::TXT, &marks);
    if marks.is_empty() {
        message.add_update(Record::from_rdata(mark, *ttl, txt(text)));
    }
    Ok(message)
}

/// The condition that exactly these records of a kind stand at a name (RFC 2136, sections 2.4.2 and 2.4.3).
fn require(message: &mut Message, name: &Name, kind: RecordType, stood: &[RData]) {
    if stood.is_empty() {
        message.add_pre_requisite(of_class(name, kind, DNSClass::NONE));
    }
    message.add_pre_requisites(stood.iter().map(|data| Record::from_rdata(name.clone(), 0, data.clone())));
}

/// A record of an update that has a kind and no data.
fn of_class(name: &Name, kind: RecordType, class: DNSClass) -> Record {
    let mut record: Record = Record::update0(name.clone(), 0, kind);
    record.dns_class = class;
    record
}

fn of_kind(addresses: &BTreeSet<IpAddr>, kind: RecordType) -> impl Iterator<Item = RData> + '_ {
    addresses.iter().filter_map(move |address| match (address, kind) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(*v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
        _ => None,
    })
}

/// One string holds 255 bytes (RFC 1035, section 3.3.14), and a mark is shorter.
fn txt(text: &str) -> RData {
    RData::TXT(TXT::new(vec![text.to_owned()]))
}

fn take(found: &mut Found, place: &Name, record: &Record) {
    // What an alias leads to is not at this name.
    if record.name != *place {
        return;
    }
    let mut address = |address: IpAddr| {
        found.addresses.insert(address);
        found.ttl.add(&address, Some(record.ttl));
    };
    match &record.data {
        RData::A(A(v4)) => address((*v4).into()),
        RData::AAAA(AAAA(v6)) => address((*v6).into()),
        RData::TXT(txt) => {
            let text: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            found.marks.insert(String::from_utf8_lossy(&text).into_owned());
        }
        RData::CNAME(alias) => found.other = Some(format!("CNAME {}", alias.0)),
        _ => {}
    }
}

/// A name and that of its mark.
fn names(name: &DnsName) -> Result<(Name, Name), DnsError> {
    let mark = mark_name(name).map_err(DnsError::Setup)?;
    Ok((whole(name.as_str()).map_err(DnsError::Setup)?, whole(mark.as_str()).map_err(DnsError::Setup)?))
}

fn whole(name: &str) -> Result<Name, String> {
    Name::from_str(&format!("{name}.")).map_err(|error| error.to_string())
}

/// Nobody who does not hear the question guesses it; signatures hold all the same.
fn id() -> Result<u16, DnsError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| DnsError::Setup(format!("draw a random number: {error}")))?;
    Ok(u16::from_be_bytes(bytes))
}

fn with_port(server: &str) -> String {
    if let Ok(address) = server.trim_matches(['[', ']']).parse::<IpAddr>() {
        return std::net::SocketAddr::new(address, PORT).to_string();
    }
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { server.to_owned() } else { format!("{server}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_port_has_that_of_dns() {
        let cases = [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
            ("ns1.example.org", "ns1.example.org:53"),
            ("ns1.example.org:54", "ns1.example.org:54"),
        ];
        for (text, expect) in cases {
            assert_eq!(with_port(text), expect);
        }
    }

    #[test]
    fn an_update_names_all_that_was_found_as_its_condition() {
        let change = Change {
            name: "p2p.example.org".parse().unwrap(),
            from: Found {
                addresses: ["192.0.2.1".parse().unwrap()].into(),
                ttl: crate::Ttls { v4: Some(30), v6: None },
                marks: ["heritage=picket,mesh=m-1".to_owned()].into(),
                ..Found::default()
            },
            to: ["192.0.2.2".parse().unwrap()].into(),
            ttl: 30,
            mark: "heritage=picket,mesh=m-1".to_owned(),
        };
        let message = update(&whole("example.org").unwrap(), &change).unwrap();
        let shown = |records: &[Record]| {
            let lines = records.iter().map(|r| format!("{} {} {}", r.name, r.dns_class, r.record_type()));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            shown(message.prerequisites()),
            [
                "p2p.example.org. NONE CNAME",
                "p2p.example.org. IN A",
                "p2p.example.org. NONE AAAA",
                "_picket.p2p.example.org. IN TXT"
            ]
        );
        assert_eq!(shown(message.updates()), ["p2p.example.org. ANY A", "p2p.example.org. IN A"]);
    }
}
