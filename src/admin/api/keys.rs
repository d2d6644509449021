//! Function keys: plans of the site, of vendors and models, and those of single phones.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::site::Of;
use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Asked, Conditions, Filter, Phone};
use crate::admin::once::{Begun, Deed};
use crate::device::{Key, Mac};
use crate::operate::Failure;
use crate::operate::fleet::Fleet;
use crate::operate::keys::{KeyShown, NewKey};
use crate::store::Owner;

/// The keys of a plan; of every plan, where none is named.
pub(in crate::admin) async fn plans(
    State(shared): State<Shared>,
    Filter(of): Filter<Of>,
) -> Result<Answer, Problem> {
    let fleet = shared.fleet();
    if of.vendor.is_none() && of.model.is_none() {
        return Ok(Answer::json(&fleet.all_plans())?);
    }
    let group = fleet.group(of.vendor.as_deref(), of.model.as_deref())?;
    Ok(Answer::json(&fleet.keys(&Owner::Group(group))?)?)
}

/// A phone's keys, each with the plan that it comes from.
pub(in crate::admin) async fn of_device(
    State(shared): State<Shared>,
    Phone(mac): Phone,
) -> Result<Answer, Problem> {
    let version = shared.store().version_of(mac);
    Ok(Answer::json(&shared.fleet().keys(&Owner::Device(mac))?)?.of_version(version))
}

/// Keys that come, and keys that go: by number, or as `module 1 key 5`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Change {
    vendor: Option<String>,
    model: Option<String>,
    set: Vec<NewKey>,
    remove: Vec<String>,
}

/// The same of one phone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct OwnChange {
    set: Vec<NewKey>,
    remove: Vec<String>,
}

/// The keys as they are now, and what phones cannot do of those that came.
#[derive(Debug, Serialize)]
struct Changed {
    keys: Vec<KeyShown>,
    notes: Vec<String>,
}

/// Changes a plan.
pub(in crate::admin) async fn change_plan(
    State(shared): State<Shared>,
    caller: Caller,
    asked: Asked<Change>,
) -> Result<Answer, Problem> {
    let Change { vendor, model, set, remove } = asked.body;
    let owner = Owner::Group(shared.fleet().group(vendor.as_deref(), model.as_deref())?);
    change(&shared, &caller, asked.conditions, None, &owner, (&set, &remove)).await
}

/// Changes the keys of one phone alone.
pub(in crate::admin) async fn change_device(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<OwnChange>,
) -> Result<Answer, Problem> {
    let OwnChange { set, remove } = asked.body;
    let (owner, mac) = (Owner::Device(mac), Some(mac));
    change(&shared, &caller, asked.conditions, mac, &owner, (&set, &remove)).await
}

async fn change(
    shared: &Shared,
    caller: &Caller,
    conditions: Conditions,
    mac: Option<Mac>,
    owner: &Owner,
    (set, remove): (&[NewKey], &[String]),
) -> Result<Answer, Problem> {
    let deed = match Deed::begin(shared, caller, conditions, mac).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let fleet = shared.fleet();
    let changes = changes(&fleet, owner, set, remove)?;
    if deed.is_due() {
        let outcome = deed.store.set_keys(owner, &changes).await;
        deed.did(outcome)?;
    }
    let numbers: Vec<u16> = changes.iter().map(|(number, _)| *number).collect();
    let answer = Changed { keys: fleet.keys(owner)?, notes: fleet.key_notes(owner, &numbers) };
    let version = mac.and_then(|mac| shared.store().version_of(mac));
    deed.answered(Answer::json(&answer)?.of_version(version)).await
}

fn changes(
    fleet: &Fleet<'_>,
    owner: &Owner,
    set: &[NewKey],
    remove: &[String],
) -> Result<Vec<(u16, Option<Key>)>, Failure> {
    let news = set.iter().map(|new| fleet.new_key(owner, new).map(|key| (key.number, Some(key))));
    let gone = remove.iter().map(|key| fleet.key_number(owner, key).map(|number| (number, None)));
    let changes = news.chain(gone).collect::<Result<Vec<_>, _>>()?;
    let mut seen = std::collections::BTreeSet::new();
    match changes.iter().find(|(number, _)| !seen.insert(*number)) {
        Some((number, _)) => Err(Failure::usage(
            "key",
            format!("key {number} is named twice"),
            "name each key once, in set or in remove",
        )),
        None => Ok(changes),
    }
}
