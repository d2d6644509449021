//! What accounts come as: a source is read whole before anything is written, its rows become a [`Sheet`], and what cannot
//! be understood becomes a [`Problem`] with its line, never with what stood there: it may be a password.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::common::Owner;
use crate::device::{Key, Mac, Srtp, Transport, Vendor};
use crate::secret::Secret;

/// A value of a table that a person keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// The table has no such column: what is known stays.
    #[default]
    Absent,
    /// The cell is empty.
    Empty,
    /// What the cell says.
    Value(T),
}

impl<T> Field<T> {
    /// What the cell says, if it says something.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Empty => None,
        }
    }

    /// What is known, overwritten by what the cell says, an empty cell included.
    #[must_use]
    pub fn over(&self, known: Option<T>) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Absent => known,
            Self::Empty => None,
            Self::Value(value) => Some(value.clone()),
        }
    }
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// As it was named.
    pub file: String,
    /// Counted from 1, the header included.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a row was not taken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong with it. Names columns and lines, and MACs and user names that were understood.
    pub reason: String,
}

/// What one or more rows say about a device itself.
#[derive(Debug, Clone, Default)]
pub struct DeviceRow {
    /// The profile's folder name; an empty cell leaves what is known.
    pub vendor: Option<Vendor>,
    /// As the vendor prints it; an empty cell leaves what is known.
    pub model: Option<String>,
    /// The four characters on a Gigaset's label; an empty cell leaves what is known.
    pub gigaset_id: Option<String>,
    /// In place of the generated one.
    pub web_password: Option<Secret>,
    /// In place of the generated one.
    pub menu_password: Option<Secret>,
}

/// What a row says about an account.
#[derive(Debug, Clone)]
pub struct AccountRow {
    /// Where it stands.
    pub place: Place,
    /// The device and line that it is for; `None`: the pool.
    pub on: Option<(Mac, u16)>,
    /// The user part of the address of record.
    pub username: String,
    /// `username` where the cell is empty.
    pub auth_id: Field<String>,
    /// `None` leaves the password as it is: no account loses one by an empty cell.
    pub password: Option<Secret>,
    /// What the callee's display shows.
    pub display_name: Field<String>,
    /// What the phone shows beside the line key.
    pub label: Field<String>,
    /// Host, or `host:port`.
    pub registrar: Field<String>,
    /// udp, tcp or tls.
    pub transport: Field<Transport>,
    /// Host, or `host:port`.
    pub outbound_proxy: Field<String>,
    /// off, optional or mandatory.
    pub srtp: Field<Srtp>,
}

/// What a row says about a function key.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Where it stands.
    pub place: Place,
    /// Whose it is.
    pub owner: Owner,
    /// The key.
    pub key: Key,
}

/// Everything that one or more files say. Built row by row, so that what contradicts an earlier row is a problem of the
/// later one.
#[derive(Debug, Default)]
pub struct Sheet {
    accounts: Vec<AccountRow>,
    devices: BTreeMap<Mac, DeviceRow>,
    keys: Vec<KeyRow>,
    has_keys: bool,
    notes: Vec<String>,
    problems: Vec<Problem>,
    lines: HashMap<(Mac, u16), Place>,
    names: HashMap<(String, Option<String>), Place>,
    numbers: HashMap<(Owner, u16), Place>,
}

impl Sheet {
    /// The accounts, in the order of the rows.
    pub fn accounts(&self) -> &[AccountRow] {
        &self.accounts
    }

    /// Leaves every account to the site's registrar, whatever its row says.
    pub fn take_registrars(&mut self) {
        self.accounts.iter_mut().for_each(|account| account.registrar = Field::Absent);
    }

    /// The devices that rows name.
    pub fn devices(&self) -> &BTreeMap<Mac, DeviceRow> {
        &self.devices
    }

    /// The same, to write what they say as it is meant.
    pub(crate) fn devices_mut(&mut self) -> impl Iterator<Item = &mut DeviceRow> {
        self.devices.values_mut()
    }

    /// The function keys, in the order of the rows.
    pub fn keys(&self) -> &[KeyRow] {
        &self.keys
    }

    /// The same, to write models as they are meant.
    pub(crate) fn keys_mut(&mut self) -> impl Iterator<Item = &mut KeyRow> {
        self.keys.iter_mut()
    }

    /// Whether there was a table of function keys, though it may be empty.
    pub fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// What was read and not used, for the person who wrote it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The rows that were not taken.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Tells the person who wrote the sheet something about it, once.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Does not take a row. The reason names columns, never what stood in them.
    pub(crate) fn problem(&mut self, place: Place, reason: impl Into<String>) {
        self.problems.push(Problem { place, reason: reason.into() });
    }

    /// Says that there is a table of function keys.
    pub(crate) fn begin_keys(&mut self) {
        self.has_keys = true;
    }

    /// Takes what a row says about its device, and its account if it names one.
    pub(crate) fn add(
        &mut self,
        place: Place,
        device: Option<(Mac, DeviceRow)>,
        account: Option<AccountRow>,
    ) {
        if let Some(reason) = self.contradiction(device.as_ref(), account.as_ref()) {
            return self.problem(place, reason);
        }
        if let Some((mac, row)) = device {
            self.devices.entry(mac).or_default().merge(row);
        }
        if let Some(row) = account {
            if let Some(on) = row.on {
                self.lines.insert(on, row.place.clone());
            }
            self.names.insert(row.name(), row.place.clone());
            self.accounts.push(row);
        }
    }

    /// Takes a function key.
    pub(crate) fn add_key(&mut self, row: KeyRow) {
        let number = (row.owner.clone(), row.key.number);
        if let Some(earlier) = self.numbers.get(&number) {
            let reason = format!("key {} of {} is in {earlier} already", row.key.number, row.owner);
            return self.problem(row.place, reason);
        }
        self.numbers.insert(number, row.place.clone());
        self.keys.push(row);
    }

    fn contradiction(
        &self,
        device: Option<&(Mac, DeviceRow)>,
        account: Option<&AccountRow>,
    ) -> Option<String> {
        if let Some((mac, row)) = device
            && let Some(column) = self.devices.get(mac).and_then(|known| known.differs(row))
        {
            return Some(format!("{column} of {mac} is another one than in an earlier row"));
        }
        let row = account?;
        if let Some((mac, line)) = row.on
            && let Some(earlier) = self.lines.get(&(mac, line))
        {
            return Some(format!("line {line} of {mac} is in {earlier} already"));
        }
        let earlier = self.names.get(&row.name())?;
        Some(format!("account '{}' is in {earlier} already", row.username))
    }
}

impl AccountRow {
    /// What makes it this account and no other.
    pub fn name(&self) -> (String, Option<String>) {
        (self.username.clone(), self.registrar.value().cloned())
    }
}

impl DeviceRow {
    fn merge(&mut self, later: Self) {
        let Self { vendor, model, gigaset_id, web_password, menu_password } = later;
        self.vendor = self.vendor.take().or(vendor);
        self.model = self.model.take().or(model);
        self.gigaset_id = self.gigaset_id.take().or(gigaset_id);
        self.web_password = self.web_password.take().or(web_password);
        self.menu_password = self.menu_password.take().or(menu_password);
    }

    /// The first column in which both say something, and not the same.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        fn apart<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        let columns = [
            ("vendor", apart(self.vendor.as_ref(), other.vendor.as_ref())),
            ("model", apart(self.model.as_ref(), other.model.as_ref())),
            ("gigaset_id", apart(self.gigaset_id.as_ref(), other.gigaset_id.as_ref())),
            ("web_password", apart(self.web_password.as_ref(), other.web_password.as_ref())),
            ("menu_password", apart(self.menu_password.as_ref(), other.menu_password.as_ref())),
        ];
        columns.into_iter().find(|(_, apart)| *apart).map(|(column, _)| column)
    }
}
