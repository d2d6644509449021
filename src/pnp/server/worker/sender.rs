//! Who sent a SUBSCRIBE: whether the neighbour behind the datagram has the MAC that is written in it. A phone is not
//! answered in the name of another one, whatever stands in the inventory.

use std::net::IpAddr;

use tracing::debug;

use super::super::count;
use super::{Busy, Case, Waited, Worker};
use crate::alarm::{Alarm, AlarmKind};
use crate::device::Mac;
use crate::net::neighbours::Behind;
use crate::pnp::decide::Standing;

/// Said of a SUBSCRIBE that another host than the phone sent.
const IMPOSTOR: &str = "asked for by another phone";
/// Said of a SUBSCRIBE whose sender answers no ARP.
const SILENT: &str = "nobody answers at its address";
/// Said of a SUBSCRIBE that this host sent to itself: it has no neighbour entry, and is no phone.
const OURSELVES: &str = "asked for by this host itself";

impl Worker {
    /// Goes on with what the neighbour table says, or asks the link and goes on later. Who only observes asks nobody.
    pub(super) fn look_at_sender(&mut self, case: Case, mac: Mac) {
        let peer = IpAddr::V4(*case.peer.phone.ip());
        if self.parts.observe {
            return self.go_on_as(case, mac, Behind::Indistinct, false);
        }
        if let Some(behind) = self.parts.neighbours.glance(peer, case.peer.interface, mac) {
            return self.go_on_as(case, mac, behind, false);
        }
        // Strangers must not use up the questions that are there for the fleet.
        let is_new = !self.memory.has(&case.names);
        if is_new && !self.admits(&case, mac) || !self.may_wait(Busy::Checking(mac, case.peer.phone)) {
            return;
        }
        let neighbours = self.parts.neighbours.clone();
        self.waiting.spawn(async move {
            let behind = neighbours.check(peer, case.peer.interface, mac).await;
            Waited::Checked(case, mac, behind, is_new)
        });
    }

    /// The sender is known as far as it can be. Where all neighbours look alike, nothing contradicts what it writes,
    /// and nothing proves it: it is heard, and gets no URL.
    pub(super) fn go_on_as(&mut self, case: Case, mac: Mac, behind: Behind, admitted: bool) {
        match behind {
            Behind::Same => self.consider(case, mac, true, admitted),
            Behind::Indistinct => self.consider(case, mac, false, admitted),
            Behind::Other(_) | Behind::Contested(_) => {
                count(&self.counters.impostors);
                self.alarm_impostor(&case, mac, behind);
                self.refuse(&case, mac, IMPOSTOR, admitted);
            }
            Behind::Silent => {
                let reason = if self.table.is_ours(*case.peer.phone.ip()) { OURSELVES } else { SILENT };
                self.refuse(&case, mac, reason, admitted);
            }
            Behind::Unable => {
                count(&self.counters.limited);
                debug!(device.mac = %mac, "Dropped a SUBSCRIBE of {mac}: too many neighbours are being asked");
            }
        }
    }

    /// Records it, and answers nothing.
    fn refuse(&mut self, case: &Case, mac: Mac, reason: &'static str, admitted: bool) {
        let caller = (mac, *case.peer.phone.ip());
        if !admitted && !self.memory.hears_stranger(caller, self.parts.clock.instant()) {
            return count(&self.counters.limited);
        }
        let identity = self.identify(case, mac);
        self.answer(case, &identity, &Standing::Ignored(reason));
    }

    /// Somebody asks in the name of a phone.
    fn alarm_impostor(&self, case: &Case, mac: Mac, behind: Behind) {
        let phone = case.peer.phone;
        let (kind, why) = match behind {
            Behind::Other(other) => (AlarmKind::Impostor, format!("{other} is there")),
            Behind::Contested(sign) => (AlarmKind::Clone, sign.to_string()),
            Behind::Same | Behind::Silent | Behind::Indistinct | Behind::Unable => return,
        };
        let text = format!("{phone} asked by PnP in the name of {mac}, and was not answered: {why}");
        debug!(device.mac = %mac, "{text}");
        self.parts.alarms.raise(Alarm { kind, mac: Some(mac), peer: Some(IpAddr::V4(*phone.ip())), text });
    }
}
