//! `[dhcp]`: what the DHCP companion does beside hearing, and on which interfaces. What can be checked without looking at
//! the interfaces themselves is checked when the configuration is read.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use super::Span;
use crate::net::Prefix;

/// A lease is no shorter: a phone would do nothing but renew.
const LEASE_MIN: Duration = Duration::from_mins(2);
/// And no longer: an address that is lost for a week is lost enough.
const LEASE_MAX: Duration = Duration::from_hours(7 * 24);
/// What a lease lasts when nothing else is said. Phones that are moved or thrown away give their address back soon.
const LEASE: Duration = Duration::from_hours(1);
/// Addresses of one pool: a /12, the largest private network that anybody gives to phones.
const ADDRESSES_MAX: u32 = 1 << 20;
/// Answers to strangers in a second: what no LAN notices. Phones of the inventory have a rate of their own.
const ANSWERS_PER_S: u32 = 50;
/// And at most: a fleet of strangers, all at once.
const ANSWERS_PER_S_MAX: u32 = 5_000;

/// `[dhcp]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct DhcpConfig {
    /// What is done beside hearing.
    pub mode: DhcpMode,
    /// On which interfaces `inform` and `server` answer; on all others they only hear.
    pub interfaces: Vec<String>,
    /// Nothing is answered; what would have been is said in the log and the phone's timeline.
    pub dry_run: bool,
    /// Whether the LAN's server is asked now and then; else only by command.
    pub probe: bool,
    /// Relays (`giaddr`) whose questions are answered; empty: what comes by a relay is not.
    pub relays: Vec<Ipv4Addr>,
    /// Answers per second and network to clients that are not in the inventory.
    pub answers_per_s: u32,
    /// Where leases come from, in mode `server`.
    pub pool: Vec<PoolConfig>,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        Self {
            mode: DhcpMode::default(),
            interfaces: Vec::new(),
            dry_run: false,
            probe: false,
            relays: Vec::new(),
            answers_per_s: ANSWERS_PER_S,
            pool: Vec::new(),
        }
    }
}

/// What the DHCP companion does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DhcpMode {
    /// Nothing.
    Off,
    /// It hears and records.
    #[default]
    Observe,
    /// It answers INFORM of phones.
    Inform,
    /// It gives leases.
    Server,
}

impl DhcpMode {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Inform => "inform",
            Self::Server => "server",
        }
    }

    /// Whether it may send anything by itself.
    pub fn answers(self) -> bool {
        match self {
            Self::Off | Self::Observe => false,
            Self::Inform | Self::Server => true,
        }
    }
}

impl fmt::Display for DhcpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[[dhcp.pool]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// By which interface its clients come.
    pub interface: String,
    /// Which addresses are given.
    pub range: AddressRange,
    /// The relay (`giaddr`) that its clients stand behind; none: they are on the interface's own link.
    pub relay: Option<Ipv4Addr>,
    /// The network that the clients stand in, for those behind a relay; the interface's own otherwise.
    pub network: Option<Prefix>,
    /// The clients' router. Where nothing is said it is copied from the server that was heard.
    pub router: Option<Router>,
    /// The clients' name servers; copied as above, none where nothing was heard, and an empty list is none at all.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// The clients' domain.
    pub domain: Option<String>,
    /// The clients' time server.
    pub ntp: Option<Ipv4Addr>,
    /// How long a lease lasts.
    #[serde(default = "lease", deserialize_with = "read_lease")]
    pub lease: Duration,
    /// Whether another server gives addresses on this network: it goes first, and no address is in both pools.
    #[serde(default)]
    pub shared: bool,
    /// Whether computers and everything else are served as well.
    #[serde(default)]
    pub serve_all: bool,
}

/// What the clients are told about their router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// There is none.
    None,
    /// This one.
    At(Ipv4Addr),
}

impl<'de> Deserialize<'de> for Router {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self::None);
        }
        let no = |_| D::Error::custom(format!("router '{text}' is neither an IPv4 address nor \"none\""));
        text.parse().map(Self::At).map_err(no)
    }
}

/// Addresses from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// Whether the address is one of them.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// How many there are.
    pub fn size(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Every address, from the first on.
    pub fn iter(self) -> impl Iterator<Item = Ipv4Addr> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl std::str::FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| format!("range '{text}' {why}; write 192.168.40.100-192.168.40.199");
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<Ipv4Addr>().ok()?, last.trim().parse::<Ipv4Addr>().ok()?))
        });
        let Some((first, last)) = ends else { return Err(wrong("is not two IPv4 addresses".to_owned())) };
        if first > last {
            return Err(wrong("ends before it begins".to_owned()));
        }
        if let Some(address) = [first, last].into_iter().find(|address| !is_of_a_host(*address)) {
            return Err(wrong(format!("holds {address}, which no host can have")));
        }
        let range = Self { first, last };
        if range.size() > ADDRESSES_MAX {
            return Err(wrong(format!("holds more than {ADDRESSES_MAX} addresses")));
        }
        Ok(range)
    }
}

fn is_of_a_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

fn lease() -> Duration {
    LEASE
}

fn read_lease<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let Span(lease) = text.parse().map_err(D::Error::custom)?;
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return Ok(lease);
    }
    Err(D::Error::custom(format!("lease '{text}' is not between 2m and 7d; write 1h")))
}

/// The section as it is written, before its parts are held against each other.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    mode: DhcpMode,
    interfaces: Vec<String>,
    dry_run: bool,
    probe: bool,
    relays: Vec<Ipv4Addr>,
    answers_per_s: u32,
    pool: Vec<PoolConfig>,
}

impl Default for Written {
    fn default() -> Self {
        let DhcpConfig { mode, interfaces, dry_run, probe, relays, answers_per_s, pool } =
            DhcpConfig::default();
        Self { mode, interfaces, dry_run, probe, relays, answers_per_s, pool }
    }
}

impl TryFrom<Written> for DhcpConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { mode, interfaces, dry_run, probe, relays, answers_per_s, pool } = written;
        if !(1..=ANSWERS_PER_S_MAX).contains(&answers_per_s) {
            return Err(format!(
                "dhcp.answers_per_s {answers_per_s} is not between 1 and {ANSWERS_PER_S_MAX}; write {ANSWERS_PER_S}"
            ));
        }
        if mode.answers() && interfaces.is_empty() {
            return Err(format!(
                "dhcp.mode '{mode}' answers only on interfaces that are named; write dhcp.interfaces = [\"eth0\"]"
            ));
        }
        for (at, one) in pool.iter().enumerate() {
            one.check(&interfaces, &relays)
                .map_err(|why| format!("the dhcp.pool of '{}' ({}): {why}", one.interface, one.range))?;
            let earlier = pool.iter().take(at).find(|other| other.range.overlaps(one.range));
            if let Some(other) = earlier {
                return Err(format!(
                    "the dhcp.pools {} and {} overlap; give each address to one of them",
                    other.range, one.range
                ));
            }
        }
        Ok(Self { mode, interfaces, dry_run, probe, relays, answers_per_s, pool })
    }
}

impl PoolConfig {
    fn check(&self, interfaces: &[String], relays: &[Ipv4Addr]) -> Result<(), String> {
        let Self { interface, range, relay, network, router, .. } = self;
        if !interfaces.contains(interface) {
            return Err(format!("its interface is not in dhcp.interfaces; add \"{interface}\" there"));
        }
        match (relay, network) {
            (Some(relay), _) if !relays.contains(relay) => {
                return Err(format!("its relay {relay} is not in dhcp.relays; add \"{relay}\" there"));
            }
            (Some(_), None) => {
                return Err("clients behind a relay are in a network of their own; write network = \
                            \"192.168.50.0/24\""
                    .to_owned());
            }
            (Some(relay), Some(network)) if !network.contains(*relay) => {
                return Err(format!("its relay {relay} is not in its network {network}"));
            }
            (Some(_), Some(network)) if !range.is_within(*network) => {
                return Err(format!("its range is not within its network {network}"));
            }
            (None, Some(_)) => {
                return Err("without a relay its network is the interface's own; remove network".to_owned());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if let Some(Router::At(router)) = router
            && range.contains(*router)
        {
            return Err(format!("its router {router} is in its range; leave that address out"));
        }
        if self.shared && self.serve_all {
            return Err(
                "serve_all is for networks without another server; remove shared or serve_all".to_owned()
            );
        }
        if self.domain.as_ref().is_some_and(|domain| domain.is_empty() || domain.len() > 255) {
            return Err("its domain has no characters, or more than 255".to_owned());
        }
        Ok(())
    }
}

impl AddressRange {
    /// Whether every address is one of a host in this network: not the network's own, and not its broadcast.
    pub fn is_within(self, network: Prefix) -> bool {
        let inside = |address| network.contains(address);
        let broadcast = u64::from(u32::from(network.first())) + network.size() - 1;
        // In a network of one or two addresses all are hosts' (RFC 3021).
        let ends_are_hosts = network.size() <= 2
            || (self.first != network.first() && u64::from(u32::from(self.last)) != broadcast);
        inside(self.first) && inside(self.last) && ends_are_hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DhcpConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    const POOL: &str = "interfaces = [\"eth0\"]\n[[pool]]\ninterface = \"eth0\"\n\
                        range = \"192.168.40.100-192.168.40.199\"\n";

    #[test]
    fn nothing_written_only_hears() {
        let config = read("").unwrap();
        assert_eq!((config.mode, config.dry_run, config.probe), (DhcpMode::Observe, false, false));
        assert!(config.interfaces.is_empty() && config.pool.is_empty() && config.relays.is_empty());
    }

    #[test]
    fn a_pool_has_defaults() {
        let config = read(&format!("mode = \"server\"\n{POOL}")).unwrap();
        let pool = &config.pool[0];
        assert_eq!((pool.range.size(), pool.lease), (100, Duration::from_hours(1)));
        assert_eq!((pool.router, pool.dns.clone(), pool.shared, pool.serve_all), (None, None, false, false));
        let pool = &read(&format!("{POOL}router = \"none\"\ndns = []\nlease = \"2m\"\n")).unwrap().pool[0];
        assert_eq!((pool.router, pool.dns.clone()), (Some(Router::None), Some(Vec::new())));
    }

    #[test]
    fn what_does_not_fit_together_names_value_and_remedy() {
        let check = |text: &str, words: &[&str]| {
            let error = read(text).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        };
        check("mode = \"inform\"", &["dhcp.mode 'inform'", "dhcp.interfaces = [\"eth0\"]"]);
        check("answers_per_s = 0", &["dhcp.answers_per_s 0", "write 50"]);
        check("modus = \"inform\"", &["unknown field `modus`"]);
        let pool = |more: &str| format!("{POOL}{more}\n");
        let range = |range: &str| pool("").replace("192.168.40.100-192.168.40.199", range);
        check(
            &range("192.168.40.100"),
            &["'192.168.40.100' is not two IPv4", "192.168.40.100-192.168.40.199"],
        );
        check(&range("10.0.0.9-10.0.0.8"), &["ends before it begins"]);
        check(&range("10.0.0.9-230.0.0.8"), &["230.0.0.8", "no host"]);
        check(&range("10.0.0.9-11.0.0.9"), &["more than 1048576"]);
        check(&pool("lease = \"1m\""), &["lease '1m'", "2m and 7d"]);
        check(&pool("lease = \"8d\""), &["lease '8d'", "2m and 7d"]);
        check(&pool("router = \"192.168.40.150\""), &["router 192.168.40.150", "leave that address out"]);
        check(&pool("router = \"gateway\""), &["router 'gateway'", "\"none\""]);
        check(&pool("relay = \"10.1.0.1\""), &["relay 10.1.0.1 is not in dhcp.relays"]);
        check(&pool("network = \"10.1.0.0/24\""), &["remove network"]);
        check(&pool("shared = true\nserve_all = true"), &["serve_all", "remove shared"]);
        check(
            &POOL.replace("[\"eth0\"]", "[\"eth1\"]"),
            &["'eth0'", "not in dhcp.interfaces", "add \"eth0\""],
        );
        let second = "[[pool]]\ninterface = \"eth0\"\nrange = \"192.168.40.199-192.168.40.250\"";
        check(&pool(second), &["192.168.40.100-192.168.40.199 and 192.168.40.199-192.168.40.250 overlap"]);
    }

    #[test]
    fn a_pool_behind_a_relay_has_its_own_network() {
        let with = |more: &str| {
            read(&format!("relays = [\"192.168.40.1\"]\n{POOL}relay = \"192.168.40.1\"\n{more}"))
        };
        assert!(with("").unwrap_err().contains("network ="));
        assert!(with("network = \"192.168.41.0/24\"").unwrap_err().contains("is not in its network"));
        assert!(with("network = \"192.168.40.0/25\"").unwrap_err().contains("range is not within"));
        assert!(with("network = \"192.168.40.0/24\"").is_ok());
    }

    #[test]
    fn a_range_leaves_out_the_networks_own_addresses() {
        let check = |range: &str, network: &str, fits| {
            let range: AddressRange = range.parse().unwrap();
            assert_eq!(range.is_within(network.parse().unwrap()), fits, "{range} in {network}");
        };
        check("10.0.0.1-10.0.0.254", "10.0.0.0/24", true);
        check("10.0.0.0-10.0.0.9", "10.0.0.0/24", false);
        check("10.0.0.9-10.0.0.255", "10.0.0.0/24", false);
        check("10.0.0.9-10.0.1.9", "10.0.0.0/24", false);
        check("10.0.0.0-10.0.0.1", "10.0.0.0/31", true);
    }
}
