//! Function keys as they hold for a phone: the site's plan, the vendor's, the model's, and the phone's own over them; and
//! what of them the model cannot do, which is told and never dropped without a word.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::Model;
use super::subject::Subject;
use super::template::Maps;
use crate::device::{Key, KeyKind, KeyPlace, Layer};

/// The table that names every kind of key that a vendor's phones can do, where the profile has one.
const KINDS: &str = "key";

/// A key as it holds for a phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaidKey {
    /// What it does.
    #[serde(flatten)]
    pub key: Key,
    /// The line that it uses.
    #[serde(skip)]
    pub line: u16,
    /// The plan that it comes from.
    pub layer: Layer,
}

/// A key that cannot be done as it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyProblem {
    /// Counted through.
    pub number: u16,
    /// As people find it: `key 5`, `module 1 key 5`.
    pub key: String,
    /// What it should do.
    pub kind: KeyKind,
    /// The plan that it comes from.
    pub layer: Layer,
    /// Why it cannot.
    pub reason: String,
    /// Whether the phone's files are without it.
    pub left_out: bool,
}

impl KeyProblem {
    /// For a person.
    pub fn sentence(&self) -> String {
        let left_out = if self.left_out { " is left out" } else { "" };
        format!("{} ({}){left_out}: {}", self.key, self.kind.as_str(), self.reason)
    }
}

/// The keys of a phone, by number; on each number that of the highest layer.
pub(super) fn laid(subject: &Subject<'_>, vendor: &str, model: Option<&str>) -> Vec<LaidKey> {
    let Some(device) = subject.device else { return Vec::new() };
    let mut keys: BTreeMap<u16, (Layer, &Key)> = BTreeMap::new();
    let mut plans: Vec<_> = subject.commons.for_phone(vendor, model).collect();
    plans.sort_by_key(|(layer, _)| rank(*layer));
    for (layer, plan) in plans {
        keys.extend(plan.keys.iter().map(|(number, key)| (*number, (layer, key))));
    }
    keys.extend(device.keys.iter().map(|key| (key.number, (Layer::Device, key))));
    with_lines(keys.into_values())
}

/// A plan of the site is for every model, that of a model for its keys.
fn rank(layer: Layer) -> u8 {
    match layer {
        Layer::Agent | Layer::Default | Layer::Profile | Layer::Configuration | Layer::Site => 0,
        Layer::Vendor => 1,
        Layer::Model => 2,
        Layer::Device => 3,
    }
}

/// A line key that names none takes the next line after the last one named; any other key the first.
fn with_lines<'k>(keys: impl Iterator<Item = (Layer, &'k Key)>) -> Vec<LaidKey> {
    let mut next_line = 1;
    let lay = |(layer, key): (Layer, &'k Key)| {
        let mut line = key.line.unwrap_or(1);
        if key.kind == KeyKind::Line {
            let named = key.value.trim().parse().ok().filter(|line| *line > 0);
            line = named.or(key.line).unwrap_or(next_line);
            next_line = line.saturating_add(1);
        }
        LaidKey { key: key.clone(), line, layer }
    };
    keys.map(lay).collect()
}

/// Which of the keys the phone can do, and what is wrong with the others, or with how they are meant.
pub(super) fn sift(
    keys: Vec<LaidKey>,
    model: &Model,
    maps: &Maps,
    subject: &Subject<'_>,
) -> (Vec<LaidKey>, Vec<KeyProblem>) {
    let kinds = maps.get(KINDS);
    let room = model.key_room();
    let lines = subject.device.map(|device| device.lines.as_slice()).unwrap_or_default();
    let mut problems = Vec::new();
    let mut problem = |laid: &LaidKey, left_out: bool, reason: String| {
        let LaidKey { key, layer, .. } = laid;
        let place = model.key_place(key.number);
        problems.push(KeyProblem {
            number: key.number,
            key: place,
            kind: key.kind,
            layer: *layer,
            reason,
            left_out,
        });
    };
    let can = |laid: &LaidKey| {
        let kind = laid.key.kind;
        if let Some(room) = room.filter(|room| laid.key.number > *room) {
            let reason = match room {
                0 => "this model has no function keys".to_owned(),
                room => format!("the phone and its modules have {room}"),
            };
            problem(laid, true, reason);
            return false;
        }
        let entry = kinds.map(|kinds| kinds.get(kind.as_str()).is_some_and(|word| !word.is_empty()));
        if entry == Some(false) && kind != KeyKind::None {
            problem(laid, true, "the vendor's phones know no such key".to_owned());
            return false;
        }
        let bound = kind == KeyKind::Line || laid.key.line.is_some();
        if bound && kind != KeyKind::None && !lines.iter().any(|line| line.number == laid.line) {
            problem(laid, false, format!("the phone has no line {}", laid.line));
        }
        true
    };
    let keys = keys.into_iter().filter(can).collect();
    (keys, problems)
}

impl Model {
    /// Keys on the phone itself: those beside its lines, and its memory keys; unknown where the profile does not say.
    fn own_keys(&self) -> Option<u16> {
        Some(self.line_keys?.saturating_add(self.number("memory_keys").unwrap_or(0)))
    }

    /// Keys on the phone and all its modules.
    fn key_room(&self) -> Option<u16> {
        Some(self.own_keys()?.saturating_add(self.expansion_keys.unwrap_or(0)))
    }

    /// How a person finds the key of this number.
    pub(super) fn key_place(&self, number: u16) -> String {
        let module = self.own_keys().zip(self.number("module_keys").filter(|keys| *keys > 0));
        match module {
            Some((own, keys)) if number > own && self.key_room().is_some_and(|room| number <= room) => {
                let behind = number - own - 1;
                format!("module {} key {}", behind / keys + 1, behind % keys + 1)
            }
            _ => format!("key {number}"),
        }
    }

    /// The number of a key that a person names; `Err` says why the model has none there.
    pub(super) fn key_number(&self, place: KeyPlace) -> Result<u16, String> {
        let name = if self.name.is_empty() { "the phone" } else { &self.name };
        let unknown =
            |what: &str| format!("the profile does not say {what} {name} has; write the key's number");
        match place {
            KeyPlace::Number(number) => Ok(number),
            KeyPlace::Page(page, key) => {
                let keys = self.number("page_keys").ok_or_else(|| unknown("how many keys a page of"))?;
                let before = self.number("keys_before_pages").unwrap_or(0);
                let number = within(page, key, keys, "page")?.saturating_add(before);
                match self.line_keys {
                    Some(own) if number > own => {
                        let beside =
                            if before > 0 { format!("{before} beside the pages, ") } else { String::new() };
                        Err(format!("{name} has {own} line keys, {beside}{keys} on a page"))
                    }
                    _ => Ok(number),
                }
            }
            KeyPlace::Module(module, key) => {
                let keys = self.number("module_keys").filter(|keys| *keys > 0);
                let (Some(own), Some(keys)) = (self.own_keys(), keys) else {
                    return Err(match self.expansion_keys {
                        None if self.line_keys.is_some() => format!("{name} takes no expansion modules"),
                        None | Some(_) => unknown("how many keys a module of"),
                    });
                };
                let number = within(module, key, keys, "module")?.saturating_add(own);
                match self.key_room() {
                    Some(room) if number > room => {
                        Err(format!("{name} takes {} modules of {keys} keys", (room - own) / keys))
                    }
                    _ => Ok(number),
                }
            }
        }
    }
}

/// The number of the `key`th key of the `part`th part, each of which has `keys`.
fn within(part: u16, key: u16, keys: u16, word: &str) -> Result<u16, String> {
    if key > keys {
        return Err(format!("a {word} has {keys} keys"));
    }
    Ok(part.saturating_sub(1).saturating_mul(keys).saturating_add(key))
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::*;
    use crate::device::Vendor;

    #[test]
    fn pages_count_behind_the_keys_beside_them() {
        let catalog = Catalog::builtin().unwrap();
        let number = |vendor: &str, model: &str, page, key| {
            catalog.get(&Vendor::new(vendor)).unwrap().key_number(Some(model), KeyPlace::Page(page, key))
        };
        for (vendor, model) in [("fanvil", "X5U"), ("nethesis", "NP-X5")] {
            assert_eq!(number(vendor, model, 1, 1), Ok(5));
            assert_eq!(number(vendor, model, 2, 5), Ok(15));
            assert_eq!(number(vendor, model, 5, 6), Ok(34));
            assert_eq!(number(vendor, model, 1, 7), Err("a page has 6 keys".to_owned()));
            let beyond = format!("{model} has 34 line keys, 4 beside the pages, 6 on a page");
            assert_eq!(number(vendor, model, 6, 1), Err(beyond));
        }
        for (model, expected) in
            [("X4U", 3), ("X6U", 5), ("X210", 10), ("X210i", 10), ("V64", 0), ("X7C", 0), ("X7", 0)]
        {
            assert_eq!(number("fanvil", model, 1, 1), Ok(expected + 1), "{model}");
        }
    }
}
