//! The host's nftables by the host's own `nft`: what an operator would load and list by hand.

use crate::{Host, LabError, command};

impl Host {
    /// Runs `nft` with these arguments and gives what it prints.
    ///
    /// # Errors
    /// [`LabError::Command`] with what `nft` said, [`LabError::MissingProgram`] without nftables.
    pub fn nft(&self, args: &[&str]) -> Result<String, LabError> {
        self.inside(|| command::run("nft", args, ""))??.success()
    }

    /// Loads a ruleset in nft's language, in one transaction.
    ///
    /// # Errors
    /// As [`Host::nft`].
    pub fn load_nft(&self, ruleset: &str) -> Result<(), LabError> {
        self.inside(|| command::run("nft", &["-f", "-"], ruleset))??.success().map(drop)
    }

    /// A table as nft lists it, `table` being family and name: `inet picket`.
    ///
    /// # Errors
    /// As [`Host::nft`], for instance because there is no such table.
    pub fn nft_table_text(&self, table: &str) -> Result<String, LabError> {
        let mut args = vec!["list", "table"];
        args.extend(table.split_whitespace());
        self.nft(&args)
    }
}
