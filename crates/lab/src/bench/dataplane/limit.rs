//! What the cipher alone lets this machine carry, if all else were free: computed in the run whose figures are held against it.

use super::{Figures, Report, rounded};
use anyhow::anyhow;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::json;
use std::{
    num::NonZero,
    thread::available_parallelism,
    time::{Duration, Instant},
};

const PACKET: usize = super::place::MTU as usize;
/// In one row between two looks at the clock.
const BATCH: u32 = 1_000;
const FOR: Duration = Duration::from_millis(300);
/// One seals and one opens; more cores do not help one tunnel's two ends.
const CORES: usize = 2;

/// Gigabits a second, with a sealing and an opening end on the cores that there are, two at most.
pub(super) fn measure(report: &Report) -> anyhow::Result<f64> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(|_| anyhow!("a key of 32 bytes is none"))?;
    let key = LessSafeKey::new(key);
    let nonce = || Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let mut packet = vec![7; PACKET];
    let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut packet).map_err(|_| anyhow!("seal"))?;
    let mut sealed = packet.clone();
    sealed.extend_from_slice(tag.as_ref());
    let seal = time(|| key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut packet).is_ok())?;
    let mut buffer = sealed.clone();
    let open = time(|| {
        buffer.copy_from_slice(&sealed);
        key.open_in_place(nonce(), Aad::empty(), &mut buffer).is_ok()
    })?;
    let cores = available_parallelism().map_or(1, NonZero::get).min(CORES);
    let limit = f64::from(super::place::MTU) * 8.0 / (seal + open) * if cores > 1 { 2.0 } else { 1.0 };
    report.row(&json!({
        "case": "limit", "seal_ns": rounded(seal), "open_ns": rounded(open), "packet_bytes": PACKET, "cores": cores,
        "gbit_s": rounded(limit),
    }))?;
    Ok(limit)
}

/// Nanoseconds that one call takes, the median of batches.
fn time(mut call: impl FnMut() -> bool) -> anyhow::Result<f64> {
    let (begun, mut figures) = (Instant::now(), Figures::default());
    while begun.elapsed() < FOR {
        let batch = Instant::now();
        for _ in 0..BATCH {
            anyhow::ensure!(call(), "the cipher does not open what it sealed");
        }
        figures.add(batch.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
    }
    Ok(figures.median())
}
