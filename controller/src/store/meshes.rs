//! The mesh: its id and the ranges its overlay addresses come from.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, text},
    statement::query,
};
use picket_model::{OverlayPrefixes, Timestamp};

impl Transaction {
    /// The overlay ranges, once the mesh is entered.
    pub async fn overlay(&mut self) -> Result<Option<OverlayPrefixes>, StoreError> {
        let row = query("SELECT overlay_v4, overlay_v6 FROM meshes WHERE id = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the mesh"))?;
        row.map(|row| Ok(OverlayPrefixes { v4: text(&row, "overlay_v4")?, v6: text(&row, "overlay_v6")? })).transpose()
    }

    /// The id of another mesh in this database, if there is one: then it belongs to another CA.
    pub async fn other_mesh(&mut self) -> Result<Option<String>, StoreError> {
        let row = query("SELECT id FROM meshes WHERE id <> $1 ORDER BY id LIMIT 1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the mesh"))?;
        row.map(|row| plain(&row, "id")).transpose()
    }

    /// Enters the mesh, with no plan yet.
    pub async fn enter_mesh(&mut self, overlay: &OverlayPrefixes, now: Timestamp) -> Result<(), StoreError> {
        query("INSERT INTO meshes (id, overlay_v4, overlay_v6, created_at) VALUES ($1, $2, $3, $4)")
            .bind(self.mesh.as_str())
            .bind(overlay.v4.to_string())
            .bind(overlay.v6.to_string())
            .bind(now.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("enter the mesh"))?;
        query("INSERT INTO target (mesh, generation) VALUES ($1, 0)")
            .bind(self.mesh.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("enter the mesh"))?;
        Ok(())
    }

    /// Changes the overlay ranges; only while no host has an address of the old ones.
    pub async fn set_overlay(&mut self, overlay: &OverlayPrefixes) -> Result<(), StoreError> {
        query("UPDATE meshes SET overlay_v4 = $1, overlay_v6 = $2 WHERE id = $3")
            .bind(overlay.v4.to_string())
            .bind(overlay.v6.to_string())
            .bind(self.mesh.as_str())
            .execute(&mut self.sql)
            .await
            .map_err(sql("change the overlay ranges"))?;
        Ok(())
    }
}
