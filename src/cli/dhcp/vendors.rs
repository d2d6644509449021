//! Whose phones a command is about: the vendors that are named, all of them, or those of the inventory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::{Context, Failure, open};
use crate::device::{Mac, Vendor};
use crate::profile::{Catalog, Profile};
use crate::store;

/// A vendor, and its phones in the inventory as far as that was asked.
pub(super) struct Chosen {
    pub(super) profile: Arc<Profile>,
    pub(super) phones: Vec<Mac>,
}

/// The vendors asked for; without a word about them, those of the inventory.
pub(super) async fn chosen(
    named: &[String],
    all: bool,
    catalog: &Catalog,
    context: &Context,
) -> Result<Vec<Chosen>, Failure> {
    let alone = |profile: &Arc<Profile>| Chosen { profile: Arc::clone(profile), phones: Vec::new() };
    if all {
        return Ok(catalog.profiles().map(alone).collect());
    }
    let known = || catalog.profiles().map(|profile| profile.vendor().as_str()).collect::<Vec<_>>().join(", ");
    if !named.is_empty() {
        let named = named.iter().map(|name| {
            catalog.get(&Vendor::new(name)).map(alone).ok_or_else(|| {
                let message = format!("'{name}' is no vendor with a profile");
                Failure::usage("not_found", message, format!("known vendors: {}", known()))
            })
        });
        return named.collect();
    }
    // What a phone of the inventory calls itself may have no profile.
    let found = of_inventory(context)
        .await?
        .into_iter()
        .filter_map(|(vendor, phones)| Some(Chosen { profile: Arc::clone(catalog.get(&vendor)?), phones }));
    let found: Vec<Chosen> = found.collect();
    if found.is_empty() {
        let remedy = format!("--all takes all of {}, --vendor one of them", known());
        return Err(Failure::usage("no_phones", "the inventory has no phone of a known vendor", remedy));
    }
    Ok(found)
}

async fn of_inventory(context: &Context) -> Result<BTreeMap<Vendor, Vec<Mac>>, Failure> {
    // Asking is no reason to make a database.
    if store::sqlite_file(&open::store_url(context)).is_some_and(|file| !file.exists()) {
        return Ok(BTreeMap::new());
    }
    let store = open::store(context).await?;
    let mut vendors: BTreeMap<Vendor, Vec<Mac>> = BTreeMap::new();
    for device in store.inventory().devices() {
        if let Some(vendor) = &device.vendor {
            vendors.entry(vendor.clone()).or_default().push(device.mac);
        }
    }
    Ok(vendors)
}
