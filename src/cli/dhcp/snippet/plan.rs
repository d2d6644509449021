//! What is to be said to whom, whatever the server: vendors, how a server knows their phones, and the options with their
//! values. Pure; the same inventory gives the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::profile::{ClassText, DhcpData, DhcpPlace, DhcpSetting, MacStart, Profile, colons};

/// Everything that a snippet says.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    /// The agent as the phones reach it.
    pub(super) host: Ipv4Addr,
    /// The VLAN that the phones are told, where the site has one.
    pub(super) vlan: Option<u16>,
    /// Vendor by vendor.
    #[serde(rename = "vendors")]
    pub(super) groups: Vec<Group>,
    #[serde(skip)]
    pub(super) place: DhcpPlace,
}

/// One vendor's phones.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    /// The vendor, and what its class is named after: letters, digits and `-`.
    #[serde(rename = "vendor")]
    pub(super) tag: String,
    /// The vendor for people.
    #[serde(rename = "display_name")]
    pub(super) name: String,
    /// What their option 60 begins with or holds.
    pub(super) classes: Vec<ClassText>,
    /// What their addresses begin with.
    #[serde(serialize_with = "as_colons")]
    pub(super) macs: Vec<Vec<u8>>,
    /// What they are told.
    #[serde(serialize_with = "as_rows")]
    pub(super) options: BTreeMap<u8, DhcpSetting>,
    #[serde(skip)]
    pub(super) profile: Arc<Profile>,
}

/// Something that a phone of a vendor shows to a DHCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its option 60 begins with this.
    Begins(String),
    /// Its option 60 holds this somewhere.
    Holds(String),
    /// The first octets of its address.
    Mac(Vec<u8>),
}

impl Plan {
    /// The plan for these vendors, as far as there is something to tell their phones here.
    pub(super) fn new(profiles: &[Arc<Profile>], place: &DhcpPlace) -> Self {
        let groups = profiles.iter().filter_map(|profile| Group::new(profile, place)).collect();
        Self { host: place.host, vlan: place.vlan, groups, place: place.clone() }
    }

    /// The first lines of every snippet, each behind the server's sign of a comment.
    pub(super) fn head(&self, sign: &str, server: &str, lines: &[&str]) -> String {
        let names: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        let mut text = vec![
            format!("DHCP options for phones, by: offhook dhcp snippet {server}"),
            format!("They lead {} to {}.", listed(&names), self.host),
        ];
        if let Some(vlan) = self.vlan {
            text.push(format!(
                "Phones that read a VLAN from DHCP are sent to VLAN {vlan}: it needs the same options."
            ));
        }
        text.extend(lines.iter().map(|line| (*line).to_owned()));
        text.push("Afterwards, to see what each vendor's phone makes of it: offhook dhcp verify".to_owned());
        let lines: Vec<String> = text.iter().map(|line| format!("{sign} {line}")).collect();
        lines.join("\n") + "\n"
    }
}

impl Group {
    fn new(profile: &Arc<Profile>, place: &DhcpPlace) -> Option<Self> {
        let options = profile.dhcp_settings(place);
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        (!options.is_empty()).then(|| Self {
            tag: profile.vendor().as_str().chars().map(letter).collect(),
            name: profile.display_name().replace(char::is_control, " "),
            classes: profile.class_texts(),
            macs: profile.mac_starts().into_iter().map(|MacStart(octets)| octets).collect(),
            options,
            profile: Arc::clone(profile),
        })
    }

    /// How a server knows these phones: by their option 60, and only where that says nothing by their address. `holds`:
    /// whether it can look for a text anywhere in option 60. Where it cannot, those phones are known that begin with it,
    /// and the others by their address.
    pub(super) fn marks(&self, holds: bool) -> Vec<Mark> {
        let classes = self.classes.iter().map(|class| {
            let mark = if class.at_start || !holds { Mark::Begins } else { Mark::Holds };
            mark(class.text.clone())
        });
        let mut marks: Vec<Mark> = classes.collect();
        if marks.is_empty() || (!holds && self.classes.iter().any(|class| !class.at_start)) {
            marks.extend(self.macs.iter().cloned().map(Mark::Mac));
        }
        marks
    }

    /// Who they are and where they look, for a comment.
    pub(super) fn title(&self) -> String {
        let order: Vec<String> =
            self.profile.dhcp().iter().flat_map(|dhcp| dhcp.options()).map(u8::to_string).collect();
        let order: Vec<&str> = order.iter().map(String::as_str).collect();
        let first = if order.len() > 1 { ", the first of them that is there" } else { "" };
        format!("{}: its phones look into {}{first}.", self.name, listed(&order))
    }

    /// Why this server cannot be told about them.
    pub(super) fn unknowable(&self) -> String {
        format!("{}: nothing in a DHCP request tells these phones; enter them one by one.", self.name)
    }
}

/// What an option says, for a comment.
pub(super) fn about(code: u8, setting: &DhcpSetting) -> String {
    format!("{code} ({}): {}", what(code), setting.meaning.trim_end())
}

fn what(code: u8) -> &'static str {
    match code {
        43 => "vendor specific",
        66 => "TFTP server name",
        67 => "boot file name",
        114 => "URL",
        120 => "SIP servers",
        125 => "vendor identifying",
        132 => "VLAN",
        133 => "VLAN priority",
        150 => "TFTP servers",
        _ => "site specific",
    }
}

/// `a, b and c`
pub(super) fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `421d68`
pub(super) fn digits(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut digits, octet| {
        let _ = write!(digits, "{octet:02x}");
        digits
    })
}

/// A text of printable ASCII without any of these characters; every other is written in hexadecimal digits.
pub(super) fn plain<'t>(data: &'t DhcpData, forbidden: &str) -> Option<&'t str> {
    match data {
        DhcpData::Text(text) if is_plain(text, forbidden) => Some(text),
        _ => None,
    }
}

/// Printable ASCII without any of these characters.
pub(super) fn is_plain(text: &str, forbidden: &str) -> bool {
    text.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && !forbidden.contains(c))
}

fn as_colons<S: Serializer>(macs: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(macs.iter().map(|octets| colons(octets)))
}

fn as_rows<S: Serializer>(options: &BTreeMap<u8, DhcpSetting>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'o> {
        code: u8,
        meaning: &'o str,
        octets: String,
    }
    let row = |(code, setting): (&u8, &'_ DhcpSetting)| (*code, colons(&setting.data.octets()));
    let octets: Vec<(u8, String)> = options.iter().map(row).collect();
    let rows = octets.into_iter().zip(options.values());
    serializer.collect_seq(rows.map(|((code, octets), setting)| Row {
        code,
        meaning: &setting.meaning,
        octets,
    }))
}
