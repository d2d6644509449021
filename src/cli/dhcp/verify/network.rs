//! The networks that are asked about: an interface, our address there, and what of ours a phone reaches from there.

use std::net::{IpAddr, Ipv4Addr};

use crate::cli::{Context, Failure};
use crate::config::DhcpMode;
use crate::dhcp::message::{Options, code};
use crate::dhcp::probe::{Asker, Responder};
use crate::net::interfaces::{Interface, Table};
use crate::profile::DhcpPlace;
use crate::provision::Roots;

use super::report::Whose;

/// One subnet of one interface.
pub(super) struct Network {
    /// `eth0`
    pub(super) interface: String,
    /// This host there.
    pub(super) asker: Asker,
    /// What a phone there reaches of this agent.
    pub(super) place: DhcpPlace,
    /// Every address of this host.
    hosts: Vec<Ipv4Addr>,
    /// What the agent answers there by itself.
    mode: Option<DhcpMode>,
}

/// Every subnet of the named interface, or of all that the agent uses.
pub(super) fn all(named: Option<&str>, context: &Context) -> Result<Vec<Network>, Failure> {
    let only: Vec<String> =
        named.map_or_else(|| context.config.agent.interfaces.clone(), |name| vec![name.to_owned()]);
    let table = Table::read(&only).map_err(|error| {
        Failure::failed(
            "network",
            format!("cannot read the interfaces: {error}"),
            "name one: --interface NAME",
        )
    })?;
    let networks: Vec<Network> =
        table.interfaces().iter().flat_map(|interface| of_interface(interface, &table, context)).collect();
    if networks.is_empty() {
        let message = match named {
            Some(name) => {
                format!("'{name}' is no interface that is up, with an IPv4 and an Ethernet address")
            }
            None => "this host has no interface that phones could reach".to_owned(),
        };
        return Err(Failure::usage("no_interface", message, "ip address shows the interfaces"));
    }
    Ok(networks)
}

fn of_interface(interface: &Interface, table: &Table, context: &Context) -> Vec<Network> {
    let config = &context.config;
    let roots = Roots::of(config);
    let hosts: Vec<Ipv4Addr> = table
        .interfaces()
        .iter()
        .flat_map(|interface| &interface.addresses)
        .map(|(address, _)| *address)
        .collect();
    let answers = config.dhcp.mode.answers() && config.dhcp.interfaces.contains(&interface.name);
    let of_address = |(at, (address, prefix)): (usize, &(Ipv4Addr, crate::net::Prefix))| {
        // A second address in the same subnet would only ask the same again.
        let is_first = !interface.addresses.iter().take(at).any(|(before, _)| prefix.contains(*before));
        let mut place = roots.dhcp_place(*address, config);
        let others = hosts.iter().filter(|host| *host != address && roots.at(IpAddr::V4(**host)).is_some());
        place.names = others.map(Ipv4Addr::to_string).collect();
        let asker = Asker { interface: interface.index, address: *address, mac: interface.mac? };
        is_first.then(|| Network {
            interface: interface.name.clone(),
            asker,
            place,
            hosts: hosts.clone(),
            mode: answers.then_some(config.dhcp.mode),
        })
    };
    interface.addresses.iter().enumerate().filter_map(of_address).collect()
}

impl Network {
    /// Whether one of these addresses is this host's. A name that stands for loopback is this host's own name.
    pub(super) fn has_any(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| match address {
            IpAddr::V4(address) => address.is_loopback() || self.hosts.contains(address),
            IpAddr::V6(address) => address.is_loopback(),
        })
    }

    /// An address of documentation, with the usual ports: for tests of the report.
    #[cfg(test)]
    pub(super) fn fixed(address: Ipv4Addr, mode: Option<DhcpMode>) -> Self {
        let asker = Asker { interface: 3, address, mac: "00:0d:b9:01:02:03".parse().unwrap() };
        let config = crate::config::Config::default();
        let place = Roots::of(&config).dhcp_place(address, &config);
        Self { interface: "eth0".to_owned(), asker, place, hosts: vec![address], mode }
    }

    /// Who answered. The agent's own answers hold what phones ask for their provisioning, and not the subnet mask that
    /// every question asks for; another server on this host gives that first.
    pub(super) fn whose(&self, responder: &Responder, options: &Options) -> Whose {
        if !responder.is_own_hosts && !self.hosts.contains(&responder.from) {
            return Whose::Other;
        }
        match self.mode {
            Some(DhcpMode::Server) => Whose::OffhookServer,
            Some(DhcpMode::Inform) if options.get(code::SUBNET_MASK).is_none() => Whose::OffhookInform,
            _ => Whose::ThisHost,
        }
    }
}
