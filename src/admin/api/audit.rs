//! Who did what, and when.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::admin::Shared;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Filter, page};
use crate::clock::Timestamp;
use crate::device::Mac;
use crate::store::AuditFilter;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    /// Only what was done to this phone.
    device: Option<Mac>,
    event: Option<String>,
    /// The rows that follow this one.
    after: Option<i64>,
    /// The rows that this one follows.
    before: Option<i64>,
    /// RFC 3339
    since: Option<String>,
    limit: Option<usize>,
}

/// In their order: the last ones, or with `after` the next ones.
pub(in crate::admin) async fn list(
    State(shared): State<Shared>,
    Filter(wanted): Filter<Wanted>,
) -> Result<Answer, Problem> {
    let limit = page(wanted.limit)?;
    let filter = AuditFilter {
        mac: wanted.device,
        event: wanted.event.clone(),
        after: wanted.after,
        before: wanted.before,
        since: wanted.since.as_deref().map(moment).transpose()?,
    };
    let rows = shared.store().audit_listing(&filter, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let mut links = Vec::new();
    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
        // The row that follows the last one may not have been written yet.
        links.push(("next", wanted.url(limit, "after", last.seq)));
        if filter.after.is_none() && rows.len() == limit {
            links.push(("prev", wanted.url(limit, "before", first.seq)));
        }
    }
    Ok(Answer::json(&rows)?.with_links(&links))
}

impl Wanted {
    /// The same from another row on.
    fn url(&self, limit: usize, from: &str, seq: i64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair(from, &seq.to_string());
        let device = self.device.map(|mac| mac.to_string());
        let filters =
            [("device", device.as_ref()), ("event", self.event.as_ref()), ("since", self.since.as_ref())];
        for (name, value) in filters {
            query.extend_pairs(value.map(|value| (name, value)));
        }
        format!("/api/v1/audit?{}", query.finish())
    }
}

fn moment(text: &str) -> Result<Timestamp, Problem> {
    let read = text.parse::<jiff::Timestamp>().map(|moment| Timestamp(moment.as_millisecond()));
    read.map_err(|_| {
        let message = format!("'{text}' is no moment");
        Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "since", message, "write 2026-11-23T10:00:00Z")
    })
}
