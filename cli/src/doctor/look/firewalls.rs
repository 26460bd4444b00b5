//! Other firewalls: what nft lists, what the old iptables has, and which services write rules at boot.

use super::programs;
use crate::doctor::facts::{Chain, Firewalls, Flusher, Seen, Services};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::Path,
};

/// Ours, as nft names it.
const OURS: &str = "inet picket";
/// Where systemd keeps what administrators and packages add.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

pub(super) async fn look(root: &Path) -> Firewalls {
    let (chains, ours) = match tables().await {
        Ok((chains, ours)) => (Ok(chains), Ok(ours)),
        Err(why) => (Err(why.clone()), Err(why)),
    };
    Firewalls { chains, ours, legacy: legacy(root), services: services(root) }
}

fn services(root: &Path) -> Services {
    let exists = |path: &str| root.join(path).exists();
    let says = |path: &str, line: &str| {
        fs::read_to_string(root.join(path)).is_ok_and(|text| text.lines().any(|found| found.trim() == line))
    };
    let wanted = |unit: &str| exists(&format!("etc/systemd/system/sysinit.target.wants/{unit}"));
    let has_our_file = UNITS.iter().any(|folder| exists(&format!("{folder}/nftables.service.d/picket.conf")));
    let (enabled, flushes) = (wanted("nftables.service"), says("etc/nftables.conf", "flush ruleset"));
    Services {
        ufw: says("etc/ufw/ufw.conf", "ENABLED=yes"),
        firewalld: exists("etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service"),
        flusher: Flusher { enabled, flushes, has_our_file },
        lockdown: exists("run/systemd/system").then(|| wanted("picket-lockdown.service")),
    }
}

/// Others' chains on the way in, and whether our table is there.
async fn tables() -> Seen<(Vec<Chain>, bool)> {
    let nft = programs::locate("nft").ok_or("there is no nft program")?;
    let ours =
        programs::ask(&nft, &["list", "tables"]).await?.lines().any(|line| line.trim() == format!("table {OURS}"));
    let mut chains = inputs(&programs::ask(&nft, &["-j", "list", "chains"]).await?)?;
    let mut listings = BTreeMap::new();
    for table in chains.iter().filter(|chain| chain.drops).map(|chain| chain.table.clone()).collect::<BTreeSet<_>>() {
        let words: Vec<_> = ["list", "table"].into_iter().chain(table.split(' ')).collect();
        let listing = programs::ask(&nft, &words).await?;
        listings.insert(table, accepted(&listing));
    }
    for chain in &mut chains {
        chain.accepts = listings.get(&chain.table).cloned().unwrap_or_default();
    }
    Ok((chains, ours))
}

/// Chains of others on an input hook, from `nft -j list chains` (libnftables-json(5)).
fn inputs(text: &str) -> Seen<Vec<Chain>> {
    let answer: Value = serde_json::from_str(text).map_err(|error| format!("nft prints no JSON: {error}"))?;
    let entries = answer.get("nftables").and_then(Value::as_array).ok_or("nft prints another JSON")?;
    let chains = entries.iter().filter_map(|entry| {
        let chain = entry.get("chain")?;
        let text = |key: &str| chain.get(key).and_then(Value::as_str);
        let table = format!("{} {}", text("family")?, text("table")?);
        let is_others = table != OURS && text("hook")? == "input";
        let drops = text("policy") == Some("drop");
        is_others.then(|| Chain {
            table,
            chain: text("name").unwrap_or("-").to_owned(),
            drops,
            accepts: BTreeSet::new(),
        })
    });
    Ok(chains.collect())
}

/// Ports that a rule of a listing accepts: read as a person would skim it, not as the kernel would judge a packet.
fn accepted(listing: &str) -> BTreeSet<u16> {
    let rules = listing.lines().filter(|line| line.contains("dport") && line.contains("accept"));
    rules.flat_map(|rule| rule.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok())).collect()
}

/// Tables that the old iptables made; only root may read it, and it is not there where it made none.
fn legacy(root: &Path) -> Seen<Vec<String>> {
    let mut names = BTreeSet::new();
    for file in ["ip_tables_names", "ip6_tables_names"] {
        match fs::read_to_string(root.join("proc/net").join(file)) {
            Ok(text) => names.extend(text.lines().map(str::to_owned)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::host;
    use super::*;

    #[test]
    fn others_chains_on_the_way_in_are_found_and_ours_is_not() {
        let chain = |table: &str, name: &str, hook: &str, policy: &str| {
            format!(
                r#"{{"chain": {{"family": "inet", "table": "{table}", "name": "{name}", "handle": 1, "type": "filter", "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}"#
            )
        };
        let text = format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}}, {}, {}, {}, {{"chain": {{"family": "inet", "table": "filter", "name": "plain", "handle": 9}}}}]}}"#,
            chain("filter", "input", "input", "drop"),
            chain("filter", "output", "output", "accept"),
            chain("picket", "input", "input", "drop"),
        );
        let accepts = BTreeSet::new();
        let expect = Chain { table: "inet filter".to_owned(), chain: "input".to_owned(), drops: true, accepts };
        assert_eq!(inputs(&text), Ok(vec![expect]));
        assert!(inputs("nothing").is_err() && inputs("{}").is_err());
    }

    #[test]
    fn ports_of_accepting_rules_are_read() {
        let listing = "table inet filter {\n chain input {\n  tcp dport { 22, 7100 } accept\n  udp dport 51820 counter packets 3 bytes 300 accept\n  \
                       tcp dport 9000 drop\n }\n}\n";
        let ports = accepted(listing);
        assert!([22, 7100, 51820].iter().all(|port| ports.contains(port)) && !ports.contains(&9000), "{ports:?}");
    }

    #[test]
    fn services_that_write_rules_are_seen_by_their_files() {
        let root = host(&[
            ("proc/net/ip_tables_names", "filter\nnat\n"),
            ("etc/ufw/ufw.conf", "# ENABLED=no\nENABLED=yes\n"),
            ("etc/nftables.conf", "#!/usr/sbin/nft -f\n\nflush ruleset\n"),
            ("etc/systemd/system/sysinit.target.wants/nftables.service", ""),
            ("run/systemd/system/x", ""),
        ]);
        let flusher = Flusher { enabled: true, flushes: true, has_our_file: false };
        let expect = Services { ufw: true, firewalld: false, flusher, lockdown: Some(false) };
        assert_eq!(services(root.path()), expect);
        assert_eq!(legacy(root.path()), Ok(vec!["filter".to_owned(), "nat".to_owned()]));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!((legacy(empty.path()), services(empty.path())), (Ok(Vec::new()), Services::default()));
    }
}
