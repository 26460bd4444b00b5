//! Samples of refused packets as a capture file, for whoever wants to look at them with tcpdump or Wireshark. Beside the agent
//! that runs, and without it; reads from the kernel and writes one file.

use crate::{cli::Place, host};
use anyhow::{Context as _, Result, ensure};
use picket_firewall::netlink::samples::{Sample, Samples};
use picket_model::Timestamp;
use picket_progress::Progress;
use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};
use tokio::{
    signal::ctrl_c,
    time::{Instant, sleep_until},
};

/// Bytes of each packet: all headers, and what a first packet says.
const BYTES: u16 = 256;
/// Magic number, version 2.4, no zone, no accuracy (pcap savefile format, draft-ietf-opsawg-pcap).
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: (u16, u16) = (2, 4);
/// `LINKTYPE_RAW`: begins with the IP header, of either family.
const RAW: u32 = 101;

/// Writes refused packets to `file`, `-` for standard output, until there are `count`, the time is over, or somebody ends it; what to
/// say then. The packets are those of `--log-group`, of which nobody else can hear meanwhile.
pub async fn capture(place: &Place, file: &Path, count: u64, lasts: Duration) -> Result<String> {
    ensure!(
        place.log_group != 0,
        "samples of refused packets are off on this host: --log-group (PICKET_LOG_GROUP) is 0"
    );
    let mut samples = Samples::open(place.log_group, BYTES)
        .context("is another program listening, `tcpdump -i nflog` for one? End it, and try again")?;
    let to: Box<dyn Write> = if file == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
        Box::new(opened.with_context(|| format!("write {}", file.display()))?)
    };
    let (mut to, mut written, end) = (BufWriter::new(to), 0, Instant::now() + lasts);
    let put = |to: &mut dyn Write, bytes: &[u8]| {
        to.write_all(bytes).and_then(|()| to.flush()).with_context(|| format!("write {}", file.display()))
    };
    let progress = Progress::begin(format!("refused packets, {} s at the most", lasts.as_secs()));
    put(&mut to, &head())?;
    while written < count {
        let sample = tokio::select! {
            sample = samples.next() => sample?,
            () = sleep_until(end) => break,
            _ = ctrl_c() => break,
        };
        put(&mut to, &record(&sample, host::now()))?;
        written += 1;
        progress.done(usize::try_from(written).unwrap_or(usize::MAX), usize::try_from(count).unwrap_or(usize::MAX));
    }
    Ok(format!("{written} refused packets written to {}", file.display()))
}

fn head() -> Vec<u8> {
    let words = [0, 0, u32::from(BYTES), RAW];
    let version = [VERSION.0, VERSION.1].map(u16::to_ne_bytes).concat();
    MAGIC.to_ne_bytes().into_iter().chain(version).chain(words.map(u32::to_ne_bytes).concat()).collect()
}

fn record(sample: &Sample, at: Timestamp) -> Vec<u8> {
    let millis = u64::try_from(at.as_millis()).unwrap_or_default();
    let here = sample.packet.len();
    let word = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_ne_bytes();
    let whole = whole(&sample.packet).unwrap_or(here).max(here);
    let words = [millis / 1000, millis % 1000 * 1000, here as u64, whole as u64].map(word).concat();
    words.into_iter().chain(sample.packet.iter().copied()).collect()
}

/// How long the packet was, as its header says (RFC 791, RFC 8200).
fn whole(packet: &[u8]) -> Option<usize> {
    let at = |place: usize| Some(usize::from(u16::from_be_bytes(*packet.get(place..)?.first_chunk()?)));
    match packet.first()? >> 4 {
        4 => at(2),
        6 => Some(40 + at(4)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_what_it_holds_and_a_packet_says_how_long_it_was() {
        let words = |bytes: &[u8]| -> Vec<u32> {
            bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
        };
        assert_eq!(head().len(), 24);
        assert_eq!(words(&head())[2..], [0, 0, 256, 101]);
        let check = |packet: &[u8], whole: u32| {
            let sample = Sample { prefix: String::new(), packet: packet.to_vec() };
            let record = record(&sample, Timestamp::from_millis(1_700_000_000_123));
            let length = u32::try_from(packet.len()).unwrap();
            assert_eq!(words(&record[..16]), [1_700_000_000, 123_000, length, whole]);
            assert_eq!(&record[16..], packet);
        };
        check(&[0x45, 0, 0x05, 0xdc, 1], 1500);
        check(&[0x60, 0, 0, 0, 0, 20, 6, 64], 60);
        // Whatever a header says, no more is in the file than was there.
        check(&[0x45, 0, 0, 1, 1], 5);
        check(&[0x45], 1);
    }
}
