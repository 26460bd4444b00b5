//! `[ca]` of the configuration: where the passphrase of the CA's key comes from, or the key itself. Values only.

use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

/// Where the secrets of the CA come from. Without any of it the key lies in the state folder as it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaConfig {
    /// File with the passphrase under which the key is encrypted.
    pub passphrase_file: Option<PathBuf>,
    /// Program that prints it, with its arguments; never a shell.
    pub passphrase_command: Option<Vec<String>>,
    /// File with the certificate, for a state folder that has none.
    pub certificate_file: Option<PathBuf>,
    /// File with the key, PEM, encrypted or not; then the state folder has none.
    pub key_file: Option<PathBuf>,
    /// Program that prints it.
    pub key_command: Option<Vec<String>>,
    /// File with the key of the next CA, for a rotation where the key is given.
    pub next_key_file: Option<PathBuf>,
    /// Program that prints it.
    pub next_key_command: Option<Vec<String>>,
    /// Longest time a program may take, in seconds.
    pub command_seconds: u64,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self {
            passphrase_file: None,
            passphrase_command: None,
            certificate_file: None,
            key_file: None,
            key_command: None,
            next_key_file: None,
            next_key_command: None,
            command_seconds: 30,
        }
    }
}

/// Where one secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file.
    File(PathBuf),
    /// A program and its arguments.
    Program(Vec<String>),
}

impl CaConfig {
    pub(crate) fn passphrase(&self) -> Option<Origin> {
        origin(self.passphrase_file.as_ref(), self.passphrase_command.as_ref())
    }

    pub(crate) fn key(&self) -> Option<Origin> {
        origin(self.key_file.as_ref(), self.key_command.as_ref())
    }

    pub(crate) fn next_key(&self) -> Option<Origin> {
        origin(self.next_key_file.as_ref(), self.next_key_command.as_ref())
    }

    /// Longest time a program may take.
    pub(crate) const fn patience(&self) -> Duration {
        Duration::from_secs(self.command_seconds)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let pairs = [
            ("passphrase", &self.passphrase_file, &self.passphrase_command),
            ("key", &self.key_file, &self.key_command),
            ("next_key", &self.next_key_file, &self.next_key_command),
        ];
        for (name, file, command) in pairs {
            if file.is_some() && command.is_some() {
                return Err(format!("ca.{name}_file and ca.{name}_command are both there: write one of them"));
            }
            if file.as_ref().is_some_and(|file| !file.is_absolute()) {
                return Err(format!("ca.{name}_file is not an absolute path"));
            }
            if command.as_ref().is_some_and(|words| words.first().is_none_or(|program| !program.starts_with('/'))) {
                let example = "[\"/usr/bin/systemd-creds\", \"decrypt\", …]";
                return Err(format!("ca.{name}_command does not begin with a program's absolute path, as {example}"));
            }
        }
        if self.certificate_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err("ca.certificate_file is not an absolute path".to_owned());
        }
        if self.certificate_file.is_some() && self.key().is_none() {
            return Err(
                "ca.certificate_file is there and the key is not given: write ca.key_file or ca.key_command".to_owned()
            );
        }
        if self.next_key().is_some() && self.key().is_none() {
            return Err("ca.next_key_file and ca.next_key_command are for keys that are given by ca.key_file or \
                        ca.key_command: leave them out, a rotation makes its key"
                .to_owned());
        }
        if !(1..=300).contains(&self.command_seconds) {
            return Err(format!("ca.command_seconds is {}: write 1 to 300", self.command_seconds));
        }
        Ok(())
    }
}

fn origin(file: Option<&PathBuf>, command: Option<&Vec<String>>) -> Option<Origin> {
    file.cloned().map(Origin::File).or_else(|| command.cloned().map(Origin::Program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_comes_from_one_place() {
        let check = |lines: &str, expect: &str| {
            let config: CaConfig = toml::from_str(lines).unwrap();
            let found = config.check().err().unwrap_or_default();
            assert!(if expect.is_empty() { found.is_empty() } else { found.contains(expect) }, "{lines}: {found}");
        };
        check("", "");
        check("passphrase_file = \"/run/credentials/picket-controller.service/ca\"", "");
        check("passphrase_command = [\"/usr/bin/aws\", \"kms\"]\nkey_file = \"/mnt/ca.key\"", "");
        check("passphrase_file = \"/a\"\npassphrase_command = [\"/b\"]", "write one of them");
        check("key_file = \"ca.key\"", "not an absolute path");
        check("certificate_file = \"/a\"\nkey_file = \"/b\"", "");
        check("certificate_file = \"/a\"", "the key is not given");
        check("certificate_file = \"a\"\nkey_file = \"/b\"", "absolute path");
        check("key_command = []", "absolute path");
        check("key_command = [\"aws\", \"kms\"]", "absolute path");
        check("next_key_file = \"/a\"", "leave them out");
        check("key_file = \"/a\"\nnext_key_command = [\"/b\"]", "");
        check("command_seconds = 0", "write 1 to 300");
        assert!(toml::from_str::<CaConfig>("passphrase = \"in the clear\"").is_err());
    }
}
