//! What a command that takes longer than a second says of it: one line on standard error, written over as it goes on and gone at the
//! end, where that is a terminal; nothing in a pipe, a file or a log. Knows nothing of what is done.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

/// What takes no longer needs no word.
const QUIET: Duration = Duration::from_secs(1);
/// How often the line is written: seconds pass on it.
const EVERY: Duration = Duration::from_millis(200);
/// Characters of the line, so that it is one on every terminal.
const WIDTH: usize = 78;
/// Back to the beginning of the line, and clear what is there (ECMA-48, EL).
const CLEAR: &str = "\r\u{1b}[K";

/// Says what is waited for until it is dropped. A thread writes, so that whoever works may block.
#[derive(Debug)]
pub struct Progress {
    said: Arc<Mutex<Said>>,
    /// `None` where nobody looks.
    writer: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    what: String,
    /// How much is done, of how much.
    done: Option<(u64, u64)>,
    /// Lines that stay, which are above.
    lines: Vec<String>,
}

impl Progress {
    /// Begins to wait for `what`, as in "waits for ...". Speaks where standard error is a terminal that can move back.
    pub fn begin(what: impl Into<String>) -> Self {
        let is_seen = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        if is_seen { Self::on(what, io::stderr(), QUIET) } else { Self::silent() }
    }

    /// Says nothing but lines that stay.
    pub fn silent() -> Self {
        Self { said: Arc::default(), writer: None }
    }

    fn on(what: impl Into<String>, mut to: impl Write + Send + 'static, quiet: Duration) -> Self {
        let said = Arc::new(Mutex::new(Said { what: what.into(), ..Said::default() }));
        let (end, ended) = channel();
        let told = Arc::clone(&said);
        let begun = Instant::now();
        let write = move || {
            let mut next = quiet.min(EVERY);
            loop {
                let is_over = ended.recv_timeout(next) != Err(RecvTimeoutError::Timeout);
                let mut said = locked(&told);
                let lines = std::mem::take(&mut said.lines);
                let waited = begun.elapsed();
                let line = if is_over || waited < quiet { String::new() } else { shown(&said, waited) };
                drop(said);
                // Whoever closed the terminal does not want to know.
                if !lines.is_empty() || waited >= quiet {
                    let _ = write!(to, "{CLEAR}{}{line}", lines.concat()).and_then(|()| to.flush());
                }
                if is_over {
                    return;
                }
                next = EVERY;
            }
        };
        // Where no thread can be made nothing is said, and everything else goes on.
        let writer = Builder::new().name("progress".to_owned()).spawn(write).ok().map(|thread| (end, thread));
        Self { said, writer }
    }

    /// Waits for something else from now on, of which nothing is done yet.
    pub fn now(&self, what: impl Into<String>) {
        let mut said = locked(&self.said);
        (said.what, said.done) = (what.into(), None);
    }

    /// So much is done, of so much.
    pub fn done(&self, done: usize, of: usize) {
        let number = |number| u64::try_from(number).unwrap_or(u64::MAX);
        locked(&self.said).done = Some((number(done), number(of)));
    }

    /// Says something that stays, in a pipe too.
    pub fn line(&self, text: &str) {
        let line = format!("{}\n", harmless(text));
        if self.writer.is_some() {
            locked(&self.said).lines.push(line);
        } else {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.writer.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn locked(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line after so long.
fn shown(said: &Said, waited: Duration) -> String {
    let done = said.done.map_or_else(String::new, |(done, of)| format!(": {done} of {of}"));
    let what = harmless(&said.what);
    let rest = format!("{done}, {} s", waited.as_secs());
    let room = WIDTH.saturating_sub("waits for ".len() + rest.chars().count());
    let what: String = if what.chars().count() > room {
        what.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    } else {
        what
    };
    format!("waits for {what}{rest}")
}

/// Without anything that a terminal would obey.
fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn said(what: &str, done: Option<(u64, u64)>) -> Said {
        Said { what: what.to_owned(), done, lines: Vec::new() }
    }

    #[test]
    fn a_line_says_what_how_far_and_how_long_and_is_one_line() {
        let after = Duration::from_millis(3900);
        assert_eq!(shown(&said("the controller", None), after), "waits for the controller, 3 s");
        assert_eq!(shown(&said("hosts", Some((2, 7))), after), "waits for hosts: 2 of 7, 3 s");
        assert_eq!(shown(&said("a\u{1b}[2J\nb", None), after), "waits for a[2Jb, 3 s");
        let long = shown(&said(&"x".repeat(200), Some((2, 7))), after);
        assert_eq!((long.chars().count(), long.ends_with("x…: 2 of 7, 3 s")), (WIDTH, true));
    }

    /// What was written to a terminal of the test's own, by the end.
    fn written(quiet: Duration, work: impl FnOnce(&Progress, &mut dyn FnMut(&str))) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = String::new();
        let progress = Progress::on("hosts", file.reopen().unwrap(), quiet);
        let mut reader = file.reopen().unwrap();
        let mut until = |expect: &str| {
            while !text.contains(expect) {
                reader.read_to_string(&mut text).unwrap();
                std::thread::yield_now();
            }
        };
        work(&progress, &mut until);
        drop(progress);
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_takes_long_is_told_as_it_goes_on_and_nothing_is_left_of_it() {
        let text = written(Duration::ZERO, |progress, until| {
            until("waits for hosts, 0 s");
            progress.done(1, 2);
            until("waits for hosts: 1 of 2, ");
            progress.line("prep-1 after 9 ms");
            until(&format!("{CLEAR}prep-1 after 9 ms\nwaits for hosts: 1 of 2, "));
            progress.now("the file");
            until("waits for the file, ");
        });
        assert!(text.ends_with(CLEAR), "{text:?}");
    }

    #[test]
    fn what_is_done_at_once_is_not_told_but_for_what_stays() {
        let minute = Duration::from_secs(60);
        assert_eq!(written(minute, |_, _| {}), "");
        assert_eq!(written(minute, |progress, _| progress.line("done")), format!("{CLEAR}done\n"));
    }
}
