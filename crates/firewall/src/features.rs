//! What a host's kernel can do beyond the plain gate, and the texts that find out. A kernel without one of these loses that
//! protection and keeps the gate: a table that is refused as a whole would leave guarded ports as they were.

/// What may be built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Rates per source: dynamic sets with limits.
    pub meters: bool,
    /// Connections per source: connection tracking and its counts.
    pub connections: bool,
    /// Time limits of tracked connections.
    pub half_open: bool,
    /// Elements that end by themselves.
    pub timeouts: bool,
    /// Netlink group that samples of refused packets go to; `None` for nowhere.
    pub log_group: Option<u16>,
}

/// The group samples go to where nobody says another.
pub const LOG_GROUP: u16 = 71;

/// The group that the agent itself listens to, beside the one that is left to others: a group has one listener.
pub const fn agents_group(group: u16) -> u16 {
    match group.checked_add(1) {
        Some(next) => next,
        None => group - 1,
    }
}

impl Default for Features {
    /// All: every distribution's kernel since 5.10 has them.
    fn default() -> Self {
        Self { meters: true, connections: true, half_open: true, timeouts: true, log_group: Some(LOG_GROUP) }
    }
}

impl Features {
    /// Those that do not exist where the kernel refuses their text, which `takes` tells by trying without keeping it.
    pub async fn probe<E>(self, takes: impl AsyncFn(&str) -> Result<bool, E>) -> Result<Self, E> {
        let connections = self.connections && takes(CONNECTIONS).await?;
        Ok(Self {
            meters: self.meters && takes(METERS).await?,
            connections,
            half_open: connections && self.half_open && takes(HALF_OPEN).await?,
            timeouts: self.timeouts && takes(TIMEOUTS).await?,
            log_group: match self.log_group {
                Some(group) if takes(LOG).await? => Some(group),
                _ => None,
            },
        })
    }

    /// What is missing of what was asked for, as an operator calls it.
    pub fn missing(&self, wanted: &Self) -> Vec<&'static str> {
        let each = [
            (wanted.meters && !self.meters, "rates of new connections (nft_limit, dynamic sets)"),
            (wanted.connections && !self.connections, "numbers of connections (nft_connlimit, nf_conntrack)"),
            (wanted.half_open && !self.half_open, "time limits of half-open connections (nft_ct timeout objects)"),
            (wanted.timeouts && !self.timeouts, "grants that end by themselves (timeouts of sets)"),
            (wanted.log_group.is_some() && self.log_group.is_none(), "samples of refused packets (nfnetlink_log)"),
        ];
        each.into_iter().filter_map(|(is_missing, name)| is_missing.then_some(name)).collect()
    }
}

const METERS: &str = "table inet picket_probe {
    set probe_syn { typeof ip saddr; size 4; flags dynamic,timeout; timeout 10s; }
    chain probe_in { update @probe_syn { ip saddr limit rate 20/second burst 40 packets } accept; }
}
";
const CONNECTIONS: &str = "table inet picket_probe {
    set probe_open { typeof ip saddr; size 4; flags dynamic; }
    chain probe_in { ct state new add @probe_open { ip saddr ct count 4 } accept; }
}
";
const HALF_OPEN: &str = "table inet picket_probe {
    ct timeout probe_half { protocol tcp; l3proto ip; policy = { syn_recv : 3 }; }
    chain probe_in { ct timeout set \"probe_half\"; }
}
";
const TIMEOUTS: &str = "table inet picket_probe {
    set probe_host { typeof ip saddr; flags timeout; timeout 1d; elements = { 192.0.2.1 }; }
    set probe_net { typeof ip6 saddr; flags interval,timeout; timeout 1d; elements = { 2001:db8::/32 }; }
}
";
const LOG: &str = "table inet picket_probe {
    chain probe_in { limit rate 5/second burst 20 packets log prefix \"picket \" group 71; }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_kernel_refuses_is_missing_and_named_and_nothing_else() {
        let refuses = |word: &'static str| async move |text: &str| Ok::<_, ()>(!text.contains(word));
        let all = Features::default();
        let check = async |word: &'static str, expect: Features, named: &str| {
            let found = all.probe(refuses(word)).await.unwrap();
            assert_eq!(found, expect, "{word}");
            assert!(found.missing(&all).join(", ").contains(named), "{word}");
        };
        let none = Features { meters: false, connections: false, half_open: false, timeouts: false, log_group: None };
        check("nothing of that", all, "").await;
        check("dynamic,timeout", Features { meters: false, ..all }, "rates").await;
        check("ct count", Features { connections: false, half_open: false, ..all }, "numbers").await;
        check("ct timeout", Features { half_open: false, ..all }, "half-open").await;
        check("flags interval,timeout", Features { timeouts: false, ..all }, "grants").await;
        check("log prefix", Features { log_group: None, ..all }, "samples").await;
        check("table", none, "nfnetlink_log").await;
        assert_eq!(
            none.probe(async |_: &str| Ok::<_, ()>(true)).await.unwrap(),
            none,
            "what is not asked for stays away"
        );
        assert_eq!(all.probe(async |_: &str| Err::<bool, _>("no nft")).await, Err("no nft"));
    }
}
