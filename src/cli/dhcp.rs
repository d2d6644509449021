//! `offhook dhcp`: what the LAN's DHCP server has to tell the phones, and what it tells them.

mod vendors;
mod verify;

use super::{Context, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Ask the LAN's DHCP server as each vendor's phone would, and say what a phone makes of the answer
    Verify(verify::Args),
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args {
        Args::Verify(args) => verify::run(args, context).await,
    }
}
