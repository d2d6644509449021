//! What phones have in common: settings and plans of function keys of a vendor, of a model, of the site; and the keys of
//! single phones, which are changed by the same words.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use sqlx::AnyConnection;

use super::Store;
use super::error::{StoreError, failed};
use super::load;
use super::write::{Cell, Write};
use crate::device::{Common, Commons, Group, Key, Mac};

/// Whose keys, or settings: one phone's own, or what phones have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A phone.
    Device(Mac),
    /// Phones that have something in common.
    Group(Group),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(mac) => mac.fmt(f),
            Self::Group(group) => group.fmt(f),
        }
    }
}

impl Store {
    /// Sets, or with `None` removes, settings of a group's layer. Every phone of the group has them at its next fetch.
    pub async fn set_common(
        &self,
        group: &Group,
        settings: &[(String, Option<String>)],
    ) -> Result<Arc<Commons>, StoreError> {
        let mut write = Write::begin(self).await?;
        let commons = self.inventory().commons();
        let own = commons.of(group).map(|common| common.settings.clone()).unwrap_or_default();
        let news: Vec<_> = settings.iter().filter(|(name, value)| own.get(name) != value.as_ref()).collect();
        if news.is_empty() {
            return Ok(commons);
        }
        for (name, value) in &news {
            let [vendor, model] = group_cells(group);
            let name = Cell::text(name.as_str());
            let Some(value) = value else {
                let sql = "DELETE FROM common_setting WHERE vendor = $1 AND model = $2 AND name = $3";
                write.change("remove the setting", sql, [vendor, model, name]).await?;
                continue;
            };
            let sql = "INSERT INTO common_setting (vendor, model, name, value) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (vendor, model, name) DO UPDATE SET value = excluded.value";
            write.change("write the setting", sql, [vendor, model, name, Cell::text(value.as_str())]).await?;
        }
        write.stamp_common().await?;
        // Names only: nobody can promise that a value is no secret.
        let names: Vec<&str> = news.iter().map(|(name, _)| name.as_str()).collect();
        let detail = json!({ "of": group.to_string(), "settings": names });
        write.audit("common_settings_changed", None, &detail).await?;
        write.commit().await?;
        Ok(self.inventory().commons())
    }

    /// Puts keys of these numbers, or with `None` takes them away: then what lies below shows again.
    pub async fn set_keys(&self, owner: &Owner, keys: &[(u16, Option<Key>)]) -> Result<(), StoreError> {
        let mut write = Write::begin(self).await?;
        let before: BTreeMap<u16, Key> = match owner {
            Owner::Device(mac) => {
                let device = self.inventory().device(*mac).ok_or(StoreError::NoDevice(*mac))?;
                device.keys.iter().map(|key| (key.number, key.clone())).collect()
            }
            Owner::Group(group) => {
                self.inventory().commons().of(group).map(|common| common.keys.clone()).unwrap_or_default()
            }
        };
        let news: Vec<_> = keys.iter().filter(|(number, key)| before.get(number) != key.as_ref()).collect();
        if news.is_empty() {
            return Ok(());
        }
        for (number, key) in &news {
            match key {
                Some(key) => write_key(&mut write, owner, key).await?,
                None => remove_key(&mut write, owner, *number).await?,
            }
        }
        let mac = match owner {
            Owner::Device(mac) => {
                write.stamp(*mac).await?;
                Some(*mac)
            }
            Owner::Group(_) => {
                write.stamp_common().await?;
                None
            }
        };
        let numbers: Vec<u16> = news.iter().map(|(number, _)| *number).collect();
        write.audit("keys_changed", mac, &json!({ "of": owner.to_string(), "keys": numbers })).await?;
        write.commit().await
    }
}

/// Where the cells of a phone's key go, and what becomes of one that is there already.
pub(super) const DEVICE_KEY: &str = "device_key (mac, number, kind, value, label, line)";
pub(super) const DEVICE_KEY_ANEW: &str = "ON CONFLICT (mac, number) DO UPDATE SET kind = excluded.kind, value = excluded.value, \
     label = excluded.label, line = excluded.line";

/// From `number` to `line`.
pub(super) fn key_cells(key: &Key) -> [Cell; 5] {
    [
        Cell::Number(key.number.into()),
        Cell::text(key.kind.as_str()),
        Cell::text(key.value.as_str()),
        Cell::text(key.label.as_str()),
        Cell::MaybeNumber(key.line.map(i64::from)),
    ]
}

/// Writes a key of a phone, or of a plan.
pub(super) async fn write_key(write: &mut Write<'_>, owner: &Owner, key: &Key) -> Result<(), StoreError> {
    let (into, anew, whose) = match owner {
        Owner::Device(mac) => (DEVICE_KEY, DEVICE_KEY_ANEW, vec![Cell::Text(load::key(*mac))]),
        Owner::Group(group) => (
            "common_key (vendor, model, number, kind, value, label, line)",
            "ON CONFLICT (vendor, model, number) DO UPDATE SET kind = excluded.kind, value = excluded.value, \
             label = excluded.label, line = excluded.line",
            Vec::from(group_cells(group)),
        ),
    };
    let row = whose.into_iter().chain(key_cells(key)).collect();
    write.insert("write the function key", into, vec![row], anew).await
}

/// Removes a key of a phone, or of a plan.
pub(super) async fn remove_key(write: &mut Write<'_>, owner: &Owner, number: u16) -> Result<(), StoreError> {
    let number = Cell::Number(number.into());
    let what = "remove the function key";
    match owner {
        Owner::Device(mac) => {
            let sql = "DELETE FROM device_key WHERE mac = $1 AND number = $2";
            write.change(what, sql, [Cell::Text(load::key(*mac)), number]).await?;
        }
        Owner::Group(group) => {
            let [vendor, model] = group_cells(group);
            let sql = "DELETE FROM common_key WHERE vendor = $1 AND model = $2 AND number = $3";
            write.change(what, sql, [vendor, model, number]).await?;
        }
    }
    Ok(())
}

fn group_cells(group: &Group) -> [Cell; 2] {
    let (vendor, model) = group.names();
    [Cell::text(vendor), Cell::text(model)]
}

impl Write<'_> {
    /// Marks what phones have in common as changed, and with it every phone's files.
    pub(super) async fn stamp_common(&mut self) -> Result<(), StoreError> {
        let generation = Cell::Number(self.generation);
        self.change("mark what is common", "UPDATE head SET common = $1 WHERE id = 1", [generation]).await?;
        Ok(())
    }
}

/// What phones have in common, if that has changed after the generation `after`. It is little, and read whole.
pub(super) async fn changed_after(
    connection: &mut AnyConnection,
    after: i64,
) -> Result<Option<Commons>, StoreError> {
    /// A key: vendor, model, number, kind, value, label, line.
    type KeyRow = (String, String, i64, String, String, String, Option<i64>);
    const READ: &str = "read what phones have in common";
    let head: Option<(i64,)> = sqlx::query_as("SELECT common FROM head WHERE common > $1")
        .bind(after)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed(READ))?;
    let Some((revision,)) = head else { return Ok(None) };
    let mut groups: BTreeMap<Group, Common> = BTreeMap::new();
    let settings: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT vendor, model, name, value FROM common_setting")
            .fetch_all(&mut *connection)
            .await
            .map_err(failed(READ))?;
    for (vendor, model, name, value) in settings {
        groups.entry(Group::of(&vendor, &model)).or_default().settings.insert(name, value);
    }
    let keys: Vec<KeyRow> =
        sqlx::query_as("SELECT vendor, model, number, kind, value, label, line FROM common_key")
            .fetch_all(connection)
            .await
            .map_err(failed(READ))?;
    for (vendor, model, number, kind, value, label, line) in keys {
        let key = load::function_key("common_key", number, &kind, (value, label), line)?;
        groups.entry(Group::of(&vendor, &model)).or_default().keys.insert(key.number, key);
    }
    Ok(Some(Commons { revision, groups }))
}
