//! What an administrator should look at, and when so much of it ends the answers.

use std::sync::Arc;
use std::time::Instant;

use super::{TOO_MANY, Worker};
use crate::alarm::{Alarm, AlarmKind};
use crate::device::Mac;
use crate::dhcp::Packet;
use crate::dhcp::lease::{self, Raised};
use crate::store::SwitchState;

impl Worker {
    /// Nobody seems to see our answers. Of a pool that is no harm: whoever has a lease goes on by it. Answers to INFORM
    /// that nobody sees are of no use to anybody, so three such alarms in a minute end them.
    pub(super) fn unseen(&mut self, packet: &Packet, name: &Arc<str>, is_said_only: bool, now: Instant) {
        let (interface, alarm) = (packet.interface, lease::Alarm::Unseen { mac: packet.message.mac });
        self.alarm(&alarm, name);
        if is_said_only || self.harm.entry(interface).or_default().raise(alarm, now) != Raised::TooMany {
            return;
        }
        self.alarm(&lease::Alarm::TooMany, name);
        self.gone_off.insert(interface);
        self.write_switch(name, SwitchState::Off, TOO_MANY.to_owned());
    }

    pub(super) fn alarm(&self, alarm: &lease::Alarm, name: &str) {
        let (kind, mac) = kind_of(alarm);
        self.raise(kind, mac, format!("on {name}: {alarm}"));
    }

    pub(super) fn raise(&self, kind: AlarmKind, mac: Option<Mac>, text: String) {
        self.parts.alarms.raise(Alarm { kind, mac, peer: None, text });
    }
}

fn kind_of(alarm: &lease::Alarm) -> (AlarmKind, Option<Mac>) {
    match alarm {
        lease::Alarm::Foreign { .. } => (AlarmKind::ForeignDhcp, None),
        lease::Alarm::Conflict { by, .. } => (AlarmKind::DhcpConflict, Some(*by)),
        lease::Alarm::Declined { mac, .. } => (AlarmKind::DhcpConflict, Some(*mac)),
        lease::Alarm::Starvation | lease::Alarm::Full => (AlarmKind::DhcpPool, None),
        lease::Alarm::Unseen { .. } => (AlarmKind::DhcpUnseen, None),
        lease::Alarm::TooMany => (AlarmKind::DhcpOff, None),
    }
}
