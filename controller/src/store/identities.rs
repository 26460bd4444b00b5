//! Identities that were vouched for: which host came in with each, and which are forbidden.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, json, json_or_none, number, text, text_or_none, time_or_none, to_json},
    statement::{Row, query},
};
use picket_api::Proof;
use picket_attest::IdentityId;
use picket_model::{NodeId, Timestamp, TokenId};
use std::collections::BTreeMap;

/// What is known of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownIdentity {
    /// The identity.
    pub id: IdentityId,
    /// The host that came in with it, and so the only keys it is good for.
    pub node: Option<NodeId>,
    /// When that was.
    pub bound_at: Option<Timestamp>,
    /// Since when it may not come in at all.
    pub forbidden_at: Option<Timestamp>,
    /// How often it was shown with other keys, or though it is forbidden.
    pub refused: u32,
    /// When last.
    pub refused_at: Option<Timestamp>,
}

impl Transaction {
    /// One identity; `None` where it was never seen, or was forgotten.
    pub async fn identity(&mut self, id: &IdentityId) -> Result<Option<KnownIdentity>, StoreError> {
        let row = query("SELECT * FROM identities WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read an identity"))?;
        row.as_ref().map(known).transpose()
    }

    /// Identities in order of their text, at most so many of those after one.
    pub async fn identities(
        &mut self,
        after: Option<&IdentityId>,
        most: usize,
    ) -> Result<Vec<KnownIdentity>, StoreError> {
        let rows = query("SELECT * FROM identities WHERE mesh = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3")
            .bind(self.mesh.as_str())
            .bind(after.map(IdentityId::as_str))
            .bind(integer(most))
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the identities"))?;
        rows.iter().map(known).collect()
    }

    /// Lets the identity that a host came in with join anew: the host left, or was not heard for its whole lease. One that is
    /// forbidden stays so.
    pub async fn unbind_identity(&mut self, node: &NodeId) -> Result<(), StoreError> {
        query("DELETE FROM identities WHERE mesh = $1 AND node = $2 AND forbidden_at IS NULL")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("unbind an identity"))?;
        Ok(())
    }

    /// Binds an identity to the host that came in with it, by this proof.
    pub async fn bind_identity(
        &mut self,
        id: &IdentityId,
        node: &NodeId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query("INSERT INTO identities (mesh, id, node, proof, bound_at, refused) VALUES ($1, $2, $3, $4, $5, 0)")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .bind(node.as_str())
            .bind(to_json(proof, "proof")?)
            .bind(now.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("bind an identity"))?;
        Ok(())
    }

    /// The identity that a host came in with; `None` for one that came in with a join token.
    pub async fn identity_of(&mut self, node: &NodeId) -> Result<Option<KnownIdentity>, StoreError> {
        let row = query("SELECT * FROM identities WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a host's identity"))?;
        row.as_ref().map(known).transpose()
    }

    /// A host's newest proofs: for the key it uses, and for the one that is to follow; `None` where it has none, or had none kept
    /// when it joined.
    pub async fn proofs_of(&mut self, node: &NodeId) -> Result<Option<(Proof, Option<Proof>)>, StoreError> {
        let row = query("SELECT proof, next_proof FROM identities WHERE mesh = $1 AND node = $2 AND proof IS NOT NULL")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a host's proof"))?;
        row.as_ref().map(|row| Ok((json(row, "proof")?, json_or_none(row, "next_proof")?))).transpose()
    }

    /// Keeps a newer proof of the host that came in with an identity, for the key it uses or for the next one.
    pub async fn renew_proof(&mut self, id: &IdentityId, proof: &Proof, is_next: bool) -> Result<(), StoreError> {
        let change = if is_next {
            "UPDATE identities SET next_proof = $1 WHERE mesh = $2 AND id = $3 AND node IS NOT NULL"
        } else {
            "UPDATE identities SET proof = $1 WHERE mesh = $2 AND id = $3 AND node IS NOT NULL"
        };
        query(change)
            .bind(to_json(proof, "proof")?)
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("keep a host's proof"))?;
        Ok(())
    }

    /// The host uses its next key now: the proof for that one counts.
    pub async fn promote_proof(&mut self, node: &NodeId) -> Result<(), StoreError> {
        query(
            "UPDATE identities SET proof = COALESCE(next_proof, proof), next_proof = NULL WHERE mesh = $1 AND node = $2",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep a host's proof"))?;
        Ok(())
    }

    /// Forbids an identity, seen or not; the first time counts.
    pub async fn forbid_identity(&mut self, id: &IdentityId, now: Timestamp) -> Result<(), StoreError> {
        query(
            "INSERT INTO identities (mesh, id, forbidden_at, refused) VALUES ($1, $2, $3, 0)
             ON CONFLICT (mesh, id) DO UPDATE SET forbidden_at = COALESCE(identities.forbidden_at, $3)",
        )
        .bind(self.mesh.as_str())
        .bind(id.as_str())
        .bind(now.as_millis())
        .execute(&mut self.sql)
        .await
        .map_err(sql("forbid an identity"))?;
        Ok(())
    }

    /// Forgets an identity: it may come in anew, with other keys.
    pub async fn forget_identity(&mut self, id: &IdentityId) -> Result<(), StoreError> {
        query("DELETE FROM identities WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("forget an identity"))?;
        Ok(())
    }

    /// Counts one refusal of a known identity.
    pub async fn count_refused_identity(&mut self, id: &IdentityId, now: Timestamp) -> Result<(), StoreError> {
        query("UPDATE identities SET refused = refused + 1, refused_at = $1 WHERE mesh = $2 AND id = $3")
            .bind(now.as_millis())
            .bind(self.mesh.as_str())
            .bind(id.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("count a refusal"))?;
        Ok(())
    }

    /// How many members are here by each join token or rule of enrolment.
    pub async fn members_by_token(&mut self) -> Result<BTreeMap<TokenId, u32>, StoreError> {
        let rows =
            query("SELECT token, COUNT(*) AS members FROM nodes WHERE mesh = $1 AND revoked_at IS NULL GROUP BY token")
                .bind(self.mesh.as_str())
                .fetch_all(&mut self.sql)
                .await
                .map_err(sql("count members"))?;
        rows.iter().map(|row| Ok((text(row, "token")?, number(row, "members")?))).collect()
    }
}

fn known(row: &Row) -> Result<KnownIdentity, StoreError> {
    Ok(KnownIdentity {
        id: text(row, "id")?,
        node: text_or_none(row, "node")?,
        bound_at: time_or_none(row, "bound_at")?,
        forbidden_at: time_or_none(row, "forbidden_at")?,
        refused: number(row, "refused")?,
        refused_at: time_or_none(row, "refused_at")?,
    })
}
