//! A function key, in words of no vendor.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a function key does, in words of no vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Takes the line given as value (or the next free one).
    Line,
    /// Busy lamp field: watches an extension, dials and picks up.
    Blf,
    /// Dials a number.
    SpeedDial,
    /// Parks a call in, or takes it from, an orbit.
    Park,
    /// Picks up a call of a group or extension.
    Pickup,
    /// Forwards to a number.
    Forward,
    /// Do not disturb.
    Dnd,
    /// Sends DTMF digits.
    Dtmf,
    /// Calls with immediate answer.
    Intercom,
    /// Transfers the call to a number.
    Transfer,
    /// Opens the directory.
    Directory,
    /// Requests a URL.
    Url,
    /// Opens an XML page.
    Xml,
    /// Empty on purpose.
    None,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Line,
        Self::Blf,
        Self::SpeedDial,
        Self::Park,
        Self::Pickup,
        Self::Forward,
        Self::Dnd,
        Self::Dtmf,
        Self::Intercom,
        Self::Transfer,
        Self::Directory,
        Self::Url,
        Self::Xml,
        Self::None,
    ];

    /// The kind's name in tables and profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Blf => "blf",
            Self::SpeedDial => "speed_dial",
            Self::Park => "park",
            Self::Pickup => "pickup",
            Self::Forward => "forward",
            Self::Dnd => "dnd",
            Self::Dtmf => "dtmf",
            Self::Intercom => "intercom",
            Self::Transfer => "transfer",
            Self::Directory => "directory",
            Self::Url => "url",
            Self::Xml => "xml",
            Self::None => "none",
        }
    }
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text.to_ascii_lowercase().replace('-', "_"))
            .ok_or_else(|| format!("'{text}' is not a kind of key; use one of {}", known()))
    }
}

/// A function key of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Counted from 1, the vendor's first programmable key.
    pub number: u16,
    /// What it does.
    pub kind: KeyKind,
    /// Number, extension, orbit, digits or URL, as the kind wants it; empty where it wants none.
    pub value: String,
    /// What the phone shows beside it.
    pub label: String,
    /// The line that it uses; the phone's first where none is given.
    pub line: Option<u16>,
}

impl Key {
    /// What it lacks, whichever phone it is for.
    pub fn lacks(&self) -> Option<String> {
        let needed = matches!(
            self.kind,
            KeyKind::Blf | KeyKind::SpeedDial | KeyKind::Dtmf | KeyKind::Url | KeyKind::Xml
        );
        let kind = self.kind.as_str();
        (needed && self.value.is_empty()).then(|| format!("a key of kind {kind} needs a value"))
    }
}

/// A key as a person names it: by its number, on a page of the display, or on an expansion module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// Counted through: the phone's line keys, its memory keys where it has some, its modules.
    Number(u16),
    /// A page of the phone's line keys, and the key on it.
    Page(u16, u16),
    /// An expansion module, and the key on it.
    Module(u16, u16),
}

impl FromStr for KeyPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("'{text}' names no key; write 5, \"page 2 key 5\" or \"module 1 key 5\"");
        let number = |word: &str| word.parse().ok().filter(|number| *number > 0).ok_or_else(expected);
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split([' ', ',', '=', ':']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [key] | ["key", key] => number(key).map(Self::Number),
            ["page", page, "key", key] => Ok(Self::Page(number(page)?, number(key)?)),
            ["module", module, "key", key] => Ok(Self::Module(number(module)?, number(key)?)),
            _ => Err(expected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_name() {
        for kind in KeyKind::ALL {
            assert_eq!(kind.as_str().parse::<KeyKind>(), Ok(kind));
        }
        assert_eq!("speed-dial".parse(), Ok(KeyKind::SpeedDial));
    }

    #[test]
    fn a_key_is_named_as_people_do() {
        let check = |text: &str, place: Option<KeyPlace>| assert_eq!(text.parse().ok(), place, "{text}");
        check("5", Some(KeyPlace::Number(5)));
        check("key 5", Some(KeyPlace::Number(5)));
        check("Module 1, key 5", Some(KeyPlace::Module(1, 5)));
        check("page=2 key=3", Some(KeyPlace::Page(2, 3)));
        for wrong in ["", "0", "module 1", "module 0 key 1", "key", "5 6", "65536"] {
            check(wrong, None);
        }
    }
}
