//! `offhook fkey`: function keys, of a phone, of a model, of a vendor, of the site. Not `key`, which is what passwords are
//! sealed with: a slip between the two would be dear.

use super::site::Of;
use super::{Context, Failure, Outcome, open, output};
use crate::device::{KeyKind, Mac};
use crate::operate::fleet::Fleet;
use crate::operate::keys::{KeyShown, NewKey};
use crate::store::Owner;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// The keys of a phone, each with the plan that it comes from; without a phone the plans
    List {
        #[command(flatten)]
        whose: Whose,
    },
    /// Put a key into a plan, or on a phone alone
    Set {
        #[command(flatten)]
        whose: Whose,
        /// Its number, "page 2 key 5" or "module 1 key 5". Numbers count the phone's line keys, then its memory keys
        /// where it has some, then those of its modules
        key: String,
        /// line, blf, `speed_dial`, park, pickup, forward, dnd, dtmf, intercom, transfer, directory, url, xml; none blanks
        /// a key of the plans below
        kind: KeyKind,
        /// Extension, number, orbit, digits or URL, as the kind wants it
        #[arg(default_value = "")]
        value: String,
        /// What the phone shows beside it
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
        /// The line that it uses (default: the phone's first)
        #[arg(long, value_name = "LINE")]
        line: Option<u16>,
    },
    /// Take keys out of a plan, or from a phone: the key of the plan below shows again
    Remove {
        #[command(flatten)]
        whose: Whose,
        /// As fkey set takes them
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// Whose keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Whose {
    /// Those of this phone, in any usual form
    #[arg(long, value_name = "MAC", conflicts_with_all = ["vendor", "model", "site"])]
    device: Option<Mac>,
    #[command(flatten)]
    of: Of,
    /// Those of all phones
    #[arg(long, conflicts_with_all = ["vendor", "model"])]
    site: bool,
}

impl Whose {
    fn owner(&self, fleet: &Fleet<'_>) -> Result<Option<Owner>, Failure> {
        Ok(match self.device {
            Some(mac) => Some(Owner::Device(mac)),
            None if self.site || self.of.is_said() => Some(Owner::Group(self.of.group(fleet)?)),
            None => None,
        })
    }

    fn said(&self, fleet: &Fleet<'_>) -> Result<Owner, Failure> {
        let missing = || {
            Failure::usage(
                "owner",
                "it is not said whose key this is",
                "name --device MAC, --model VENDOR/MODEL, --vendor VENDOR or --site",
            )
        };
        self.owner(fleet)?.ok_or_else(missing)
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let store = open::store(context).await?;
    let (catalog, site, files) = (open::catalog(context), open::site(context), context.places.files());
    let fleet = Fleet { store: &store, catalog: &catalog, site: &site, files: &files };
    let (owner, changes) = match args {
        Args::List { whose } => {
            let rows = match whose.owner(&fleet)? {
                Some(owner) => fleet.keys(&owner)?,
                None => fleet.all_plans(),
            };
            list(context, &rows);
            return Ok(());
        }
        Args::Set { whose, key, kind, value, label, line } => {
            let owner = whose.said(&fleet)?;
            let key = fleet.new_key(&owner, &NewKey { key, kind, value, label, line })?;
            (owner, vec![(key.number, Some(key))])
        }
        Args::Remove { whose, keys } => {
            let owner = whose.said(&fleet)?;
            let numbers = keys.iter().map(|key| Ok((fleet.key_number(&owner, key)?, None)));
            let numbers = numbers.collect::<Result<Vec<_>, Failure>>()?;
            (owner, numbers)
        }
    };
    store.set_keys(&owner, &changes).await?;
    open::poke(context);
    let numbers: Vec<u16> = changes.iter().map(|(number, _)| *number).collect();
    for note in fleet.key_notes(&owner, &numbers) {
        eprintln!("note: {note}");
    }
    if context.json {
        list(context, &fleet.keys(&owner)?);
    } else {
        let keys: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let done = if changes.iter().any(|(_, key)| key.is_some()) { "is set" } else { "is no more" };
        output::print(&format!(
            "{owner}: key {} {done}; phones have it at their next fetch\n",
            keys.join(", ")
        ));
    }
    Ok(())
}

fn list(context: &Context, rows: &[KeyShown]) {
    let heads = ["OF", "KEY", "KIND", "VALUE", "LABEL", "LINE", "FROM", "BUT"];
    output::listing(context.json, rows, &heads, KeyShown::cells);
    if rows.is_empty() && !context.json {
        eprintln!("no function keys");
    }
}
