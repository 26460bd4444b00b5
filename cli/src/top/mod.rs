//! `picket top`: the mesh on a full screen, looked at again every two seconds. What stands there is made in `model` and
//! `draw`, without IO; here are the terminal, the keyboard and the questions.

mod draw;
mod model;
#[cfg(test)]
mod tests;

use crate::follow::PAUSE;
use anyhow::{Context as _, Result, ensure};
use model::{Seen, View};
use picket_api::{ApiError, OperatorClient};
use picket_model::Timestamp;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};
use std::{
    io::{self, IsTerminal as _},
    thread,
    time::{Duration, SystemTime},
};
use tokio::{sync::mpsc, time::sleep};

/// How often the thread that reads the keyboard looks whether it is still wanted.
const KEYS: Duration = Duration::from_millis(100);

/// Shows until somebody ends it.
pub(crate) async fn run(client: &OperatorClient, json: bool) -> Result<()> {
    ensure!(!json, "top is a screen and has no JSON: ask `picket nodes --json` or `picket status --json`");
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    ensure!(is_terminal, "top needs a terminal: `picket status --watch` writes one screen after the other into a pipe");
    let first = look(client).await?;
    let mut terminal = ratatui::try_init().context("take the terminal")?;
    let ended = show(&mut terminal, client, first).await;
    ratatui::try_restore().context("give the terminal back")?;
    ended
}

/// One look: hosts and the status, and when.
async fn look(client: &OperatorClient) -> Result<model::Look, ApiError> {
    let (status, nodes) = (client.status().await?, client.nodes_of(None).await?);
    Ok(model::Look { status, nodes })
}

async fn show(terminal: &mut DefaultTerminal, client: &OperatorClient, first: model::Look) -> Result<()> {
    let (mut seen, mut view) = (Seen::default(), View::default());
    seen.took(first);
    let (pressed, mut keys) = mpsc::channel(16);
    thread::spawn(move || read_keys(&pressed));
    loop {
        let now: Timestamp = SystemTime::now().into();
        terminal.draw(|frame| draw::screen(frame, &seen, &mut view, now)).context("draw")?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Key::Press(code)) if !view.pressed(code) => return Ok(()),
                Some(_) => {}
                None => return Ok(()),
            },
            () = sleep(PAUSE) => match look(client).await {
                Ok(look) => seen.took(look),
                // It may come back; who looks on sees how old the rest is.
                Err(error) => seen.missed(error.to_string()),
            },
        }
    }
}

/// What the keyboard says.
enum Key {
    Press(KeyCode),
    /// Another size: drawn anew.
    Resized,
}

/// Reads until nobody wants to know any more.
fn read_keys(pressed: &mpsc::Sender<Key>) {
    while !pressed.is_closed() {
        let key = match event::poll(KEYS) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let key = match key {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                let is_break = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                Key::Press(if is_break { KeyCode::Char('q') } else { key.code })
            }
            Ok(Event::Resize(..)) => Key::Resized,
            Ok(_) => continue,
            Err(_) => return,
        };
        if pressed.blocking_send(key).is_err() {
            return;
        }
    }
}
