//! Decides who is a phone, and what an INFORM is answered. Never sends, never waits, never reads the clock.
//!
//! An INFORM is answered beside whatever server gives the leases, so the answer carries nothing that could disturb a
//! lease or the network: neither an address nor a time, no router, no name server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Packet;
use super::message::{Draft, Kind, Listed, Message, code};
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
    let mut told = known(message, values).peekable();
    if told.peek().is_none() {
        return Err(Why::NothingAsked);
    }
    let mut options = Listed::new();
    options.push(code::SERVER, &from.octets());
    options.extend(told);
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
    let (interface, ours) = scope.table.on_link(ciaddr, Some(packet.interface)).ok_or(Why::OffLink)?;
    let mut networks = interface.addresses.iter().map(|(_, prefix)| prefix);
    if networks.any(|prefix| prefix.size() > 2 && [prefix.first(), prefix.last()].contains(&ciaddr)) {
        return Err(Why::NoAddress);
    }
    Ok((ours, mac))
}

/// What of `values` the client asked for, in its order.
pub(super) fn known<'a>(
    message: &'a Message,
    values: &'a BTreeMap<u8, Vec<u8>>,
) -> impl Iterator<Item = (u8, &'a [u8])> {
    let asked = message.options.asked();
    let is_first = |at: usize, code: u8| asked.iter().position(|asked| *asked == code) == Some(at);
    asked
        .iter()
        .enumerate()
        .filter(move |(at, code)| is_for_provisioning(**code) && is_first(*at, **code))
        .filter_map(|(_, code)| values.get(code).map(|value| (*code, value.as_slice())))
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

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        Ask, ELSEWHERE, INTERFACE, OURS, PC, PHONE, RELAY, address, mac, table, values,
    };
    use super::super::reply::Destination;
    use super::*;
    use crate::net::wire::Receiver;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 40, 77);

    fn decide(ask: &Ask, who: Who) -> Result<Reply, Why> {
        decide_by_relays(ask, who, &[])
    }

    fn decide_by_relays(ask: &Ask, who: Who, relays: &[Ipv4Addr]) -> Result<Reply, Why> {
        inform(&ask.packet(), &Scope { table: &table(), relays }, &who, &values())
    }

    fn asks() -> Ask {
        Ask::inform(CLIENT)
    }

    #[test]
    fn d3_only_phones_are_answered() {
        let check = |what: &str, who: Who, expected: Result<(), Why>| {
            assert_eq!(decide(&asks(), who).map(|_| ()), expected, "{what}");
            assert!(expected.is_err() || who.is_phone(), "{what}");
        };
        let who = |oui, class, standing| Who { oui, class, standing, is_server: false };
        check("an approved phone", PHONE, Ok(()));
        check("its boot loader, which sends no option 60", who(true, false, Standing::Approved), Ok(()));
        check("a stranger that says what it is", who(true, true, Standing::Welcome), Ok(()));
        check("one that does not", who(true, false, Standing::Welcome), Err(Why::NotAPhone));
        check("a PC that says so", who(false, true, Standing::Welcome), Err(Why::NotAPhone));
        check(
            "an approved device of no phone vendor",
            who(false, true, Standing::Approved),
            Err(Why::NotAPhone),
        );
        check("a PC", PC, Err(Why::NotAPhone));
        check("a phone that waits", who(true, true, Standing::Pending), Err(Why::Pending));
        check("one that nobody wants", who(true, true, Standing::Unwelcome), Err(Why::Unwelcome));
        check("a blocked one", who(true, true, Standing::Blocked), Err(Why::Blocked));
        check("something else that is blocked", who(false, false, Standing::Blocked), Err(Why::Blocked));
    }

    #[test]
    fn d4_windows_servers_relays_and_ourselves_are_not_answered() {
        let check = |what: &str, ask: Ask, who: Who, expected: Why| {
            assert_eq!(decide(&ask, who), Err(expected), "{what}");
        };
        check("Windows", asks().with(60, b"MSFT 5.0"), PHONE, Why::Microsoft);
        check("old Windows", asks().with(60, b"MSFT 98"), PHONE, Why::Microsoft);
        check("rogue detection", asks().with(43, &[0x5e, 0]), PHONE, Why::RogueDetection);
        check("behind another", asks().with(43, &[1, 2, 0, 0, 0x5e, 0]), PHONE, Why::RogueDetection);
        check("its reply", asks().with(43, b"\x5f\x04site"), PHONE, Why::RogueDetection);
        check("a server", asks(), Who { is_server: true, ..PHONE }, Why::IsServer);
        check("behind a relay", asks().by_relay(RELAY), PHONE, Why::Relay);
        check("our own host", Ask { is_own_hosts: true, ..asks() }, PHONE, Why::OwnHost);
        let answers = |kind| asks().draft(|draft| (draft.kind, draft.from_server) = (kind, true));
        check("an ACK", answers(Kind::Ack), PHONE, Why::NotAQuestion);
        check("a DISCOVER", asks().draft(|draft| draft.kind = Kind::Discover), PHONE, Why::NotAQuestion);
        let harmless = [&[1, 2, 0x5e, 0x5f][..], b"http://192.168.1.118/$mac.cfg", &[1], &[0x5e]];
        for value in harmless {
            assert!(decide(&asks().with(43, value), PHONE).is_ok(), "{value:?}");
        }
    }

    #[test]
    fn d5_the_client_has_the_address_that_it_asks_from() {
        let check = |what: &str, from: Ipv4Addr, ciaddr: Ipv4Addr, expected: Result<(), Why>| {
            let ask = Ask { from, ..asks() }.draft(|draft| draft.ciaddr = ciaddr);
            assert_eq!(decide(&ask, PHONE).map(|_| ()), expected, "{what}");
        };
        check("its own", CLIENT, CLIENT, Ok(()));
        check("none", Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, Err(Why::NoAddress));
        check("only the source", CLIENT, Ipv4Addr::UNSPECIFIED, Err(Why::NoAddress));
        check("only in the message", Ipv4Addr::UNSPECIFIED, CLIENT, Err(Why::NotItsSource));
        check("another's", address(78), CLIENT, Err(Why::NotItsSource));
        check("ours", OURS, OURS, Err(Why::OurAddress));
        check("ours elsewhere", ELSEWHERE, ELSEWHERE, Err(Why::OurAddress));
        let other = Ipv4Addr::new(10, 9, 0, 7);
        check("of another link of ours", other, other, Err(Why::OffLink));
        let far = Ipv4Addr::new(203, 0, 113, 7);
        check("of nowhere here", far, far, Err(Why::OffLink));
        let group = Ipv4Addr::new(224, 0, 1, 75);
        check("of a group", group, group, Err(Why::NoAddress));
        check("everybody's", Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST, Err(Why::NoAddress));
        check("the host's own", Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, Err(Why::NoAddress));
        check("everybody's on this link", address(255), address(255), Err(Why::NoAddress));
        check("the network's", address(0), address(0), Err(Why::NoAddress));
    }

    #[test]
    fn d5_d12_d20_the_answer_holds_what_was_asked_and_known_and_nothing_of_the_network() {
        let reply = decide(&asks(), PHONE).unwrap();
        assert_eq!((reply.interface, reply.from, reply.because), (INTERFACE, OURS, Because::Inform));
        assert_eq!(reply.to, Destination::Client { mac: mac(1), address: CLIENT });
        assert_eq!(reply.source().to_string(), "192.168.40.1:67");
        let target = (Receiver::Host(mac(1)), "192.168.40.77:68".parse().unwrap());
        assert_eq!(reply.target(), target);
        let message = Message::read(&reply.write().bytes).unwrap();
        let codes: Vec<u8> = message.options.iter().map(|(code, _)| code).collect();
        assert_eq!(codes, [43, 53, 54, 66, 132]);
        let order: Vec<u8> = reply.draft.options.iter().map(|(code, _)| code).collect();
        assert_eq!(order, [54, 66, 43, 132], "as the phone prefers them");
        assert_eq!((message.kind, message.from_server, message.xid), (Kind::Ack, true, 0x1234_5678));
        assert_eq!((message.yiaddr, message.ciaddr), (Ipv4Addr::UNSPECIFIED, CLIENT));
        assert_eq!((message.siaddr, message.giaddr), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        assert_eq!(message.options.address(code::SERVER), Some(OURS));
    }

    #[test]
    fn d5_what_a_phone_does_not_ask_for_it_does_not_get() {
        let check = |asked: &[u8], expected: Result<Vec<u8>, Why>| {
            let reply = decide(&asks().with(code::ASKED, asked), PHONE);
            let codes = |reply: Reply| reply.draft.options.iter().map(|(code, _)| code).collect();
            assert_eq!(reply.map(codes), expected, "{asked:?}");
        };
        check(&[66, 67], Ok(vec![54, 66, 67]));
        check(&[66, 66, 67, 66], Ok(vec![54, 66, 67]));
        check(&[1, 28, 3, 2, 4, 43, 6], Ok(vec![54, 43]));
        check(&[43, 120, 125, 132], Ok(vec![54, 43, 132]));
        check(&[120, 125], Err(Why::NothingAsked));
        check(&[1, 3, 6, 15, 51, 58, 59], Err(Why::NothingAsked));
        check(&[249, 252], Err(Why::NothingAsked));
        check(&[], Err(Why::NothingAsked));
    }

    #[test]
    fn d20_a_listed_relays_clients_are_answered_at_their_own_address() {
        let ask = Ask::inform(Ipv4Addr::new(10, 64, 0, 77)).by_relay(RELAY);
        let reply = decide_by_relays(&ask, PHONE, &[RELAY]).unwrap();
        let router = Destination::Client { mac: mac(0x0ffff), address: Ipv4Addr::new(10, 64, 0, 77) };
        assert_eq!((reply.to, reply.from), (router, OURS));
        let other = Ipv4Addr::new(10, 64, 0, 3);
        assert_eq!(decide_by_relays(&ask, PHONE, &[other]), Err(Why::Relay));
        let ours = Ask { to: OURS, ..Ask::inform(OURS).by_relay(RELAY) };
        assert_eq!(decide_by_relays(&ours, PHONE, &[RELAY]), Err(Why::OurAddress));
    }

    #[test]
    fn an_option_of_the_network_is_never_one_for_provisioning() {
        for code in
            [0, 1, 2, 3, 4, 6, 12, 15, 28, 33, 42, 44, 50, 51, 53, 54, 55, 57, 58, 59, 60, 61, 82, 108]
        {
            assert!(!is_for_provisioning(code), "{code}");
        }
        for code in [112, 116, 118, 119, 121, 212, 213, 220, 221, 249, 252, 255] {
            assert!(!is_for_provisioning(code), "{code}");
        }
        for code in [43, 66, 67, 114, 120, 125, 132, 133, 150, 159, 160, 161, 242] {
            assert!(is_for_provisioning(code), "{code}");
        }
    }
}
