//! What happens to grants beside requests: arming, locking, the proof of a delivery, a boot, and a device that changed.

use std::sync::Arc;
use std::time::Duration;

use super::grant::note;
use super::{
    Change, CloseOn, Evidence, Grant, GrantId, Grants, Now, Opening, Policies, Reason, Released, Rule, State,
    What, Window, holds,
};
use crate::clock::{BootId, Timestamp};

/// How an operator arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The window opens with the phone's next request.
    OnContact,
    /// The window opens now, for whoever is proven to be the device first.
    Now,
}

/// How a device stands, for the grants that it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits for approval.
    Pending,
    /// It is served; its first contact is awaited for so long.
    Approved {
        /// [`super::STAGED_DISCOVERED`] or [`super::STAGED_REGISTERED`]
        wait: Duration,
    },
    /// It is never served.
    Blocked,
}

impl Grants {
    /// Brings the grants in line with the passwords that the device has now, as `(which, version)`, and with its
    /// standing:
    ///
    /// 1. A password that it has no more (the account went elsewhere) has no grant.
    /// 2. A new password is locked until the device is approved, and then staged.
    /// 3. A changed password is armed anew; the old version never leaves again.
    /// 4. Of a blocked device nothing may leave.
    pub fn reconcile(&mut self, held: &[(GrantId, i64)], standing: Standing, now: &Now) -> Vec<Change> {
        let mut changes = Vec::new();
        self.grants.retain(|grant| {
            let kept = held.iter().any(|(id, _)| *id == grant.id);
            if !kept {
                note(&mut changes, What::Gone, grant);
            }
            kept
        });
        for (id, version) in held {
            if self.get(*id).is_none() {
                self.grants.push(Grant::new(*id, *version, now.wall));
            }
        }
        self.grants.sort_unstable_by_key(|grant| grant.id);
        match standing {
            Standing::Pending => self.stage(held, None, now, &mut changes),
            Standing::Blocked => changes.extend(self.lock(|_| true, now)),
            Standing::Approved { wait } => self.stage(held, Some(wait), now, &mut changes),
        }
        changes
    }

    /// Stages what was never armed, and what has a new version; each of the two is one act of arming at most, and both
    /// together are one. Without a time to wait, what was never armed goes on waiting for approval.
    fn stage(
        &mut self,
        held: &[(GrantId, i64)],
        wait: Option<Duration>,
        now: &Now,
        changes: &mut Vec<Change>,
    ) {
        let epoch = self.epoch + 1;
        for grant in &mut self.grants {
            let version =
                held.iter().find(|(id, _)| *id == grant.id).map_or(grant.version, |(_, version)| *version);
            let is_new = version != grant.version;
            grant.version = version;
            let (what, wait) = match (grant.state == State::Locked(Reason::Never), wait) {
                (true, None) => continue,
                (true, Some(wait)) => (What::Staged, wait),
                (false, _) if !is_new => continue,
                (false, wait) => (What::SecretChanged, wait.unwrap_or(super::STAGED_DISCOVERED)),
            };
            grant.arm(epoch, State::Staged { until: now.wall.plus(wait) }, None, now);
            self.epoch = epoch;
            note(changes, what, grant);
        }
    }

    /// Arms the chosen ones anew: a new epoch, bound to nobody. `window` overrules the policy.
    pub fn arm(
        &mut self,
        chosen: impl Fn(GrantId) -> bool,
        mode: Mode,
        window: Option<Window>,
        policies: &Policies,
        agent: &Arc<str>,
        now: &Now,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let epoch = self.epoch + 1;
        for grant in self.grants.iter_mut().filter(|grant| chosen(grant.id)) {
            let (state, window) = match mode {
                Mode::OnContact => (State::Staged { until: now.wall.plus(policies.on_contact) }, window),
                Mode::Now => {
                    let opening = Opening {
                        at: now.boot.clone(),
                        wall: now.wall,
                        by: Arc::clone(agent),
                        bound: None,
                        seen_ms: None,
                    };
                    let window = window.unwrap_or(policies.of(grant.id.kind).window);
                    (State::Open(opening), Some(window))
                }
            };
            grant.arm(epoch, state, window, now);
            self.epoch = epoch;
            note(&mut changes, What::Armed, grant);
        }
        changes
    }

    /// Locks the chosen ones, those as well that are locked for another reason: of a phone whose profile says `replace`
    /// they would leave all the same. What waits for approval goes on waiting.
    pub fn lock(&mut self, chosen: impl Fn(GrantId) -> bool, now: &Now) -> Vec<Change> {
        let left = [State::Locked(Reason::Never), State::Locked(Reason::Revoked)];
        let chosen = |grant: &Grant| chosen(grant.id) && !left.contains(&grant.state);
        self.lock_as(Reason::Revoked, What::Revoked, chosen, now)
    }

    /// A device that was blocked is to be served again: what was locked before it ever arrived is as new, and what had
    /// arrived is there, so that a phone whose profile says `replace` gets it as before.
    pub fn unblock(&mut self, now: &Now) {
        for grant in self.grants.iter_mut().filter(|grant| grant.state == State::Locked(Reason::Revoked)) {
            let reason = if grant.delivered.is_none() { Reason::Never } else { Reason::Delivered };
            grant.enter(State::Locked(reason), now);
        }
    }

    /// The database was put back: nothing that it lets go counts any more.
    pub fn restored(&mut self, now: &Now) -> Vec<Change> {
        self.lock_as(Reason::Restored, What::Restored, Grant::is_armed, now)
    }

    /// The agent starts: windows that it opened on another boot are over. `alone` says that no other host can have
    /// opened one (an embedded database).
    pub fn start(&mut self, agent: &str, alone: bool, boot: &BootId, now: &Now) -> Vec<Change> {
        if !holds(Rule::BootEndsWindow) {
            return Vec::new();
        }
        let over = |grant: &Grant| {
            grant
                .opening()
                .is_some_and(|opening| opening.at.boot != *boot && (alone || *opening.by == *agent))
        };
        self.lock_as(Reason::Interrupted, What::Interrupted, over, now)
    }

    /// An operator says that the phone has these passwords (typed in by hand): it may have plain files without them.
    pub fn confirm(&mut self, chosen: impl Fn(GrantId) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for grant in self.grants.iter_mut().filter(|grant| chosen(grant.id)) {
            if grant.delivered != Some(grant.version) {
                grant.delivered = Some(grant.version);
                note(&mut changes, What::Confirmed, grant);
            }
        }
        changes
    }

    /// Takes in how far a release has come. What is about an earlier epoch, or an earlier version, says nothing about
    /// this one; and what has not left in this epoch cannot have arrived in it.
    pub fn prove(
        &mut self,
        released: &[Released],
        evidence: Evidence,
        policies: &Policies,
        now: &Now,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for one in released {
            let mut grants = self.grants.iter_mut();
            let about =
                |grant: &&mut Grant| grant.id == one.id && grant.epoch == one.epoch && grant.releases > 0;
            let Some(grant) = grants.find(about) else { continue };
            grant.evidence = grant.evidence.max(evidence);
            if evidence >= Evidence::Acked {
                grant.delivered = Some(one.version);
            }
            if evidence == Evidence::Applied {
                grant.applied = Some(one.version);
            }
            if grant.ends_with(evidence, policies.of(one.id.kind).close_on) {
                grant.enter(State::Locked(Reason::Delivered), now);
                note(&mut changes, What::Delivered, grant);
            }
        }
        changes
    }

    fn lock_as(
        &mut self,
        reason: Reason,
        what: What,
        chosen: impl Fn(&Grant) -> bool,
        now: &Now,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for grant in &mut self.grants {
            if chosen(grant) {
                grant.enter(State::Locked(reason), now);
                note(&mut changes, what, grant);
            }
        }
        changes
    }
}

impl Grant {
    fn new(id: GrantId, version: i64, since: Timestamp) -> Self {
        Self {
            id,
            state: State::Locked(Reason::Never),
            since,
            epoch: 0,
            version,
            window: None,
            releases: 0,
            evidence: Evidence::None,
            delivered: None,
            applied: None,
        }
    }

    fn arm(&mut self, epoch: i64, state: State, window: Option<Window>, now: &Now) {
        self.epoch = epoch;
        self.window = window;
        self.releases = 0;
        self.evidence = Evidence::None;
        self.enter(state, now);
    }

    /// Whether this much proof ends the window; after a window that ran out meanwhile it corrects the reason.
    fn ends_with(&self, evidence: Evidence, close_on: CloseOn) -> bool {
        match self.state {
            State::Locked(reason) => reason == Reason::Expired && evidence >= Evidence::Acked,
            State::Staged { .. } => false,
            State::Open(_) => match (close_on, self.window) {
                (CloseOn::Acked, _) | (_, Some(Window::UntilAcked)) => evidence >= Evidence::Acked,
                (CloseOn::Applied, _) => evidence >= Evidence::Applied,
                (CloseOn::Window, _) => false,
            },
        }
    }
}
