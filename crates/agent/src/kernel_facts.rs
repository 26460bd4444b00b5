//! What the kernel of this host says about how it bears a flood: a few numbers of /proc, of this network namespace. Reads only.

use picket_model::Tracking;
use std::{fs::read_to_string, path::Path};

/// 0 off, 1 where a listener's queue is full, 2 always; for IPv6 too (kernel documentation, ip-sysctl).
const SYN_COOKIES: &str = "net/ipv4/tcp_syncookies";
/// Connections that tracking knows of, and most it takes (kernel documentation, nf_conntrack-sysctl). Not there before something
/// tracks.
const TRACKED: [&str; 2] = ["net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"];

/// Whether listeners answer with SYN cookies where their queue is full; `None` where the kernel does not say, as one that was
/// built without.
pub fn syn_cookies() -> Option<bool> {
    number(Path::new("/proc/sys"), SYN_COOKIES).map(|value| value != 0)
}

/// How full connection tracking is; `None` where there is none.
pub fn tracking() -> Option<Tracking> {
    tracking_in(Path::new("/proc/sys"))
}

fn tracking_in(root: &Path) -> Option<Tracking> {
    let [connections, most] = TRACKED.map(|name| number(root, name));
    Some(Tracking { connections: connections?, most: most? })
}

fn number(root: &Path, name: &str) -> Option<u64> {
    read_to_string(root.join(name)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_no_number_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(tracking_in(folder.path()), None);
        write(TRACKED[0], "17\n");
        assert_eq!(tracking_in(folder.path()), None);
        write(TRACKED[1], "262144\n");
        assert_eq!(tracking_in(folder.path()), Some(Tracking { connections: 17, most: 262_144 }));
        write(TRACKED[1], "many\n");
        assert_eq!(tracking_in(folder.path()), None);
        assert_eq!(number(folder.path(), SYN_COOKIES), None);
    }
}
