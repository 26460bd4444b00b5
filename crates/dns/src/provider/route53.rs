//! AWS Route 53, as far as one name's record sets go: its REST API. A change is
//! one batch, which AWS carries out as a whole or not at all; what was found is deleted by its exact values, so that a change in
//! between makes the batch fail.

use super::{DnsError, below, words};
use crate::{Change, Found, record::mark_name};
use picket_aws::{
    Credentials, Request, Scope, sign,
    xml::{element, elements, escaped, plain},
};
use picket_model::DnsName;
use picket_proofs::outside::{body, innermost};
use reqwest::{Method, Url};
use std::{collections::BTreeSet, fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::SystemTime};

pub(super) const URL: &str = "https://route53.amazonaws.com";
/// It is no service of a region, and its requests are signed for this one ("Amazon Route 53 endpoints and quotas").
const REGION: &str = "us-east-1";
const VERSION: &str = "2013-04-01";
const LARGEST: usize = 256 << 10;

type Getting = Pin<Box<dyn Future<Output = Result<Credentials, String>> + Send>>;

/// Where AWS credentials come from, asked anew for each request.
#[derive(Clone)]
pub struct Credentialed(Arc<dyn Fn() -> Getting + Send + Sync>);

impl Credentialed {
    /// Credentials as this gives them.
    pub fn by<F>(get: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Credentials, String>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(get())))
    }
}

impl fmt::Debug for Credentialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentialed(hidden)")
    }
}

/// A hosted zone.
#[derive(Debug)]
pub(super) struct Route53 {
    client: reqwest::Client,
    url: Url,
    zone: String,
    credentials: Credentialed,
}

impl Route53 {
    pub(super) fn new(client: reqwest::Client, url: Url, zone: String, credentials: Credentialed) -> Self {
        Self { client, url, zone, credentials }
    }

    pub(super) async fn read(&self, name: &DnsName) -> Result<Found, DnsError> {
        let mark = mark_name(name).map_err(DnsError::Setup)?;
        let mut found = Found::default();
        for place in [name, &mark] {
            let mut url = self.place();
            // Sets are listed in order of name, so that this name's come first.
            url.query_pairs_mut().append_pair("maxitems", "20").append_pair("name", place.as_str());
            let xml = self.call(Method::GET, url, String::new()).await?;
            for set in elements(&xml, "ResourceRecordSet") {
                take(&mut found, place, set, *place == mark);
            }
        }
        Ok(found)
    }

    pub(super) async fn write(&self, change: &Change) -> Result<(), DnsError> {
        let answer = self.call(Method::POST, self.place(), batch(change)?).await;
        match answer {
            Err(DnsError::Refused { reason, .. })
                if reason.contains("InvalidChangeBatch") && !change.from.addresses.is_empty() =>
            {
                Err(DnsError::Changed(change.name.clone()))
            }
            other => other.map(drop),
        }
    }

    fn place(&self) -> Url {
        below(&self.url, &format!("{VERSION}/hostedzone/{}/rrset", self.zone))
    }

    async fn call(&self, method: Method, url: Url, text: String) -> Result<String, DnsError> {
        let place = url.host_str().unwrap_or("route53").to_owned();
        let unreachable = |reason: String| DnsError::Unreachable { place: place.clone(), reason };
        let credentials =
            (self.credentials.0)().await.map_err(|why| DnsError::Setup(format!("no AWS credentials: {why}")))?;
        let request = Request {
            method: method.as_str(),
            url: url.as_str(),
            content_type: "application/xml",
            body: text.as_bytes(),
        };
        let scope = Scope { service: "route53", region: REGION };
        let headers =
            sign(&request, scope, credentials, SystemTime::now()).map_err(|error| unreachable(error.to_string()))?;
        let mut request = self.client.request(method, url).body(text);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| unreachable(innermost(&error)))?;
        let status = response.status();
        let text = body(response, LARGEST).await.map_err(|error| unreachable(error.to_string()))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let said = |tag: &str| words(&plain(element(&text, tag).unwrap_or("none")));
        // A batch that is refused has no code, and messages of its own.
        let is_batch = text.contains("<InvalidChangeBatch");
        let code = if is_batch { "InvalidChangeBatch".to_owned() } else { said("Code") };
        Err(DnsError::Refused { place, reason: format!("HTTP {}, {code}: {}", status.as_u16(), said("Message")) })
    }
}

fn take(found: &mut Found, place: &DnsName, set: &str, is_mark: bool) {
    let text = |tag: &str| element(set, tag).map(plain);
    if text("Name").as_deref().map(|name| name.trim_end_matches('.')) != Some(place.as_str()) {
        return;
    }
    let values = elements(set, "Value").map(plain);
    let kind = text("Type").unwrap_or_default();
    if is_mark {
        if kind == "TXT" {
            found.marks.extend(values.map(|value| value.trim_matches('"').to_owned()));
        }
        return;
    }
    if let Some(policy) = text("SetIdentifier") {
        found.other = Some(format!("a record set with a routing policy, {policy:?},"));
    } else if set.contains("<AliasTarget>") {
        found.other = Some(format!("an alias record of kind {kind}"));
    } else if kind == "CNAME" {
        found.other = Some(format!("CNAME {}", values.last().unwrap_or_default()));
    } else if kind == "A" || kind == "AAAA" {
        let ttl = text("TTL").and_then(|ttl| ttl.parse().ok());
        for address in values.filter_map(|value| value.parse::<IpAddr>().ok()) {
            found.ttl.add(&address, ttl);
            found.addresses.insert(address);
        }
    }
}

/// A change as one batch.
fn batch(change: &Change) -> Result<String, DnsError> {
    let Change { name, from, to, ttl, mark } = change;
    let mut changes = String::new();
    let kinds = [("A", IpAddr::is_ipv4 as fn(&IpAddr) -> bool, from.ttl.v4), ("AAAA", IpAddr::is_ipv6, from.ttl.v6)];
    for (kind, is_kind, ttl_before) in kinds {
        let of = |all: &BTreeSet<IpAddr>| {
            all.iter().filter(|address| is_kind(address)).map(ToString::to_string).collect::<Vec<_>>()
        };
        let (before, after) = (of(&from.addresses), of(to));
        if before == after && ttl_before == Some(*ttl) {
            continue;
        }
        changes.push_str(&one("DELETE", name, kind, ttl_before.unwrap_or(*ttl), &before));
        changes.push_str(&one("CREATE", name, kind, *ttl, &after));
    }
    if from.marks.is_empty() {
        let place = mark_name(name).map_err(DnsError::Setup)?;
        changes.push_str(&one("CREATE", &place, "TXT", *ttl, &[format!("\"{mark}\"")]));
    }
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ChangeResourceRecordSetsRequest \
         xmlns=\"https://route53.amazonaws.com/doc/{VERSION}/\"><ChangeBatch><Changes>{changes}</Changes></ChangeBatch>\
         </ChangeResourceRecordSetsRequest>"
    ))
}

/// One record set; nothing where there is none.
fn one(action: &str, name: &DnsName, kind: &str, ttl: u32, values: &[String]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let values: String = values
        .iter()
        .map(|value| format!("<ResourceRecord><Value>{}</Value></ResourceRecord>", escaped(value)))
        .collect();
    format!(
        "<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}.</Name><Type>{kind}</Type><TTL>{ttl}</TTL>\
         <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet></Change>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_record_sets_is_read_and_what_is_no_plain_set_is_told() {
        let xml = "<ListResourceRecordSetsResponse><ResourceRecordSets><ResourceRecordSet><Name>p2p.example.org.</Name>\
                   <Type>A</Type><TTL>30</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord>\
                   <ResourceRecord><Value>192.0.2.2</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>\
                   <ResourceRecordSet><Name>q.example.org.</Name><Type>A</Type><TTL>9</TTL><ResourceRecords><ResourceRecord>\
                   <Value>192.0.2.3</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></ResourceRecordSets>";
        let name = "p2p.example.org".parse().unwrap();
        let mut found = Found::default();
        for set in elements(xml, "ResourceRecordSet") {
            take(&mut found, &name, set, false);
        }
        assert_eq!((crate::shown(&found.addresses).as_str(), found.ttl.v4), ("192.0.2.1, 192.0.2.2", Some(30)));
        let other = |set: &str| {
            let mut found = Found::default();
            take(&mut found, &name, set, false);
            found.other.unwrap_or_default()
        };
        let head = "<Name>p2p.example.org.</Name><Type>A</Type>";
        assert!(
            other(&format!("{head}<SetIdentifier>eu</SetIdentifier><Weight>1</Weight>")).contains("routing policy")
        );
        assert!(other(&format!("{head}<AliasTarget><DNSName>x.</DNSName></AliasTarget>")).contains("alias"));
        let mut marks = Found::default();
        let mark = "<Name>p2p.example.org.</Name><Type>TXT</Type><Value>&quot;heritage=picket,mesh=m&quot;</Value>";
        take(&mut marks, &name, mark, true);
        assert!(marks.marks.contains("heritage=picket,mesh=m"));
    }

    #[test]
    fn sets_whose_times_to_live_differ_are_deleted_as_they_stand() {
        let name: DnsName = "p2p.example.org".parse().unwrap();
        let set = |kind: &str, ttl: u32, value: &str| {
            format!("<Name>{name}.</Name><Type>{kind}</Type><TTL>{ttl}</TTL><Value>{value}</Value>")
        };
        let mut from = Found::default();
        take(&mut from, &name, &set("A", 60, "192.0.2.1"), false);
        take(&mut from, &name, &set("AAAA", 300, "2001:db8::1"), false);
        let change = |to: &[&str]| Change {
            name: name.clone(),
            from: from.clone(),
            to: to.iter().map(|address| address.parse().unwrap()).collect(),
            ttl: 30,
            mark: "m".into(),
        };
        let told = |change: &Change| {
            let xml = batch(change).unwrap();
            let each = elements(&xml, "Change").map(|change| {
                let text = |tag: &str| element(change, tag).unwrap().to_owned();
                [text("Action"), text("Type"), text("TTL")].join(" ")
            });
            each.collect::<Vec<_>>()
        };
        let expect = ["DELETE A 60", "CREATE A 30", "DELETE AAAA 300", "CREATE TXT 30"];
        assert_eq!(told(&change(&["192.0.2.1"])), expect);
        // A family that is as it shall be stays.
        let same = Change { ttl: 60, ..change(&["192.0.2.1"]) };
        assert_eq!(told(&same), ["DELETE AAAA 300", "CREATE TXT 60"]);
    }
}
