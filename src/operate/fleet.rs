//! What the files of phones are made of, at one place: inventory, profiles, the site. What people set is looked at here
//! before it is written: a fact that has no such value, a name that no profile reads, a value with which files cannot be
//! made. Never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::Failure;
use super::setting::{RAW, Setting, raw_of};
use crate::device::{Commons, Device, Group, Layer, Mac, Vendor};
use crate::profile::{
    Catalog, KeyProblem, LaidKey, LaidSetting, NOTHING_SUPPLIED, Profile, Scope, Site, Subject, is_fact,
    laid_settings,
};
use crate::provision::{FIRMWARE, HARDWARE, RELEASE_SETTINGS};
use crate::store::Store;

/// Models that are looked at when something is set for many phones; one phone of each shows what becomes of the others.
const MODELS_TRIED_MAX: usize = 64;
/// This host as it stands in files that nobody gets (RFC 5737).
const HOST: &str = "192.0.2.1";
const BASE: &str = "http://192.0.2.1:8480/";
/// The address of a phone that exists nowhere.
const SAMPLE_OCTETS: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// What the files of all phones are made of.
pub(crate) struct Fleet<'a> {
    pub(crate) store: &'a Store,
    pub(crate) catalog: &'a Catalog,
    /// As the configuration has it.
    pub(crate) site: &'a Site,
    /// The folder of firmware and language files.
    pub(crate) files: &'a Path,
}

/// What holds for a phone, and where it comes from.
#[derive(Debug, Default)]
pub(crate) struct Laid {
    pub(crate) settings: Vec<LaidSetting>,
    pub(crate) keys: Vec<LaidKey>,
    pub(crate) problems: Vec<KeyProblem>,
}

impl Fleet<'_> {
    /// The profile of this phone's vendor.
    pub(crate) fn profile(&self, device: &Device) -> Option<&Arc<Profile>> {
        self.catalog.get(device.vendor.as_ref()?)
    }

    /// The group of this vendor and model, as the profiles spell them; none of both is the site.
    pub(crate) fn group(&self, vendor: Option<&str>, model: Option<&str>) -> Result<Group, Failure> {
        let Some(vendor) = vendor.map(Vendor::new) else {
            return Ok(Group::Site);
        };
        let Some(profile) = self.catalog.get(&vendor) else {
            let known: Vec<&str> = self.catalog.profiles().map(|profile| profile.vendor().as_str()).collect();
            let message = format!("there is no profile for {vendor}");
            return Err(Failure::no("not_found", message, format!("there are {}", known.join(", "))));
        };
        Ok(match model {
            None => Group::Vendor(vendor),
            Some(model) => Group::Model(vendor, profile.table_name(model)),
        })
    }

    /// `VENDOR/MODEL`.
    pub(crate) fn model_group(&self, text: &str) -> Result<Group, Failure> {
        let names = text.split_once('/').filter(|(vendor, model)| !vendor.is_empty() && !model.is_empty());
        let Some((vendor, model)) = names else {
            let message = format!("'{text}' is no model");
            return Err(Failure::usage("model", message, "write VENDOR/MODEL, such as yealink/T46U"));
        };
        self.group(Some(vendor), Some(model))
    }

    /// What holds for a phone, and what of its keys its model cannot do.
    pub(crate) fn laid(&self, device: &Device) -> Laid {
        let commons = self.store.inventory().commons();
        let (supplied, _) = self.supplied(device, "/");
        let subject = Subject { supplied: &supplied, ..self.subject(device, &commons) };
        let profile = self.profile(device);
        Laid {
            settings: laid_settings(profile.map(AsRef::as_ref), &subject),
            keys: profile.map(|profile| profile.keys(&subject)).unwrap_or_default(),
            problems: profile.map(|profile| profile.key_problems(&subject)).unwrap_or_default(),
        }
    }

    /// What holds for the phones of a group.
    pub(crate) fn laid_of(&self, group: &Group) -> Vec<LaidSetting> {
        let (vendor, model) = group.names();
        let profile = self.catalog.get(&Vendor::new(vendor)).map(AsRef::as_ref);
        let model = Some(model).filter(|model| !model.is_empty());
        let commons = self.store.inventory().commons();
        let (site, host, base) = (self.site, HOST, BASE);
        laid_settings(
            profile,
            &Subject {
                device: None,
                model,
                site,
                commons: &commons,
                host,
                base,
                supplied: &NOTHING_SUPPLIED,
            },
        )
    }

    /// What is asked of a profile where no file is made for a phone.
    pub(super) fn subject<'s>(&'s self, device: &'s Device, commons: &'s Commons) -> Subject<'s> {
        Subject {
            device: Some(device),
            model: None,
            site: self.site,
            commons,
            host: HOST,
            base: BASE,
            supplied: &NOTHING_SUPPLIED,
        }
    }

    /// What is to be told of settings of one phone; `Err` where they must not be written.
    pub(crate) fn check_device(&self, mac: Mac, settings: &[Setting]) -> Result<Vec<String>, Failure> {
        let device = super::release::device(self.store, mac)?;
        let profile = self.profile(&device).map(AsRef::as_ref);
        let mut notes = self.known(settings, profile)?;
        let Some(profile) = profile else {
            if settings.iter().any(|(name, value)| raw_of(name).is_some() && value.is_some()) {
                notes.push(
                    "the phone's vendor is not known yet: whether its files take it, shows later".to_owned(),
                );
            }
            return Ok(notes);
        };
        let commons = self.store.inventory().commons();
        let mut changed = Device::clone(&device);
        lay(&mut changed.settings, settings);
        let (before, after) = (self.subject(&device, &commons), self.subject(&changed, &commons));
        notes.extend(consequences(profile, &before, &after, settings)?);
        Ok(notes)
    }

    /// The same of settings of a group.
    pub(crate) fn check_group(&self, group: &Group, settings: &[Setting]) -> Result<Vec<String>, Failure> {
        if let Some((name, _)) = settings.iter().find(|(name, _)| name.starts_with(RELEASE_SETTINGS)) {
            let message = format!("{name} is a setting of single phones");
            return Err(Failure::usage(
                "setting",
                message,
                "for all phones it stands in [release] of the configuration",
            ));
        }
        let (vendor, _) = group.names();
        let profile = self.catalog.get(&Vendor::new(vendor)).map(AsRef::as_ref);
        let mut notes = self.known(settings, profile)?;
        let commons = self.store.inventory().commons();
        let mut changed = Commons::clone(&commons);
        lay(&mut changed.groups.entry(group.clone()).or_default().settings, settings);
        let mut told = BTreeSet::new();
        for (profile, device) in self.one_of_each(group) {
            let (before, after) = (self.subject(&device, &commons), self.subject(&device, &changed));
            told.extend(consequences(profile, &before, &after, settings)?);
            told.extend(hidden(profile, &after, settings, group.layer()));
        }
        notes.extend(told);
        Ok(notes)
    }

    /// A phone of each model of the group: one of the inventory, or else one that exists nowhere.
    pub(crate) fn one_of_each(&self, group: &Group) -> Vec<(&Profile, Device)> {
        let mut phones: BTreeMap<(String, String), (&Profile, Device)> = BTreeMap::new();
        for device in self.store.inventory().devices() {
            let Some(profile) = self.profile(&device) else { continue };
            let vendor = profile.vendor().as_str();
            let model = device.model.as_deref().map(|model| profile.table_name(model)).unwrap_or_default();
            if group.holds(vendor, Some(&model)) && phones.len() < MODELS_TRIED_MAX {
                phones
                    .entry((vendor.to_owned(), model))
                    .or_insert_with(|| (profile.as_ref(), Device::clone(&device)));
            }
        }
        let sample = || {
            let (vendor, model) = group.names();
            let profile = self.catalog.get(&Vendor::new(vendor))?;
            let mac = Mac::new(SAMPLE_OCTETS)?;
            let model = Some(model).filter(|model| !model.is_empty());
            let mut device = profile.sample_device(mac, model);
            device.keys.clear();
            Some((profile.as_ref(), device))
        };
        if phones.is_empty() { sample().into_iter().collect() } else { phones.into_values().collect() }
    }

    /// Refuses names that nobody reads, and tells those that only other vendors' phones know. Anything can be removed.
    fn known(&self, settings: &[Setting], own: Option<&Profile>) -> Result<Vec<String>, Failure> {
        let mut notes = Vec::new();
        for (name, value) in settings {
            let other = is_fact(name)
                || [FIRMWARE, HARDWARE].contains(&name.as_str())
                || name.starts_with(RELEASE_SETTINGS)
                || raw_of(name).is_some();
            if value.is_none() || other {
                continue;
            }
            if !self.catalog.profiles().any(|profile| profile.reads_setting(name)) {
                return Err(Failure::usage(
                    "setting",
                    format!("no profile reads '{name}': it would change nothing"),
                    format!(
                        "the README of the vendor's profile lists its settings by neutral name; {RAW}NAME is a parameter of the vendor's own"
                    ),
                ));
            }
            if let Some(own) = own.filter(|own| !own.reads_setting(name)) {
                notes.push(format!(
                    "the profile of {} does not read '{name}': it changes nothing",
                    own.vendor()
                ));
            }
        }
        Ok(notes)
    }
}

fn lay(layer: &mut BTreeMap<String, String>, settings: &[Setting]) {
    for (name, value) in settings {
        match value {
            Some(value) => layer.insert(name.clone(), value.clone()),
            None => layer.remove(name),
        };
    }
}

/// What a phone's files say about the settings that they did not say before. A phone that has its files must not lose
/// them by a setting, and a raw parameter that cannot be written is refused.
fn consequences(
    profile: &Profile,
    before: &Subject<'_>,
    after: &Subject<'_>,
    settings: &[Setting],
) -> Result<BTreeSet<String>, Failure> {
    let mut notes = BTreeSet::new();
    let raw: Vec<&str> =
        settings.iter().filter(|(_, value)| value.is_some()).filter_map(|(name, _)| raw_of(name)).collect();
    if !raw.is_empty() && !profile.takes_raw(after) {
        let message = format!("the files of {} have no place for raw parameters", profile.vendor());
        return Err(Failure::no(
            "setting",
            message,
            "a profile gives them one by {{ raw() }} in a phone's own file",
        ));
    }
    for (id, _) in profile.files_for(after.model()).filter(|(_, file)| file.scope() == Scope::Device) {
        match (profile.render(id, before), profile.render(id, after)) {
            (Ok(before), Ok(after)) => {
                notes.extend(after.notes().iter().filter(|note| !before.notes().contains(note)).cloned());
            }
            (Ok(_), Err(error)) => {
                return Err(Failure::usage(
                    "setting",
                    format!("with these settings the phone's files cannot be made: {error}"),
                    "the README of the vendor's profile lists the values of each setting",
                ));
            }
            (Err(_), _) => {}
        }
    }
    let refused = |note: &&String| {
        raw.iter().any(|name| note.starts_with(&format!("the raw parameter {name} is left out:")))
    };
    match notes.iter().find(refused) {
        Some(note) => {
            let remedy =
                "use the neutral setting where there is one; a password is none of a phone's settings";
            Err(Failure::usage("setting", note.clone(), remedy))
        }
        None => Ok(notes),
    }
}

/// Settings that a higher layer hides from these phones.
fn hidden(profile: &Profile, after: &Subject<'_>, settings: &[Setting], layer: Layer) -> Vec<String> {
    let laid = laid_settings(Some(profile), after);
    let set = settings.iter().filter(|(_, value)| value.is_some());
    let over = set.filter_map(|(name, _)| {
        let found = laid.iter().find(|laid| laid.name == *name && laid.layer > layer)?;
        let of = match found.layer {
            Layer::Device => "some phones have one of their own, which lies".to_owned(),
            layer => format!("that of the {} lies", layer.as_str()),
        };
        Some(format!("{name}: {of} over it"))
    });
    over.collect()
}
