//! Carries a sheet out: all of it in one transaction, or nothing. What is as the sheet says already is not touched, so
//! that importing a file twice changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::account::{ACCOUNT_COLUMNS, account_cells};
use super::common::{DEVICE_KEY, DEVICE_KEY_ANEW, Owner, key_cells, remove_key, write_key};
use super::error::StoreError;
use super::fresh::device_place;
use super::inventory::Entry;
use super::plan::{DeviceDraft, Draft, Plan};
use super::sheet::Sheet;
use super::write::{Cell, Write, line_row};
use super::{Keys, Store, load};
use crate::device::{Device, Identity, Mac};
use crate::secret::{Secret, SecretKind};

/// How a sheet is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// Only say what would change.
    pub dry_run: bool,
    /// Apply the good rows though there are bad ones.
    pub partial: bool,
    /// Remove what the sheet does not name.
    pub prune: bool,
}

impl Store {
    /// Makes the inventory as the sheet says. The plan tells what changed, or would, and whether it was carried out:
    /// not when rows are bad and `partial` is not given.
    pub async fn import(&self, sheet: &Sheet, options: ImportOptions) -> Result<Plan, StoreError> {
        // Without the key every password of the sheet would look like a new one.
        self.keys().sealer()?;
        if options.dry_run {
            self.refresh().await?;
            return Ok(self.draft(sheet, options).plan());
        }
        let mut write = Write::begin(self).await?;
        let draft = self.draft(sheet, options);
        let mut plan = draft.plan();
        if plan.is_empty() || (!plan.problems.is_empty() && !options.partial) {
            return Ok(plan);
        }
        self.carry_out(&mut write, &draft).await?;
        let detail = serde_json::json!({
            "added": plan.added, "changed": plan.changed, "removed": plan.removed,
            "bad_rows": plan.problems.len(),
        });
        write.audit("imported", None, &detail).await?;
        write.commit().await?;
        plan.applied = true;
        Ok(plan)
    }

    fn draft(&self, sheet: &Sheet, options: ImportOptions) -> Draft {
        // A bad row may name what would be pruned.
        let prune = options.prune && sheet.problems().is_empty();
        Draft::new(&self.inventory().read(), sheet, prune, self.keys())
    }

    async fn carry_out(&self, write: &mut Write<'_>, draft: &Draft) -> Result<(), StoreError> {
        let mut touched = BTreeSet::new();
        for (mac, device) in &draft.devices {
            if device.gone {
                write.remove_device(*mac).await?;
            }
        }
        let mut lines = self.write_accounts(write, draft, &mut touched).await?;
        self.write_devices(write, draft, &mut touched).await?;
        lines.append(&mut take_lines(write, draft, &mut touched).await?);
        write.insert("give the accounts", "line (mac, number, account_id)", lines, "").await?;
        write_keys(write, draft, &mut touched).await?;
        for mac in touched {
            if draft.devices.get(&mac).is_some_and(|device| device.known.is_some() && !device.gone) {
                write.stamp(mac).await?;
            }
        }
        Ok(())
    }

    /// Removes, changes and adds accounts. Gives back the lines of the new ones: their devices may be new too.
    async fn write_accounts(
        &self,
        write: &mut Write<'_>,
        draft: &Draft,
        touched: &mut BTreeSet<Mac>,
    ) -> Result<Vec<Vec<Cell>>, StoreError> {
        let (mut new, mut lines) = (Vec::new(), Vec::new());
        for account in &draft.accounts {
            let on = account.on.map(|(mac, _)| mac);
            let Some(known) = &account.known else {
                let id = write.next_id();
                new.push(self.account_row(id, &account.now, account.password.as_ref(), write.generation)?);
                lines.extend(account.on.map(|(mac, line)| line_row(&load::key(mac), line, id)));
                touched.extend(on);
                continue;
            };
            let id = known.account.id;
            if account.gone {
                write.remove_account(id).await?;
                touched.extend(known.on.map(|(mac, _)| mac));
                continue;
            }
            if account.was().as_ref() != Some(&account.now) {
                let mut cells = Vec::from(account_cells(&account.now));
                cells.extend([Cell::Number(write.generation), Cell::Number(id)]);
                let sql = "UPDATE account SET username = $1, registrar = $2, auth_id = $3, display_name = $4, \
                           label = $5, transport = $6, outbound_proxy = $7, srtp = $8, changed = $9 WHERE id = $10";
                write.change("change the account", sql, cells).await?;
                touched.extend(on);
            }
            if let Some(password) = &account.password {
                self.write_password(write, id, known.account.password_version + 1, password).await?;
                touched.extend(on);
            }
        }
        write.insert("add the accounts", ACCOUNT_COLUMNS, new, "").await?;
        Ok(lines)
    }

    async fn write_devices(
        &self,
        write: &mut Write<'_>,
        draft: &Draft,
        touched: &mut BTreeSet<Mac>,
    ) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for (mac, device) in draft.devices.iter().filter(|(_, device)| !device.gone) {
            let given =
                [(SecretKind::Webui, &device.web_password), (SecretKind::Menu, &device.menu_password)];
            let Some(known) = &device.known else {
                new.push(self.new_device(write, *mac, device, given)?);
                continue;
            };
            for (kind, secret) in given {
                let Some(secret) = secret else { continue };
                let version = known.secrets.get(&kind).map_or(1, |sealed| Keys::version_of(sealed) + 1);
                let sealed = self.inner.mint.seal(&device_place(*mac, kind.as_str()), version, secret)?;
                let cells = [
                    Cell::Text(load::key(*mac)),
                    Cell::text(kind.as_str()),
                    Cell::Number(version),
                    Cell::Text(sealed.0),
                ];
                let sql = "INSERT INTO device_secret (mac, kind, version, sealed) VALUES ($1, $2, $3, $4) \
                           ON CONFLICT (mac, kind) DO UPDATE SET version = excluded.version, sealed = excluded.sealed";
                write.change("write the device's password", sql, cells).await?;
                touched.insert(*mac);
            }
            let same = known.vendor == device.vendor
                && known.model == device.model
                && known.gigaset_id == device.gigaset_id
                && known.approval == device.approval;
            if !same {
                let cells = [
                    Cell::Maybe(device.vendor.as_ref().map(ToString::to_string)),
                    Cell::Maybe(device.model.clone()),
                    Cell::Maybe(device.gigaset_id.clone()),
                    Cell::text(device.approval.as_str()),
                    Cell::Text(load::key(*mac)),
                ];
                let sql = "UPDATE device SET vendor = $1, model = $2, gigaset_id = $3, approval = $4 WHERE mac = $5";
                write.change("change the device", sql, cells).await?;
                touched.insert(*mac);
            }
        }
        write.insert_devices(&new).await
    }

    fn new_device(
        &self,
        write: &Write<'_>,
        mac: Mac,
        draft: &DeviceDraft,
        given: [(SecretKind, &Option<Secret>); 2],
    ) -> Result<Entry, StoreError> {
        let identity = Identity {
            mac: Some(mac),
            vendor: draft.vendor.clone(),
            model: draft.model.clone(),
            firmware: None,
        };
        let born = (write.generation, write.now);
        let entry = self.inner.mint.device(mac, &identity, draft.approval, None, born)?;
        let mut device = Device::clone(&entry.device);
        device.gigaset_id.clone_from(&draft.gigaset_id);
        for (kind, secret) in given {
            if let Some(secret) = secret {
                let sealed = self.inner.mint.seal(&device_place(mac, kind.as_str()), 1, secret)?;
                device.secrets.insert(kind, sealed);
            }
        }
        Ok(Entry { device: Arc::new(device), digests: entry.digests })
    }
}

/// Takes accounts that go elsewhere from their lines. Gives back the lines that they get; all are free by then.
async fn take_lines(
    write: &mut Write<'_>,
    draft: &Draft,
    touched: &mut BTreeSet<Mac>,
) -> Result<Vec<Vec<Cell>>, StoreError> {
    let mut lines = Vec::new();
    for account in draft.accounts.iter().filter(|account| !account.gone) {
        let Some(known) = account.known.as_ref().filter(|known| known.on != account.on) else { continue };
        let id = known.account.id;
        if let Some((mac, _)) = known.on {
            let sql = "DELETE FROM line WHERE account_id = $1";
            write.change("take the account", sql, [Cell::Number(id)]).await?;
            touched.insert(mac);
        }
        if let Some((mac, line)) = account.on {
            lines.push(line_row(&load::key(mac), line, id));
            touched.insert(mac);
        }
    }
    Ok(lines)
}

/// Writes the keys of phones and of plans; those of a fleet with few statements.
async fn write_keys(
    write: &mut Write<'_>,
    draft: &Draft,
    touched: &mut BTreeSet<Mac>,
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for (mac, device) in draft.devices.iter().filter(|(_, device)| !device.gone) {
        let owner = Owner::Device(*mac);
        for number in device.keys.removed() {
            remove_key(write, &owner, number).await?;
            touched.insert(*mac);
        }
        for key in device.keys.written() {
            rows.push(std::iter::once(Cell::Text(load::key(*mac))).chain(key_cells(key)).collect());
            touched.insert(*mac);
        }
    }
    write.insert("write the function keys", DEVICE_KEY, rows, DEVICE_KEY_ANEW).await?;
    let mut common = false;
    for (group, keys) in &draft.plans {
        let owner = Owner::Group(group.clone());
        for number in keys.removed() {
            remove_key(write, &owner, number).await?;
            common = true;
        }
        for key in keys.written() {
            write_key(write, &owner, key).await?;
            common = true;
        }
    }
    if common {
        write.stamp_common().await?;
    }
    Ok(())
}
