//! `offhook scan`: finds phones that did not ask, live, and says what has changed since the last time.

mod report;

use tokio_util::sync::CancellationToken;

use super::device::point::{self, Manner};
use super::{Context, Failure, Outcome, open, output, run};
use crate::clock::{Clock, Entropy};
use crate::config::SCAN_RATE_MAX;
use crate::net::Prefix;
use crate::net::interfaces::Table;
use crate::operate::scan::Wanted;
use crate::scan::finding::Kind;
use crate::scan::server::{News, Order, Report, ScanParts, scan};
use crate::store::ScanState;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Networks or addresses (default: scan.networks, or the interfaces' own)
    #[arg(value_name = "NETWORK")]
    networks: Vec<Prefix>,
    /// Questions a second (default: scan.rate)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SCAN_RATE_MAX)))]
    rate: Option<u32>,
    /// Ask more than a /22
    #[arg(long)]
    yes: bool,
    /// Show hosts that are no phones, too
    #[arg(long)]
    all: bool,
    /// Begin anew where the last scan of these networks did not come to its end
    #[arg(long)]
    fresh: bool,
    /// Point the phones here that were found and have not come yet, as device point --found does
    #[arg(long, conflicts_with = "dry_run")]
    push: bool,
    /// Point even phones here that another provisioning server has
    #[arg(long, requires = "push")]
    foreign: bool,
    /// How long a phone that was pointed here may take to come; 0: nobody is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = point::WAIT_S, requires = "push")]
    wait: u32,
    /// Say who would be asked and how long it takes, and ask nobody
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let table = Table::read(&context.config.agent.interfaces).map_err(|error| {
        Failure::failed("network", format!("cannot read the interfaces: {error}"), "offhook runs on Linux")
    })?;
    let wanted = Wanted {
        networks: args.networks.clone(),
        rate: args.rate,
        confirmed: args.yes || args.dry_run,
        fresh: args.fresh,
    };
    let order = wanted.order(&context.config.scan, &table)?;
    if args.dry_run {
        report::dry_run(&order, context.json);
        return Ok(());
    }
    perform(&args, order, context).await
}

async fn perform(args: &Args, order: Order, context: &Context) -> Outcome {
    let store = open::store_with_key(context).await?;
    let parts = ScanParts {
        catalog: open::catalog(context).into(),
        store: store.in_agent(&context.config.agent.name()).acting_as(&open::actor()),
        adopt: context.config.adopt.clone(),
        clock: Clock::System,
        entropy: Entropy::System,
        lock: context.places.scan_lock(),
    };
    if !context.json {
        output::print(&report::head(&order));
    }
    let networks = order.plan.name();
    let cancel = CancellationToken::new();
    let mut live =
        Live { all: args.all, json: context.json, progress: output::Progress::new("questions asked") };
    let stop = async {
        let told = run::until_told_to_stop().await;
        cancel.cancel();
        told
    };
    let report = {
        let scanning = scan(parts, order, |news| live.tell(news), cancel.clone());
        tokio::pin!(scanning);
        tokio::select! {
            report = &mut scanning => report,
            told = stop => {
                told?;
                scanning.await
            }
        }
    };
    live.progress.end();
    open::poke(context);
    let report = report?;
    if !context.json {
        output::print(&report::foot(&report, args.all));
    }
    let is_complete = report.state == ScanState::Complete;
    let pointed = if args.push && is_complete { Some(push(args, &report, context).await?) } else { None };
    if context.json {
        let mut value = report::json(&report, &networks, args.all);
        if let (Some(pointed), Some(fields)) = (&pointed, value.as_object_mut()) {
            fields.insert("pointed".to_owned(), serde_json::json!(pointed.rows));
        }
        output::value(&value);
    }
    match pointed {
        _ if !is_complete => Err(Failure::told()),
        Some(pointed) => pointed.outcome(context),
        None => Ok(()),
    }
}

/// Points the phones that were found here.
async fn push(args: &Args, report: &Report, context: &Context) -> Result<point::Done, Failure> {
    let phones = report.found.iter().filter(|finding| finding.kind == Kind::Phone);
    let manner = Manner { foreign: args.foreign, wait: args.wait };
    let pointed = point::found(context, phones.filter_map(|finding| finding.mac).collect(), &manner).await?;
    if !context.json {
        pointed.show();
    }
    Ok(pointed)
}

/// What a person sees while it runs.
struct Live {
    all: bool,
    json: bool,
    progress: output::Progress,
}

impl Live {
    fn tell(&mut self, news: &News) {
        let line = match news {
            News::Progress { asked, total } => return self.progress.show(*asked, *total),
            News::Found(finding) if finding.kind.is_shown() || self.all => report::line(finding),
            News::Found(_) => return,
            News::Resumed { since, found } => report::resumed(*since, *found),
            News::Duplicate(duplicate) => report::duplicate(duplicate),
            News::Proxy(mac) => report::proxy(*mac),
        };
        if !self.json {
            self.progress.line(&line);
        }
    }
}
