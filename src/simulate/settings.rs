//! What a phone knows after reading its files: settings by name and index, and the accounts among them. Every value is
//! a [`Secret`], because any of them may be one.

use std::collections::BTreeMap;

use crate::device::Transport;
use crate::secret::Secret;

/// More settings than any phone has; the rest is not kept.
const SETTINGS_MAX: usize = 20_000;

/// A phone's settings. Reading another file goes on top: what it does not name stays as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    values: BTreeMap<(String, u16), Secret>,
}

impl Settings {
    /// Sets one value; `index` is 0 where the vendor has none.
    pub(super) fn set(&mut self, name: &str, index: u16, value: &str) {
        if self.values.len() < SETTINGS_MAX {
            self.values.insert((name.to_owned(), index), Secret::new(value));
        }
    }

    /// Back to the factory's value, which is none.
    pub(super) fn clear(&mut self, name: &str, index: u16) {
        self.values.remove(&(name.to_owned(), index));
    }

    /// A value, if it was ever set.
    pub(super) fn secret(&self, name: &str, index: u16) -> Option<&Secret> {
        self.values.get(&(name.to_owned(), index))
    }

    /// A value that is no secret, unless it is empty.
    pub(super) fn text(&self, name: &str, index: u16) -> Option<&str> {
        self.secret(name, index).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// Whether a password of this name was given.
    pub(super) fn has(&self, name: &str, index: u16) -> bool {
        self.secret(name, index).is_some_and(|value| !value.is_empty())
    }

    /// Every name and index, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, u16)> {
        self.values.keys().map(|(name, index)| (name.as_str(), *index))
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

/// One account, ready to register.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// From 1.
    pub(super) line: u16,
    /// The domain.
    pub(super) host: String,
    /// None: the transport's usual one.
    pub(super) port: Option<u16>,
    /// Where the REGISTER goes instead of the domain.
    pub(super) proxy: Option<(String, u16)>,
    pub(super) transport: Transport,
    pub(super) username: String,
    pub(super) auth_id: String,
    pub(super) password: Option<Secret>,
}

impl Account {
    /// `host` or `host:port`.
    pub(super) fn registrar(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// `user@host`.
    pub(super) fn address_of_record(&self) -> String {
        format!("{}@{}", self.username, self.host)
    }

    /// The account in words, its password by its presence.
    pub(super) fn for_people(&self) -> String {
        let password = if self.password.is_some() { "password given" } else { "no password" };
        let transport = self.transport.as_str();
        format!("line {}: {} at {} ({transport}), {password}", self.line, self.username, self.registrar())
    }
}

/// What the configuration gave the phone beside its accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) web_password: bool,
    pub(super) menu_password: bool,
    pub(super) keys: usize,
    pub(super) language: Option<String>,
}
