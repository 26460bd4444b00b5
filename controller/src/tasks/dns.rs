//! Keeps names where the sentries are: looks whenever a host reports or the plan changes, and writes what is otherwise than it
//! shall be. Each name has a task of its own, so that a server that is away keeps no other name waiting.

use super::report;
use crate::{
    controller::Controller,
    dns::gather,
    hooks::CredentialSource,
    now,
    store::{Actor, StoreError},
};
use anyhow::Context as _;
use picket_api::dns::{NameSentry, NameView};
use picket_dns::{
    Change, DnsLines, Found, Step, mark,
    provider::{Credentialed, DnsError, Provider},
    shown, step,
    wish::{Memory, Wish},
};
use picket_model::{NodeName, Timestamp};
use picket_plan::{Finding, FindingKind};
use picket_proofs::outside;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How often it is looked whether somebody waits no longer, or is silent by now.
const EVERY: Duration = Duration::from_secs(1);
/// What happens within this time is looked at together.
const GATHER: Duration = Duration::from_millis(100);
/// How often a name is read though nothing is to be changed: others may have changed it.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// Between two tries, in milliseconds: doubled each time, and at most.
const PAUSES: (u64, u64) = (500, 60_000);

/// One name, ready to be kept.
pub(crate) struct Keeper {
    lines: DnsLines,
    provider: Provider,
    memory: Memory,
    found: Option<(Found, Instant)>,
    /// The time to live that the server keeps, whatever is written: what differs only in that is not written at each look.
    kept_ttl: Option<u32>,
    failures: u32,
    next_at: Instant,
    view: NameView,
}

impl Keeper {
    /// As configured; secrets are read now.
    pub(crate) fn all(lines: &[DnsLines], metadata: &str) -> anyhow::Result<Vec<Self>> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let client = outside::client(outside::host_roots(), false)?;
        let source = Arc::new(CredentialSource::new(client.clone(), metadata)?);
        let credentials = Credentialed::by(move || {
            let source = source.clone();
            async move { source.get(now()).await }
        });
        let keeper = |lines: &DnsLines| {
            let provider = Provider::new(lines, &client, &credentials).map_err(anyhow::Error::msg);
            let provider = provider.with_context(|| format!("set up [[dns]] {}", lines.name))?;
            let view = NameView {
                name: lines.name.to_string(),
                provider: provider.name().to_owned(),
                ttl: lines.ttl,
                ..NameView::default()
            };
            Ok(Self {
                lines: lines.clone(),
                provider,
                memory: Memory::default(),
                found: None,
                kept_ttl: None,
                failures: 0,
                next_at: Instant::now(),
                view,
            })
        };
        lines.iter().map(keeper).collect()
    }

    fn stands(&self) -> BTreeSet<std::net::IpAddr> {
        self.found.as_ref().map(|(found, _)| found.addresses.clone()).unwrap_or_default()
    }

    /// Whether what stands there must be read: it never was, not for long, or it is not what it shall be.
    fn is_due(&self, wish: &Wish) -> bool {
        let Some((found, read_at)) = &self.found else { return true };
        let differs = !wish.addresses.is_empty() && is_otherwise(found, &wish.addresses, self.lines.ttl, self.kept_ttl);
        // Where it must not be written, reading it more often changes nothing.
        (differs && self.view.held.is_none()) || read_at.elapsed() >= READ_AGAIN
    }
}

/// Whether something else stands there than shall, but for a time to live that the server does not let go of.
fn is_otherwise(found: &Found, wanted: &BTreeSet<std::net::IpAddr>, ttl: u32, kept_ttl: Option<u32>) -> bool {
    let is_kept = kept_ttl.is_some() && found.ttl.longest() == kept_ttl;
    found.addresses != *wanted || (!found.ttl.are(ttl) && !is_kept)
}

/// Keeps a name for as long as the controller runs.
pub(crate) async fn run(controller: Arc<Controller>, mut keeper: Keeper) {
    let (mut arrivals, mut changes) = (controller.reports.arrivals(), controller.wanted.changes());
    loop {
        arrivals.mark_unchanged();
        changes.mark_unchanged();
        if controller.duties.is_mine()
            && let Err(error) = run_once(&controller, &mut keeper, now()).await
        {
            report("dns", &error);
        }
        // The senders live as long as the controller.
        let _ = timeout(EVERY, async {
            tokio::select! { _ = arrivals.changed() => {}, _ = changes.changed() => {} }
        })
        .await;
        sleep(GATHER).await;
    }
}

async fn run_once(controller: &Controller, keeper: &mut Keeper, now: Timestamp) -> Result<(), StoreError> {
    let (mut rules, mut sentries) = gather(controller, &keeper.lines, &keeper.stands(), now).await?;
    let mut wish = keeper.memory.wish(&rules, &sentries, &keeper.stands(), now);
    if keeper.is_due(&wish) && Instant::now() >= keeper.next_at {
        match keeper.provider.read(&keeper.lines.name).await {
            Ok(found) => {
                keeper.found = Some((found, Instant::now()));
                keeper.view.read_at = Some(now);
                // Who is in the name is judged otherwise than who is not.
                (rules, sentries) = gather(controller, &keeper.lines, &keeper.stands(), now).await?;
                wish = keeper.memory.wish(&rules, &sentries, &keeper.stands(), now);
                follow(controller, keeper, &wish, now).await?;
            }
            Err(error) => failed(controller, keeper, &error),
        }
    }
    tell(controller, keeper, &rules.preps, wish);
    Ok(())
}

/// Writes what is wanted where that may be, and reads it back.
async fn follow(controller: &Controller, keeper: &mut Keeper, wish: &Wish, now: Timestamp) -> Result<(), StoreError> {
    let Some((found, _)) = &keeper.found else { return Ok(()) };
    let lines = &keeper.lines;
    let mark = mark(controller.mesh.as_str());
    let change = match step(&lines.name, &wish.addresses, lines.ttl, &mark, lines.adopt, found) {
        Step::Nothing => {
            (keeper.view.held, keeper.view.error, keeper.failures) = (None, None, 0);
            return Ok(());
        }
        Step::Refuse(why) => {
            (keeper.view.held, keeper.view.error) = (Some(why), None);
            return Ok(());
        }
        Step::Write(change) => change,
    };
    let written = match keeper.provider.write(&change).await {
        Ok(()) => keeper.provider.read(&change.name).await.and_then(|back| is_written(&change, back)),
        Err(error) => Err(error),
    };
    match written {
        Ok(back) => {
            let error = other_ttl(&change, &back);
            controller.counts.dns_changed(change.name.as_str(), error.is_none());
            keeper.kept_ttl = error.as_ref().and_then(|_| back.ttl.longest());
            keeper.found = Some((back, Instant::now()));
            keeper.failures = 0;
            (keeper.view.held, keeper.view.error) = (None, error.as_ref().map(ToString::to_string));
            if error.is_some() && change.from.addresses == change.to && change.from.marks.contains(&change.mark) {
                return Ok(());
            }
            keeper.view.changed_at = Some(now);
            let detail = detail(&change, wish);
            tracing::info!(name = %change.name, detail, "dns.changed");
            let mut tx = controller.store.write().await?;
            tx.record(now, &Actor::Controller, "dns.changed", change.name.as_str(), &detail).await?;
            tx.commit().await
        }
        Err(error) => {
            // It may be changed all the same.
            keeper.found = None;
            failed(controller, keeper, &error);
            Ok(())
        }
    }
}

fn is_written(change: &Change, back: Found) -> Result<Found, DnsError> {
    let is_there = back.addresses == change.to && back.marks.contains(&change.mark);
    let reason = format!("it took the change, and {} stands there", shown(&back.addresses));
    if is_there { Ok(back) } else { Err(DnsError::Refused { place: change.name.to_string(), reason }) }
}

/// That the server took the addresses and keeps a time to live of its own.
fn other_ttl(change: &Change, back: &Found) -> Option<DnsError> {
    let ttl = back.ttl.longest().filter(|_| !back.ttl.are(change.ttl))?;
    let reason = format!("it took the addresses, and a time to live of {ttl} s stands there, and not {}", change.ttl);
    Some(DnsError::Refused { place: change.name.to_string(), reason })
}

fn failed(controller: &Controller, keeper: &mut Keeper, error: &DnsError) {
    let name = keeper.lines.name.as_str();
    tracing::warn!(name, %error, "a name was not written");
    controller.counts.dns_changed(name, false);
    keeper.view.error = Some(error.to_string());
    keeper.next_at = Instant::now() + pause(keeper.failures);
    keeper.failures = keeper.failures.saturating_add(1);
}

/// Shows how the name stands, and says what is wrong with it.
fn tell(controller: &Controller, keeper: &mut Keeper, preps: &BTreeSet<NodeName>, wish: Wish) {
    let view = &mut keeper.view;
    let name = view.name.clone();
    view.preps.clone_from(preps);
    view.wanted = wish.addresses;
    view.sentries =
        wish.sentries.into_iter().map(|s| NameSentry { name: s.name, addresses: s.addresses, out: s.out }).collect();
    let mut findings = Vec::new();
    if let Some((found, _)) = &keeper.found {
        view.found.clone_from(&found.addresses);
        controller.counts.dns_found(&name, found.addresses.len());
    }
    if let Some(error) = &view.error {
        let text = format!("name {name} is not written: {error}; it stays at {}", shown(&view.found));
        findings.push(Finding::warning(FindingKind::DnsFailing, &name, text));
    } else if let Some(why) = &view.held {
        findings.push(Finding::warning(FindingKind::DnsFailing, &name, format!("name {name} is not written: {why}")));
    }
    let nobody = if preps.is_empty() { Some("no line of policy.hidden advertises it".to_owned()) } else { wish.held };
    let mut shown_view = view.clone();
    if let Some(why) = nobody {
        let text = format!("name {name} stays at {}: {why}", shown(&view.found));
        findings.push(Finding::warning(FindingKind::DnsHeld, &name, text));
        shown_view.held = shown_view.held.or(Some(why));
    }
    controller.dns.put(shown_view, findings);
}

/// What changed, and for whom that was.
fn detail(change: &Change, wish: &Wish) -> String {
    let left = wish.sentries.iter().filter(|sentry| !sentry.addresses.is_disjoint(&change.from.addresses));
    let why: Vec<String> = left.filter_map(|s| s.out.as_ref().map(|why| format!("{} {why}", s.name))).collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
    format!("{} -> {}{why}", shown(&change.from.addresses), shown(&change.to))
}

/// How long to wait after so many failures in a row before.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(PAUSES.0.saturating_mul(1 << failures.min(20)).min(PAUSES.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_dns::{Ttls, wish::Standing};

    #[test]
    fn pauses_grow_and_stay_within_a_minute() {
        let millis = |failures| pause(failures).as_millis();
        assert_eq!([millis(0), millis(1), millis(4), millis(9), millis(u32::MAX)], [500, 1000, 8000, 60_000, 60_000]);
    }

    #[test]
    fn the_log_says_who_left_and_why() {
        let addresses = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<BTreeSet<_>>();
        let change = Change {
            name: "p2p.example.org".parse().unwrap(),
            from: Found { addresses: addresses(&["192.0.2.1", "192.0.2.2"]), ..Found::default() },
            to: addresses(&["192.0.2.2"]),
            ttl: 30,
            mark: mark("m-1"),
        };
        let standing = |number: u8, out: Option<&str>| Standing {
            name: format!("sentry-{number}").parse().unwrap(),
            addresses: addresses(&[&format!("192.0.2.{number}")]),
            out: out.map(str::to_owned),
        };
        let sentries =
            vec![standing(1, Some("answers prep-1 no more")), standing(2, None), standing(3, Some("is not in force"))];
        let wish = Wish { addresses: change.to.clone(), sentries, held: None };
        assert_eq!(detail(&change, &wish), "192.0.2.1, 192.0.2.2 -> 192.0.2.2: sentry-1 answers prep-1 no more");
        let back =
            |list: &[&str]| Found { addresses: addresses(list), marks: [mark("m-1")].into(), ..Found::default() };
        assert!(is_written(&change, back(&["192.0.2.2"])).is_ok());
        assert!(is_written(&change, back(&["192.0.2.1"])).unwrap_err().to_string().contains("192.0.2.1 stands there"));
    }

    #[test]
    fn a_server_that_keeps_a_time_to_live_of_its_own_is_told_of_and_not_written_at_each_look() {
        let address: BTreeSet<std::net::IpAddr> = ["192.0.2.1".parse().unwrap()].into();
        let with = |ttl| {
            let ttl = Ttls { v4: Some(ttl), v6: None };
            Found { addresses: address.clone(), ttl, marks: [mark("m-1")].into(), ..Found::default() }
        };
        let name = "p2p.example.org".parse().unwrap();
        let change = Change { name, from: with(300), to: address.clone(), ttl: 30, mark: mark("m-1") };
        assert_eq!(other_ttl(&change, &with(30)), None);
        let told = other_ttl(&change, &with(300)).unwrap().to_string();
        assert!(told.contains("a time to live of 300 s stands there, and not 30"), "{told}");
        let differs = |found: &Found, kept| is_otherwise(found, &address, 30, kept);
        assert_eq!(
            [differs(&with(30), None), differs(&with(300), None), differs(&with(300), Some(300))],
            [false, true, false]
        );
        assert!(differs(&with(60), Some(300)));
        assert!(differs(&Found { addresses: BTreeSet::new(), ..with(300) }, Some(300)));
    }
}
