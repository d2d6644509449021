//! `offhook url`: the exact path to type into a phone, and where. Without an argument, for every vendor; for a MAC, the
//! URL that is this phone's own.

use std::net::IpAddr;

use serde::Serialize;

use super::{Context, Failure, Outcome, open, output};
use crate::config::Listen;
use crate::device::{Mac, Vendor};
use crate::net::interfaces::Table;
use crate::profile::Catalog;
use crate::provision::Root;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A vendor (`snom`) or a phone's MAC address
    #[arg(value_name = "VENDOR|MAC")]
    whose: Option<String>,
    /// This host as the phones reach it (default: the address of each interface)
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
}

#[derive(Serialize)]
struct Row {
    vendor: Vendor,
    mac: Option<Mac>,
    #[serde(rename = "where")]
    place: String,
    url: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    let roots = roots(&args, context)?;
    let rows = match args.whose.as_deref() {
        None => catalog.profiles().flat_map(|profile| shared(&catalog, profile.vendor(), &roots)).collect(),
        Some(whose) => match whose.parse::<Mac>() {
            Ok(mac) => own(&catalog, mac, &roots, context).await?,
            Err(_) => of_vendor(&catalog, &Vendor::new(whose), &roots)?,
        },
    };
    output::listing(context.json, &rows, &["VENDOR", "TYPE THIS", "WHERE"], |row| {
        vec![row.vendor.to_string(), row.url.clone(), row.place.clone()]
    });
    Ok(())
}

/// The shared root under each address of this host that a phone may reach.
fn roots(args: &Args, context: &Context) -> Result<Vec<(Root, IpAddr)>, Failure> {
    let root = match (context.config.http.listen, context.config.tftp.listen) {
        (Listen::On(http), _) => Root::Http(http.port()),
        (Listen::Off, Listen::On(tftp)) => Root::Tftp(tftp.port()),
        (Listen::Off, Listen::Off) => {
            return Err(Failure::no(
                "no_files",
                "http.listen and tftp.listen are both off",
                "switch one of them on",
            ));
        }
    };
    let hosts = match args.host {
        Some(host) => vec![host],
        None => interface_addresses(context)?,
    };
    if hosts.is_empty() {
        let message = "this host has no interface that phones could reach";
        return Err(Failure::no("no_interface", message, "name its address: offhook url --host ADDRESS"));
    }
    Ok(hosts.into_iter().map(|host| (root, host)).collect())
}

fn interface_addresses(context: &Context) -> Result<Vec<IpAddr>, Failure> {
    let table = Table::read(&context.config.agent.interfaces).map_err(|error| {
        let message = format!("cannot read the interfaces: {error}");
        Failure::failed("network", message, "name the address: offhook url --host ADDRESS")
    })?;
    let addresses = table.interfaces().iter().flat_map(|interface| &interface.addresses);
    Ok(addresses.map(|(address, _)| IpAddr::V4(*address)).collect())
}

fn of_vendor(catalog: &Catalog, vendor: &Vendor, roots: &[(Root, IpAddr)]) -> Result<Vec<Row>, Failure> {
    let rows = shared(catalog, vendor, roots);
    if rows.is_empty() {
        let known: Vec<&str> = catalog.profiles().map(|profile| profile.vendor().as_str()).collect();
        let message = format!("'{vendor}' is neither a MAC address nor a vendor with a profile");
        return Err(Failure::no("not_found", message, format!("known vendors: {}", known.join(", "))));
    }
    Ok(rows)
}

fn shared(catalog: &Catalog, vendor: &Vendor, roots: &[(Root, IpAddr)]) -> Vec<Row> {
    let Some(profile) = catalog.get(vendor) else { return Vec::new() };
    let row = |(root, host): &(Root, IpAddr)| {
        let manual = profile.manual(&root.url(*host));
        Row { vendor: vendor.clone(), mac: None, place: manual.place, url: manual.value }
    };
    roots.iter().map(row).collect()
}

/// One phone's own URL. It opens that phone's configuration, so only the owner of the inventory may see it.
async fn own(
    catalog: &Catalog,
    mac: Mac,
    roots: &[(Root, IpAddr)],
    context: &Context,
) -> Result<Vec<Row>, Failure> {
    open::only_owner(context)?;
    let store = open::store(context).await?;
    let device = store.inventory().device(mac).ok_or_else(|| {
        Failure::no(
            "not_found",
            format!("{mac} is not in the inventory"),
            "offhook device list shows what is",
        )
    })?;
    let profile = device.vendor.as_ref().and_then(|vendor| catalog.get(vendor)).ok_or_else(|| {
        let message = format!("no profile is known for {mac}");
        Failure::no(
            "no_profile",
            message,
            "name its vendor in the accounts file, or let the phone be seen once",
        )
    })?;
    let token = store.bootstrap_token(&device)?;
    let row = |(root, host): &(Root, IpAddr)| {
        let base = root.own_url(*host, &token);
        let url = profile.provisioning_url(&base, mac, device.model.as_deref()).unwrap_or(base);
        Row { vendor: profile.vendor().clone(), mac: Some(mac), place: profile.manual("").place, url }
    };
    Ok(roots.iter().map(row).collect())
}
