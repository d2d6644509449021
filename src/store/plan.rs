//! What an import would change: the inventory as it is and the sheet side by side. Writes nothing, and says of a
//! password only whether it would change.

mod draft;

use draft::KeysDraft;
pub(super) use draft::{AccountDraft, DeviceDraft, Draft};

use super::sheet::Problem;
use crate::device::{Key, Mac};

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It is new.
    Added,
    /// It is there, and something of it changes.
    Changed,
    /// It goes.
    Removed,
}

/// One value that changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldChange {
    /// Its name, as in the file's header.
    pub field: &'static str,
    /// As it is; always `None` for a password.
    pub from: Option<String>,
    /// As it would be; `changed` for a password.
    pub to: Option<String>,
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// `device`, `account` or `key`.
    pub what: &'static str,
    /// A MAC, a user name, or a MAC (or a plan's `site`, `VENDOR`, `VENDOR/MODEL`) and a key's number.
    pub name: String,
    /// What becomes of it.
    pub change: Verb,
    /// Its values that change.
    pub fields: Vec<FieldChange>,
}

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Devices.
    pub devices: usize,
    /// Accounts.
    pub accounts: usize,
    /// Function keys.
    pub keys: usize,
}

/// The difference between a sheet and the inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// Whether it was carried out.
    pub applied: bool,
    /// How much is new.
    pub added: Tally,
    /// How much changes.
    pub changed: Tally,
    /// How much goes.
    pub removed: Tally,
    /// How much of the sheet is in the inventory already.
    pub unchanged: Tally,
    /// Each change.
    pub changes: Vec<Change>,
    /// The rows that were not taken.
    pub problems: Vec<Problem>,
    /// What the person who wrote the sheet may want to know.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether the inventory is already as the sheet says.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn count(&mut self, verb: Option<Verb>) -> &mut Tally {
        match verb {
            Some(Verb::Added) => &mut self.added,
            Some(Verb::Changed) => &mut self.changed,
            Some(Verb::Removed) => &mut self.removed,
            None => &mut self.unchanged,
        }
    }

    fn push(&mut self, what: &'static str, name: String, change: Verb, fields: Vec<FieldChange>) {
        self.changes.push(Change { what, name, change, fields });
    }
}

impl Draft {
    /// The difference as data.
    pub(super) fn plan(&self) -> Plan {
        let mut plan = Plan { notes: self.notes.clone(), problems: self.problems.clone(), ..Plan::default() };
        for (mac, device) in &self.devices {
            let verb = device.verb();
            if verb.is_some() || device.in_sheet {
                plan.count(verb).devices += 1;
            }
            if let Some(verb) = verb {
                plan.push("device", mac.to_string(), verb, device.fields());
            }
        }
        for account in &self.accounts {
            let verb = account.verb();
            if verb.is_some() || account.in_sheet {
                plan.count(verb).accounts += 1;
            }
            if let Some(verb) = verb {
                plan.push("account", account.now.username.clone(), verb, account.fields());
            }
        }
        for (mac, device) in &self.devices {
            if !device.gone {
                plan_keys(&mut plan, mac, &device.keys);
            }
        }
        for (group, keys) in &self.plans {
            plan_keys(&mut plan, group, keys);
        }
        plan
    }
}

fn plan_keys(plan: &mut Plan, owner: &impl ToString, keys: &KeysDraft) {
    let numbers: std::collections::BTreeSet<u16> =
        keys.known.keys().chain(keys.now.keys()).copied().collect();
    for number in numbers {
        let (was, is) = (keys.known.get(&number), keys.now.get(&number));
        let verb = match (was, is) {
            (None, Some(_)) => Some(Verb::Added),
            (Some(_), None) => Some(Verb::Removed),
            (Some(was), Some(is)) if was != is => Some(Verb::Changed),
            (Some(_), Some(_)) if keys.in_sheet.contains(&number) => None,
            (Some(_), Some(_)) | (None, None) => continue,
        };
        plan.count(verb).keys += 1;
        let Some(verb) = verb else { continue };
        let text = |of: fn(&Key) -> &str| {
            let value = |key: Option<&Key>| key.map(|key| of(key).to_owned()).filter(|text| !text.is_empty());
            (value(was), value(is))
        };
        let mut fields = Fields::default();
        fields.text("kind", text(|key| key.kind.as_str()));
        fields.text("value", text(|key| &key.value));
        fields.text("label", text(|key| &key.label));
        let line = |key: Option<&Key>| key.and_then(|key| key.line).map(|line| line.to_string());
        fields.text("line", (line(was), line(is)));
        plan.push("key", format!("{} key {number}", owner.to_string()), verb, fields.0);
    }
}

/// Collects the values that change.
#[derive(Default)]
struct Fields(Vec<FieldChange>);

impl Fields {
    fn text(&mut self, field: &'static str, (from, to): (Option<String>, Option<String>)) {
        if from != to {
            self.0.push(FieldChange { field, from, to });
        }
    }

    fn secret(&mut self, field: &'static str, changes: bool) {
        if changes {
            self.0.push(FieldChange { field, from: None, to: Some("changed".to_owned()) });
        }
    }
}

/// What becomes of a device or an account; `None` where everything stays as it is.
fn verb(is_known: bool, gone: bool, fields: &[FieldChange]) -> Option<Verb> {
    match (is_known, gone) {
        (false, _) => Some(Verb::Added),
        (true, true) => Some(Verb::Removed),
        (true, false) => (!fields.is_empty()).then_some(Verb::Changed),
    }
}

impl DeviceDraft {
    fn verb(&self) -> Option<Verb> {
        verb(self.known.is_some(), self.gone, &self.fields())
    }

    fn fields(&self) -> Vec<FieldChange> {
        let mut fields = Fields::default();
        if self.gone {
            return fields.0;
        }
        let known = self.known.as_deref();
        let vendor = known.and_then(|device| device.vendor.as_ref()).map(ToString::to_string);
        fields.text("vendor", (vendor, self.vendor.as_ref().map(ToString::to_string)));
        fields.text("model", (known.and_then(|device| device.model.clone()), self.model.clone()));
        fields.text(
            "gigaset_id",
            (known.and_then(|device| device.gigaset_id.clone()), self.gigaset_id.clone()),
        );
        if let Some(known) = known {
            let state = (Some(known.approval.as_str().to_owned()), Some(self.approval.as_str().to_owned()));
            fields.text("state", state);
        }
        fields.secret("web_password", self.web_password.is_some());
        fields.secret("menu_password", self.menu_password.is_some());
        fields.0
    }
}

impl AccountDraft {
    fn verb(&self) -> Option<Verb> {
        verb(self.known.is_some(), self.gone, &self.fields())
    }

    fn fields(&self) -> Vec<FieldChange> {
        let mut fields = Fields::default();
        if self.gone {
            return fields.0;
        }
        let was = self.was();
        let on =
            |on: Option<(Mac, u16)>| on.map_or("pool".to_owned(), |(mac, line)| format!("{mac} line {line}"));
        let before = self.known.as_ref().map(|holding| on(holding.on));
        fields.text("on", (before, Some(on(self.on))));
        let auth_id = (was.as_ref().and_then(|was| was.auth_id.clone()), self.now.auth_id.clone());
        fields.text("auth_id", auth_id);
        let was = was.unwrap_or_default();
        let now = self.now.clone();
        fields.text("display_name", (was.display_name, now.display_name));
        fields.text("label", (was.label, now.label));
        fields.text("registrar", (was.registrar, now.registrar));
        let text = |name: &str| name.to_owned();
        fields.text(
            "transport",
            (was.transport.map(|was| text(was.as_str())), now.transport.map(|now| text(now.as_str()))),
        );
        fields.text("outbound_proxy", (was.outbound_proxy, now.outbound_proxy));
        fields.text("srtp", (was.srtp.map(|was| text(was.as_str())), now.srtp.map(|now| text(now.as_str()))));
        fields.secret("password", self.password.is_some());
        fields.0
    }
}
