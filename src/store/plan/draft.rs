//! The inventory as it would be: what is known, with the sheet's rows laid over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use crate::device::{Approval, Device, Group, Key, Mac, Vendor};
use crate::secret::{Sealed, Secret, SecretKind};
use crate::store::fresh::{account_place, device_place};
use crate::store::inventory::{Holding, State};
use crate::store::sheet::{AccountRow, Problem, Sheet};
use crate::store::vault::{Keys, Place};
use crate::store::{NewAccount, Owner};

/// An account as it is and as it would be.
#[derive(Debug)]
pub(in crate::store) struct AccountDraft {
    pub(in crate::store) known: Option<Holding>,
    pub(in crate::store) now: NewAccount,
    pub(in crate::store) on: Option<(Mac, u16)>,
    /// Only if it differs from the known one.
    pub(in crate::store) password: Option<Secret>,
    pub(in crate::store) in_sheet: bool,
    pub(in crate::store) gone: bool,
}

/// A device as it is and as it would be. Its lines are its accounts' matter.
#[derive(Debug)]
pub(in crate::store) struct DeviceDraft {
    pub(in crate::store) known: Option<Arc<Device>>,
    pub(in crate::store) vendor: Option<Vendor>,
    pub(in crate::store) model: Option<String>,
    pub(in crate::store) gigaset_id: Option<String>,
    pub(in crate::store) approval: Approval,
    /// Only if it differs from the known one.
    pub(in crate::store) web_password: Option<Secret>,
    /// Only if it differs from the known one.
    pub(in crate::store) menu_password: Option<Secret>,
    pub(in crate::store) keys: KeysDraft,
    pub(in crate::store) in_sheet: bool,
    pub(in crate::store) gone: bool,
}

/// The function keys of a phone or of a plan, as they are and as they would be.
#[derive(Debug, Default)]
pub(in crate::store) struct KeysDraft {
    pub(in crate::store) known: BTreeMap<u16, Key>,
    pub(in crate::store) now: BTreeMap<u16, Key>,
    pub(in crate::store) in_sheet: BTreeSet<u16>,
}

impl KeysDraft {
    fn known(known: BTreeMap<u16, Key>) -> Self {
        Self { now: known.clone(), known, in_sheet: BTreeSet::new() }
    }

    /// The numbers of those that go.
    pub(in crate::store) fn removed(&self) -> impl Iterator<Item = u16> {
        self.known.keys().filter(|number| !self.now.contains_key(number)).copied()
    }

    /// Those that are new or other ones.
    pub(in crate::store) fn written(&self) -> impl Iterator<Item = &Key> {
        self.now.values().filter(|key| self.known.get(&key.number) != Some(key))
    }
}

/// Everything that the sheet touches, and, when pruning, everything.
#[derive(Debug, Default)]
pub(in crate::store) struct Draft {
    pub(in crate::store) accounts: Vec<AccountDraft>,
    pub(in crate::store) devices: BTreeMap<Mac, DeviceDraft>,
    pub(in crate::store) plans: BTreeMap<Group, KeysDraft>,
    pub(in crate::store) problems: Vec<Problem>,
    pub(in crate::store) notes: Vec<String>,
}

impl Draft {
    /// Lays the sheet over the inventory. `prune`: what the sheet does not name goes.
    pub(in crate::store) fn new(state: &State, sheet: &Sheet, prune: bool, keys: &Keys) -> Self {
        let mut draft =
            Self { problems: sheet.problems().to_vec(), notes: sheet.notes().to_vec(), ..Self::default() };
        draft.devices =
            state.entries().map(|entry| (entry.device.mac, DeviceDraft::known(&entry.device))).collect();
        let plans = &state.commons().groups;
        draft.plans =
            plans.iter().map(|(group, plan)| (group.clone(), KeysDraft::known(plan.keys.clone()))).collect();
        draft.accounts = state.holdings().map(AccountDraft::known).collect();
        draft.lay_devices(sheet, keys);
        draft.lay_accounts(sheet, keys);
        draft.lay_keys(sheet);
        if prune {
            draft.prune(sheet);
        }
        draft.problems.sort_by(|a, b| a.place.cmp(&b.place));
        draft
    }

    fn lay_devices(&mut self, sheet: &Sheet, keys: &Keys) {
        for (mac, row) in sheet.devices() {
            let device = self.devices.entry(*mac).or_insert_with(DeviceDraft::new);
            device.in_sheet = true;
            device.vendor = row.vendor.clone().or(device.vendor.take());
            device.model = row.model.clone().or(device.model.take());
            device.gigaset_id = row.gigaset_id.clone().or(device.gigaset_id.take());
            match device.approval {
                Approval::Pending => device.approval = Approval::Approved,
                Approval::Blocked => self.notes.push(format!("{mac} is blocked, and stays so")),
                Approval::Approved => {}
            }
            let known = device.known.clone();
            let news = |kind: SecretKind, given: &Option<Secret>| {
                let sealed = known.as_ref().and_then(|device| device.secrets.get(&kind));
                let place = device_place(*mac, kind.as_str());
                given.as_ref().filter(|given| !is_same(keys, &place, sealed, given)).cloned()
            };
            device.web_password = news(SecretKind::Webui, &row.web_password);
            device.menu_password = news(SecretKind::Menu, &row.menu_password);
        }
    }

    fn lay_accounts(&mut self, sheet: &Sheet, keys: &Keys) {
        let matches = self.matches(sheet.accounts());
        let mut wanted: HashMap<(Mac, u16), usize> = HashMap::new();
        for (row, place) in sheet.accounts().iter().zip(matches) {
            let place = place.unwrap_or_else(|| {
                self.accounts.push(AccountDraft::new(&row.username));
                self.accounts.len() - 1
            });
            let Some(account) = self.accounts.get_mut(place) else { continue };
            account.lay(row, keys);
            if let Some(on) = row.on {
                wanted.insert(on, place);
            }
        }
        // Who stands where another one is wanted goes to the pool.
        for (place, account) in self.accounts.iter_mut().enumerate() {
            let displaced = account.on.and_then(|on| wanted.get(&on)).is_some_and(|other| *other != place);
            if displaced {
                account.on = None;
            }
        }
    }

    /// Which known account each row means: the one of the same user name and registrar; else, where the user name is
    /// known only once and no other row means it, that one, and its registrar changes.
    fn matches(&self, rows: &[AccountRow]) -> Vec<Option<usize>> {
        let mut by_name: HashMap<(&str, Option<&str>), usize> = HashMap::new();
        let mut by_user: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, account) in self.accounts.iter().enumerate() {
            by_name.insert((&account.now.username, account.now.registrar.as_deref()), place);
            by_user.entry(&account.now.username).or_default().push(place);
        }
        let exact = |row: &AccountRow| {
            let registrar = row.registrar.value().map(String::as_str);
            by_name.get(&(row.username.as_str(), registrar)).copied()
        };
        let mut claimed: BTreeSet<usize> = rows.iter().filter_map(exact).collect();
        rows.iter()
            .map(|row| {
                exact(row).or_else(|| match by_user.get(row.username.as_str()).map(Vec::as_slice) {
                    Some([only]) if claimed.insert(*only) => Some(*only),
                    Some(_) | None => None,
                })
            })
            .collect()
    }

    fn lay_keys(&mut self, sheet: &Sheet) {
        for row in sheet.keys() {
            let plan = match &row.owner {
                Owner::Device(mac) => self.devices.get_mut(mac).map(|device| &mut device.keys),
                Owner::Group(group) => Some(self.plans.entry(group.clone()).or_default()),
            };
            let Some(plan) = plan else {
                let reason = format!("there is no device {}", row.owner);
                self.problems.push(Problem { place: row.place.clone(), reason });
                continue;
            };
            plan.in_sheet.insert(row.key.number);
            plan.now.insert(row.key.number, row.key.clone());
        }
    }

    /// Takes out what the sheet does not name, table by table: a sheet without accounts says nothing about them. A
    /// device stays while it has an account that the sheet names (it was adopted), while it waits, and while it is
    /// blocked.
    fn prune(&mut self, sheet: &Sheet) {
        if !sheet.accounts().is_empty() {
            for account in self.accounts.iter_mut().filter(|account| !account.in_sheet) {
                account.gone = true;
            }
            let used: BTreeSet<Mac> =
                self.accounts.iter().filter(|account| !account.gone).filter_map(|a| Some(a.on?.0)).collect();
            for (mac, device) in &mut self.devices {
                let stays = device.in_sheet || used.contains(mac) || device.approval != Approval::Approved;
                device.gone = !stays;
            }
        }
        if sheet.has_keys() {
            // Who is left out of an export keeps its keys, as it keeps its accounts.
            let served = self.devices.values_mut().filter(|device| device.approval == Approval::Approved);
            for plan in served.map(|device| &mut device.keys).chain(self.plans.values_mut()) {
                let KeysDraft { now, in_sheet, .. } = plan;
                now.retain(|number, _| in_sheet.contains(number));
            }
        }
    }
}

impl DeviceDraft {
    fn new() -> Self {
        Self {
            known: None,
            vendor: None,
            model: None,
            gigaset_id: None,
            approval: Approval::Approved,
            web_password: None,
            menu_password: None,
            keys: KeysDraft::default(),
            in_sheet: false,
            gone: false,
        }
    }

    fn known(device: &Arc<Device>) -> Self {
        Self {
            known: Some(Arc::clone(device)),
            vendor: device.vendor.clone(),
            model: device.model.clone(),
            gigaset_id: device.gigaset_id.clone(),
            approval: device.approval,
            keys: KeysDraft::known(device.keys.iter().map(|key| (key.number, key.clone())).collect()),
            ..Self::new()
        }
    }
}

impl AccountDraft {
    fn new(username: &str) -> Self {
        let now = NewAccount { username: username.to_owned(), ..NewAccount::default() };
        Self { known: None, now, on: None, password: None, in_sheet: false, gone: false }
    }

    fn known(holding: Holding) -> Self {
        let now = described(&holding);
        let on = holding.on;
        Self { known: Some(holding), now, on, password: None, in_sheet: false, gone: false }
    }

    /// The account as it is.
    pub(in crate::store) fn was(&self) -> Option<NewAccount> {
        self.known.as_ref().map(described)
    }

    fn lay(&mut self, row: &AccountRow, keys: &Keys) {
        self.in_sheet = true;
        // A row of the pool does not take an account from the device that adopted it.
        self.on = row.on.or(self.on);
        let now = &mut self.now;
        now.auth_id = row.auth_id.over(now.auth_id.take()).filter(|auth_id| *auth_id != now.username);
        now.display_name = row.display_name.over(now.display_name.take());
        now.label = row.label.over(now.label.take());
        now.registrar = row.registrar.over(now.registrar.take());
        now.transport = row.transport.over(now.transport);
        now.outbound_proxy = row.outbound_proxy.over(now.outbound_proxy.take());
        now.srtp = row.srtp.over(now.srtp);
        let account = self.known.as_ref().map(|holding| &holding.account);
        let sealed = account.and_then(|account| account.password.as_ref());
        let place = account_place(account.map_or(0, |account| account.id));
        self.password = row.password.clone().filter(|given| !is_same(keys, &place, sealed, given));
    }
}

fn described(holding: &Holding) -> NewAccount {
    let account = &holding.account;
    NewAccount {
        username: account.username.clone(),
        auth_id: Some(account.auth_id.clone()).filter(|auth_id| *auth_id != account.username),
        display_name: account.display_name.clone(),
        label: holding.label.clone(),
        registrar: account.registrar.clone(),
        transport: account.transport,
        outbound_proxy: account.outbound_proxy.clone(),
        srtp: account.srtp,
    }
}

/// Whether the sealed secret is this one. One that cannot be opened is another: setting it again is the remedy.
fn is_same(keys: &Keys, place: &Place, sealed: Option<&Sealed>, given: &Secret) -> bool {
    let known = sealed.and_then(|sealed| keys.open(place, None, sealed).ok());
    known.is_some_and(|known| known.expose().as_bytes().ct_eq(given.expose().as_bytes()).into())
}
