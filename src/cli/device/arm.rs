//! `offhook device rearm`, `lock` and `confirm`: what an operator decides about the passwords of single phones. All
//! phones are looked at before the first is changed, so that a slip of the pen changes none.

use std::time::Duration;

use super::super::{Context, Failure, Outcome, open, output};
use crate::device::{Device, Mac};
use crate::operate::arm::{
    ArmedShown, Chosen, How, Rearmed, Target, Which, arming, confirming, locking, reason,
};
use crate::operate::release::{Releases, span};
use crate::profile::Told;
use crate::release::{Mode, Window};
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(crate) struct Rearm {
    /// In any usual form
    #[arg(required = true)]
    macs: Vec<Mac>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    when: When,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Macs {
    /// In any usual form
    #[arg(required = true)]
    macs: Vec<Mac>,
    #[command(flatten)]
    which: Which,
}

/// When the window opens, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct When {
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

impl When {
    pub(in crate::cli) fn how(&self) -> How {
        let mode = if self.now && !self.on_contact { Mode::Now } else { Mode::OnContact };
        How { mode, window: self.window }
    }
}

pub(super) async fn rearm(context: &Context, store: &Store, args: Rearm) -> Outcome {
    let Rearm { macs, which, when, reason: why } = args;
    let (how, why) = (when.how(), reason(why.as_deref())?);
    let releases = open::releases(context, store);
    let targets = all(&macs, |mac| arming(&releases, store, mac, &which))?;
    how.check(&targets)?;
    let mut rows = Vec::new();
    for target in &targets {
        let armed = how.arm(store, target, why).await?;
        open::poke(context);
        let now = ArmedShown::new(&armed.grants, &releases, target);
        if context.json {
            rows.push(Rearmed { chosen: Chosen::new(&releases, target), now });
        } else {
            output::print(&told(target, &how, &now));
        }
    }
    if context.json {
        output::value(&rows);
    } else {
        let told = targets.iter().filter(|target| can_be_told(&releases, &target.device));
        let told: Vec<String> = told.map(|target| target.device.mac.to_string()).collect();
        let command = (!told.is_empty()).then(|| format!("offhook device resync {}", told.join(" ")));
        output::print(&provoke(command.as_deref(), context.config.site.resync_minutes, targets.len()));
    }
    Ok(())
}

pub(super) async fn lock(context: &Context, store: &Store, args: Macs) -> Outcome {
    let releases = open::releases(context, store);
    let targets = all(&args.macs, |mac| locking(&releases, store, mac, &args.which))?;
    let mut rows = Vec::new();
    for target in &targets {
        let mac = target.device.mac;
        let changes = store.lock(mac, |id| target.chosen.contains(&id)).await?;
        open::poke(context);
        if context.json {
            rows.push(Chosen::new(&releases, target));
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

pub(super) async fn confirm(context: &Context, store: &Store, args: Macs) -> Outcome {
    let releases = open::releases(context, store);
    let targets = all(&args.macs, |mac| confirming(&releases, store, mac, &args.which))?;
    let mut rows = Vec::new();
    for target in &targets {
        let mac = target.device.mac;
        store.confirm(mac, |id| target.chosen.contains(&id)).await?;
        open::poke(context);
        if context.json {
            rows.push(Chosen::new(&releases, target));
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
fn all(macs: &[Mac], choose: impl Fn(Mac) -> Result<Target, Failure>) -> Result<Vec<Target>, Failure> {
    macs.iter().map(|mac| choose(*mac)).collect()
}

fn told(target: &Target, how: &How, shown: &ArmedShown) -> String {
    let (mac, passwords, windows) = (target.device.mac, target.passwords().join(", "), how.windows(target));
    if target.release.replaces() {
        return format!(
            "{mac}: {passwords} leave with every configuration again (its profile says replace)\n"
        );
    }
    match (how.mode, shown.until) {
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

/// Whether a running phone can be told to fetch again.
pub(in crate::cli) fn can_be_told(releases: &Releases<'_>, device: &Device) -> bool {
    let profile = releases.profile(device.vendor.as_ref());
    profile.is_some_and(|profile| profile.means(Told::Resync, device.model.as_deref()).is_some())
}

/// How phones come to ask; `command` tells those to that can be told.
pub(in crate::cli) fn provoke(command: Option<&str>, resync_minutes: u32, phones: usize) -> String {
    let command = command.map(|command| format!("{command}, or ")).unwrap_or_default();
    let (phone, asks) = if phones == 1 { ("the phone", "it asks") } else { ("the phones", "they ask") };
    let check = match resync_minutes {
        0 => String::new(),
        minutes => {
            let every = span(Duration::from_mins(minutes.into()));
            format!(" or check (every {every}: site.resync_minutes)")
        }
    };
    let it = if phones == 1 { "it" } else { "them" };
    format!("Provoke {it}: {command}restart {phone}; otherwise {asks} at the next boot{check}\n")
}
