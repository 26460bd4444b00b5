//! Which certificates a host may show: the one it used last, and those made since. What is older was replaced.

use super::{
    StoreError, Transaction,
    error::sql,
    leases, nodes,
    row::{number_or_none, plain, plain_or_none},
    statement::query,
};
use picket_model::{Lease, Node, NodeId};
use std::collections::BTreeSet;

/// Certificates of one host that are kept and were never used: more answers in a row are not lost.
const MOST_UNUSED: i64 = 8;

/// How a certificate that a host shows stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In use, or of a host of which nothing newer was ever seen.
    Good,
    /// Newer than the one in use, and seen for the first time.
    New,
    /// The host has used a newer one.
    Replaced,
}

/// How one of a host's certificates stands among those that are kept, each with whether it was used.
fn standing(kept: &[(String, bool)], serial: &str) -> Standing {
    match kept.iter().find(|(kept, _)| kept == serial) {
        Some((_, true)) => Standing::Good,
        Some((_, false)) => Standing::New,
        None if kept.iter().any(|(_, used)| *used) => Standing::Replaced,
        None => Standing::Good,
    }
}

impl Transaction {
    /// Enters a certificate that was made for a host, which may show it from now on beside the one it uses.
    pub async fn enter_certificate(&mut self, node: &NodeId, serial: &str) -> Result<(), StoreError> {
        query("INSERT INTO certificates (mesh, node, serial) VALUES ($1, $2, $3)")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .bind(serial)
            .execute(&mut self.sql)
            .await
            .map_err(sql("enter a certificate"))?;
        query(
            "DELETE FROM certificates WHERE mesh = $1 AND node = $2 AND used = 0 AND id NOT IN
                (SELECT id FROM certificates WHERE mesh = $1 AND node = $2 AND used = 0 ORDER BY id DESC LIMIT $3)",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(MOST_UNUSED)
        .execute(&mut self.sql)
        .await
        .map_err(sql("forget certificates that nobody used"))?;
        Ok(())
    }

    /// A host, its lease, and how a certificate that it shows stands. Every request of a host asks this: at one look.
    pub async fn shows(&mut self, node: &NodeId, serial: &str) -> Result<Option<(Node, Lease, Standing)>, StoreError> {
        let rows = query(
            "SELECT nodes.*, certificates.serial AS serial, certificates.used AS used FROM nodes
             LEFT JOIN certificates ON certificates.mesh = nodes.mesh AND certificates.node = nodes.id
             WHERE nodes.mesh = $1 AND nodes.id = $2",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read a host, its lease and its certificates"))?;
        let Some(first) = rows.first() else { return Ok(None) };
        let kept = rows.iter().filter_map(|row| {
            let serial = plain_or_none(row, "serial").transpose()?;
            let used = || Ok(number_or_none::<u8>(row, "used")?.is_some_and(|used| used != 0));
            Some(serial.and_then(|serial| Ok((serial, used()?))))
        });
        let standing = standing(&kept.collect::<Result<Vec<_>, StoreError>>()?, serial);
        Ok(Some((nodes::node(first)?, leases::lease(first)?, standing)))
    }

    /// Notes that a host uses a certificate: what was made before it is replaced. The ones that it may show from now on.
    pub async fn use_certificate(&mut self, node: &NodeId, serial: &str) -> Result<BTreeSet<String>, StoreError> {
        query(
            "DELETE FROM certificates WHERE mesh = $1 AND node = $2 AND id <
                (SELECT id FROM certificates WHERE mesh = $1 AND node = $2 AND serial = $3)",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(serial)
        .execute(&mut self.sql)
        .await
        .map_err(sql("forget replaced certificates"))?;
        query("UPDATE certificates SET used = 1 WHERE mesh = $1 AND node = $2 AND serial = $3")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .bind(serial)
            .execute(&mut self.sql)
            .await
            .map_err(sql("note that a certificate is used"))?;
        let rows = query("SELECT serial FROM certificates WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read a host's certificates"))?;
        rows.iter().map(|row| plain(row, "serial")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_replaced_once_another_was_used() {
        let kept = |rows: &[(&str, bool)]| rows.iter().map(|(serial, used)| ((*serial).to_owned(), *used)).collect();
        let check = |rows: &[(&str, bool)], serial: &str, expect: Standing| {
            let kept: Vec<_> = kept(rows);
            assert_eq!(standing(&kept, serial), expect, "{rows:?} {serial}");
        };
        check(&[], "a", Standing::Good);
        check(&[("b", false)], "a", Standing::Good);
        check(&[("b", false)], "b", Standing::New);
        check(&[("a", true), ("b", false), ("c", false)], "a", Standing::Good);
        check(&[("a", true), ("b", false), ("c", false)], "c", Standing::New);
        check(&[("c", true)], "a", Standing::Replaced);
        check(&[("c", true)], "c", Standing::Good);
    }
}
