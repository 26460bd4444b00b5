//! Names that lead to sentries. Which addresses a name shall have ([`wish`]) and what is to be done where something else stands
//! there ([`step()`]) are functions of values; [`provider`] are the servers and clouds where it is written, the only IO here.

mod config;
pub mod provider;
mod record;
mod secret;
pub mod wish;

pub use config::{CloudflareLines, DnsLines, ProviderLines, Rfc2136Lines, Route53Lines};
pub use record::{Change, Found, Step, Ttls, mark, mark_name, shown, step};
