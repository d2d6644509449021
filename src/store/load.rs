//! Rows to values: all devices and accounts that changed after a generation, or all there are. Reads only.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row};

use super::error::{StoreError, failed};
use super::inventory::{Delta, Entry, Labelled, TokenDigest};
use super::{common, firmware, release};
use crate::clock::Timestamp;
use crate::device::{Account, Device, Key, Line, Mac, Vendor};
use crate::hex::unhex;
use crate::secret::{Sealed, SecretKind};

/// The generation that every row is newer than.
pub(super) const BEGINNING: i64 = -1;

/// The head row's state.
pub(super) struct Head {
    pub(super) generation: i64,
    pub(super) removal: i64,
    pub(super) wall_ms: i64,
    /// A known text, sealed with the key of everything else.
    pub(super) check: Option<Sealed>,
}

/// Reads the head row.
pub(super) async fn head<'e>(
    executor: impl sqlx::Executor<'e, Database = sqlx::Any>,
) -> Result<Head, StoreError> {
    let (generation, removal, wall_ms, check): (i64, i64, i64, Option<String>) =
        sqlx::query_as("SELECT generation, removal, wall_ms, key_check FROM head WHERE id = $1")
            .bind(1_i64)
            .fetch_one(executor)
            .await
            .map_err(failed("read the generation"))?;
    Ok(Head { generation, removal, wall_ms, check: check.map(Sealed) })
}

/// Everything that changed after the generation `after`.
pub(super) async fn changed_after(connection: &mut AnyConnection, after: i64) -> Result<Delta, StoreError> {
    let accounts: Vec<AccountRow> = select(
        connection,
        "SELECT id, username, registrar, auth_id, display_name, label, transport, outbound_proxy, srtp, \
         password_version, password FROM account WHERE changed > $1 ORDER BY id",
        after,
        "read the accounts",
    )
    .await?;
    let mut devices: HashMap<String, Parts> = HashMap::new();
    let rows: Vec<DeviceRow> = select(
        connection,
        "SELECT mac, vendor, model, firmware, approval, way, gigaset_id, created_ms, revision FROM device \
         WHERE changed > $1",
        after,
        "read the devices",
    )
    .await?;
    for row in rows {
        devices.insert(row.mac.clone(), Parts::new(row));
    }
    if !devices.is_empty() {
        load_parts(connection, after, &mut devices).await?;
    }
    let grants = release::changed_after(connection, after).await?;
    let commons = common::changed_after(connection, after).await?;
    let stock = firmware::changed_after(connection, after).await?;
    Ok(Delta {
        commons: commons.map(Arc::new),
        stock,
        grants: grants.into_iter().map(|(mac, grants)| (mac, Arc::new(grants))).collect(),
        devices: devices.into_values().map(Parts::entry).collect::<Result<_, _>>()?,
        accounts: accounts
            .into_iter()
            .map(|row| {
                let label = row.label.clone();
                Ok(Labelled { account: Arc::new(row.account()?), label })
            })
            .collect::<Result<_, StoreError>>()?,
    })
}

/// What belongs to the changed devices. `IN`, and not a join: without statistics SQLite would go through every key of
/// every device to sort a join by device, and with `IN` it looks up the few.
async fn load_parts(
    connection: &mut AnyConnection,
    after: i64,
    devices: &mut HashMap<String, Parts>,
) -> Result<(), StoreError> {
    let secrets: Vec<(String, String, String, Option<String>)> = select(
        connection,
        "SELECT s.mac, s.kind, s.sealed, s.digest FROM device_secret s \
         WHERE s.mac IN (SELECT mac FROM device WHERE changed > $1)",
        after,
        "read the devices' secrets",
    )
    .await?;
    for (mac, kind, sealed, digest) in secrets {
        if let Some(parts) = devices.get_mut(&mac) {
            parts.secrets.push((kind, sealed, digest));
        }
    }
    let lines: Vec<LineRow> = select(
        connection,
        "SELECT l.mac, l.number, a.id, a.username, a.registrar, a.auth_id, a.display_name, a.label, a.transport, \
         a.outbound_proxy, a.srtp, a.password_version, a.password FROM line l \
         JOIN account a ON a.id = l.account_id \
         WHERE l.mac IN (SELECT mac FROM device WHERE changed > $1) ORDER BY l.mac, l.number",
        after,
        "read the lines",
    )
    .await?;
    for row in lines {
        if let Some(parts) = devices.get_mut(&row.mac) {
            let label = row.account.label.clone();
            let number = small(row.number, "line")?;
            parts.lines.push(Line { number, label, account: row.account.account()? });
        }
    }
    let keys: Vec<(String, i64, String, String, String, Option<i64>)> = select(
        connection,
        "SELECT k.mac, k.number, k.kind, k.value, k.label, k.line FROM device_key k \
         WHERE k.mac IN (SELECT mac FROM device WHERE changed > $1) ORDER BY k.mac, k.number",
        after,
        "read the function keys",
    )
    .await?;
    for (mac, number, kind, value, label, line) in keys {
        if let Some(parts) = devices.get_mut(&mac) {
            parts.keys.push(function_key("device_key", number, &kind, (value, label), line)?);
        }
    }
    let settings: Vec<(String, String, String)> = select(
        connection,
        "SELECT s.mac, s.name, s.value FROM device_setting s \
         WHERE s.mac IN (SELECT mac FROM device WHERE changed > $1)",
        after,
        "read the devices' settings",
    )
    .await?;
    for (mac, name, value) in settings {
        if let Some(parts) = devices.get_mut(&mac) {
            parts.settings.insert(name, value);
        }
    }
    let seen: Vec<(String, i64)> = select(
        connection,
        "SELECT s.mac, MAX(s.last_ms) FROM sighting s \
         WHERE s.mac IN (SELECT mac FROM device WHERE changed > $1) GROUP BY s.mac",
        after,
        "read the sightings",
    )
    .await?;
    for (mac, last_ms) in seen {
        if let Some(parts) = devices.get_mut(&mac) {
            parts.last_seen = Some(Timestamp(last_ms));
        }
    }
    Ok(())
}

async fn select<T>(
    connection: &mut AnyConnection,
    sql: &'static str,
    after: i64,
    operation: &'static str,
) -> Result<Vec<T>, StoreError>
where
    T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
{
    sqlx::query_as(sql).bind(after).fetch_all(connection).await.map_err(failed(operation))
}

/// A device's rows, as they come in.
struct Parts {
    row: DeviceRow,
    secrets: Vec<(String, String, Option<String>)>,
    lines: Vec<Line>,
    keys: Vec<Key>,
    settings: BTreeMap<String, String>,
    last_seen: Option<Timestamp>,
}

impl Parts {
    fn new(row: DeviceRow) -> Self {
        Self {
            row,
            secrets: Vec::new(),
            lines: Vec::new(),
            keys: Vec::new(),
            settings: BTreeMap::new(),
            last_seen: None,
        }
    }

    fn entry(self) -> Result<Entry, StoreError> {
        let row = self.row;
        let missing = |kind: &str| StoreError::Damaged(format!("device {} has no {kind} token", row.mac));
        let mut secrets = BTreeMap::new();
        let (mut bootstrap, mut steady) = (None, None);
        for (kind, sealed, token) in self.secrets {
            if kind == "bootstrap" {
                bootstrap = Some((Sealed(sealed), token));
                continue;
            }
            let kind: SecretKind = parse(&kind, "device_secret.kind")?;
            if kind == SecretKind::Prov {
                steady = token;
            }
            secrets.insert(kind, Sealed(sealed));
        }
        let (bootstrap_token, bootstrap) = bootstrap.ok_or_else(|| missing("bootstrap"))?;
        let digests = [
            token_digest(bootstrap.as_deref()).ok_or_else(|| missing("bootstrap"))?,
            token_digest(steady.as_deref()).ok_or_else(|| missing("steady"))?,
        ];
        let device = Device {
            mac: parse(&row.mac, "device.mac")?,
            vendor: row.vendor.as_deref().map(Vendor::new),
            model: row.model,
            firmware: row.firmware,
            approval: parse(&row.approval, "device.approval")?,
            way: row.way.as_deref().map(|way| parse(way, "device.way")).transpose()?,
            gigaset_id: row.gigaset_id,
            revision: row.revision,
            lines: self.lines,
            keys: self.keys,
            settings: self.settings,
            secrets,
            bootstrap_token,
            created_at: Timestamp(row.created_ms),
            last_seen: self.last_seen,
        };
        Ok(Entry { device: Arc::new(device), digests })
    }
}

struct DeviceRow {
    mac: String,
    vendor: Option<String>,
    model: Option<String>,
    firmware: Option<String>,
    approval: String,
    way: Option<String>,
    gigaset_id: Option<String>,
    created_ms: i64,
    revision: i64,
}

impl<'r> FromRow<'r, AnyRow> for DeviceRow {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            mac: row.try_get("mac")?,
            vendor: row.try_get("vendor")?,
            model: row.try_get("model")?,
            firmware: row.try_get("firmware")?,
            approval: row.try_get("approval")?,
            way: row.try_get("way")?,
            gigaset_id: row.try_get("gigaset_id")?,
            created_ms: row.try_get("created_ms")?,
            revision: row.try_get("revision")?,
        })
    }
}

struct AccountRow {
    id: i64,
    username: String,
    registrar: String,
    auth_id: String,
    display_name: Option<String>,
    label: Option<String>,
    transport: Option<String>,
    outbound_proxy: Option<String>,
    srtp: Option<String>,
    password_version: i64,
    password: Option<String>,
}

impl<'r> FromRow<'r, AnyRow> for AccountRow {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            username: row.try_get("username")?,
            registrar: row.try_get("registrar")?,
            auth_id: row.try_get("auth_id")?,
            display_name: row.try_get("display_name")?,
            label: row.try_get("label")?,
            transport: row.try_get("transport")?,
            outbound_proxy: row.try_get("outbound_proxy")?,
            srtp: row.try_get("srtp")?,
            password_version: row.try_get("password_version")?,
            password: row.try_get("password")?,
        })
    }
}

impl AccountRow {
    fn account(self) -> Result<Account, StoreError> {
        Ok(Account {
            id: self.id,
            username: self.username,
            auth_id: self.auth_id,
            display_name: self.display_name,
            registrar: Some(self.registrar).filter(|registrar| !registrar.is_empty()),
            transport: self.transport.map(|text| parse(&text, "account.transport")).transpose()?,
            outbound_proxy: self.outbound_proxy,
            srtp: self.srtp.map(|text| parse(&text, "account.srtp")).transpose()?,
            password_version: self.password_version,
            password: self.password.map(Sealed),
        })
    }
}

struct LineRow {
    mac: String,
    number: i64,
    account: AccountRow,
}

impl<'r> FromRow<'r, AnyRow> for LineRow {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        let account = AccountRow::from_row(row)?;
        Ok(Self { mac: row.try_get("mac")?, number: row.try_get("number")?, account })
    }
}

/// Reads a column that only this program writes. The text itself is not shown: it may be anything.
pub(super) fn parse<T: FromStr>(text: &str, column: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged(format!("a row's {column} is not understood")))
}

/// A function key of a row.
pub(super) fn function_key(
    table: &str,
    number: i64,
    kind: &str,
    (value, label): (String, String),
    line: Option<i64>,
) -> Result<Key, StoreError> {
    let line = line.map(|line| small(line, table)).transpose()?;
    Ok(Key {
        number: small(number, table)?,
        kind: parse(kind, &format!("{table}.kind"))?,
        value,
        label,
        line,
    })
}

fn small(number: i64, table: &str) -> Result<u16, StoreError> {
    u16::try_from(number).map_err(|_| StoreError::Damaged(format!("a row's {table}.number is out of range")))
}

fn token_digest(text: Option<&str>) -> Option<TokenDigest> {
    text.and_then(unhex)?.try_into().ok()
}

/// The MAC as tables hold it.
pub(super) fn key(mac: Mac) -> String {
    mac.bare()
}
