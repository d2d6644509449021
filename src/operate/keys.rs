//! Function keys as people set and see them: of a phone, of a model, of a vendor, of the site. A key that a model cannot do
//! is taken, and told.

use serde::{Deserialize, Serialize};

use super::fleet::Fleet;
use super::{Failure, release};
use crate::device::{Group, Key, KeyKind, KeyPlace, Layer};
use crate::profile::KeyProblem;
use crate::store::Owner;

/// With three expansion modules of 100 keys, and room.
pub(crate) const KEY_MAX: u16 = 1_000;
/// The largest desk phones have 16 to 48 lines.
const LINE_MAX: u16 = 100;
const VALUE_CHARS_MAX: usize = 1_024;
const LABEL_CHARS_MAX: usize = 255;

/// A key as somebody describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// `5`, `page 2 key 5`, `module 1 key 5`.
    pub(crate) key: String,
    pub(crate) kind: KeyKind,
    #[serde(default)]
    pub(crate) value: String,
    #[serde(default)]
    pub(crate) label: String,
    pub(crate) line: Option<u16>,
}

/// A key of a listing.
#[derive(Debug, Serialize)]
pub(crate) struct KeyShown {
    /// The phone, `site`, `VENDOR` or `VENDOR/MODEL`.
    of: String,
    number: u16,
    /// As people find it: `key 5`, `module 1 key 5`.
    key: String,
    kind: KeyKind,
    value: String,
    label: String,
    line: Option<u16>,
    /// The plan that it comes from.
    layer: Layer,
    /// Why the phone cannot do it.
    problem: Option<String>,
}

impl KeyShown {
    pub(crate) fn cells(&self) -> Vec<String> {
        let line = self.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
        let problem = self.problem.clone().unwrap_or_default();
        let [of, key, value, label] = [&self.of, &self.key, &self.value, &self.label].map(String::clone);
        vec![
            of,
            key,
            self.kind.as_str().to_owned(),
            value,
            label,
            line,
            self.layer.as_str().to_owned(),
            problem,
        ]
    }
}

impl Fleet<'_> {
    /// The key that is described; `Err` where no phone could have it.
    pub(crate) fn new_key(&self, owner: &Owner, new: &NewKey) -> Result<Key, Failure> {
        let refuse = |reason: String| {
            Failure::usage(
                "key",
                reason,
                "offhook fkey set --help shows kinds and values; offhook fkey list what there is",
            )
        };
        for (name, text, max) in
            [("value", &new.value, VALUE_CHARS_MAX), ("label", &new.label, LABEL_CHARS_MAX)]
        {
            let unsafe_in_files = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            if text.contains(unsafe_in_files) || text.chars().count() > max {
                return Err(refuse(format!(
                    "a key's {name} has no control characters, and at most {max} others"
                )));
            }
        }
        if new.line.is_some_and(|line| !(1..=LINE_MAX).contains(&line)) {
            return Err(refuse(format!("a line is 1 to {LINE_MAX}")));
        }
        let number = self.key_number(owner, &new.key)?;
        let (value, label) = (new.value.trim().to_owned(), new.label.trim().to_owned());
        let key = Key { number, kind: new.kind, value, label, line: new.line };
        key.lacks().map_or(Ok(key), |lack| Err(refuse(lack)))
    }

    /// The number of the key that a person names.
    pub(crate) fn key_number(&self, owner: &Owner, text: &str) -> Result<u16, Failure> {
        let refuse = |reason: String| {
            Failure::usage("key", reason, "offhook fkey list shows the keys by number and by name")
        };
        let place: KeyPlace = text.parse().map_err(refuse)?;
        let number = match (owner, place) {
            (_, KeyPlace::Number(number)) => Ok(number),
            (Owner::Device(mac), place) => {
                let device = release::device(self.store, *mac)?;
                let profile = self.profile(&device);
                let unknown = || Err(format!("the vendor of {mac} is not known yet; write the key's number"));
                profile.map_or_else(unknown, |profile| profile.key_number(device.model.as_deref(), place))
            }
            (Owner::Group(Group::Model(vendor, model)), place) => {
                let profile = self.catalog.get(vendor);
                let unknown = || Err(format!("there is no profile for {vendor}"));
                profile.map_or_else(unknown, |profile| profile.key_number(Some(model), place))
            }
            (Owner::Group(group), _) => Err(format!(
                "the plan of {group} is for models with different keys; write the key's number, or name the model"
            )),
        };
        let number = number.map_err(refuse)?;
        if number > KEY_MAX {
            return Err(refuse(format!("a key's number is 1 to {KEY_MAX}")));
        }
        Ok(number)
    }

    /// A phone's keys as they hold; a plan's as they stand there.
    pub(crate) fn keys(&self, owner: &Owner) -> Result<Vec<KeyShown>, Failure> {
        let commons = self.store.inventory().commons();
        let Owner::Device(mac) = owner else {
            let plans = commons.groups.iter().filter(|(group, _)| *owner == Owner::Group((*group).clone()));
            return Ok(plans.flat_map(|(group, common)| self.plan_keys(group, common)).collect());
        };
        let device = release::device(self.store, *mac)?;
        let laid = self.laid(&device);
        if self.profile(&device).is_none() {
            let shown =
                |key: &Key| shown(&mac.to_string(), key, format!("key {}", key.number), Layer::Device);
            return Ok(device.keys.iter().map(shown).collect());
        }
        let rows = laid.keys.iter().map(|one| {
            let place = self.profile(&device).map(|p| p.key_place(device.model.as_deref(), one.key.number));
            let problem = laid.problems.iter().find(|problem| problem.number == one.key.number);
            let row = shown(&mac.to_string(), &one.key, place.unwrap_or_default(), one.layer);
            KeyShown { problem: problem.map(|problem| problem.reason.clone()), ..row }
        });
        Ok(rows.collect())
    }

    /// The keys of every plan.
    pub(crate) fn all_plans(&self) -> Vec<KeyShown> {
        let commons = self.store.inventory().commons();
        commons.groups.iter().flat_map(|(group, common)| self.plan_keys(group, common)).collect()
    }

    fn plan_keys(&self, group: &Group, common: &crate::device::Common) -> Vec<KeyShown> {
        let place = |number| match group {
            Group::Model(vendor, model) => {
                self.catalog.get(vendor).map(|profile| profile.key_place(Some(model), number))
            }
            Group::Site | Group::Vendor(_) => None,
        };
        let row = |key: &Key| {
            let place = place(key.number).unwrap_or_else(|| format!("key {}", key.number));
            shown(&group.to_string(), key, place, group.layer())
        };
        common.keys.values().map(row).collect()
    }

    /// What phones cannot do of the keys with these numbers.
    pub(crate) fn key_notes(&self, owner: &Owner, numbers: &[u16]) -> Vec<String> {
        let concerned = |problem: &KeyProblem| numbers.contains(&problem.number);
        match owner {
            Owner::Device(mac) => {
                let Some(device) = self.store.inventory().device(*mac) else { return Vec::new() };
                let problems = self.laid(&device).problems;
                problems.iter().filter(|problem| concerned(problem)).map(KeyProblem::sentence).collect()
            }
            Owner::Group(group) => {
                let mut notes = Vec::new();
                for (profile, device) in self.one_of_each(group) {
                    let model = device.model.as_deref().unwrap_or("a phone of unknown model");
                    let problems = self.laid(&device).problems;
                    let name = format!("{} {model}", profile.display_name());
                    notes.extend(
                        problems
                            .iter()
                            .filter(|problem| concerned(problem) && problem.left_out)
                            .map(|problem| format!("{name}: {}", problem.sentence())),
                    );
                }
                notes
            }
        }
    }
}

fn shown(of: &str, key: &Key, place: String, layer: Layer) -> KeyShown {
    let Key { number, kind, value, label, line } = key.clone();
    KeyShown { of: of.to_owned(), number, key: place, kind, value, label, line, layer, problem: None }
}
