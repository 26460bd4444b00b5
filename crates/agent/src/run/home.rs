//! The way back to a controller that was away. A host that turned from its first controller looks now and then whether that one
//! answers again, so that hosts do not gather where nobody ever restarted. Whom it asks meanwhile it asks on.

use super::Agent;
use crate::subscribe::Poll;
use picket_api::AgentClient;
use std::{
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};
use tracing::info;

/// A look under way, if there is one.
#[derive(Default)]
pub(super) struct WayHome(Option<Pin<Box<dyn Future<Output = bool>>>>);

impl WayHome {
    /// Whether the first controller answered; never, where nobody looks. May be dropped at any time.
    pub(super) async fn looked(&mut self) -> bool {
        let Some(look) = &mut self.0 else { return pending().await };
        let answers = look.await;
        self.0 = None;
        answers
    }

    fn begin(&mut self, client: AgentClient) {
        self.0 = Some(Box::pin(async move { client.enroll_info().await.is_ok() }));
    }
}

impl Agent {
    /// Looks whether the first controller answers, where another one was asked for as long as a poll lasts; one that stops ends polls
    /// early.
    pub(super) fn look_home(&mut self, early: bool) {
        if !early
            && !self.is_at_home()
            && let Some(client) = self.controllers.clients().next().cloned()
        {
            self.way_home.begin(client);
        }
    }

    /// Turns to the first controller; a poll of it.
    pub(super) fn go_home(&mut self) -> Poll {
        for _ in 1..self.held.identity.controllers.len() {
            if !self.is_at_home() {
                self.controllers.turn();
            }
        }
        info!(controller = self.controllers.url(), "the first controller answers again and is asked from now on");
        self.ask(Duration::ZERO)
    }

    fn is_at_home(&self) -> bool {
        self.held.identity.controllers.first().is_none_or(|first| first == self.controllers.url())
    }
}
