//! What people do with devices: approve, block, remove, replace, set. Each deed is one transaction with its audit row.

use std::sync::Arc;

use serde_json::json;

use super::Store;
use super::error::StoreError;
use super::inventory::{Holding, State};
use super::load;
use super::write::{Cell, Write, line_row};
use crate::device::{Approval, Device, Identity, Mac, Way};
use crate::release::Grants;

/// Which account a device gets when it is approved without having one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Give {
    /// The pool's next, if there is one.
    NextFree,
    /// This one, from the pool: `NAME` or `NAME@REGISTRAR`.
    Account(String),
    /// None.
    Nothing,
}

/// An approved device.
#[derive(Debug, Clone)]
pub struct Approved {
    /// As it is now.
    pub device: Arc<Device>,
    /// The user name of the account that it got just now.
    pub given: Option<String>,
}

impl Store {
    /// Approves a device that waits, or one that was blocked; a MAC that was never seen becomes a device.
    pub async fn approve(&self, mac: Mac, give: &Give) -> Result<Approved, StoreError> {
        let mut write = Write::begin(self).await?;
        let known = self.inventory().device(mac);
        let account = {
            let state = self.inventory().read();
            match give {
                Give::Account(name) => Some(free_account(&state, name)?),
                Give::NextFree if known.as_ref().is_none_or(|device| device.lines.is_empty()) => {
                    state.next_free(1).first().map(|free| Arc::clone(&free.account))
                }
                Give::NextFree | Give::Nothing => None,
            }
        };
        if known.as_ref().is_some_and(|device| device.approval == Approval::Approved) && account.is_none() {
            let device = known.ok_or(StoreError::NoDevice(mac))?;
            return Ok(Approved { device, given: None });
        }
        if known.as_ref().is_some_and(|device| device.approval == Approval::Blocked) {
            let before = write.grants_of(mac);
            let mut after = Grants::clone(&before);
            after.unblock(&write.release_now());
            write.set_grants(mac, before, after).await?;
        }
        self.set_approval(&mut write, mac, Approval::Approved).await?;
        if let Some(account) = &account {
            let number = known.as_ref().map_or(1, |device| free_line(device));
            let rows = vec![line_row(&load::key(mac), number, account.id)];
            write.insert("give the account", "line (mac, number, account_id)", rows, "").await?;
        }
        let given = account.map(|account| account.username.clone());
        write.audit("approved", Some(mac), &json!({ "account": given })).await?;
        write.commit().await?;
        let device = self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
        Ok(Approved { device, given })
    }

    /// Blocks a device, or a MAC that was never seen. It keeps its accounts, so that it can be approved again.
    pub async fn block(&self, mac: Mac) -> Result<Arc<Device>, StoreError> {
        let mut write = Write::begin(self).await?;
        if let Some(device) = self.inventory().device(mac)
            && device.approval == Approval::Blocked
        {
            return Ok(device);
        }
        self.set_approval(&mut write, mac, Approval::Blocked).await?;
        write.audit("blocked", Some(mac), &json!({})).await?;
        write.commit().await?;
        self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))
    }

    /// Removes a device with its keys, settings and credentials. Its accounts go back to the pool, or away with it.
    /// Gives back their user names.
    pub async fn remove(&self, mac: Mac, with_accounts: bool) -> Result<Vec<String>, StoreError> {
        let mut write = Write::begin(self).await?;
        let device = self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
        let names: Vec<String> = device.lines.iter().map(|line| line.account.username.clone()).collect();
        write.remove_device(mac).await?;
        for line in &device.lines {
            if with_accounts {
                write.remove_account(line.account.id).await?;
            }
        }
        write
            .audit("removed", Some(mac), &json!({ "accounts": names, "with_accounts": with_accounts }))
            .await?;
        write.commit().await?;
        Ok(names)
    }

    /// Puts a new phone in an old one's place: lines, keys and settings move; credentials and tokens are the new
    /// one's own, so that what the old phone still knows opens nothing. The old device is removed.
    pub async fn replace(&self, old: Mac, new: Mac) -> Result<Arc<Device>, StoreError> {
        let mut write = Write::begin(self).await?;
        let from = self.inventory().device(old).ok_or(StoreError::NoDevice(old))?;
        let present = self.inventory().device(new);
        if old == new {
            return Err(StoreError::Conflict(format!("{old} cannot replace itself")));
        }
        if present.as_ref().is_some_and(|device| !device.lines.is_empty() || !device.keys.is_empty()) {
            let reason = format!("{new} has lines or keys of its own; remove it first, or move its accounts");
            return Err(StoreError::Conflict(reason));
        }
        let seen = present.as_ref().map(|device| identity_of(device)).unwrap_or_default();
        let identity = Identity {
            mac: Some(new),
            vendor: seen.vendor.or_else(|| from.vendor.clone()),
            model: seen.model.or_else(|| from.model.clone()),
            firmware: seen.firmware,
        };
        if present.is_some() {
            write.remove_device(new).await?;
        }
        let born = (write.generation, write.now);
        let way = present.as_ref().and_then(|device| device.way);
        let entry = self.inner.mint.device(new, &identity, Approval::Approved, way, born)?;
        write.insert_devices(&[entry]).await?;
        for sql in [
            "UPDATE line SET mac = $1 WHERE mac = $2",
            "UPDATE device_key SET mac = $1 WHERE mac = $2",
            "UPDATE device_setting SET mac = $1 WHERE mac = $2",
        ] {
            let cells = [Cell::Text(load::key(new)), Cell::Text(load::key(old))];
            write.change("move what the old device had", sql, cells).await?;
        }
        write.remove_device(old).await?;
        write.audit("replaced", Some(new), &json!({ "old": old })).await?;
        write.commit().await?;
        self.inventory().device(new).ok_or(StoreError::NoDevice(new))
    }

    /// Sets, or with `None` removes, settings of the device's own layer.
    pub async fn set(
        &self,
        mac: Mac,
        settings: &[(String, Option<String>)],
    ) -> Result<Arc<Device>, StoreError> {
        let mut write = Write::begin(self).await?;
        let device = self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
        let news: Vec<_> =
            settings.iter().filter(|(name, value)| device.settings.get(name) != value.as_ref()).collect();
        if news.is_empty() {
            return Ok(device);
        }
        for (name, value) in &news {
            let (mac, name) = (Cell::Text(load::key(mac)), Cell::text(name.as_str()));
            let Some(value) = value else {
                let sql = "DELETE FROM device_setting WHERE mac = $1 AND name = $2";
                write.change("remove the setting", sql, [mac, name]).await?;
                continue;
            };
            let sql = "INSERT INTO device_setting (mac, name, value) VALUES ($1, $2, $3) \
                       ON CONFLICT (mac, name) DO UPDATE SET value = excluded.value";
            write.change("write the setting", sql, [mac, name, Cell::text(value.as_str())]).await?;
        }
        write.stamp(mac).await?;
        // Names only: nobody can promise that a value is no secret.
        let names: Vec<&str> = news.iter().map(|(name, _)| name.as_str()).collect();
        write.audit("settings_changed", Some(mac), &json!({ "settings": names })).await?;
        write.commit().await?;
        self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))
    }

    /// Corrects how a phone came in, when more is known than its first sighting told.
    pub async fn came_in(&self, mac: Mac, way: Way) -> Result<(), StoreError> {
        if self.inventory().device(mac).is_none_or(|device| device.way == Some(way)) {
            return Ok(());
        }
        let mut write = Write::begin(self).await?;
        let cells = [Cell::text(way.as_str()), Cell::Number(write.generation), Cell::Text(load::key(mac))];
        let sql = "UPDATE device SET way = $1, changed = $2 WHERE mac = $3";
        write.change("write the way in", sql, cells).await?;
        write.commit().await
    }

    async fn set_approval(
        &self,
        write: &mut Write<'_>,
        mac: Mac,
        approval: Approval,
    ) -> Result<(), StoreError> {
        if self.inventory().device(mac).is_none() {
            let born = (write.generation, write.now);
            let identity = Identity { mac: Some(mac), ..Identity::default() };
            let entry = self.inner.mint.device(mac, &identity, approval, None, born)?;
            return write.insert_devices(&[entry]).await;
        }
        let cells =
            [Cell::text(approval.as_str()), Cell::Number(write.generation), Cell::Text(load::key(mac))];
        let sql = "UPDATE device SET approval = $1, revision = $2, changed = $2 WHERE mac = $3";
        write.change("write the approval", sql, cells).await?;
        Ok(())
    }
}

impl State {
    /// The account of this name: `NAME`, or `NAME@REGISTRAR` where several registrars have one.
    pub(super) fn find(&self, name: &str) -> Result<Holding, StoreError> {
        let wanted = |holding: &Holding| {
            let account = &holding.account;
            let full =
                account.registrar.as_ref().map(|registrar| format!("{}@{registrar}", account.username));
            account.username == name || full.as_deref() == Some(name)
        };
        let mut found = self.holdings().filter(wanted);
        match (found.next(), found.next()) {
            (None, _) => Err(StoreError::NoAccount(name.chars().take(80).collect())),
            (Some(holding), None) => Ok(holding),
            (Some(_), Some(_)) => Err(StoreError::Conflict(format!(
                "there are several accounts '{name}'; write {name}@REGISTRAR to say which"
            ))),
        }
    }
}

fn free_account(state: &State, name: &str) -> Result<Arc<crate::device::Account>, StoreError> {
    let holding = state.find(name)?;
    match holding.on {
        None => Ok(holding.account),
        Some((mac, line)) => Err(StoreError::Conflict(format!(
            "account '{name}' is on line {line} of {mac}; offhook account move takes it from there"
        ))),
    }
}

/// The lowest line number that is not taken.
pub(super) fn free_line(device: &Device) -> u16 {
    let taken = |number: &u16| device.lines.iter().any(|line| line.number == *number);
    (1..u16::MAX).find(|number| !taken(number)).unwrap_or(u16::MAX)
}

fn identity_of(device: &Device) -> Identity {
    Identity {
        mac: Some(device.mac),
        vendor: device.vendor.clone(),
        model: device.model.clone(),
        firmware: device.firmware.clone(),
    }
}
