//! Looks for other servers before anybody new is answered on an interface, and meets other agents that do the same.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::house::Place;
use super::sweep::Ending;
use super::{Done, Worker};
use crate::dhcp::Packet;
use crate::dhcp::ask::{self, Turn};
use crate::dhcp::lease::{Input, Stand};
use crate::dhcp::probe::{Asker, Responder};

/// A search under way.
pub(super) struct Search {
    place: Place,
    /// Tells its end from the end of an earlier one.
    number: u64,
    /// Whether leases are given when nobody is found; otherwise it is only for who reads the log.
    is_candidate: bool,
    /// Whether a person has switched on.
    switch_on: bool,
    /// `None`: it failed, and is tried again.
    task: Option<Ending>,
}

impl Worker {
    /// Looks for other servers before anybody new is answered there.
    pub(super) fn search(&mut self, place: Place, name: &str, is_candidate: bool, switch_on: bool) {
        if let Some(waiting) = self.searches.get_mut(&place.interface)
            && waiting.is_candidate >= is_candidate
        {
            waiting.switch_on |= switch_on;
            return;
        }
        self.begin_search(place, name, is_candidate, switch_on);
    }

    fn begin_search(&mut self, place: Place, name: &str, is_candidate: bool, switch_on: bool) {
        let Place { interface, address, mac, .. } = place;
        let (clock, entropy) = (self.parts.clock.clone(), self.parts.entropy.clone());
        // Whoever else wants to ask there in the next minutes waits.
        if let Err(error) = Turn::take(&self.parts.data, name, &clock) {
            debug!("Cannot write down when {name} was searched: {error}");
        }
        info!(
            "Looks for other DHCP servers on {name} for half a minute; until then only leases are renewed there"
        );
        self.last_search += 1;
        let number = self.last_search;
        let task = self.tasks.spawn(async move {
            let asker = Asker { interface, address, mac };
            let found = ask::search(asker, is_candidate, &clock, &entropy).await;
            Done::Searched { interface, number, found }
        });
        let search = Search { place, number, is_candidate, switch_on, task: Some(Ending::of(task)) };
        self.searches.insert(interface, search);
    }

    /// Tries again what failed.
    pub(super) fn search_again(&mut self) {
        let failed = self.searches.extract_if(|_, search| search.task.is_none());
        let failed: Vec<Search> = failed.map(|(_, search)| search).collect();
        for search in failed {
            if let Some(name) = self.names.get(&search.place.interface).cloned() {
                self.begin_search(search.place, &name, search.is_candidate, search.switch_on);
            }
        }
    }

    pub(super) fn searched(
        &mut self,
        interface: u32,
        number: u64,
        found: io::Result<BTreeSet<Responder>>,
        now: Instant,
    ) {
        let Some(search) = self.searches.get_mut(&interface).filter(|search| search.number == number) else {
            return;
        };
        let Some(name) = self.names.get(&interface).cloned() else { return };
        let switch_on = search.switch_on;
        let others = match found {
            Ok(found) => found.into_iter().find(|one| one.is_own_hosts || !self.table.is_ours(one.id)),
            Err(error) => {
                search.task = None;
                return warn!("Cannot look for other DHCP servers on {name}: {error}; it is tried again");
            }
        };
        self.searches.remove(&interface);
        self.searched.insert(interface);
        if others.is_none() {
            info!("No other DHCP server answers on {name}");
        }
        for house in &mut self.houses {
            let range = house.pool.range;
            let Some(up) = house.on(interface) else { continue };
            if up.server.settings().shared || up.server.settings().relay.is_some() {
                continue;
            }
            match others {
                Some(other) => up.server.handle(Input::Foreign { server: other.id }, now),
                None if switch_on => up.server.handle(Input::SwitchedOn, now),
                None if up.server.stand() == Stand::Serving => {
                    info!("DHCP leases of {range} on {name} are given");
                }
                None => {}
            }
        }
        if let Some(other) = others {
            self.note_foreign(interface, &name, other.id, now);
        }
    }

    /// Another agent, `other`, wants to give leases on this network as well.
    pub(super) fn meet_rival(&mut self, packet: &Packet, other: Ipv4Addr, now: Instant) {
        let search = self.searches.get(&packet.interface).filter(|search| search.is_candidate);
        let searching = search.map(|search| search.place.address);
        for up in self.houses.iter_mut().filter_map(|house| house.on(packet.interface)) {
            if up.server.fits(packet) {
                up.server.handle(Input::Rival { packet, other, searching }, now);
            }
        }
        self.act();
    }
}
