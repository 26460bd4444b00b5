//! Cloudflare, as far as one name's records go: version 4 of its API. A change is one batch, which Cloudflare says is carried out in one
//! transaction of its database; records are deleted by their id, so that one that somebody else replaced in between makes it fail.

use super::{DnsError, below, words};
use crate::{Change, Found, record::mark_name, secret::Secret};
use picket_model::DnsName;
use picket_proofs::outside::{body, innermost};
use reqwest::{Method, Url, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;

pub(super) const URL: &str = "https://api.cloudflare.com/client/v4";
const LARGEST: usize = 1 << 20;

/// A zone.
#[derive(Debug)]
pub(super) struct Cloudflare {
    client: reqwest::Client,
    url: Url,
    zone: String,
    token: Secret,
}

#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    errors: Vec<Complaint>,
    #[serde(default)]
    result: Value,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// A record as it is listed.
#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    proxied: bool,
}

impl Cloudflare {
    pub(super) fn new(client: reqwest::Client, url: Url, zone: String, token: Secret) -> Self {
        Self { client, url, zone, token }
    }

    pub(super) async fn read(&self, name: &DnsName) -> Result<Found, DnsError> {
        self.listed(name).await.map(|listed| found(name, &listed))
    }

    pub(super) async fn write(&self, change: &Change) -> Result<(), DnsError> {
        let Change { name, from, to, ttl, mark } = change;
        let listed = self.listed(name).await?;
        if found(name, &listed) != *from {
            return Err(DnsError::Changed(name.clone()));
        }
        let address = |record: &Listed| {
            record.content.parse::<IpAddr>().ok().filter(|_| is_address(record) && record.name == name.as_str())
        };
        let stays =
            |record: &Listed| address(record).is_some_and(|address| to.contains(&address)) && record.ttl == *ttl;
        let gone: Vec<Value> = listed
            .iter()
            .filter(|record| address(record).is_some() && !stays(record))
            .map(|record| json!({"id": record.id}))
            .collect();
        let kept: Vec<IpAddr> = listed.iter().filter(|record| stays(record)).filter_map(address).collect();
        let mut new: Vec<Value> = to
            .iter()
            .filter(|address| !kept.contains(address))
            .map(|address| {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                // Proxied, it would be Cloudflare's own address, which passes on HTTP alone.
                json!({"type": kind, "name": name.as_str(), "content": address.to_string(), "ttl": ttl, "proxied": false})
            })
            .collect();
        if from.marks.is_empty() {
            let place = mark_name(name).map_err(DnsError::Setup)?;
            new.push(json!({"type": "TXT", "name": place.as_str(), "content": format!("\"{mark}\""), "ttl": ttl}));
        }
        let url = below(&self.url, &format!("zones/{}/dns_records/batch", self.zone));
        self.call(Method::POST, url, Some(json!({"deletes": gone, "posts": new}))).await.map(drop)
    }

    /// All records at the name and at that of its mark.
    async fn listed(&self, name: &DnsName) -> Result<Vec<Listed>, DnsError> {
        let mark = mark_name(name).map_err(DnsError::Setup)?;
        let mut all = Vec::new();
        for place in [name, &mark] {
            let mut url = below(&self.url, &format!("zones/{}/dns_records", self.zone));
            url.query_pairs_mut().append_pair("name", place.as_str()).append_pair("per_page", "100");
            let result = self.call(Method::GET, url, None).await?;
            let listed: Vec<Listed> = serde_json::from_value(result)
                .map_err(|error| self.unreachable(format!("no list of records: {error}")))?;
            // Whatever the filter meant, only this name is looked at.
            all.extend(listed.into_iter().filter(|record| record.name == place.as_str()));
        }
        Ok(all)
    }

    async fn call(&self, method: Method, url: Url, content: Option<Value>) -> Result<Value, DnsError> {
        let mut request = self.client.request(method, url).bearer_auth(self.token.0.as_str());
        if let Some(content) = content {
            request = request.header(header::CONTENT_TYPE, "application/json").body(content.to_string());
        }
        let response = request.send().await.map_err(|error| self.unreachable(innermost(&error)))?;
        let status = response.status().as_u16();
        let text = body(response, LARGEST).await.map_err(|error| self.unreachable(error.to_string()))?;
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|_| self.unreachable(format!("HTTP {status} without an answer of its API")))?;
        if answer.success {
            return Ok(answer.result);
        }
        let said: Vec<String> =
            answer.errors.iter().map(|error| format!("{} ({})", words(&error.message), error.code)).collect();
        Err(DnsError::Refused { place: self.place(), reason: format!("HTTP {status}: {}", said.join("; ")) })
    }

    fn place(&self) -> String {
        self.url.host_str().unwrap_or("Cloudflare").to_owned()
    }

    fn unreachable(&self, reason: String) -> DnsError {
        DnsError::Unreachable { place: self.place(), reason }
    }
}

fn is_address(record: &Listed) -> bool {
    record.kind == "A" || record.kind == "AAAA"
}

fn found(name: &DnsName, listed: &[Listed]) -> Found {
    let mut found = Found::default();
    for record in listed {
        if record.name != name.as_str() {
            if record.kind == "TXT" {
                found.marks.insert(record.content.trim_matches('"').to_owned());
            }
        } else if record.kind == "CNAME" {
            found.other = Some(format!("CNAME {}", record.content));
        } else if is_address(record) && record.proxied {
            found.other = Some("an address behind Cloudflare's proxy, which passes on HTTP alone,".to_owned());
        } else if is_address(record) {
            let address = record.content.parse::<IpAddr>().ok();
            address.iter().for_each(|address| found.ttl.add(address, Some(record.ttl)));
            found.addresses.extend(address);
        }
    }
    found
}
