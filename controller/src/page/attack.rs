//! Who is refused, as a page, and the blocklist as a file to take along: what the API says, in other forms.

use super::{
    Shared,
    guard::{Seen, page},
    views::{Page, frame},
};
use crate::{
    api::{ApiProblem, attack},
    now,
};
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, header},
    response::IntoResponse as _,
};
use picket_api::{ProblemKind, attack::BlocklistQuery};
use picket_page::Section;

pub(super) async fn attack(State(desk): Shared, seen: Seen) -> Page {
    let view = attack::shown(&desk.controller, now()).await?;
    Ok(page(picket_page::attack(&frame(&desk, &seen, Section::Attack), &view)))
}

/// `blocklist.txt`, `blocklist.nft` or `blocklist.json`.
pub(super) async fn blocklist(
    State(desk): Shared,
    _: Seen,
    Path(name): Path<String>,
    query: Result<Query<BlocklistQuery>, QueryRejection>,
) -> Page {
    let Ok(Query(query)) = query else {
        let detail = "write by=address or by=prefix, and least as a number";
        return Err(ApiProblem::new(ProblemKind::BadRequest, detail).into());
    };
    let list = attack::made(&desk.controller, &query, now()).await?;
    let (text, media, disposition) = match name.as_str() {
        "blocklist.txt" => (list.text(), "text/plain; charset=utf-8", "attachment; filename=\"blocklist.txt\""),
        "blocklist.nft" => (list.nft(), "text/plain; charset=utf-8", "attachment; filename=\"blocklist.nft\""),
        "blocklist.json" => {
            let written = serde_json::to_string_pretty(&list);
            let written = written.map_err(|error| ApiProblem::internal("write a blocklist", &error))?;
            (written, "application/json", "attachment; filename=\"blocklist.json\"")
        }
        _ => {
            let detail = "there are blocklist.txt, blocklist.nft and blocklist.json";
            return Err(ApiProblem::new(ProblemKind::NotFound, detail).into());
        }
    };
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
    ];
    Ok((head, text).into_response())
}
