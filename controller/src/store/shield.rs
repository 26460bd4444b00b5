//! What people ordered about the shields of hosts.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{plain, to_json},
    statement::query,
};
use picket_model::ShieldOrders;
use std::sync::{Arc, Mutex, PoisonError};

/// The orders that were read or written last, with their text: a change of one is read several times, and may be long.
#[derive(Debug, Default)]
pub(super) struct LastOrders(Mutex<(String, Arc<ShieldOrders>)>);

impl LastOrders {
    /// What a text says.
    pub(super) fn of(&self, text: String) -> Result<Arc<ShieldOrders>, StoreError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != text {
            let orders = serde_json::from_str(&text).map_err(|cause| StoreError::row("orders", cause.to_string()))?;
            *last = (text, Arc::new(orders));
        }
        Ok(Arc::clone(&last.1))
    }

    fn note(&self, text: String, orders: &ShieldOrders) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (text, Arc::new(orders.clone()));
    }
}

impl Transaction {
    /// The orders; some may have ended by themselves.
    pub async fn shield_orders(&mut self) -> Result<Arc<ShieldOrders>, StoreError> {
        let row = query("SELECT orders FROM shield_orders WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read the shield's orders"))?;
        self.orders_in(row.as_ref().map(|row| plain(row, "orders")).transpose()?)
    }

    /// What a column has that may be NULL, or without a row.
    pub(super) fn orders_in(&self, text: Option<String>) -> Result<Arc<ShieldOrders>, StoreError> {
        text.map_or_else(|| Ok(Arc::default()), |text| self.orders.of(text))
    }

    /// Keeps the orders.
    pub async fn put_shield_orders(&mut self, orders: &ShieldOrders) -> Result<(), StoreError> {
        let text = to_json(orders, "orders")?;
        query(
            "INSERT INTO shield_orders (mesh, orders) VALUES ($1, $2)
             ON CONFLICT (mesh) DO UPDATE SET orders = excluded.orders",
        )
        .bind(self.mesh.as_str())
        .bind(text.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep the shield's orders"))?;
        self.orders.note(text, orders);
        Ok(())
    }
}
