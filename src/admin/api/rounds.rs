//! Rounds: phones that are told to fetch again, or to start anew, as `offhook device resync` and `reboot` do it.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Asked, Filter, no_cursor, page};
use crate::admin::once::{Begun, Deed};
use crate::device::Mac;
use crate::operate::Failure;
use crate::operate::push::Row;
use crate::operate::round::{JobShown, Selection, Telling, telling};

/// Phones of one request that names them; `all` has no such limit.
const PHONES_MAX: usize = 1_000;
/// How long a phone may take to come, where nothing is said, and the most that can be said.
const WAIT_S: u32 = 180;
const WAIT_S_MAX: u32 = 86_400;

/// What phones are told.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Deeds {
    Resync,
    Reboot,
}

/// By which way.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Via {
    #[default]
    Phone,
    Pbx,
}

/// Whom to tell what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    told: Deeds,
    #[serde(default)]
    macs: Vec<Mac>,
    #[serde(default)]
    all: bool,
    vendor: Option<String>,
    model: Option<String>,
    /// Phones a second.
    rate: Option<u32>,
    wait_s: Option<u32>,
    #[serde(default)]
    via: Via,
    /// Only say who would be told what.
    #[serde(default)]
    dry_run: bool,
}

impl Wanted {
    fn split(self) -> Result<(Selection, Telling), Problem> {
        let wrong = |code, message: &str, remedy: &str| {
            Err(Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, code, message, remedy))
        };
        let Self { told, macs, all, vendor, model, rate, wait_s, via, .. } = self;
        if macs.is_empty() != all {
            return wrong("phones", "it is for some phones, or for all", "say macs, or all, and not both");
        }
        if macs.len() > PHONES_MAX {
            return wrong("phones", "these are more than 1000 phones", "name fewer, or say all");
        }
        if !all && (vendor.is_some() || model.is_some()) {
            return wrong("phones", "vendor and model are for all phones", "say all, or leave them out");
        }
        let wait = wait_s.unwrap_or(WAIT_S);
        if wait > WAIT_S_MAX {
            return wrong("wait_s", "wait_s is 86400 at most", "leave it out for three minutes");
        }
        let (is_reboot, by_pbx) = (matches!(told, Deeds::Reboot), matches!(via, Via::Pbx));
        let telling = telling(is_reboot, by_pbx, rate, Duration::from_secs(wait.into()))?;
        Ok((Selection { macs, all, vendor, model }, telling))
    }
}

/// Tells phones something, in the background.
pub(in crate::admin) async fn start(
    State(shared): State<Shared>,
    caller: Caller,
    asked: Asked<Wanted>,
) -> Result<Answer, Problem> {
    let dry_run = asked.body.dry_run;
    let (selection, telling) = asked.body.split()?;
    let rounds = shared.rounds();
    if dry_run {
        let round = rounds.plan(shared.store(), &selection, telling).await?;
        return Ok(Answer::json(&JobShown::planned(&round, telling, shared.now()))?);
    }
    let deed = match Deed::begin(&shared, &caller, asked.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let mut begun = None;
    if deed.is_due() {
        if let Some(objection) = rounds.objection(telling.way) {
            return Err(objection.into());
        }
        let round = rounds.plan(shared.store(), &selection, telling).await?;
        let outcome = rounds.begin(&deed.store, round, telling).await;
        begun = deed.did(outcome)?;
    }
    // Somebody asked the same at the same moment: it is the latest.
    let job = begun.or_else(|| rounds.jobs().into_iter().next()).ok_or_else(|| {
        let message = "that round was begun by an agent that has ended since";
        Failure::no("repeated", message, "the phones' timelines tell what they were told")
    })?;
    let shown = job.shown();
    let url = format!("/api/v1/rounds/{}", shown.id());
    deed.answered(Answer::json(&shown)?.accepted(url)).await
}

/// The latest first.
pub(in crate::admin) async fn list(State(shared): State<Shared>) -> Result<Answer, Problem> {
    let shown: Vec<JobShown> = shared.rounds().jobs().iter().map(|job| job.shown()).collect();
    Ok(Answer::json(&shown)?)
}

/// How far it has come.
pub(in crate::admin) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    Ok(Answer::json(&shared.rounds().job(&id)?.shown())?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// What became of each phone, by MAC.
pub(in crate::admin) async fn phones(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Filter(wanted): Filter<Page>,
) -> Result<Answer, Problem> {
    let limit = page(wanted.limit)?;
    let after = wanted.cursor.map(|cursor| cursor.parse::<Mac>().map_err(|_| no_cursor())).transpose()?;
    let mut rows: Vec<Row> = shared.rounds().job(&id)?.rows(after);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| {
        let mac = last.mac.bare();
        ("next", format!("/api/v1/rounds/{id}/phones?limit={limit}&cursor={mac}"))
    });
    Ok(Answer::json(&rows)?.with_links(next.as_slice()))
}

/// Nothing is said beside the name in the path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Nothing {}

/// Tells nobody any more.
pub(in crate::admin) async fn stop(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    _asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    let job = shared.rounds().job(&id)?;
    // Stopped twice is stopped: no key is needed for it.
    job.stop();
    Ok(Answer::json(&job.shown())?.accepted(format!("/api/v1/rounds/{id}")))
}
