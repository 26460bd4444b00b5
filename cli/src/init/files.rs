//! The texts that are made of answers. Pure.

use super::{
    ANSWERS,
    answers::{Answers, Aws, Host},
};
use crate::quote::double;
use anyhow::{Context as _, Result};
use std::{fmt::Write as _, net::Ipv6Addr, path::Path};

/// Where hosts ask a controller.
const AGENTS: u16 = 7443;

/// Each file with its name.
pub(super) fn files(answers: &Answers, certificate: Option<&str>) -> Result<Vec<(&'static str, String)>> {
    let kept = toml::to_string(answers).context("write the answers")?;
    let head = "# What the mesh shall be: `picket init --answers mesh.toml --out DIR` makes the same files again.\n\n";
    let mut files = vec![(ANSWERS, format!("{head}{kept}"))];
    if let Some(aws) = &answers.aws {
        files.push(("terraform.tfvars", variables(answers, aws, certificate.unwrap_or_default())));
    } else {
        files.push(("controller.toml", controller(answers)?));
    }
    if answers.hosts().next().is_some() {
        files.push(("inventory.yml", inventory(answers)?));
    }
    Ok(files)
}

/// What the controller reads; what it leaves out is the controller's own default.
fn controller(answers: &Answers) -> Result<String> {
    let mut text = format!(
        "# The controller of mesh {}, made by `picket init`. What is not here has its default, docs/operations.md lists all.\n\n\
         [listen]\nagents = \"[::]:{AGENTS}\"            # must be reachable from every host\n\
         operators = \"127.0.0.1:7444\"    # `picket`, on the controller's host or through ssh -L\n\
         health = \"127.0.0.1:7445\"       # no authentication: keep it on loopback\n\n\
         [policy]\nadmin = [{}]    # always let in to every guarded port\n",
        answers.name(),
        networks(answers)
    );
    if answers.hide {
        for prep in &answers.preps {
            write!(
                text,
                "\n[[policy.hidden]]\nprep = {}\nstrict = false                    # true once nothing leaves directly any more: docs/operations.md has the steps\n",
                double(prep.name.as_str())
            )?;
        }
    }
    Ok(text)
}

fn networks(answers: &Answers) -> String {
    answers.admin.iter().map(|network| double(&network.to_string())).collect::<Vec<_>>().join(", ")
}

/// Hosts by their part, for the collection picket.picket.
fn inventory(answers: &Answers) -> Result<String> {
    let mut text = format!("# Hosts of mesh {}, made by `picket init`.\nall:\n  vars:\n", answers.name());
    writeln!(text, "    ansible_user: {}", double(answers.ssh_user.as_deref().unwrap_or("root")))?;
    writeln!(text, "    picket_admin_networks: [{}]", networks(answers))?;
    if let Some(controller) = &answers.controller {
        writeln!(
            text,
            "    picket_controller_url: {}",
            double(&format!("https://{}:{AGENTS}", host_of_url(&controller.address)))
        )?;
    }
    text.push_str("  children:\n");
    let controllers: Vec<_> = answers.controller.iter().collect();
    let groups = [
        ("controllers", "controller", controllers),
        ("sentries", "sentry", answers.sentries.iter().collect()),
        ("preps", "prep", answers.preps.iter().collect()),
    ];
    for (group, role, hosts) in groups.into_iter().filter(|(.., hosts)| !hosts.is_empty()) {
        writeln!(text, "    {group}:\n      vars:\n        picket_role: {role}")?;
        if role == "controller" {
            text.push_str("        picket_controller_config: \"{{ inventory_dir }}/controller.toml\"\n");
        }
        text.push_str("      hosts:\n");
        for Host { name, address } in hosts {
            writeln!(text, "        {name}:\n          ansible_host: {}", double(address))?;
        }
    }
    Ok(text)
}

/// As a URL has it.
fn host_of_url(address: &str) -> String {
    if address.parse::<Ipv6Addr>().is_ok() { format!("[{address}]") } else { address.to_owned() }
}

/// For terraform/examples/complete.
fn variables(answers: &Answers, aws: &Aws, certificate: &str) -> String {
    let Aws { region, image, .. } = aws;
    let zones: Vec<_> = ["a", "b"].map(|zone| double(&format!("{region}{zone}"))).into();
    format!(
        "# Variables of terraform/examples/complete, made by `picket init`.\nname           = {}\nregion         = {}\nzones          = [{}]\n\
         ami_id         = {}\nadmin_networks = [{}]\n# ca_fingerprint = \"…\"    # after the first apply: what the output `next` says\n\n\
         aws_certificates = {{\n  {region} = <<-PEM\n{}\n  PEM\n}}\n",
        double(answers.name()),
        double(region),
        zones.join(", "),
        double(image),
        networks(answers),
        certificate.trim().lines().map(|line| format!("    {}", line.trim())).collect::<Vec<_>>().join("\n"),
    )
}

/// What to type next.
pub(super) fn next_steps(answers: &Answers, folder: &Path) -> String {
    let folder = folder.display();
    let mut steps = Vec::new();
    if answers.aws.is_some() {
        steps.push(format!(
            "cp {folder}/terraform.tfvars terraform/examples/complete/ && cd terraform/examples/complete"
        ));
        steps.push("terraform init && terraform apply    # then what its output `next` says".to_owned());
        if !answers.preps.is_empty() {
            steps.push(format!(
                "ansible-playbook -i {folder}/inventory.yml -e picket_controller_url=$(terraform output -raw controller_url) picket.picket.site"
            ));
        }
    } else {
        steps.push(format!("ansible-playbook -i {folder}/inventory.yml picket.picket.site"));
        steps.push("on the controller's host: picket status".to_owned());
    }
    if answers.hide {
        steps.push(
            "on the controller's host: picket advertise    # what hidden validators must set, step by step".to_owned(),
        );
    }
    let mut text = format!("written to {folder}; next:\n");
    for (number, step) in (1..).zip(steps) {
        text.push_str(&format!("{number}. {step}\n"));
    }
    text
}
