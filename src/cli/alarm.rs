//! `offhook alarm`: what an administrator should look at, and saying that it is dealt with.

use std::collections::BTreeMap;

use super::{Context, Outcome, open, output};
use crate::operate::alarm;
use crate::store::{AlarmRow, Store};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// List the alarms that nobody has dealt with, the latest first
    List {
        /// Those that are dealt with as well
        #[arg(long)]
        all: bool,
    },
    /// Say that alarms are dealt with; one that comes again is open again
    Done {
        /// Their numbers
        #[arg(required_unless_present = "all", value_name = "ID")]
        ids: Vec<i64>,
        /// All that are open
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    match args {
        Args::List { all } => list(context, &store, all).await,
        Args::Done { ids, all } => done(context, &store, (!all).then_some(ids.as_slice())).await,
    }
}

async fn list(context: &Context, store: &Store, all: bool) -> Outcome {
    let rows = store.alarms(all).await?;
    let heads = ["ID", "KIND", "PHONE", "FROM", "SEEN", "LAST", "STATE", "WHAT"];
    output::listing(context.json, &rows, &heads, cells);
    if context.json {
        return Ok(());
    }
    let remedies: BTreeMap<&str, &str> = rows.iter().map(|row| (&*row.kind, row.remedy)).collect();
    for (kind, remedy) in remedies {
        output::print(&format!("\n{kind}: {remedy}\n"));
    }
    if rows.is_empty() {
        eprintln!("no alarms");
    }
    Ok(())
}

fn cells(row: &AlarmRow) -> Vec<String> {
    vec![
        row.id.to_string(),
        row.kind.clone(),
        row.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        row.peer.clone().unwrap_or_default(),
        row.seen.to_string(),
        row.last.to_string(),
        if row.done.is_some() { "done" } else { "open" }.to_owned(),
        row.text.clone(),
    ]
}

async fn done(context: &Context, store: &Store, ids: Option<&[i64]>) -> Outcome {
    if let Some(ids) = ids {
        alarm::known(store, ids).await?;
    }
    let count = store.alarms_done(ids).await?;
    if context.json {
        output::value(&serde_json::json!({ "done": count }));
    } else {
        output::print(&format!("{count} alarm{} done\n", if count == 1 { " is" } else { "s are" }));
    }
    Ok(())
}
