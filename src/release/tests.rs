//! The machine by itself: a row for every event and guard, the numbered cases of the specification that need no disk
//! and no network, and the property test, in which a small world plays desk, store and hosts around it.

mod cases;
mod deeds;
mod disk;
mod model;
mod property;
mod rows;
mod steps;
mod world;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::secret::SecretKind;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const WALL: Timestamp = Timestamp(1_700_000_000_000);

const SIP: GrantId = GrantId { subject: Subject::Account(1), kind: SecretKind::Sip };
const SIP2: GrantId = GrantId { subject: Subject::Account(2), kind: SecretKind::Sip };
const MENU: GrantId = GrantId { subject: Subject::Device, kind: SecretKind::Menu };
const WEBUI: GrantId = GrantId { subject: Subject::Device, kind: SecretKind::Webui };

const APPROVED: Standing = Standing::Approved { wait: STAGED_DISCOVERED };

/// One device, and what a test does to it.
struct Bench {
    grants: Grants,
    held: Vec<(GrantId, i64)>,
    policies: Policies,
    replaces: bool,
    clock: Clock,
    agent: Arc<str>,
    wall_high: Timestamp,
}

impl Bench {
    /// A device that waits for approval.
    fn pending(ids: &[GrantId]) -> Self {
        let mut bench = Self {
            grants: Grants::default(),
            held: ids.iter().map(|id| (*id, 1)).collect(),
            policies: Policies::with_window(10 * MINUTE),
            replaces: false,
            clock: Clock::manual(WALL),
            agent: "a".into(),
            wall_high: WALL,
        };
        bench.reconcile(Standing::Pending);
        bench
    }

    /// A device that was just approved.
    fn staged(ids: &[GrantId]) -> Self {
        let mut bench = Self::pending(ids);
        bench.reconcile(APPROVED);
        bench
    }

    /// A device that has all its passwords, and whose windows are closed.
    fn delivered(ids: &[GrantId]) -> Self {
        let mut bench = Self::staged(ids);
        let released = bench.secret(ids);
        bench.prove(&released, Evidence::Acked);
        bench.clock.advance(10 * MINUTE);
        bench.expire();
        assert_eq!(bench.words(), vec!["locked delivered"; ids.len()]);
        bench
    }

    fn now(&mut self) -> Now {
        self.wall_high = self.wall_high.max(self.clock.now());
        Now { wall: self.wall_high, boot: self.clock.boot() }
    }

    fn reconcile(&mut self, standing: Standing) -> Vec<Change> {
        let now = self.now();
        self.grants.reconcile(&self.held, standing, &now)
    }

    fn expire(&mut self) -> Vec<Change> {
        let now = self.now();
        self.grants.expire(&now)
    }

    fn arm(&mut self, ids: &[GrantId], mode: Mode) -> Vec<Change> {
        self.arm_for(ids, mode, None)
    }

    fn arm_for(&mut self, ids: &[GrantId], mode: Mode, window: Option<Window>) -> Vec<Change> {
        let now = self.now();
        self.grants.arm(|id| ids.contains(&id), mode, window, &self.policies, &self.agent, &now)
    }

    fn lock(&mut self, ids: &[GrantId]) -> Vec<Change> {
        let now = self.now();
        self.grants.lock(|id| ids.contains(&id), &now)
    }

    fn prove(&mut self, released: &[Released], evidence: Evidence) -> Vec<Change> {
        let now = self.now();
        self.grants.prove(released, evidence, &self.policies, &now)
    }

    /// The host boots, and the agent starts again.
    fn reboot(&mut self) -> Vec<Change> {
        self.clock.reboot();
        let now = self.now();
        self.grants.start(&self.agent, true, &now.boot.boot, &now)
    }

    fn ask(&mut self, wanted: &[GrantId], asker: &Asker) -> Verdict {
        let now = self.now();
        let ask =
            Ask { wanted, asker, replaces: self.replaces, policies: &self.policies, agent: &self.agent };
        self.grants.authorise(&ask, &now).0
    }

    /// The phone asks, and gets passwords.
    #[track_caller]
    fn secret(&mut self, wanted: &[GrantId]) -> Vec<Released> {
        match self.ask(wanted, &phone()) {
            Verdict::Secret(released) => released,
            other => panic!("{other:?}; {:#?}", self.grants),
        }
    }

    fn grant(&self, id: GrantId) -> &Grant {
        self.grants.get(id).unwrap()
    }

    /// Each grant in words: its state, and why it is locked.
    fn words(&self) -> Vec<String> {
        self.grants.grants.iter().map(word).collect()
    }
}

fn word(grant: &Grant) -> String {
    match &grant.state {
        State::Locked(reason) => format!("locked {}", reason.as_str()),
        State::Staged { .. } => "staged".to_owned(),
        State::Open(Opening { bound: None, .. }) => "open unbound".to_owned(),
        State::Open(_) => "open".to_owned(),
    }
}

fn phone() -> Asker {
    Asker { level: Level::I2, key: "mac 00:04:13:96:d9:b4".to_owned() }
}

/// Somebody else who is proven as well as the phone is.
fn rival() -> Asker {
    Asker { level: Level::I3, key: "token".to_owned() }
}

fn ids(released: &[Released]) -> Vec<GrantId> {
    released.iter().map(|one| one.id).collect()
}

fn whats(changes: &[Change]) -> Vec<What> {
    changes.iter().map(|change| change.what).collect()
}
