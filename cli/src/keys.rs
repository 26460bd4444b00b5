//! `picket keys rotate`: waits until a host uses another key than the one that it was asked to replace.

use picket_api::{ApiError, OperatorClient};
use picket_model::Node;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks. What is waited for takes a round of every peer.
const LOOK: Duration = Duration::from_millis(250);

/// The host under another key than it has in `asked`, as soon as it uses one; `None` where it does not within this time.
pub(crate) async fn replaced(client: &OperatorClient, asked: &Node, wait: Duration) -> Result<Option<Node>, ApiError> {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        let node = client.nodes().await?.into_iter().map(|view| view.node).find(|node| node.id == asked.id);
        if let Some(node) = node.filter(|node| node.wireguard_key != asked.wireguard_key) {
            return Ok(Some(node));
        }
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
    }
    Ok(None)
}
