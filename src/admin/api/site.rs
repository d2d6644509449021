//! What phones have in common, and what is set for single phones.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Deserialize;

use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Asked, Filter, Phone};
use crate::admin::once::{Begun, Deed};
use crate::operate::Failure;
use crate::operate::setting::{CommonShown, DeviceSet, Setting, checked, removed};

/// Which phones: all, those of a vendor, those of a model.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Of {
    pub(super) vendor: Option<String>,
    pub(super) model: Option<String>,
}

/// What holds for phones that have nothing of their own, and where it comes from.
pub(in crate::admin) async fn show(
    State(shared): State<Shared>,
    Filter(of): Filter<Of>,
) -> Result<Answer, Problem> {
    let fleet = shared.fleet();
    let group = fleet.group(of.vendor.as_deref(), of.model.as_deref())?;
    Ok(Answer::json(&CommonShown::new(&fleet, &group, Vec::new()))?)
}

/// Settings by name, and the names of those that go.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Change {
    vendor: Option<String>,
    model: Option<String>,
    set: BTreeMap<String, String>,
    unset: Vec<String>,
}

/// The same of one phone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct OwnChange {
    set: BTreeMap<String, String>,
    unset: Vec<String>,
}

fn settings(set: &BTreeMap<String, String>, unset: &[String]) -> Result<Vec<Setting>, Failure> {
    let news = set.iter().map(|(name, value)| {
        checked(name, Some(value).filter(|value| !value.is_empty()).map(String::as_str))
    });
    news.chain(unset.iter().map(|name| Ok(removed(name)))).collect()
}

/// Sets and removes settings of all phones, of a vendor's, of a model's.
pub(in crate::admin) async fn set(
    State(shared): State<Shared>,
    caller: Caller,
    asked: Asked<Change>,
) -> Result<Answer, Problem> {
    let Change { vendor, model, set, unset } = asked.body;
    let settings = settings(&set, &unset)?;
    let fleet = shared.fleet();
    let group = fleet.group(vendor.as_deref(), model.as_deref())?;
    let deed = match Deed::begin(&shared, &caller, asked.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let mut notes = Vec::new();
    if deed.is_due() {
        notes = fleet.check_group(&group, &settings)?;
        let outcome = deed.store.set_common(&group, &settings).await;
        deed.did(outcome)?;
    }
    let answer = Answer::json(&CommonShown::new(&fleet, &group, notes))?;
    deed.answered(answer).await
}

/// Sets and removes settings of one phone.
pub(in crate::admin) async fn set_device(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<OwnChange>,
) -> Result<Answer, Problem> {
    let settings = settings(&asked.body.set, &asked.body.unset)?;
    let deed = match Deed::begin(&shared, &caller, asked.conditions, Some(mac)).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let fleet = shared.fleet();
    let mut notes = Vec::new();
    if deed.is_due() {
        notes = fleet.check_device(mac, &settings)?;
        let outcome = deed.store.set(mac, &settings).await;
        deed.did(outcome)?;
    }
    let own = shared.store().inventory().device(mac).map(|device| device.settings.clone());
    let answer = Answer::json(&DeviceSet { mac, settings: own.unwrap_or_default(), notes })?;
    deed.answered(answer.of_version(shared.store().version_of(mac))).await
}
