//! What an operator decides about the passwords of a phone: which of them, that they may leave once more or leave no more,
//! or that the phone has them.

use std::sync::Arc;

use serde::Serialize;

use super::Failure;
use super::release::{GrantShown, Place, Release, Releases, device, length};
use crate::clock::Timestamp;
use crate::device::{Approval, Device, Mac};
use crate::release::{GrantId, Grants, Mode, State, Subject, Window};
use crate::secret::SecretKind;
use crate::store::{Armed, Store, StoreError};

/// Characters of a reason: it goes into a row of the audit.
const REASON_CHARS_MAX: usize = 400;

/// Which passwords of a phone; all that its vendor's files hold, where nothing is said.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Which {
    /// Only these: sip, menu, webui, prov (the token of the phone's own URL)
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    pub(crate) kinds: Vec<SecretKind>,
    /// Of the SIP passwords only that of this account, NAME or NAME@REGISTRAR
    #[arg(long = "account", value_name = "ACCOUNT", value_delimiter = ',')]
    pub(crate) accounts: Vec<String>,
}

/// When the window opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) mode: Mode,
    /// `None`: as the rules for the device say.
    pub(crate) window: Option<Window>,
}

impl How {
    /// Arms passwords of a phone. `why` goes into the audit.
    pub(crate) async fn arm(&self, store: &Store, target: &Target, why: &str) -> Result<Armed, StoreError> {
        let chosen = |id| target.chosen.contains(&id);
        store.arm(target.device.mac, chosen, self.mode, self.window, &target.release.policies, why).await
    }

    /// A window without an end is for web passwords only.
    pub(crate) fn check(&self, targets: &[Target]) -> Result<(), Failure> {
        let limited = |id: &GrantId| id.kind != SecretKind::Webui;
        if self.window == Some(Window::UntilAcked)
            && targets.iter().any(|target| target.chosen.iter().any(limited))
        {
            return Err(Failure::usage(
                "window",
                "only the web password may leave without a window",
                "write --window 1m to 24h, or --kind webui",
            ));
        }
        Ok(())
    }

    /// The windows of what is armed: `10 min`, or by kind where they differ.
    pub(crate) fn windows(&self, target: &Target) -> String {
        let policies = &target.release.policies;
        let window = |id: &GrantId| length(self.window.unwrap_or(policies.of(id.kind).window));
        let mut windows: Vec<(SecretKind, String)> =
            target.chosen.iter().map(|id| (id.kind, window(id))).collect();
        windows.sort();
        windows.dedup();
        let mut lengths: Vec<&String> = windows.iter().map(|(_, length)| length).collect();
        lengths.dedup();
        match lengths.as_slice() {
            [one] => (*one).clone(),
            _ => {
                windows.iter().map(|(kind, length)| format!("{kind} {length}")).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// A phone, and what was chosen of it.
pub(crate) struct Target {
    pub(crate) device: Arc<Device>,
    pub(crate) release: Release,
    pub(crate) chosen: Vec<GrantId>,
}

impl Target {
    fn of(releases: &Releases<'_>, store: &Store, mac: Mac) -> Result<Self, Failure> {
        let device = device(store, mac)?;
        Ok(Self { release: releases.of(&device), device, chosen: Vec::new() })
    }

    /// What was chosen, by name, in the order of listings.
    pub(crate) fn passwords(&self) -> Vec<String> {
        let mut ids = self.chosen.clone();
        ids.sort_unstable_by_key(|id| (id.kind, id.subject));
        ids.into_iter().map(|id| self.release.name(id).to_owned()).collect()
    }
}

/// A phone, the passwords that were chosen of it, and how all of them stand now.
#[derive(Debug, Serialize)]
pub(crate) struct Chosen {
    mac: Mac,
    passwords: Vec<String>,
    release: Vec<GrantShown>,
}

impl Chosen {
    pub(crate) fn new(releases: &Releases<'_>, target: &Target) -> Self {
        Self {
            mac: target.device.mac,
            passwords: target.passwords(),
            release: releases.of(&target.device).shown(),
        }
    }
}

/// A phone whose passwords may leave once more.
#[derive(Debug, Serialize)]
pub(crate) struct Rearmed {
    #[serde(flatten)]
    pub(crate) chosen: Chosen,
    #[serde(flatten)]
    pub(crate) now: ArmedShown,
}

/// What arming made of a phone.
#[derive(Debug, Serialize)]
pub(crate) struct ArmedShown {
    epoch: i64,
    state: &'static str,
    pub(crate) until: Option<Timestamp>,
    closes_in_s: Option<u64>,
}

impl ArmedShown {
    pub(crate) fn new(grants: &Grants, releases: &Releases<'_>, target: &Target) -> Self {
        let first = target.chosen.iter().find_map(|id| grants.get(*id));
        let until = first.and_then(|grant| match grant.state {
            State::Staged { until } => Some(until),
            State::Locked(_) | State::Open(_) => None,
        });
        Self {
            epoch: grants.epoch,
            state: first.map_or("locked", |grant| grant.state.as_str()),
            until,
            closes_in_s: releases.of(&target.device).short().and_then(|short| short.closes_in_s),
        }
    }
}

/// What is to be armed of a phone. Nothing may leave to one that is not served.
pub(crate) fn arming(
    releases: &Releases<'_>,
    store: &Store,
    mac: Mac,
    which: &Which,
) -> Result<Target, Failure> {
    let target = Target::of(releases, store, mac)?;
    served(&target.device)?;
    let chosen = which.used(store, &target.device, &target.release)?;
    Ok(Target { chosen, ..target })
}

/// What is to be locked of a phone.
pub(crate) fn locking(
    releases: &Releases<'_>,
    store: &Store,
    mac: Mac,
    which: &Which,
) -> Result<Target, Failure> {
    let target = Target::of(releases, store, mac)?;
    let chosen = which.any(store, &target.device, &target.release)?;
    Ok(Target { chosen, ..target })
}

/// What a phone is said to have. One that loses what its file does not name has nothing for good.
pub(crate) fn confirming(
    releases: &Releases<'_>,
    store: &Store,
    mac: Mac,
    which: &Which,
) -> Result<Target, Failure> {
    let target = Target::of(releases, store, mac)?;
    if target.release.replaces() {
        return Err(Failure::no(
            "replaces",
            format!(
                "{mac} loses what its file does not name: it gets its passwords with every configuration"
            ),
            format!("there is nothing to confirm; offhook device lock {mac} keeps its passwords here"),
        ));
    }
    let chosen = which.used(store, &target.device, &target.release)?;
    Ok(Target { chosen, ..target })
}

/// A reason as it may stand in the audit.
pub(crate) fn reason(text: Option<&str>) -> Result<&str, Failure> {
    let why = text.unwrap_or_default().trim();
    if why.contains(char::is_control) || why.chars().count() > REASON_CHARS_MAX {
        return Err(Failure::usage(
            "reason",
            format!("a reason is one line of at most {REASON_CHARS_MAX} characters"),
            "what it says goes into the audit",
        ));
    }
    Ok(why)
}

/// Nothing may leave to a phone that is not served.
fn served(device: &Device) -> Result<(), Failure> {
    if device.approval == Approval::Approved {
        return Ok(());
    }
    let (mac, state) = (device.mac, device.approval.as_str());
    let remedy = format!("offhook device approve {mac} serves it, and lets its passwords leave");
    Err(Failure::no("conflict", format!("{mac} is {state}: nothing may leave to it"), remedy))
}

impl Which {
    /// Those that have a place in the vendor's files. A kind that is the same as another means that other one.
    fn used(&self, store: &Store, device: &Device, release: &Release) -> Result<Vec<GrantId>, Failure> {
        self.choose(store, device, release, |id| release.place(id.kind) == Place::Own)
    }

    /// Those that a phone has, in whatever file.
    fn any(&self, store: &Store, device: &Device, release: &Release) -> Result<Vec<GrantId>, Failure> {
        self.choose(store, device, release, |_| true)
    }

    fn choose(
        &self,
        store: &Store,
        device: &Device,
        release: &Release,
        usual: impl Fn(GrantId) -> bool,
    ) -> Result<Vec<GrantId>, Failure> {
        let accounts = self.accounts(store, device)?;
        let kinds = self.kinds(device, release)?;
        let chosen = |id: &GrantId| match id.subject {
            Subject::Account(_) if !accounts.is_empty() => accounts.contains(id),
            Subject::Account(_) => kinds.is_empty() || kinds.contains(&id.kind),
            Subject::Device if kinds.is_empty() => accounts.is_empty() && usual(*id),
            Subject::Device => kinds.contains(&id.kind),
        };
        let all = release.grants.grants.iter().map(|grant| grant.id);
        let chosen: Vec<GrantId> = all.filter(chosen).collect();
        let missing = kinds.iter().find(|kind| !chosen.iter().any(|id| id.kind == **kind));
        match missing {
            Some(kind) => Err(nothing(device, &format!("no {kind} password"))),
            None if chosen.is_empty() => Err(nothing(device, "no password")),
            None => Ok(chosen),
        }
    }

    /// The SIP passwords of the accounts that are named.
    fn accounts(&self, store: &Store, device: &Device) -> Result<Vec<GrantId>, Failure> {
        if !self.accounts.is_empty() && !self.kinds.is_empty() && !self.kinds.contains(&SecretKind::Sip) {
            return Err(Failure::usage(
                "account",
                "an account has a SIP password, and --kind leaves those out",
                "add sip to --kind, or leave one of the two away",
            ));
        }
        let mac = device.mac;
        let mut ids = Vec::new();
        for name in &self.accounts {
            let account = store.inventory().find_account(name)?.account;
            let Some(line) = device.lines.iter().find(|line| line.account.id == account.id) else {
                let remedy = format!("offhook device show {mac} shows its accounts");
                return Err(Failure::no("not_found", format!("account {name} is not on {mac}"), remedy));
            };
            if line.account.password.is_none() {
                let remedy = format!("offhook account set-password {name} gives it one");
                return Err(Failure::no("not_set", format!("account {name} has no password"), remedy));
            }
            ids.push(GrantId::sip(account.id));
        }
        Ok(ids)
    }

    fn kinds(&self, device: &Device, release: &Release) -> Result<Vec<SecretKind>, Failure> {
        let kind = |kind: &SecretKind| match release.place(*kind) {
            Place::Own => Ok(*kind),
            Place::SameAs(other) => Ok(other),
            Place::Nowhere => {
                let vendor = device.vendor.as_ref().map_or("such", |vendor| vendor.as_str());
                let message = format!("{}: no file of {vendor} phones holds a {kind} password", device.mac);
                let remedy = format!("offhook device show {} shows which passwords it has", device.mac);
                Err(Failure::no("unused", message, remedy))
            }
        };
        self.kinds.iter().map(kind).collect()
    }
}

fn nothing(device: &Device, what: &str) -> Failure {
    let mac = device.mac;
    let remedy = format!("offhook device show {mac} shows which passwords it has");
    Failure::no("nothing", format!("{mac} has {what}: nothing was changed"), remedy)
}
