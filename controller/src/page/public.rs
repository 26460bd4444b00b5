//! What everybody may see, made anew every few seconds at most, however many ask.

use super::{PublicLines, gather};
use crate::{
    api::{ApiProblem, views},
    controller::Controller,
    now,
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use picket_page::{PublicView, problem};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// A page is shown for so long.
const FRESH: Duration = Duration::from_secs(5);

/// The page, and when it was made.
pub(super) struct Shown {
    controller: Arc<Controller>,
    lines: PublicLines,
    made: Mutex<Option<(Instant, String)>>,
}

impl Shown {
    pub(super) fn new(controller: Arc<Controller>, lines: PublicLines) -> Arc<Self> {
        Arc::new(Self { controller, lines, made: Mutex::default() })
    }

    async fn text(&self) -> Result<String, ApiProblem> {
        // Whoever asks meanwhile waits for the same page.
        let mut made = self.made.lock().await;
        if let Some((at, text)) = &*made
            && at.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let now = now();
        let of = gather::overview(&self.controller, now).await?;
        let set = views::validators(&self.controller, now).await?.validators;
        let view = PublicView::of(&self.lines.title, &self.lines.show, &of, &set);
        let text = picket_page::public(&view).into_string();
        *made = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

/// The page. Why there is none is for the log: a problem's text may name what is nobody's business here.
pub(super) async fn page(State(shown): State<Arc<Shown>>) -> Response {
    match shown.text().await {
        Ok(text) => Html(text).into_response(),
        Err(ApiProblem(found)) => {
            let status = StatusCode::from_u16(found.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let text = problem("Not now", "The page cannot be made at the moment. Try again later.", "/");
            (status, Html(text.into_string())).into_response()
        }
    }
}
