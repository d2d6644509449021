//! How the passwords of a device stand: which may leave and why, to whom, and how far their delivery is proven. What has
//! run out is shown as over, whether or not the agent has written that down yet. Shows no password.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::{Config, ReleaseConfig};
use crate::device::{Approval, Device, Mac, Vendor};
use crate::profile::{Catalog, Profile, Retention};
use crate::provision;
use crate::release::{
    Evidence, Grant, GrantId, Grants, Level, Now, Policies, Reason, State, Subject, Window,
};
use crate::secret::SecretKind;
use crate::store::{Store, StoreError};

/// What tells how passwords stand: the store, and the rules of configuration and profiles.
pub(crate) struct Releases<'a> {
    store: &'a Store,
    config: &'a ReleaseConfig,
    catalog: Arc<Catalog>,
    agent: String,
}

/// The passwords of one device, as they are in this moment.
pub(crate) struct Release {
    /// What has run out is closed.
    pub(crate) grants: Grants,
    /// The rules for this device.
    pub(crate) policies: Policies,
    profile: Option<Arc<Profile>>,
    model: Option<String>,
    approval: Approval,
    /// The name of each grant, in their order.
    names: Vec<String>,
    /// User name and line of the accounts, by their number in the store.
    accounts: Vec<(i64, String, u16)>,
    now: Now,
}

/// Whether a kind of password has a place in the files of a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A parameter of its own.
    Own,
    /// The parameter of another kind.
    SameAs(SecretKind),
    /// None.
    Nowhere,
}

/// One password, as `device show` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct GrantShown {
    password: String,
    kind: SecretKind,
    account: Option<String>,
    line: Option<u16>,
    /// Whether the vendor's files hold it, or the one that it is the same as.
    used: bool,
    same_as: Option<SecretKind>,
    /// Whether the phone loses what is not in its file, and so gets it with every one.
    every_time: bool,
    may_leave: bool,
    state: &'static str,
    reason: Option<&'static str>,
    why: String,
    since: Timestamp,
    until: Option<Timestamp>,
    /// `null` where no time limits it.
    window_s: Window,
    closes_in_s: Option<u64>,
    bound: Option<BoundShown>,
    epoch: i64,
    releases: u32,
    evidence: &'static str,
    version: i64,
    delivered_version: Option<i64>,
    applied_version: Option<i64>,
}

/// Who an open window belongs to.
#[derive(Debug, Serialize)]
struct BoundShown {
    to: String,
    identity: &'static str,
    proof: &'static str,
}

/// All passwords of a device in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// `open`, `staged`, `delivered`, `locked`, `every_time`, or why the phone is not known to have one of them.
    pub(crate) word: &'static str,
    /// Of the window that closes first.
    pub(crate) closes_in_s: Option<u64>,
    /// Whether somebody should do something.
    pub(crate) alarming: bool,
}

impl<'a> Releases<'a> {
    pub(crate) fn new(config: &'a Config, catalog: Arc<Catalog>, store: &'a Store) -> Self {
        Self { store, config: &config.release, catalog, agent: config.agent.name() }
    }

    pub(crate) fn profile(&self, vendor: Option<&Vendor>) -> Option<&Arc<Profile>> {
        self.catalog.get(vendor?)
    }

    pub(crate) fn of(&self, device: &Device) -> Release {
        let profile = self.profile(device.vendor.as_ref()).cloned();
        let rules = profile.as_ref().map(|profile| profile.release());
        let now = self.store.release_now();
        let mut grants = self.store.inventory().grants(device.mac).as_deref().cloned().unwrap_or_default();
        grants.expire(&now);
        // What an agent closes before it serves anybody is over, though none has started since the host booted.
        grants.start(&self.agent, self.store.is_alone(), &now.boot.boot, &now);
        let account = |line: &crate::device::Line| {
            let account = &line.account;
            (account.id, account.username.clone(), line.number)
        };
        Release {
            policies: provision::policies(self.config, rules, &device.settings),
            names: grants.grants.iter().map(|grant| self.store.name_of(device.mac, grant.id)).collect(),
            accounts: device.lines.iter().map(account).collect(),
            approval: device.approval,
            grants,
            profile,
            model: device.model.clone(),
            now,
        }
    }
}

impl Release {
    /// Where the vendor's files hold a password of this kind; anywhere, for all that is known of a phone without a
    /// profile.
    pub(crate) fn place(&self, kind: SecretKind) -> Place {
        let Some(profile) = &self.profile else { return Place::Own };
        let other = profile.release().kind_of(kind);
        if other != kind {
            return Place::SameAs(other);
        }
        let held = profile.files().any(|(file, _)| profile.secret_kinds(file).contains(&kind));
        if held { Place::Own } else { Place::Nowhere }
    }

    /// Whether the phone loses what is not in its file.
    pub(crate) fn replaces(&self) -> bool {
        let retention = |profile: &Arc<Profile>| profile.retention(self.model.as_deref());
        self.profile.as_ref().map(retention) == Some(Retention::Replace)
    }

    /// The grants whose passwords have a parameter of their own.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Grant> {
        self.grants.grants.iter().filter(|grant| self.place(grant.id.kind) == Place::Own)
    }

    pub(crate) fn name(&self, id: GrantId) -> &str {
        let found = self.grants.grants.iter().zip(&self.names).find(|(grant, _)| grant.id == id);
        found.map_or(id.kind.as_str(), |(_, name)| name)
    }

    /// Every password, in the order of listings.
    pub(crate) fn shown(&self) -> Vec<GrantShown> {
        let sip = |grant: &&Grant| grant.id.kind == SecretKind::Sip;
        let (accounts, own): (Vec<_>, Vec<_>) = self.grants.grants.iter().partition(sip);
        accounts.into_iter().chain(own).map(|grant| self.one(grant)).collect()
    }

    /// A password that is the same as another stands as that one does.
    fn one(&self, grant: &Grant) -> GrantShown {
        let id = grant.id;
        let place = self.place(id.kind);
        let same_as = match place {
            Place::SameAs(other) => Some(other),
            Place::Own | Place::Nowhere => None,
        };
        let grant = same_as.and_then(|other| self.grants.get(GrantId::device(other))).unwrap_or(grant);
        let (reason, until) = match grant.state {
            State::Locked(reason) => (Some(reason), None),
            State::Staged { until } => (None, Some(until)),
            State::Open(_) => (None, None),
        };
        let of = |(number, name, line): &(i64, String, u16)| {
            (Subject::Account(*number) == id.subject).then(|| (name.clone(), *line))
        };
        let (account, line) = self.accounts.iter().find_map(of).unzip();
        let bound = grant.opening().and_then(|opening| opening.bound.as_ref());
        GrantShown {
            password: self.name(id).to_owned(),
            kind: id.kind,
            account,
            line,
            used: place != Place::Nowhere,
            same_as,
            every_time: self.replaces(),
            may_leave: place != Place::Nowhere && self.may_leave(grant),
            state: grant.state.as_str(),
            reason: reason.map(Reason::as_str),
            why: self.why(grant),
            since: grant.since,
            until,
            window_s: grant.window.unwrap_or(self.policies.of(id.kind).window),
            closes_in_s: self.closes_in_s(grant),
            bound: bound.map(|bound| BoundShown {
                to: bound.key.clone(),
                identity: identity(bound.level),
                proof: bound.level.as_str(),
            }),
            epoch: grant.epoch,
            releases: grant.releases,
            evidence: grant.evidence.as_str(),
            version: grant.version,
            delivered_version: grant.delivered,
            applied_version: grant.applied,
        }
    }

    fn may_leave(&self, grant: &Grant) -> bool {
        let anyway = self.replaces() && grant.state != State::Locked(Reason::Revoked);
        self.approval == Approval::Approved && (grant.is_armed() || anyway)
    }

    /// Begun seconds: what is open has one left at least.
    fn closes_in_s(&self, grant: &Grant) -> Option<u64> {
        let left = grant.closes_in(&self.now)?;
        u64::try_from(left.as_millis().div_ceil(1_000)).ok()
    }

    fn why(&self, grant: &Grant) -> String {
        match self.approval {
            Approval::Pending => return "the phone waits for approval".to_owned(),
            Approval::Blocked => return "the phone is blocked".to_owned(),
            Approval::Approved => {}
        }
        if self.place(grant.id.kind) == Place::Nowhere {
            return "no file of this vendor's phones holds it".to_owned();
        }
        let locked = match &grant.state {
            _ if self.replaces() && self.may_leave(grant) => {
                return "password sent with every configuration; protected by the neighbour check".to_owned();
            }
            State::Staged { .. } => return "leaves with the phone's next request".to_owned(),
            State::Open(opening) if opening.bound.is_some() => {
                return "the same phone may fetch it again".to_owned();
            }
            State::Open(_) => return "leaves to whoever proves to be the phone first".to_owned(),
            State::Locked(Reason::Delivered) => return "the phone has it".to_owned(),
            State::Locked(Reason::Never) => return "it was never armed".to_owned(),
            State::Locked(Reason::Expired) if grant.releases == 0 => "nobody came for it in time",
            State::Locked(Reason::Expired) => "its window ended before its arrival was proven",
            State::Locked(Reason::Interrupted) => "the host booted while its window was open",
            State::Locked(Reason::Revoked) => "an operator locked it",
            State::Locked(Reason::Restored) => "the database was put back to an earlier state",
            State::Locked(Reason::Budget) => "it was asked for too often in one window",
        };
        format!("{locked}; {}", self.known(grant))
    }

    /// What is known of the phone's own copy, and what follows.
    fn known(&self, grant: &Grant) -> String {
        match grant.delivered {
            _ if self.replaces() => "the phone gets no configuration".to_owned(),
            Some(version) if version == grant.version => "the phone has it".to_owned(),
            Some(version) => format!("the phone has version {version}"),
            None => "the phone is not known to have it, and gets no file without it".to_owned(),
        }
    }

    /// Whether the phone has proved that it uses what it was sent.
    pub(crate) fn is_applied(&self) -> bool {
        self.grants.grants.iter().any(|grant| grant.applied.is_some())
    }

    /// All of it in a word; `None` where there is no password that could leave.
    pub(crate) fn short(&self) -> Option<Short> {
        if self.approval != Approval::Approved || self.used().next().is_none() {
            return None;
        }
        let told = |word| Short { word, closes_in_s: None, alarming: false };
        let locked = |reason| self.used().any(|grant| grant.state == State::Locked(reason));
        if self.replaces() {
            return Some(told(if locked(Reason::Revoked) { "locked" } else { "every_time" }));
        }
        if self.used().any(|grant| grant.opening().is_some()) {
            let closes_in_s = self.used().filter_map(|grant| self.closes_in_s(grant)).min();
            return Some(Short { closes_in_s, ..told("open") });
        }
        if self.used().any(Grant::is_armed) {
            return Some(told("staged"));
        }
        let missing = |reason: &Reason| {
            let mut grants = self.used();
            grants
                .any(|grant| grant.state == State::Locked(*reason) && grant.delivered != Some(grant.version))
        };
        let worst = [Reason::Interrupted, Reason::Restored, Reason::Budget, Reason::Expired, Reason::Never];
        if let Some(reason) = worst.into_iter().find(missing) {
            return Some(Short { alarming: true, ..told(reason.as_str()) });
        }
        Some(told(if locked(Reason::Revoked) { "locked" } else { "delivered" }))
    }
}

impl Short {
    /// For a column: `open 432 s`, `expired!`.
    pub(crate) fn cell(self) -> String {
        let word = self.word.replace('_', " ");
        let left = self.closes_in_s.map(|left| format!(" {left} s")).unwrap_or_default();
        format!("{word}{left}{}", if self.alarming { "!" } else { "" })
    }
}

impl GrantShown {
    /// As listings for people call it.
    pub(crate) fn name(&self) -> &str {
        if self.kind == SecretKind::Prov { "prov (url)" } else { &self.password }
    }

    /// For a person, in one line or two.
    pub(crate) fn lines(&self) -> Vec<String> {
        if let Some(other) = self.same_as {
            return vec![format!("same as {other}")];
        }
        if !self.used {
            return vec!["not used by this vendor".to_owned()];
        }
        let state = match (self.state, self.reason, self.until, self.closes_in_s) {
            _ if self.every_time && self.may_leave => String::new(),
            (state, Some(reason), ..) => format!("{state} ({reason}): "),
            (state, None, Some(until), _) => format!("{state} until {until}: "),
            (state, None, None, Some(left)) => format!("{state}, {left} s left: "),
            (state, None, None, None) => format!("{state} until the phone has acknowledged it: "),
        };
        let bound = self.bound.as_ref().filter(|_| !self.every_time);
        let bound = bound.map(|bound| format!(", {} ({})", bound.to, bound.proof)).unwrap_or_default();
        let arming = match (self.epoch, self.releases) {
            (0, _) => "never armed".to_owned(),
            (epoch, 0) => format!("arming {epoch}, not asked for"),
            (epoch, 1) => format!("arming {epoch}, sent once"),
            (epoch, times) => format!("arming {epoch}, sent {times} times"),
        };
        let window =
            if self.every_time { String::new() } else { format!(", window {}", length(self.window_s)) };
        let has = self.delivered_version.map_or_else(
            || "not known to have arrived".to_owned(),
            |version| format!("the phone has {version}"),
        );
        vec![
            format!("{state}{}{bound}", self.why),
            format!(
                "since {}, {arming}; delivery {}; version {}, {has}{window}",
                self.since,
                proof(self.evidence),
                self.version
            ),
        ]
    }
}

fn identity(level: Level) -> &'static str {
    match level {
        Level::I0 => "i0",
        Level::I1 => "i1",
        Level::I2 => "i2",
        Level::I3 => "i3",
        Level::I4 => "i4",
    }
}

/// How far a delivery is proven, with what that means.
fn proof(word: &str) -> String {
    let meaning = match Evidence::ALL.into_iter().find(|evidence| evidence.as_str() == word) {
        None | Some(Evidence::None) => return word.to_owned(),
        Some(Evidence::Intent) => "it may have left",
        Some(Evidence::Sent) => "it was sent",
        Some(Evidence::Acked) => "the phone acknowledged it",
        Some(Evidence::Applied) => "the phone uses it",
    };
    format!("{word} ({meaning})")
}

/// A window's length for people.
pub(crate) fn length(window: Window) -> String {
    match window {
        Window::UntilAcked => "without a limit in time".to_owned(),
        Window::Of(length) => span(length),
    }
}

/// A length of time for people: `2 h`, `10 min`, `90 s`.
pub(crate) fn span(length: Duration) -> String {
    match length.as_secs() {
        seconds if seconds >= 3_600 && seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// The device of this address, or that there is none.
pub(crate) fn device(store: &Store, mac: Mac) -> Result<Arc<Device>, StoreError> {
    store.inventory().device(mac).ok_or(StoreError::NoDevice(mac))
}

#[cfg(test)]
mod tests;
