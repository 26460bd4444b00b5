//! `picket drain --wait`: looks until nothing runs through a sentry any more, or what did was cut.

use picket_api::{
    ApiError, OperatorClient,
    paths::{DrainView, PathsQuery, PathsView},
};
use picket_progress::Progress;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks: hosts look at their connections each second, and tell two seconds later.
const LOOK: Duration = Duration::from_secs(1);
/// After a drain's end hosts have so long to say that it is.
const AFTER: Duration = Duration::from_secs(60);

/// How far the sentry is left once it is, or when the time is over.
pub(crate) async fn left(
    client: &OperatorClient,
    asked: DrainView,
    wait: Duration,
    progress: &Progress,
) -> Result<DrainView, ApiError> {
    progress.now(format!("hosts to leave {}", asked.name));
    let look = async || {
        let view = client.paths(&PathsQuery::default()).await?;
        if let Some(drain) = view.drains.iter().find(|drain| drain.node == asked.node) {
            let left = drain.hosts.iter().filter(|host| host.left == Some(0) && host.inward == Some(0)).count();
            progress.done(left, drain.hosts.len());
        }
        Ok(view)
    };
    by(look, asked.clone(), wait).await
}

/// As [`left`], by looks of any kind. A controller that is away for a while, or starts again, ends nothing: who waits for a drain is
/// about to reboot the sentry.
async fn by(
    look: impl AsyncFn() -> Result<PathsView, ApiError>,
    asked: DrainView,
    wait: Duration,
) -> Result<DrainView, ApiError> {
    let whole = asked.drain.until.since(asked.drain.at) + AFTER;
    let (until, mut view, mut unseen) = (Instant::now() + wait.min(whole), asked, None);
    while !view.is_empty() && Instant::now() < until {
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        let paths = match look().await {
            Ok(paths) => paths,
            Err(error @ ApiError::Unreachable { .. }) => {
                unseen = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        unseen = None;
        // Somebody may have taken it back meanwhile: then it is not left.
        match paths.drains.into_iter().find(|drain| drain.node == view.node) {
            Some(now) => view = now,
            None => return Ok(DrainView { refused: vec!["the drain was taken back meanwhile".to_owned()], ..view }),
        }
    }
    unseen.map_or(Ok(view), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::{Problem, ProblemKind, paths::DrainedHost};
    use picket_model::{Drain, Timestamp};
    use std::cell::RefCell;

    fn view(left: usize) -> DrainView {
        let at = Timestamp::from_millis(0);
        let host = DrainedHost {
            node: "n-2".parse().unwrap(),
            name: "prep-1".parse().unwrap(),
            in_force: true,
            left: Some(left),
            inward: Some(0),
        };
        DrainView {
            node: "n-1".parse().unwrap(),
            name: "sentry-1".parse().unwrap(),
            drain: Drain { by: "me".into(), at, until: at },
            is_over: false,
            hosts: vec![host],
            refused: Vec::new(),
        }
    }

    /// The looks in order; what comes of them within one and a half seconds.
    async fn of(looks: Vec<Result<DrainView, ApiError>>) -> Result<DrainView, ApiError> {
        let looks = RefCell::new(looks.into_iter());
        let look = async || {
            let drain = looks.borrow_mut().next().unwrap()?;
            Ok(PathsView { now: Timestamp::from_millis(0), hosts: Vec::new(), drains: vec![drain] })
        };
        by(look, view(1), Duration::from_millis(1500)).await
    }

    fn away() -> ApiError {
        ApiError::Unreachable { url: "https://c".into(), reason: "refused".into(), sent: false }
    }

    #[tokio::test]
    async fn a_controller_that_is_away_for_a_look_is_waited_for_and_one_that_says_no_is_not() {
        let (back, gone, stays, refused) = tokio::join!(
            of(vec![Err(away()), Ok(view(0))]),
            of(vec![Ok(view(1)), Err(away())]),
            of(vec![Err(away()), Ok(view(1))]),
            of(vec![Err(ApiError::Problem(Problem::new(ProblemKind::Forbidden, "no")))]),
        );
        assert!(back.unwrap().is_empty());
        assert!(matches!(gone, Err(ApiError::Unreachable { .. })));
        assert!(!stays.unwrap().is_empty());
        assert!(matches!(refused, Err(ApiError::Problem(_))));
    }
}
