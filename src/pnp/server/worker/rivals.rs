//! Other servers for phones: looked for regularly, and told of when one is heard.

use std::net::SocketAddrV4;

use bytes::Bytes;
use tracing::{info, trace, warn};

use super::super::{Arrival, PnpParts};
use super::Worker;
use crate::alarm::{Alarm, AlarmKind};
use crate::config::PnpRivals;
use crate::device::Source;
use crate::pnp::names::Peer;
use crate::pnp::rival::{self, Rivals, Sign};
use crate::profile::Catalog;

/// Who is asked for as the profiles' phones ask, unless nothing may be sent.
pub(super) fn of(parts: &PnpParts) -> Rivals {
    let config = &parts.config;
    // A demonstration on loopback has nobody to ask.
    let table = parts.interfaces.current();
    let has_lan = table.interfaces().is_empty() || table.interfaces().iter().any(|link| !link.loopback);
    let searches = config.probe && !parts.observe && has_lan;
    let yields = config.rivals == PnpRivals::Yield;
    Rivals::new(events(&parts.catalog), parts.store.name(), searches, yields, parts.clock.instant())
}

/// The Event headers of the questions: one of each vendor whose phones ask by multicast.
pub(in crate::pnp::server) fn events(catalog: &Catalog) -> Vec<String> {
    let mut events: Vec<String> = catalog
        .profiles()
        .filter(|profile| profile.reach().pnp)
        .filter_map(|profile| profile.example_of(Source::SipEvent))
        .map(str::to_owned)
        .collect();
    events.sort();
    events.dedup();
    events
}

impl Worker {
    /// Asks on every interface, when it is time.
    pub(super) fn look_for_rivals(&mut self) {
        let Some(gone) = self.rivals.handle_timeout(self.parts.clock.instant()) else { return };
        for rival in gone {
            info!("{rival} does not answer phones any more");
        }
        let group = SocketAddrV4::new(self.parts.config.group, self.parts.config.port);
        for interface in self.table.interfaces().iter().filter(|interface| !interface.loopback) {
            let Some((address, _)) = interface.addresses.first() else { continue };
            let ours = SocketAddrV4::new(*address, self.reply_port);
            let peer = Peer { phone: group, ours, interface: interface.index };
            let questions = self.rivals.questions(ours, group);
            self.outbox.extend(questions.into_iter().map(|question| (peer, Bytes::from(question))));
        }
    }

    /// Somebody looks for rivals; `other`: with another database than ours.
    pub(super) fn heard_a_probe(&mut self, arrival: &Arrival, other: bool) {
        if other && !self.table.is_ours(*arrival.from.ip()) {
            self.heard_a_rival(arrival, Sign::Question);
        }
    }

    /// A request to our unicast port: the NOTIFY of a rival that we have asked, or nothing of ours.
    pub(super) fn heard_a_notify(&mut self, arrival: &Arrival) {
        let Some((call_id, answer)) = rival::notified(&arrival.bytes) else { return };
        let on_link = self.table.on_link(*arrival.from.ip(), Some(arrival.interface));
        let Some((_, ours)) = on_link.filter(|_| self.rivals.is_answer(&call_id)) else {
            return trace!("Nothing of ours from {}", arrival.from);
        };
        let ours = SocketAddrV4::new(ours, self.reply_port);
        let peer = Peer { phone: arrival.from, ours, interface: arrival.interface };
        self.outbox.push((peer, Bytes::from(answer)));
        self.heard_a_rival(arrival, Sign::Answer);
    }

    /// Only who is on the link has heard our question, or asks the phones there.
    pub(super) fn heard_a_rival(&mut self, arrival: &Arrival, sign: Sign) {
        let address = *arrival.from.ip();
        let is_on_link = self.table.on_link(address, Some(arrival.interface)).is_some();
        if !is_on_link || !self.rivals.hear(address, self.parts.clock.instant()) {
            return;
        }
        let text = rival::told(address, sign, self.parts.config.rivals == PnpRivals::Yield);
        warn!("{text}");
        self.parts.alarms.raise(Alarm {
            kind: AlarmKind::Rival,
            mac: None,
            peer: Some(address.into()),
            text,
        });
    }
}
