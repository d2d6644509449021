//! `offhook dhcp snippet`: a ready configuration for the DHCP server that this LAN has, for exactly the vendors of the
//! inventory. Prints; changes nothing anywhere.

mod cisco;
mod dnsmasq;
mod flat;
mod fritzbox;
mod isc;
mod kea;
mod mikrotik;
mod openwrt;
mod opnsense;
mod plan;
mod unifi;
mod windows;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;

use super::vendors;
use crate::cli::{Context, Failure, Outcome, output};
use crate::net::interfaces::Table;
use crate::profile::{Catalog, Profile};
use crate::provision::Roots;

use plan::Plan;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which DHCP server
    #[arg(value_enum)]
    server: Server,
    /// Only for this vendor's phones (may be given several times)
    #[arg(long, value_name = "VENDOR")]
    vendor: Vec<String>,
    /// For every vendor that has a profile, whatever the inventory holds
    #[arg(long, conflicts_with = "vendor")]
    all: bool,
    /// This host as the phones reach it (default: the address of the only interface)
    #[arg(long, value_name = "ADDRESS", conflicts_with = "interface")]
    host: Option<Ipv4Addr>,
    /// The interface towards the phones
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

/// DHCP servers whose configuration can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Server {
    /// dnsmasq (Pi-hole, libvirt, many routers)
    Dnsmasq,
    /// ISC Kea
    Kea,
    /// ISC DHCP (dhcpd)
    Isc,
    /// MikroTik RouterOS 7
    Mikrotik,
    /// Windows Server (PowerShell)
    Windows,
    /// OPNsense
    Opnsense,
    /// UniFi gateways
    Unifi,
    /// OpenWrt (UCI)
    Openwrt,
    /// Cisco IOS and IOS XE
    CiscoIos,
    /// FRITZ!Box: it cannot, and what to do instead
    Fritzbox,
}

impl Server {
    fn text(self, plan: &Plan) -> String {
        match self {
            Self::Dnsmasq => dnsmasq::text(plan),
            Self::Kea => kea::text(plan),
            Self::Isc => isc::text(plan),
            Self::Mikrotik => mikrotik::text(plan),
            Self::Windows => windows::text(plan),
            Self::Opnsense => opnsense::text(plan),
            Self::Unifi => unifi::text(plan),
            Self::Openwrt => openwrt::text(plan),
            Self::CiscoIos => cisco::text(plan),
            Self::Fritzbox => fritzbox::text(plan),
        }
    }
}

#[derive(Serialize)]
struct Printed<'p> {
    server: Server,
    #[serde(flatten)]
    plan: &'p Plan,
    text: &'p str,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    let chosen = vendors::chosen(&args.vendor, args.all, &catalog, context).await?;
    let profiles: Vec<Arc<Profile>> = chosen.into_iter().map(|chosen| chosen.profile).collect();
    let host = host(&args, context)?;
    let roots = Roots::of(&context.config);
    if roots.at(IpAddr::V4(host)).is_none() {
        let message = format!("no service for files listens on {host}");
        return Err(Failure::no("no_files", message, "set http.listen, for example to \"0.0.0.0:8480\""));
    }
    let plan = Plan::new(&profiles, &roots.dhcp_place(host, &context.config));
    if plan.groups.is_empty() {
        let message = "none of these vendors' phones reads its server from DHCP";
        return Err(Failure::no("nothing_to_say", message, "offhook url shows what to type into the phones"));
    }
    let text = args.server.text(&plan);
    if context.json {
        output::value(&Printed { server: args.server, plan: &plan, text: &text });
    } else {
        output::print(&text);
    }
    Ok(())
}

/// The address that the phones are told.
fn host(args: &Args, context: &Context) -> Result<Ipv4Addr, Failure> {
    if let Some(host) = args.host {
        return Ok(host);
    }
    let table = Table::read(&context.config.agent.interfaces).map_err(|error| {
        let message = format!("cannot read the interfaces: {error}");
        Failure::failed("network", message, "name the address: --host ADDRESS")
    })?;
    let of_name = |name: &str| args.interface.as_deref().is_none_or(|wanted| wanted == name);
    let interfaces = table.interfaces().iter().filter(|interface| of_name(&interface.name));
    let addresses: Vec<(&str, Ipv4Addr)> = interfaces
        .flat_map(|interface| {
            interface.addresses.iter().map(|(address, _)| (interface.name.as_str(), *address))
        })
        .collect();
    match addresses.as_slice() {
        [(_, address)] => Ok(*address),
        [] => {
            let what = args.interface.as_deref().map_or("this host has no interface".to_owned(), |name| {
                format!("there is no interface '{name}'")
            });
            let message = format!("{what} that phones could reach");
            Err(Failure::no("no_interface", message, "name the address: --host ADDRESS"))
        }
        several => {
            let several: Vec<String> =
                several.iter().map(|(name, address)| format!("{address} ({name})")).collect();
            let message = format!("phones may reach this host at {}", several.join(", "));
            Err(Failure::usage("which_address", message, "choose one: --host ADDRESS or --interface NAME"))
        }
    }
}
