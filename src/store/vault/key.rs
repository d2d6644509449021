//! One key: thirty-two bytes that are wiped when dropped, and the text that a key file holds. Never shown.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::hmac;
use crate::clock::{Entropy, EntropyError};
use crate::hex::{hex, unhex};

/// The digits of a key's name: enough to tell a site's keys apart.
const ID_BYTES: usize = 4;

/// A key of the vault.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::store) struct Key(Zeroizing<[u8; 32]>);

/// Where a key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Given to the service by systemd (`LoadCredentialEncrypted=`).
    Credential(PathBuf),
    /// In the key file.
    File(PathBuf),
    /// In the file of a key that was replaced, kept for the backups made before.
    Retired(PathBuf),
    /// Given by a test or the demonstration.
    Memory,
}

/// A key and where it was found.
#[derive(Debug, Clone)]
pub(in crate::store) struct Found {
    pub(in crate::store) key: Key,
    pub(in crate::store) origin: KeyOrigin,
}

impl Key {
    pub(in crate::store) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new one.
    pub(in crate::store) fn draw(entropy: &Entropy) -> Result<Self, EntropyError> {
        Ok(Self(Zeroizing::new(entropy.bytes::<32>()?)))
    }

    /// The keys of a key file's text, one on a line; `None` if it holds anything else.
    pub(in crate::store) fn parse_all(text: &str) -> Option<Vec<Self>> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Option<Vec<Self>> = lines.map(Self::parse).collect();
        keys.filter(|keys| !keys.is_empty())
    }

    fn parse(line: &str) -> Option<Self> {
        let bytes = Zeroizing::new(unhex(line)?);
        bytes.as_slice().try_into().ok().map(Self::new)
    }

    /// The line of a key file.
    pub(in crate::store) fn line(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(hex(self.0.as_slice()));
        Zeroizing::new(format!("{}\n", *digits))
    }

    /// A short name that gives nothing of the key away; every sealed text carries it.
    pub(in crate::store) fn id(&self) -> String {
        hex(self.derived("offhook key id").get(..ID_BYTES).unwrap_or_default())
    }

    /// A key of its own for one purpose.
    pub(super) fn derived(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac(&self.0, purpose.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

impl KeyOrigin {
    /// The word for listings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Credential(_) => "credential",
            Self::File(_) => "file",
            Self::Retired(_) => "retired",
            Self::Memory => "memory",
        }
    }

    /// The file, where there is one.
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::Credential(path) | Self::File(path) | Self::Retired(path) => Some(path),
            Self::Memory => None,
        }
    }
}
