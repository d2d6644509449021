//! Who a client is, and what its profile has to tell it: from memory, without waiting.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::device::{Approval, Mac, Vendor};
use crate::dhcp::Packet;
use crate::dhcp::decide::{Standing, Who};
use crate::dhcp::message::{Kind, code};
use crate::net::interfaces::Table;
use crate::profile::{Catalog, class_text};
use crate::provision::{Admission, Roots, Votes, admission, is_known};
use crate::store::Inventory;

/// A server that was silent for so long may be a client again.
const SERVER_FOR: Duration = Duration::from_hours(1);
/// Servers that are remembered; a link has one or two.
const SERVERS_MAX: usize = 1_024;
/// Addresses of ours for which the values of each vendor are kept.
const PLACES_MAX: usize = 64;

/// What a client is told, by option.
pub(super) type Values = Arc<BTreeMap<u8, Vec<u8>>>;

/// What is known of clients.
pub(super) struct Clients {
    config: Arc<Config>,
    catalog: Arc<Catalog>,
    roots: Roots,
    votes: Votes,
    values: HashMap<Ipv4Addr, HashMap<Vendor, Values>>,
    servers: HashMap<Mac, Instant>,
}

/// A client, as far as it is known.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) who: Who,
    pub(super) values: Values,
}

impl Clients {
    pub(super) fn new(config: Arc<Config>, catalog: Arc<Catalog>, roots: Roots) -> Self {
        let (votes, values, servers) = Default::default();
        Self { config, catalog, roots, votes, values, servers }
    }

    /// Remembers who answers, so that nobody answers it.
    pub(super) fn hear(&mut self, packet: &Packet, now: Instant) {
        let answers = matches!(packet.message.kind, Kind::Offer | Kind::Ack | Kind::Nak);
        // A relay passes other servers' answers on, and is none.
        let Some(sender) = packet.sender.filter(|_| answers && packet.message.from_server) else { return };
        if self.servers.len() >= SERVERS_MAX {
            self.servers.retain(|_, at| now.saturating_duration_since(*at) < SERVER_FOR);
        }
        if self.servers.len() < SERVERS_MAX {
            self.servers.insert(sender, now);
        }
    }

    /// Who asks, and what it would be told from our address `host`.
    pub(super) fn find(
        &mut self,
        packet: &Packet,
        host: Option<Ipv4Addr>,
        inventory: &Inventory,
        now: Instant,
    ) -> Client {
        let (mac, options) = (packet.message.mac, &packet.message.options);
        let owner = self.catalog.range_owner(mac).cloned();
        let owner = owner.as_ref().map(|profile| profile.vendor());
        let device = inventory.device(mac);
        let is_server =
            self.servers.get(&mac).is_some_and(|at| now.saturating_duration_since(*at) < SERVER_FOR);
        if owner.is_none() && device.is_none() {
            let who = Who { oui: false, class: false, standing: Standing::Unwelcome, is_server };
            return Client { who, values: Values::default() };
        }
        let class = options.get(code::VENDOR_CLASS);
        let text = class.map(class_text);
        let catalog = &self.catalog;
        let vote = || catalog.identify_client(class, mac).identity;
        let identity = self.votes.identity(text.as_deref().into_iter(), mac, owner, vote);
        let known = is_known(&identity, catalog);
        let standing = match admission(&identity, device.as_deref(), &self.config.adopt, known) {
            Admission::Serve => Standing::Approved,
            Admission::Adopt => Standing::Welcome,
            Admission::Pending => Standing::Pending,
            Admission::Ignore(_) => {
                let blocked = device.as_ref().is_some_and(|device| device.approval == Approval::Blocked);
                if blocked { Standing::Blocked } else { Standing::Unwelcome }
            }
        };
        let says_so = class.is_some() && identity.vendor.is_some() && identity.vendor.as_ref() == owner;
        let who = Who { oui: owner.is_some(), class: says_so, standing, is_server };
        let known = device.as_ref().and_then(|device| device.vendor.as_ref());
        let vendor = known.or(identity.vendor.as_ref()).or(owner);
        let values = vendor.zip(host).map(|(vendor, host)| self.values(vendor, host));
        Client { who, values: values.unwrap_or_default() }
    }

    fn values(&mut self, vendor: &Vendor, host: Ipv4Addr) -> Values {
        if let Some(values) = self.values.get(&host).and_then(|here| here.get(vendor)) {
            return Arc::clone(values);
        }
        if self.values.len() >= PLACES_MAX {
            self.values.clear();
        }
        let place = self.roots.dhcp_place(host, &self.config);
        let values = self.catalog.get(vendor).map(|profile| profile.dhcp_values(&place));
        let values = Values::new(values.unwrap_or_default());
        self.values.entry(host).or_default().insert(vendor.clone(), Arc::clone(&values));
        values
    }
}

/// The address of ours that the client of this message would find us at: the one it asks, else the one in its network,
/// else the interface's first.
pub(super) fn host_for(packet: &Packet, table: &Table) -> Option<Ipv4Addr> {
    let asked = Some(*packet.to.ip()).filter(|to| table.is_ours(*to));
    let message = &packet.message;
    let near = || {
        let places = [message.giaddr, message.ciaddr].into_iter().filter(|place| !place.is_unspecified());
        places.filter_map(|place| table.on_link(place, Some(packet.interface))).map(|(_, ours)| ours).next()
    };
    let first = || {
        let interface = table.interfaces().iter().find(|one| one.index == packet.interface)?;
        interface.addresses.first().map(|(address, _)| *address)
    };
    asked.or_else(near).or_else(first)
}
