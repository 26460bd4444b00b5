//! goloop's framing over TCP, and the few messages that the stand-in sends in it. Bytes in, bytes out; no sockets.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a node is known by: on ICON the address that its key gives.
pub(crate) type PeerId = [u8; 20];

/// Bytes before a payload: protocol, subprotocol, source, destination, time to live, length (goloop `network/packet.go`).
const HEADER: usize = 30;
/// Bytes after it: FNV-1a of header and payload, and what the node hints about itself.
const FOOTER: usize = 10;
/// goloop refuses longer payloads.
const LONGEST: usize = 1 << 20;
/// Whom a message is for: the other end alone.
const DEST_PEER: u8 = 0xff;

/// The channel of mainnet: its chain id in hexadecimal.
const CHANNEL: u8 = b'1';

/// A message between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The dialler speaks first and says who it is. Each connection has a number, by which both ends know it.
    Hello {
        /// The number of the connection.
        link: u64,
    },
    /// The other end says who it is.
    Welcome,
    /// Stands for blocks and votes.
    Block {
        /// Which one of its maker's.
        number: u64,
        /// When it was made, in microseconds of the network's clock.
        made: u64,
    },
}

impl Message {
    /// Protocol and subprotocol. The first two are goloop's own; that of blocks is the stand-in's.
    const fn kind(self) -> [u16; 2] {
        match self {
            Self::Hello { .. } => [0, 0x0100],
            Self::Welcome => [0, 0x0200],
            Self::Block { .. } => [0x0300, 0x0001],
        }
    }

    /// As msgpack: text of one character, or numbers of 64 bits.
    fn payload(self) -> Vec<u8> {
        let number = |number: u64| [&[0xcf][..], &number.to_be_bytes()].concat();
        let channel = vec![0xa1, CHANNEL];
        match self {
            Self::Hello { link } => [channel, number(link)].concat(),
            Self::Welcome => channel,
            Self::Block { number: block, made } => [number(block), number(made)].concat(),
        }
    }

    fn read(kind: [u16; 2], payload: &[u8]) -> Option<Self> {
        let number =
            |at: usize| payload.get(at..at + 8).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let message = match kind {
            [0, 0x0100] => Self::Hello { link: number(3)? },
            [0, 0x0200] => Self::Welcome,
            _ => Self::Block { number: number(1)?, made: number(10)? },
        };
        (message.kind() == kind && message.payload() == payload).then_some(message)
    }
}

/// A message as it travels.
pub(crate) fn encode(from: PeerId, message: Message) -> Vec<u8> {
    let (kind, payload) = (message.kind(), message.payload());
    let mut frame = Vec::with_capacity(HEADER + payload.len() + FOOTER);
    kind.iter().for_each(|part| frame.extend(part.to_be_bytes()));
    frame.extend(from);
    frame.extend([DEST_PEER, 1]);
    frame.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(payload);
    let hash = fnv1a(&frame);
    frame.extend(hash.to_be_bytes());
    frame.extend([0, 0]);
    frame
}

/// The next message, and who says that it is from him.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(PeerId, Message)> {
    let mut frame = vec![0; HEADER];
    from.read_exact(&mut frame).await?;
    let (kind, peer, length) = header(&frame).ok_or_else(|| io::Error::other("no header of goloop's"))?;
    frame.resize(HEADER + length + FOOTER, 0);
    let rest = frame.get_mut(HEADER..).unwrap_or_default();
    from.read_exact(rest).await?;
    body(&frame, kind, length)
        .map(|message| (peer, message))
        .ok_or_else(|| io::Error::other("a message of another kind"))
}

fn header(frame: &[u8]) -> Option<([u16; 2], PeerId, usize)> {
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let length = usize::try_from(u32::from_be_bytes(frame.get(26..30)?.try_into().ok()?)).ok()?;
    (length <= LONGEST).then_some(([word(0)?, word(2)?], frame.get(4..24)?.try_into().ok()?, length))
}

fn body(frame: &[u8], kind: [u16; 2], length: usize) -> Option<Message> {
    let hash = u64::from_be_bytes(frame.get(HEADER + length..HEADER + length + 8)?.try_into().ok()?);
    let hashed = frame.get(..HEADER + length)?;
    (hash == fnv1a(hashed)).then(|| Message::read(kind, hashed.get(HEADER..)?)).flatten()
}

/// FNV-1a of 64 bits: draft-eastlake-fnv.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [Message; 3] =
        [Message::Hello { link: 7 }, Message::Welcome, Message::Block { number: 1, made: u64::MAX }];

    async fn read_all(bytes: Vec<u8>) -> io::Result<(PeerId, Message)> {
        read(&mut bytes.as_slice()).await
    }

    #[tokio::test]
    async fn what_is_sent_is_read() {
        for message in MESSAGES {
            assert_eq!(read_all(encode([9; 20], message)).await.unwrap(), ([9; 20], message));
        }
    }

    #[tokio::test]
    async fn a_frame_is_laid_out_as_goloops() {
        // The test vector of the algorithm's authors.
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let frame = encode([9; 20], Message::Welcome);
        assert_eq!(frame.len(), 30 + 2 + 10);
        assert_eq!(frame[..4], [0, 0, 2, 0]);
        assert_eq!(frame[4..24], [9; 20]);
        assert_eq!(frame[26..30], [0, 0, 0, 2]);
    }

    #[tokio::test]
    async fn a_changed_byte_is_no_message() {
        for message in MESSAGES {
            let whole = encode([9; 20], message);
            // The hint is not hashed.
            for at in 0..whole.len() - 2 {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                assert!(read_all(changed).await.is_err(), "{message:?} at {at}");
            }
        }
    }
}
