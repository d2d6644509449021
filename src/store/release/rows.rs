//! Grants as rows of `release_grant`: read, and written back where they changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use crate::clock::{BootId, BootInstant, Timestamp};
use crate::device::Mac;
use crate::release::{
    Binding, Evidence, Grant, GrantId, Grants, Level, Opening, Reason, Rule, State, Subject, Window, holds,
};
use crate::store::error::{StoreError, failed};
use crate::store::load::{key, parse};
use crate::store::write::{Cell, Write};

/// The column's value for a window without a limit in time.
const UNTIL_ACKED: i64 = -1;
/// The columns, in the order of [`cells`].
const INTO: &str = "release_grant (mac, subject, kind, state, reason, epoch, version, staged_until_ms, window_ms, \
                    opened_boot, opened_boot_ms, opened_wall_ms, opened_by, bound, bound_level, releases, evidence, \
                    delivered, applied, since_ms, changed)";
const REPLACE: &str = "ON CONFLICT (mac, subject, kind) DO UPDATE SET state = excluded.state, \
                       reason = excluded.reason, epoch = excluded.epoch, version = excluded.version, \
                       staged_until_ms = excluded.staged_until_ms, window_ms = excluded.window_ms, \
                       opened_boot = excluded.opened_boot, opened_boot_ms = excluded.opened_boot_ms, \
                       opened_wall_ms = excluded.opened_wall_ms, opened_by = excluded.opened_by, \
                       bound = excluded.bound, bound_level = excluded.bound_level, releases = excluded.releases, \
                       evidence = excluded.evidence, delivered = excluded.delivered, applied = excluded.applied, since_ms = excluded.since_ms, \
                       changed = excluded.changed";

/// The grants of every device that changed after a generation, or whose grants did.
pub(in crate::store) async fn changed_after(
    connection: &mut AnyConnection,
    after: i64,
) -> Result<Vec<(Mac, Grants)>, StoreError> {
    let rows: Vec<GrantRow> = sqlx::query_as(
        "SELECT g.*, d.epoch AS device_epoch FROM release_grant g JOIN device d ON d.mac = g.mac \
         WHERE g.mac IN (SELECT mac FROM release_grant WHERE changed > $1 \
                         UNION SELECT mac FROM device WHERE changed > $1)",
    )
    .bind(after)
    .fetch_all(connection)
    .await
    .map_err(failed("read the release"))?;
    let mut devices: HashMap<Mac, Grants> = HashMap::new();
    // A fleet has few agents and few boots; their names are held once.
    let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for row in rows {
        let mac = parse(&row.mac, "release_grant.mac")?;
        let device = devices.entry(mac).or_default();
        device.epoch = row.device_epoch;
        device.grants.push(row.grant(&mut names)?);
    }
    for grants in devices.values_mut() {
        grants.grants.sort_unstable_by_key(|grant| grant.id);
    }
    Ok(devices.into_iter().collect())
}

impl Write<'_> {
    /// Writes what differs between `before` and `after`, and puts `after` into memory with the commit.
    pub(in crate::store) async fn set_grants(
        &mut self,
        mac: Mac,
        before: Arc<Grants>,
        after: Grants,
    ) -> Result<(), StoreError> {
        self.set_grants_of_many(vec![(mac, before, after)]).await
    }

    /// The same for many devices, with few statements. Those of whom nothing differs cost nothing.
    pub(in crate::store) async fn set_grants_of_many(
        &mut self,
        mut many: Vec<(Mac, Arc<Grants>, Grants)>,
    ) -> Result<(), StoreError> {
        let generation = self.generation;
        many.retain(|(_, before, after)| **before != *after);
        let mut rows = Vec::new();
        for (mac, before, after) in &many {
            for grant in &after.grants {
                if before.get(grant.id) != Some(grant) {
                    rows.push(cells(*mac, grant, generation));
                }
            }
            for gone in before.grants.iter().filter(|grant| after.get(grant.id).is_none()) {
                let sql = "DELETE FROM release_grant WHERE mac = $1 AND subject = $2 AND kind = $3";
                let cells = [
                    Cell::Text(key(*mac)),
                    Cell::Text(subject(gone.id.subject)),
                    Cell::text(gone.id.kind.as_str()),
                ];
                self.change("forget a grant", sql, cells).await?;
            }
            if before.epoch != after.epoch {
                let sql = "UPDATE device SET epoch = $1 WHERE mac = $2";
                self.change("count the arming", sql, [Cell::Number(after.epoch), Cell::Text(key(*mac))])
                    .await?;
            }
        }
        self.insert("write the release", INTO, rows, REPLACE).await?;
        for (mac, _, after) in many {
            self.put_grants(mac, after);
        }
        Ok(())
    }
}

fn cells(mac: Mac, grant: &Grant, generation: i64) -> Vec<Cell> {
    let (reason, until) = match &grant.state {
        State::Locked(reason) => (Some(reason.as_str().to_owned()), None),
        State::Staged { until } => (None, Some(until.0)),
        State::Open(_) => (None, None),
    };
    let opening = grant.opening();
    let bound = opening.and_then(|opening| opening.bound.as_ref());
    vec![
        Cell::Text(key(mac)),
        Cell::Text(subject(grant.id.subject)),
        Cell::text(grant.id.kind.as_str()),
        Cell::text(grant.state.as_str()),
        Cell::Maybe(reason),
        Cell::Number(grant.epoch),
        Cell::Number(grant.version),
        Cell::MaybeNumber(until),
        Cell::MaybeNumber(grant.window.map(window_ms)),
        Cell::Maybe(opening.map(|opening| opening.at.boot.0.to_string())),
        Cell::MaybeNumber(opening.map(|opening| opening.at.ms)),
        Cell::MaybeNumber(opening.map(|opening| opening.wall.0)),
        Cell::Maybe(opening.map(|opening| opening.by.to_string())),
        Cell::Maybe(bound.map(|bound| bound.key.clone())),
        Cell::MaybeNumber(bound.map(|bound| bound.level.number())),
        Cell::Number(grant.releases.into()),
        Cell::Number(grant.evidence.number()),
        Cell::MaybeNumber(grant.delivered),
        Cell::MaybeNumber(grant.applied),
        Cell::Number(grant.since.0),
        Cell::Number(generation),
    ]
}

struct GrantRow {
    mac: String,
    device_epoch: i64,
    subject: String,
    kind: String,
    state: String,
    reason: Option<String>,
    epoch: i64,
    version: i64,
    staged_until_ms: Option<i64>,
    window_ms: Option<i64>,
    opened: Opened,
    releases: i64,
    evidence: i64,
    delivered: Option<i64>,
    applied: Option<i64>,
    since_ms: i64,
}

/// The columns of an open window.
struct Opened {
    boot: Option<String>,
    boot_ms: Option<i64>,
    wall_ms: Option<i64>,
    by: Option<String>,
    bound: Option<String>,
    bound_level: Option<i64>,
}

impl<'r> FromRow<'r, AnyRow> for GrantRow {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            mac: row.try_get("mac")?,
            device_epoch: row.try_get("device_epoch")?,
            subject: row.try_get("subject")?,
            kind: row.try_get("kind")?,
            state: row.try_get("state")?,
            reason: row.try_get("reason")?,
            epoch: row.try_get("epoch")?,
            version: row.try_get("version")?,
            staged_until_ms: row.try_get("staged_until_ms")?,
            window_ms: row.try_get("window_ms")?,
            opened: Opened {
                boot: row.try_get("opened_boot")?,
                boot_ms: row.try_get("opened_boot_ms")?,
                wall_ms: row.try_get("opened_wall_ms")?,
                by: row.try_get("opened_by")?,
                bound: row.try_get("bound")?,
                bound_level: row.try_get("bound_level")?,
            },
            releases: row.try_get("releases")?,
            evidence: row.try_get("evidence")?,
            delivered: row.try_get("delivered")?,
            applied: row.try_get("applied")?,
            since_ms: row.try_get("since_ms")?,
        })
    }
}

impl GrantRow {
    fn grant(self, names: &mut BTreeMap<String, Arc<str>>) -> Result<Grant, StoreError> {
        let damaged =
            |column: &str| StoreError::Damaged(format!("a row's release_grant.{column} is not understood"));
        let id = GrantId {
            subject: read_subject(&self.subject).ok_or_else(|| damaged("subject"))?,
            kind: parse(&self.kind, "release_grant.kind")?,
        };
        let state = match self.state.as_str() {
            "locked" => {
                let reason: Reason = parse(&self.reason.unwrap_or_default(), "release_grant.reason")?;
                State::Locked(reason)
            }
            "staged" => {
                let until = self.staged_until_ms.ok_or_else(|| damaged("staged_until_ms"))?;
                State::Staged { until: Timestamp(until) }
            }
            "open" => State::Open(self.opened.opening(names).ok_or_else(|| damaged("opened_boot"))?),
            _ => return Err(damaged("state")),
        };
        Ok(Grant {
            id,
            state,
            since: Timestamp(self.since_ms),
            epoch: self.epoch,
            version: self.version,
            window: self.window_ms.map(window),
            releases: u32::try_from(self.releases).map_err(|_| damaged("releases"))?,
            evidence: read_evidence(self.evidence).ok_or_else(|| damaged("evidence"))?,
            delivered: self.delivered,
            applied: self.applied,
        })
    }
}

impl Opened {
    fn opening(self, names: &mut BTreeMap<String, Arc<str>>) -> Option<Opening> {
        let mut shared =
            |name: String| Arc::clone(names.entry(name).or_insert_with_key(|name| name.as_str().into()));
        let bound = match (self.bound, self.bound_level) {
            (None, None) => None,
            (Some(key), Some(number)) => {
                Some(Binding { key, level: Level::ALL.into_iter().find(|level| level.number() == number)? })
            }
            _ => return None,
        };
        Some(Opening {
            at: BootInstant { boot: BootId(shared(self.boot?)), ms: self.boot_ms? },
            wall: Timestamp(self.wall_ms?),
            by: shared(self.by?),
            bound: bound.filter(|_| holds(Rule::BindingIsKept)),
            seen_ms: None,
        })
    }
}

fn subject(subject: Subject) -> String {
    match subject {
        Subject::Device => "device".to_owned(),
        Subject::Account(id) => format!("account:{id}"),
    }
}

fn read_subject(text: &str) -> Option<Subject> {
    if text == "device" {
        return Some(Subject::Device);
    }
    text.strip_prefix("account:")?.parse().ok().map(Subject::Account)
}

fn read_evidence(number: i64) -> Option<Evidence> {
    Evidence::ALL.into_iter().find(|evidence| evidence.number() == number)
}

fn window_ms(window: Window) -> i64 {
    match window {
        Window::UntilAcked => UNTIL_ACKED,
        Window::Of(window) => i64::try_from(window.as_millis()).unwrap_or(i64::MAX),
    }
}

fn window(ms: i64) -> Window {
    u64::try_from(ms).map_or(Window::UntilAcked, |ms| Window::Of(Duration::from_millis(ms)))
}
