//! `offhook restore`: a backup becomes the database again, while no agent runs. What was there is kept.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Context, Failure, Outcome, open, output};
use crate::agent::{self, AgentError};
use crate::clock::{Clock, Entropy};
use crate::store::{self, Backup, Restore, Restored};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file that `offhook backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A copy of the key that the backup was sealed with, where it is not this host's; it is put beside the key file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    open::only_owner(context)?;
    // Held until the end: no agent starts meanwhile.
    let _alone = agent::claim_without_serving(&context.places.socket()).map_err(stop_first)?;
    let backup = Backup::open(&args.file)?;
    let options = Restore {
        url: open::store_url(context),
        vault: open::vault(context),
        key: args.key,
        aside: context.places.data.clone(),
        actor: open::actor(),
        clock: Clock::System,
        entropy: Entropy::System,
    };
    let mut progress = output::Progress::new("rows restored");
    let restored = store::restore(&options, &backup, &mut |done, total| progress.show(done, total)).await?;
    progress.end();
    if context.json {
        let head = &restored.head;
        output::value(&serde_json::json!({
            "at": head.at, "key": head.key, "devices": head.devices, "accounts": head.accounts,
            "rows": restored.rows, "locked": restored.locked, "replaced": restored.replaced,
        }));
    } else {
        output::print(&told(&restored));
    }
    Ok(())
}

fn told(restored: &Restored) -> String {
    let head = &restored.head;
    let mut text = format!(
        "The backup of {} is the database now: {} devices, {} accounts\n",
        head.at, head.devices, head.accounts
    );
    if let Some(replaced) = &restored.replaced {
        let _ = writeln!(text, "What was there before is kept in {}", replaced.display());
    }
    let _ = writeln!(
        text,
        "Every password is locked ({} could have left when the backup was made): nobody knows which have left since.\n\
         Phones keep what they have. To let those passwords leave once more: offhook rearm --all --reason restored,\n\
         or one phone's alone: offhook device rearm MAC",
        restored.locked
    );
    text
}

fn stop_first(error: AgentError) -> Failure {
    if !matches!(error, AgentError::Running(_)) {
        return error.into();
    }
    let remedy = "stop the agent first (systemctl stop offhook); nothing was changed";
    Failure::no("running", error.to_string(), remedy)
}
