//! `offhook device point`: points running phones here by the gentlest means that works, and says who came or at which step
//! they refused.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::{Context, Failure, Outcome, open, output, run};
use super::push::parts;
use crate::device::Mac;
use crate::operate::point::{Desk, Fate, How, Pointing, Row, Who};
use crate::provision::Roots;
use crate::push::decide::{Rate, Way};

/// How long a phone may take to come unless it is said: one that starts anew takes two minutes.
pub(in crate::cli) const WAIT_S: u32 = 180;
const HEADS: [&str; 7] = ["MAC", "VENDOR", "MODEL", "ADDRESS", "RESULT", "BY", "WHAT"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// In any usual form; without one, a run that did not come to its end is gone on with
    #[arg(conflicts_with = "found")]
    macs: Vec<Mac>,
    /// Every phone that a scan found and that has not come here yet
    #[arg(long)]
    found: bool,
    #[command(flatten)]
    manner: Manner,
    /// Only show who would be pointed here
    #[arg(long)]
    dry_run: bool,
}

/// How phones are pointed here.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Manner {
    /// Point even phones here that another provisioning server has
    #[arg(long)]
    pub(in crate::cli) foreign: bool,
    /// How long a phone may take to come, from when it was told; 0: nobody is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_S)]
    pub(in crate::cli) wait: u32,
}

/// What came of a run.
pub(in crate::cli) struct Done {
    pub(in crate::cli) rows: Vec<Row>,
    stopped: bool,
    all: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Outcome {
    let who = match (args.found, args.macs.is_empty()) {
        (true, _) => Who::AllFound,
        (false, false) => Who::These(args.macs.into_iter().collect()),
        (false, true) => Who::Left,
    };
    if args.dry_run {
        return plan(context, who, &args.manner).await;
    }
    let done = point(context, who, &args.manner).await?;
    output::listing(context.json, &done.rows, &HEADS, Row::cells);
    done.outcome(context)
}

/// Points the phones of a scan here.
pub(in crate::cli) async fn found(
    context: &Context,
    macs: BTreeSet<Mac>,
    manner: &Manner,
) -> Result<Done, Failure> {
    if macs.is_empty() {
        return Ok(Done { rows: Vec::new(), stopped: false, all: true });
    }
    point(context, Who::Found(macs), manner).await
}

impl Done {
    /// For a person, when the scan's own end has been shown.
    pub(in crate::cli) fn show(&self) {
        output::listing(false, &self.rows, &HEADS, Row::cells);
    }

    /// The end of the command.
    pub(in crate::cli) fn outcome(&self, context: &Context) -> Outcome {
        let tally = tally(&self.rows);
        if self.stopped {
            let remedy = "offhook device point goes on where it stopped";
            return Err(Failure::failed("stopped", format!("stopped: {tally}"), remedy));
        }
        if !context.json {
            eprintln!("{tally}");
        }
        if self.all { Ok(()) } else { Err(Failure::told()) }
    }
}

async fn plan(context: &Context, who: Who, manner: &Manner) -> Outcome {
    let (store, catalog) = (open::store_with_key(context).await?, open::catalog(context));
    let config = &context.config;
    let desk = Desk {
        store: &store,
        catalog: &catalog,
        adopt: &config.adopt,
        roots: Roots::of(config),
        foreign: manner.foreign,
    };
    let pointing = Pointing::plan(desk, who).await?;
    output::listing(context.json, &pointing.rows, &HEADS, Row::cells);
    Ok(())
}

async fn point(context: &Context, who: Who, manner: &Manner) -> Result<Done, Failure> {
    open::only_owner(context)?;
    let (store, catalog) = (open::store_with_key(context).await?, open::catalog(context));
    let config = &context.config;
    let desk = Desk {
        store: &store,
        catalog: &catalog,
        adopt: &config.adopt,
        roots: Roots::of(config),
        foreign: manner.foreign,
    };
    let is_left = matches!(who, Who::Left);
    let mut pointing = Pointing::plan(desk, who).await?;
    if pointing.rows.is_empty() {
        let (message, remedy) = if is_left {
            ("no run was cut off: nothing was sent", "name phones, or --found")
        } else {
            ("no phone was found: nothing was sent", "offhook scan looks for them")
        };
        return Err(Failure::no("nothing", message, remedy));
    }
    let wait = Duration::from_secs(manner.wait.into());
    let stopped = carry_out(context, &mut pointing, wait).await?;
    open::poke(context);
    Ok(Done { all: pointing.is_done(wait), rows: pointing.rows, stopped })
}

/// Points them; gives back whether somebody stopped it before its end.
async fn carry_out(context: &Context, pointing: &mut Pointing<'_>, wait: Duration) -> Result<bool, Failure> {
    let mut lines = Lines { json: context.json, progress: output::Progress::new("phones came"), came: 0 };
    let total = pointing.due();
    for row in pointing.rows.iter().filter(|row| row.result != Fate::Planned) {
        lines.say(row, total);
    }
    if total == 0 {
        return Ok(false);
    }
    let cancel = CancellationToken::new();
    let parts = parts(context, Way::Phone)?;
    let how = How { parts, rate: Rate::default(), wait, cancel: cancel.clone() };
    let done = {
        let pointed = pointing.carry_out(how, |row| lines.say(row, total));
        tokio::pin!(pointed);
        tokio::select! {
            done = &mut pointed => done,
            told = run::until_told_to_stop() => {
                told?;
                cancel.cancel();
                pointed.await
            }
        }
    };
    lines.progress.end();
    done.map(|()| cancel.is_cancelled())
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

/// How it went, in one line: `10 came, 1 refused, 1 bound elsewhere`.
fn tally(rows: &[Row]) -> String {
    let count = |fate: Fate| rows.iter().filter(|row| row.result == fate).count();
    let parts = Fate::ALL.into_iter().map(|fate| (count(fate), fate)).filter(|(count, _)| *count > 0);
    parts.map(|(count, fate)| format!("{count} {}", fate.as_str())).collect::<Vec<_>>().join(", ")
}
