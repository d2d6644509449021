//! By which names and addresses this host is asked, as a certificate holds them, and for which ones our authority may
//! issue any. Never looks a name up.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::SanType;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};

use crate::config::HostName;
use crate::net::interfaces::Table;

/// Networks that nobody owns (RFC 1918, 3927, 4193, 4291, 6598) and this host itself: address and length.
const PRIVATE: [(IpAddr, u8); 9] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];
/// Names that stand for no host of the public net (RFC 6761, 6762, 8375, and what people use).
const LOCAL: [&str; 5] = ["localhost", "local", "lan", "internal", "home.arpa"];

/// A name or address of a host, as it may stand in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Name {
    /// An address.
    Address(IpAddr),
    /// A DNS name, in lower case.
    Host(String),
}

impl std::str::FromStr for Name {
    /// What it is instead.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        if text.len() > 253 || !text.split('.').all(is_label) {
            return Err(format!(
                "'{text}' is neither an address nor a host name; write pbx.lan or 192.0.2.1"
            ));
        }
        Ok(Self::Host(text.to_ascii_lowercase()))
    }
}

/// The names and addresses of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeSet<Name>);

impl Names {
    /// This host's: the addresses of its interfaces, its own name, what it is called besides, and itself as it sees
    /// itself.
    pub fn of(table: &Table, host: &str, besides: &[HostName]) -> Self {
        let addresses = table.interfaces().iter().flat_map(|interface| &interface.addresses);
        let addresses = addresses.map(|(address, _)| Name::Address(IpAddr::V4(*address)));
        let itself = [Name::Address(Ipv4Addr::LOCALHOST.into()), Name::Host("localhost".to_owned())];
        let called = std::iter::once(host).chain(besides.iter().map(HostName::as_str));
        // A name that cannot stand in a certificate is nobody's way here.
        let called = called.filter_map(|name| name.parse().ok());
        Self(addresses.chain(itself).chain(called).collect())
    }

    /// Those in a certificate.
    pub(super) fn in_certificate(certificate: &X509Certificate<'_>) -> Self {
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
        Self(names.filter_map(name_of).collect())
    }

    /// Whether all of these are among `others`.
    pub(super) fn are_in(&self, others: &Self) -> bool {
        self.0.is_subset(&others.0)
    }

    /// As they are written into a certificate.
    pub(super) fn alternatives(&self) -> Vec<SanType> {
        let written = |name: &Name| match name {
            Name::Address(address) => Some(SanType::IpAddress(*address)),
            Name::Host(name) => name.as_str().try_into().ok().map(SanType::DnsName),
        };
        self.0.iter().filter_map(written).collect()
    }

    /// Those that an authority with this certificate may issue for, and those that it may not.
    pub(super) fn permitted_by(&self, authority: &X509Certificate<'_>) -> (Self, Self) {
        let constraints = authority.name_constraints().ok().flatten();
        let Some(subtrees) = constraints.and_then(|found| found.value.permitted_subtrees.as_ref()) else {
            return (self.clone(), Self::default());
        };
        let (permitted, others) =
            self.0.iter().cloned().partition(|name| subtrees.iter().any(|subtree| covers(subtree, name)));
        (Self(permitted), Self(others))
    }

    /// The extension that keeps an authority from being worth more than this host: whoever steals its key can issue
    /// for private addresses and local names, and for no bank (RFC 5280, 4.2.1.10). The extension's content, in DER.
    pub(super) fn constraints(&self) -> Vec<u8> {
        let own = |(address, length): &(IpAddr, u8)| {
            der(0x87, &[octets(*address), mask(*address, *length)].concat())
        };
        let named = |name: &str| der(0x82, name.as_bytes());
        let written = |name: &Name| match name {
            Name::Address(address) if is_private(*address) => None,
            Name::Address(address) => Some(own(&(*address, if address.is_ipv4() { 32 } else { 128 }))),
            Name::Host(name) => Some(named(name)),
        };
        let bases = PRIVATE
            .iter()
            .map(own)
            .chain(LOCAL.into_iter().map(named))
            .chain(self.0.iter().filter_map(written));
        let subtrees: Vec<u8> = bases.flat_map(|base| der(0x30, &base)).collect();
        der(0x30, &der(0xa0, &subtrees))
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            match name {
                Name::Address(address) => write!(f, "{comma}{address}")?,
                Name::Host(name) => write!(f, "{comma}{name}")?,
            }
        }
        Ok(())
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Host(name.to_ascii_lowercase())),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| Name::Address(octets.into())),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|octets| Name::Address(octets.into())),
            _ => None,
        },
        _ => None,
    }
}

fn covers(subtree: &GeneralSubtree<'_>, name: &Name) -> bool {
    match (&subtree.base, name) {
        (GeneralName::DNSName(base), Name::Host(name)) => {
            name == base || name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
        }
        (GeneralName::IPAddress(base), Name::Address(address)) => {
            let address = octets(*address);
            let (network, mask) = base.split_at(base.len() / 2);
            network.len() == address.len()
                && network
                    .iter()
                    .zip(mask)
                    .zip(&address)
                    .all(|((net, mask), octet)| octet & mask == net & mask)
        }
        _ => false,
    }
}

fn is_private(address: IpAddr) -> bool {
    let inside = |(network, length): &(IpAddr, u8)| {
        let (network, mask, address) = (octets(*network), mask(*network, *length), octets(address));
        network.len() == address.len()
            && network.iter().zip(&mask).zip(&address).all(|((net, mask), octet)| octet & mask == *net)
    };
    PRIVATE.iter().any(inside)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The mask of so many bits, as long as the address.
fn mask(address: IpAddr, length: u8) -> Vec<u8> {
    let bits = |place: u8| 8_u8.min(length.saturating_sub(place * 8));
    let octet = |place: u8| u8::MAX.checked_shl(u32::from(8 - bits(place))).unwrap_or(0);
    (0..if address.is_ipv4() { 4 } else { 16 }).map(octet).collect()
}

/// One value of DER: its tag, the length of its content, its content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    let mut written = vec![tag];
    match length.as_slice() {
        [] => written.push(0),
        [short] if *short < 128 => written.push(*short),
        long => {
            written.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            written.extend(long);
        }
    }
    written.extend(content);
    written
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::NameConstraints;
    use x509_parser::prelude::FromDer as _;

    use super::*;

    fn names(list: &[&str]) -> Names {
        Names(list.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn a_host_name_is_a_name_or_an_address() {
        for (text, expected) in [
            ("PBX.lan", Some(Name::Host("pbx.lan".to_owned()))),
            ("pbx", Some(Name::Host("pbx".to_owned()))),
            ("192.0.2.1", Some(Name::Address(IpAddr::from([192, 0, 2, 1])))),
            ("::ffff:192.0.2.1", Some(Name::Address(IpAddr::from([192, 0, 2, 1])))),
            ("fe80::1", Some(Name::Address("fe80::1".parse().unwrap()))),
            ("", None),
            ("*.lan", None),
            ("a..b", None),
            ("-a", None),
            ("https://pbx.lan", None),
            ("p b x", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn constraints_are_read_as_they_were_written() {
        let own = names(&["pbx.example.com", "192.168.1.35", "203.0.113.7", "2001:db8::7"]);
        let written = own.constraints();
        let (rest, constraints) = NameConstraints::from_der(&written).unwrap();
        assert!(rest.is_empty());
        let subtrees = constraints.permitted_subtrees.unwrap();
        let check = |name: &str, expected| {
            let name = name.parse().unwrap();
            assert_eq!(subtrees.iter().any(|subtree| covers(subtree, &name)), expected, "{name:?}");
        };
        for own in
            ["pbx.example.com", "a.pbx.example.com", "phones.lan", "localhost", "10.1.2.3", "172.31.0.1"]
        {
            check(own, true);
        }
        for own in ["203.0.113.7", "2001:db8::7", "fe80::1", "fd12::9", "::1", "169.254.3.4"] {
            check(own, true);
        }
        for foreign in
            ["example.com", "xpbx.example.com", "bank.example", "203.0.113.8", "172.32.0.1", "2001:db8::8"]
        {
            check(foreign, false);
        }
    }

    #[test]
    fn a_length_is_written_as_der_wants_it() {
        assert_eq!(der(4, &[]), [4, 0]);
        assert_eq!(der(4, &[7; 127])[..3], [4, 127, 7]);
        assert_eq!(der(4, &[7; 128])[..4], [4, 0x81, 128, 7]);
        assert_eq!(der(4, &[7; 300])[..5], [4, 0x82, 1, 44, 7]);
        assert_eq!(mask(IpAddr::from([0; 4]), 12), [255, 240, 0, 0]);
        assert_eq!(mask(IpAddr::from([0; 4]), 32), [255; 4]);
    }
}
