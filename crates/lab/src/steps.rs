//! Steps on a site, one after the other, each of which prints one line. What they do, and to what, is their own affair.

use crate::stop;
use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

/// How long a run that is told to stop may take to the end of its step.
const IN_ORDER: Duration = Duration::from_secs(5);

/// What a step saw, in words.
pub(crate) type Seen = anyhow::Result<String>;

/// A step: its name, what it shows, and what does it.
pub(crate) type Step<S> = (&'static str, &'static str, fn(&mut S) -> Seen);

/// What becomes of the steps after one that did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// They need it, and are not run.
    End,
    /// They can be run all the same.
    GoOn,
}

/// A run of steps, from its beginning: what keeps it is made after this, and is in its time.
pub(crate) struct Steps {
    name: &'static str,
    started: Instant,
    stop: Receiver<()>,
}

impl Steps {
    /// Of a run of this name, which a signal ends after the step that it meets.
    ///
    /// # Errors
    /// The system gives no signals.
    pub(crate) fn of_run(name: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name, started: Instant::now(), stop: stop::on_signal(IN_ORDER)? })
    }

    /// Says what is up before the first step.
    pub(crate) fn is_up(&self, what: &str) {
        println!("{what} up after {:.1} s", self.started.elapsed().as_secs_f64());
    }

    /// Runs those that are wanted, all where none is named; whether every one held.
    pub(crate) fn run<S>(
        self,
        site: &mut S,
        steps: &[Step<S>],
        only: &[String],
        afterwards: Afterwards,
        evidence: fn(&S),
    ) -> bool {
        let (mut held, mut is_over) = (0, false);
        for (name, what, step) in steps {
            let is_wanted = only.is_empty() || only.iter().any(|wanted| wanted == name);
            is_over |= self.stop.try_recv().is_ok();
            if is_over || !is_wanted {
                println!("NOT RUN            {name:10} {what}");
                continue;
            }
            let began = Instant::now();
            let seen = step(site);
            let took = began.elapsed().as_secs_f64();
            match seen {
                Ok(seen) => {
                    println!("ok       {took:6.1} s  {name:10} {what}: {seen}");
                    held += 1;
                }
                Err(error) => {
                    println!("FAILED   {took:6.1} s  {name:10} {what}: {error:#}");
                    evidence(site);
                    is_over = afterwards == Afterwards::End;
                }
            }
        }
        println!(
            "{}: {held} of {} steps held in {:.0} s",
            self.name,
            steps.len(),
            self.started.elapsed().as_secs_f64()
        );
        held == steps.len()
    }
}
