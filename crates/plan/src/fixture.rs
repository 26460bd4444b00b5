//! Values for this crate's tests.

pub(crate) use picket_model::fixture::node;
use picket_model::{Grade, Provenance, Validator, ValidatorSet};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// The P-Rep with this number.
pub(crate) fn prep(number: usize) -> picket_model::PrepId {
    format!("hx{number:040x}").parse().unwrap()
}

/// Validators 0 to `count` - 1 at 5.0.x.y.
pub(crate) fn validators(count: usize) -> ValidatorSet {
    (0..count)
        .map(|number| {
            let address = Ipv4Addr::new(5, 0, u8::try_from(number / 256).unwrap(), u8::try_from(number % 256).unwrap());
            Validator {
                prep: prep(number),
                name: String::new(),
                node_address: format!("hx{number:040x}").parse().unwrap(),
                grade: Grade::Main,
                endpoint: format!("{address}:7100").parse().unwrap(),
                addresses: BTreeSet::from([address.into()]),
                provenance: Provenance {
                    sources: BTreeSet::from(["s-0".parse().unwrap()]),
                    since_height: 100,
                    advertised: BTreeMap::new(),
                },
                absent_since: None,
            }
        })
        .collect()
}
