//! Decides who is a phone, and what an INFORM is answered. Never sends, never waits, never reads the clock.
//!
//! An INFORM is answered beside whatever server gives the leases, so the answer carries nothing that could disturb a
//! lease or the network: neither an address nor a time, no router, no name server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Packet;
use super::message::{Draft, Kind, Message, code};
use super::reply::{Because, Destination, Reply};
use super::silence::Why;
use crate::device::Mac;
use crate::net::interfaces::Table;

/// Who a client is, as far as the profiles, the inventory and what was heard tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Whether its hardware address is of a vendor that a profile describes.
    pub oui: bool,
    /// Whether its option 60 is one of that vendor's phones.
    pub class: bool,
    /// What the inventory and the policy say.
    pub standing: Standing,
    /// Whether OFFERs or ACKs came from this hardware address or its IP address lately.
    pub is_server: bool,
}

/// What the inventory and the policy say about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A device of the inventory that is served.
    Approved,
    /// A stranger that the policy takes without a person.
    Welcome,
    /// It waits for a person.
    Pending,
    /// A stranger that the policy does not take.
    Unwelcome,
    /// A person does not want it served.
    Blocked,
}

impl Who {
    /// Whether it is a phone: by the vendor of its hardware address, and because it says so or a person did.
    pub fn is_phone(&self) -> bool {
        self.oui && (self.class || self.standing == Standing::Approved)
    }

    /// Whether it may be told where its configuration is.
    pub fn is_served(&self) -> Result<(), Why> {
        match self.standing {
            _ if self.is_server => Err(Why::IsServer),
            Standing::Blocked => Err(Why::Blocked),
            _ if !self.is_phone() => Err(Why::NotAPhone),
            Standing::Approved | Standing::Welcome => Ok(()),
            Standing::Pending => Err(Why::Pending),
            Standing::Unwelcome => Err(Why::Unwelcome),
        }
    }
}

/// Where we are.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The interfaces and our addresses.
    pub table: &'a Table,
    /// Relays whose clients are answered.
    pub relays: &'a [Ipv4Addr],
}

/// Decides the answer to an INFORM (RFC 2131, section 4.3.5).
///
/// 1. Only phones that are served get one; Windows hosts, other servers and our own host never do.
/// 2. The client has the address that it asks from, on the link that it was heard on; behind a relay, the relay is
///    listed.
/// 3. It gets what it asked for (option 55) of what its profile knows, and only of the kind that tells a phone where
///    its configuration is ([`is_for_provisioning`]). If that is nothing, it gets no answer: another server may
///    know more.
/// 4. Besides there is option 54 alone. The answer goes to the client's own address, from ours on that link.
pub fn inform(
    packet: &Packet,
    scope: &Scope<'_>,
    who: &Who,
    values: &BTreeMap<u8, Vec<u8>>,
) -> Result<Reply, Why> {
    let message = &packet.message;
    is_question(packet)?;
    if message.kind != Kind::Inform {
        return Err(Why::NotAQuestion);
    }
    if is_microsoft(message) {
        return Err(Why::Microsoft);
    }
    if is_rogue_detection(message) {
        return Err(Why::RogueDetection);
    }
    let (from, mac) = way(packet, scope)?;
    who.is_served()?;
    let mut options = vec![(code::SERVER, from.octets().to_vec())];
    options.extend(known(message, values));
    if options.len() == 1 {
        return Err(Why::NothingAsked);
    }
    let draft = Draft { ciaddr: message.ciaddr, options, ..Draft::answer(Kind::Ack, message) };
    Ok(Reply {
        interface: packet.interface,
        from,
        to: Destination::Client { mac, address: message.ciaddr },
        draft,
        size_max: message.size_max(),
        because: Because::Inform,
    })
}

/// Whether another host asks.
pub(super) fn is_question(packet: &Packet) -> Result<(), Why> {
    match packet {
        Packet { is_own_hosts: true, .. } => Err(Why::OwnHost),
        Packet { message: Message { from_server: true, .. }, .. } => Err(Why::NotAQuestion),
        Packet { .. } => Ok(()),
    }
}

/// Whether it is a Windows host: those are the business of whoever runs their server.
pub(super) fn is_microsoft(message: &Message) -> bool {
    message.options.get(code::VENDOR_CLASS).is_some_and(|class| class.starts_with(b"MSFT"))
}

/// Whether a Windows server looks for servers that its directory does not know (MS-DHCPE, 2.2.2.4 and 2.2.2.5): option 43
/// holds its question, or another such server's reply. Who answers that stops Windows servers.
pub(super) fn is_rogue_detection(message: &Message) -> bool {
    const ROGUE_DETECTION: [u8; 2] = [0x5e, 0x5f];
    let mut rest = message.options.get(code::VENDOR_SPECIFIC).unwrap_or_default();
    while let [sub, len, tail @ ..] = rest {
        if ROGUE_DETECTION.contains(sub) {
            return true;
        }
        rest = tail.get(usize::from(*len)..).unwrap_or_default();
    }
    false
}

/// From which address of ours an INFORM is answered, and by which host on the link its client is reached.
fn way(packet: &Packet, scope: &Scope<'_>) -> Result<(Ipv4Addr, Mac), Why> {
    let Message { ciaddr, giaddr, mac, .. } = packet.message;
    let is_host =
        !ciaddr.is_unspecified() && !ciaddr.is_broadcast() && !ciaddr.is_multicast() && !ciaddr.is_loopback();
    if !is_host {
        return Err(Why::NoAddress);
    }
    if scope.table.is_ours(ciaddr) {
        return Err(Why::OurAddress);
    }
    if !giaddr.is_unspecified() {
        if !scope.relays.contains(&giaddr) {
            return Err(Why::Relay);
        }
        // A relay sends to an address of ours; the RFC has the answer sent straight to the client, by whoever
        // brought the question here.
        let to = *packet.to.ip();
        let heard_on = |ours: &Ipv4Addr| scope.table.on_link(*ours, Some(packet.interface));
        let (_, ours) =
            Some(to).filter(|to| scope.table.is_ours(*to)).as_ref().and_then(heard_on).ok_or(Why::Relay)?;
        return Ok((ours, packet.sender.ok_or(Why::Relay)?));
    }
    if *packet.from.ip() != ciaddr {
        return Err(Why::NotItsSource);
    }
    let (_, ours) = scope.table.on_link(ciaddr, Some(packet.interface)).ok_or(Why::OffLink)?;
    Ok((ours, mac))
}

/// What of `values` the client asked for, in its order.
pub(super) fn known<'a>(
    message: &'a Message,
    values: &'a BTreeMap<u8, Vec<u8>>,
) -> impl Iterator<Item = (u8, Vec<u8>)> + 'a {
    let asked = message.options.asked();
    let is_first = |at: usize, code: u8| asked.iter().position(|asked| *asked == code) == Some(at);
    asked
        .iter()
        .enumerate()
        .filter(move |(at, code)| is_for_provisioning(**code) && is_first(*at, **code))
        .filter_map(|(_, code)| values.get(code).map(|value| (*code, value.clone())))
}

/// Whether an option tells a phone where its configuration is or which of its vendor's settings to take: 43, 66, 67,
/// 120, 125, 150 and 160, and what vendors use in the same way: Gigaset 114, snom and others 132 and 133 (their VLAN,
/// which is sent only where the administrator configured one), Panasonic and Polycom 159, Avaya 242. Never one that
/// concerns the host's network or lease, whatever a profile says; so of the numbers that belong to each site only those
/// are left out that Windows hosts take for themselves (249 routes, 252 proxy), and of the assigned ones routes,
/// prefixes and subnets (212, 213, 220, 221).
pub fn is_for_provisioning(code: u8) -> bool {
    matches!(code, 43 | 66 | 67 | 114 | 120 | 125 | 128..=211 | 214..=219 | 222..=248 | 250 | 251 | 253 | 254)
}
