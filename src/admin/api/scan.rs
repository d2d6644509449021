//! Scans: planned, begun, read while they go on and later, and stopped.

use std::net::Ipv4Addr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Asked, Filter, no_cursor, page};
use crate::admin::once::{Begun, Deed};
use crate::config::SCAN_RATE_MAX;
use crate::net::Prefix;
use crate::operate::Failure;
use crate::operate::scan::{Planned, ScanShown, Wanted, difference_of, found_by, known};

/// Networks of one request.
const NETWORKS_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The latest first.
pub(in crate::admin) async fn list(
    State(shared): State<Shared>,
    Filter(wanted): Filter<Page>,
) -> Result<Answer, Problem> {
    let limit = page(wanted.limit)?;
    let before = wanted.cursor.map(|cursor| cursor.parse::<i64>().map_err(|_| no_cursor())).transpose()?;
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut scans = ScanShown::list(shared.store(), before, rows, shared.now()).await?;
    let more = scans.len() > limit;
    scans.truncate(limit);
    let next = scans.last().filter(|_| more).map(|last| {
        let id = last.id();
        ("next", format!("/api/v1/scans?limit={limit}&cursor={id}"))
    });
    Ok(Answer::json(&scans)?.with_links(next.as_slice()))
}

/// What a scan shall ask, as `offhook scan` takes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Start {
    networks: Vec<Prefix>,
    rate: Option<u32>,
    /// More than a /22.
    yes: bool,
    fresh: bool,
}

impl Start {
    fn wanted(self) -> Result<Wanted, Problem> {
        let Self { networks, rate, yes, fresh } = self;
        if networks.len() > NETWORKS_MAX {
            let message = format!("one scan asks {NETWORKS_MAX} networks at most");
            return Err(Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "networks", message, "name fewer"));
        }
        Ok(Wanted { networks, rate: rated(rate)?, confirmed: yes, fresh })
    }
}

fn rated(rate: Option<u32>) -> Result<Option<u32>, Problem> {
    if rate.is_none_or(|rate| (1..=SCAN_RATE_MAX).contains(&rate)) {
        return Ok(rate);
    }
    let message = format!("rate is 1 to {SCAN_RATE_MAX} questions a second");
    Err(Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "rate", message, "leave it out for scan.rate"))
}

/// Begins a scan, which goes on by itself.
pub(in crate::admin) async fn start(
    State(shared): State<Shared>,
    caller: Caller,
    asked: Asked<Start>,
) -> Result<Answer, Problem> {
    let wanted = asked.body.wanted()?;
    let deed = match Deed::begin(&shared, &caller, asked.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let mut begun = None;
    if deed.is_due() {
        let scanner = shared.scanner();
        if let Some(objection) = scanner.objection() {
            return Err(objection.into());
        }
        let order = scanner.order(wanted).map_err(Failure::from)?;
        let outcome = match scanner.begin(deed.store.clone(), order).await {
            Ok(begun) => Ok(begun.id),
            Err(error) => Err(error.into_store().map_err(Failure::from)?),
        };
        begun = deed.did(outcome)?;
    }
    let shown = match begun {
        Some(id) => ScanShown::one(shared.store(), id, shared.now()).await?,
        // Somebody asked the same at the same moment: it is the latest.
        None => ScanShown::latest(shared.store(), shared.now()).await?,
    };
    let url = format!("/api/v1/scans/{}", shown.id());
    deed.answered(Answer::json(&shown)?.accepted(url)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Sketch {
    /// With commas between them.
    networks: Option<String>,
    rate: Option<u32>,
}

/// Whom a scan would ask; nothing is sent.
pub(in crate::admin) async fn plan(
    State(shared): State<Shared>,
    Filter(sketch): Filter<Sketch>,
) -> Result<Answer, Problem> {
    let texts = sketch.networks.as_deref().unwrap_or_default().split(',').map(str::trim);
    let read = |text: &str| {
        text.parse::<Prefix>().map_err(|_| {
            let message = "networks has what is neither a network nor an address";
            let remedy = "write 192.168.1.0/24, with commas between several";
            Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "networks", message, remedy)
        })
    };
    let networks = texts.filter(|text| !text.is_empty()).map(read).collect::<Result<Vec<_>, _>>()?;
    let start = Start { networks, rate: sketch.rate, yes: true, fresh: false };
    let order = shared.scanner().order(start.wanted()?).map_err(Failure::from)?;
    Ok(Answer::json(&Planned::of(&order))?)
}

/// How far it has come, and what it was told of.
pub(in crate::admin) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    Ok(Answer::json(&ScanShown::one(shared.store(), number(&id)?, shared.now()).await?)?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Whom {
    /// Hosts that are no phones, too.
    #[serde(default)]
    all: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Whom it has found so far, by address.
pub(in crate::admin) async fn found(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Filter(whom): Filter<Whom>,
) -> Result<Answer, Problem> {
    let (id, limit, all) = (number(&id)?, page(whom.limit)?, whom.all);
    let after = whom.cursor.map(|cursor| cursor.parse::<Ipv4Addr>().map_err(|_| no_cursor())).transpose()?;
    let mut rows = found_by(shared.store(), id, after, all, limit.saturating_add(1)).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| {
        let address = last.address;
        ("next", format!("/api/v1/scans/{id}/found?all={all}&limit={limit}&cursor={address}"))
    });
    Ok(Answer::json(&rows)?.with_links(next.as_slice()))
}

/// What had changed when it came to its end.
pub(in crate::admin) async fn difference(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    let difference = difference_of(shared.store(), number(&id)?).await?;
    Ok(Answer::json(&json!({ "difference": difference }))?)
}

/// Nothing is said beside the number in the path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Nothing {}

/// Stops a scan of this agent; what it found stays.
pub(in crate::admin) async fn stop(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    _asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    let id = number(&id)?;
    known(shared.store(), id).await?;
    // Stopped twice is stopped: no key is needed for it.
    if !shared.scanner().stop(id) {
        let message = format!("this agent does not run scan {id} now");
        let remedy = "one that offhook scan runs is stopped where it was started";
        return Err(Failure::no("not_running", message, remedy).into());
    }
    let shown = ScanShown::one(shared.store(), id, shared.now()).await?;
    Ok(Answer::json(&shown)?.accepted(format!("/api/v1/scans/{id}")))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| {
        let message = format!("'{id}' is no number of a scan");
        Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "id", message, "GET /api/v1/scans has them")
    })
}
