//! The nouns of the release: a grant, its state, how far its delivery is proven; and the clock of an open window.

use std::sync::Arc;
use std::time::Duration;

use super::{Now, Rule, holds};
use crate::clock::{BootInstant, Timestamp};
use crate::secret::SecretKind;

/// Whose password it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The device's own.
    Device,
    /// The SIP account with this number in the store.
    Account(i64),
}

/// Which password of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId {
    /// Whose.
    pub subject: Subject,
    /// Of which kind.
    pub kind: SecretKind,
}

impl GrantId {
    /// The SIP password of an account.
    pub fn sip(account: i64) -> Self {
        Self { subject: Subject::Account(account), kind: SecretKind::Sip }
    }

    /// A password of the device itself.
    pub fn device(kind: SecretKind) -> Self {
        Self { subject: Subject::Device, kind }
    }
}

/// Why a password may not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was never armed: the device waits for approval.
    Never,
    /// Its time ran out before it was known to have arrived.
    Expired,
    /// It has arrived.
    Delivered,
    /// The host booted while its window was open.
    Interrupted,
    /// An operator locked it, or blocked the device.
    Revoked,
    /// The database was put back from a backup: what it says of windows is old.
    Restored,
    /// It was asked for too often in one window.
    Budget,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Never,
        Self::Expired,
        Self::Delivered,
        Self::Interrupted,
        Self::Revoked,
        Self::Restored,
        Self::Budget,
    ];

    /// The word in tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Expired => "expired",
            Self::Delivered => "delivered",
            Self::Interrupted => "interrupted",
            Self::Revoked => "revoked",
            Self::Restored => "restored",
            Self::Budget => "budget",
        }
    }
}

impl std::str::FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| format!("'{text}' is not a reason; use one of {}", known()))
    }
}

/// How well a peer is proven to be the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// On our link, with another MAC: a contradiction.
    I0,
    /// Its IP address only.
    I1,
    /// On our link, with the device's MAC.
    I2,
    /// It holds a token of the device's URL.
    I3,
    /// It has a certificate with this MAC.
    I4,
}

impl Level {
    /// Every level, weakest first.
    pub const ALL: [Self; 5] = [Self::I0, Self::I1, Self::I2, Self::I3, Self::I4];

    /// Its number, 0 to 4.
    pub fn number(self) -> i64 {
        match self {
            Self::I0 => 0,
            Self::I1 => 1,
            Self::I2 => 2,
            Self::I3 => 3,
            Self::I4 => 4,
        }
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::I0 => "contradicted by its neighbour entry",
            Self::I1 => "known by its address only",
            Self::I2 => "a neighbour with this MAC",
            Self::I3 => "holds the device's token",
            Self::I4 => "has the device's certificate",
        }
    }
}

/// How far a delivery is proven. What was let go counts as disclosed from [`Evidence::Intent`] on; what counts as
/// arrived begins with [`Evidence::Acked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// It has not left in this epoch.
    None,
    /// E0: the decision to send it is durable.
    Intent,
    /// E1: the last byte is with the kernel.
    Sent,
    /// E2: the phone has acknowledged the last byte.
    Acked,
    /// E3: the phone uses what only this file contained.
    Applied,
}

impl Evidence {
    /// Every level, weakest first.
    pub const ALL: [Self; 5] = [Self::None, Self::Intent, Self::Sent, Self::Acked, Self::Applied];

    /// Its number in tables: -1 to 3.
    pub fn number(self) -> i64 {
        match self {
            Self::None => -1,
            Self::Intent => 0,
            Self::Sent => 1,
            Self::Acked => 2,
            Self::Applied => 3,
        }
    }

    /// The word in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Intent => "intent",
            Self::Sent => "sent",
            Self::Acked => "acked",
            Self::Applied => "applied",
        }
    }
}

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// So long.
    Of(Duration),
    /// Until the phone has acknowledged it.
    UntilAcked,
}

impl serde::Serialize for Window {
    /// Seconds; null without a limit in time.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(window) => serializer.serialize_some(&window.as_secs()),
            Self::UntilAcked => serializer.serialize_none(),
        }
    }
}

/// Whether a password may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It stays.
    Locked(Reason),
    /// It leaves with the first request of the phone itself, until this moment of the wall clock: a coarse limit.
    Staged {
        /// When it is locked again.
        until: Timestamp,
    },
    /// Its window is open.
    Open(Opening),
}

impl State {
    /// The word in tables and listings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Locked(_) => "locked",
            Self::Staged { .. } => "staged",
            Self::Open(_) => "open",
        }
    }
}

/// An open window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// When it opened, on the boot clock that measures it.
    pub at: BootInstant,
    /// The same on the wall clock: for display, and for another host.
    pub wall: Timestamp,
    /// The agent that opened it.
    pub by: Arc<str>,
    /// Who alone is served; `None` until somebody came.
    pub bound: Option<Binding>,
    /// For another boot's window: when this process first saw it, on the boot clock of this host.
    pub seen_ms: Option<i64>,
}

/// Who a window belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// [`super::Asker::key`]
    pub key: String,
    /// How well it was proven.
    pub level: Level,
}

/// One password of a device, and whether it may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which password.
    pub id: GrantId,
    /// Whether it may leave.
    pub state: State,
    /// When that state was entered, on the wall clock; for people.
    pub since: Timestamp,
    /// Which act of arming this is about; 0 before the first.
    pub epoch: i64,
    /// Which version of the password may leave.
    pub version: i64,
    /// As the operator or the policy set it; `None` until the window opens.
    pub window: Option<Window>,
    /// How often it left in this epoch.
    pub releases: u32,
    /// How far the delivery is proven, in this epoch.
    pub evidence: Evidence,
    /// The version that is known to have arrived, in whatever epoch, or that an operator says the phone has.
    pub delivered: Option<i64>,
    /// The version that the phone is known to use. Using it again says nothing of a later arming.
    pub applied: Option<i64>,
}

/// All grants of one device, ordered by [`GrantId`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Counts the acts of arming; never goes back.
    pub epoch: i64,
    /// One for each password that the device has.
    pub grants: Vec<Grant>,
}

/// Something that happened to grants, for the audit and for alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub what: What,
    /// To which.
    pub ids: Vec<GrantId>,
    /// In which epoch.
    pub epoch: i64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Ready for the first contact.
    Staged,
    /// An operator armed them again.
    Armed,
    /// The password was changed, and waits for the phone.
    SecretChanged,
    /// The window ended after the delivery.
    Delivered,
    /// The window ended, and the delivery is not known to be complete.
    Expired,
    /// The phone did not come while they waited, and never had them.
    NeverProvisioned,
    /// Another boot ended the window.
    Interrupted,
    /// An operator locked them.
    Revoked,
    /// The database was put back.
    Restored,
    /// Asked for too often.
    Budget,
    /// An operator says that the phone has them.
    Confirmed,
    /// The account is on this device no more.
    Gone,
}

impl What {
    /// The event's name in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Armed => "armed",
            Self::SecretChanged => "secret_changed",
            Self::Delivered => "window_closed",
            Self::Expired => "window_expired",
            Self::NeverProvisioned => "never_provisioned",
            Self::Interrupted => "interrupted",
            Self::Revoked => "locked",
            Self::Restored => "locked_restored",
            Self::Budget => "budget",
            Self::Confirmed => "confirmed",
            Self::Gone => "account_gone",
        }
    }
}

impl Grants {
    /// The grant of this password.
    pub fn get(&self, id: GrantId) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.id == id)
    }

    /// Whether any password may leave, now or at the next contact.
    pub fn is_armed(&self) -> bool {
        self.grants.iter().any(Grant::is_armed)
    }

    /// Closes what has run out. Costs nothing when nothing has.
    pub fn expire(&mut self, now: &Now) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        for grant in &mut self.grants {
            let Some((reason, what)) = grant.run_out(now) else { continue };
            grant.enter(State::Locked(reason), now);
            note(&mut changes, what, grant);
        }
        changes
    }

    /// Closes these, whatever their state.
    pub(super) fn close(&mut self, ids: &[GrantId], reason: Reason, what: What, now: &Now) -> Change {
        let mut change = Change { what, ids: ids.to_vec(), epoch: self.epoch };
        for grant in self.grants.iter_mut().filter(|grant| ids.contains(&grant.id)) {
            change.epoch = grant.epoch;
            grant.enter(State::Locked(reason), now);
        }
        change
    }
}

/// Adds a grant to the change of this kind and epoch.
pub(super) fn note(changes: &mut Vec<Change>, what: What, grant: &Grant) {
    let (id, epoch) = (grant.id, grant.epoch);
    match changes.iter_mut().find(|change| change.what == what && change.epoch == epoch) {
        Some(change) => change.ids.push(id),
        None => changes.push(Change { what, ids: vec![id], epoch }),
    }
}

impl Grant {
    /// Whether it may leave, now or at the next contact.
    pub fn is_armed(&self) -> bool {
        !matches!(self.state, State::Locked(_))
    }

    /// The window, if it is open.
    pub fn opening(&self) -> Option<&Opening> {
        match &self.state {
            State::Open(opening) => Some(opening),
            State::Locked(_) | State::Staged { .. } => None,
        }
    }

    /// How long the window stays open; `None` where no time limits it, or where it is not open.
    pub fn closes_in(&self, now: &Now) -> Option<Duration> {
        match (self.opening(), self.window) {
            (Some(opening), Some(Window::Of(window))) => Some(window.saturating_sub(opening.elapsed(now))),
            _ => None,
        }
    }

    pub(super) fn enter(&mut self, state: State, now: &Now) {
        self.state = state;
        self.since = now.wall;
    }

    /// Why it is over, if its time has run out.
    fn run_out(&self, now: &Now) -> Option<(Reason, What)> {
        match &self.state {
            State::Locked(_) => None,
            State::Staged { until } if *until > now.wall => None,
            // Having an older version is as bad as having none: the phone goes on with what is not right any more.
            State::Staged { .. } if self.delivered != Some(self.version) => {
                Some((Reason::Expired, What::NeverProvisioned))
            }
            State::Staged { .. } => Some((Reason::Expired, What::Expired)),
            State::Open(opening) => {
                let over = match self.window {
                    Some(Window::Of(window)) => opening.elapsed(now) >= window,
                    Some(Window::UntilAcked) => false,
                    // A window without a length was not opened here: the row is damaged.
                    None => true,
                };
                let why = match self.delivered {
                    _ if self.evidence >= Evidence::Acked => (Reason::Delivered, What::Delivered),
                    Some(older) if older != self.version => (Reason::Expired, What::NeverProvisioned),
                    Some(_) | None => (Reason::Expired, What::Expired),
                };
                over.then_some(why)
            }
        }
    }
}

impl Opening {
    /// How long the window has been open. On the boot that opened it, that boot's clock says so. Seen from another host
    /// it is the longer of what the wall clock says and what has passed since it was first seen there, so that no skew
    /// keeps a window open for longer than it is.
    pub fn elapsed(&self, now: &Now) -> Duration {
        let by_wall = now.wall.0.saturating_sub(self.wall.0);
        let ms = if self.at.boot == now.boot.boot && holds(Rule::BootClock) {
            now.boot.ms.saturating_sub(self.at.ms)
        } else {
            let seen = self.seen_ms.map_or(0, |seen| now.boot.ms.saturating_sub(seen));
            by_wall.max(seen)
        };
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}
