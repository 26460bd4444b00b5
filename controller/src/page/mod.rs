//! The status page: who is logged in, what may be asked, and how an answer leaves. What a page looks like is `picket-page`'s; what
//! is decided is decided where the API has it decided, too.

mod attack;
mod config;
mod entry;
mod gather;
mod guard;
mod live;
mod login;
mod oidc;
mod orders;
mod public;
mod sessions;
mod views;
mod wanted;

pub use config::{PageLines, PublicLines};
pub use oidc::{AllowLines, OidcLines};

use crate::{api::rate::Rate, controller::Controller};
use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use oidc::Oidc;
use picket_http::Limits;
use picket_page::assets::{Asset, ICON, SCRIPT, STYLE};
use sessions::Sessions;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pages that follow what happens at once; one more is refreshed by its script alone.
const MOST_LIVE: usize = 256;
/// Bytes of a form; the largest has a reason and a token.
const LARGEST_FORM: usize = 16 << 10;

/// What every handler is given.
pub(crate) struct Desk {
    controller: Arc<Controller>,
    sessions: Sessions,
    oidc: Option<Oidc>,
    /// Whether browsers come over TLS to this very listener.
    is_tls: bool,
    live: Arc<Semaphore>,
}

type Shared = State<Arc<Desk>>;

/// The operators' pages.
///
/// # Errors
/// A file of `[page.oidc]` cannot be read.
pub(crate) fn router(controller: Arc<Controller>, oidc: Option<OidcLines>, is_tls: bool) -> anyhow::Result<Router> {
    let (sessions, live) = (Sessions::default(), Arc::new(Semaphore::new(MOST_LIVE)));
    let oidc = oidc.map(Oidc::new).transpose()?;
    let desk = Arc::new(Desk { controller, sessions, oidc, is_tls, live });
    let routes = Router::new()
        .route("/", get(views::overview))
        .route("/map", get(views::map))
        .route("/hosts", get(views::hosts))
        .route("/hosts/{host}", get(views::host))
        .route("/hosts/{host}/revoke", get(views::revoke).post(orders::revoke))
        .route("/hosts/{host}/quarantine", get(views::quarantine).post(orders::quarantine))
        .route("/hosts/{host}/readmit", post(orders::readmit))
        .route("/validators", get(views::validators))
        .route("/validators/approve", get(views::approve).post(orders::approve))
        .route("/validators/hold", post(orders::hold))
        .route("/validators/release", post(orders::release))
        .route("/attack", get(attack::attack))
        .route("/attack/{list}", get(attack::blocklist))
        .route("/events", get(views::events))
        .route("/why", get(views::why))
        .route("/runbooks/{name}", get(views::runbook))
        .route("/live", get(live::live))
        .route("/login", get(login::form).post(login::login))
        .route("/login/oidc", get(oidc::begin))
        .route("/login/oidc/return", get(oidc::back))
        .route("/logout", post(login::logout))
        .fallback(guard::nowhere)
        .with_state(desk)
        .layer(from_fn_with_state(Rate::of_operators(), crate::api::rate::limit));
    Ok(guarded(with_assets(routes)))
}

/// What everybody may see.
pub(crate) fn public_router(controller: Arc<Controller>, lines: PublicLines) -> Router {
    let shown = public::Shown::new(controller, lines);
    let routes = Router::new().route("/", get(public::page)).fallback(guard::nowhere).with_state(shown);
    guarded(with_assets(routes))
}

/// What a listener of pages grants: forms are small.
pub(crate) fn limits() -> Limits {
    Limits { max_body: LARGEST_FORM, ..Limits::everybody_anonymous() }
}

fn with_assets(router: Router) -> Router {
    [STYLE, SCRIPT, ICON]
        .into_iter()
        .fold(router, |router, asset| router.route(asset.name, get(async move || served(&asset))))
}

fn guarded(router: Router) -> Router {
    router.layer(from_fn(guard::headers))
}

/// Its path names its content, so that it may be kept.
fn served(asset: &Asset) -> Response {
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    let head = [(header::CONTENT_TYPE, HeaderValue::from_static(asset.media)), (header::CACHE_CONTROL, kept)];
    (head, asset.content).into_response()
}
