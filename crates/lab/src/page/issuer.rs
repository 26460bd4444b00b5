//! An issuer of logins beside the controller: a real identity provider, which the driver's folder sets up and starts (`issuer.py`), on
//! the controller's host, and a way to it for the browser. The controller is told to believe it.

use crate::{Host, LabError, Process, Relay, mesh::Mesh, mesh::SOON, wait_until};
use serde_json::{Value, json};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
};

/// Where it listens; browsers are led there by the relay.
const PLACE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8443);
/// What the page and the issuer have in common.
const SECRET: &str = "of-the-lab";

/// A running issuer; ends with this value.
#[derive(Debug)]
pub(super) struct Issuer {
    _process: Process,
    relay: Relay,
}

impl Issuer {
    /// Starts it, and the controller anew with it.
    pub(super) fn start(mesh: &mut Mesh, python: &Path, script: &Path) -> Result<Self, LabError> {
        let (url, page) = (format!("https://{}", SocketAddr::from(PLACE)), mesh.controller.page()?);
        let (host, address) = (&mesh.controller.host, format!("http://{page}"));
        let files = files(host)?;
        let (folder, back) = (host.path("issuer"), format!("{address}/login/oidc/return"));
        let script = script.display().to_string();
        let process = host.start("issuer", python, &[&script, &folder, &url, &back], &[])?;
        wait_until("the issuer to listen", SOON * 4, || {
            process.must_run().map_err(|error| error.to_string())?;
            let connected =
                host.inside(|| TcpStream::connect(SocketAddr::from(PLACE))).map_err(|error| error.to_string())?;
            connected.map(drop).map_err(|error| error.to_string())
        })?;
        let relay = host.relay(SocketAddr::from(PLACE))?;
        let [certificate, secret] = files;
        let lines = format!(
            "[page.oidc]\nissuer = \"{url}\"\nclient_id = \"picket\"\nclient_secret_file = \"{secret}\"\n\
             address = \"{address}\"\ncertificates = \"{certificate}\"\nscopes = [\"profile\", \"groups\"]\n\
             [[page.oidc.allow]]\nclaim = \"groups\"\nvalue = \"admins\"\nrole = \"admin\"\n"
        );
        mesh.controller.configure(|text| text.replace("[page.public]", &format!("{lines}\n[page.public]")))?;
        mesh.controller.kill();
        mesh.controller.start()?;
        Ok(Self { _process: process, relay })
    }

    /// What the driver needs to know: its name, and where its browser has to go for it.
    pub(super) fn told(&self) -> Value {
        json!({ "place": SocketAddr::from(PLACE).to_string(), "relay": self.relay.address().to_string() })
    }
}

/// Its certificate and key, and the secret: certificate and secret are the controller's to read, too.
fn files(host: &Host) -> Result<[String; 2], LabError> {
    let pair = rcgen::generate_simple_self_signed([PLACE.0.to_string()])
        .map_err(|error| LabError::Unexpected { found: format!("no certificate for the issuer: {error}") })?;
    let folder = host.path("issuer");
    fs::create_dir(&folder).map_err(|error| LabError::io(format!("make {folder}"), error))?;
    host.write("issuer/key.pem", &pair.signing_key.serialize_pem())?;
    Ok([host.write("issuer/certificate.pem", &pair.cert.pem())?, host.write("issuer/secret", SECRET)?])
}
