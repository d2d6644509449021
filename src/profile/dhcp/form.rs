//! How one option is written: from the profile's texts to octets, and from octets to what stands in them.

use std::net::Ipv4Addr;

use super::endpoint::redacted;
use super::judge::Misformat;
use super::template::{Facts, Role, Template};
use super::{DhcpData, DhcpSetting};
use crate::profile::schema::WithoutScheme;

/// The end of a list of sub-options, and what fills it up.
const END: u8 = 255;
const PAD: u8 = 0;

/// An option of a vendor.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) shape: Shape,
    pub(super) without_scheme: WithoutScheme,
    /// Octets of text that the phone keeps, a trailing NUL not counted.
    pub(super) length_max: u8,
}

/// How its octets are laid out.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Text { text: Text, nul: bool },
    Addresses(Template),
    Integer { number: Template, octets: usize },
    Encapsulated { subs: Vec<Sub>, end: bool },
    VendorText { enterprise: u32, text: Text },
    VendorSubs { enterprise: u32, subs: Vec<Sub> },
    SipServers(Template),
}

/// A sub-option.
#[derive(Debug, Clone)]
pub(super) struct Sub {
    pub(super) code: u8,
    pub(super) form: Form,
    /// Whether we put it there.
    pub(super) given: bool,
}

/// A value in characters.
#[derive(Debug, Clone)]
pub(super) enum Text {
    One(Template),
    /// `NAME=value` and the like, each left out when a fact in it is not known.
    Parts {
        parts: Vec<Template>,
        separator: String,
    },
}

impl Text {
    pub(super) fn fill(&self, facts: &Facts<'_>) -> Option<String> {
        match self {
            Self::One(template) => template.fill(facts),
            Self::Parts { parts, separator } => {
                let filled = parts.iter().map(|part| (part.fill(facts), part.is_needed()));
                let known = filled.filter(|(text, needed)| text.is_some() || *needed).map(|(text, _)| text);
                let filled: Vec<String> = known.collect::<Option<_>>()?;
                Some(filled.join(separator))
            }
        }
    }

    pub(super) fn role(&self) -> Role {
        match self {
            Self::One(template) => template.role(),
            Self::Parts { parts, .. } => strongest(parts.iter().map(Template::role)),
        }
    }
}

fn strongest(roles: impl Iterator<Item = Role>) -> Role {
    let roles: Vec<Role> = roles.collect();
    let order = [Role::Server, Role::Vlan, Role::Registrar, Role::Port];
    order.into_iter().find(|role| roles.contains(role)).unwrap_or(Role::Fixed)
}

impl Form {
    /// What it is for: its server, when it names one.
    pub(super) fn role(&self) -> Role {
        match &self.shape {
            Shape::Text { text, .. } | Shape::VendorText { text, .. } => text.role(),
            Shape::Addresses(template)
            | Shape::SipServers(template)
            | Shape::Integer { number: template, .. } => template.role(),
            Shape::Encapsulated { subs, .. } | Shape::VendorSubs { subs, .. } => {
                strongest(subs.iter().map(|sub| sub.form.role()))
            }
        }
    }

    /// Its value at a place.
    pub(super) fn setting(&self, facts: &Facts<'_>) -> Option<DhcpSetting> {
        let (data, meaning) = match &self.shape {
            Shape::Text { text, nul } => {
                let text = text.fill(facts)?;
                let data = if *nul {
                    DhcpData::Octets([text.as_bytes(), &[0]].concat())
                } else {
                    DhcpData::Text(text.clone())
                };
                (data, text)
            }
            Shape::Addresses(template) => {
                let text = template.fill(facts)?;
                let addresses = text.split(',').map(|address| address.trim().parse().ok());
                (DhcpData::Addresses(addresses.collect::<Option<_>>()?), text)
            }
            Shape::Integer { number, octets } => {
                let text = number.fill(facts)?;
                let number: u32 = text.parse().ok()?;
                let octets = number.to_be_bytes().get(4usize.checked_sub(*octets)?..)?.to_vec();
                (DhcpData::Octets(octets), text)
            }
            Shape::Encapsulated { subs, end } => {
                let (mut octets, meaning) = written(subs, facts)?;
                octets.extend(end.then_some(END));
                (DhcpData::Octets(octets), meaning)
            }
            Shape::VendorText { enterprise, text } => {
                let text = text.fill(facts)?;
                (DhcpData::Octets(identified(*enterprise, text.as_bytes())?), text)
            }
            Shape::VendorSubs { enterprise, subs } => {
                let (octets, meaning) = written(subs, facts)?;
                (DhcpData::Octets(identified(*enterprise, &octets)?), meaning)
            }
            Shape::SipServers(template) => {
                let text = template.fill(facts)?;
                (DhcpData::Octets(sip_servers(&text)?), text)
            }
        };
        Some(DhcpSetting { data, meaning })
    }
}

/// The sub-options that are known at this place; nothing when none is but those that are the same everywhere.
fn written(subs: &[Sub], facts: &Facts<'_>) -> Option<(Vec<u8>, String)> {
    let mut octets = Vec::new();
    let mut meanings = Vec::new();
    let mut says_something = false;
    for sub in subs.iter().filter(|sub| sub.given) {
        let setting = match (sub.form.setting(facts), sub.form.role()) {
            (Some(setting), _) => setting,
            (None, Role::Server | Role::Port) => return None,
            (None, _) => continue,
        };
        let value = setting.data.octets();
        octets.extend([sub.code, u8::try_from(value.len()).ok()?]);
        octets.extend(value);
        meanings.push(format!("{} \"{}\"", sub.code, setting.meaning));
        says_something |= sub.form.role() != Role::Fixed;
    }
    says_something.then(|| (octets, meanings.join(", ")))
}

/// RFC 3925, 4: enterprise number, length, data.
fn identified(enterprise: u32, data: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(data.len()).ok()?;
    Some([&enterprise.to_be_bytes()[..], &[length], data].concat())
}

/// RFC 3361, 3: octet 1 and addresses, or octet 0 and names in labels.
fn sip_servers(text: &str) -> Option<Vec<u8>> {
    let servers: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(addresses) =
        servers.iter().map(|server| server.parse().ok()).collect::<Option<Vec<Ipv4Addr>>>()
    {
        return Some(std::iter::once(1).chain(addresses.iter().flat_map(Ipv4Addr::octets)).collect());
    }
    let mut octets = vec![0];
    for server in servers {
        for label in server.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            octets.push(length);
            octets.extend(label.as_bytes());
        }
        octets.push(0);
    }
    Some(octets)
}

/// A text as the phone reads it: trailing NULs are no part of it.
pub(super) fn text_of(octets: &[u8]) -> Result<&str, Misformat> {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
    let text = octets.get(..end).unwrap_or_default();
    if text.is_empty() {
        return Err(Misformat::Empty);
    }
    let no_text = || if sub_options(octets).is_ok() { Misformat::SubOptions } else { Misformat::NotText };
    let text = std::str::from_utf8(text).map_err(|_| no_text())?;
    let end = text.trim_end_matches(['\r', '\n', ' ', '\t']);
    if end.len() < text.len() {
        return Err(if end.is_empty() { Misformat::Empty } else { Misformat::Blank });
    }
    if text.contains(char::is_control) { Err(no_text()) } else { Ok(text) }
}

/// The addresses of a list (RFC 5859).
pub(super) fn addresses_of(octets: &[u8]) -> Result<Vec<Ipv4Addr>, Misformat> {
    if octets.is_empty() {
        return Err(Misformat::Empty);
    }
    if looks_like_text(octets) {
        return Err(Misformat::TextNotAddresses);
    }
    let (addresses, rest) = octets.as_chunks::<4>();
    if rest.is_empty() {
        Ok(addresses.iter().map(|address| Ipv4Addr::from(*address)).collect())
    } else {
        Err(Misformat::AddressLength)
    }
}

/// `192.0.2.1`, a name or a URL: no list of addresses of sensible hosts reads like that.
fn looks_like_text(octets: &[u8]) -> bool {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
    let text = octets.get(..end).unwrap_or_default();
    let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || b".:/-_{}$\"".contains(octet);
    text.len() > 4 && text.iter().all(is_letter)
}

/// Codes and values of encapsulated sub-options (RFC 2132, 8.4).
pub(super) fn sub_options(octets: &[u8]) -> Result<Vec<(u8, &[u8])>, Misformat> {
    let mut subs = Vec::new();
    let mut rest = octets;
    while let [code, behind @ ..] = rest {
        rest = behind;
        match *code {
            PAD => continue,
            END => break,
            _ => {}
        }
        let [length, behind @ ..] = rest else { return Err(misformat_of_subs(octets)) };
        let Some((value, behind)) = behind.split_at_checked(usize::from(*length)) else {
            return Err(misformat_of_subs(octets));
        };
        subs.push((*code, value));
        rest = behind;
    }
    if subs.is_empty() {
        return Err(Misformat::Empty);
    }
    // A text may have lengths in it by chance, but then all of it is text.
    if looks_like_text(octets) { Err(Misformat::BareText) } else { Ok(subs) }
}

fn misformat_of_subs(octets: &[u8]) -> Misformat {
    let is_text = octets.iter().all(|octet| (0x20..0x7f).contains(octet) || *octet == 0);
    if is_text { Misformat::BareText } else { Misformat::SubOptionLength }
}

/// The data of one enterprise in a list of them; `None` when others only are there.
pub(super) fn of_enterprise(octets: &[u8], enterprise: u32) -> Result<Option<&[u8]>, Misformat> {
    if octets.is_empty() {
        return Err(Misformat::Empty);
    }
    let mut rest = octets;
    let mut found = None;
    while !rest.is_empty() {
        let Some((number, [length, behind @ ..])) = rest.split_first_chunk::<4>() else {
            return Err(Misformat::EnterpriseLength);
        };
        let Some((data, behind)) = behind.split_at_checked(usize::from(*length)) else {
            return Err(Misformat::EnterpriseLength);
        };
        if u32::from_be_bytes(*number) == enterprise {
            found = found.or(Some(data));
        }
        rest = behind;
    }
    Ok(found)
}

/// The servers of an option 120.
pub(super) fn sip_servers_of(octets: &[u8]) -> Result<Vec<String>, Misformat> {
    let [encoding, rest @ ..] = octets else { return Err(Misformat::Empty) };
    match encoding {
        _ if looks_like_text(octets) => Err(Misformat::TextNotSipServers),
        1 => Ok(addresses_of(rest)?.iter().map(Ipv4Addr::to_string).collect()),
        0 => names_of(rest).ok_or(Misformat::NotSipServers),
        _ => Err(Misformat::NotSipServers),
    }
}

fn names_of(octets: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    let mut rest = octets;
    while let [length, behind @ ..] = rest {
        let (label, behind) = behind.split_at_checked(usize::from(*length))?;
        rest = behind;
        if label.is_empty() {
            names.push(std::mem::take(&mut labels).join("."));
        } else {
            labels.push(redacted(&String::from_utf8_lossy(label)));
        }
    }
    (labels.is_empty() && !names.is_empty() && names.iter().all(|name| !name.is_empty())).then_some(names)
}
