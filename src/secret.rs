//! A password, token or key in memory: wiped when dropped, and without Display, Serialize or a telling Debug,
//! so that no log line, error or listing can show one by accident.

use std::fmt;

use zeroize::Zeroizing;

/// A text that must not be seen. [`Secret::expose`] is the only way in; every call of it is worth a second look.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself: to seal it, to write it into a phone's file, or to compare it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it; an empty password is never sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(deserializer)?))
    }
}

/// A secret as the store keeps it: encrypted, and safe to pass around. Only the store's vault opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sealed(pub String);

/// Which password a slot holds; each kind leaves, or stays, on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// The password of a SIP account.
    Sip,
    /// The credential of the phone's own menu (digits where the menu wants digits).
    Menu,
    /// The password of the phone's web interface.
    Webui,
    /// Our own credential for later fetches: the steady token of the phone's URL.
    Prov,
}

impl SecretKind {
    /// Every kind, in the order in which listings show them.
    pub const ALL: [Self; 4] = [Self::Sip, Self::Menu, Self::Webui, Self::Prov];

    /// The kind's name in profiles, tables and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Menu => "menu",
            Self::Webui => "webui",
            Self::Prov => "prov",
        }
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for SecretKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("'{text}' is not a kind of secret; use sip, menu, webui or prov"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let shown = format!("{:?} {:#?}", Secret::new("hunter2"), Some(Secret::new("hunter2")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn kinds_survive_their_names() {
        for kind in SecretKind::ALL {
            assert_eq!(kind.as_str().parse::<SecretKind>(), Ok(kind));
        }
        assert!("SIP".parse::<SecretKind>().is_err());
    }
}
