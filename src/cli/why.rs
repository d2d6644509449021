//! `offhook why`: the first step that broke in a phone's life, with its evidence, and what to do about it.

use std::net::IpAddr;

use super::{Context, Failure, Outcome, open, output};
use crate::clock::Clock;
use crate::device::Mac;
use crate::operate::why::Examiner;
use crate::store;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its MAC address in any usual form, or the IP address it was seen at
    #[arg(value_name = "MAC|IP")]
    phone: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let (catalog, releases) = (open::catalog(context), open::releases(context, &store));
    let examiner = Examiner {
        store: &store,
        catalog: &catalog,
        releases: &releases,
        adopt: &context.config.adopt,
        agent_runs: store::is_served(&context.places.socket()),
        now: Clock::System.now(),
    };
    // 192.168.100.101 has as many digits as a MAC.
    let mac = match (args.phone.parse::<IpAddr>(), args.phone.parse::<Mac>()) {
        (Ok(address), _) => examiner.behind(address).await?,
        (Err(_), Ok(mac)) => mac,
        (Err(_), Err(error)) => {
            return Err(Failure::usage(
                "phone",
                format!("'{}' is neither a MAC nor an IP address: {error}", args.phone),
                "offhook device list shows the phones",
            ));
        }
    };
    let why = examiner.why(mac).await?;
    if context.json {
        output::value(&why);
    } else {
        output::print(&why.text());
    }
    if why.is_broken() { Err(Failure::told()) } else { Ok(()) }
}
