//! What other programs did to a host's firewall and how often that was put right, as its agent tells it.

use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Repairs of a host's firewall since its agent started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallRepairs {
    /// How many.
    pub count: u64,
    /// The last one.
    pub last_at: Timestamp,
    /// Who made the last one necessary: name and number of a process, in its own words, shown escaped.
    pub by: String,
    /// What was done to our table, e.g. `table deleted`; shown escaped.
    pub what: String,
}

/// Characters of each text that are shown: more is not what an agent of ours says.
const SHOWN: usize = 160;

impl fmt::Display for FirewallRepairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| text.chars().take(SHOWN).collect::<String>().escape_debug().to_string();
        let times = if self.count == 1 { "once" } else { &format!("{} times", self.count) };
        write!(f, "{times}, last at {}: {}, by {}", self.last_at, shown(&self.what), shown(&self.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_calls_itself_is_shown_escaped_and_not_at_any_length() {
        let mut repairs = FirewallRepairs {
            count: 1,
            last_at: Timestamp::from_millis(0),
            by: "nft (process 7)".to_owned(),
            what: "table deleted".to_owned(),
        };
        assert_eq!(repairs.to_string(), "once, last at 1970-01-01T00:00:00Z: table deleted, by nft (process 7)");
        repairs.count = 3;
        repairs.by = format!("\u{1b}{}", "x".repeat(500));
        let text = repairs.to_string();
        assert!(text.starts_with("3 times, ") && text.contains("by \\u{1b}xxx") && text.len() < 260, "{text}");
    }
}
