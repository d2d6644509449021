//! `offhook dhcp reserve` and `unreserve`: an address that is kept for one phone.

use std::net::Ipv4Addr;

use super::super::{Context, Failure, Outcome, open, output};
use crate::device::Mac;
use crate::dhcp::server::answer::network_of;
use crate::net::Prefix;
use crate::net::interfaces::Table;

#[derive(Debug, clap::Args)]
pub(crate) struct Reserve {
    /// The phone's MAC address
    mac: Mac,
    /// An address of a pool's network
    address: Ipv4Addr,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unreserve {
    /// The phone's MAC address
    mac: Mac,
}

pub(crate) async fn reserve(args: &Reserve, context: &Context) -> Outcome {
    let Reserve { mac, address } = args;
    if !is_in_a_pools_network(*address, context) {
        return Err(Failure::no(
            "no_pool",
            format!("no pool gives addresses of {address}'s network"),
            "give an address of a network that a dhcp.pool stands in, on an interface that is up, and not the \
             network's first or last",
        ));
    }
    let store = open::store(context).await?;
    store.reserve(*mac, *address).await?;
    open::poke(context);
    if context.json {
        output::value(&serde_json::json!({ "mac": mac, "address": address }));
    } else {
        output::print(&format!("{address} is kept for {mac}, from its next request on\n"));
    }
    Ok(())
}

/// Whether a host in the network of one of the pools can have this address.
fn is_in_a_pools_network(address: Ipv4Addr, context: &Context) -> bool {
    let config = &context.config.dhcp;
    let table = Table::read(&config.interfaces).unwrap_or_default();
    let mut networks = config.pool.iter().filter_map(|pool| network_of(pool, &table));
    let has =
        |network: Prefix| network.contains(address) && ![network.first(), network.last()].contains(&address);
    networks.any(has)
}

pub(crate) async fn unreserve(args: &Unreserve, context: &Context) -> Outcome {
    let mac = args.mac;
    let store = open::store(context).await?;
    if !store.unreserve(mac).await? {
        return Err(Failure::no(
            "not_found",
            format!("no address is kept for {mac}"),
            "offhook dhcp status shows the reservations",
        ));
    }
    open::poke(context);
    if context.json {
        output::value(&serde_json::json!({ "mac": mac }));
    } else {
        output::print(&format!("no address is kept for {mac} any more\n"));
    }
    Ok(())
}
