//! `offhook device resync` and `reboot`: tells running phones to fetch again or to start anew, and says who came.

use std::time::Duration;

use super::super::{Context, Failure, Outcome, open, output, run};
use crate::clock::{Clock, Entropy};
use crate::device::Mac;
use crate::net::interfaces::{Interfaces, Table};
use crate::net::neighbours::{INHERITED_PINS_KEPT, NeighbourOptions, Neighbours};
use crate::operate::push::{Fate, Round, Row, Wish};
use crate::operate::round::Selection;
use crate::profile::Told;
use crate::push::decide::{Rate, TIMER_F, Way};
use crate::push::server::{Pace, Parts};
use crate::store::Store;

const HEADS: [&str; 7] = ["MAC", "VENDOR", "MODEL", "TO", "RESULT", "AFTER", "WHAT"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// In any usual form
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    macs: Vec<Mac>,
    /// Every approved phone that is left by the filters
    #[arg(long)]
    all: bool,
    /// Only phones of this vendor
    #[arg(long, value_name = "VENDOR", requires = "all")]
    vendor: Option<String>,
    /// Only phones of this model
    #[arg(long, value_name = "MODEL", requires = "all")]
    model: Option<String>,
    /// How many phones a second
    #[arg(long, value_name = "N", default_value_t)]
    rate: Rate,
    /// How long a phone may take to come, from when it was told; 0: only its answer is awaited
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    wait: u32,
    /// Straight to the phone, or by the registrar of its account, where that is a proxy
    #[arg(long, value_enum, default_value_t)]
    via: Way,
    /// Only show who would be told what
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(context: &Context, store: &Store, args: Args, told: Told) -> Outcome {
    let catalog = open::catalog(context);
    let devices = args.selection().devices(store, &catalog).await?;
    let registrar = context.config.sip.registrar.as_deref();
    let wish = Wish { told, way: args.via, registrar };
    let mut round = Round::plan(store, &catalog, &devices, wish).await?;
    if args.dry_run {
        output::listing(context.json, &round.rows, &HEADS, Row::cells);
        return Ok(());
    }
    let wait = Duration::from_secs(args.wait.into());
    let told = tell(context, store, &mut round, &args, wait).await;
    // What has left has left, whatever came between.
    output::listing(context.json, &round.rows, &HEADS, Row::cells);
    let stopped = told?;
    if stopped {
        let message = format!("stopped: {}", tally(&round.rows));
        let remedy = "the same command begins anew; offhook device show MAC tells what was sent";
        return Err(Failure::failed("stopped", message, remedy));
    }
    if !context.json {
        eprintln!("{}", tally(&round.rows));
    }
    if round.is_done(wait) { Ok(()) } else { Err(Failure::told()) }
}

/// Tells them; gives back whether somebody stopped it before its end.
async fn tell(
    context: &Context,
    store: &Store,
    round: &mut Round,
    args: &Args,
    wait: Duration,
) -> Result<bool, Failure> {
    let mut lines = Lines { json: context.json, progress: output::Progress::new("phones came"), came: 0 };
    for row in round.rows.iter().filter(|row| row.result == Fate::NotSent) {
        lines.say(row, 0);
    }
    let total = round.due();
    if total == 0 {
        return Ok(false);
    }
    let parts = parts(context, args.via)?;
    let pace = Pace { rate: args.rate, patience: TIMER_F };
    let stopped = tokio::select! {
        told = run::until_told_to_stop() => told.map(|()| true)?,
        done = round.carry_out(store, parts, pace, wait, |row| lines.say(row, total)) => done.map(|()| false)?,
    };
    lines.progress.end();
    Ok(stopped)
}

/// The network, as a command beside the agent sees it: it pins nothing.
pub(super) fn parts(context: &Context, way: Way) -> Result<Parts, Failure> {
    let unread = |error: std::io::Error| {
        Failure::failed(
            "network",
            format!("cannot look at the network: {error}"),
            "is this a Linux host with netlink?",
        )
    };
    let table = Table::read(&context.config.agent.interfaces).map_err(unread)?;
    let interfaces = Interfaces::fixed(table);
    let options = NeighbourOptions {
        interfaces: interfaces.clone(),
        clock: Clock::System,
        may_send: true,
        pin_list: None,
        inherited_kept: INHERITED_PINS_KEPT,
    };
    let neighbours = Neighbours::kernel(options).map_err(unread)?;
    if way == Way::Phone && !neighbours.abilities().is_some_and(|able| able.raw_arp) {
        let message = "cannot ask by ARP whether the phones are where they were seen";
        return Err(open::link_failure(message.to_owned(), &std::io::ErrorKind::PermissionDenied.into()));
    }
    Ok(Parts { interfaces, neighbours, clock: Clock::System, entropy: Entropy::System })
}

impl Args {
    fn selection(&self) -> Selection {
        let (macs, vendor, model) = (self.macs.clone(), self.vendor.clone(), self.model.clone());
        Selection { macs, all: self.all, vendor, model }
    }
}

/// What is printed while it goes on: a line for whatever happens, and on a terminal how many have come.
struct Lines {
    json: bool,
    progress: output::Progress,
    came: u64,
}

impl Lines {
    fn say(&mut self, row: &Row, total: usize) {
        self.came += u64::from(row.result == Fate::Came);
        if !self.json {
            self.progress.line(&row.line());
        }
        self.progress.show(self.came, total as u64);
    }
}

/// How it went, in one line: `12 told, 10 came, 1 refused, 1 not sent`.
fn tally(rows: &[Row]) -> String {
    let fates = [
        Fate::Came,
        Fate::Sent,
        Fate::Accepted,
        Fate::Challenged,
        Fate::Refused,
        Fate::Silent,
        Fate::Unreachable,
        Fate::NotSent,
        Fate::Planned,
    ];
    let count = |fate: Fate| rows.iter().filter(|row| row.result == fate).count();
    let parts = fates.into_iter().map(|fate| (count(fate), fate)).filter(|(count, _)| *count > 0);
    parts.map(|(count, fate)| format!("{count} {}", fate.as_str())).collect::<Vec<_>>().join(", ")
}
