//! What goes wrong between us and nf_tables, in the operator's words.

use nix::errno::Errno;
use std::io;
use thiserror::Error;

/// Why the kernel did not do or say what it was asked.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// There is no socket to it.
    #[error("open a netlink socket to nf_tables: is the kernel's nf_tables module there, and may this program use it?")]
    Open(#[source] io::Error),
    /// Nothing could be sent.
    #[error("send to nf_tables: {what}")]
    Send {
        /// What was attempted.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Nothing, or not all, could be heard.
    #[error("hear from nf_tables: {what}")]
    Receive {
        /// What was attempted.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// It said no. Nothing was changed.
    #[error("nf_tables refused to {what}: {}", words(*.errno))]
    Refused {
        /// What was attempted, on what.
        what: String,
        /// Its answer.
        errno: Errno,
    },
    /// What it said is not what it is known to say.
    #[error("what nf_tables said on \"{what}\" cannot be read: {problem}")]
    Unreadable {
        /// What was attempted.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It took what was written and has something else.
    #[error("table {} was written without nft and reads back different", crate::TABLE)]
    Different,
}

impl NetlinkError {
    /// Whether it is the kernel's answer that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { errno: Errno::ENOENT, .. })
    }
}

/// What an errno of nf_tables means to somebody who looks after a firewall.
fn words(errno: Errno) -> String {
    let meaning = match errno {
        Errno::ENOENT => "there is no such table, set or element",
        Errno::EEXIST => "it is there already, and is something else",
        Errno::EPERM | Errno::EACCES => {
            "this program may not change it (it lacks CAP_NET_ADMIN, or another program owns the table)"
        }
        Errno::ENFILE => "the set is full",
        Errno::EBUSY => "it is in use",
        Errno::ENOMEM | Errno::ENOBUFS => "not enough memory",
        Errno::EINVAL | Errno::EOPNOTSUPP => "this kernel does not take it in this form",
        Errno::EAGAIN | Errno::EINTR | Errno::ERESTART => "it was disturbed by another change",
        _ => return format!("{} ({errno:?})", errno.desc()),
    };
    format!("{meaning} ({errno:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_attempted_and_what_the_answer_means() {
        let check = |errno, expect: &str| {
            let what = "delete 2 elements from p2p_hosts4".to_owned();
            let text = NetlinkError::Refused { what, errno }.to_string();
            assert_eq!(text, format!("nf_tables refused to delete 2 elements from p2p_hosts4: {expect}"));
        };
        check(Errno::ENOENT, "there is no such table, set or element (ENOENT)");
        check(Errno::ENFILE, "the set is full (ENFILE)");
        check(Errno::ERANGE, "Math result not representable (ERANGE)");
        assert!(words(Errno::EPERM).contains("CAP_NET_ADMIN"));
    }
}
