//! A network and its clients' messages, for the tests of this room.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::Packet;
use super::decide::{Standing, Who};
use super::message::{Draft, Kind, Message, code};
use crate::device::Mac;
use crate::net::Prefix;
use crate::net::interfaces::{Interface, Table};

pub(super) const INTERFACE: u32 = 3;
pub(super) const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 40, 1);
/// Ours on another interface.
pub(super) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
pub(super) const FOREIGN: Ipv4Addr = Ipv4Addr::new(192, 168, 40, 254);

pub(super) fn prefix() -> Prefix {
    Prefix::new(OURS, 24).unwrap()
}

pub(super) fn table() -> Arc<Table> {
    table_at(OURS)
}

/// Of a host that has this address there.
pub(super) fn table_at(ours: Ipv4Addr) -> Arc<Table> {
    let interface = |index, name: &str, address| Interface {
        index,
        name: name.to_owned(),
        mac: None,
        addresses: vec![(address, Prefix::new(address, 24).unwrap())],
        up: true,
        multicast: true,
        loopback: false,
    };
    Arc::new(Table::of(vec![interface(INTERFACE, "voice", ours), interface(4, "other", ELSEWHERE)]))
}

/// The last octet of an address of the network.
pub(super) fn address(last: u8) -> Ipv4Addr {
    let [a, b, c, _] = OURS.octets();
    Ipv4Addr::new(a, b, c, last)
}

/// A phone's hardware address.
pub(super) fn mac(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac::new([0, 4, 0x13, a, b, c]).unwrap()
}

pub(super) const PHONE: Who = Who { oui: true, class: true, standing: Standing::Approved, is_server: false };
pub(super) const STRANGER: Who = Who { standing: Standing::Welcome, ..PHONE };
pub(super) const PC: Who = Who { oui: false, class: false, standing: Standing::Unwelcome, is_server: false };

/// What a profile knows, and more than it may say.
pub(super) fn values() -> BTreeMap<u8, Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    BTreeMap::from([
        (3, FOREIGN.octets().to_vec()),
        (code::TFTP_SERVER, text("http://192.168.40.1:8480/")),
        (code::BOOT_FILE, text("settings.htm")),
        (code::VENDOR_SPECIFIC, text("http://192.168.40.1:8480/fanvil")),
        (code::TFTP_ADDRESSES, OURS.octets().to_vec()),
        (132, text("40")),
        (249, text("routes")),
        (252, text("proxy")),
    ])
}

/// A client's, or another server's, message on its way.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) draft: Draft,
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) is_own_hosts: bool,
}

impl Ask {
    pub(super) fn new(kind: Kind, mac: Mac) -> Self {
        let draft = Draft::question(kind, mac, 0x1234_5678);
        Self { draft, from: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::BROADCAST, is_own_hosts: false }
    }

    /// The INFORM of a phone that has an address.
    pub(super) fn inform(client: Ipv4Addr) -> Self {
        let mut ask = Self::new(Kind::Inform, mac(1)).with(code::ASKED, &[66, 43, 132, 3, 249, 252, 120]);
        (ask.from, ask.draft.ciaddr) = (client, client);
        ask
    }

    pub(super) fn discover(mac: Mac) -> Self {
        Self::new(Kind::Discover, mac).with(code::ASKED, &[1, 3, 6, 15, 28, 42, 66, 150])
    }

    /// The REQUEST for an offer of this server.
    pub(super) fn selecting(mac: Mac, server: Ipv4Addr, address: Ipv4Addr) -> Self {
        let ask =
            Self { draft: Draft { kind: Kind::Request, ..Self::discover(mac).draft }, ..Self::discover(mac) };
        ask.with(code::SERVER, &server.octets()).with(code::REQUESTED_ADDRESS, &address.octets())
    }

    pub(super) fn reboot(mac: Mac, address: Ipv4Addr) -> Self {
        Self::new(Kind::Request, mac).with(code::REQUESTED_ADDRESS, &address.octets())
    }

    pub(super) fn renewing(mac: Mac, address: Ipv4Addr) -> Self {
        Self { to: OURS, ..Self::rebinding(mac, address) }
    }

    pub(super) fn rebinding(mac: Mac, address: Ipv4Addr) -> Self {
        let mut ask = Self::new(Kind::Request, mac);
        (ask.from, ask.draft.ciaddr) = (address, address);
        ask
    }

    pub(super) fn release(mac: Mac, address: Ipv4Addr) -> Self {
        let mut ask = Self::renewing(mac, address).with(code::SERVER, &OURS.octets());
        ask.draft.kind = Kind::Release;
        ask
    }

    pub(super) fn decline(mac: Mac, address: Ipv4Addr) -> Self {
        let mut ask = Self::reboot(mac, address).with(code::SERVER, &OURS.octets());
        ask.draft.kind = Kind::Decline;
        ask
    }

    /// What another server says.
    pub(super) fn foreign(kind: Kind) -> Self {
        let mut ask = Self::new(kind, mac(99)).with(code::SERVER, &FOREIGN.octets());
        ask.draft.from_server = true;
        ask.from = FOREIGN;
        ask.with(code::LEASE_TIME, &600_u32.to_be_bytes())
    }

    /// With this option, instead of what it had.
    pub(super) fn with(mut self, code: u8, value: &[u8]) -> Self {
        let others = self.draft.options.iter().filter(|(other, _)| *other != code);
        self.draft.options = others.chain([(code, value)]).collect();
        self
    }

    pub(super) fn by_relay(mut self, relay: Ipv4Addr) -> Self {
        self.draft.giaddr = relay;
        (self.from, self.to) = (relay, OURS);
        self
    }

    pub(super) fn draft(mut self, change: impl FnOnce(&mut Draft)) -> Self {
        change(&mut self.draft);
        self
    }

    /// As it is heard: through its octets.
    pub(super) fn packet(&self) -> Packet {
        Packet {
            interface: INTERFACE,
            sender: Some(if self.draft.giaddr.is_unspecified() { self.draft.mac } else { mac(0x0ffff) }),
            is_own_hosts: self.is_own_hosts,
            from: SocketAddrV4::new(self.from, 68),
            to: SocketAddrV4::new(self.to, 67),
            message: Message::read(&self.draft.write(1_472).bytes).unwrap(),
        }
    }
}

/// `SplitMix64`: the same rolls in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// An index below the length.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(length).unwrap())).unwrap()
    }
}
