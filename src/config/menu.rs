//! `[menu]`: the user menu on the phones' displays.

use serde::Deserialize;

/// `[menu]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MenuConfig {
    /// Whether phones get a menu and the company directory. Off unless asked for: everybody at a phone can read it.
    pub enabled: bool,
    /// What is dialled to forward calls: `*72{number}`; no such item without it.
    pub forward_on: Option<String>,
    /// What is dialled to end that.
    pub forward_off: Option<String>,
    /// What is dialled for do not disturb.
    pub dnd_on: Option<String>,
    /// What is dialled to end that.
    pub dnd_off: Option<String>,
}

impl MenuConfig {
    /// A code that is there.
    pub fn code(code: &Option<String>) -> Option<&str> {
        code.as_deref().filter(|code| !code.is_empty())
    }

    /// What is wrong with it, in words.
    pub fn wrong(&self) -> Option<&'static str> {
        let lacks = Self::code(&self.forward_on).is_some_and(|code| !code.contains("{number}"));
        lacks.then_some("has no {number} in it; write for example \"*72{number}\"")
    }
}
