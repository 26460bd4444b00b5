//! An instance of AWS or GCP under Debian's kernel: a virtual machine that says so in its firmware, with an address by DHCP and the
//! metadata service where they are in these clouds. All around it is on a host of the lab, whose cable it takes over.

use crate::{
    Host, Lab, LabError, Machine, Process,
    cloud::{FakeMetadata, Instance},
    emulated::{Emulated, QEMU, take_cable},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where every cloud has its metadata service.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The next hop of the cloud's network.
const GATEWAY: &str = "203.0.113.254";
/// What images of GCP have in /etc/hosts, with which cloud-init asks there.
const GOOGLE: &str = "169.254.169.254 metadata.google.internal\n";
/// The service's address is at hand, whatever else the network is.
const ROUTE: &str = "[Route]\nDestination=169.254.169.254/32\nScope=link\n";
/// The first process: all files lie in what the kernel unpacked them into, which is no place that programs can be shut out of
/// (pivot_root(2)); seen once more beside itself it is.
const INIT: &str = "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\nmount -t proc proc /proc\nmount --bind / /mnt\n\
     cd /mnt && mount --move . / && exec chroot . /lib/systemd/systemd\n";

/// Whose instance it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    Aws,
    Gcp,
}

impl Cloud {
    /// What firmware says, by which cloud-init knows the cloud: AWS's serial number is its id, and begins with `ec2`; GCP is called
    /// by its name.
    fn firmware(self) -> &'static str {
        match self {
            Self::Aws => "type=1,uuid=ec2e1916-9099-7caf-fd21-012345abcdef,serial=ec2e1916-9099-7caf-fd21-012345abcdef",
            Self::Gcp => "type=1,manufacturer=Google,product=Google Compute Engine,serial=GoogleCloud-0123456789ABCDEF",
        }
    }
}

/// It runs as long as this is there.
#[derive(Debug)]
pub(super) struct Running {
    machine: Process,
    _addresses: Process,
}

impl Running {
    /// The end of what it wrote to its console.
    pub(super) fn console(&self) -> String {
        let log = self.machine.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }

    /// That it has not ended.
    pub(super) fn must_run(&self) -> Result<(), LabError> {
        self.machine.must_run()
    }
}

/// Switches on what lies on the machine's disk, in this place, with what the cloud says of it.
pub(super) fn switch_on(
    lab: &Lab,
    host: &Host,
    machine: &Machine,
    cloud: Cloud,
    instance: Instance,
    user_data: String,
) -> Result<Running, LabError> {
    let IpAddr::V4(address) = machine.ports(0)[0].ip() else { return Err(LabError::Gone) };
    let cable = take_cable(host)?;
    host.namespace.ip(&format!("address add {GATEWAY}/24 dev br0\naddress add {METADATA}/32 dev br0\n"))?;
    FakeMetadata::play_to_cloud_init(lab, host, SocketAddr::from((METADATA, 80)), instance, user_data)?;
    let (range, gateway) =
        (format!("--dhcp-range={address},{address},255.255.255.0,1h"), format!("--dhcp-option=3,{GATEWAY}"));
    let fixed = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0", "--bind-interfaces"];
    let more = ["--no-ping", "--leasefile-ro", "--user=root", "--pid-file=", &range, &gateway];
    let addresses = host.start("addresses", "dnsmasq", &[&fixed[..], &more].concat(), &[])?;

    if cloud == Cloud::Gcp {
        machine.append("etc/hosts", GOOGLE)?;
    }
    machine.write("init", INIT)?;
    machine.executable("init")?;
    machine.write("etc/systemd/network/eth0.network.d/metadata.conf", ROUTE)?;
    let [debian, own] = machine.layers();
    let hardware = [&cable[..], &["-smbios", cloud.firmware()]].concat();
    let emulated = Emulated::of(&debian, &[&debian, &own], lab.folder())?;
    let words = emulated.words(&hardware, "net.ifnames=0");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Running { machine: host.start("machine", QEMU, &words, &[])?, _addresses: addresses })
}
