//! Terraform with one provider: found on this machine, or fetched from the registry where that can be reached.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A provider of the public registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    name: &'static str,
    /// The major version that the modules ask for.
    major: &'static str,
}

impl Provider {
    pub(super) const AWS: Self = Self { name: "aws", major: "5." };
    pub(super) const GOOGLE: Self = Self { name: "google", major: "6." };
}

/// The program, and the settings with which it finds its provider.
#[derive(Debug)]
pub(super) struct Terraform {
    settings: PathBuf,
}

impl Terraform {
    /// Settings of its own, whatever this user's are: a mirror in the file system where the provider lies on this machine, else the
    /// registry. The inner error says why there is no provider.
    pub(super) fn with(provider: Provider, scratch: &Path) -> Result<Result<Self, String>> {
        let Provider { name, major } = provider;
        let folder = scratch.join(format!("provider-{name}"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let terraform = Self { settings: folder.join("terraformrc") };
        let source = match mirror(provider) {
            Some(mirror) => {
                eprintln!("==> provider {name} is in {}", mirror.display());
                format!("provider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n")
            }
            None => String::new(),
        };
        let is_here = !source.is_empty();
        write(&terraform.settings, &format!("disable_checkpoint = true\n{source}"))?;
        if is_here {
            return Ok(Ok(terraform));
        }
        eprintln!("==> provider {name} is not on this machine: asking the registry");
        write(
            &folder.join("main.tf"),
            &format!(
                "terraform {{\n  required_providers {{\n    {name} = {{\n      source  = \"hashicorp/{name}\"\n      \
                 version = \"~> {major}0\"\n    }}\n  }}\n}}\n"
            ),
        )?;
        let fetched = terraform.command(&folder, &["init"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if fetched.is_ok_and(|status| status.success()) {
            return Ok(Ok(terraform));
        }
        Ok(Err(format!("no provider hashicorp/{name} {major}x on this machine, and the registry cannot be reached")))
    }

    /// Terraform in a folder.
    pub(super) fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("terraform");
        command.args(arguments).arg("-no-color").current_dir(folder).env("TF_CLI_CONFIG_FILE", &self.settings);
        command.env_remove("TF_DATA_DIR").env("TF_IN_AUTOMATION", "1").env("TF_INPUT", "0");
        command
    }
}

/// Whether a program answers to `version`.
pub(super) fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// A folder laid out as `HOST/NAMESPACE/TYPE/VERSION/PLATFORM/file` that has the provider.
fn mirror(provider: Provider) -> Option<PathBuf> {
    let pattern = format!("terraform-provider-{}_v{}*", provider.name, provider.major);
    let found =
        Command::new("find").args(["/", "-xdev", "-type", "f", "-name", &pattern]).stderr(Stdio::null()).output();
    let found = found.ok()?;
    let text = String::from_utf8_lossy(&found.stdout);
    text.lines().find_map(|line| root_of(Path::new(line), provider.name))
}

/// The mirror's folder, from the file in it.
fn root_of(file: &Path, name: &str) -> Option<PathBuf> {
    let mirror = file.ancestors().nth(6)?;
    let layout = Path::new("registry.terraform.io/hashicorp").join(name);
    file.strip_prefix(mirror).ok()?.starts_with(layout).then(|| mirror.to_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_known_by_its_layout() {
        let check = |file: &str, expect: Option<&str>| {
            assert_eq!(root_of(Path::new(file), "aws"), expect.map(PathBuf::from), "{file}");
        };
        let file = "registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64/terraform-provider-aws_v5.100.0_x5";
        check(&format!("/opt/mirror/{file}"), Some("/opt/mirror"));
        check(&format!("/srv/x/.terraform/providers/{file}"), Some("/srv/x/.terraform/providers"));
        check(&format!("/opt/mirror/{}", file.replace("hashicorp", "somebody")), None);
        check("/usr/bin/terraform-provider-aws_v5.100.0_x5", None);
    }
}
