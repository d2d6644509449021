//! `offhook profile`: list, check, test, render and identify by vendor profiles. Needs no running agent.

mod identify;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{Context, Failure, Outcome, open, output};
use crate::device::{Commons, Device, Mac, Vendor};
use crate::operate::fleet::Fleet;
use crate::profile::{
    Catalog, FileId, Model, Origin, Profile, ProfileError, Reach, ReleaseRules, Report, Retention, Scope,
    Subject, bless, check_all, test_all,
};
use crate::store::Store;

/// The address of a sample phone: locally administered, so it is nobody's.
const SAMPLE_OCTETS: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// The vendors whose phones are known
    List,
    /// Read profiles; check their patterns against their examples, and every file for every model
    Check(FolderArgs),
    /// Render every case and compare it with its expected files, byte for byte
    Test(TestArgs),
    /// Show the bytes of a phone's files, secrets masked
    Render(RenderArgs),
    /// Say which phone this is, from what it says of itself
    Identify(identify::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct FolderArgs {
    /// A folder of vendor folders, or one vendor's own (default: the built-in profiles and those of
    /// profiles.dir)
    dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// A folder of vendor folders, or one vendor's own (default: the built-in profiles and those of
    /// profiles.dir)
    dir: Option<PathBuf>,
    /// Write what comes out as the expected files
    #[arg(long, requires = "dir")]
    bless: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenderArgs {
    /// A phone of the inventory; with --vendor, the address of a sample phone
    #[arg(required_unless_present = "vendor")]
    mac: Option<Mac>,
    /// A vendor, for a sample phone
    #[arg(long)]
    vendor: Option<String>,
    /// Its model
    #[arg(long, requires = "vendor")]
    model: Option<String>,
    /// This host as the phone sees it (default: the address on the link where the phone was last seen)
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only the file of this name
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args {
        Args::List => {
            list(context);
            Ok(())
        }
        Args::Check(args) => each_origin(args.dir.as_deref(), context, Looked::Examples, check_all),
        Args::Test(args) if args.bless => each_origin(args.dir.as_deref(), context, Looked::Cases, bless),
        Args::Test(args) => each_origin(args.dir.as_deref(), context, Looked::Cases, test_all),
        Args::Render(args) => render(&args, context).await,
        Args::Identify(args) => identify::run(&args, context),
    }
}

/// Tries the profiles of the folder, or else all that this installation has.
fn each_origin(
    dir: Option<&Path>,
    context: &Context,
    looked: Looked,
    attempt: fn(&Origin) -> Report,
) -> Outcome {
    let mut whole = Report::default();
    for origin in origins(dir, context.config.profiles.dir.as_deref())? {
        whole.add(attempt(&origin));
    }
    report(&whole, looked, context.json)
}

fn origins(dir: Option<&Path>, configured: Option<&Path>) -> Result<Vec<Origin>, Failure> {
    let Some(dir) = dir else {
        let configured = configured.map(|dir| Origin::Folder(dir.to_owned()));
        return Ok(std::iter::once(Origin::BuiltIn).chain(configured).collect());
    };
    if !dir.is_dir() {
        return Err(Failure::usage(
            "no_folder",
            format!("{} is not a folder", dir.display()),
            "name a folder with vendor folders in it",
        ));
    }
    Ok(vec![Origin::Folder(dir.to_owned())])
}

/// The catalog of this installation; broken profiles are told on standard error and left out.
fn catalog(context: &Context) -> Catalog {
    let (catalog, errors) = Catalog::load(context.config.profiles.dir.as_deref());
    for error in errors {
        eprintln!("offhook: left out: {error}");
    }
    catalog
}

#[derive(Serialize)]
struct VendorRow<'a> {
    vendor: &'a Vendor,
    display_name: &'a str,
    models: Vec<&'a str>,
    files: Vec<String>,
    reach: &'a Reach,
    retention: Retention,
    /// The models that do otherwise.
    otherwise: Vec<&'a str>,
    release: &'a ReleaseRules,
}

fn list(context: &Context) {
    let catalog = catalog(context);
    let rows: Vec<VendorRow<'_>> = catalog.profiles().map(|profile| vendor_row(profile)).collect();
    let heads = ["VENDOR", "NAME", "MODELS", "FILES", "REACH", "RETENTION"];
    output::listing(context.json, &rows, &heads, |row| {
        vec![
            row.vendor.to_string(),
            row.display_name.to_owned(),
            row.models.len().to_string(),
            row.files.join(" "),
            row.reach.words().join(" "),
            retention(row.retention, row.otherwise.len()),
        ]
    });
}

/// What becomes of passwords, for people.
fn retention(retention: Retention, otherwise: usize) -> String {
    let replace = "REPLACE: passwords go with every file";
    match (retention, otherwise) {
        (Retention::Keep, 0) => "keep".to_owned(),
        (Retention::Replace, 0) => replace.to_owned(),
        (Retention::Keep, models) => format!("keep; {models} models {replace}"),
        (Retention::Replace, models) => format!("{replace}; {models} models keep"),
    }
}

fn vendor_row(profile: &Profile) -> VendorRow<'_> {
    let retention = profile.retention(None);
    let differs = |model: &&Model| profile.retention(Some(&model.name)) != retention;
    VendorRow {
        vendor: profile.vendor(),
        display_name: profile.display_name(),
        models: profile.models().map(|model| model.name.as_str()).collect(),
        files: profile.files().map(|(_, file)| file.path().to_string()).collect(),
        reach: profile.reach(),
        retention,
        otherwise: profile.models().filter(differs).map(|model| model.name.as_str()).collect(),
        release: profile.release(),
    }
}

fn report(report: &Report, looked: Looked, json: bool) -> Outcome {
    if report.profiles == 0 && report.errors.is_empty() {
        let remedy = "name a folder with vendor folders in it, each with a profile.toml";
        return Err(Failure::no("not_found", "there is no profile", remedy));
    }
    if json {
        output::value(report);
    } else {
        for error in &report.errors {
            print_error(error);
        }
        for note in &report.notes {
            output::print(&format!("note: {note}\n"));
        }
        for case in &report.blessed {
            output::print(&format!("wrote {case}\n"));
        }
        output::print(&totals(report, looked));
    }
    if report.errors.is_empty() { Ok(()) } else { Err(Failure::told()) }
}

/// What a command looks at, beside profiles and their files.
#[derive(Debug, Clone, Copy)]
enum Looked {
    Examples,
    Cases,
}

/// How much was looked at, and how much of it is wrong.
fn totals(report: &Report, looked: Looked) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let beside = match looked {
        Looked::Examples => count(report.examples, "example"),
        Looked::Cases => count(report.cases, "case"),
    };
    let (profiles, files) = (count(report.profiles, "profile"), count(report.files, "file"));
    let verdict = match report.errors.len() {
        0 => "all well".to_owned(),
        wrong => format!("{wrong} wrong"),
    };
    format!("{profiles}, {beside}, {files}: {verdict}\n")
}

fn print_error(error: &ProfileError) {
    output::print(&format!("{error}\n"));
}

#[derive(Serialize)]
struct RenderedRow {
    file: String,
    content_type: String,
    secrets: Vec<String>,
    notes: Vec<String>,
    text: String,
}

async fn render(args: &RenderArgs, context: &Context) -> Outcome {
    let catalog = catalog(context);
    let (device, commons, seen_at, store) = match (args.mac, &args.vendor) {
        (Some(mac), None) => known_device(mac, context).await?,
        (mac, vendor) => {
            let vendor = vendor.as_deref().unwrap_or_default();
            (sample(&catalog, mac, vendor, args.model.as_deref())?, Arc::default(), None, None)
        }
    };
    let Some(vendor) = &device.vendor else {
        return Err(Failure::no(
            "no_vendor",
            format!("the vendor of {} is not known yet", device.mac),
            "offhook import can name it, or wait until the phone is seen",
        ));
    };
    let profile = profile_of(&catalog, vendor)?;
    let host = args.host.clone().unwrap_or_else(|| open::own_address(seen_at, context));
    let base = open::base(&host, context);
    let site = open::site(context);
    let files = context.places.files();
    let fleet = store.as_ref().map(|store| Fleet { store, catalog: &catalog, site: &site, files: &files });
    let (supplied, missing) = fleet.map(|fleet| fleet.supplied(&device, &base)).unwrap_or_default();
    for note in &missing {
        eprintln!("note: {note}");
    }
    let (site, commons, host, base) = (&site, &*commons, &*host, &*base);
    let subject =
        Subject { device: Some(&device), model: None, site, commons, host, base, supplied: &supplied };
    print_files(profile, &subject, args.file.as_deref(), context.json)
}

/// The phone of the inventory, what it has in common with others, and where it was last seen.
async fn known_device(
    mac: Mac,
    context: &Context,
) -> Result<(Device, Arc<Commons>, Option<Ipv4Addr>, Option<Store>), Failure> {
    let store = open::store(context).await?;
    let Some(device) = store.inventory().device(mac) else {
        let remedy = "offhook device list shows those that are; --vendor and --model render a sample";
        return Err(Failure::no("not_found", format!("{mac} is not in the inventory"), remedy));
    };
    let seen = store.sightings(Some(mac)).await?;
    let address = seen.iter().find_map(|seen| seen.whereabouts()?.parse().ok());
    Ok((Device::clone(&device), store.inventory().commons(), address, Some(store)))
}

/// A phone that exists nowhere.
fn sample(catalog: &Catalog, mac: Option<Mac>, vendor: &str, model: Option<&str>) -> Result<Device, Failure> {
    let profile = profile_of(catalog, &Vendor::new(vendor))?;
    let mac =
        mac.or(Mac::new(SAMPLE_OCTETS)).ok_or_else(|| Failure::usage("mac", "no address", "name a MAC"))?;
    Ok(profile.sample_device(mac, model))
}

fn profile_of<'c>(catalog: &'c Catalog, vendor: &Vendor) -> Result<&'c Profile, Failure> {
    let known = || catalog.profiles().map(|profile| profile.vendor().as_str()).collect::<Vec<_>>().join(", ");
    let missing = || {
        Failure::no(
            "not_found",
            format!("there is no profile for {vendor}"),
            format!(
                "there are {}; the folder of your own is named by profiles.dir or OFFHOOK_PROFILES__DIR",
                known()
            ),
        )
    };
    catalog.get(vendor).map(AsRef::as_ref).ok_or_else(missing)
}

/// Shows the files of a device with secrets masked.
fn print_files(profile: &Profile, subject: &Subject<'_>, only: Option<&str>, json: bool) -> Outcome {
    let mut rows = Vec::new();
    for (name, id) in named_files(profile, subject, only) {
        rows.push(rendered_row(profile, id, name, subject)?);
    }
    if rows.is_empty() {
        let model = subject.model().unwrap_or("this phone");
        return Err(Failure::no(
            "not_found",
            format!("{model} asks for no such file"),
            "offhook profile list shows the file names of each vendor",
        ));
    }
    if json {
        output::value(&rows);
        return Ok(());
    }
    let single = rows.len() == 1;
    for row in &rows {
        if !single {
            output::print(&format!("==> {} <==\n", row.file));
        }
        output::print(&row.text);
    }
    // Files of one phone say the same of it; a person reads it once.
    let mut told = BTreeSet::new();
    for note in rows.iter().flat_map(|row| &row.notes).filter(|note| told.insert(note.as_str())) {
        eprintln!("note: {note}");
    }
    Ok(())
}

fn named_files(profile: &Profile, subject: &Subject<'_>, only: Option<&str>) -> Vec<(String, FileId)> {
    let (mac, model) = (subject.mac(), subject.model());
    let named = profile.files_for(model).filter_map(|(id, _)| Some((profile.file_name(id, mac, model)?, id)));
    named.filter(|(name, _)| only.is_none_or(|only| only.eq_ignore_ascii_case(name))).collect()
}

fn rendered_row(
    profile: &Profile,
    id: FileId,
    name: String,
    subject: &Subject<'_>,
) -> Result<RenderedRow, Failure> {
    let device = subject.device.filter(|_| profile.file(id).scope() == Scope::Device);
    let rendered =
        profile.render(id, &Subject { device, model: subject.model(), ..*subject }).map_err(|error| {
            Failure::no(
                "render",
                format!("{name}: {error}"),
                "offhook profile check looks at all files at once",
            )
        })?;
    let mut secrets: Vec<String> = rendered.slots().map(|slot| slot.kind.to_string()).collect();
    secrets.dedup();
    Ok(RenderedRow {
        file: name,
        content_type: rendered.content_type.clone(),
        secrets,
        notes: rendered.notes().to_vec(),
        text: rendered.masked(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_name_what_was_looked_at() {
        let one = Report { profiles: 1, examples: 1, files: 1, cases: 1, ..Report::default() };
        assert_eq!(totals(&one, Looked::Examples), "1 profile, 1 example, 1 file: all well\n");
        assert_eq!(totals(&one, Looked::Cases), "1 profile, 1 case, 1 file: all well\n");
        let more = Report { profiles: 2, files: 3, ..Report::default() };
        assert_eq!(totals(&more, Looked::Cases), "2 profiles, 0 cases, 3 files: all well\n");
    }

    #[test]
    fn an_unknown_vendor_says_where_profiles_of_ones_own_are_named() {
        let catalog = Catalog::builtin().unwrap();
        let failure = profile_of(&catalog, &Vendor::new("acme")).unwrap_err();
        assert_eq!(failure.message, "there is no profile for acme");
        for word in ["snom", "profiles.dir", "OFFHOOK_PROFILES__DIR"] {
            assert!(failure.remedy.contains(word), "{word}: {}", failure.remedy);
        }
    }
}
