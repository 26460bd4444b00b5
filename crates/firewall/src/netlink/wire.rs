//! Netlink's envelope, both ways: messages, attributes within attributes (linux/netlink.h, nfnetlink.h). Pure; knows
//! nothing of sets. Lengths that do not fit are errors, never a panic and never a guess.

/// Bytes of a `nlmsghdr`: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// Bytes of a `nfgenmsg`: family, version, resource.
const GENERAL: usize = 4;
/// Bytes of a `nlattr`: length and type.
const ATTRIBUTE: usize = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`; the rest of the two bytes is the type.
const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer also where all is well.
pub(crate) const ACKNOWLEDGE: u16 = 0x4;
/// `NLM_F_DUMP`: all there are.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: not where there is one already.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_APPEND`: behind the others.
pub(crate) const APPEND: u16 = 0x800;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile.
pub(crate) const INTERRUPTED: u16 = 0x10;

/// `NLMSG_ERROR`, which with the number 0 is an acknowledgement.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the dump is at its end.
pub(crate) const DONE: u16 = 3;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`: what is between is one transaction.
pub(crate) const BATCH_BEGIN: u16 = 16;
pub(crate) const BATCH_END: u16 = 17;

/// What is wrong with bytes that are no messages.
pub(crate) type Malformed = &'static str;

/// Messages being written, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// All that was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A message of that type, for that family; `resource` is the subsystem in a batch's beginning and end, else 0.
    pub(crate) fn message(
        &mut self,
        (kind, flags, sequence): (u16, u16, u32),
        (family, resource): (u8, u16),
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        body(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// An attribute with this content.
    pub(crate) fn attribute(&mut self, kind: u16, content: &[u8]) {
        self.filled(kind, |writer| writer.bytes.extend(content));
    }

    /// An attribute with a text, closed by a zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.filled(kind, |writer| {
            writer.bytes.extend(text.as_bytes());
            writer.bytes.push(0);
        });
    }

    /// An attribute that is made of attributes.
    pub(crate) fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.filled(kind | NESTED, body);
    }

    fn filled(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        body(self);
        // Callers keep what they write below 64 KiB: `elements` splits its lists.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

/// A message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Behind the header.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Which message of nf_tables this is, and its attributes; `None` for those of others.
    pub(crate) fn nf_tables(&self) -> Option<Result<(u8, Attributes<'a>), Malformed>> {
        let [kind, subsystem] = self.kind.to_le_bytes();
        (subsystem == super::SUBSYSTEM).then(|| match self.payload.get(GENERAL..) {
            Some(attributes) => Ok((kind, Attributes(attributes))),
            None => Err("a message of nf_tables without its head"),
        })
    }

    /// The family of a message of nf_tables.
    pub(crate) fn family(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// The number in an error, an acknowledgement or the end of a dump: 0, or an errno.
    pub(crate) fn errno(&self) -> Result<i32, Malformed> {
        let number = self.payload.first_chunk().ok_or("an answer without its number")?;
        Ok(i32::from_ne_bytes(*number).wrapping_neg())
    }
}

/// The messages in what was received at once.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = split_message(self.0);
        self.0 = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message).ok_or("a message that is longer than what was received"))
    }
}

/// Type and content.
type Attribute<'a> = (u16, &'a [u8]);

/// Attributes, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The content of the first of that type.
    pub(crate) fn get(self, wanted: u16) -> Result<Option<&'a [u8]>, Malformed> {
        for attribute in self {
            let (kind, content) = attribute?;
            if kind == wanted {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let attribute = split_attribute(self.0);
        self.0 = attribute.map_or(&[], |(_, rest)| rest);
        Some(attribute.map(|(attribute, _)| attribute).ok_or("an attribute that is longer than what it is in"))
    }
}

/// A text of an attribute, without the zero that closes it.
pub(crate) fn text(content: &[u8]) -> Result<&str, Malformed> {
    let content = content.strip_suffix(&[0]).unwrap_or(content);
    std::str::from_utf8(content).map_err(|_| "a name that is no text")
}

/// A number of 32 bits in network order.
pub(crate) fn number(content: &[u8]) -> Result<u32, Malformed> {
    content.try_into().map(u32::from_be_bytes).map_err(|_| "a number that is not four bytes long")
}

/// A number of 64 bits in network order.
pub(crate) fn long_number(content: &[u8]) -> Result<u64, Malformed> {
    content.try_into().map(u64::from_be_bytes).map_err(|_| "a number that is not eight bytes long")
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
    let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
    let payload = bytes.get(HEADER..length)?;
    let message = Message {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        payload,
    };
    // The last one need not be filled up.
    Some((message, bytes.get(aligned(length)..).unwrap_or_default()))
}

fn split_attribute(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let &[l0, l1, k0, k1] = bytes.first_chunk::<ATTRIBUTE>()?;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let content = bytes.get(ATTRIBUTE..length)?;
    let kind = u16::from_ne_bytes([k0, k1]) & TYPE;
    Some(((kind, content), bytes.get(aligned(length)..).unwrap_or_default()))
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.message((0x0a0c, REQUEST | ACKNOWLEDGE, 7), (1, 0), |writer| {
            writer.text(1, "picket");
            writer.nested(3, |writer| writer.attribute(1, &[1, 2, 3, 4, 5]));
        });
        writer.message((BATCH_END, REQUEST, 8), (0, 10), |_| {});
        let bytes = writer.into_bytes();
        let messages: Vec<_> = Messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].kind, messages[0].flags, messages[0].sequence), (0x0a0c, 5, 7));
        let (kind, attributes) = messages[0].nf_tables().unwrap().unwrap();
        assert_eq!((kind, messages[0].family()), (12, Some(1)));
        assert_eq!(text(attributes.get(1).unwrap().unwrap()), Ok("picket"));
        let inner = Attributes(attributes.get(3).unwrap().unwrap());
        assert_eq!(inner.get(1), Ok(Some([1, 2, 3, 4, 5].as_slice())));
        assert_eq!(attributes.get(9), Ok(None));
        assert_eq!((messages[1].kind, messages[1].payload), (BATCH_END, [0, 0, 0, 10].as_slice()));
        assert!(messages[1].nf_tables().is_none());
    }

    #[test]
    fn what_is_cut_short_is_an_error_and_the_end() {
        let mut writer = Writer::default();
        writer.message((0x0a0c, 0, 1), (1, 0), |writer| writer.text(1, "picket"));
        let bytes = writer.into_bytes();
        for length in 1..bytes.len() {
            let mut messages = Messages(&bytes[..length]);
            assert!(messages.next().unwrap().is_err(), "{length} bytes");
            assert!(messages.next().is_none(), "{length} bytes");
        }
        for bad in [[0, 0, 1, 0], [3, 0, 1, 0], [9, 0, 1, 0]] {
            let mut attributes = Attributes(&bad);
            assert!(attributes.next().unwrap().is_err() && attributes.next().is_none(), "{bad:?}");
        }
        assert!(number(&[1, 2, 3]).is_err() && long_number(&[0; 4]).is_err() && text(&[0xff, 0]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for message in Messages(&bytes).flatten() {
                let _ = (message.errno(), message.family());
                if let Some(Ok((_, attributes))) = message.nf_tables() {
                    prop_assert!(attributes.count() <= bytes.len());
                }
            }
        }
    }
}
