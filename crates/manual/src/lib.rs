//! Completions and manual pages, which each program makes of its own command line: what they say is what it understands.
//! Knows no program; whoever packages one asks it.

use clap::{Command, Subcommand};
use clap_complete::Shell;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// What every program can say about itself. No controller is asked, and nothing but the given folder is written.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Manual {
    /// Print completions for a shell: `source <(PROGRAM completions bash)`
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write a manual page for the program and one for each of its verbs
    #[command(hide = true)]
    Man {
        /// Folder for them; it is made where there is none.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

impl Manual {
    /// Prints or writes it for the program that `command` describes, which must not have been built yet.
    ///
    /// # Errors
    /// An [`io::Error`] that says which folder could not be written.
    pub fn write(&self, command: Command) -> io::Result<()> {
        match self {
            Self::Completions { shell } => match io::stdout().write_all(&completions(*shell, command)) {
                // A reader that has gone away is no fault of ours.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            },
            Self::Man { out } => pages(out, command).map_err(|error| {
                io::Error::new(error.kind(), format!("write manual pages to {}: {error}", out.display()))
            }),
        }
    }
}

/// The script for a shell.
fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// One page for the program, one for each verb, and one for each verb of a verb.
fn pages(folder: &Path, command: Command) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser, ValueEnum as _};

    /// Does things.
    #[derive(Parser)]
    #[command(name = "thing", version = "1.2.3")]
    struct Thing {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Subcommand)]
    enum Verb {
        /// Go on and on.
        Run {
            #[command(subcommand)]
            how: How,
        },
        #[command(flatten)]
        Manual(Manual),
    }

    #[derive(Subcommand)]
    enum How {
        /// Without haste.
        Slowly,
    }

    #[test]
    fn every_shell_gets_a_script_that_names_the_verbs() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell, Thing::command())).unwrap();
            for word in ["thing", "run", "slowly", "completions"] {
                assert!(script.contains(word), "{shell} has no {word}");
            }
        }
    }

    #[test]
    fn each_verb_has_its_page_and_a_hidden_one_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/man");
        Manual::Man { out: out.clone() }.write(Thing::command()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["thing-completions.1", "thing-run-slowly.1", "thing-run.1", "thing.1"]);
        let page = fs::read_to_string(out.join("thing.1")).unwrap();
        assert!(page.contains("Does things") && page.contains("1.2.3"), "{page}");
        // The same bytes whenever they are made: packages are reproducible.
        let again = folder.path().join("again");
        pages(&again, Thing::command()).unwrap();
        assert_eq!(fs::read_to_string(again.join("thing.1")).unwrap(), page);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Manual::Man { out: file.clone() }.write(Thing::command()).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(Thing::try_parse_from(["thing", "man"]).is_err());
    }
}
