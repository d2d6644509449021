//! `offhook dhcp`: what the LAN's DHCP server has to tell the phones, and what it tells them.

mod snippet;

use super::{Context, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// A configuration for the DHCP server of this LAN, for exactly the phones of the inventory
    Snippet(snippet::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args {
        Args::Snippet(args) => snippet::run(args, context).await,
    }
}
