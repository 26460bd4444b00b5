//! How one CA of the mesh follows another, as controllers tell each other. A step is a text of its writer's; keys are encrypted before
//! they come here.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, plain_or_none, text},
    statement::query,
};
use picket_pki::Fingerprint;
use secrecy::{ExposeSecret as _, SecretString};

/// One CA on its way to follow another, or one that has.
#[derive(Clone, Debug)]
pub struct CaSuccession {
    /// The CA that is followed.
    pub current: Fingerprint,
    /// Which one follows, and how far that is.
    pub step: String,
    /// The key of the one that follows, encrypted; `None` where it is given from elsewhere, or has been retired.
    pub sealed_key: Option<SecretString>,
}

impl Transaction {
    /// All that were ever begun, oldest first.
    pub async fn ca_successions(&mut self) -> Result<Vec<CaSuccession>, StoreError> {
        let rows = query("SELECT current, step, sealed_key FROM ca_successions WHERE mesh = $1 ORDER BY number")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read how CAs follow each other"))?;
        let succession = |row| {
            Ok(CaSuccession {
                current: text(row, "current")?,
                step: plain(row, "step")?,
                sealed_key: plain_or_none(row, "sealed_key")?.map(SecretString::from),
            })
        };
        rows.iter().map(succession).collect()
    }

    /// Keeps a step; a key that is there already stays where none is given.
    pub async fn put_ca_succession(&mut self, succession: &CaSuccession) -> Result<(), StoreError> {
        query(
            "INSERT INTO ca_successions (mesh, current, number, step, sealed_key)
             VALUES ($1, $2, (SELECT COUNT(*) FROM ca_successions AS before WHERE before.mesh = $1), $3, $4)
             ON CONFLICT (mesh, current) DO UPDATE SET step = excluded.step,
                 sealed_key = COALESCE(excluded.sealed_key, ca_successions.sealed_key)",
        )
        .bind(self.mesh.as_str())
        .bind(succession.current.to_string())
        .bind(&succession.step)
        .bind(succession.sealed_key.as_ref().map(|key| key.expose_secret()))
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep how CAs follow each other"))?;
        Ok(())
    }

    /// Drops the keys of all CAs but the one that follows this one: theirs are retired.
    pub async fn forget_ca_keys_but_after(&mut self, current: &Fingerprint) -> Result<(), StoreError> {
        query("UPDATE ca_successions SET sealed_key = NULL WHERE mesh = $1 AND current <> $2")
            .bind(self.mesh.as_str())
            .bind(current.to_string())
            .execute(&mut self.sql)
            .await
            .map_err(sql("forget a retired CA's key"))?;
        Ok(())
    }
}
