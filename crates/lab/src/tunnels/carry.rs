//! Our engine alone in a process, so that it can be measured and judged as others are. It is asked at the socket at which standard
//! tools find it. For benches and tests; no agent works this way.

use anyhow::Result;
use picket_wireguard::{Preference, open};

/// What `picket-lab carry` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interface to make.
    name: String,
}

/// Carries a device until it is killed.
///
/// # Errors
/// What keeps the device from being.
pub async fn run(args: Args) -> Result<()> {
    let _device = open(&args.name, Preference::Userspace, None).await?;
    std::future::pending().await
}
