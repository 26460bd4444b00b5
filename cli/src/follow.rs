//! `picket status --watch` and `picket events --follow`: look again and again, until somebody ends it. A controller that is away
//! for a while ends nothing: who looks on is waiting for it.

use crate::{run::sentence, table::visible};
use anyhow::Result;
use picket_api::{
    ApiError, ProblemKind,
    operator::{EventView, StatusView},
    operators::EventsQuery,
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// Between two looks; the audit log is written many times a second only while hosts join.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);
/// Most lines that the controller gives at once (`picket_api::operators::EventsQuery`).
const MOST: usize = 1000;
/// Cursor to the upper left, and nothing below it (ECMA-48 CUP and ED): a screen that is written over does not flicker.
const AFRESH: &str = "\u{1b}[H\u{1b}[J";

/// Where it is written, and how.
pub(crate) struct Shown<W> {
    pub(crate) to: W,
    /// Complaints, apart from what is shown.
    pub(crate) beside: Box<dyn Write>,
    pub(crate) json: bool,
    pub(crate) is_terminal: bool,
}

impl<W: Write> Shown<W> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }

    /// Says that nobody answered; a complaint that nobody hears is none.
    fn complain(&mut self, error: ApiError) {
        let _ = writeln!(self.beside, "picket: {}", visible(&sentence(&error.into())));
    }
}

/// Each look's screen, in the place of the one before on a terminal; as JSON one line each. `pause` says whether to go on.
pub(crate) async fn status<W: Write>(
    shown: &mut Shown<W>,
    look: impl AsyncFn() -> Result<StatusView, ApiError>,
    pause: impl AsyncFn() -> bool,
    page: impl Fn(&StatusView) -> String,
) -> Result<()> {
    loop {
        match look().await {
            Ok(view) if shown.json => shown.write(&(serde_json::to_string(&view)? + "\n"))?,
            Ok(view) if shown.is_terminal => shown.write(&format!("{AFRESH}{}", page(&view)))?,
            Ok(view) => shown.write(&format!("{}\n", page(&view)))?,
            Err(error) if passes(&error) => shown.complain(error),
            Err(error) => return Err(error.into()),
        }
        if !pause().await {
            return Ok(());
        }
    }
}

/// The newest lines, and then each new one as it is written; as JSON one line each.
pub(crate) async fn events<W: Write>(
    shown: &mut Shown<W>,
    limit: Option<usize>,
    look: impl AsyncFn(EventsQuery) -> Result<Vec<EventView>, ApiError>,
    pause: impl AsyncFn() -> bool,
    page: impl Fn(&[EventView]) -> String,
) -> Result<()> {
    let mut last = None;
    loop {
        match newer(last, limit, &look).await {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                last = lines.last().map(|line| line.id).or(last);
                if shown.json {
                    for line in &lines {
                        shown.write(&(serde_json::to_string(line)? + "\n"))?;
                    }
                } else {
                    shown.write(&page(&lines))?;
                }
            }
            Err(error) if passes(&error) => shown.complain(error),
            Err(error) => return Err(error.into()),
        }
        if !pause().await {
            return Ok(());
        }
    }
}

/// Whether the next look may have an answer again: nobody is there, the database is away, or too many asked.
fn passes(error: &ApiError) -> bool {
    matches!(error, ApiError::Unreachable { .. })
        || matches!(error.kind(), Some(ProblemKind::Unavailable | ProblemKind::TooManyRequests | ProblemKind::Internal))
}

/// Lines after `last`, oldest first, however many were written meanwhile.
async fn newer(
    last: Option<i64>,
    limit: Option<usize>,
    look: impl AsyncFn(EventsQuery) -> Result<Vec<EventView>, ApiError>,
) -> Result<Vec<EventView>, ApiError> {
    let Some(last) = last else {
        let mut lines = look(EventsQuery { before: None, limit }).await?;
        lines.sort_by_key(|line| line.id);
        return Ok(lines);
    };
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let lines = look(EventsQuery { before, limit: Some(MOST) }).await?;
        let oldest = lines.iter().map(|line| line.id).min();
        found.extend(lines.into_iter().filter(|line| line.id > last));
        match oldest {
            Some(oldest) if oldest > last + 1 && before != Some(oldest) => before = Some(oldest),
            _ => break,
        }
    }
    found.sort_by_key(|line| line.id);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    fn shown(json: bool, is_terminal: bool) -> Shown<Vec<u8>> {
        Shown { to: Vec::new(), beside: Box::new(io::sink()), json, is_terminal }
    }

    fn away() -> ApiError {
        ApiError::Unreachable { url: "https://c".into(), reason: "refused".into(), sent: false }
    }

    /// A log that has grown to so many lines at each look; nobody answers where there is no number.
    async fn followed(grows: &[Option<i64>], limit: usize) -> Vec<i64> {
        let turn = Cell::new(0);
        let look = async |query: EventsQuery| {
            let length = grows[turn.get()].ok_or_else(away)?;
            let before = query.before.unwrap_or(length + 1);
            let first = (before - i64::try_from(query.limit.unwrap()).unwrap()).max(1);
            Ok((first..before).rev().map(|id| EventView { id, ..EventView::default() }).collect())
        };
        let pause = async || {
            turn.set(turn.get() + 1);
            turn.get() < grows.len()
        };
        let mut shown = shown(true, false);
        events(&mut shown, Some(limit), look, pause, |_| String::new()).await.unwrap();
        let lines = String::from_utf8(shown.to).unwrap();
        lines.lines().map(|line| serde_json::from_str::<EventView>(line).unwrap().id).collect()
    }

    #[tokio::test]
    async fn every_line_is_told_once_and_in_order_however_many_come_at_once() {
        assert_eq!(followed(&[Some(5), Some(5), Some(7)], 3).await, [3, 4, 5, 6, 7]);
        assert_eq!(followed(&[Some(0), Some(2)], 3).await, [1, 2]);
        assert_eq!(followed(&[Some(2), None, Some(3)], 3).await, [1, 2, 3]);
        let many: Vec<i64> = (1..=2500).collect();
        assert_eq!(followed(&[Some(1), Some(2500)], 3).await, many);
    }

    #[tokio::test]
    async fn a_screen_is_written_over_and_a_controller_that_is_away_is_waited_for() {
        let answers = RefCell::new(vec![Ok(()), Err(away()), Ok(())].into_iter());
        let look = async || {
            answers.borrow_mut().next().unwrap()?;
            Ok(serde_json::from_value(serde_json::json!({
                "mesh": "m-1", "version": "0.1.0", "now": 0, "generation": 1, "planned_at": null, "sources": [],
                "validators": 0, "nodes": 0, "in_force": 0, "alarms": [],
            }))
            .unwrap())
        };
        let left = Cell::new(3);
        let pause = async || {
            left.set(left.get() - 1);
            left.get() > 0
        };
        let mut terminal = shown(false, true);
        status(&mut terminal, look, pause, |view| format!("mesh {}\n", view.mesh)).await.unwrap();
        assert_eq!(String::from_utf8(terminal.to).unwrap(), format!("{AFRESH}mesh m-1\n").repeat(2));
    }
}
