//! Who is behind an address on a link: the kernel's neighbour table (ARP, and ND for IPv6), asked for one entry at a
//! time, and made to resolve an address that it does not know yet.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::udp::{UdpEndpoint, Via};
use crate::device::Mac;

/// How long a cold entry may take; a phone on the same link answers ARP within milliseconds.
const RESOLVE_MS_MAX: u64 = 300;
/// How often the table is read while it resolves.
const RESOLVE_STEP_MS: u64 = 10;
/// Where the datagram goes that makes the kernel resolve an address: discard (RFC 863).
const DISCARD_PORT: u16 = 9;

/// The neighbour table.
#[derive(Clone)]
pub struct Neighbours(Arc<Table>);

enum Table {
    Kernel { netlink: rtnetlink::Handle, prompt: Option<UdpEndpoint> },
    Declared(HashMap<IpAddr, Mac>),
}

impl Neighbours {
    /// The kernel's own table. Unless it may resolve, it only tells what the kernel knows already, and sends nothing.
    pub fn kernel(may_resolve: bool) -> io::Result<Self> {
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let prompt = if may_resolve { Some(UdpEndpoint::bind(any)?) } else { None };
        Ok(Self(Arc::new(Table::Kernel { netlink, prompt })))
    }

    /// A table that somebody wrote by hand. It proves nothing, so only the demonstration on loopback and tests use it.
    pub fn declared(entries: HashMap<IpAddr, Mac>) -> Self {
        Self(Arc::new(Table::Declared(entries)))
    }

    /// The hardware address behind `address` on this interface; `None` when nobody answers there.
    pub async fn mac_of(&self, address: IpAddr, interface: u32) -> Option<Mac> {
        let (netlink, prompt) = match &*self.0 {
            Table::Declared(entries) => return entries.get(&address).copied(),
            Table::Kernel { netlink, prompt } => (netlink, prompt),
        };
        if let Some(mac) = entry(netlink, address, interface).await {
            return Some(mac);
        }
        let prompt = prompt.as_ref()?;
        let via = Via { interface, source: None };
        if address.is_ipv4()
            && let Err(error) = prompt.send(&[], SocketAddr::new(address, DISCARD_PORT), Some(via)).await
        {
            tracing::debug!("Cannot make the kernel resolve {address}: {error}");
        }
        for _ in 0..RESOLVE_MS_MAX / RESOLVE_STEP_MS {
            tokio::time::sleep(Duration::from_millis(RESOLVE_STEP_MS)).await;
            if let Some(mac) = entry(netlink, address, interface).await {
                return Some(mac);
            }
        }
        None
    }
}

/// One entry of the kernel's table, if it holds a hardware address that is in use.
async fn entry(netlink: &rtnetlink::Handle, address: IpAddr, interface: u32) -> Option<Mac> {
    let mut question = NeighbourMessage::default();
    question.header.ifindex = interface;
    let destination = match address {
        IpAddr::V4(address) => {
            question.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(address)
        }
        IpAddr::V6(address) => {
            question.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(address)
        }
    };
    question.attributes.push(NeighbourAttribute::Destination(destination));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(question));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = netlink.clone().request(request).ok()?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found)) = answer.payload {
            return hardware_address(&found);
        }
    }
    None
}

fn hardware_address(found: &NeighbourMessage) -> Option<Mac> {
    let in_use = matches!(
        found.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    found.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) if in_use => {
            <[u8; 6]>::try_from(octets.as_slice()).ok().and_then(Mac::new)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_proves_nothing() {
        let mut found = NeighbourMessage::default();
        found.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![0, 0x15, 0x65, 1, 2, 3]));
        found.header.state = NeighbourState::Failed;
        assert_eq!(hardware_address(&found), None);
        found.header.state = NeighbourState::Stale;
        assert_eq!(hardware_address(&found).unwrap().bare(), "001565010203");
    }

    #[tokio::test]
    async fn a_declared_table_answers_what_it_was_told() {
        let mac: Mac = "00:15:65:01:02:03".parse().unwrap();
        let table = Neighbours::declared(HashMap::from([(IpAddr::from([127, 0, 0, 2]), mac)]));
        assert_eq!(table.mac_of(IpAddr::from([127, 0, 0, 2]), 1).await, Some(mac));
        assert_eq!(table.mac_of(IpAddr::from([127, 0, 0, 3]), 1).await, None);
    }
}
