//! `offhook dhcp`: what the LAN's DHCP server has to tell the phones, and what it tells them; what is answered from here,
//! and the switch that ends it.

mod report;
mod reserve;
mod snippet;
mod status;
mod switch;
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
    /// What is done on each interface, who answers there, and who has which address
    Status,
    /// The addresses that were given from here
    Leases(status::Leases),
    /// Answer nothing any more, on one interface or on all: the running agent falls silent at once
    Off(switch::Off),
    /// Do again on an interface what the configuration says
    On(switch::On),
    /// Keep an address for a phone
    Reserve(reserve::Reserve),
    /// Keep no address for a phone any more
    Unreserve(reserve::Unreserve),
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args {
        Args::Snippet(args) => snippet::run(args, context).await,
        Args::Report(args) => {
            report::run(&args, context);
            Ok(())
        }
        Args::Verify(args) => verify::run(args, context).await,
        Args::Status => status::status(context).await,
        Args::Leases(args) => status::leases(&args, context).await,
        Args::Off(args) => switch::off(&args, context).await,
        Args::On(args) => switch::on(&args, context).await,
        Args::Reserve(args) => reserve::reserve(&args, context).await,
        Args::Unreserve(args) => reserve::unreserve(&args, context).await,
    }
}
