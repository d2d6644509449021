//! What people do with accounts: add, give a password, move, remove. A change of an account changes the files of the
//! device that has it.

use serde_json::json;

use super::Store;
use super::device::free_line;
use super::error::StoreError;
use super::fresh::account_place;
use super::inventory::Holding;
use super::load;
use super::write::{Cell, Write, line_row};
use crate::device::{Mac, Srtp, Transport};
use crate::secret::Secret;

/// An account as somebody describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewAccount {
    /// The user part of the address of record.
    pub username: String,
    /// The user name where none is given.
    pub auth_id: Option<String>,
    /// What the callee's display shows.
    pub display_name: Option<String>,
    /// What the phone shows beside the line key.
    pub label: Option<String>,
    /// The site's where none is given.
    pub registrar: Option<String>,
    /// The site's where none is given.
    pub transport: Option<Transport>,
    /// The site's where none is given.
    pub outbound_proxy: Option<String>,
    /// Off where none is given.
    pub srtp: Option<Srtp>,
}

impl Store {
    /// Adds an account to the pool.
    pub async fn add_account(
        &self,
        new: &NewAccount,
        password: Option<&Secret>,
    ) -> Result<Holding, StoreError> {
        let mut write = Write::begin(self).await?;
        let same = |holding: &Holding| {
            holding.account.username == new.username && holding.account.registrar == new.registrar
        };
        if self.inventory().accounts().iter().any(same) {
            return Err(StoreError::Conflict(format!("there is an account '{}' already", new.username)));
        }
        let id = write.next_id();
        let row = self.account_row(id, new, password, write.generation)?;
        write.insert("add the account", ACCOUNT_COLUMNS, vec![row], "").await?;
        write.audit("account_added", None, &json!({ "account": new.username })).await?;
        write.commit().await?;
        self.holding(id, &new.username)
    }

    /// Gives an account a new password.
    pub async fn set_password(&self, name: &str, password: &Secret) -> Result<Holding, StoreError> {
        let mut write = Write::begin(self).await?;
        let holding = self.inventory().read().find(name)?;
        let (id, version) = (holding.account.id, holding.account.password_version + 1);
        self.write_password(&mut write, id, version, password).await?;
        let mac = holding.on.map(|(mac, _)| mac);
        if let Some(mac) = mac {
            write.stamp(mac).await?;
        }
        let fingerprint = self.keys().fingerprint(password);
        let detail =
            json!({ "account": holding.account.username, "version": version, "fingerprint": fingerprint });
        write.audit("password_set", mac, &detail).await?;
        write.commit().await?;
        self.holding(id, name)
    }

    /// Puts an account on a line of a device (the next free one where none is named), or into the pool.
    pub async fn move_account(
        &self,
        name: &str,
        to: Option<(Mac, Option<u16>)>,
    ) -> Result<Holding, StoreError> {
        let mut write = Write::begin(self).await?;
        let holding = self.inventory().read().find(name)?;
        let id = holding.account.id;
        let place = match to {
            None => None,
            Some((mac, line)) => {
                let device = self.inventory().device(mac).ok_or(StoreError::NoDevice(mac))?;
                let line = line.unwrap_or_else(|| match holding.on {
                    Some((on, number)) if on == mac => number,
                    _ => free_line(&device),
                });
                let other = device.lines.iter().find(|taken| taken.number == line);
                if let Some(other) = other.filter(|other| other.account.id != id) {
                    let taken = &other.account.username;
                    return Err(StoreError::Conflict(format!("line {line} of {mac} has account '{taken}'")));
                }
                Some((mac, line))
            }
        };
        if place == holding.on {
            return Ok(holding);
        }
        write
            .change("take the account", "DELETE FROM line WHERE account_id = $1", [Cell::Number(id)])
            .await?;
        if let Some((mac, line)) = place {
            let rows = vec![line_row(&load::key(mac), line, id)];
            write.insert("give the account", "line (mac, number, account_id)", rows, "").await?;
        }
        for (mac, _) in holding.on.into_iter().chain(place) {
            write.stamp(mac).await?;
        }
        let detail = json!({
            "account": holding.account.username,
            "from": holding.on.map(|(mac, line)| json!({ "mac": mac, "line": line })),
            "to": place.map(|(mac, line)| json!({ "mac": mac, "line": line })),
        });
        write.audit("account_moved", place.or(holding.on).map(|(mac, _)| mac), &detail).await?;
        write.commit().await?;
        self.holding(id, name)
    }

    /// Removes an account, from its device too. Gives back what it was.
    pub async fn remove_account(&self, name: &str) -> Result<Holding, StoreError> {
        let mut write = Write::begin(self).await?;
        let holding = self.inventory().read().find(name)?;
        write.remove_account(holding.account.id).await?;
        let mac = holding.on.map(|(mac, _)| mac);
        if let Some(mac) = mac {
            write.stamp(mac).await?;
        }
        write.audit("account_removed", mac, &json!({ "account": holding.account.username })).await?;
        write.commit().await?;
        Ok(holding)
    }

    /// Seals and writes the `version`th password of an account.
    pub(super) async fn write_password(
        &self,
        write: &mut Write<'_>,
        id: i64,
        version: i64,
        password: &Secret,
    ) -> Result<(), StoreError> {
        let sealed = self.inner.mint.seal(&account_place(id), version, password)?;
        let cells =
            [Cell::Text(sealed.0), Cell::Number(version), Cell::Number(write.generation), Cell::Number(id)];
        let sql = "UPDATE account SET password = $1, password_version = $2, changed = $3 WHERE id = $4";
        write.change("write the password", sql, cells).await?;
        Ok(())
    }

    /// The row of a new account.
    pub(super) fn account_row(
        &self,
        id: i64,
        new: &NewAccount,
        password: Option<&Secret>,
        generation: i64,
    ) -> Result<Vec<Cell>, StoreError> {
        let sealed = password.map(|password| self.inner.mint.seal(&account_place(id), 1, password));
        let sealed = sealed.transpose()?.map(|sealed| sealed.0);
        let mut row = vec![Cell::Number(id)];
        row.extend(account_cells(new));
        row.extend([
            Cell::Number(i64::from(sealed.is_some())),
            Cell::Maybe(sealed),
            Cell::Number(generation),
        ]);
        Ok(row)
    }

    fn holding(&self, id: i64, name: &str) -> Result<Holding, StoreError> {
        let state = self.inventory().read();
        let found = state.holdings().find(|holding| holding.account.id == id);
        found.ok_or_else(|| StoreError::NoAccount(name.to_owned()))
    }
}

/// Where [`Store::account_row`] goes.
pub(super) const ACCOUNT_COLUMNS: &str = "account (id, username, registrar, auth_id, display_name, label, transport, \
                                          outbound_proxy, srtp, password_version, password, changed)";

/// From `username` to `srtp`, in the order of [`ACCOUNT_COLUMNS`].
pub(super) fn account_cells(account: &NewAccount) -> [Cell; 8] {
    [
        Cell::text(account.username.as_str()),
        Cell::Text(account.registrar.clone().unwrap_or_default()),
        Cell::text(account.auth_id.as_deref().unwrap_or(&account.username)),
        Cell::Maybe(account.display_name.clone()),
        Cell::Maybe(account.label.clone()),
        Cell::Maybe(account.transport.map(|transport| transport.as_str().to_owned())),
        Cell::Maybe(account.outbound_proxy.clone()),
        Cell::Maybe(account.srtp.map(|srtp| srtp.as_str().to_owned())),
    ]
}
