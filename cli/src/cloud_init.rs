//! `picket cloud-init`: user data with which a new machine becomes a member. No secret is in it: whoever may ask a cloud for an
//! instance's user data would have it. Values in, text out.

use crate::{
    args::parse_url,
    quote::{double, shell},
};
use anyhow::{Result, ensure};
use ipnet::IpNet;
use picket_chain::node::Place;
use picket_model::{NodeName, NodeRole};
use picket_pki::Fingerprint;
use reqwest::Url;
use std::{fmt::Write as _, path::PathBuf};

/// Where a join token is waited for, unless it is said otherwise.
const TOKEN: &str = "/etc/picket/join-token";

/// The guard's file may be there before the package that brings one, and nobody is there to be asked which shall stay.
const INSTALL: &str = "apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold";
/// There once a host is a member.
const MEMBER: &str = "/var/lib/picket/agent/identity.json";

/// What the machine shall be, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct CloudInit {
    /// Its part: sentry or prep
    pub(crate) role: NodeRole,
    /// Where it runs
    #[arg(long, value_enum)]
    pub(crate) cloud: Cloud,
    /// A controller's agent address, https://HOST:PORT; may be given several times
    #[arg(long = "controller", value_name = "URL", required = true, value_parser = parse_url)]
    pub(crate) controllers: Vec<Url>,
    /// Begins its name in the mesh, before the instance's id; without it the host name is its name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<NodeName>,
    /// Join by a token that is put into this file on the machine by other means, and not by what the cloud says of the instance;
    /// what --cloud nocloud does anyway, with /etc/picket/join-token
    #[arg(long, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
    /// The agent's Debian package, https://…; without it the image has the agent, or apt knows it
    #[arg(long, value_name = "URL", value_parser = parse_url, requires = "sha256")]
    pub(crate) package: Option<Url>,
    /// The package's SHA-256
    #[arg(long, value_name = "HEX", requires = "package")]
    pub(crate) sha256: Option<Fingerprint>,
    /// Networks that always reach guarded ports of this host, for its guard
    #[arg(long = "admin", value_name = "NETWORK")]
    pub(crate) admin: Vec<IpNet>,
    /// On its end leave the mesh for good: for instances of an autoscaling group
    #[arg(long)]
    pub(crate) leave_on_stop: bool,
    /// A validator's goloop on the machine, http://127.0.0.1:PORT or the path of its cli.sock
    #[arg(long, value_name = "URL or PATH")]
    pub(crate) goloop: Option<Place>,
}

/// Who starts the machine and vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cloud {
    /// Amazon EC2
    Aws,
    /// Google Compute Engine
    Gcp,
    /// Anything that hands over user data and vouches for nobody
    Nocloud,
}

/// A file that cloud-init writes.
struct File {
    path: String,
    executable: bool,
    content: String,
}

/// The user data.
///
/// # Errors
/// Where the machine could not join by it.
pub(crate) fn user_data(asked: &CloudInit, ca: Option<Fingerprint>) -> Result<String> {
    ensure!(
        asked.goloop.is_none() || asked.role == NodeRole::Prep,
        "--goloop is for validators; this is the user data of a sentry"
    );
    let token = match (&asked.token_file, asked.cloud) {
        (Some(path), _) => Some(path.to_string_lossy().into_owned()),
        (None, Cloud::Nocloud) => Some(TOKEN.to_owned()),
        (None, Cloud::Aws | Cloud::Gcp) => None,
    };
    ensure!(
        token.as_ref().is_none_or(|path| path.starts_with('/') && !path.contains(char::is_whitespace)),
        "--token-file is a whole path on the machine, without blanks"
    );
    ensure!(
        token.is_some() || ca.is_some(),
        "give --ca FINGERPRINT, as `picket-controller fingerprint` prints it: without a token it is how the machine knows its controller"
    );
    let (agent, role) = (format!("picket-{}-agent", asked.role), asked.role);
    let mut files = vec![
        File {
            path: "/usr/local/lib/picket/join".to_owned(),
            executable: true,
            content: join(asked, ca, token.as_deref()),
        },
        File {
            path: "/usr/local/lib/picket/setup".to_owned(),
            executable: true,
            content: setup(asked, token.is_some()),
        },
        File {
            path: "/etc/systemd/system/picket-join.service".to_owned(),
            executable: false,
            content: service(&agent, token.is_some()),
        },
    ];
    if let Some(path) = &token {
        let content = format!(
            "[Unit]\nDescription=Picket: joins as soon as its token is there\n\n[Path]\nPathExists={path}\n\n[Install]\nWantedBy=multi-user.target\n"
        );
        files.push(File { path: "/etc/systemd/system/picket-join.path".to_owned(), executable: false, content });
    }
    let mut environment = String::new();
    if asked.leave_on_stop {
        environment.push_str("Environment=PICKET_LEAVE_ON_STOP=true\n");
    }
    if let Some(place) = &asked.goloop {
        writeln!(environment, "Environment=\"PICKET_GOLOOP={place}\"")?;
    }
    if !environment.is_empty() {
        let path = format!("/etc/systemd/system/{agent}.service.d/cloud-init.conf");
        files.push(File { path, executable: false, content: format!("[Service]\n{environment}") });
    }
    if !asked.admin.is_empty() {
        let networks = asked.admin.iter().map(|network| double(&network.to_string())).collect::<Vec<_>>().join(", ");
        let path = "/etc/picket/guard.toml".to_owned();
        files.push(File { path, executable: false, content: format!("admin = [{networks}]\n") });
    }
    let whence = match (asked.cloud, &token) {
        (_, Some(path)) => format!("it waits for a join token in {path}, handed over by other means"),
        (Cloud::Aws, None) => "it joins by what AWS says of the instance".to_owned(),
        (Cloud::Gcp | Cloud::Nocloud, None) => "it joins by what Google says of the instance".to_owned(),
    };
    let part = if role == NodeRole::Prep { "The host of a validator" } else { "A sentry" };
    let mut text = format!(
        "#cloud-config\n# {part} of a Picket mesh, by `picket cloud-init`. There is no secret in it: {whence}.\n\n\
         # Small images have no locales, and making one would be an error; as text, since cloud-init's schema takes no other.\n\
         locale: \"false\"\npackage_update: true\npackages: [ca-certificates, curl, iproute2, nftables]\n\nwrite_files:\n"
    );
    for File { path, executable, content } in &files {
        let mode = if *executable { "0755" } else { "0644" };
        writeln!(text, "  - path: {path}\n    permissions: \"{mode}\"\n    content: |")?;
        for line in content.lines() {
            writeln!(text, "{}", format!("      {line}").trim_end())?;
        }
    }
    text.push_str("\nruncmd:\n  - [/usr/local/lib/picket/setup]\n");
    Ok(text)
}

/// Joins, where the machine is no member yet.
fn join(asked: &CloudInit, ca: Option<Fingerprint>, token: Option<&str>) -> String {
    let mut script = "#!/bin/sh\n# Joins the mesh.\nset -eu\n".to_owned();
    if let Some(path) = token.map(shell) {
        // What waits for the token would start this again and again while it lies there.
        script.push_str(&format!("if [ -e {MEMBER} ]; then\n  rm -f {path}\n  exit\nfi\n"));
    }
    script.push_str(&format!("picket-{}-agent enroll", asked.role));
    for controller in &asked.controllers {
        let url = controller.as_str().trim_end_matches('/');
        script.push_str(&format!(" \\\n  --controller {}", shell(url)));
    }
    if let Some(name) = &asked.name {
        script.push_str(&format!(" \\\n  --name \"{name}-$(cloud-init query v1.instance_id)\""));
    }
    match (token, ca) {
        (Some(path), _) => {
            let path = shell(path);
            // Of no use to anybody once it was used; kept where it may be tried again.
            script.push_str(&format!(" \\\n  --token-file {path}\nrm -f {path}\n"));
        }
        (None, ca) => {
            let kind = if asked.cloud == Cloud::Aws { "aws" } else { "gcp" };
            let ca = ca.map(|ca| format!(" \\\n  --ca-fingerprint {ca}")).unwrap_or_default();
            script.push_str(&format!("{ca} \\\n  --proof {kind}\n"));
        }
    }
    script
}

/// Installs the agent where it is not there yet, and starts what joins.
fn setup(asked: &CloudInit, waits: bool) -> String {
    let agent = format!("picket-{}-agent", asked.role);
    let install = match (&asked.package, &asked.sha256) {
        (Some(url), Some(sum)) => format!(
            "  file=$(mktemp --suffix=.deb)\n  \
               curl --fail --silent --show-error --location --retry 5 --output \"$file\" {}\n  \
               echo \"{sum}  $file\" | sha256sum --check --quiet\n  \
               chmod 0644 \"$file\"\n  \
               {INSTALL} \"$file\"\n  \
               rm \"$file\"\n",
            shell(url.as_str())
        ),
        _ => format!("  {INSTALL} {agent}\n"),
    };
    let first = if waits { "picket-join.path" } else { "--no-block picket-join.service" };
    format!(
        "#!/bin/sh\n# Installs the agent and has the host join. Run again it changes nothing.\nset -eu\n\
         export DEBIAN_FRONTEND=noninteractive\nif ! command -v {agent} >/dev/null; then\n{install}fi\n\
         systemctl daemon-reload\n\
         # Closed from now on, and at each boot before the network is up.\n\
         systemctl enable --now picket-lockdown.service\nsystemctl enable {agent}.service\nsystemctl enable --now {first}\n"
    )
}

/// Tries until the controller lets the host in; the package's own unit starts nothing on a host that is no member.
fn service(agent: &str, waits: bool) -> String {
    let condition = if waits { String::new() } else { format!("ConditionPathExists=!{MEMBER}\n") };
    format!(
        "[Unit]\nDescription=Picket: joins the mesh\nWants=network-online.target\nAfter=network-online.target picket-lockdown.service\n\
         {condition}StartLimitIntervalSec=0\n\n\
         [Service]\nType=oneshot\nExecStart=/usr/local/lib/picket/join\nExecStartPost=/bin/systemctl start --no-block {agent}.service\n\
         Restart=on-failure\nRestartSec=10\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command, Here};
    use clap::Parser as _;

    fn made(line: &str) -> Result<String> {
        let words = ["picket", "cloud-init"].into_iter().chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words)?;
        let Command::Here(Here::CloudInit(asked)) = &arguments.command else { panic!("{line}") };
        user_data(asked, arguments.connection.ca)
    }

    const CA: &str = "abababababababababababababababababababababababababababababababab";

    /// The files are held against cloud-init's own schema by tests/cloud-init/check.sh.
    #[test]
    fn what_is_written_is_as_it_was_looked_at() {
        let aws = format!(
            "sentry --cloud aws --controller https://c.example:7443 --ca {CA} --name edge --leave-on-stop --package \
             https://files.example/picket-sentry-agent.deb --sha256 {CA}"
        );
        assert_eq!(made(&aws).unwrap(), include_str!("../tests/cloud-init/aws-sentry.yaml"));
        let gcp =
            format!("prep --cloud gcp --controller https://c.example:7443 --ca {CA} --goloop http://127.0.0.1:9000");
        assert_eq!(made(&gcp).unwrap(), include_str!("../tests/cloud-init/gcp-prep.yaml"));
        let nocloud = "sentry --cloud nocloud --controller https://a.example:7443 --controller https://b.example:7443 --admin \
                       192.0.2.0/28 --admin 2001:db8::/48";
        assert_eq!(made(nocloud).unwrap(), include_str!("../tests/cloud-init/nocloud-sentry.yaml"));
    }

    #[test]
    fn a_machine_that_could_not_join_gets_no_user_data() {
        let check = |line: &str, expect: &str| {
            let error = made(line).unwrap_err().to_string();
            assert!(error.contains(expect), "{line}: {error}");
        };
        check("sentry --cloud aws --controller https://c.example:7443", "give --ca FINGERPRINT");
        check("sentry --cloud aws", "--controller <URL>");
        check("sentry --cloud aws --controller http://c.example", "not https");
        check("sentry --cloud nocloud --controller https://c.example --goloop http://127.0.0.1:9080", "for validators");
        check("prep --cloud nocloud --controller https://c.example --token-file token", "whole path");
        check("prep --cloud nocloud --controller https://c.example --package https://x.example/a.deb", "--sha256");
    }

    #[test]
    fn nothing_that_was_typed_leaves_its_quotes() {
        let text =
            made("prep --cloud nocloud --controller https://c.example/'$(reboot) --token-file /run/a'b").unwrap();
        assert!(text.contains(r"--token-file '/run/a'\''b'"), "{text}");
        assert!(text.contains(r"--controller 'https://c.example/'\''$(reboot)'"), "{text}");
    }
}
