//! What a person ordered about the validator list.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{json, to_json},
    statement::query,
};
use picket_model::Orders;

impl Transaction {
    /// The orders in force; some may have ended by themselves.
    pub async fn orders(&mut self) -> Result<Orders, StoreError> {
        let row = query("SELECT orders FROM orders WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the orders"))?;
        row.map(|row| json(&row, "orders")).transpose().map(Option::unwrap_or_default)
    }

    /// Keeps the orders.
    pub async fn put_orders(&mut self, orders: &Orders) -> Result<(), StoreError> {
        query(
            "INSERT INTO orders (mesh, orders) VALUES ($1, $2)
             ON CONFLICT (mesh) DO UPDATE SET orders = excluded.orders",
        )
        .bind(self.mesh.as_str())
        .bind(to_json(orders, "orders")?)
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep the orders"))?;
        Ok(())
    }
}
