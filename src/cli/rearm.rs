//! `offhook rearm --all`: lets the passwords of many phones leave once more, a few phones at a time, so that they do not
//! all come at once. Says which phones before it touches the first.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::device::arm::{When, can_be_told, provoke};
use super::{Context, Failure, Outcome, open, output, run};
use crate::device::{Approval, Device, Mac, Vendor};
use crate::operate::arm::{ArmedShown, Target};
use crate::operate::release::{Place, Release, Releases, span};
use crate::release::{Grant, GrantId, Mode, Reason, State};
use crate::secret::SecretKind;
use crate::store::{Store, StoreError};

/// Phones that are named before the work begins; `--dry-run` names all.
const NAMED_MAX: usize = 10;
/// The most phones a minute: beyond, nothing is staggered.
const RATE_MAX: u32 = 60_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Every phone of the inventory that is left by the filters
    #[arg(long)]
    all: bool,
    /// Only passwords that are locked for this reason: expired, interrupted, restored, budget, revoked, delivered
    #[arg(long, value_name = "REASON")]
    reason: Option<Reason>,
    /// Only phones of this vendor
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// Only phones of this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only these passwords: sip, menu, webui, prov (the token of the phone's own URL)
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<SecretKind>,
    #[command(flatten)]
    when: When,
    /// How many phones a minute
    #[arg(long, value_name = "N", default_value = "300/min")]
    rate: Rate,
    /// Only show which phones
    #[arg(long)]
    dry_run: bool,
}

/// Phones a minute.
#[derive(Debug, Clone, Copy)]
struct Rate(u32);

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix("/min").unwrap_or(text).parse::<u32>();
        number.ok().filter(|number| (1..=RATE_MAX).contains(number)).map(Self).ok_or_else(|| {
            format!("'{text}' is no rate; write the phones a minute, 1 to {RATE_MAX}: 300 or 300/min")
        })
    }
}

impl Rate {
    fn period(self) -> Duration {
        Duration::from_mins(1) / self.0
    }
}

/// One phone of the listing.
#[derive(Debug, Serialize)]
struct Row {
    mac: Mac,
    vendor: Option<Vendor>,
    model: Option<String>,
    passwords: Vec<String>,
    /// Whether it has been done.
    armed: bool,
    #[serde(flatten)]
    now: Option<ArmedShown>,
}

impl Row {
    fn new(target: &Target, now: Option<ArmedShown>) -> Self {
        Self {
            mac: target.device.mac,
            vendor: target.device.vendor.clone(),
            model: target.device.model.clone(),
            passwords: target.passwords(),
            armed: now.is_some(),
            now,
        }
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let vendor = self.vendor.as_ref().map(ToString::to_string);
        vec![self.mac.to_string(), or_dash(vendor), or_dash(self.model.clone()), self.passwords.join(", ")]
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if !args.all {
        return Err(Failure::usage(
            "all",
            "which phones is not said",
            "offhook rearm --all, with --reason, --vendor or --model; one phone: offhook device rearm MAC",
        ));
    }
    let store = open::store(context).await?;
    let releases = open::releases(context, &store);
    let targets = args.targets(&store, &releases);
    if targets.is_empty() {
        return Err(args.nobody());
    }
    args.when.how().check(&targets)?;
    if args.dry_run {
        let rows: Vec<Row> = targets.iter().map(|target| Row::new(target, None)).collect();
        output::listing(context.json, &rows, &["MAC", "VENDOR", "MODEL", "PASSWORDS"], Row::cells);
        if !context.json {
            eprintln!("dry run: nothing was armed");
        }
        return Ok(());
    }
    if !context.json {
        output::print(&args.announcement(&targets));
    }
    let rows = args.arm(context, &store, &releases, &targets).await?;
    if context.json {
        output::value(&rows);
        return Ok(());
    }
    let when = match args.when.how().mode {
        Mode::OnContact => "each window opens at the phone's next request",
        Mode::Now => "their windows are open",
    };
    let told = targets.iter().any(|target| can_be_told(&releases, &target.device));
    let command = told.then(|| args.resync());
    let asks = provoke(command.as_deref(), context.config.site.resync_minutes, rows.len());
    output::print(&format!("{} armed; {when}\n{asks}", phones(rows.len())));
    Ok(())
}

impl Args {
    /// The phones, and what of theirs is to be armed.
    fn targets(&self, store: &Store, releases: &Releases<'_>) -> Vec<Target> {
        let devices = store.inventory().devices();
        devices.into_iter().filter_map(|device| self.target(device, releases)).collect()
    }

    fn target(&self, device: Arc<Device>, releases: &Releases<'_>) -> Option<Target> {
        if device.approval != Approval::Approved || !self.is_of_model(&device, releases) {
            return None;
        }
        let release = releases.of(&device);
        let chosen: Vec<GrantId> =
            release.used().filter(|grant| self.wants(grant, &release)).map(|grant| grant.id).collect();
        (!chosen.is_empty()).then_some(Target { device, release, chosen })
    }

    fn is_of_model(&self, device: &Device, releases: &Releases<'_>) -> bool {
        let same_model = |wanted: &String| {
            let profile = releases.profile(device.vendor.as_ref());
            let spelled = profile.map_or_else(|| wanted.clone(), |profile| profile.model_name(wanted));
            device.model.as_ref().is_some_and(|model| model.eq_ignore_ascii_case(&spelled))
        };
        let same_vendor = |wanted: &String| device.vendor.as_ref() == Some(&Vendor::new(wanted));
        self.vendor.as_ref().is_none_or(same_vendor) && self.model.as_ref().is_none_or(same_model)
    }

    /// Whether a password is meant. What is armed already stays as it is: its window may be in use. Of a phone that gets
    /// its passwords every time only a lock is undone.
    fn wants(&self, grant: &Grant, release: &Release) -> bool {
        let State::Locked(reason) = grant.state else { return false };
        let kinds: Vec<SecretKind> = self.kinds.iter().map(|kind| own(*kind, release)).collect();
        self.reason.is_none_or(|wanted| wanted == reason)
            && (kinds.is_empty() || kinds.contains(&grant.id.kind))
            && (!release.replaces() || reason == Reason::Revoked)
    }

    /// The command that tells the same phones to come.
    fn resync(&self) -> String {
        let filter = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!(" --{name} {value}")).unwrap_or_default()
        };
        format!(
            "offhook device resync --all{}{}",
            filter("vendor", &self.vendor),
            filter("model", &self.model)
        )
    }

    fn nobody(&self) -> Failure {
        let vendor = self.vendor.as_ref().map(|vendor| format!(" of {vendor}")).unwrap_or_default();
        let model = self.model.as_ref().map(|model| format!(" of model {model}")).unwrap_or_default();
        let locked = match self.reason {
            Some(reason) => format!("a password that is locked as {}", reason.as_str()),
            None => "a locked password".to_owned(),
        };
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.as_str()).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        Failure::no(
            "nothing",
            format!("no approved phone{vendor}{model} has {locked}{kinds}: nothing was armed"),
            "offhook device list shows how the passwords of each phone stand",
        )
    }

    fn announcement(&self, targets: &[Target]) -> String {
        let Rate(rate) = self.rate;
        let takes = self.rate.period() * u32::try_from(targets.len() - 1).unwrap_or(u32::MAX);
        let takes = Duration::from_secs(u64::try_from(takes.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX));
        let mut text = format!("{} to arm, {rate} a minute, about {}:\n", phones(targets.len()), span(takes));
        for target in targets.iter().take(NAMED_MAX) {
            let _ = writeln!(text, "  {}: {}", target.device.mac, target.passwords().join(", "));
        }
        if targets.len() > NAMED_MAX {
            let _ = writeln!(text, "  and {} more (--dry-run shows all)", targets.len() - NAMED_MAX);
        }
        text
    }

    /// Arms one phone after the other. Whoever stops it in between leaves whole phones behind: done, or untouched.
    async fn arm(
        &self,
        context: &Context,
        store: &Store,
        releases: &Releases<'_>,
        targets: &[Target],
    ) -> Result<Vec<Row>, Failure> {
        let (mut rows, mut plain) = (Vec::new(), Lines::new(context.json));
        let mut ticks = tokio::time::interval(self.rate.period());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told_to_stop = std::pin::pin!(run::until_told_to_stop());
        for (place, target) in targets.iter().enumerate() {
            tokio::select! {
                biased;
                told = &mut told_to_stop => {
                    told?;
                    plain.end();
                    return Err(stopped(rows.len(), targets.len()));
                }
                _ = ticks.tick() => {}
            }
            let armed = self.arm_one(store, releases, target.device.mac).await;
            match armed {
                Ok(Some((shown, target))) => {
                    open::poke(context);
                    rows.push(Row::new(&target, Some(shown)));
                    plain.show(&target, place + 1, targets.len());
                }
                Ok(None) | Err(StoreError::NoDevice(_) | StoreError::Conflict(_)) => {
                    plain.skip(target, place + 1, targets.len());
                }
                Err(error) => {
                    plain.end();
                    let failure = Failure::from(error);
                    let message = format!("{}; {} armed", failure.message, of(rows.len(), targets.len()));
                    return Err(Failure { message, ..failure });
                }
            }
        }
        plain.end();
        Ok(rows)
    }

    /// One phone as it is now: somebody else may have armed or blocked it since this began.
    async fn arm_one(
        &self,
        store: &Store,
        releases: &Releases<'_>,
        mac: Mac,
    ) -> Result<Option<(ArmedShown, Target)>, StoreError> {
        store.refresh().await?;
        let device = store.inventory().device(mac);
        let Some(target) = device.and_then(|device| self.target(device, releases)) else { return Ok(None) };
        let why = self.reason.map_or_else(String::new, |reason| format!("all that were {}", reason.as_str()));
        let armed = self.when.how().arm(store, &target, &why).await?;
        Ok(Some((ArmedShown::new(&armed.grants, releases, &target), target)))
    }
}

/// A kind that is the same as another means that other one.
fn own(kind: SecretKind, release: &Release) -> SecretKind {
    match release.place(kind) {
        Place::SameAs(other) => other,
        Place::Own | Place::Nowhere => kind,
    }
}

fn stopped(done: usize, all: usize) -> Failure {
    Failure::failed(
        "stopped",
        format!("stopped: {} armed", of(done, all)),
        "the same command goes on with the rest",
    )
}

fn of(done: usize, all: usize) -> String {
    format!("{done} of {}", phones(all))
}

fn phones(count: usize) -> String {
    if count == 1 { "1 phone".to_owned() } else { format!("{count} phones") }
}

/// How far it has come: a line that is written over on a terminal, a line for each phone elsewhere.
struct Lines {
    progress: output::Progress,
    /// Whether each phone has a line.
    each: bool,
}

impl Lines {
    fn new(json: bool) -> Self {
        let each = !json && !std::io::stderr().is_terminal();
        Self { progress: output::Progress::new("phones armed"), each }
    }

    fn show(&mut self, target: &Target, done: usize, all: usize) {
        self.told(&format!("{} armed", target.device.mac), done, all);
    }

    fn skip(&mut self, target: &Target, done: usize, all: usize) {
        self.told(&format!("{} left alone: it has changed meanwhile", target.device.mac), done, all);
    }

    fn told(&mut self, what: &str, done: usize, all: usize) {
        if self.each {
            output::print(&format!("{done}/{all} {what}\n"));
        }
        self.progress.show(done as u64, all as u64);
    }

    fn end(self) {
        self.progress.end();
    }
}
