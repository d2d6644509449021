//! What a phone knows after reading its files: settings by name, and the accounts and keys among them. Every value is a
//! [`Secret`], because any of them may be one.

use std::collections::{BTreeMap, BTreeSet};

use crate::device::Transport;
use crate::secret::Secret;

/// More settings than any phone has; the rest is not kept.
const SETTINGS_MAX: usize = 20_000;

/// A phone's settings. Reading another file goes on top: what it does not name stays as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    values: BTreeMap<String, Secret>,
    /// What the phone knew before it began to look at its configuration.
    before: BTreeSet<String>,
    /// What the files of this look have named.
    named: BTreeSet<String>,
}

/// What the files of one look did not name although the phone knew it before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Absent {
    /// The phone still has it.
    pub(super) kept: Vec<String>,
    /// The phone has it no more.
    pub(super) lost: Vec<String>,
}

impl Settings {
    /// What a phone remembers from its last life.
    pub(super) fn remembered(values: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self { values: values.into_iter().take(SETTINGS_MAX).collect(), ..Self::default() }
    }

    /// The phone begins to look at its configuration.
    pub(super) fn begin_look(&mut self) {
        self.before = self.values.keys().cloned().collect();
        self.named.clear();
    }

    /// The phone has read all its files; one that `forgets` loses now what none of them named.
    pub(super) fn end_look(&mut self, forgets: bool) -> Absent {
        if forgets {
            self.values.retain(|name, _| self.named.contains(name));
        }
        let absent = self.before.difference(&self.named).cloned();
        let (kept, lost) = absent.partition(|name| self.values.contains_key(name));
        Absent { kept, lost }
    }

    /// Sets one value.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if self.values.len() < SETTINGS_MAX {
            self.named.insert(name.to_owned());
            self.values.insert(name.to_owned(), Secret::new(value));
        }
    }

    /// Back to the factory's value, which is none.
    pub(super) fn clear(&mut self, name: &str) {
        self.values.remove(name);
        if self.before.contains(name) {
            self.named.insert(name.to_owned());
        }
    }

    /// All of them back to the factory's.
    pub(super) fn clear_all(&mut self) {
        self.values.clear();
        self.named.clear();
    }

    /// A value, if it was ever set.
    pub(super) fn secret(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }

    /// A value that is no secret, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.secret(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// Whether this is known although no file of the current look names it.
    pub(super) fn is_kept(&self, name: &str) -> bool {
        self.text(name).is_some() && !self.named.contains(name)
    }

    /// Every name, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Everything, to be remembered.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
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
    pub(super) display_name: Option<String>,
    pub(super) label: Option<String>,
    pub(super) password: Option<Secret>,
    /// Whether the phone has the password from earlier, and no file of this look.
    pub(super) password_kept: bool,
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
        let password = match (&self.password, self.password_kept) {
            (None, _) => "no password",
            (Some(_), false) => "password given",
            (Some(_), true) => "password kept",
        };
        let transport = self.transport.as_str();
        format!("line {}: {} at {} ({transport}), {password}", self.line, self.username, self.registrar())
    }
}

/// One function key that was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionKey {
    /// From 1; a module's keys count on their own.
    pub(super) number: u16,
    pub(super) value: Option<String>,
    pub(super) label: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Settings {
        let mut settings = Settings::default();
        for name in ["pass", "host", "gone"] {
            settings.set(name, "x");
        }
        settings.begin_look();
        settings.set("host", "y");
        settings.clear("gone");
        settings.set("new", "z");
        settings
    }

    #[test]
    fn what_is_not_named_is_absent_and_kept_or_lost() {
        let mut settings = known();
        assert!(settings.is_kept("pass") && !settings.is_kept("host"));
        assert_eq!(settings.end_look(false), Absent { kept: vec!["pass".to_owned()], lost: Vec::new() });
        assert!(settings.secret("pass").is_some());
        let mut settings = known();
        assert_eq!(settings.end_look(true), Absent { kept: Vec::new(), lost: vec!["pass".to_owned()] });
        assert!(settings.secret("pass").is_none() && settings.secret("new").is_some());
    }

    #[test]
    fn a_file_that_resets_the_phone_takes_what_it_does_not_name() {
        let mut settings = known();
        settings.clear_all();
        settings.set("host", "y");
        let absent = settings.end_look(false);
        assert_eq!((absent.kept, absent.lost), (Vec::new(), vec!["gone".to_owned(), "pass".to_owned()]));
    }

    #[test]
    fn a_first_look_misses_nothing() {
        let mut settings = Settings::default();
        settings.begin_look();
        settings.set("host", "y");
        assert_eq!(settings.end_look(true), Absent::default());
    }
}
