//! The nouns: what a phone is, which accounts and keys it has, and where it was seen. No behaviour beyond reading and
//! writing their texts.

mod account;
mod contact;
mod group;
mod key;
mod mac;
mod step;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use account::{Account, Srtp, Transport};
pub use contact::Contact;
pub use group::{Common, Commons, Group, Layer};
pub use key::{Key, KeyKind, KeyPlace};
pub use mac::{Mac, MacError};
pub use step::Step;

use crate::clock::Timestamp;
use crate::secret::{Sealed, SecretKind};

/// A vendor: the folder name of its profile, lower-case (`snom`, `alcatel-lucent`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vendor(String);

impl Vendor {
    /// The vendor of this name, in whatever case it was written.
    pub fn new(name: &str) -> Self {
        Self(name.trim().to_ascii_lowercase())
    }

    /// The folder name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of who a phone is. `model` is as the vendor prints it, without the vendor (`D785`, `T46U`, `370`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Its hardware address, if a clue carried it.
    pub mac: Option<Mac>,
    /// The profile's folder name.
    pub vendor: Option<Vendor>,
    /// The model.
    pub model: Option<String>,
    /// The firmware version, as the phone writes it.
    pub firmware: Option<String>,
}

/// Whether a phone is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// Seen, and waiting for a person.
    Pending,
    /// Served.
    Approved,
    /// Never served.
    Blocked,
}

impl Approval {
    /// The state's name in tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Blocked => "blocked",
        }
    }
}

impl FromStr for Approval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Pending, Self::Approved, Self::Blocked]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("'{text}' is not an approval state"))
    }
}

/// An account on a device: line 1 is the phone's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u16,
    /// What the phone shows beside the line key.
    pub label: Option<String>,
    /// The account.
    pub account: Account,
}

/// How a phone came in, first of all (product: "which way each phone came in is recorded and shown").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It multicast a SUBSCRIBE.
    ZeroTouch,
    /// A scan or DHCP brought it.
    OneTouchAuto,
    /// It asked the shared root, from a typed path or option 66.
    OneTouchManual,
    /// A vendor's redirection service sent it.
    Cloud,
}

impl Way {
    /// The way's name in tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZeroTouch => "zero_touch",
            Self::OneTouchAuto => "one_touch_auto",
            Self::OneTouchManual => "one_touch_manual",
            Self::Cloud => "cloud",
        }
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::ZeroTouch, Self::OneTouchAuto, Self::OneTouchManual, Self::Cloud]
            .into_iter()
            .find(|way| way.as_str() == text)
            .ok_or_else(|| format!("'{text}' is not a way in"))
    }
}

/// A phone of the inventory with everything its files are made of. Built by the store, immutable afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its key.
    pub mac: Mac,
    /// From the accounts file, or recognised.
    pub vendor: Option<Vendor>,
    /// From the accounts file, or recognised.
    pub model: Option<String>,
    /// As last seen.
    pub firmware: Option<String>,
    /// Whether it is served.
    pub approval: Approval,
    /// How it first came in.
    pub way: Option<Way>,
    /// The four characters on a Gigaset's label.
    pub gigaset_id: Option<String>,
    /// Changes with everything that its files depend on; the key of the cache of rendered files.
    pub revision: i64,
    /// By number, ascending.
    pub lines: Vec<Line>,
    /// By number, ascending.
    pub keys: Vec<Key>,
    /// The device's own layer of settings, above the site's.
    pub settings: BTreeMap<String, String>,
    /// The device's own secrets: menu, webui, and the steady token (prov).
    pub secrets: BTreeMap<SecretKind, Sealed>,
    /// The token of the URL that a NOTIFY or a person hands out.
    pub bootstrap_token: Sealed,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last seen, by any source.
    pub last_seen: Option<Timestamp>,
}

/// Where a clue or a sighting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The Event header of a SUBSCRIBE.
    #[serde(rename = "sip.event")]
    SipEvent,
    /// The User-Agent (or Server) header of a SIP message.
    #[serde(rename = "sip.user-agent")]
    SipUserAgent,
    /// The request URI of a SUBSCRIBE, which carries the MAC.
    #[serde(rename = "sip.uri")]
    SipUri,
    /// The User-Agent header of an HTTP request.
    #[serde(rename = "http.user-agent")]
    HttpUserAgent,
    /// The path of an HTTP request.
    #[serde(rename = "http.path")]
    HttpPath,
    /// The name in a TFTP read request.
    #[serde(rename = "tftp.path")]
    TftpPath,
    /// The title of a host's web page.
    #[serde(rename = "http.title")]
    HttpTitle,
    /// The realm that its web server asks a password for.
    #[serde(rename = "http.realm")]
    HttpRealm,
    /// The Server header of its web server.
    #[serde(rename = "http.server")]
    HttpServer,
    /// A page by which it tells who it is to whoever asks: the path, a blank, and the words found there.
    #[serde(rename = "http.page")]
    HttpPage,
    /// The common name of the certificate that its web server shows.
    #[serde(rename = "tls.subject")]
    TlsSubject,
    /// Its name by multicast DNS.
    #[serde(rename = "mdns.host")]
    MdnsHost,
    /// A service that it offers by multicast DNS: its name, and the words that stand with it.
    #[serde(rename = "mdns.service")]
    MdnsService,
    /// DHCP option 60.
    #[serde(rename = "dhcp.vendor-class")]
    DhcpVendorClass,
    /// The manufacturer's part of the MAC: a hint, never an identity.
    #[serde(rename = "oui")]
    Oui,
}

impl Source {
    /// The source's name in profiles, tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SipEvent => "sip.event",
            Self::SipUserAgent => "sip.user-agent",
            Self::SipUri => "sip.uri",
            Self::HttpUserAgent => "http.user-agent",
            Self::HttpPath => "http.path",
            Self::TftpPath => "tftp.path",
            Self::HttpTitle => "http.title",
            Self::HttpRealm => "http.realm",
            Self::HttpServer => "http.server",
            Self::HttpPage => "http.page",
            Self::TlsSubject => "tls.subject",
            Self::MdnsHost => "mdns.host",
            Self::MdnsService => "mdns.service",
            Self::DhcpVendorClass => "dhcp.vendor-class",
            Self::Oui => "oui",
        }
    }
}

/// By which service a phone was heard or asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Multicast SIP.
    Pnp,
    /// The phones' HTTP listener.
    Http,
    /// The phones' TLS listener.
    Https,
    /// TFTP.
    Tftp,
    /// DHCP, which it spoke with whoever answered it.
    Dhcp,
    /// What it was told while it ran.
    Push,
    /// A scan, which found it.
    Scan,
    /// SIP, by which it registers.
    Sip,
}

impl Channel {
    /// Every channel.
    const ALL: [Self; 8] =
        [Self::Pnp, Self::Http, Self::Https, Self::Tftp, Self::Dhcp, Self::Push, Self::Scan, Self::Sip];

    /// The channel's name in tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pnp => "pnp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Tftp => "tftp",
            Self::Dhcp => "dhcp",
            Self::Push => "push",
            Self::Scan => "scan",
            Self::Sip => "sip",
        }
    }
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|channel| channel.as_str() == text)
            .ok_or_else(|| format!("'{text}' is not a channel"))
    }
}

/// A phone was seen: who, where, by which service, when, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// Who, as far as the clues tell; `identity.mac` is always there when a sighting reaches the store.
    pub identity: Identity,
    /// From which address; 0.0.0.0 while it has none, or none that was heard.
    pub addr: IpAddr,
    /// By which service.
    pub channel: Channel,
    /// When.
    pub at: Timestamp,
    /// What became of it, in a word.
    pub step: Step,
    /// What became of it, in a few words for a person: `answered`, `pending`, `served 805ec0aabbcc.cfg`.
    pub outcome: String,
    /// What else is known of it; null where that is nothing.
    pub detail: serde_json::Value,
}
