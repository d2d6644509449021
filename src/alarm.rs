//! Alarms: what an administrator should look at, raised by whoever notices it and counted until the agent's chore writes
//! them down. Raising one never waits: a hot path pays for one entry of a map. Never sends, never reads the clock.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::Mac;

/// Alarms that wait for the chore, which takes them every second: a whole fleet may have the same trouble at once.
const WAITING_MAX: usize = 16_384;
/// Characters of an alarm's text; it goes into a log line and a row.
const TEXT_CHARS_MAX: usize = 400;

/// What kind of trouble. The words are stable: rows, webhooks and commands carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Two hosts answer with one MAC.
    Clone,
    /// Another host asked for a phone's passwords while the phone's window was open.
    Contention,
    /// One address asks for many phones.
    Enumeration,
    /// A phone seems to have lost its passwords (a factory reset) and may not have them again.
    ResetPhone,
    /// Another provisioning server answers on this network.
    Rival,
    /// Windows were closed because the host booted anew.
    Interrupted,
    /// A phone's passwords never left in the time they had.
    NeverProvisioned,
    /// A host claims the MAC of a phone that it is not.
    Impostor,
    /// The database was put back to an earlier state.
    Rollback,
    /// A phone asked for its passwords more often than a window allows.
    Budget,
    /// Another DHCP server answers where leases are given from here.
    ForeignDhcp,
    /// An address that was to be given is in use by somebody else.
    DhcpConflict,
    /// A pool of addresses is used up, or nearly.
    DhcpPool,
    /// DHCP was switched off because of too many alarms.
    DhcpOff,
    /// Clients do not see the DHCP answers.
    DhcpUnseen,
    /// A phone fetches its firmware and does not take it.
    FirmwareStuck,
    /// A file of the firmware catalog is not as it was brought, or is gone.
    FirmwareDamaged,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Clone,
        Self::Contention,
        Self::Enumeration,
        Self::ResetPhone,
        Self::Rival,
        Self::Interrupted,
        Self::NeverProvisioned,
        Self::Impostor,
        Self::Rollback,
        Self::Budget,
        Self::ForeignDhcp,
        Self::DhcpConflict,
        Self::DhcpPool,
        Self::DhcpOff,
        Self::DhcpUnseen,
        Self::FirmwareStuck,
        Self::FirmwareDamaged,
    ];

    /// The kind's stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Contention => "contention",
            Self::Enumeration => "enumeration",
            Self::ResetPhone => "reset_phone",
            Self::Rival => "rival",
            Self::Interrupted => "interrupted",
            Self::NeverProvisioned => "never_provisioned",
            Self::Impostor => "impostor",
            Self::Rollback => "rollback",
            Self::Budget => "budget",
            Self::ForeignDhcp => "foreign_dhcp",
            Self::DhcpConflict => "dhcp_conflict",
            Self::DhcpPool => "dhcp_pool",
            Self::DhcpOff => "dhcp_off",
            Self::DhcpUnseen => "dhcp_unseen",
            Self::FirmwareStuck => "firmware_stuck",
            Self::FirmwareDamaged => "firmware_damaged",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Clone => {
                "find both hosts by their switch ports; when only the phone is left: offhook device rearm MAC"
            }
            Self::Contention => {
                "find out which of the two is the phone; if the other one was first, set new passwords, then \
                 offhook device rearm MAC"
            }
            Self::Enumeration => "find out what runs at that address",
            Self::ResetPhone => "if somebody reset the phone on purpose: offhook device rearm MAC",
            Self::Rival => {
                "switch off one of the two servers, or give the phones their URL by hand or by DHCP"
            }
            Self::Interrupted => "offhook rearm --all --reason interrupted lets those phones fetch again",
            Self::NeverProvisioned => {
                "with the phone connected: offhook device rearm MAC; if its passwords were typed in by hand: offhook \
                 device confirm MAC"
            }
            Self::Impostor => "find out what runs at that address; a phone behind a router needs its own URL",
            Self::Rollback => {
                "passwords may have left that this database knows nothing of; check offhook audit, then \
                 offhook rearm --all --reason restored"
            }
            Self::Budget => {
                "find out why the phone does not keep its configuration, then offhook device rearm MAC"
            }
            Self::ForeignDhcp => {
                "switch off one of the two servers; 15 minutes after the other one's last answer: offhook dhcp on INTERFACE"
            }
            Self::DhcpConflict => {
                "give that host another address, or leave it out of the range of the dhcp.pool"
            }
            Self::DhcpPool => {
                "offhook dhcp status shows who has the addresses; make the range of the dhcp.pool larger"
            }
            Self::DhcpOff => {
                "offhook alarm list shows what came before; when it is put right: offhook dhcp on INTERFACE"
            }
            Self::DhcpUnseen => {
                "on the switch, let DHCP snooping trust the port that this host is on (ip dhcp snooping trust)"
            }
            Self::FirmwareStuck => {
                "look at the phone whether it takes that file at all, and whether it calls its version as the release \
                 does; then offhook firmware retry MAC"
            }
            Self::FirmwareDamaged => {
                "offhook firmware check names the files; remove the release and add it again from its source"
            }
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for AlarmKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no kind of alarm"))
    }
}

/// Something that an administrator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What kind of trouble.
    pub kind: AlarmKind,
    /// About which phone.
    pub mac: Option<Mac>,
    /// Caused from where.
    pub peer: Option<IpAddr>,
    /// One sentence. Never a secret.
    pub text: String,
}

/// The same alarm as often as it was raised since the chore last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// As it was raised last.
    pub alarm: Alarm,
    /// How often.
    pub seen: i64,
}

/// Where alarms are raised. Cheap to clone; all clones share what waits.
#[derive(Debug, Clone, Default)]
pub struct Alarms(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    counted: HashMap<Key, Counted>,
    lost: u64,
}

type Key = (AlarmKind, Option<Mac>, Option<IpAddr>);

impl Alarms {
    /// Raises an alarm; with the same kind, phone and peer as one that waits, it counts that one up. When too many wait,
    /// it is counted as lost.
    pub fn raise(&self, mut alarm: Alarm) {
        alarm.text = tidied(&alarm.text);
        self.lock().add(Counted { alarm, seen: 1 });
    }

    /// What was raised since the last time, and how many were lost.
    pub fn take(&self) -> (Vec<Counted>, u64) {
        let waiting = std::mem::take(&mut *self.lock());
        (waiting.counted.into_values().collect(), waiting.lost)
    }

    /// Lets what could not be written down wait for the next time.
    pub fn put_back(&self, counted: Vec<Counted>) {
        let mut waiting = self.lock();
        for counted in counted {
            waiting.add(counted);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn add(&mut self, counted: Counted) {
        let Counted { alarm, seen } = counted;
        let key = (alarm.kind, alarm.mac, alarm.peer);
        if self.counted.len() >= WAITING_MAX && !self.counted.contains_key(&key) {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.counted
            .entry(key)
            .and_modify(|waiting| {
                waiting.seen = waiting.seen.saturating_add(seen);
                waiting.alarm.text.clone_from(&alarm.text);
            })
            .or_insert(Counted { alarm, seen });
    }
}

/// One line of bounded length: part of a text may come from the network.
fn tidied(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(kind: AlarmKind, last: u8) -> Alarm {
        Alarm { kind, mac: None, peer: Some([192, 0, 2, last].into()), text: format!("text {last}") }
    }

    #[test]
    fn the_same_alarm_is_counted_and_another_is_not() {
        let alarms = Alarms::default();
        for _ in 0..3 {
            alarms.clone().raise(alarm(AlarmKind::Clone, 1));
        }
        alarms.raise(alarm(AlarmKind::Impostor, 1));
        alarms.raise(alarm(AlarmKind::Clone, 2));
        let (mut taken, lost) = alarms.take();
        taken.sort_by_key(|counted| (counted.alarm.kind, counted.alarm.peer));
        let seen: Vec<i64> = taken.iter().map(|counted| counted.seen).collect();
        assert_eq!((seen, lost), (vec![3, 1, 1], 0));
        assert!(alarms.take().0.is_empty());
        alarms.raise(alarm(AlarmKind::Clone, 1));
        alarms.put_back(taken);
        let (taken, _) = alarms.take();
        assert_eq!(taken.iter().map(|counted| counted.seen).max(), Some(4));
    }

    #[test]
    fn a_flood_is_bounded_and_what_is_lost_is_counted() {
        let alarms = Alarms::default();
        for n in 0..u32::try_from(WAITING_MAX).unwrap() + 5 {
            let peer = Some(IpAddr::from(n.to_be_bytes()));
            alarms.raise(Alarm { peer, ..alarm(AlarmKind::Enumeration, 1) });
        }
        let (taken, lost) = alarms.take();
        assert_eq!((taken.len(), lost), (WAITING_MAX, 5));
    }

    #[test]
    fn a_text_is_one_line_of_bounded_length() {
        let alarms = Alarms::default();
        let text = format!("a\nb\u{1b}[31m{}", "ü".repeat(1_000));
        alarms.raise(Alarm { text, ..alarm(AlarmKind::Rival, 1) });
        let text = &alarms.take().0[0].alarm.text;
        assert!(text.starts_with("a b [31m") && text.chars().count() == TEXT_CHARS_MAX, "{text}");
    }

    #[test]
    fn kinds_survive_their_names() {
        for kind in AlarmKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(!kind.remedy().is_empty());
        }
        assert!("Clone".parse::<AlarmKind>().is_err());
    }
}
