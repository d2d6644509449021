//! stub

use super::{Context, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// List
    List,
}

pub(crate) async fn run(_args: Args, _context: &Context) -> Outcome {
    Ok(())
}
