//! Where simulated phones keep what they know: one private file for each, so that `offhook simulate snom` called twice is
//! one phone with two lives.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::Failure;
use super::Args;
use crate::config::Places;
use crate::device::Vendor;
use crate::profile::Profile;
use crate::simulate::{Keep, KeepError, PhoneSpec, usual_model};

/// The file of the phone that is asked for: the one that is named, that of the MAC, or, without either, that of the
/// phone of this model that lived last. `None`: it keeps nothing, or there is no such phone yet.
pub(super) fn find(args: &Args, profile: &Profile) -> Result<Option<Keep>, Failure> {
    if args.forget || args.count > 1 {
        return Ok(None);
    }
    if let Some(path) = &args.keep {
        let keep = Keep::open(path)?;
        return fitting(keep, args, profile).map(Some);
    }
    if args.mac.is_some() {
        return Ok(None);
    }
    let model = args.model.as_deref().map_or_else(|| usual_model(profile), |model| profile.model_name(model));
    Ok(latest(&folder(), profile.vendor(), &model))
}

/// The usual file of this phone. One that cannot be had costs the phone its memory, not its life.
pub(super) fn make(spec: &PhoneSpec) -> Option<Keep> {
    let path = folder().join(format!("{}-{}.json", spec.vendor(), spec.mac.bare()));
    Keep::open(&path).map_err(|error| eprintln!("offhook: the phone keeps nothing: {error}")).ok()
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        let remedy = match &error {
            KeepError::File { .. } => "name another file with --keep, or keep nothing with --forget",
            KeepError::Busy { .. } => {
                "wait for it to end, name another phone with --mac, or keep nothing with --forget"
            }
            KeepError::Foreign { .. } => "name another file with --keep, or remove this one",
        };
        Self::failed("keep", error.to_string(), remedy)
    }
}

/// The file may hold the memory of no other phone than the one asked for.
fn fitting(keep: Keep, args: &Args, profile: &Profile) -> Result<Keep, Failure> {
    let Some((vendor, model, mac)) = keep.phone() else { return Ok(keep) };
    let other =
        args.model.as_deref().is_some_and(|asked| !profile.model_name(asked).eq_ignore_ascii_case(model));
    if vendor != profile.vendor() || args.mac.is_some_and(|asked| asked != mac) || other {
        let message = format!("{} is the memory of {} {model} {mac}", keep.path().display(), vendor);
        return Err(Failure::usage("keep", message, "name that phone, or another file"));
    }
    Ok(keep)
}

/// The memory of the phone of this model that lived last and is not living now.
fn latest(folder: &Path, vendor: &Vendor, model: &str) -> Option<Keep> {
    let begin = format!("{vendor}-");
    let own = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&begin) && name.strip_suffix(".json").is_some()
    };
    let written =
        |path: PathBuf| Some((std::fs::metadata(&path).and_then(|data| data.modified()).ok()?, path));
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<(SystemTime, PathBuf)> = files.filter(own).filter_map(written).collect();
    files.sort_unstable();
    let fits = |keep: &Keep| {
        keep.phone().is_some_and(|(whose, known, _)| whose == vendor && known.eq_ignore_ascii_case(model))
    };
    files.into_iter().rev().filter_map(|(_, path)| Keep::open(&path).ok()).find(fits)
}

/// In the data folder of the user who runs this, whoever the agent runs as: these are that user's toys.
fn folder() -> PathBuf {
    Places::usual(false, |name| std::env::var(name).ok()).data.join("simulated")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Catalog;
    use crate::simulate::Memory;

    fn keep(folder: &Path, vendor: &str, model: &str, mac: &str) -> Keep {
        let catalog = Catalog::builtin().unwrap();
        let profile = catalog.get(&Vendor::new(vendor)).unwrap().clone();
        let spec = PhoneSpec { model: model.to_owned(), ..PhoneSpec::new(profile, mac.parse().unwrap()) };
        let mut keep = Keep::open(&folder.join(format!("{vendor}-{mac}.json"))).unwrap();
        keep.write(&spec, &Memory::default()).unwrap();
        keep
    }

    fn touch(folder: &Path, name: &str, second: u64) {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        std::fs::File::options().write(true).open(folder.join(name)).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn the_phone_of_this_model_that_lived_last_lives_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let found = |model: &str| {
            let keep = latest(folder, &Vendor::new("snom"), model)?;
            keep.phone().map(|(.., mac)| mac.bare())
        };
        assert_eq!(found("D785"), None);
        std::fs::write(folder.join("snom-broken.json"), "{").unwrap();
        drop(keep(folder, "yealink", "D785", "805ec0000009"));
        drop(keep(folder, "snom", "D865", "000413000003"));
        drop(keep(folder, "snom", "D785", "000413000001"));
        let later = keep(folder, "snom", "D785", "000413000002");
        touch(folder, "snom-000413000001.json", 1_000);
        touch(folder, "snom-000413000002.json", 2_000);
        assert_eq!(found("d785").as_deref(), Some("000413000001"), "the later one is living now");
        drop(later);
        assert_eq!(found("D785").as_deref(), Some("000413000002"));
        assert_eq!(found("D865").as_deref(), Some("000413000003"));
    }
}
