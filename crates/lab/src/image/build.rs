//! Packer with our template, on a host that reaches nobody: what it is given, and that an image comes of it.

use super::{Site, disk};
use crate::{command::said, steps::Seen};
use anyhow::{Context as _, ensure};
use std::{fs, process::Command, time::Duration};

/// The folder that Packer makes for the image.
pub(super) const OUTPUT: &str = "image";
/// By whose key Packer comes in.
pub(super) const BUILDER: &str = "builder";
/// A machine that is emulated starts, installs and stops in two or three minutes, on a loaded machine in ten.
const BUILT_WITHIN: Duration = Duration::from_secs(1800);

/// The image is made.
pub(super) fn built(site: &mut Site) -> Seen {
    let folder = site.lab.folder();
    let base = disk::base(folder)?;
    let sum = said(Command::new("sha256sum").arg(&base))?;
    let sum = sum.split_whitespace().next().context("sha256sum prints no sum")?.to_owned();
    let seed = site.seed(BUILDER, None)?;
    let variables = [
        ("package", site.package.display().to_string()),
        ("base", base.display().to_string()),
        ("base_checksum", format!("sha256:{sum}")),
        ("seed", seed.display().to_string()),
        ("key", site.key(BUILDER).display().to_string()),
        ("accelerator", "tcg".to_owned()),
        ("output", folder.join(OUTPUT).display().to_string()),
    ];
    let variables: Vec<String> =
        variables.iter().flat_map(|(name, value)| ["-var".to_owned(), format!("{name}={value}")]).collect();
    let template = site.template.to_string_lossy();
    let fixed = ["build", "-color=false", "-only=qemu.sentry"].into_iter();
    let words: Vec<&str> = fixed.chain(variables.iter().map(String::as_str)).chain([&*template]).collect();
    let own = folder.display().to_string();
    // It asks nobody whether there is a newer one, and leaves nothing in anybody's home.
    let environment = [("CHECKPOINT_DISABLE", "1"), ("HOME", &*own), ("TMPDIR", &*own), ("PACKER_CACHE_DIR", &*own)];
    let packer = site.builder.run_with("packer", &words, &environment, BUILT_WITHIN)?;
    ensure!(packer.status.success(), "Packer ended with {}:\n{}{}", packer.status, packer.stdout, packer.stderr);
    let image = site.image();
    let size = fs::metadata(&image).with_context(|| format!("look at {}", image.display()))?.len();
    // Its work is done, and it has the room of an image.
    fs::remove_file(&base).with_context(|| format!("remove {}", base.display()))?;
    Ok(format!("a disk of {} MiB, in a machine that is emulated", size >> 20))
}
