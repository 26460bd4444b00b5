//! The operator's machine: our collection, built and installed as Galaxy does it, and playbooks over real ssh.

use super::Args;
use crate::{Host, command::said};
use anyhow::{Context as _, Result, ensure};
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A playbook over three machines takes a minute or two, on a loaded machine some more.
const PLAYED_WITHIN: Duration = Duration::from_secs(600);

/// molecule plays the site twice, and more.
const TESTED_WITHIN: Duration = Duration::from_secs(1200);

/// An operator with Ansible, on a host of the lab.
#[derive(Debug)]
pub(super) struct Ansible {
    host: Host,
    programs: PathBuf,
    /// The collection's source.
    source: PathBuf,
    folder: PathBuf,
}

/// What a run printed, and how much it changed on each host.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) text: String,
    pub(super) changed: BTreeMap<String, u32>,
    succeeded: bool,
}

impl Played {
    /// That it came to its end.
    pub(super) fn success(self) -> Result<Self> {
        ensure!(self.succeeded, "the playbook failed:\n{}", self.tail());
        Ok(self)
    }

    /// That it did not.
    pub(super) fn failure(self) -> Result<Self> {
        ensure!(!self.succeeded, "the playbook was to fail and did not:\n{}", self.tail());
        Ok(self)
    }

    /// What changed on each host, in words.
    pub(super) fn changes(&self) -> String {
        let each = self.changed.iter().map(|(host, changed)| format!("{host} changed={changed}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Whether nothing did on any.
    pub(super) fn is_quiet(&self) -> bool {
        !self.changed.is_empty() && self.changed.values().all(|changed| *changed == 0)
    }

    /// What failed, and the last lines, for an error: what ends last may be the tidying up after it.
    pub(super) fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_word_of_it =
            |line: &&&str| ["fatal: ", "failed: ", "ERROR! ", "[ERROR]: "].iter().any(|word| line.starts_with(word));
        let failed = lines.iter().filter(is_word_of_it);
        failed
            .chain(lines.get(lines.len().saturating_sub(60)..).unwrap_or_default())
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Ansible {
    /// Builds and installs the collection, and makes a key for ssh.
    pub(super) fn new(host: &Host, args: &Args) -> Result<Self> {
        let folder = PathBuf::from(host.path("ansible"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let ansible =
            Self { host: host.clone(), programs: args.ansible.clone(), source: args.collection.clone(), folder };
        // One that says nothing, so that no other is looked for.
        ansible.write("ansible.cfg", "[defaults]\n")?;
        let key = ansible.folder.join("key");
        said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f"]).arg(&key))?;
        let galaxy = |arguments: &[&str]| {
            let mut command = Command::new(ansible.programs.join("ansible-galaxy"));
            command.arg("collection").args(arguments).current_dir(&ansible.folder);
            ansible.variables().into_iter().fold(&mut command, |command, (name, value)| command.env(name, value));
            said(&mut command)
        };
        let collection = args.collection.to_string_lossy();
        galaxy(&["build", "--output-path", "built", &collection])?;
        let built = fs::read_dir(ansible.folder.join("built")).context("look for the collection that was built")?;
        let built = built.flatten().next().context("ansible-galaxy built no collection")?.path();
        galaxy(&["install", "--offline", "-p", "collections", &built.to_string_lossy()])?;
        Ok(ansible)
    }

    /// The key that machines let in.
    pub(super) fn public_key(&self) -> Result<String> {
        let path = self.folder.join("key.pub");
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// A place among the operator's files.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes one of the operator's files.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Runs a playbook of the collection with packages of this folder.
    pub(super) fn play(&self, playbook: &str, packages: &Path, more: &[&str]) -> Result<Played> {
        let program = self.programs.join("ansible-playbook");
        let (inventory, packages) = (self.path("inventory.yml"), format!("picket_packages_dir={}", packages.display()));
        let (inventory, playbook) = (inventory.to_string_lossy(), format!("picket.picket.{playbook}"));
        let arguments = [&["-i", &inventory, "-e", &packages, &playbook][..], more].concat();
        let mut variables = self.variables();
        // Faster; but what makes hosts members is tried as Ansible is without it, when it leaves files on disks.
        let is_piped = !playbook.ends_with(".site");
        variables.push(("ANSIBLE_PIPELINING", is_piped.to_string()));
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let output = self.host.run_with(program, &arguments, &variables, PLAYED_WITHIN)?;
        let text = output.stdout + &output.stderr;
        Ok(Played { changed: recap(&text), succeeded: output.status.success(), text })
    }

    /// Runs the collection's molecule scenario on the machines of the inventory.
    pub(super) fn molecule(&self, packages: &Path) -> Result<Played> {
        // molecule knows a collection by its source alone, and writes beside what it reads.
        let source = self.path("molecule");
        said(Command::new("cp").arg("-r").args([&self.source, &source]))?;
        let mut variables = self.variables();
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap_or_default());
        variables.extend([
            ("PATH", path),
            ("PICKET_INVENTORY", self.path("inventory.yml").to_string_lossy().into_owned()),
            ("PICKET_CONTROLLER_CONFIG", self.path("controller.toml").to_string_lossy().into_owned()),
            ("PICKET_PACKAGES", packages.to_string_lossy().into_owned()),
            ("ANSIBLE_PIPELINING", "true".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ]);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let run =
            format!("cd {} && exec {}/molecule test --scenario-name mesh", source.display(), self.programs.display());
        let output = self.host.run_with("sh", &["-c", &run], &variables, TESTED_WITHIN)?;
        let text = output.stdout + &output.stderr;
        Ok(Played { changed: recap(&text), succeeded: output.status.success(), text })
    }

    /// Copies files to a machine, into its root's folder.
    pub(super) fn copy(&self, files: &[PathBuf], to: IpAddr) -> Result<()> {
        let mut words: Vec<String> = files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        words.push(format!("root@{to}:"));
        self.ssh("scp", &words).map(drop)
    }

    /// What a command of a shell says on a machine, as root.
    pub(super) fn on(&self, machine: IpAddr, command: &str) -> Result<String> {
        self.ssh("ssh", &[format!("root@{machine}"), command.to_owned()])
    }

    fn ssh(&self, program: &str, words: &[String]) -> Result<String> {
        let (key, known) = (self.path("key"), self.path("known_hosts"));
        let known = format!("UserKnownHostsFile={}", known.display());
        let key = key.to_string_lossy();
        let options = ["-q", "-i", &key, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-o", &known];
        let arguments: Vec<&str> = options.into_iter().chain(words.iter().map(String::as_str)).collect();
        Ok(self.host.run_with(program, &arguments, &[], PLAYED_WITHIN)?.success()?)
    }

    /// Nothing of this machine's own settings, and nothing in this user's folders.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.path(name).to_string_lossy().into_owned();
        let ssh = format!(
            "-i {} -o ControlMaster=auto -o ControlPersist=20s -o UserKnownHostsFile={} -o ServerAliveInterval=5",
            at("key"),
            at("known_hosts")
        );
        vec![
            ("HOME", at("home")),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("ANSIBLE_HOME", at("home")),
            ("ANSIBLE_CONFIG", at("ansible.cfg")),
            ("ANSIBLE_COLLECTIONS_PATH", at("collections")),
            ("ANSIBLE_HOST_KEY_CHECKING", "false".to_owned()),
            ("ANSIBLE_SSH_ARGS", ssh),
            ("ANSIBLE_SSH_CONTROL_PATH_DIR", at("ssh")),
            ("ANSIBLE_NOCOLOR", "true".to_owned()),
        ]
    }
}

/// Changes by host, from the closing lines: `prep-1 : ok=12 changed=0 unreachable=0 failed=0 skipped=1 rescued=0 ignored=0`.
fn recap(text: &str) -> BTreeMap<String, u32> {
    let lines = text.lines().skip_while(|line| !line.starts_with("PLAY RECAP"));
    lines
        .filter_map(|line| {
            let (host, counts) = line.split_once(" : ")?;
            let changed = counts.split_whitespace().find_map(|word| word.strip_prefix("changed="))?;
            Some((host.trim().to_owned(), changed.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_read() {
        let text = "TASK [x] ***\nok: [a : b]\n\nPLAY RECAP ****\n\
                    controller                 : ok=13   changed=2    unreachable=0    failed=0    skipped=3    rescued=1    ignored=0   \n\
                    prep-1                     : ok=9    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0   \n";
        assert_eq!(recap(text), [("controller".to_owned(), 2), ("prep-1".to_owned(), 0)].into());
        assert!(recap("ERROR! no such playbook").is_empty());
    }
}
