//! The firmware catalog, and how far each phone has come with the release that it was told of last. The files lie on the
//! disk; here stands what they have to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use sqlx::AnyConnection;

use super::Store;
use super::error::{StoreError, failed};
use super::inventory::Delta;
use super::load;
use super::write::{Cell, Write};
use crate::clock::Timestamp;
use crate::device::{Mac, Vendor};
use crate::firmware::{Release, ReleaseFile, Try, Version};

/// What a write changed of the catalog, or all there is.
#[derive(Debug, Default)]
pub(super) struct StockDelta {
    /// All releases, where one has changed: they are few.
    pub(super) releases: Option<Vec<Arc<Release>>>,
    pub(super) tries: Vec<(Mac, Try)>,
}

impl Store {
    /// Takes a release into the catalog, whose files lie in their place already.
    pub async fn add_release(&self, release: &Release) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        let stock = self.inventory().stock();
        let folder = release.folder();
        let taken = release.files.iter().find_map(|file| {
            stock
                .file(release.vendor.as_str(), &format!("{folder}/{}", file.name))
                .map(|(other, _)| other.name())
        });
        if let Some(other) = taken {
            return Err(StoreError::Conflict(format!(
                "{other} has this file already; remove that release first"
            )));
        }
        let name = release.name().to_ascii_lowercase();
        let cells = vec![
            Cell::text(name.as_str()),
            Cell::text(release.vendor.as_str()),
            Cell::text(release.version.as_str()),
            Cell::Text(release.models.join("\n")),
            Cell::Maybe(release.hardware.clone()),
            Cell::Maybe(release.minimum.as_ref().map(|version| version.as_str().to_owned())),
            Cell::Number(write.now.0),
        ];
        let into = "firmware (name, vendor, version, models, hardware, minimum, added_ms)";
        write.insert("add the release", into, vec![cells], "").await?;
        let files = (0_i64..).zip(&release.files).map(|(place, file)| {
            vec![
                Cell::text(name.as_str()),
                Cell::Number(place),
                Cell::text(file.name.as_str()),
                Cell::Number(i64::try_from(file.size).unwrap_or(i64::MAX)),
                Cell::text(file.sha256.as_str()),
            ]
        });
        let into = "firmware_file (release, place, file, size, sha256)";
        write.insert("add the release's files", into, files.collect(), "").await?;
        write.stamp_firmware().await?;
        let detail = json!({ "release": name, "version": release.version, "models": release.models });
        write.audit("firmware_added", None, &detail).await?;
        write.commit().await
    }

    /// Takes a release out of the catalog; its files are the caller's.
    pub async fn remove_release(&self, name: &str) -> Result<Arc<Release>, StoreError> {
        let mut write = Write::begin(self).await?;
        let known = self.inventory().stock().find(name).cloned();
        let release = known.ok_or_else(|| StoreError::NoRelease(name.to_owned()))?;
        let name = release.name().to_ascii_lowercase();
        // SQLite removes the files' rows by itself, and so does PostgreSQL.
        let sql = "DELETE FROM firmware WHERE name = $1";
        write.change("remove the release", sql, [Cell::text(name.as_str())]).await?;
        write.stamp_firmware().await?;
        write.audit("firmware_removed", None, &json!({ "release": name })).await?;
        write.commit().await?;
        Ok(release)
    }

    /// A phone that had `had` has fetched all of this release once more.
    pub async fn count_firmware(&self, mac: Mac, release: &Release, had: &str) -> Result<(), StoreError> {
        let counted = |before: Option<&Try>, at| Try::counted(before, release, had, at);
        self.write_try(mac, counted).await
    }

    /// A phone that has `had` was told of this release.
    pub async fn tell_firmware(&self, mac: Mac, release: &Release, had: &str) -> Result<(), StoreError> {
        let told = |before: Option<&Try>, at| Try::told(before, release, had, at);
        self.write_try(mac, told).await
    }

    async fn write_try(
        &self,
        mac: Mac,
        next: impl Fn(Option<&Try>, Timestamp) -> Option<Try>,
    ) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        if !self.inventory().has(mac) {
            return Ok(());
        }
        let stock = self.inventory().stock();
        let Some(tried) = next(stock.tries.get(&mac), write.now) else { return Ok(()) };
        let cells = [
            Cell::Text(load::key(mac)),
            Cell::text(tried.sha256.as_str()),
            Cell::text(tried.from.as_str()),
            Cell::Number(tried.fetched.into()),
            Cell::Number(tried.at.0),
            Cell::Number(write.generation),
        ];
        let sql = "INSERT INTO firmware_try (mac, sha256, had, fetched, last_ms, changed) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (mac) DO UPDATE SET sha256 = excluded.sha256, \
                   had = excluded.had, fetched = excluded.fetched, last_ms = excluded.last_ms, \
                   changed = excluded.changed";
        write.change("write down the phone's firmware", sql, cells).await?;
        let stock = StockDelta { releases: None, tries: vec![(mac, tried)] };
        write.commit_with(Delta { stock, ..Delta::default() }).await
    }

    /// Lets phones have once more what they fetched in vain.
    pub async fn retry_firmware(&self, macs: &[Mac]) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        for mac in macs {
            if !self.inventory().has(*mac) {
                return Err(StoreError::NoDevice(*mac));
            }
            let sql = "UPDATE firmware_try SET fetched = 0, changed = $1 WHERE mac = $2";
            let cells = [Cell::Number(write.generation), Cell::Text(load::key(*mac))];
            write.change("let the phone try again", sql, cells).await?;
            write.audit("firmware_retried", Some(*mac), &json!({})).await?;
        }
        write.commit().await
    }
}

impl Write<'_> {
    async fn stamp_firmware(&mut self) -> Result<(), StoreError> {
        let generation = Cell::Number(self.generation);
        self.change("mark the firmware", "UPDATE head SET firmware = $1 WHERE id = 1", [generation]).await?;
        Ok(())
    }
}

/// What changed after the generation `after`.
pub(super) async fn changed_after(
    connection: &mut AnyConnection,
    after: i64,
) -> Result<StockDelta, StoreError> {
    const READ: &str = "read the firmware catalog";
    let head: Option<(i64,)> = sqlx::query_as("SELECT firmware FROM head WHERE firmware > $1")
        .bind(after)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed(READ))?;
    let releases = match head {
        Some(_) => Some(releases(connection).await?),
        None => None,
    };
    let rows: Vec<(String, String, String, i64, i64)> =
        sqlx::query_as("SELECT mac, sha256, had, fetched, last_ms FROM firmware_try WHERE changed > $1")
            .bind(after)
            .fetch_all(connection)
            .await
            .map_err(failed(READ))?;
    let tries = rows.into_iter().map(|(mac, sha256, from, fetched, at)| {
        let fetched = u32::try_from(fetched).unwrap_or(u32::MAX);
        Ok((load::parse(&mac, "firmware_try.mac")?, Try { sha256, from, fetched, at: Timestamp(at) }))
    });
    Ok(StockDelta { releases, tries: tries.collect::<Result<_, StoreError>>()? })
}

/// A release as its row has it: name, vendor, version, models, hardware, minimum.
type Row = (String, String, String, String, Option<String>, Option<String>);

async fn releases(connection: &mut AnyConnection) -> Result<Vec<Arc<Release>>, StoreError> {
    const READ: &str = "read the firmware catalog";
    let mut files: BTreeMap<String, Vec<ReleaseFile>> = BTreeMap::new();
    let rows: Vec<(String, String, i64, String)> =
        sqlx::query_as("SELECT release, file, size, sha256 FROM firmware_file ORDER BY release, place")
            .fetch_all(&mut *connection)
            .await
            .map_err(failed(READ))?;
    for (release, name, size, sha256) in rows {
        let size = u64::try_from(size).unwrap_or_default();
        files.entry(release).or_default().push(ReleaseFile { name, size, sha256 });
    }
    let rows: Vec<Row> =
        sqlx::query_as("SELECT name, vendor, version, models, hardware, minimum FROM firmware ORDER BY name")
            .fetch_all(connection)
            .await
            .map_err(failed(READ))?;
    let release = |(name, vendor, version, models, hardware, minimum): Row| {
        Arc::new(Release {
            vendor: Vendor::new(&vendor),
            version: Version::new(version),
            models: models.lines().map(str::to_owned).collect(),
            hardware,
            minimum: minimum.map(Version::new),
            files: files.remove(&name).unwrap_or_default(),
        })
    };
    Ok(rows.into_iter().map(release).collect())
}
