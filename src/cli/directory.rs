//! `offhook directory`: the contacts that phones find in their company directory, beside the accounts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, Failure, Outcome, open, output};
use crate::accounts::read_contacts;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Add contacts from vCard or CSV (name, number, …); the same again changes nothing
    Import {
        /// `-` is standard input
        file: PathBuf,
    },
    /// Every contact
    List,
    /// Remove every contact; accounts stay
    Clear,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    match args {
        Args::Import { file } => {
            let found = read_contacts(&read(&file)?);
            let shown = file.display();
            for (line, why) in &found.problems {
                eprintln!("offhook: {shown}:{line}: {why}; left out");
            }
            if found.contacts.is_empty() {
                let message = format!("{shown} holds no contact");
                let remedy =
                    "write a row for each: name,number[,number]; or a header with name, number, company";
                return Err(Failure::failed("no_contacts", message, remedy));
            }
            let added = store.add_contacts(&found.contacts).await?;
            open::poke(context);
            let (contacts, left_out) = (found.contacts.len(), found.problems.len());
            if context.json {
                let problems: Vec<_> =
                    found.problems.iter().map(|(line, why)| json!({ "line": line, "why": why })).collect();
                output::value(&json!({ "contacts": contacts, "numbers_added": added, "problems": problems }));
            } else {
                let text =
                    format!("{contacts} contacts read, {added} numbers are new, {left_out} rows left out\n");
                output::print(&text);
            }
        }
        Args::List => {
            let contacts = store.contacts().await?;
            output::listing(context.json, &contacts, &["NAME", "COMPANY", "NUMBERS"], |contact| {
                vec![contact.name.clone(), contact.company.clone(), contact.numbers.join(", ")]
            });
        }
        Args::Clear => {
            let removed = store.clear_contacts().await?;
            open::poke(context);
            if context.json {
                output::value(&json!({ "numbers_removed": removed }));
            } else {
                output::print(&format!("{removed} numbers removed\n"));
            }
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|mut open| open.read_to_end(&mut bytes))
    };
    let refused = |error| {
        let message = format!("cannot read {}: {error}", file.display());
        Failure::failed("file", message, "name a file that this user may read")
    };
    read.map(|_| bytes).map_err(refused)
}
