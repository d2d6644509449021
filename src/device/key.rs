//! A function key, in words of no vendor.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a function key does, in words of no vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}
