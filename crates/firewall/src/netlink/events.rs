//! Who changed what: the messages that the kernel sends to everybody who listens, gathered into commits. Pure. What is
//! done about it is the agent's business.

use super::{
    FAMILY_INET, kind, table_name,
    wire::{Attributes, Malformed, Message, Messages, number, text},
};

// linux/netfilter/nf_tables.h: `enum nft_gen_attributes`; the table's name is the first attribute of every other message,
// and the second is what is named below, but for chains.
const GENERATION_ID: u16 = 1;
const GENERATION_PROCESS: u16 = 2;
const GENERATION_PROGRAM: u16 = 3;
const TABLE_NAME: u16 = 1;
const NAME: u16 = 2;
const CHAIN_NAME: u16 = 3;

/// Longest name of a program that is kept, in characters: `TASK_COMM_LEN` less the closing zero, linux/sched.h.
const PROGRAM: usize = 15;
/// Longest name of a thing in our table that is kept, in characters.
const LONGEST_NAME: usize = 64;

/// One transaction of nf_tables, by whomever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The generation it made.
    pub generation: u32,
    /// Who made it.
    pub author: Author,
    /// What it did to our table; `None` where it left it alone.
    pub touched: Option<Touched>,
}

/// The process that made a commit. Both fields are the process's own word: a program may call itself what it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// Its name, 15 characters at most.
    pub program: String,
    /// Its process id, in the host's first namespace.
    pub process: u32,
}

/// What a commit did to our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The first of it, e.g. `rule added to raw_in`; that the table was deleted, where it was.
    pub first: String,
    /// How much more there was.
    pub more: usize,
}

impl Commit {
    /// Whether it can have changed something in our table since that was compared with what is wanted, under the
    /// generation `compared` (`None`: never).
    pub fn is_reason_to_look(&self, compared: Option<u32>) -> bool {
        self.touched.is_some() && compared.is_none_or(|compared| is_later(self.generation, compared))
    }
}

/// Generations are counted round: 0 comes after the last.
pub(crate) fn is_later(generation: u32, than: u32) -> bool {
    generation.wrapping_sub(than).cast_signed() > 0
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {})", self.program.escape_debug(), self.process)
    }
}

impl std::fmt::Display for Touched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.first)?;
        if self.more > 0 { write!(f, ", and {} changes more", self.more) } else { Ok(()) }
    }
}

/// Gathers messages into commits: what was changed comes first, who did it and the generation last.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    touched: Option<Touched>,
}

impl Commits {
    /// The commits that end within what was received at once. An error where it cannot be read: look for yourself.
    pub fn take(&mut self, received: &[u8]) -> Result<Vec<Commit>, &'static str> {
        let mut commits = Vec::new();
        for message in Messages(received) {
            let message = message?;
            let Some(head) = message.nf_tables() else { continue };
            let (kind, attributes) = head?;
            if kind == kind::NEW_GENERATION {
                let touched = self.touched.take();
                commits.push(read_commit(attributes, touched)?);
            } else if is_ours(&message, attributes)? {
                self.touch(kind, described(kind, attributes)?);
            }
        }
        Ok(commits)
    }

    fn touch(&mut self, kind: u8, what: String) {
        match &mut self.touched {
            Some(touched) => {
                touched.more += 1;
                // What it took along comes before it.
                if kind == kind::DELETE_TABLE {
                    touched.first = what;
                }
            }
            untouched => *untouched = Some(Touched { first: what, more: 0 }),
        }
    }

    /// Forgets the part of a commit whose end will not come.
    pub fn forget(&mut self) {
        self.touched = None;
    }
}

fn read_commit(attributes: Attributes<'_>, touched: Option<Touched>) -> Result<Commit, Malformed> {
    let generation = number(attributes.get(GENERATION_ID)?.ok_or("a generation without its number")?)?;
    // Linux before 4.10 does not say who.
    let process = attributes.get(GENERATION_PROCESS)?.map_or(Ok(0), number)?;
    let program = attributes.get(GENERATION_PROGRAM)?.unwrap_or_default();
    Ok(Commit { generation, author: Author { program: lossy(program, PROGRAM), process }, touched })
}

/// Whether a message is about our table.
fn is_ours(message: &Message<'_>, attributes: Attributes<'_>) -> Result<bool, Malformed> {
    if message.family() != Some(FAMILY_INET) {
        return Ok(false);
    }
    Ok(attributes.get(TABLE_NAME)?.is_some_and(|name| text(name) == Ok(table_name())))
}

/// What was done, in the operator's words.
fn described(kind: u8, attributes: Attributes<'_>) -> Result<String, Malformed> {
    let named = |name| {
        let name = lossy(attributes.get(name)?.unwrap_or_default(), LONGEST_NAME);
        Ok::<_, Malformed>(name.escape_debug().to_string())
    };
    Ok(match kind {
        kind::NEW_TABLE => "table added or changed".to_owned(),
        kind::DELETE_TABLE => "table deleted".to_owned(),
        kind::NEW_CHAIN => format!("chain {} added or changed", named(CHAIN_NAME)?),
        kind::DELETE_CHAIN => format!("chain {} deleted", named(CHAIN_NAME)?),
        kind::NEW_RULE => format!("rule added to {}", named(NAME)?),
        kind::DELETE_RULE => format!("rule deleted from {}", named(NAME)?),
        kind::NEW_SET => format!("set {} added", named(NAME)?),
        kind::DELETE_SET => format!("set {} deleted", named(NAME)?),
        kind::NEW_ELEMENT => format!("element added to {}", named(NAME)?),
        kind::DELETE_ELEMENT => format!("element deleted from {}", named(NAME)?),
        kind::NEW_OBJECT => format!("object {} added or changed", named(NAME)?),
        kind::DELETE_OBJECT => format!("object {} deleted", named(NAME)?),
        kind::NEW_FLOWTABLE => format!("flowtable {} added or changed", named(NAME)?),
        kind::DELETE_FLOWTABLE => format!("flowtable {} deleted", named(NAME)?),
        other => format!("changed by a message of kind {other}"),
    })
}

fn lossy(content: &[u8], longest: usize) -> String {
    let content = content.strip_suffix(&[0]).unwrap_or(content);
    String::from_utf8_lossy(content).chars().take(longest).collect()
}

#[cfg(test)]
mod tests;
