//! Files of the host that tell about it. `root` is `/`, or a folder of a test's.

use crate::doctor::facts::{Kernel, Module, Seen};
use reqwest::Url;
use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    net::IpAddr,
    path::Path,
};

const CONTROLLER: &str = "etc/picket/controller.toml";

pub(super) fn kernel(root: &Path) -> Kernel {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease"));
    let release = release.map(|text| text.trim().to_owned()).map_err(|error| format!("the kernel's release: {error}"));
    let module = |name: &str| match &release {
        Ok(release) => module(root, release, name),
        Err(why) => Err(why.clone()),
    };
    Kernel {
        nf_tables: module("nf_tables"),
        conntrack: module("nf_conntrack"),
        wireguard: module("wireguard"),
        tun: tun(root),
    }
}

/// Modules are files below /lib/modules, and built-in ones are listed there (depmod(8), modules.builtin).
fn module(root: &Path, release: &str, name: &str) -> Seen<Module> {
    if root.join("sys/module").join(name).exists() {
        return Ok(Module::Present);
    }
    let folder = root.join("lib/modules").join(release);
    let lists = ["modules.builtin", "modules.dep"].map(|list| fs::read_to_string(folder.join(list)));
    let ends = format!("/{name}.ko");
    // modules.dep has `PATH.ko: NEEDS...`, or PATH.ko.xz; a module that another one needs is no line of its own.
    let is_in = |text: &str| {
        let mut paths = text.lines().filter_map(|line| line.split(':').next());
        paths.any(|path| path.ends_with(&ends) || path.contains(&format!("{ends}.")))
    };
    match &lists {
        [Ok(builtin), _] if is_in(builtin) => Ok(Module::Present),
        [_, Ok(loadable)] if is_in(loadable) => Ok(Module::Loadable),
        [_, Ok(_)] => Ok(Module::Missing),
        [_, Err(_)] => Err(format!("it is not loaded, and {} is not here to tell (a container?)", folder.display())),
    }
}

fn tun(root: &Path) -> Seen<()> {
    // Opening it makes no device.
    match OpenOptions::new().read(true).write(true).open(root.join("dev/net/tun")) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err("there is no /dev/net/tun".to_owned()),
        Err(error) => Err(format!("/dev/net/tun cannot be opened: {error}")),
    }
}

/// `nameserver` lines of resolv.conf(5).
pub(super) fn name_servers(root: &Path) -> Seen<Vec<IpAddr>> {
    let text =
        fs::read_to_string(root.join("etc/resolv.conf")).map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    Ok(servers.collect())
}

/// Sources that a controller's configuration names, where it has one that can be read.
pub(super) fn sources(root: &Path) -> Vec<Url> {
    let text = fs::read_to_string(root.join(CONTROLLER)).unwrap_or_default();
    let config: toml::Table = text.parse().unwrap_or_default();
    let sources = config.get("chain").and_then(|chain| chain.get("sources")).and_then(toml::Value::as_array);
    sources.into_iter().flatten().filter_map(|source| Url::parse(source.as_str()?).ok()).collect()
}

/// Whether a controller is set up here.
pub(super) fn has_controller(root: &Path) -> bool {
    [CONTROLLER, "var/lib/picket/controller"].iter().any(|path| root.join(path).exists())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file system of a few files.
    pub(in crate::doctor::look) fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_module_is_there_loadable_missing_or_not_known() {
        let (builtin, dep) = ("lib/modules/6.1.0/modules.builtin", "lib/modules/6.1.0/modules.dep");
        let root = host(&[
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("sys/module/nf_conntrack/refcnt", "1"),
            (builtin, "kernel/net/netfilter/nf_tables.ko\n"),
            (dep, "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/net/udp_tunnel.ko.xz kernel/lib/notun.ko\n"),
        ]);
        let found = kernel(root.path());
        assert_eq!((found.nf_tables, found.conntrack), (Ok(Module::Present), Ok(Module::Present)));
        assert_eq!(found.wireguard, Ok(Module::Loadable));
        assert_eq!(found.tun, Err("there is no /dev/net/tun".to_owned()));
        assert_eq!(module(root.path(), "6.1.0", "udp_tunnel"), Ok(Module::Missing));
        assert!(module(root.path(), "6.2.0", "wireguard").unwrap_err().contains("container"));
    }

    #[test]
    fn names_and_servers_are_read_from_their_files() {
        let root = host(&[
            ("etc/resolv.conf", "# nameserver 192.0.2.1\nnameserver 192.0.2.53\nnameserver fd00::53\nsearch example\n"),
            ("etc/picket/controller.toml", "[chain]\nsources = [\"https://a.example/api/v3\", \"file:///x\", 7]\n"),
        ]);
        let servers: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap(), "fd00::53".parse().unwrap()];
        assert_eq!(name_servers(root.path()), Ok(servers));
        assert_eq!(sources(root.path()).len(), 2);
        assert!(has_controller(root.path()) && !has_controller(tempfile::tempdir().unwrap().path()));
    }
}
