//! Names of validators to addresses: the host's hosts file, then its name servers, under limits. Whether an address is
//! acceptable is for the plan to judge, and so is when to ask again: nothing is remembered here.

mod files;

use crate::quote::shortened;
use files::{hosts, name_servers};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
};
use picket_model::{DnsName, NameAnswer, network};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    fs,
    time::{error::Elapsed, timeout},
};

/// How long what the hosts file says stands: the file has no times of its own.
const HOSTS_FILE: Duration = Duration::from_secs(60);
/// Times one question is sent again to a name server that is silent.
const REPEATS: usize = 2;

/// What one lookup may cost. How many there are at once is for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolveLimits {
    /// Time for all of it.
    pub timeout: Duration,
    /// Addresses kept of one name, the lowest; a name may not fill the sets by itself.
    pub most_addresses: usize,
}

impl Default for ResolveLimits {
    /// 3 s, 16 addresses.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3), most_addresses: 16 }
    }
}

/// Where a host says how names are resolved on it. Read again for every lookup, so that a change counts at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFiles {
    /// hosts(5). A name in it is not asked for anywhere else.
    pub hosts: PathBuf,
    /// resolv.conf(5), of which the lines `nameserver` are read: limits are ours, and names are always whole ones.
    pub resolv_conf: PathBuf,
    /// Port of the name servers.
    pub port: u16,
}

impl Default for HostFiles {
    /// This host's own, and the port of DNS.
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), port: 53 }
    }
}

/// Resolves names. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    limits: ResolveLimits,
    files: Arc<HostFiles>,
}

impl Resolver {
    /// As this host resolves names, under the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// As these files say, under these limits.
    pub fn with(limits: ResolveLimits, files: HostFiles) -> Self {
        Self { limits, files: Arc::new(files) }
    }

    /// Addresses of one name, IPv4 and IPv6, in canonical form.
    ///
    /// # Errors
    /// Why there are none, as a text that may hold somebody else's words.
    pub async fn lookup(&self, name: &DnsName) -> Result<NameAnswer, String> {
        Host::read(self.limits, &self.files).await?.lookup(name).await
    }
}

/// The host's files as they are now, and a client for the name servers they name.
struct Host {
    limits: ResolveLimits,
    hosts: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Or why nothing can be asked.
    dns: Result<TokioResolver, String>,
}

impl Host {
    async fn read(limits: ResolveLimits, files: &HostFiles) -> Result<Self, String> {
        let hosts = match read(&files.hosts).await {
            Ok(text) => hosts(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("read {}: {error}", files.hosts.display())),
        };
        let dns = match read(&files.resolv_conf).await {
            Ok(text) => client(&name_servers(&text), limits, files),
            Err(error) => Err(format!("no name server: read {}: {error}", files.resolv_conf.display())),
        };
        Ok(Self { limits, hosts, dns })
    }

    async fn lookup(&self, name: &DnsName) -> Result<NameAnswer, String> {
        if let Some(addresses) = self.hosts.get(name.as_str()) {
            return self.answer(addresses, HOSTS_FILE);
        }
        let dns = self.dns.as_ref().map_err(Clone::clone)?;
        let whole = Name::from_ascii(format!("{}.", name.as_str())).map_err(|error| shortened(&error.to_string()))?;
        let (four, six) = tokio::join!(
            timeout(self.limits.timeout, dns.lookup(whole.clone(), RecordType::A)),
            timeout(self.limits.timeout, dns.lookup(whole, RecordType::AAAA)),
        );
        // goloop dials IPv4 alone, so an answer without that half is none; there are name servers that never answer for
        // the other half.
        let (mut found, six) = (self.records(four)?, self.records(six).unwrap_or_default());
        found.addresses.extend(six.addresses);
        let seconds = [found.seconds, six.seconds].into_iter().flatten().min().unwrap_or_default();
        self.answer(&found.addresses, Duration::from_secs(seconds.into()))
    }

    /// What one question gave. That a name has no record of one kind is an answer.
    fn records(&self, found: Result<Result<Lookup, NetError>, Elapsed>) -> Result<Records, String> {
        let silent = || format!("no answer within {:?}", self.limits.timeout);
        match found.map_err(|_| silent())? {
            Ok(lookup) => Ok(Records {
                addresses: lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect(),
                // Of aliases on the way too.
                seconds: lookup.answers().iter().map(|record| record.ttl).min(),
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => Ok(Records::default()),
                ResponseCode::NXDomain => Err("no such name (NXDOMAIN)".to_owned()),
                other => Err(refused(other)),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(refused(code)),
            Err(NetError::Timeout) => Err(silent()),
            Err(error) => Err(shortened(&error.to_string())),
        }
    }

    fn answer(&self, addresses: &BTreeSet<IpAddr>, time_to_live: Duration) -> Result<NameAnswer, String> {
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(|address| network::canonical(*address)).collect();
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        let surplus = addresses.len().saturating_sub(self.limits.most_addresses);
        Ok(NameAnswer {
            addresses: addresses.into_iter().take(self.limits.most_addresses).collect(),
            surplus,
            time_to_live,
        })
    }
}

#[derive(Default)]
struct Records {
    addresses: BTreeSet<IpAddr>,
    /// The shortest time to live among them.
    seconds: Option<u32>,
}

fn client(servers: &[IpAddr], limits: ResolveLimits, files: &HostFiles) -> Result<TokioResolver, String> {
    if servers.is_empty() {
        return Err(format!("no name server: {} has no line `nameserver ADDRESS`", files.resolv_conf.display()));
    }
    let servers = servers.iter().map(|address| {
        let mut server = NameServerConfig::udp_and_tcp(*address);
        server.connections.iter_mut().for_each(|connection| connection.port = files.port);
        server
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let tries = u32::try_from(REPEATS + 1).unwrap_or(u32::MAX);
    let mut options = ResolverOpts::default();
    options.timeout = limits.timeout / tries;
    options.attempts = REPEATS;
    // The schedule is the plan's.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    builder.build().map_err(|error| format!("set up DNS: {}", shortened(&error.to_string())))
}

async fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path).await?).into_owned())
}

fn refused(code: ResponseCode) -> String {
    format!("the name server answers {code}")
}
