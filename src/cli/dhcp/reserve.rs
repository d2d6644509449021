//! `offhook dhcp reserve` and `unreserve`: an address that is kept for one phone.

use std::net::Ipv4Addr;

use super::super::{Context, Failure, Outcome, open, output};
use crate::device::Mac;

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
    let is_of_a_host = !address.is_unspecified()
        && !address.is_broadcast()
        && !address.is_multicast()
        && !address.is_loopback();
    if !is_of_a_host {
        return Err(Failure::usage(
            "address",
            format!("no host can have {address}"),
            "give an address of a dhcp.pool's network",
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
