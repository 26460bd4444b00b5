//! Which sentry carries what: rendezvous hashing with weights. Each destination asks every sentry for its score and takes
//! the highest, so that a sentry that goes moves its own share and nobody else's. Values in, values out.

use ipnet::IpNet;
use picket_model::NodeId;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// A sentry's share among all: half the weight, half the destinations.
pub type Weight = NonZeroU32;

/// Bits after the point of a logarithm.
const FRACTION: u32 = 32;

/// The sentry of each destination; empty without sentries. The same on every machine: nothing here is a floating-point number.
///
/// Weighted rendezvous hashing as in Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005), the logarithmic
/// method: of independent uniform `u`, the least `-ln(u) / weight` belongs to a sentry with a chance of its share.
pub fn spread(destinations: &BTreeSet<IpNet>, sentries: &BTreeMap<NodeId, Weight>) -> BTreeMap<IpNet, NodeId> {
    destinations.iter().filter_map(|to| Some((*to, chosen(*to, sentries)?.clone()))).collect()
}

fn chosen(destination: IpNet, sentries: &BTreeMap<NodeId, Weight>) -> Option<&NodeId> {
    let cost = |sentry: &NodeId, weight: Weight| {
        // Distances are at most 2^38, so that this shift loses nothing, and the quotient keeps its precision.
        (distance(hash(destination, sentry)) << 24) / u64::from(weight.get())
    };
    let costs = sentries.iter().map(|(sentry, weight)| (cost(sentry, *weight), sentry));
    costs.min().map(|(_, sentry)| sentry)
}

fn hash(destination: IpNet, sentry: &NodeId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(destination.trunc().to_string());
    hash.update([0]);
    hash.update(sentry.as_str());
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// `-log2(number / 2^64)` in units of 2^-32, at least one: digits one by one, by squaring.
fn distance(number: u64) -> u64 {
    let number = number.max(1);
    let whole = 63 - u64::from(number.leading_zeros());
    // From 1 up to 2, with 63 bits after the point.
    let mut rest = u128::from(number) << (63 - whole);
    let mut logarithm = whole << FRACTION;
    for digit in (0..FRACTION).rev() {
        rest = (rest * rest) >> 63;
        if rest >> 64 > 0 {
            rest >>= 1;
            logarithm |= 1 << digit;
        }
    }
    ((64 << FRACTION) - logarithm).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn destinations(count: u32) -> BTreeSet<IpNet> {
        (0..count).map(|n| IpNet::from(std::net::IpAddr::from((0x0500_0000 + n).to_be_bytes()))).collect()
    }

    fn sentries(weights: &[(u8, u32)]) -> BTreeMap<NodeId, Weight> {
        weights.iter().map(|(n, w)| (format!("n-{n}").parse().unwrap(), Weight::new(*w).unwrap())).collect()
    }

    #[test]
    fn logarithms_are_those_of_the_library() {
        for number in [1, 2, 3, 1000, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX - 5] {
            let expected = 64.0 - (number as f64).log2();
            let found = distance(number) as f64 / f64::from(u32::MAX);
            assert!((found - expected).abs() < 1e-6, "{number}: {found} {expected}");
        }
    }

    #[test]
    fn nobody_carries_anything_where_there_is_no_sentry() {
        assert_eq!(spread(&destinations(3), &BTreeMap::new()), BTreeMap::new());
    }

    #[test]
    fn every_build_on_every_machine_chooses_the_same() {
        let spread = spread(&destinations(8), &sentries(&[(1, 16), (2, 16), (3, 32)]));
        let chosen: Vec<&str> = spread.values().map(NodeId::as_str).collect();
        // Computed apart from this code, with Python's hashlib and math.log2.
        assert_eq!(chosen, ["n-3", "n-3", "n-3", "n-2", "n-2", "n-3", "n-2", "n-3"]);
    }

    #[test]
    fn shares_are_as_the_weights() {
        let spread = spread(&destinations(20_000), &sentries(&[(1, 1), (2, 1), (3, 2), (4, 4)]));
        for (n, share) in [(1, 1), (2, 1), (3, 2), (4, 4)] {
            let found = spread.values().filter(|node| node.as_str() == format!("n-{n}")).count();
            let expected = 20_000 * share / 8;
            // Four standard deviations of the binomial distribution.
            assert!(found.abs_diff(expected) < 4 * 66, "n-{n}: {found} of {expected}");
        }
    }

    proptest! {
        /// Whoever goes, comes, or changes its weight moves what it loses or gains and nothing between others.
        #[test]
        fn only_the_share_of_the_one_that_changed_moves(
            weights in proptest::collection::btree_map(0..8_u8, 1..64_u32, 1..8),
            other in 0..8_u8, weight in 0..64_u32,
        ) {
            let before: Vec<(u8, u32)> = weights.clone().into_iter().collect();
            let mut changed = weights;
            changed.remove(&other);
            changed.extend((weight > 0).then_some((other, weight)));
            let after: Vec<(u8, u32)> = changed.into_iter().collect();
            let all = destinations(60);
            let (first, second) = (spread(&all, &sentries(&before)), spread(&all, &sentries(&after)));
            let other: NodeId = format!("n-{other}").parse().unwrap();
            for (destination, sentry) in &second {
                let had = &first[destination];
                prop_assert!(sentry == had || *sentry == other || *had == other, "{destination}: {had} to {sentry}");
            }
        }
    }
}
