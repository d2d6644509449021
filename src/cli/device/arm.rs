//! `offhook device rearm`, `lock` and `confirm`: what an operator decides about the passwords of single phones. All
//! phones are looked at before the first is changed, so that a slip of the pen changes none.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::{Context, Failure, Outcome, open, output};
use super::release::{GrantShown, Place, Release, Releases, device, length};
use crate::clock::Timestamp;
use crate::device::{Approval, Device, Mac};
use crate::release::{GrantId, Mode, State, Subject, Window};
use crate::secret::SecretKind;
use crate::store::{Armed, Store, StoreError};

/// Characters of a reason: it goes into a row of the audit.
const REASON_CHARS_MAX: usize = 400;

#[derive(Debug, clap::Args)]
pub(crate) struct Rearm {
    /// In any usual form
    #[arg(required = true)]
    macs: Vec<Mac>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// In any usual form
    #[arg(required = true)]
    macs: Vec<Mac>,
    #[command(flatten)]
    which: Which,
}

/// Which passwords of a phone; all that its vendor's files hold, where nothing is said.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Which {
    /// Only these: sip, menu, webui, prov (the token of the phone's own URL)
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    pub(in crate::cli) kinds: Vec<SecretKind>,
    /// Of the SIP passwords only that of this account, NAME or NAME@REGISTRAR
    #[arg(long = "account", value_name = "ACCOUNT", value_delimiter = ',')]
    pub(in crate::cli) accounts: Vec<String>,
}

/// When the window opens, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// The window opens now, for whoever proves to be the phone first
    #[arg(long, conflicts_with = "on_contact")]
    now: bool,
    /// The window opens with the phone's next request (the default)
    #[arg(long)]
    on_contact: bool,
    /// How long it is, 1m to 24h, instead of what the configuration says; none for a web password alone
    #[arg(long, value_name = "LENGTH")]
    window: Option<Window>,
}

impl How {
    pub(in crate::cli) fn mode(&self) -> Mode {
        if self.now && !self.on_contact { Mode::Now } else { Mode::OnContact }
    }

    /// Arms passwords of a phone.
    pub(in crate::cli) async fn arm(
        &self,
        store: &Store,
        target: &Target,
        why: &str,
    ) -> Result<Armed, StoreError> {
        let chosen = |id| target.chosen.contains(&id);
        store.arm(target.device.mac, chosen, self.mode(), self.window, &target.release.policies, why).await
    }

    /// A window without an end is for web passwords only.
    pub(in crate::cli) fn check(&self, targets: &[Target]) -> Outcome {
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
    fn windows(&self, target: &Target) -> String {
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
pub(in crate::cli) struct Target {
    pub(in crate::cli) device: Arc<Device>,
    pub(in crate::cli) release: Release,
    pub(in crate::cli) chosen: Vec<GrantId>,
}

impl Target {
    /// What was chosen, by name, in the order of listings.
    pub(in crate::cli) fn passwords(&self) -> Vec<String> {
        let mut ids = self.chosen.clone();
        ids.sort_unstable_by_key(|id| (id.kind, id.subject));
        ids.into_iter().map(|id| self.release.name(id).to_owned()).collect()
    }
}

/// What became of a phone.
#[derive(Debug, Serialize)]
struct Done {
    mac: Mac,
    /// What was chosen.
    passwords: Vec<String>,
    release: Vec<GrantShown>,
}

/// What arming made of a phone.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ArmedShown {
    epoch: i64,
    state: &'static str,
    until: Option<Timestamp>,
    closes_in_s: Option<u64>,
}

impl ArmedShown {
    pub(in crate::cli) fn new(armed: &Armed, releases: &Releases<'_>, target: &Target) -> Self {
        let first = target.chosen.iter().find_map(|id| armed.grants.get(*id));
        let until = first.and_then(|grant| match grant.state {
            State::Staged { until } => Some(until),
            State::Locked(_) | State::Open(_) => None,
        });
        Self {
            epoch: armed.grants.epoch,
            state: first.map_or("locked", |grant| grant.state.as_str()),
            until,
            closes_in_s: releases.of(&target.device).short().and_then(|short| short.closes_in_s),
        }
    }
}

pub(super) async fn rearm(context: &Context, store: &Store, args: Rearm) -> Outcome {
    let Rearm { macs, which, how, reason } = args;
    let why = reason.as_deref().unwrap_or_default().trim();
    if why.contains(char::is_control) || why.chars().count() > REASON_CHARS_MAX {
        return Err(Failure::usage(
            "reason",
            format!("a reason is one line of at most {REASON_CHARS_MAX} characters"),
            "what it says goes into the audit",
        ));
    }
    let releases = Releases::new(context, store);
    let targets = targets(&releases, store, &macs, |device, release| {
        served(device)?;
        which.used(store, device, release)
    })?;
    how.check(&targets)?;
    let mut rows = Vec::new();
    for target in &targets {
        let armed = how.arm(store, target, why).await?;
        open::poke(context);
        let shown = ArmedShown::new(&armed, &releases, target);
        if context.json {
            let done = done(&releases, target);
            rows.push(serde_json::json!({
                "mac": done.mac, "epoch": shown.epoch, "state": shown.state, "until": shown.until,
                "closes_in_s": shown.closes_in_s, "passwords": done.passwords, "release": done.release,
            }));
        } else {
            output::print(&told(target, &how, &shown));
        }
    }
    if context.json {
        output::value(&rows);
    } else {
        output::print(&provoke(context.config.site.resync_minutes, targets.len()));
    }
    Ok(())
}

pub(super) async fn lock(context: &Context, store: &Store, args: Chosen) -> Outcome {
    let releases = Releases::new(context, store);
    let targets =
        targets(&releases, store, &args.macs, |device, release| args.which.any(store, device, release))?;
    let mut rows = Vec::new();
    for target in &targets {
        let mac = target.device.mac;
        let changes = store.lock(mac, |id| target.chosen.contains(&id)).await?;
        open::poke(context);
        if context.json {
            rows.push(done(&releases, target));
            continue;
        }
        let passwords = target.passwords().join(", ");
        let follows = if target.release.replaces() {
            "it gets no configuration until they may leave again (its profile says replace)"
        } else {
            "a running transfer of them is aborted"
        };
        output::print(&if changes.is_empty() {
            format!("{mac}: {passwords}: locked as before\n")
        } else {
            format!(
                "{mac}: {passwords}: locked; {follows}. To let them leave again: offhook device rearm {mac}\n"
            )
        });
    }
    if context.json {
        output::value(&rows);
    }
    Ok(())
}

pub(super) async fn confirm(context: &Context, store: &Store, args: Chosen) -> Outcome {
    let releases = Releases::new(context, store);
    let targets = targets(&releases, store, &args.macs, |device, release| {
        if release.replaces() {
            let mac = device.mac;
            return Err(Failure::no(
                "replaces",
                format!(
                    "{mac} loses what its file does not name: it gets its passwords with every configuration"
                ),
                format!("there is nothing to confirm; offhook device lock {mac} keeps its passwords here"),
            ));
        }
        args.which.used(store, device, release)
    })?;
    let mut rows = Vec::new();
    for target in &targets {
        let mac = target.device.mac;
        store.confirm(mac, |id| target.chosen.contains(&id)).await?;
        open::poke(context);
        if context.json {
            rows.push(done(&releases, target));
            continue;
        }
        let passwords = target.passwords().join(", ");
        output::print(&format!("{mac} is taken to have {passwords}: its files may come without them\n"));
        let armed =
            target.release.used().filter(|grant| grant.is_armed() && target.chosen.contains(&grant.id));
        let armed: Vec<&str> = armed.map(|grant| target.release.name(grant.id)).collect();
        if !armed.is_empty() {
            output::print(&format!(
                "  {} may leave all the same; to keep what it has: offhook device lock {mac}\n",
                armed.join(", ")
            ));
        }
    }
    if context.json {
        output::value(&rows);
    }
    Ok(())
}

/// What is chosen of each phone; fails before anything is changed.
fn targets(
    releases: &Releases<'_>,
    store: &Store,
    macs: &[Mac],
    choose: impl Fn(&Device, &Release) -> Result<Vec<GrantId>, Failure>,
) -> Result<Vec<Target>, Failure> {
    let target = |mac: &Mac| {
        let device = device(store, *mac)?;
        let release = releases.of(&device);
        let chosen = choose(&device, &release)?;
        Ok(Target { device, release, chosen })
    };
    macs.iter().map(target).collect()
}

/// Nothing may leave to a phone that is not served.
fn served(device: &Device) -> Outcome {
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

fn done(releases: &Releases<'_>, target: &Target) -> Done {
    Done {
        mac: target.device.mac,
        passwords: target.passwords(),
        release: releases.of(&target.device).shown(),
    }
}

fn told(target: &Target, how: &How, shown: &ArmedShown) -> String {
    let (mac, passwords, windows) = (target.device.mac, target.passwords().join(", "), how.windows(target));
    if target.release.replaces() {
        return format!(
            "{mac}: {passwords} leave with every configuration again (its profile says replace)\n"
        );
    }
    match (how.mode(), shown.until) {
        (Mode::OnContact, Some(until)) => format!(
            "{mac}: {passwords} may leave once more: the window ({windows}) opens at the phone's next request, \
             if that comes before {until}\n"
        ),
        _ => format!(
            "{mac}: {passwords} may leave once more: the window ({windows}) is open, for whoever proves to be the \
             phone first\n"
        ),
    }
}

/// How a phone comes to ask: there is no command yet that makes it.
pub(in crate::cli) fn provoke(resync_minutes: u32, phones: usize) -> String {
    let (phone, asks) = if phones == 1 { ("the phone", "it asks") } else { ("the phones", "they ask") };
    let check = match resync_minutes {
        0 => String::new(),
        minutes => {
            let every = super::release::span(Duration::from_mins(minutes.into()));
            format!(" or check (every {every}: site.resync_minutes)")
        }
    };
    format!("Provoke it: restart {phone}; otherwise {asks} at the next boot{check}\n")
}
