//! `offhook backup`: everything in the database, in one file, while the agent runs. The passwords stay sealed, and the
//! key stays where it is, unless it is asked for by its own flag.

use std::path::PathBuf;

use super::{Context, Outcome, open, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to; a file that exists is replaced only if it is a backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put the key into it too: whoever gets the file then has every password
    #[arg(long)]
    include_key: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    open::only_owner(context)?;
    let store = open::store(context).await?;
    let mut progress = output::Progress::new("rows written");
    let saved =
        store.save(&args.file, args.include_key, &mut |done, total| progress.show(done, total)).await?;
    progress.end();
    let (file, head) = (saved.file.display(), &saved.head);
    if context.json {
        output::value(&serde_json::json!({
            "file": saved.file, "at": head.at, "key": head.key, "with_key": saved.with_key, "devices": head.devices,
            "accounts": head.accounts, "rows": saved.rows, "bytes": saved.bytes,
        }));
    } else {
        let (devices, accounts) = (head.devices, head.accounts);
        output::print(&format!("{file}: {devices} devices, {accounts} accounts, {} rows\n", saved.rows));
    }
    // Said to programs' logs too: it is on standard error.
    if saved.with_key {
        eprintln!("offhook: WARNING: {file} holds the key: whoever gets this file has every password");
    } else {
        let key = &head.key;
        eprintln!("offhook: this backup is worth nothing without the key {key}, which is NOT in it");
        eprintln!("  store a copy of the key separately; offhook key show says where the key is");
    }
    Ok(())
}
