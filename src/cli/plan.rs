//! `offhook plan`: what would change for phones, against what each fetched last.

use super::{Context, Failure, Outcome, open, output};
use crate::device::{Approval, Mac};
use crate::operate::fleet::Fleet;
use crate::operate::plan::Planner;
use crate::operate::view;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Phones, in any usual form; all that are served if none is named
    macs: Vec<Mac>,
    /// This host as phones see it that have fetched nothing yet (default: an address of this host)
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Do not show phones for which nothing changes
    #[arg(long)]
    changes: bool,
}

/// 0: whatever is set can be done, whether it changes something or not. 1: a file cannot be made, or a phone cannot do one
/// of its keys.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let (catalog, site, files) = (open::catalog(context), open::site(context), context.places.files());
    let fleet = Fleet { store: &store, catalog: &catalog, site: &site, files: &files };
    let mut devices = Vec::new();
    for mac in &args.macs {
        devices.push(view::known(&store, *mac).await?);
    }
    if devices.is_empty() {
        devices = store.inventory().devices();
        devices.retain(|device| device.approval == Approval::Approved);
    }
    let host = args.host.unwrap_or_else(|| open::own_address(None, context));
    let base = open::base(&host, context);
    let mut planner = Planner::new(&fleet, &host, &base);
    let (mut plans, mut all_done) = (Vec::new(), true);
    for device in &devices {
        let plan = planner.plan(device).await?;
        all_done &= plan.can_be_done();
        if args.changes && !plan.changes && plan.can_be_done() {
            continue;
        }
        if context.json {
            plans.push(plan);
        } else {
            output::print(&plan.text());
        }
    }
    if context.json {
        output::value(&plans);
    } else if devices.is_empty() {
        eprintln!("no phones are served yet");
    }
    if all_done { Ok(()) } else { Err(Failure::told()) }
}
