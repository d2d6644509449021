//! The one-time release of secrets: decides, for every password of a device, whether it may leave now, and to whom.
//! Pure: it never waits, never reads a clock, and never sees a password; the store commits what is decided here before
//! a byte of it leaves.
//!
//! ```text
//!            approve, import, discover             first request of the phone itself
//!  LOCKED ──────────────────────────────► STAGED ───────────────────────────────────► OPEN, bound to who asked
//!  (why)  ◄────── until has passed ───────   │    arm --now: OPEN, unbound, its clock runs ──► bound by the first
//!     ▲                                      │                                          │ the same phone: again
//!     └── window over, delivered (policy), host booted, lock, block, restore ──────────┘ another: refused, alarm
//! ```
//!
//! * A **grant** is one password of a device: a SIP password of one of its lines, its menu or web password, or the token
//!   of its URL.
//! * An **epoch** is one act of arming. The grants of one epoch share one window and one binding: the first request that
//!   may have one of them opens all, and nobody else is served in that window.
//! * A window is measured on the boot clock. Another boot ends it; another host's window ends by whatever clock says so
//!   first.
//! * A phone whose profile says `replace` loses what is not in its file, so it gets its passwords every time, behind the
//!   same identity check; its grants only keep the books.

mod arm;
mod grant;
mod policy;
mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use arm::{Mode, Standing};
pub use grant::{
    Binding, Change, Evidence, Grant, GrantId, Grants, Level, Opening, Reason, State, Subject, What, Window,
};
pub use policy::{CloseOn, Policies, Policy, STAGED_DISCOVERED, STAGED_REGISTERED, WINDOW_MAX, WINDOW_MIN};
pub(crate) use rule::Rule;

use crate::clock::{BootInstant, Timestamp};
pub(crate) use crate::rule::holds;
#[cfg(test)]
pub(crate) use crate::rule::without;

/// What time it is, on the clocks that count here.
#[derive(Debug, Clone)]
pub struct Now {
    /// The wall clock, or the highest one ever written where that is later: it never goes back.
    pub wall: Timestamp,
    /// The boot clock of this host.
    pub boot: BootInstant,
}

/// Who asks, as far as it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// How well.
    pub level: Level,
    /// What a window is bound to: the MAC for a proven neighbour, the token for who holds one; never an IP address,
    /// because a phone changes it when it learns its VLAN.
    pub key: String,
}

/// A request for a file with passwords in it.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The passwords that the file has slots for.
    pub wanted: &'a [GrantId],
    /// Who asks.
    pub asker: &'a Asker,
    /// Whether the phone loses what is missing from its file.
    pub replaces: bool,
    /// The rules of this device.
    pub policies: &'a Policies,
    /// The agent that serves it.
    pub agent: &'a Arc<str>,
}

/// What is decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The file with these passwords. Nothing of it may leave before this decision is durable.
    Secret(Vec<Released>),
    /// The file without passwords: the phone has them.
    Plain,
    /// Nothing.
    Refuse(Refusal),
}

/// A password that is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Which.
    pub id: GrantId,
    /// In which arming.
    pub epoch: i64,
    /// Which version of it.
    pub version: i64,
    /// Whether its window was open for this phone before.
    pub again: bool,
}

/// Why nothing is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The window is closed, and it is not known that the phone has its passwords: a file without them would leave it
    /// without.
    NeverDelivered,
    /// It is not proven enough to be the device.
    Unproven,
    /// The window belongs to somebody else.
    Contention,
    /// It has asked so often in one window that something is wrong with it.
    Budget,
    /// An operator has locked it.
    Locked,
}

impl Refusal {
    /// A few words for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverDelivered => "its window is closed, and it is not known to have its passwords",
            Self::Unproven => "it is not proven to be this phone",
            Self::Contention => "another one is being served in this window",
            Self::Budget => "it has asked too often in one window",
            Self::Locked => "it is locked",
        }
    }
}

impl Grants {
    /// Decides about one request, and changes the grants accordingly. The steps, in their order:
    ///
    /// 1. What has run out is closed.
    /// 2. With nothing due the file is plain, if the phone is known to have every password that is not in it; else it
    ///    gets nothing.
    /// 3. The peer is proven to be the device: I2 on our link, I3 or I4 elsewhere.
    /// 4. An open window belongs to whoever it is bound to.
    /// 5. All grants of the epochs that are touched open, bound to the asker, in this moment.
    pub fn authorise(&mut self, ask: &Ask<'_>, now: &Now) -> (Verdict, Vec<Change>) {
        let mut changes = self.expire(now);
        let wanted: Vec<GrantId> = ask.wanted.iter().copied().filter(|id| self.get(*id).is_some()).collect();
        let due: Vec<GrantId> = wanted.iter().copied().filter(|id| self.is_due(*id, ask.replaces)).collect();
        // Of a phone that loses what is missing, a file without one of its passwords is worse than none.
        if due.is_empty() || (ask.replaces && due.len() < wanted.len()) {
            let verdict = self.nothing_due(&wanted, ask.replaces).map_or(Verdict::Plain, Verdict::Refuse);
            return (verdict, changes);
        }
        if ask.asker.level < Level::I2 {
            return (Verdict::Refuse(Refusal::Unproven), changes);
        }
        if !ask.replaces && holds(Rule::Binding) && due.iter().any(|id| self.is_taken(*id, ask.asker)) {
            return (Verdict::Refuse(Refusal::Contention), changes);
        }
        let spent: Vec<GrantId> = due.iter().copied().filter(|id| self.is_spent(*id, ask)).collect();
        if !spent.is_empty() && !ask.replaces {
            changes.push(self.close(&spent, Reason::Budget, What::Budget, now));
            return (Verdict::Refuse(Refusal::Budget), changes);
        }
        (Verdict::Secret(self.hand_out(&due, ask, now)), changes)
    }

    /// Whether the password may leave, were it asked for by the right one.
    fn is_due(&self, id: GrantId, replaces: bool) -> bool {
        self.get(id).is_some_and(|grant| match grant.state {
            State::Staged { .. } | State::Open(_) => true,
            State::Locked(reason) => replaces && reason != Reason::Revoked,
        })
    }

    /// Why a file of which nothing is due is not even handed out plain.
    fn nothing_due(&self, wanted: &[GrantId], replaces: bool) -> Option<Refusal> {
        if replaces && !wanted.is_empty() {
            return Some(Refusal::Locked);
        }
        let known = |id: &GrantId| self.get(*id).is_none_or(|grant| grant.delivered.is_some());
        (!wanted.iter().all(known)).then_some(Refusal::NeverDelivered)
    }

    /// A window that a neighbour with the device's MAC opened is also open to who holds the device's certificate: that
    /// is the same phone, better proven. Not the other way round: a copied MAC must not follow a certificate.
    fn is_taken(&self, id: GrantId, asker: &Asker) -> bool {
        let bound = self.get(id).and_then(|grant| grant.opening()).and_then(|opening| opening.bound.as_ref());
        bound.is_some_and(|bound| {
            let better_proven = asker.level == Level::I4 && bound.level == Level::I2;
            bound.key != asker.key && !better_proven
        })
    }

    fn is_spent(&self, id: GrantId, ask: &Ask<'_>) -> bool {
        let most = ask.policies.of(id.kind).releases_max;
        self.get(id).is_some_and(|grant| grant.opening().is_some() && grant.releases >= most)
    }

    /// Opens and binds the epochs of what is due, and counts the release.
    fn hand_out(&mut self, due: &[GrantId], ask: &Ask<'_>, now: &Now) -> Vec<Released> {
        let epochs: Vec<i64> = due.iter().filter_map(|id| self.get(*id)).map(|grant| grant.epoch).collect();
        let mut released = Vec::with_capacity(due.len());
        for grant in &mut self.grants {
            if !epochs.contains(&grant.epoch) {
                continue;
            }
            let again = grant.opening().is_some_and(|opening| opening.bound.is_some());
            grant.open_for(ask, now);
            if !due.contains(&grant.id) {
                continue;
            }
            grant.releases += 1;
            grant.evidence = grant.evidence.max(Evidence::Intent);
            released.push(Released { id: grant.id, epoch: grant.epoch, version: grant.version, again });
            if !holds(Rule::WindowOutlivesAGet) {
                grant.enter(State::Locked(Reason::Delivered), now);
            }
        }
        released
    }
}

impl Grant {
    /// Staged opens; open and unbound is bound; open and bound stays. Locked stays locked, as a `replace` phone's does
    /// that gets its passwords all the same.
    fn open_for(&mut self, ask: &Ask<'_>, now: &Now) {
        let binding = Binding { key: ask.asker.key.clone(), level: ask.asker.level };
        match &mut self.state {
            State::Locked(_) => {}
            State::Open(opening) => {
                opening.bound.get_or_insert(binding);
            }
            State::Staged { .. } => {
                self.window.get_or_insert(ask.policies.of(self.id.kind).window);
                let opening = Opening {
                    at: now.boot.clone(),
                    wall: now.wall,
                    by: Arc::clone(ask.agent),
                    bound: Some(binding),
                    seen_ms: None,
                };
                self.enter(State::Open(opening), now);
            }
        }
    }
}
