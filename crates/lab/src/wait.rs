//! Waiting for a condition: the only way to wait in tests. Never for a time alone.

use std::{
    fmt::Display,
    io, thread,
    time::{Duration, Instant},
};

use crate::LabError;

/// How long to pause between two looks at a condition: short against anything measured, long against a cheap probe.
const PAUSE: Duration = Duration::from_millis(1);

/// A condition that came true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited<T> {
    /// What the condition gave.
    pub value: T,
    /// From the call until the condition was true.
    pub took: Duration,
}

/// What a condition may return: `bool`, `Option` or `Result`.
pub trait Condition {
    /// What is known once it is true.
    type Value;
    /// The value, or the reason why not yet.
    ///
    /// # Errors
    /// The reason why the condition does not hold yet.
    fn met(self) -> Result<Self::Value, String>;
}

impl Condition for bool {
    type Value = ();
    fn met(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("not yet".to_owned()) }
    }
}

impl<T> Condition for Option<T> {
    type Value = T;
    fn met(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Condition for Result<T, E> {
    type Value = T;
    fn met(self) -> Result<T, String> {
        self.map_err(|reason| reason.to_string())
    }
}

/// Looks at `condition` again and again until it holds, at least once, and says how long that took.
///
/// # Errors
/// [`LabError::TimedOut`] with `what` and the last reason, once `deadline` has passed.
pub fn wait_until<C: Condition>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> C,
) -> Result<Waited<C::Value>, LabError> {
    let start = Instant::now();
    loop {
        let outcome = condition().met();
        let took = start.elapsed();
        match outcome {
            Ok(value) => return Ok(Waited { value, took }),
            Err(reason) if took >= deadline => {
                return Err(LabError::TimedOut { what: what.to_owned(), waited: took, reason });
            }
            Err(_) => thread::park_timeout(PAUSE),
        }
    }
}

/// Asks the kernel again where a question was only disturbed. A process that is stopped and goes on finds its socket calls with
/// a time limit ended by `EINTR`, although it handles no signal: `signal(7)`.
///
/// # Errors
/// What the call says otherwise.
pub fn undisturbed<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_gives_its_value() {
        let mut looks = 0;
        let waited = wait_until("third look", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(waited.unwrap().value, 3);
    }

    #[test]
    fn a_time_out_says_what_was_awaited_and_the_last_reason() {
        let mut looks = 0;
        let error = wait_until("the impossible", Duration::from_millis(5), || {
            looks += 1;
            Err::<(), _>(format!("look {looks}"))
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("the impossible") && error.ends_with(&format!("look {looks}")), "{error}");
    }

    #[test]
    fn a_condition_is_looked_at_once_even_without_time() {
        assert!(wait_until("now", Duration::ZERO, || true).is_ok());
    }

    #[test]
    fn a_call_that_is_disturbed_is_made_again_and_a_failure_is_told() {
        let mut answers = [Err(io::ErrorKind::Interrupted), Ok(7), Err(io::ErrorKind::TimedOut)].into_iter();
        let mut call = || answers.next().unwrap().map_err(io::Error::from);
        assert_eq!(undisturbed(&mut call).unwrap(), 7);
        assert_eq!(undisturbed(call).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
