//! The nouns: what a phone is, which accounts and keys it has, and where it was seen. No behaviour beyond reading and
//! writing their texts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::secret::{Sealed, SecretKind};

/// A phone's hardware address. Never a group address and never all zeros: those are not phones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Why a text is not a phone's MAC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not twelve hexadecimal digits with `:`, `-`, `.` or nothing between them.
    #[error(
        "'{0}' is not a MAC address; write twelve hexadecimal digits, with ':', '-', '.' or nothing between them"
    )]
    Syntax(String),
    /// A group address or all zeros.
    #[error("'{0}' is a group or null address, not a phone's")]
    NotADevice(String),
}

impl Mac {
    /// The address from its six octets; `None` for a group address or all zeros.
    pub fn new(octets: [u8; 6]) -> Option<Self> {
        let [first, ..] = octets;
        (first & 1 == 0 && octets != [0; 6]).then_some(Self(octets))
    }

    /// The six octets.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Twelve lower-case digits without separators, as most phones name their files.
    pub fn bare(self) -> String {
        self.0.map(|octet| format!("{octet:02x}")).concat()
    }

    /// Whether a local administrator, not a manufacturer, gave this address.
    pub fn is_locally_administered(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// The address as a number, to compare it with a range.
    pub fn as_u64(self) -> u64 {
        self.0.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Reads `00:15:65:f4:f9:e1`, `00-15-65-F4-F9-E1`, `0015.65f4.f9e1` and `001565f4f9e1`; separators only between
    /// whole groups of two or four digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || MacError::Syntax(text.chars().take(40).collect());
        let separator = text.chars().find(|c| !c.is_ascii_hexdigit());
        let groups: Vec<&str> = match separator {
            None => vec![text],
            Some(separator @ (':' | '-' | '.')) => text.split(separator).collect(),
            Some(_) => return Err(syntax()),
        };
        let whole = matches!(groups.len(), 1 | 3 | 6) && groups.iter().all(|g| g.len() == 12 / groups.len());
        let digits: Vec<u8> = groups
            .iter()
            .flat_map(|group| group.chars())
            .filter_map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        if !whole || digits.len() != 12 {
            return Err(syntax());
        }
        let mut octets = [0u8; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        }
        Self::new(octets).ok_or_else(|| MacError::NotADevice(text.to_owned()))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.map(|octet| format!("{octet:02x}"));
        f.write_str(&octets.join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

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

/// How SIP travels between phone and registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl Transport {
    /// The name in tables, profiles and URIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            _ => Err(format!("'{text}' is not a SIP transport; use udp, tcp or tls")),
        }
    }
}

/// Whether speech is encrypted (RFC 3711).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Never.
    #[default]
    Off,
    /// Where the other side can.
    Optional,
    /// Always; calls without it fail.
    Mandatory,
}

impl Srtp {
    /// The name in tables and profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Mandatory => "mandatory",
        }
    }
}

impl FromStr for Srtp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "optional" => Ok(Self::Optional),
            "mandatory" => Ok(Self::Mandatory),
            _ => Err(format!("'{text}' is not an SRTP mode; use off, optional or mandatory")),
        }
    }
}

/// A SIP account. Its password is sealed; only the desk opens it, for the phone it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The row's number in the store.
    pub id: i64,
    /// The user part of the address of record.
    pub username: String,
    /// The name in the digest; the user name where the PBX makes no difference.
    pub auth_id: String,
    /// What the callee's display shows.
    pub display_name: Option<String>,
    /// Host, or `host:port`; `sip.registrar` where none is given.
    pub registrar: Option<String>,
    /// `sip.transport` where none is given.
    pub transport: Option<Transport>,
    /// Host, or `host:port`.
    pub outbound_proxy: Option<String>,
    /// Off where none is given.
    pub srtp: Option<Srtp>,
    /// Counts the passwords this account has had; 0 while it has none.
    pub password_version: i64,
    /// The password, sealed.
    pub password: Option<Sealed>,
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

/// What a function key does, in words of no vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Takes the line given as value (or the next free one).
    Line,
    /// Busy lamp field: watches an extension, dials and picks up.
    Blf,
    /// Dials a number.
    SpeedDial,
    /// Parks a call in, or takes it from, an orbit.
    Park,
    /// Picks up a call of a group or extension.
    Pickup,
    /// Forwards to a number.
    Forward,
    /// Do not disturb.
    Dnd,
    /// Sends DTMF digits.
    Dtmf,
    /// Calls with immediate answer.
    Intercom,
    /// Transfers the call to a number.
    Transfer,
    /// Opens the directory.
    Directory,
    /// Requests a URL.
    Url,
    /// Opens an XML page.
    Xml,
    /// Empty on purpose.
    None,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Line,
        Self::Blf,
        Self::SpeedDial,
        Self::Park,
        Self::Pickup,
        Self::Forward,
        Self::Dnd,
        Self::Dtmf,
        Self::Intercom,
        Self::Transfer,
        Self::Directory,
        Self::Url,
        Self::Xml,
        Self::None,
    ];

    /// The kind's name in tables and profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Blf => "blf",
            Self::SpeedDial => "speed_dial",
            Self::Park => "park",
            Self::Pickup => "pickup",
            Self::Forward => "forward",
            Self::Dnd => "dnd",
            Self::Dtmf => "dtmf",
            Self::Intercom => "intercom",
            Self::Transfer => "transfer",
            Self::Directory => "directory",
            Self::Url => "url",
            Self::Xml => "xml",
            Self::None => "none",
        }
    }
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text.to_ascii_lowercase().replace('-', "_"))
            .ok_or_else(|| format!("'{text}' is not a kind of key; use one of {}", known()))
    }
}

/// A function key of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Counted from 1, the vendor's first programmable key.
    pub number: u16,
    /// What it does.
    pub kind: KeyKind,
    /// Number, extension, orbit, digits or URL, as the kind wants it; empty where it wants none.
    pub value: String,
    /// What the phone shows beside it.
    pub label: String,
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
    /// TFTP.
    Tftp,
}

impl Channel {
    /// The channel's name in tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pnp => "pnp",
            Self::Http => "http",
            Self::Tftp => "tftp",
        }
    }
}

/// A phone was seen: who, where, by which service, when, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// Who, as far as the clues tell; `identity.mac` is always there when a sighting reaches the store.
    pub identity: Identity,
    /// From which address.
    pub addr: IpAddr,
    /// By which service.
    pub channel: Channel,
    /// When.
    pub at: Timestamp,
    /// What became of it, in a few words for a person: `answered`, `pending`, `served 805ec0aabbcc.cfg`.
    pub outcome: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_in_every_usual_form() {
        let expected = Mac::new([0x00, 0x15, 0x65, 0xf4, 0xf9, 0xe1]).unwrap();
        for text in ["00:15:65:f4:f9:e1", "00-15-65-F4-F9-E1", "0015.65f4.f9e1", "001565F4F9E1"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "00:15:65:f4:f9:e1");
        assert_eq!(expected.bare(), "001565f4f9e1");
        assert_eq!(expected.as_u64(), 0x0015_65f4_f9e1);
    }

    #[test]
    fn what_is_not_a_phone_is_refused() {
        for text in
            ["", "00:15:65:f4:f9", "0:15:65:f4:f9:e1", "00:15-65:f4:f9:e1", "00156 5f4f9e1", "é0156 5f4f9e"]
        {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::Syntax(_))), "{text}");
        }
        for text in ["000000000000", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:01:4b"] {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::NotADevice(_))), "{text}");
        }
    }

    #[test]
    fn names_survive_a_round_trip() {
        for kind in KeyKind::ALL {
            assert_eq!(kind.as_str().parse::<KeyKind>(), Ok(kind));
        }
        assert_eq!("speed-dial".parse(), Ok(KeyKind::SpeedDial));
        assert_eq!("TLS".parse(), Ok(Transport::Tls));
        assert!("sctp".parse::<Transport>().is_err());
    }
}
