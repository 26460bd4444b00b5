//! Lays out what the packages are made of: programs, units for each agent, man pages and completions by the programs' own word.

use super::{PROGRAMS, Release, empty};
use crate::step::said;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The program that units name; each agent's package has them with its own.
const NAMED: &str = "/usr/bin/picket-prep-agent";
/// A shell, where it looks for completions below /usr/share, and what stands before and after a program's name there.
const SHELLS: [(&str, &str, [&str; 2]); 3] = [
    ("bash", "bash-completion/completions", ["", ""]),
    ("zsh", "zsh/vendor-completions", ["_", ""]),
    ("fish", "fish/vendor_completions.d", ["", ".fish"]),
];

/// The folder in whose `release` cargo-deb looks for programs, and for `release/dist` beside them.
pub(super) fn lay_out(release: &Release, programs: &Path) -> Result<PathBuf> {
    let stage = release.work.join("stage");
    empty(&stage)?;
    for program in PROGRAMS {
        let place = stage.join("release");
        let dist = place.join("dist").join(program);
        copy(&programs.join(program), &place.join(program))?;
        said(Command::new("strip").arg(place.join(program)))?;
        units(release.root, program, &dist.join("units"))?;
        share(&place.join(program), program, &dist.join("share"))?;
        let overrides = release.root.join("packaging/deb/lintian-overrides");
        copy(&overrides, &dist.join("share/lintian/overrides").join(program))?;
    }
    Ok(stage)
}

/// Man pages and completions, by the program's own word.
fn share(path: &Path, program: &str, to: &Path) -> Result<()> {
    let man = to.join("man/man1");
    fs::create_dir_all(&man).with_context(|| format!("make {}", man.display()))?;
    said(Command::new(path).arg("man").arg("--out").arg(&man))
        .with_context(|| format!("have {program} write its man pages"))?;
    // As Debian has them, without the time and the name that gzip would write.
    said(Command::new("gzip").args(["-9", "-n"]).args(super::names(&man)?).current_dir(&man))
        .context("compress man pages")?;
    for (shell, folder, [before, after]) in SHELLS {
        let text = said(Command::new(path).args(["completions", shell]))
            .with_context(|| format!("have {program} write its completions for {shell}"))?;
        write(&to.join(folder).join(format!("{before}{program}{after}")), &(text + "\n"))?;
    }
    Ok(())
}

/// The program's own unit, and an agent's lockdown and its part of nftables.service.
fn units(root: &Path, program: &str, to: &Path) -> Result<()> {
    let from = root.join("packaging/systemd");
    let mut names = vec![format!("{program}.service")];
    if program.ends_with("-agent") {
        names.extend(["picket-lockdown.service".to_owned(), "nftables.service.d/picket.conf".to_owned()]);
    }
    for name in names.iter().filter(|name| from.join(name).exists()) {
        let path = from.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = if program.ends_with("-agent") { text.replace(NAMED, &format!("/usr/bin/{program}")) } else { text };
        write(&to.join(name), &text)?;
    }
    Ok(())
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().with_context(doing)?).with_context(doing)?;
    fs::copy(from, to).with_context(doing).map(drop)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let doing = || format!("write {}", path.display());
    fs::create_dir_all(path.parent().with_context(doing)?).with_context(doing)?;
    fs::write(path, text).with_context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings below the first heading of a unit that stand there without a reason before them; the same one again shares its.
    fn unreasoned(unit: &str) -> Vec<&str> {
        let hardening =
            unit.lines().skip_while(|line| !line.starts_with("# --- ")).take_while(|line| !line.starts_with('['));
        let lines: Vec<&str> = hardening.collect();
        let name = |line: &str| line.split_once('=').map(|(name, _)| name.to_owned());
        let is_alone = |pair: &&[&str]| match pair {
            [_, line] if line.is_empty() || line.starts_with('#') => false,
            [before, line] => name(before) != name(line) && (!before.starts_with("# ") || before.starts_with("# --- ")),
            _ => false,
        };
        lines.windows(2).filter(is_alone).filter_map(|pair| pair.last().copied()).collect()
    }

    #[test]
    fn each_line_that_hardens_a_unit_has_its_reason_beside_it() {
        assert_eq!(
            unreasoned("[Service]\nA=1\n# --- x\nB=1\n# why\nC=1\nC=2\nD=1\n\n[Install]\nE=1\n"),
            ["B=1", "D=1"]
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
        let units = super::super::names(&folder).unwrap();
        let units: Vec<_> = units.iter().filter(|name| name.ends_with(".service")).collect();
        assert_eq!(units.len(), 4, "{units:?}");
        for name in units {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.contains("\n# --- "), "{name}");
            assert_eq!(unreasoned(&text), Vec::<&str>::new(), "{name}");
        }
    }
}
