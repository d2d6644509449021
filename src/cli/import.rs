//! `offhook import`: phones, accounts and function keys from a file; all of it or nothing, and twice is once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Context, Exit, Failure, Outcome, open, output};
use crate::accounts::read_csv_file;
use crate::device::{Group, Mac};
use crate::profile::Catalog;
use crate::store::{
    Change, DeviceRow, FieldChange, ImportOptions, Owner, Plan, Problem, Sheet, Store, Tally, Verb,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files; `-` is standard input. A table with the columns mac and key holds function keys
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the files are
    #[arg(long, value_name = "SOURCE", default_value = "csv")]
    from: String,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Apply the good rows though there are bad ones
    #[arg(long)]
    partial: bool,
    /// Remove devices, accounts and keys that the files do not name
    #[arg(long, conflicts_with = "partial")]
    prune: bool,
}

/// What `offhook run --accounts FILE` does before it starts.
pub(crate) async fn file(file: &Path, context: &Context) -> Outcome {
    let files = vec![file.to_owned()];
    let args = Args { files, from: "csv".to_owned(), dry_run: false, partial: false, prune: false };
    let outcome = run(args, context).await;
    outcome.map_err(|failure| match failure.exit {
        // The bad rows are told already; here they are the reason why nothing starts.
        Exit::No => {
            Failure::no(failure.code, format!("{} was not imported", file.display()), "correct its bad rows")
        }
        Exit::Usage | Exit::Failed => failure,
    })
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if args.from != "csv" {
        return Err(Failure::usage(
            "source",
            format!("there is no source '{}'; there is: csv", args.from),
            "export the accounts of the PBX as CSV, with the columns mac, username, password",
        ));
    }
    let mut sheet = read(&args.files)?;
    let (catalog, _) = Catalog::load(context.config.profiles.dir.as_deref());
    spell_models(&mut sheet, &catalog);
    for note in unknown_phones(&sheet, &catalog) {
        sheet.note(note);
    }
    let store = open::store(context).await?;
    let options = ImportOptions { dry_run: args.dry_run, partial: args.partial, prune: args.prune };
    let plan = store.import(&sheet, options).await?;
    if plan.applied {
        open::poke(context);
    }
    if context.json {
        output::value(&plan);
    } else {
        tell(&plan, args.dry_run);
        output::print(&renewed(&plan, &store));
    }
    if plan.problems.is_empty() {
        return Ok(());
    }
    // The plan has said it all.
    Err(Failure { exit: Exit::No, code: "bad_rows", message: String::new(), remedy: String::new() })
}

/// Reads the files into one sheet, so that what contradicts between them is found too.
fn read(files: &[PathBuf]) -> Result<Sheet, Failure> {
    let mut sheet = Sheet::default();
    for file in files {
        read_csv_file(file, &mut sheet).map_err(|error| {
            let message = format!("cannot read {}: {error}", file.display());
            Failure::failed("read", message, "check the file's name and permissions")
        })?;
    }
    Ok(sheet)
}

/// Vendors and models that no profile has: their rows are taken, because a profile may come later, but a slip of the
/// pen must not become a phone that is silently served nothing, or half of it.
fn unknown_phones(sheet: &Sheet, catalog: &Catalog) -> BTreeSet<String> {
    let note = |row: &DeviceRow| {
        let vendor = row.vendor.as_ref()?;
        let Some(profile) = catalog.get(vendor) else {
            let known: Vec<&str> = catalog.profiles().map(|profile| profile.vendor().as_str()).collect();
            return Some(format!(
                "no profile for vendor '{vendor}': its phones get no files (there are: {})",
                known.join(", ")
            ));
        };
        let model = row.model.as_deref().filter(|model| profile.model(model).is_none())?;
        Some(format!("{vendor} has no model '{model}': such phones get only what any of its phones gets"))
    };
    sheet.devices().values().filter_map(note).collect()
}

/// Models as their profile spells them: `T46U` for `SIP-T46U` and `t46u`, `D785` for `snomD785`.
fn spell_models(sheet: &mut Sheet, catalog: &Catalog) {
    for row in sheet.devices_mut() {
        let profile = row.vendor.as_ref().and_then(|vendor| catalog.get(vendor));
        if let (Some(profile), Some(model)) = (profile, &mut row.model) {
            *model = profile.model_name(model);
        }
    }
    for row in sheet.keys_mut() {
        if let Owner::Group(Group::Model(vendor, model)) = &mut row.owner
            && let Some(profile) = catalog.get(vendor)
        {
            *model = profile.table_name(model);
        }
    }
}

fn tell(plan: &Plan, dry_run: bool) {
    for Problem { place, reason } in &plan.problems {
        eprintln!("{place}: {reason}");
    }
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    output::print(&text(plan, dry_run));
}

/// A dry run shows each change; an import only counts them.
fn text(plan: &Plan, dry_run: bool) -> String {
    let mut text = String::new();
    if dry_run {
        text.extend(plan.changes.iter().map(line));
    }
    for (verb, tally) in [
        ("added", plan.added),
        ("changed", plan.changed),
        ("removed", plan.removed),
        ("unchanged", plan.unchanged),
    ] {
        if tally != Tally::default() {
            let _ = writeln!(text, "{verb}: {}", count(tally));
        }
    }
    let bad = plan.problems.len();
    let end = match (plan.applied, bad) {
        (true, 0) => String::new(),
        (true, _) => format!("{} not applied; the rest is\n", rows(bad)),
        (false, 0) if plan.is_empty() => "nothing to do\n".to_owned(),
        (false, 0) => "dry run: nothing was written\n".to_owned(),
        (false, _) if dry_run => format!("dry run: nothing was written; {} cannot be applied\n", rows(bad)),
        (false, _) => {
            format!("{} cannot be applied, so nothing was; --partial applies the rest\n", rows(bad))
        }
    };
    text.push_str(&end);
    text
}

/// Phones that have a new password now: it is armed by itself.
fn renewed(plan: &Plan, store: &Store) -> String {
    if !plan.applied {
        return String::new();
    }
    let inventory = store.inventory();
    let is_new = |change: &&Change| {
        change.change == Verb::Changed && change.fields.iter().any(|field| field.field.ends_with("password"))
    };
    let of = |change: &Change| {
        let mac = change.name.parse().ok().filter(|_| change.what == "device");
        mac.or_else(|| Some(inventory.find_account(&change.name).ok()?.on?.0))
    };
    let phones: BTreeSet<Mac> = plan.changes.iter().filter(is_new).filter_map(of).collect();
    match phones.len() {
        0 => String::new(),
        1 => "1 phone gets a new password at its next contact\n".to_owned(),
        count => format!("{count} phones get new passwords at their next contact\n"),
    }
}

fn rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

fn count(tally: Tally) -> String {
    let words = [(tally.devices, "device"), (tally.accounts, "account"), (tally.keys, "key")];
    let words = words.iter().filter(|(count, _)| *count > 0);
    let words = words.map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }));
    words.collect::<Vec<_>>().join(", ")
}

fn line(change: &Change) -> String {
    let sign = match change.change {
        Verb::Added => '+',
        Verb::Changed => '~',
        Verb::Removed => '-',
    };
    let fields: Vec<String> = change.fields.iter().map(field).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(": {}", fields.join(", ")) };
    format!("{sign} {} {}{fields}\n", change.what, change.name)
}

fn field(change: &FieldChange) -> String {
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{} {from} -> {to}", change.field),
        (Some(from), None) => format!("{} {from} -> (none)", change.field),
        (None, Some(to)) => format!("{} {to}", change.field),
        (None, None) => change.field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Vendor;
    use crate::store::RowPlace as Place;

    #[test]
    fn models_are_spelled_and_what_has_no_profile_is_told() {
        let mut sheet = Sheet::default();
        let phone = |vendor: &str, model: &str| DeviceRow {
            vendor: Some(Vendor::new(vendor)),
            model: Some(model.to_owned()),
            ..DeviceRow::default()
        };
        let rows = [
            ("yealink", "t46u", "T46U"),
            ("yealink", "SIP-T46U", "T46U"),
            ("yealink", "Yealink SIP-T46U", "T46U"),
            ("yealink", "T99X", "T99X"),
            ("snom", "snomD785", "D785"),
            ("yealnik", "t46u", "t46u"),
        ];
        for (last, (vendor, model, _)) in rows.iter().enumerate() {
            let mac = format!("00156500000{last}").parse().unwrap();
            let place = Place { file: "a.csv".to_owned(), line: 2 };
            sheet.add(place, Some((mac, phone(vendor, model))), None);
        }
        let catalog = Catalog::builtin().unwrap();
        spell_models(&mut sheet, &catalog);
        let spelled: Vec<_> = sheet.devices().values().filter_map(|row| row.model.as_deref()).collect();
        assert_eq!(spelled, rows.map(|(_, _, spelled)| spelled));
        let notes = unknown_phones(&sheet, &catalog);
        let vendors: Vec<&str> = catalog.profiles().map(|profile| profile.vendor().as_str()).collect();
        let expected = [
            &format!(
                "no profile for vendor 'yealnik': its phones get no files (there are: {})",
                vendors.join(", ")
            ),
            "yealink has no model 'T99X': such phones get only what any of its phones gets",
        ];
        assert_eq!(notes.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_dry_run_is_told_line_by_line() {
        let name = || FieldChange { field: "label", from: Some("Ada".to_owned()), to: None };
        let change =
            Change { what: "account", name: "101".to_owned(), change: Verb::Changed, fields: vec![name()] };
        let changed = Tally { accounts: 1, ..Tally::default() };
        let plan = Plan { changes: vec![change], changed, ..Plan::default() };
        let expected =
            "~ account 101: label Ada -> (none)\nchanged: 1 account\ndry run: nothing was written\n";
        assert_eq!(text(&plan, true), expected);
        assert_eq!(text(&Plan { applied: true, ..plan }, false), "changed: 1 account\n");
        assert_eq!(text(&Plan::default(), false), "nothing to do\n");
    }
}
