//! `picket drain --wait`: looks until nothing runs through a sentry any more, or what did was cut.

use picket_api::{
    ApiError, OperatorClient,
    paths::{DrainView, PathsQuery},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks: hosts look at their connections each second, and tell two seconds later.
const LOOK: Duration = Duration::from_secs(1);
/// After a drain's end hosts have so long to say that it is.
const AFTER: Duration = Duration::from_secs(60);

/// How far the sentry is left once it is, or when the time is over.
pub(crate) async fn left(client: &OperatorClient, asked: DrainView, wait: Duration) -> Result<DrainView, ApiError> {
    let whole = asked.drain.until.since(asked.drain.at) + AFTER;
    let (until, mut view) = (Instant::now() + wait.min(whole), asked);
    while !view.is_empty() && Instant::now() < until {
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        let paths = client.paths(&PathsQuery::default()).await?;
        // Somebody may have taken it back meanwhile: then it is not left.
        match paths.drains.into_iter().find(|drain| drain.node == view.node) {
            Some(now) => view = now,
            None => return Ok(DrainView { refused: vec!["the drain was taken back meanwhile".to_owned()], ..view }),
        }
    }
    Ok(view)
}
