//! stub

use super::{Context, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, _context: &Context) -> Outcome {
    Ok(())
}
