//! What a vendor's phones read from DHCP: which options they ask for, what has to stand in which, and what they would
//! make of an answer. Octets in, octets out; never sends, never waits.

mod class;
mod destination;
mod endpoint;
mod form;
mod judge;
mod read;
mod shown;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

pub use class::{ClassText, MacStart};
pub use endpoint::redacted;
pub use judge::{DhcpFinding, DhcpVerdict, Judgement, Misformat};
pub use shown::shown_option;

use form::Form;
use template::Facts;

use super::Profile;

/// What every client asks for: mask, router, name servers, domain.
const ASKED_BY_ALL: [u8; 4] = [1, 3, 6, 15];

/// What a vendor's phones read from DHCP.
#[derive(Debug, Clone, Default)]
pub struct Dhcp {
    order: Vec<u8>,
    gives: BTreeSet<u8>,
    inform: bool,
    ask: Vec<u8>,
    inform_ask: Vec<u8>,
    vendor_classes: Vec<Vec<u8>>,
    /// The option whose value the phone appends to the server's address.
    file: Option<u8>,
    forms: BTreeMap<u8, Form>,
}

impl Dhcp {
    /// The options in which the phones look for their server, the preferred one first.
    pub fn options(&self) -> &[u8] {
        &self.order
    }

    /// The options that have a value to give them.
    pub fn gives(&self) -> impl Iterator<Item = u8> + '_ {
        self.gives.iter().copied()
    }

    /// Whether they also ask by DHCPINFORM.
    pub fn inform(&self) -> bool {
        self.inform
    }

    /// Option 55 of their DISCOVER and REQUEST.
    pub fn ask(&self) -> &[u8] {
        &self.ask
    }

    /// Option 55 of their DHCPINFORM.
    pub fn inform_ask(&self) -> &[u8] {
        &self.inform_ask
    }

    /// What stands in their option 60, a text for each kind of phone that is known; nothing when they send none.
    pub fn vendor_classes(&self) -> &[Vec<u8>] {
        &self.vendor_classes
    }
}

/// Where the agent is, as phones of one network see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpPlace {
    /// Its address.
    pub host: Ipv4Addr,
    /// Other addresses and names that lead to it, in small letters.
    pub names: Vec<String>,
    /// `http://192.0.2.1:8480/`, where it serves files by HTTP.
    pub base_http: Option<String>,
    /// The same by HTTPS; phones are sent there only where there is no HTTP.
    pub base_https: Option<String>,
    /// `tftp://192.0.2.1/`, where it serves files by TFTP.
    pub base_tftp: Option<String>,
    /// The VLAN that phones shall be in.
    pub vlan: Option<u16>,
    /// And its priority.
    pub vlan_priority: Option<u8>,
    /// The SIP registrar, `host` or `host:port`.
    pub registrar: Option<String>,
}

impl DhcpPlace {
    /// An address and nothing else.
    pub fn at(host: Ipv4Addr) -> Self {
        Self {
            host,
            names: Vec::new(),
            base_http: None,
            base_https: None,
            base_tftp: None,
            vlan: None,
            vlan_priority: None,
            registrar: None,
        }
    }
}

/// What an option's value is, so that a server can be told it in its own syntax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DhcpData {
    /// Exactly these characters.
    Text(String),
    /// IPv4 addresses.
    Addresses(Vec<Ipv4Addr>),
    /// Octets that only hexadecimal digits can write.
    Octets(Vec<u8>),
}

impl DhcpData {
    /// As it stands in the packet.
    pub fn octets(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Addresses(addresses) => addresses.iter().flat_map(Ipv4Addr::octets).collect(),
            Self::Octets(octets) => octets.clone(),
        }
    }
}

/// An option's value, and in words what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DhcpSetting {
    /// The value.
    pub data: DhcpData,
    /// `66 "http://192.0.2.1:8480/", 132 "20"` for sub-options, otherwise the value as a person writes it.
    pub meaning: String,
}

impl Profile {
    /// What to put into which option for these phones, at this place. An option whose value needs a fact that is not
    /// known there (no VLAN, no TFTP) is left out.
    pub fn dhcp_settings(&self, place: &DhcpPlace) -> BTreeMap<u8, DhcpSetting> {
        let Some(dhcp) = &self.dhcp else { return BTreeMap::new() };
        let facts = self.dhcp_facts(place);
        let given =
            dhcp.gives.iter().filter_map(|code| Some((*code, dhcp.forms.get(code)?.setting(&facts)?)));
        given.collect()
    }

    /// The same as octets.
    pub fn dhcp_values(&self, place: &DhcpPlace) -> BTreeMap<u8, Vec<u8>> {
        let settings = self.dhcp_settings(place);
        settings.into_iter().map(|(code, setting)| (code, setting.data.octets())).collect()
    }

    fn dhcp_facts<'p>(&self, place: &'p DhcpPlace) -> Facts<'p> {
        let tftp = place.base_tftp.as_deref().filter(|_| self.reach.tftp);
        let base = place.base_http.as_deref().or(place.base_https.as_deref()).or(tftp);
        Facts { place, base }
    }
}

/// An option 60 as a text that patterns can read: without trailing NULs, and with a blank for each octet that is no
/// character (some phones send a binary layout with texts in it).
pub fn class_text(octets: &[u8]) -> String {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
    let octets = octets.get(..end).unwrap_or_default();
    match std::str::from_utf8(octets) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => {
            let char = |octet: &u8| if (0x20..0x7f).contains(octet) { char::from(*octet) } else { ' ' };
            octets.iter().map(char).collect()
        }
    }
}

/// Octets as people write them: `42:1d:68`.
pub fn colons(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests;
