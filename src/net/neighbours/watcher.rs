//! Looks at the link of every interface that comes or changes: who is there already, and whether somebody answers for
//! addresses that nobody should have.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tracing::{debug, warn};

use super::arp::Arp;
use super::bridge::{self, Links};
use super::netlink::Netlink;
use crate::clock::Clock;
use crate::device::Mac;
use crate::net::arp::Ourselves;
use crate::net::interfaces::{Interface, Interfaces, Table};

/// The kernel's routes of the namespace that this thread is in.
const ROUTES: &str = "/proc/thread-self/net/route";

/// What is needed to look.
pub(super) struct Watcher {
    pub(super) interfaces: Interfaces,
    pub(super) links: Arc<Mutex<Links>>,
    /// `None` where nothing may be asked.
    pub(super) arp: Option<Arc<Arp>>,
    pub(super) netlink: Netlink,
    pub(super) clock: Clock,
}

impl Watcher {
    /// Looks now, and whenever an interface comes or changes; never ends.
    pub(super) async fn run(mut self) {
        let mut known = Arc::new(Table::default());
        loop {
            let now = self.interfaces.current();
            let is_new = |interface: &&Interface| !known.interfaces().contains(interface);
            let fresh: Vec<Interface> = now.interfaces().iter().filter(is_new).cloned().collect();
            let is_there = |index| now.interfaces().iter().any(|interface| interface.index == index);
            lock(&self.links).retain(is_there);
            self.renew(&fresh);
            join_all(fresh.iter().map(|interface| self.probe(interface))).await;
            for interface in &fresh {
                self.say(interface);
            }
            known = now;
            self.interfaces.changed().await;
        }
    }

    /// Begins anew with what the kernel knows about the interfaces' neighbours.
    fn renew(&mut self, fresh: &[Interface]) {
        let gateways = bridge::gateways(&std::fs::read_to_string(ROUTES).unwrap_or_default());
        let of = |interface: &Interface| {
            let own = gateways.iter().filter(|(name, _)| *name == interface.name);
            own.map(|(_, gateway)| *gateway).collect()
        };
        let neighbours = self.netlink.table().unwrap_or_else(|error| {
            debug!("Cannot read the whole neighbour table: {error}");
            Vec::new()
        });
        let now = self.clock.instant();
        let mut links = lock(&self.links);
        for interface in fresh {
            links.renew(interface.index, of(interface));
            for (place, mac) in neighbours.iter().filter(|(place, _)| place.interface == interface.index) {
                if place.address.is_ipv4() {
                    links.learn(*place, *mac, now);
                }
            }
        }
    }

    /// Asks for addresses that nobody should have. Somebody who answers for all of them answers for everybody.
    async fn probe(&self, interface: &Interface) {
        let (Some(arp), Some(mac)) = (&self.arp, interface.mac) else { return };
        for (ours, subnet) in &interface.addresses {
            let spread = mac.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(interface.index);
            let asked = bridge::unlikely_addresses(*subnet, *ours, spread);
            let ourselves = Ourselves { mac, address: *ours };
            let question = |address: &Ipv4Addr| {
                let watch = arp.watch(interface.index, *address);
                async move { watch.round(ourselves).await.owner() }
            };
            let owners: Option<Vec<Mac>> = join_all(asked.iter().map(question)).await.into_iter().collect();
            let Some([first, rest @ ..]) = owners.as_deref() else { continue };
            if rest.iter().all(|owner| owner == first) {
                lock(&self.links).found_proxy(interface.index, *first);
            }
        }
    }

    fn say(&self, interface: &Interface) {
        if let Some(behind) = lock(&self.links).all_behind(interface.index, self.clock.instant()) {
            let name = &interface.name;
            warn!(
                "On {name} every address answers with {behind}: a container bridge, or a proxy for everybody. Which \
                 phone asks cannot be told there, so no password leaves by {name}. Run offhook in the host's own \
                 network (docker and podman: --network host; compose: network_mode: host)"
            );
        }
    }
}

fn lock(links: &Mutex<Links>) -> std::sync::MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}
