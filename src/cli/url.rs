//! `offhook url`: the exact path to type into a phone, and where. Without an argument, for every vendor; for a MAC, the
//! URL that is this phone's own.

use std::net::IpAddr;

use serde::Serialize;

use super::{Context, Failure, Outcome, open, output};
use crate::device::{Mac, Vendor};
use crate::net::interfaces::Table;
use crate::profile::{Catalog, Profile};
use crate::provision::{Root, Roots};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A vendor (`snom`) or a phone's MAC address
    #[arg(value_name = "VENDOR|MAC")]
    whose: Option<String>,
    /// This host as the phones reach it (default: the address of each interface)
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// The URL for TLS, for phones that trust our authority (offhook tls ca) or look at no certificate
    #[arg(long)]
    https: bool,
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
    let hosts = hosts(&args, context)?;
    let rows = match args.whose.as_deref() {
        None => catalog.profiles().flat_map(|profile| shared(&catalog, profile.vendor(), &hosts)).collect(),
        Some(whose) => match whose.parse::<Mac>() {
            Ok(mac) => own(&catalog, mac, &hosts, context).await?,
            Err(_) => of_vendor(&catalog, &Vendor::new(whose), &hosts)?,
        },
    };
    output::listing(context.json, &rows, &["VENDOR", "TYPE THIS", "WHERE"], |row| {
        vec![row.vendor.to_string(), row.url.clone(), row.place.clone()]
    });
    Ok(())
}

/// The addresses of this host that a phone may reach and where files are served, and by which services.
struct Hosts {
    addresses: Vec<IpAddr>,
    roots: Roots,
}

impl Hosts {
    /// What a phone of this profile can use, address by address.
    fn of<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = (Root, IpAddr)> + 'a {
        self.addresses.iter().filter_map(|host| Some((self.roots.for_phone(*host, profile)?, *host)))
    }
}

fn hosts(args: &Args, context: &Context) -> Result<Hosts, Failure> {
    let config = &context.config;
    let roots = if args.https {
        Roots { https: config.https.listen.address(), ..Roots::default() }
    } else {
        Roots::of(config)
    };
    if roots.is_empty() {
        let off = if args.https {
            "https.listen is off"
        } else {
            "http.listen, https.listen and tftp.listen are off"
        };
        return Err(Failure::no("no_files", off, "switch one of them on"));
    }
    let hosts = match args.host {
        Some(host) => vec![host],
        None => interface_addresses(context)?,
    };
    if hosts.is_empty() {
        let message = "this host has no interface that phones could reach";
        return Err(Failure::no("no_interface", message, "name its address: offhook url --host ADDRESS"));
    }
    served(hosts, roots)
}

/// The addresses at which somebody answers: a URL that answers nothing is not handed out.
fn served(mut addresses: Vec<IpAddr>, roots: Roots) -> Result<Hosts, Failure> {
    let asked: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.retain(|host| roots.at(*host).is_some());
    if addresses.is_empty() {
        let message = format!("no service for files listens on {}", asked.join(", "));
        return Err(Failure::no("no_files", message, "set http.listen, for example to \"0.0.0.0:8480\""));
    }
    Ok(Hosts { addresses, roots })
}

fn interface_addresses(context: &Context) -> Result<Vec<IpAddr>, Failure> {
    let table = Table::read(&context.config.agent.interfaces).map_err(|error| {
        let message = format!("cannot read the interfaces: {error}");
        Failure::failed("network", message, "name the address: offhook url --host ADDRESS")
    })?;
    let addresses = table.interfaces().iter().flat_map(|interface| &interface.addresses);
    Ok(addresses.map(|(address, _)| IpAddr::V4(*address)).collect())
}

fn of_vendor(catalog: &Catalog, vendor: &Vendor, hosts: &Hosts) -> Result<Vec<Row>, Failure> {
    let rows = shared(catalog, vendor, hosts);
    if rows.is_empty() && catalog.get(vendor).is_some() {
        return Err(no_way(vendor));
    }
    if rows.is_empty() {
        let known: Vec<&str> = catalog.profiles().map(|profile| profile.vendor().as_str()).collect();
        let message = format!("'{vendor}' is neither a MAC address nor a vendor with a profile");
        return Err(Failure::no("not_found", message, format!("known vendors: {}", known.join(", "))));
    }
    Ok(rows)
}

fn shared(catalog: &Catalog, vendor: &Vendor, hosts: &Hosts) -> Vec<Row> {
    let Some(profile) = catalog.get(vendor) else { return Vec::new() };
    let row = |(root, host): (Root, IpAddr)| {
        let manual = profile.manual(&root.url(host));
        Row { vendor: vendor.clone(), mac: None, place: manual.place, url: manual.value }
    };
    hosts.of(profile).map(row).collect()
}

fn no_way(vendor: &Vendor) -> Failure {
    let message = format!("only TFTP listens, which the phones of {vendor} do not speak");
    Failure::no("no_files", message, "set http.listen, for example to \"0.0.0.0:8480\"")
}

/// One phone's own URL. It opens that phone's configuration, so only the owner of the inventory may see it.
async fn own(catalog: &Catalog, mac: Mac, hosts: &Hosts, context: &Context) -> Result<Vec<Row>, Failure> {
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
    let row = |(root, host): (Root, IpAddr)| {
        let base = root.own_url(host, &token);
        let url = profile.provisioning_url(&base, mac, device.model.as_deref()).unwrap_or(base);
        Row { vendor: profile.vendor().clone(), mac: Some(mac), place: profile.manual("").place, url }
    };
    let rows: Vec<Row> = hosts.of(profile).map(row).collect();
    if rows.is_empty() { Err(no_way(profile.vendor())) } else { Ok(rows) }
}
