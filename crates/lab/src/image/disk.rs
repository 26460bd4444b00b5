//! A disk that boots, in the place of Debian's own image for clouds, which no mirror of packages has: one partition with a Debian tree,
//! and GRUB before it. Made from files alone: nothing is mounted from it, and no device is touched.

use crate::{
    LabError,
    command::said,
    debian::{self, Tree},
    emulated,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

const SECTOR: u64 = 512;
/// Where the partition begins: before it is GRUB, as everywhere.
pub(super) const PARTITION: u64 = 1 << 20;
/// Half as much again as is on it.
const PARTITION_MIB: u64 = 768;
/// Of the first sector, what is GRUB's; then come the partitions.
const BOOT_CODE: usize = 440;
const TABLE: usize = 446;
/// The tree with our files over it, for as long as this runs; GRUB's core, which finds its configuration on the first partition; and a file
/// system with all of it.
const MAKE: &str = "mount -t overlay overlay -o lowerdir=$1,upperdir=own,workdir=work root\n\
     chroot root grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 normal linux > core.img\n\
     mke2fs -q -t ext4 -L root -d root -E offset=$2 disk.raw ${3}M\n";

/// Makes it in a folder. What its packages depend on is there, and apt knows a folder without any: no mirror is needed at run time.
pub(super) fn base(folder: &Path) -> Result<PathBuf> {
    let debian = debian::root(Tree::Cloud)?;
    for name in ["own", "work", "root"] {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    }
    lay_out(&folder.join("own"), &emulated::kernel(&debian)?)?;
    let disk = folder.join("disk.raw");
    let write = || format!("write {}", disk.display());
    let mut file = File::create(&disk).with_context(write)?;
    file.set_len(PARTITION + (PARTITION_MIB << 20)).with_context(write)?;
    let mut make = Command::new("unshare");
    make.args(["--mount", "sh", "-e", "-c", MAKE, "sh"]).arg(&debian).current_dir(folder);
    said(make.args([PARTITION.to_string(), PARTITION_MIB.to_string()]))?;
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("read {}", path.display()));
    let core = read(folder.join("core.img"))?;
    ensure!(
        core.len() as u64 <= PARTITION - SECTOR,
        "GRUB has {} bytes, which do not fit before the partition",
        core.len()
    );
    let first = first_sector(&read(debian.join("usr/lib/grub/i386-pc/boot.img"))?)?;
    file.write_all(&first)
        .and_then(|()| file.write_all(&core))
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .with_context(write)?;
    Ok(disk)
}

/// The files that Debian's image has and its packages have not.
fn lay_out(own: &Path, kernel: &Path) -> Result<()> {
    let kernel = kernel.file_name().unwrap_or_default().to_string_lossy();
    let memory = kernel.replacen("vmlinuz", "initrd.img", 1);
    let grub =
        format!("linux /boot/{kernel} root=LABEL=root ro console=ttyS0 net.ifnames=0\ninitrd /boot/{memory}\nboot\n");
    for (path, text) in [
        ("boot/grub/grub.cfg", grub.as_str()),
        ("etc/fstab", "LABEL=root / ext4 defaults 0 1\n"),
        ("etc/machine-id", ""),
        ("etc/resolv.conf", ""),
        ("etc/apt/sources.list", "deb [trusted=yes] file:/srv/packages ./\n"),
        ("srv/packages/Packages", ""),
    ] {
        let path = own.join(path);
        let written = fs::create_dir_all(path.parent().unwrap_or(own)).and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("write {}", path.display()))?;
    }
    for (target, unit) in [
        ("multi-user.target", "systemd-networkd.service"),
        ("network-online.target", "systemd-networkd-wait-online.service"),
    ] {
        let wants = own.join(format!("etc/systemd/system/{target}.wants"));
        fs::create_dir_all(&wants)
            .and_then(|()| symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit)))
            .with_context(|| format!("enable {unit} in {}", own.display()))?;
    }
    Ok(())
}

/// GRUB's code, which loads what comes in the next sectors, and one partition to the end.
fn first_sector(code: &[u8]) -> Result<[u8; 512], LabError> {
    let code = code
        .get(..BOOT_CODE)
        .ok_or_else(|| LabError::Unexpected { found: format!("GRUB's boot.img has {} bytes", code.len()) })?;
    let [first, sectors] =
        [PARTITION, PARTITION_MIB << 20].map(|bytes| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX));
    // Active, of Linux; addresses by cylinders are nobody's any more.
    let entry =
        [&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff][..], &first.to_le_bytes(), &sectors.to_le_bytes()].concat();
    let mut sector = [0; 512];
    let parts = [(0, code), (TABLE, &entry), (510, &[0x55, 0xaa])];
    for (at, bytes) in parts {
        sector.iter_mut().skip(at).zip(bytes).for_each(|(to, byte)| *to = *byte);
    }
    Ok(sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sector_has_grubs_code_and_one_partition_and_says_that_it_boots() {
        let sector = first_sector(&[7; 512]).unwrap();
        assert_eq!(sector[..440], [7; 440]);
        assert_eq!(sector[440..446], [0; 6]);
        assert_eq!(sector[446..462], [0x80, 254, 255, 255, 0x83, 254, 255, 255, 0, 8, 0, 0, 0, 0, 24, 0]);
        assert_eq!(sector[462..510], [0; 48]);
        assert_eq!(sector[510..], [0x55, 0xaa]);
        assert!(first_sector(&[7; 100]).is_err());
    }
}
