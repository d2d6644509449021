//! `offhook dhcp`: what the LAN's DHCP server has to tell the phones, and what it tells them.

mod report;
mod snippet;
mod vendors;
mod verify;

use super::{Context, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// A configuration for the DHCP server of this LAN, for exactly the phones of the inventory
    Snippet(snippet::Args),
    /// Leave the agent a report of a lease, as the hook of dnsmasq or Kea on this host (examples/dnsmasq-dhcp-script,
    /// examples/kea-run-script); never fails
    Report(report::Args),
    /// Ask the LAN's DHCP server as each vendor's phone would, and say what a phone makes of the answer
    Verify(verify::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args {
        Args::Snippet(args) => snippet::run(args, context).await,
        Args::Report(args) => {
            report::run(&args, context);
            Ok(())
        }
        Args::Verify(args) => verify::run(args, context).await,
    }
}
