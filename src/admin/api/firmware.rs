//! The firmware catalog: what there is, what each phone gets next, and a release more.

mod upload;

use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::Asked;
use crate::admin::once::{Begun, Deed};
use crate::device::Mac;
use crate::operate::firmware;

pub(in crate::admin) use upload::add;

/// Every release.
pub(in crate::admin) async fn list(State(shared): State<Shared>) -> Result<Answer, Problem> {
    Ok(Answer::json(&shared.fleet().releases())?)
}

/// Every file as it is, and what each phone that is served gets next.
pub(in crate::admin) async fn check(State(shared): State<Shared>) -> Result<Answer, Problem> {
    Ok(Answer::json(&shared.fleet().check_firmware(&[]).await?)?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Named {
    release: String,
}

/// Takes a release out of the catalog, and its files from the disk.
pub(in crate::admin) async fn remove(
    State(shared): State<Shared>,
    caller: Caller,
    asked: Asked<Named>,
) -> Result<Answer, Problem> {
    let deed = match Deed::begin(&shared, &caller, asked.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let name = asked.body.release;
    if deed.is_due() {
        let files = shared.fleet().files;
        let (_, left) = firmware::remove(files, &deed.store, &name).await?;
        shared.poke();
        for note in left {
            tracing::warn!("{note}");
        }
    }
    deed.answered(Answer::json(&json!({ "done": 1 }))?).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Phones {
    macs: Vec<Mac>,
}

/// Lets phones have once more what they fetched twice in vain.
pub(in crate::admin) async fn retry(
    State(shared): State<Shared>,
    caller: Caller,
    asked: Asked<Phones>,
) -> Result<Answer, Problem> {
    let deed = match Deed::begin(&shared, &caller, asked.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let macs = asked.body.macs;
    if deed.is_due() {
        let outcome = deed.store.retry_firmware(&macs).await;
        deed.did(outcome)?;
    }
    deed.answered(Answer::json(&json!({ "done": macs.len() }))?).await
}
