//! Operators' tokens and the files by which `picket` uses them. A secret leaves here once, in such a file.

use crate::{
    Config,
    start::hex,
    state_dir::StateDir,
    store::{Actor, Operator, Store, Transaction},
};
use anyhow::{Context as _, bail};
use picket_model::{Timestamp, TokenId};
use picket_pki::{Fingerprint, OperatorRole, OperatorToken, TokenSecret, random};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::Path;

/// Sees to it that the state folder has a file by which the local operator reaches the controller at `url`. A file that
/// was deleted is made anew with another token.
pub(crate) async fn enter_local(
    state: &StateDir,
    store: &Store,
    url: &str,
    ca: Fingerprint,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut tx = store.write().await?;
    let kept = state.context()?.map(|context| context.token.parse::<OperatorToken>()).transpose()?;
    let known = match &kept {
        Some(token) => tx
            .operator(&token.id)
            .await?
            .is_some_and(|known| known.secret_hash == token.secret_hash() && known.is_good(now)),
        None => false,
    };
    let token = match kept {
        Some(token) if known => token,
        _ => enter(&mut tx, OperatorRole::Admin, now).await?,
    };
    state.write_context(&context(url, ca, &token, OperatorRole::Admin))?;
    tx.commit().await?;
    Ok(())
}

/// Has the local operator's file name the CA that signs from now on.
pub(crate) fn follow_ca(state: &StateDir, ca: Fingerprint) -> anyhow::Result<()> {
    let Some(local) = state.context()? else { return Ok(()) };
    state.write_context(&context(&local.url, ca, &local.token.parse()?, OperatorRole::Admin))
}

/// Adds an operator to the mesh in a state folder, which a controller may be serving, and gives the file for them.
pub(crate) async fn add(
    state_dir: &Path,
    config: &Config,
    role: OperatorRole,
    now: Timestamp,
) -> anyhow::Result<SecretString> {
    let ca = StateDir::existing_ca(state_dir)?;
    let Some(local) = StateDir::read_context(state_dir)? else {
        bail!("state folder {} has no operator.toml yet: `picket-controller serve` makes it", state_dir.display());
    };
    let store = Store::at(&config.database(StateDir::database_in(state_dir)), ca.mesh().clone()).await?;
    let mut tx = store.write().await?;
    let token = enter(&mut tx, role, now).await?;
    tx.commit().await?;
    store.close().await;
    // While one CA follows another, this is the one that will be left.
    let signs = local.ca_fingerprint.unwrap_or_else(|| ca.fingerprint());
    Ok(context(&local.url, signs, &token, role))
}

/// What the audit log in a state folder looks like, as one line; an error where a line is not as it was written.
pub(crate) async fn verify_log(state_dir: &Path, config: &Config) -> anyhow::Result<String> {
    let ca = StateDir::existing_ca(state_dir)?;
    let store = Store::at(&config.database(StateDir::database_in(state_dir)), ca.mesh().clone()).await?;
    let verdict = store.read().await?.verify_log().await?;
    store.close().await;
    if let Some(broken) = verdict.broken {
        bail!(
            "line {} of the audit log: {}; the {} lines before are as they were written",
            broken.line,
            broken.text,
            verdict.lines
        );
    }
    Ok(format!("{} lines, each as it was written; head {} {}", verdict.lines, verdict.last, verdict.head))
}

/// A new token and what is kept of it.
pub(crate) fn make(role: OperatorRole, now: Timestamp) -> anyhow::Result<(OperatorToken, Operator)> {
    let id = format!("op-{}", hex(random::<4>()?)).parse::<TokenId>().context("make a token id")?;
    let token = OperatorToken { id, secret: TokenSecret::from_bytes(random()?) };
    let operator = Operator {
        id: token.id.clone(),
        secret_hash: token.secret_hash(),
        role,
        created_at: now,
        expires_at: None,
        revoked_at: None,
        made_by: None,
        comment: String::new(),
    };
    Ok((token, operator))
}

async fn enter(tx: &mut Transaction, role: OperatorRole, now: Timestamp) -> anyhow::Result<OperatorToken> {
    let (token, operator) = make(role, now)?;
    tx.insert_operator(&operator).await?;
    tx.record(now, &Actor::Controller, "operator.created", token.id.as_str(), &role.to_string()).await?;
    Ok(token)
}

/// What `picket` reads: where the controller is, which CA it has, who is asking.
fn context(url: &str, ca: Fingerprint, token: &OperatorToken, role: OperatorRole) -> SecretString {
    let secret = token.to_secret_string();
    let secret = secret.expose_secret();
    format!(
        "# For `picket`: whoever can read this file is a mesh operator, role {role}.\n\
         url = \"{url}\"\nca_fingerprint = \"{ca}\"\ntoken = \"{secret}\"\n"
    )
    .into()
}
