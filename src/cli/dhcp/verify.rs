//! `offhook dhcp verify`: asks the LAN's DHCP servers as each vendor's phone would, takes no lease, and says what a phone
//! would make of each answer.

mod interview;
mod names;
mod network;
mod report;

use std::net::Ipv4Addr;
use std::time::Duration;

use super::vendors::{self, Chosen};
use crate::cli::{Context, Failure, Outcome};
use crate::clock::{Clock, Entropy};
use crate::config::Span;
use crate::profile::Catalog;

use interview::{Heard, Interview};
use network::Network;
use report::Row;

/// A server that is there answers at once; a network that loses everything for a minute is not verified.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only on this interface (default: those of agent.interfaces, or every one that is up)
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only as this vendor's phones (may be given several times; default: the vendors of the inventory)
    #[arg(long, value_name = "VENDOR")]
    vendor: Vec<String>,
    /// As every vendor that has a profile, whatever the inventory holds
    #[arg(long, conflicts_with = "vendor")]
    all: bool,
    /// Ask this server alone, which may stand in another network
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Ipv4Addr>,
    /// Where nobody answers DHCPINFORM, send one DISCOVER (at most every ten minutes; no lease is taken)
    #[arg(long)]
    discover: bool,
    /// How long to wait for answers
    #[arg(long, value_name = "TIME", default_value = "3s")]
    timeout: Span,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let Span(timeout) = args.timeout;
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        let message = format!("{} s is no time to wait for answers", timeout.as_secs());
        return Err(Failure::usage("timeout", message, "give --timeout between 1s and 1m"));
    }
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    let chosen = vendors::chosen(&args.vendor, args.all, &catalog, context).await?;
    let networks = network::all(args.interface.as_deref(), context)?;
    let interviews = networks.iter().map(|network| async {
        let interview = Interview {
            network,
            chosen: &chosen,
            catalog: &catalog,
            server: args.server,
            timeout,
            clock: Clock::System,
            entropy: Entropy::System,
        };
        let heard = interview.heard(args.discover.then_some(context.places.data.as_path())).await?;
        rows(network, &chosen, &heard).await
    });
    let rows: Vec<Vec<Row>> = futures_util::future::try_join_all(interviews).await?;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    report::print(context.json, &rows);
    if rows.iter().all(Row::is_well) { Ok(()) } else { Err(Failure::told()) }
}

/// Judges what was heard; a name in an answer is looked up before it is called another host's.
async fn rows(network: &Network, chosen: &[Chosen], heard: &interview::Outcome) -> Result<Vec<Row>, Failure> {
    let mut place = network.place.clone();
    let answers: Vec<(&Chosen, &Heard)> =
        heard.answers.iter().filter_map(|heard| Some((chosen.get(heard.vendor)?, heard))).collect();
    let strangers = answers.iter().flat_map(|(chosen, heard)| {
        report::strange_hosts(&chosen.profile.judge(&heard.options.to_map(), &place))
    });
    let found = names::look_up(strangers.collect()).await;
    place
        .names
        .extend(found.iter().filter(|(_, found)| network.has_any(found)).map(|(name, _)| name.clone()));
    Ok(report::rows(network, &place, chosen, heard, &found))
}
