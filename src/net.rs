//! The network as this host sees it: interfaces and their addresses, who is on a link, sockets that know where a
//! datagram arrived, limits per source. No protocol of a phone is known here.

pub mod arp;
pub mod crowd;
mod frame;
pub mod interfaces;
pub mod limit;
pub mod neighbours;
pub mod packet;
pub mod ping;
pub mod raw;
pub mod sink;
pub(crate) mod sip;
pub mod sys;
pub mod udp;
pub mod wire;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Deserialize;

/// An IPv4 network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: Ipv4Addr,
    bits: u8,
}

impl Prefix {
    /// `None` when `bits` is over 32.
    pub fn new(address: Ipv4Addr, bits: u8) -> Option<Self> {
        (bits <= 32).then_some(Self { address, bits })
    }

    /// Whether the address lies in this network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (u32::from(self.address) ^ u32::from(address)) & self.mask() == 0
    }

    /// Its first address, the network's own.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// Its last address, everybody's.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !self.mask())
    }

    /// How many of an address's bits are this network's.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// How many addresses it has.
    pub fn size(self) -> u64 {
        u64::from(!self.mask()) + 1
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        address
            .parse()
            .ok()
            .zip(bits.parse().ok())
            .and_then(|(address, bits)| Self::new(address, bits))
            .ok_or_else(|| format!("'{text}' is not an IPv4 network; write 192.168.1.0/24"))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_contains_its_own() {
        let prefix: Prefix = "192.168.1.77/24".parse().unwrap();
        assert!(prefix.contains(Ipv4Addr::new(192, 168, 1, 200)));
        assert!(!prefix.contains(Ipv4Addr::new(192, 168, 2, 1)));
        assert!("0.0.0.0/0".parse::<Prefix>().unwrap().contains(Ipv4Addr::new(8, 8, 8, 8)));
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
        assert_eq!((prefix.first(), prefix.size()), (Ipv4Addr::new(192, 168, 1, 0), 256));
        assert_eq!(prefix.last(), Ipv4Addr::new(192, 168, 1, 255));
        assert_eq!("0.0.0.0/0".parse::<Prefix>().unwrap().size(), 1 << 32);
    }
}
