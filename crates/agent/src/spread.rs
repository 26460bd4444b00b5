//! How hosts spread themselves over several controllers: the order in which each of them asks, and how soon it turns from one that
//! does not answer to the next. Values in, values out.

use picket_api::ApiError;
use picket_model::NodeName;
use sha2::{Digest as _, Sha256};
use std::{cmp::Reverse, time::Duration};

/// The order in which a host asks the controllers. Each host has one of its own, by rendezvous hashing: of many hosts each controller
/// is the first for about as many, and those of one that died go to all others. Whoever lists the URLs in another order, or adds
/// one, moves no more hosts than need be.
pub fn order(controllers: &[String], host: &NodeName) -> Vec<String> {
    let weight = |url: &String| -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(url.len().to_be_bytes());
        hash.update(url);
        hash.update(host.as_str());
        hash.finalize().into()
    };
    let mut order = controllers.to_vec();
    order.sort_by_cached_key(|url| Reverse(weight(url)));
    order
}

/// How long to wait before the next of `controllers` is asked, where a host with one controller waits for `alone`. One that could
/// not be reached is left at once, more or less: asked in turn, each of them is asked no more often than an only one. What one
/// that answers cannot do now, the others cannot either: they have the database in common.
pub fn delay(alone: Duration, error: &ApiError, controllers: usize) -> Duration {
    match error {
        ApiError::Unreachable { .. } => alone / u32::try_from(controllers.max(1)).unwrap_or(u32::MAX),
        _ => alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::Problem;
    use std::collections::BTreeMap;

    fn urls() -> Vec<String> {
        (1..=3).map(|number| format!("https://203.0.113.{number}:7443")).collect()
    }

    fn host(number: usize) -> NodeName {
        format!("sentry-{number}").parse().unwrap()
    }

    #[test]
    fn hosts_are_spread_evenly_and_so_are_those_of_one_that_died() {
        let mut first = BTreeMap::<String, usize>::new();
        let mut second = BTreeMap::<String, usize>::new();
        for number in 0..900 {
            let order = order(&urls(), &host(number));
            *first.entry(order[0].clone()).or_default() += 1;
            if order[0] == urls()[0] {
                *second.entry(order[1].clone()).or_default() += 1;
            }
        }
        assert!(first.len() == 3 && first.values().all(|hosts| (250..350).contains(hosts)), "{first:?}");
        assert!(second.len() == 2 && second.values().all(|hosts| (110..190).contains(hosts)), "{second:?}");
    }

    #[test]
    fn an_order_is_the_hosts_own_whatever_order_it_was_told() {
        let mut backwards = urls();
        backwards.reverse();
        for number in 0..20 {
            let order = order(&urls(), &host(number));
            assert_eq!(order, super::order(&backwards, &host(number)));
            // Of two, those that have the third first go by their second choice, and the others stay.
            let two = super::order(&urls()[..2], &host(number));
            let left: Vec<_> = order.into_iter().filter(|url| *url != urls()[2]).collect();
            assert_eq!(two, left);
        }
    }

    #[test]
    fn one_that_is_gone_is_left_sooner_than_one_that_has_no_database() {
        let gone = ApiError::Unreachable { url: String::new(), reason: String::new(), sent: false };
        let alone = Duration::from_secs(3);
        assert_eq!(delay(alone, &gone, 3), Duration::from_secs(1));
        assert_eq!(delay(alone, &gone, 1), alone);
        let problem = Problem::new(picket_api::ProblemKind::Unavailable, "the database does not answer");
        assert_eq!(delay(alone, &ApiError::Problem(problem), 3), alone);
    }
}
