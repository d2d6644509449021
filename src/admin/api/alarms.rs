//! What an administrator should look at.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::admin::Shared;
use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Asked, Filter, no_cursor, page};
use crate::admin::once::{Begun, Deed};
use crate::operate::alarm;
use crate::store::AlarmRow;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    /// Those that are dealt with as well.
    #[serde(default)]
    all: bool,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The latest first.
pub(in crate::admin) async fn list(
    State(shared): State<Shared>,
    Filter(wanted): Filter<Wanted>,
) -> Result<Answer, Problem> {
    let limit = page(wanted.limit)?;
    let mut rows = shared.store().alarms(wanted.all).await?;
    if let Some(cursor) = &wanted.cursor {
        let after = place(cursor).ok_or_else(no_cursor)?;
        rows.retain(|row| of(row) < after);
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| {
        let ((at, id), all) = (of(last), wanted.all);
        ("next", format!("/api/v1/alarms?all={all}&limit={limit}&cursor={at}.{id}"))
    });
    Ok(Answer::json(&rows)?.with_links(next.as_slice()))
}

/// Where a row stands in the listing.
fn of(row: &AlarmRow) -> (i64, i64) {
    (row.last.0, row.id)
}

fn place(cursor: &str) -> Option<(i64, i64)> {
    let (at, id) = cursor.split_once('.')?;
    Some((at.parse().ok()?, id.parse().ok()?))
}

/// Nothing is said beside the number in the path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Nothing {}

/// It is dealt with; one that comes again is open again.
pub(in crate::admin) async fn done(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    let id = id.parse::<i64>().map_err(|_| {
        let message = format!("'{id}' is no number of an alarm");
        Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "id", message, "GET /api/v1/alarms has them")
    })?;
    let deed = match Deed::begin(&shared, &caller, asked.conditions, None).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    if deed.is_due() {
        alarm::known(&deed.store, &[id]).await?;
        let outcome = deed.store.alarms_done(Some(&[id])).await;
        deed.did(outcome)?;
    }
    deed.answered(Answer::json(&json!({ "done": 1 }))?).await
}
