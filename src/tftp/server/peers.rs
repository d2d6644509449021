//! Which peers are answered at all, and how far they are. A TFTP server that answers anybody is an amplifier for
//! forged addresses, so strangers beyond our links get silence unless their network is listed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::Prefix;
use crate::net::interfaces::Table;
use crate::tftp::agree::Reach;

/// How far the peer is, or `None` when it gets no answer:
/// 1. what was sent to a group or broadcast address is nobody's request (RFC 1123, 4.2.3.1);
/// 2. this host itself, and a peer in the subnet of one of our addresses, is on-link;
/// 3. a peer in one of the listed networks is served, as one behind a router.
pub(super) fn reach(
    peer: IpAddr,
    local: IpAddr,
    interface: u32,
    table: &Table,
    networks: &[Prefix],
) -> Option<Reach> {
    match (peer, local) {
        (IpAddr::V4(peer), IpAddr::V4(local)) => reach_v4(peer, local, interface, table, networks),
        (IpAddr::V6(peer), IpAddr::V6(local)) => reach_v6(peer, local),
        _ => None,
    }
}

fn reach_v4(
    peer: Ipv4Addr,
    local: Ipv4Addr,
    interface: u32,
    table: &Table,
    networks: &[Prefix],
) -> Option<Reach> {
    if peer.is_unspecified() || peer.is_broadcast() || peer.is_multicast() {
        return None;
    }
    if peer.is_loopback() || table.is_ours(peer) {
        return Some(Reach::OnLink);
    }
    if local.is_broadcast() || local.is_multicast() {
        return None;
    }
    if table.on_link(peer, Some(interface)).is_some() {
        // In our subnet, and yet none of our addresses: the subnet's broadcast address was asked.
        return table.is_ours(local).then_some(Reach::OnLink);
    }
    networks.iter().any(|network| network.contains(peer)).then_some(Reach::Routed)
}

/// IPv6 has no list of networks and our table no prefixes: a link-local peer, and one in the /64 of the address that
/// was asked, is on our link.
fn reach_v6(peer: Ipv6Addr, local: Ipv6Addr) -> Option<Reach> {
    let network = |address: Ipv6Addr| u128::from(address) >> 64;
    let near = peer.is_unicast_link_local() || peer.is_loopback() || network(peer) == network(local);
    (near && !local.is_multicast() && !peer.is_multicast() && !peer.is_unspecified()).then_some(Reach::OnLink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::Interface;

    fn table() -> Table {
        let ours = |text: &str| (text.split('/').next().unwrap().parse().unwrap(), text.parse().unwrap());
        Table::of(vec![Interface {
            index: 2,
            name: "eth0".to_owned(),
            mac: None,
            addresses: vec![ours("192.168.1.10/24"), ours("10.9.0.1/16")],
            up: true,
            multicast: true,
            loopback: false,
        }])
    }

    fn check(what: &str, peer: &str, local: &str, expected: Option<Reach>) {
        let networks = ["172.16.0.0/12".parse().unwrap()];
        let found = reach(peer.parse().unwrap(), local.parse().unwrap(), 2, &table(), &networks);
        assert_eq!(found, expected, "{what}");
    }

    #[test]
    fn only_peers_on_link_or_listed_are_answered() {
        check("on our subnet", "192.168.1.77", "192.168.1.10", Some(Reach::OnLink));
        check("on our second subnet", "10.9.200.1", "10.9.0.1", Some(Reach::OnLink));
        check("listed, behind a router", "172.20.3.4", "192.168.1.10", Some(Reach::Routed));
        check("from the internet", "203.0.113.9", "192.168.1.10", None);
        check("this host by loopback", "127.0.0.1", "127.0.0.1", Some(Reach::OnLink));
        check("this host by its own address", "192.168.1.10", "192.168.1.10", Some(Reach::OnLink));
        check("to everybody", "192.168.1.77", "255.255.255.255", None);
        check("to the subnet's broadcast", "192.168.1.77", "192.168.1.255", None);
        check("to a group", "192.168.1.77", "224.0.1.75", None);
        check("from nobody", "0.0.0.0", "192.168.1.10", None);
        check("from a broadcast address", "255.255.255.255", "192.168.1.10", None);
        check("link-local", "fe80::1", "fe80::2", Some(Reach::OnLink));
        check("the same /64", "2001:db8::7", "2001:db8::1", Some(Reach::OnLink));
        check("another /64", "2001:db8:1::7", "2001:db8::1", None);
        check("two families", "192.168.1.77", "fe80::2", None);
    }

    #[test]
    fn the_same_subnet_on_another_interface_is_not_this_link() {
        let elsewhere =
            reach("192.168.1.77".parse().unwrap(), "192.168.1.10".parse().unwrap(), 3, &table(), &[]);
        assert_eq!(elsewhere, None);
    }
}
