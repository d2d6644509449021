//! `offhook firmware`: the catalog of releases, and what each phone gets next.

use std::path::PathBuf;

use serde_json::json;

use super::{Context, Failure, Outcome, open, output};
use crate::device::Mac;
use crate::operate::firmware::{self, NewRelease, PhoneCheck, ReleaseShown};
use crate::operate::fleet::Fleet;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Take a release into the catalog: its files are copied, and phones are told of it along allowed steps
    #[command(disable_version_flag = true)]
    Add {
        /// Its files; the first one is the one that phones are told of
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The folder name of the vendor's profile
        #[arg(long)]
        vendor: String,
        /// For which models, as phones print them; * and ? stand for any characters and any one
        #[arg(long = "model", value_name = "MODEL", required = true)]
        models: Vec<String>,
        /// The version, as phones say that have it
        #[arg(long)]
        version: String,
        /// Only for phones of this hardware revision (the setting hardware)
        #[arg(long)]
        hardware: Option<String>,
        /// The version that a phone must have before this one
        #[arg(long, value_name = "VERSION")]
        minimum: Option<String>,
    },
    /// The releases of the catalog
    List,
    /// Take releases out of the catalog, and their files from the disk
    Remove {
        /// VENDOR/VERSION/FILE, as firmware list shows them
        #[arg(required = true)]
        releases: Vec<String>,
    },
    /// Read every file, and say what each phone gets next, or why not
    Check {
        /// Phones, in any usual form; all that are served if none is named
        macs: Vec<Mac>,
    },
    /// Let phones have once more what they fetched twice in vain
    Retry {
        /// In any usual form
        #[arg(required = true)]
        macs: Vec<Mac>,
    },
}

/// Of `check`: 0 if every file is as it was brought, 1 if one is not.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let (catalog, site, files) = (open::catalog(context), open::site(context), context.places.files());
    let fleet = Fleet { store: &store, catalog: &catalog, site: &site, files: &files };
    match args {
        Args::Add { files, vendor, models, version, hardware, minimum } => {
            let new = NewRelease { files, vendor, models, version, hardware, minimum, sha256: None };
            let (release, notes) = firmware::brought(&fleet, &store, &new).await?;
            open::poke(context);
            told(context, &release, &notes, "is in the catalog; phones are told of it at their next fetch");
        }
        Args::List => {
            let heads = ["RELEASE", "VERSION", "MODELS", "HARDWARE", "FROM", "FILES", "OCTETS"];
            let releases = fleet.releases();
            output::listing(context.json, &releases, &heads, ReleaseShown::cells);
            if releases.is_empty() && !context.json {
                eprintln!("no releases; offhook firmware add brings one");
            }
        }
        Args::Remove { releases } => {
            for name in releases {
                let (release, notes) = firmware::remove(&files, &store, &name).await?;
                open::poke(context);
                told(context, &release, &notes, "is removed");
            }
        }
        Args::Check { macs } => {
            let check = fleet.check_firmware(&macs).await?;
            if context.json {
                output::value(&check);
            } else {
                let heads = ["MAC", "VENDOR", "MODEL", "HAS", "HARDWARE", "STATE", "NEXT", "BECAUSE"];
                output::listing(false, &check.phones, &heads, PhoneCheck::cells);
                check.troubles().for_each(|trouble| eprintln!("offhook: {trouble}"));
            }
            return if check.is_sound() { Ok(()) } else { Err(Failure::told()) };
        }
        Args::Retry { macs } => {
            store.retry_firmware(&macs).await?;
            open::poke(context);
            if context.json {
                output::value(&json!({ "retried": macs }));
            } else {
                for mac in &macs {
                    output::print(&format!("{mac} may try its firmware again\n"));
                }
            }
        }
    }
    Ok(())
}

fn told(context: &Context, release: &ReleaseShown, notes: &[String], sentence: &str) {
    for note in notes {
        eprintln!("note: {note}");
    }
    if context.json {
        output::value(release);
    } else {
        output::print(&format!("{} {sentence}\n", release.release));
    }
}
