//! One pool and its network: whether it can be served there, and what stands in the way. Holds the machine that gives
//! its leases as long as it can.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::sweep::Ending;
use crate::config::{DhcpConfig, PoolConfig, Router};
use crate::device::Mac;
use crate::dhcp::lease::{Server, Settings, Stand};
use crate::net::Prefix;
use crate::net::interfaces::{Interface, Table};
use crate::net::sink::Sink;
use crate::store::{Reservation, SwitchState, Switches};

/// A pool as it is configured, and how it is doing.
pub(super) struct House {
    pub(super) pool: PoolConfig,
    /// Its interface.
    pub(super) name: Arc<str>,
    /// Counts its starts, so that what was begun for an earlier one is not taken for this one's.
    pub(super) epoch: u64,
    pub(super) state: State,
}

pub(super) enum State {
    /// It cannot be served, and this is why.
    Down(String),
    /// Its leases are being read.
    Opening(Place),
    Up(Box<Up>),
}

pub(super) struct Up {
    pub(super) server: Server,
    pub(super) place: Place,
    /// Nobody else has the port, and nobody who renews is told that nobody has it. None in a dry run.
    pub(super) _sink: Option<Arc<Sink>>,
    /// Its free addresses are being asked for.
    pub(super) sweep: Option<Ending>,
}

/// Where a pool is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) interface: u32,
    pub(super) address: Ipv4Addr,
    pub(super) prefix: Prefix,
    pub(super) mac: Mac,
}

/// What another server tells its clients about their network.
#[derive(Debug, Clone, Default)]
pub(super) struct Overheard {
    pub(super) router: Option<Ipv4Addr>,
    pub(super) dns: Vec<Ipv4Addr>,
}

impl House {
    pub(super) fn new(pool: PoolConfig) -> Self {
        let name = pool.interface.as_str().into();
        Self { pool, name, epoch: 0, state: State::Down("it has not begun yet".to_owned()) }
    }

    /// The machine on this interface, if it runs.
    pub(super) fn on(&mut self, interface: u32) -> Option<&mut Up> {
        match &mut self.state {
            State::Up(up) if up.place.interface == interface => Some(up),
            State::Up(_) | State::Opening(_) | State::Down(_) => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<std::time::Instant> {
        match &self.state {
            State::Up(up) => up.server.poll_timeout(),
            State::Opening(_) | State::Down(_) => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: std::time::Instant) {
        if let State::Up(up) = &mut self.state {
            up.server.handle_timeout(now);
        }
    }

    /// Where it is served now, or will be.
    pub(super) fn place(&self) -> Option<Place> {
        match &self.state {
            State::Up(up) => Some(up.place),
            State::Opening(place) => Some(*place),
            State::Down(_) => None,
        }
    }

    /// What its machine is built from.
    pub(super) fn settings(
        &self,
        place: Place,
        config: &DhcpConfig,
        table: &Arc<Table>,
        overheard: Option<&Overheard>,
        (reservations, foreign_seen): (&[Reservation], bool),
    ) -> Result<Settings, String> {
        let pool = &self.pool;
        let router = match (pool.router, overheard.and_then(|heard| heard.router)) {
            (Some(Router::At(router)), _) => Some(router),
            (Some(Router::None), _) => None,
            (None, Some(router)) if place.prefix.contains(router) => Some(router),
            (None, _) => {
                return Err("its router is not known, and no server was heard that says it; write router = \
                            \"ADDRESS\" or router = \"none\" in this dhcp.pool"
                    .to_owned());
            }
        };
        let copied = || overheard.map(|heard| heard.dns.clone()).unwrap_or_default();
        let mut settings = Settings {
            interface: place.interface,
            address: place.address,
            table: Arc::clone(table),
            prefix: place.prefix,
            first: pool.range.first,
            last: pool.range.last,
            relay: pool.relay,
            router,
            dns: pool.dns.clone().unwrap_or_else(copied),
            domain: pool.domain.clone(),
            ntp: pool.ntp.into_iter().collect(),
            lease: pool.lease,
            shared: pool.shared,
            serve_all: pool.serve_all,
            dry_run: config.dry_run,
            answers_per_s: config.answers_per_s,
            reservations: BTreeMap::new(),
            foreign_seen,
            foreign_lease: None,
        };
        settings.reservations = kept_here(&settings, reservations);
        Ok(settings)
    }

    /// For `offhook dhcp status`.
    pub(super) fn report(&self, is_searched: bool) -> Value {
        let (state, note, used) = match &self.state {
            State::Down(why) => ("down", why.clone(), (0, 0)),
            State::Opening(_) => ("starting", "reads its leases".to_owned(), (0, 0)),
            State::Up(up) => {
                let (state, note) = stand(up.server.stand(), is_searched);
                (state, note, up.server.used())
            }
        };
        let PoolConfig { range, relay, shared, serve_all, .. } = &self.pool;
        json!({
            "range": range.to_string(), "relay": relay, "shared": shared, "serve_all": serve_all,
            "state": state, "note": note, "taken": used.0, "size": used.1,
        })
    }
}

/// Where this pool could be served, or why it cannot.
pub(super) fn find_place(pool: &PoolConfig, table: &Table) -> Result<Place, String> {
    let PoolConfig { interface: name, range, relay, network, .. } = pool;
    let interface = table.interfaces().iter().find(|one| one.name == *name);
    let Some(interface) = interface else {
        return Err(format!("{name} is not there, not up, or has no IPv4 address"));
    };
    let Interface { index, mac: Some(mac), .. } = *interface else {
        return Err(format!(
            "{name} has no hardware address, so neither other DHCP servers nor the hosts that have an address already \
             can be found there; choose an Ethernet interface"
        ));
    };
    if let (Some(relay), Some(network)) = (relay, network) {
        let near = table.on_link(*relay, Some(index)).map(|(_, ours)| ours);
        let address = near.or_else(|| interface.addresses.first().map(|(address, _)| *address));
        let address = address.ok_or_else(|| format!("{name} has no IPv4 address"))?;
        return Ok(Place { interface: index, address, prefix: *network, mac });
    }
    let fits = interface.addresses.iter().find(|(_, prefix)| range.is_within(*prefix));
    let Some((address, prefix)) = fits.copied() else {
        let has: Vec<String> =
            interface.addresses.iter().map(|(address, prefix)| written(*address, *prefix)).collect();
        return Err(format!(
            "the range {range} is not within a network of {name}, which has {}; change the range, or the address",
            has.join(", ")
        ));
    };
    Ok(Place { interface: index, address, prefix, mac })
}

/// The reservations of this network; one that nobody can have is left out, and said.
pub(super) fn kept_here(settings: &Settings, reservations: &[Reservation]) -> BTreeMap<Mac, Ipv4Addr> {
    let mut kept = BTreeMap::new();
    for one in reservations.iter().filter(|one| settings.prefix.contains(one.address)) {
        kept.insert(one.mac, one.address);
        if let Err(error) = settings.check_reservations(&kept) {
            kept.remove(&one.mac);
            tracing::warn!(device.mac = %one.mac, "A reservation is left out: {error}");
        }
    }
    kept
}

/// How a machine begins, as the switch stands.
pub(super) fn stand_of(switches: &Switches, interface: &str) -> Stand {
    let foreign = || switches.foreign(interface).and_then(|(by, _)| by.parse().ok());
    match switches.state(interface) {
        SwitchState::On => Stand::Serving,
        SwitchState::Renew => Stand::Yielding { server: foreign().unwrap_or(Ipv4Addr::UNSPECIFIED) },
        SwitchState::Off => Stand::Off { automatic: false },
    }
}

fn stand(stand: Stand, is_searched: bool) -> (&'static str, String) {
    match stand {
        Stand::Off { .. } => ("off", "nothing is sent; offhook dhcp on INTERFACE".to_owned()),
        Stand::Yielding { server } => {
            ("yielding", format!("{server} answers here; leases are renewed, nobody else is answered"))
        }
        Stand::Serving if is_searched => {
            ("probing", "looks for other DHCP servers; leases are renewed meanwhile".to_owned())
        }
        Stand::Serving => ("serving", String::new()),
    }
}

fn written(address: Ipv4Addr, prefix: Prefix) -> String {
    let text = prefix.to_string();
    let bits = text.split_once('/').map_or("32", |(_, bits)| bits);
    format!("{address}/{bits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_on_which_nobody_can_be_looked_for_is_not_served() {
        let address = Ipv4Addr::new(192, 168, 40, 1);
        let pool = |text: &str| {
            let text = format!("interface = \"tun0\"\nrange = \"192.168.40.100-192.168.40.119\"\n{text}");
            toml::from_str::<PoolConfig>(&text).unwrap()
        };
        let place = |mac: Option<Mac>, pool: &PoolConfig| {
            let interface = Interface {
                index: 7,
                name: "tun0".to_owned(),
                mac,
                addresses: vec![(address, Prefix::new(address, 24).unwrap())],
                up: true,
                multicast: true,
                loopback: false,
            };
            find_place(pool, &Table::of(vec![interface]))
        };
        let mac = "00:0d:b9:01:02:03".parse().unwrap();
        assert_eq!(place(Some(mac), &pool("")).unwrap().mac, mac);
        for more in ["", "shared = true", "relay = \"10.64.0.2\"\nnetwork = \"10.64.0.0/16\""] {
            let why = place(None, &pool(more)).unwrap_err();
            assert!(why.contains("tun0 has no hardware address") && why.contains("choose"), "{why}");
        }
    }
}
