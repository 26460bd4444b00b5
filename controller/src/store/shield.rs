//! What people ordered about the shields of hosts.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{json, to_json},
    statement::query,
};
use picket_model::ShieldOrders;

impl Transaction {
    /// The orders; some may have ended by themselves.
    pub async fn shield_orders(&mut self) -> Result<ShieldOrders, StoreError> {
        let row = query("SELECT orders FROM shield_orders WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the shield's orders"))?;
        row.map(|row| json(&row, "orders")).transpose().map(Option::unwrap_or_default)
    }

    /// Keeps the orders.
    pub async fn put_shield_orders(&mut self, orders: &ShieldOrders) -> Result<(), StoreError> {
        query(
            "INSERT INTO shield_orders (mesh, orders) VALUES ($1, $2)
             ON CONFLICT (mesh) DO UPDATE SET orders = excluded.orders",
        )
        .bind(self.mesh.as_str())
        .bind(to_json(orders, "orders")?)
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep the shield's orders"))?;
        Ok(())
    }
}
