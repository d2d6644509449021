//! The configuration: the file as written, environment variables over it, flags over those. Read once, then immutable.
//! Unknown keys are errors that name the line and the nearest key; a knob that is not written has its default here.

mod admin;
mod alarm;
mod dhcp;
mod firmware;
mod https;
mod load;
mod menu;
mod places;
mod release;
mod scan;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use admin::{AdminConfig, HostName};
pub use alarm::{AlarmCommand, WebhookUrl};
pub use dhcp::{AddressRange, DhcpConfig, DhcpMode, PoolConfig, Router};
pub use firmware::FirmwareConfig;
pub use https::{ExpiredCertificates, HttpsConfig};
pub(crate) use load::distance;
pub use load::{ConfigError, Loaded, load};
pub use menu::MenuConfig;
pub use places::Places;
pub use release::ReleaseConfig;
pub use scan::{QuietHours, SCAN_RATE, SCAN_RATE_MAX, ScanConfig, Schedule};

use crate::device::Transport;
use crate::net::Prefix;

/// Everything that can be set. Section and key names are a contract: add, never rename.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This agent itself.
    pub agent: AgentConfig,
    /// Which strangers become phones of ours.
    pub adopt: AdoptConfig,
    /// For accounts that name no registrar.
    pub sip: SipConfig,
    /// What every phone of the site gets.
    pub site: SiteConfig,
    /// The user menu on phones.
    pub menu: MenuConfig,
    /// Firmware of the phones.
    pub firmware: FirmwareConfig,
    /// Multicast plug and play.
    pub pnp: PnpConfig,
    /// Files for phones by HTTP.
    pub http: HttpConfig,
    /// Files for phones by TLS.
    pub https: HttpsConfig,
    /// Files for phones by TFTP.
    pub tftp: TftpConfig,
    /// DHCP companion.
    pub dhcp: DhcpConfig,
    /// Subnet scan.
    pub scan: ScanConfig,
    /// One-time release of passwords.
    pub release: ReleaseConfig,
    /// Where alarms go.
    pub alarm: AlarmConfig,
    /// Pages and REST for people.
    pub admin: AdminConfig,
    /// Where the inventory lives.
    pub store: StoreConfig,
    /// Vendor profiles beside the built-in ones.
    pub profiles: ProfilesConfig,
}

/// `[agent]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Shown and stored with what this agent did; the host's name where none is given.
    pub name: Option<String>,
    /// Database and files; see [`Places`] for where it is otherwise.
    pub data_dir: Option<PathBuf>,
    /// Interface names; empty: every interface that is up and can multicast.
    pub interfaces: Vec<String>,
}

impl AgentConfig {
    /// The agent's name: as configured, else the host's.
    pub fn name(&self) -> String {
        let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        self.name
            .clone()
            .filter(|name| !name.is_empty())
            .or_else(host)
            .unwrap_or_else(|| "offhook".to_owned())
    }
}

/// `[adopt]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdoptConfig {
    /// What becomes of a phone that is not in the inventory.
    pub policy: AdoptPolicy,
    /// MAC prefixes (`001565`, `00:04:13`): only these strangers are considered; empty: all.
    pub allow: Vec<MacPrefix>,
    /// MAC prefixes of strangers that are ignored.
    pub deny: Vec<MacPrefix>,
}

/// What becomes of a phone that is not in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AdoptPolicy {
    /// Silence; it is recorded.
    Known,
    /// It is listed as pending until a person approves it.
    #[default]
    Approve,
    /// It gets the next free account of the pool, if a profile knows its model.
    Auto,
}

/// The first one to six octets of a MAC, as twelve digits or fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacPrefix(String);

impl MacPrefix {
    /// Whether the address begins with this prefix.
    pub fn covers(&self, mac: crate::device::Mac) -> bool {
        mac.bare().starts_with(&self.0)
    }
}

impl<'de> Deserialize<'de> for MacPrefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: String = text.chars().filter(|c| !":-.".contains(*c)).collect();
        if digits.is_empty() || digits.len() > 12 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(serde::de::Error::custom(format!(
                "'{text}' is not the beginning of a MAC address; write up to twelve hexadecimal digits"
            )));
        }
        Ok(Self(digits.to_ascii_lowercase()))
    }
}

/// `[sip]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipConfig {
    /// Host, or `host:port`.
    pub registrar: Option<String>,
    /// udp, tcp or tls.
    pub transport: Transport,
    /// Host, or `host:port`.
    pub outbound_proxy: Option<String>,
    /// Whether registrations of phones are overheard where they pass this host.
    pub watch: bool,
}

impl Default for SipConfig {
    fn default() -> Self {
        Self { registrar: None, transport: Transport::default(), outbound_proxy: None, watch: true }
    }
}

/// `[site]`: facts that every profile translates into its vendor's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteConfig {
    /// ISO 639-1 (`de`), of the display and the web pages.
    pub language: String,
    /// ISO 3166-1 alpha-2, lower-case (`de`): tones, date format.
    pub country: String,
    /// IANA name (`Europe/Berlin`); the host's where none is given.
    pub timezone: Option<String>,
    /// Host of the time server; the agent's own host, as the phone sees it, where none is given.
    pub ntp: Option<String>,
    /// VLAN identifier of the phones, 1-4094.
    pub vlan: Option<u16>,
    /// Priority (802.1p) in that VLAN, 0-7.
    pub vlan_priority: Option<u8>,
    /// Country whose tones the phones play; `country` where none is given.
    pub tones: Option<String>,
    /// Audio codecs in order of preference.
    pub codecs: Vec<String>,
    /// Minutes between two looks of a phone at its configuration; 0: only at boot.
    pub resync_minutes: u32,
    /// Digits that pick up a watched extension's call, dialled before its number.
    pub pickup_code: Option<String>,
    /// Any further setting by its neutral name, below the device's own.
    pub settings: BTreeMap<String, String>,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self {
            language: "en".to_owned(),
            country: "us".to_owned(),
            timezone: None,
            ntp: None,
            vlan: None,
            vlan_priority: None,
            tones: None,
            codecs: ["g722", "pcma", "pcmu", "g729", "opus"].map(str::to_owned).to_vec(),
            resync_minutes: 1440,
            pickup_code: None,
            settings: BTreeMap::new(),
        }
    }
}

/// `[pnp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PnpConfig {
    /// Whether SUBSCRIBEs are heard at all.
    pub enabled: bool,
    /// The unicast port NOTIFYs leave from, and their answers come to; 0: any free one.
    pub reply_port: u16,
    /// How the multicast is received.
    pub receive: PnpReceive,
    /// Whether it is looked for other servers that answer phones, at the start and every five minutes.
    pub probe: bool,
    /// What becomes of phones that nobody has approved while there is one.
    pub rivals: PnpRivals,
    /// The group; only a demonstration on loopback has a reason to change it.
    pub group: Ipv4Addr,
    /// The group's port; as above.
    pub port: u16,
}

impl Default for PnpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            reply_port: 5065,
            receive: PnpReceive::Udp,
            probe: true,
            rivals: PnpRivals::Yield,
            group: Ipv4Addr::new(224, 0, 1, 75),
            port: 5060,
        }
    }
}

/// What becomes of phones that nobody has approved while another server answers phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PnpRivals {
    /// They are left to it.
    Yield,
    /// They are answered from here as well.
    Ignore,
}

/// How the multicast is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PnpReceive {
    /// A UDP socket bound to the group, so that a PBX on 0.0.0.0:5060 keeps what is its own.
    #[default]
    Udp,
    /// A packet socket (`CAP_NET_RAW`): hears the group whatever else holds the port.
    Packet,
}

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; `off` switches the listener off.
    pub listen: Listen,
    /// Connections at once from one address (a whole site may stand behind one).
    pub connections_per_address: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: Listen::on([0, 0, 0, 0], 8480), connections_per_address: 64 }
    }
}

/// `[tftp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TftpConfig {
    /// Address and port; `off` switches the service off.
    pub listen: Listen,
    /// Networks whose hosts are answered, beside those on the agent's own links.
    pub networks: Vec<Prefix>,
}

impl Default for TftpConfig {
    fn default() -> Self {
        Self { listen: Listen::on([0, 0, 0, 0], 69), networks: Vec::new() }
    }
}

/// `[alarm]`: where alarms go, besides their rows and the log.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmConfig {
    /// `http://…` or `https://…`: each alarm is posted there as JSON.
    pub webhook: Option<WebhookUrl>,
    /// A program and its arguments: each alarm is given to it as JSON on standard input.
    pub command: AlarmCommand,
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres://…`; a file under the data directory where none is given.
    pub url: Option<String>,
}

/// `[profiles]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfilesConfig {
    /// A folder of vendor folders; relative to the configuration file.
    pub dir: Option<PathBuf>,
}

/// Where a service listens, or that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On this address and port.
    On(SocketAddr),
    /// Not at all.
    Off,
}

impl Listen {
    fn on(address: [u8; 4], port: u16) -> Self {
        Self::On(SocketAddr::from((address, port)))
    }

    /// The address, unless the service is off.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::On(address) => Some(address),
            Self::Off => None,
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::On).map_err(|_| {
            serde::de::Error::custom(format!("'{text}' is not ADDRESS:PORT (like 0.0.0.0:8480) or off"))
        })
    }
}

/// A length of time, written `90s`, `10m`, `24h` or `7d`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit = text.chars().last().and_then(|unit| match unit {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(3600),
            'd' => Some(86_400),
            _ => None,
        });
        let number = text.get(..text.len().saturating_sub(1)).and_then(|digits| digits.parse::<u64>().ok());
        match (number, unit) {
            (Some(number), Some(unit)) => Ok(Self(Duration::from_secs(number.saturating_mul(unit)))),
            _ => Err(format!("'{text}' is not a length of time; write 90s, 10m, 24h or 7d")),
        }
    }
}
