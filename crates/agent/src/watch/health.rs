//! Whether a node is well, from looks at it over time: a pure state machine. One look decides nothing, and a node that
//! answers and goes nowhere is not well. Asks nobody and knows no clock.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Looks in a row that change the verdict.
const LOOKS: u8 = 3;
/// A chain of two-second blocks that gives none for so long stands.
const STANDS: Duration = Duration::from_secs(30);
/// A node is behind when its last block is as old as the first, and no more when it is as old as the second.
const BEHIND: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(20)];

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Why there was no answer; then the rest is empty.
    pub error: Option<String>,
    /// goloop's word for the state of its chain.
    pub state: Option<String>,
    /// The chain's last error.
    pub chain_error: Option<String>,
    /// Height of the last block.
    pub height: Option<u64>,
    /// How old that is; `None` where the node was not asked, as over its socket.
    pub block_age: Option<Duration>,
    /// Validators with a link to it.
    pub peers: Option<usize>,
    /// Round of the consensus at this height.
    pub round: Option<u64>,
    /// How long the last round took.
    pub round_took: Option<Duration>,
    /// Bytes free and in all where its data is.
    pub disk: Option<(u64, u64)>,
    /// How the chain judges the validator.
    pub prep: Option<picket_chain::node::PrepStanding>,
}

/// What follows from the looks so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too few looks.
    Unknown,
    /// It makes progress.
    Well,
    /// It does not.
    Unwell(Trouble),
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// For people.
    pub why: String,
    /// Whether every node may have it now: no new block comes, and this host knows no other node to tell by.
    pub may_be_everybodys: bool,
}

impl Trouble {
    fn own(why: String) -> Option<Self> {
        Some(Self { why, may_be_everybodys: false })
    }

    fn anybodys(why: String) -> Option<Self> {
        Some(Self { why, may_be_everybodys: true })
    }
}

impl Verdict {
    /// Whether it makes progress.
    pub fn is_well(&self) -> bool {
        *self == Self::Well
    }

    /// Whether it says the same but for the reason.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not known yet"),
            Self::Well => f.write_str("well"),
            Self::Unwell(trouble) => write!(f, "not well: {}", trouble.why),
        }
    }
}

/// The looks so far.
#[derive(Debug)]
pub struct NodeHealth {
    verdict: Verdict,
    /// The highest block, and when it was first seen.
    highest: Option<(u64, Instant)>,
    /// Whether it rose since the verdict became what it is.
    rose: bool,
    /// Looks in a row that speak against the verdict.
    against: u8,
}

impl Default for NodeHealth {
    fn default() -> Self {
        Self { verdict: Verdict::Unknown, highest: None, rose: false, against: 0 }
    }
}

impl NodeHealth {
    /// What follows from the looks so far.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Takes a look; what follows from all of them.
    pub fn look(&mut self, seen: &Seen, now: Instant) -> &Verdict {
        self.climb(seen.height, now);
        let complaint = self.complaint(seen, now);
        let next = match (&self.verdict, complaint) {
            (Verdict::Unwell(_), Some(trouble)) => {
                // Its latest trouble is the one to tell of.
                (self.verdict, self.against) = (Verdict::Unwell(trouble), 0);
                return &self.verdict;
            }
            (Verdict::Well, None) => {
                self.against = 0;
                return &self.verdict;
            }
            (_, Some(trouble)) => Verdict::Unwell(trouble),
            // It answers, and has yet to show that it goes on.
            (_, None) if !self.rose => return &self.verdict,
            (_, None) => Verdict::Well,
        };
        self.against += 1;
        if self.against >= LOOKS {
            (self.verdict, self.against, self.rose) = (next, 0, false);
        }
        &self.verdict
    }

    fn climb(&mut self, height: Option<u64>, now: Instant) {
        // goloop says 0 in some states though the chain is fine.
        let Some(height) = height.filter(|height| *height > 0) else { return };
        match self.highest {
            Some((before, _)) if height == before => {}
            before => {
                self.rose |= before.is_some_and(|(before, _)| height > before);
                // A node that was set up anew begins lower, and that is its new start.
                self.highest = Some((height, now));
            }
        }
    }

    /// What speaks against the node in this look.
    fn complaint(&self, seen: &Seen, now: Instant) -> Option<Trouble> {
        if let Some(error) = &seen.error {
            return Trouble::own(error.clone());
        }
        match seen.state.as_deref() {
            Some("started") => {}
            state => return Trouble::own(format!("its chain is {:?}", state.unwrap_or("of no state"))),
        }
        if let Some(error) = &seen.chain_error {
            return Trouble::own(format!("its chain says {error:?}"));
        }
        let Some((height, since)) = self.highest else { return Trouble::own("it tells no height".to_owned()) };
        let stood = now.saturating_duration_since(since);
        if stood > STANDS {
            return Trouble::anybodys(format!("it stands at height {height} for {} s", stood.as_secs()));
        }
        let limit = if matches!(self.verdict, Verdict::Unwell(_)) { BEHIND[1] } else { BEHIND[0] };
        let age = seen.block_age.filter(|age| *age > limit)?;
        Trouble::anybodys(format!(
            "its last block, {height}, is {} s old: it is behind, or the network stands",
            age.as_secs()
        ))
    }
}
