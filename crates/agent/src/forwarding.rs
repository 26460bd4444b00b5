//! Lets the kernel pass packets on where validators hide behind this host: both families, and without losing what IPv6 loses by
//! it. Writes kernel values, never takes one back: others may rely on them by then.

use std::{fs, io, path::Path};
use tracing::{info, warn};

/// Where the kernel keeps them, of this process's network.
const VALUES: &str = "/proc/sys/net";
/// Names under `conf` that are no interface with a router on it. `default` is every interface that comes later.
const NO_ROUTERS: [&str; 2] = ["all", "lo"];

/// Makes this host pass packets on, if it does not yet.
pub(crate) fn pass_packets_on() {
    let values = Path::new(VALUES);
    let told = |family: &str, set: io::Result<bool>| match set {
        Ok(true) => info!("this host passes {family} on from now on, for the validators behind it"),
        Ok(false) => {}
        Err(error) => {
            warn!(%error, "this host cannot be made to pass {family} on: set net.{}.conf.all.forwarding to 1 by hand", family.to_lowercase());
        }
    };
    told("IPv4", turn_on(&values.join("ipv4/conf/all/forwarding")));
    if values.join("ipv6").exists() {
        told("IPv6", keep_routes(values).and_then(|()| turn_on(&values.join("ipv6/conf/all/forwarding"))));
    }
}

/// Whether it was off before.
fn turn_on(value: &Path) -> io::Result<bool> {
    let is_on = fs::read_to_string(value)?.trim() == "1";
    if !is_on {
        fs::write(value, "1")?;
    }
    Ok(!is_on)
}

/// A host that passes IPv6 on throws away the routes that it has from its router, and takes no more: `accept_ra` of 1 means "unless
/// forwarding", 2 means always (`Documentation/networking/ip-sysctl.rst`). Interfaces that take them now go on doing so, and those
/// that come later where they would have; one on which another program takes them has 0, and keeps it.
fn keep_routes(values: &Path) -> io::Result<()> {
    if fs::read_to_string(values.join("ipv6/conf/all/forwarding"))?.trim() == "1" {
        // It takes none already, or was told to.
        return Ok(());
    }
    for entry in fs::read_dir(values.join("ipv6/conf"))? {
        let interface = entry?;
        if NO_ROUTERS.iter().any(|name| interface.file_name() == *name) {
            continue;
        }
        let value = interface.path().join("accept_ra");
        // An interface may be gone by now.
        if fs::read_to_string(&value).is_ok_and(|text| text.trim() == "1") {
            fs::write(&value, "2")?;
            info!(interface = %interface.file_name().display(), "goes on taking its routes from its router, as one that passes IPv6 on");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(forwarding: &str, interfaces: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, accept_ra) in [&[("all", "1"), ("default", "1")], interfaces].concat() {
            let conf = folder.path().join("ipv6/conf").join(name);
            fs::create_dir_all(&conf).unwrap();
            fs::write(conf.join("accept_ra"), format!("{accept_ra}\n")).unwrap();
        }
        fs::write(folder.path().join("ipv6/conf/all/forwarding"), format!("{forwarding}\n")).unwrap();
        folder
    }

    fn accept_ra(folder: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(folder.path().join("ipv6/conf").join(name).join("accept_ra")).unwrap().trim().to_owned()
    }

    #[test]
    fn interfaces_that_take_routes_from_their_router_go_on_doing_so_and_no_others_begin() {
        let folder = values("0", &[("eth0", "1"), ("eth1", "0"), ("eth2", "2")]);
        keep_routes(folder.path()).unwrap();
        let found = ["all", "default", "eth0", "eth1", "eth2"].map(|name| accept_ra(&folder, name));
        assert_eq!(found, ["1", "2", "2", "0", "2"]);
    }

    #[test]
    fn a_host_that_passes_it_on_already_is_left_as_it_is() {
        let folder = values("1", &[("eth0", "1")]);
        keep_routes(folder.path()).unwrap();
        assert_eq!(accept_ra(&folder, "eth0"), "1");
        assert!(!turn_on(&folder.path().join("ipv6/conf/all/forwarding")).unwrap());
    }

    #[test]
    fn what_is_off_is_turned_on() {
        let folder = values("0", &[]);
        let value = folder.path().join("ipv6/conf/all/forwarding");
        assert!(turn_on(&value).unwrap());
        assert_eq!(fs::read_to_string(&value).unwrap(), "1");
    }
}
