//! The vault: seals passwords and tokens for the database and opens them again. Its key lies in a file of its own, or is
//! given to the service by systemd, so that a copy of the database, or a backup of it, holds no password. Here is where
//! the keys are looked for; [`keys`] is what is done with them. Never logs, never shows a key.

mod key;
mod keys;

use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::key_file;
use crate::clock::{Entropy, EntropyError};
use crate::hex::unhex;
use crate::secret::Sealed;

pub use key::KeyOrigin;
pub(super) use key::{Found, Key};
pub use keys::Keys;
pub(super) use keys::{Place, Sealer};

/// Where the key comes from; [`super::Store::open`] unlocks it.
#[derive(Debug, Clone)]
pub struct Vault {
    /// Files of systemd's, each with a key or several; preferred.
    credentials: Vec<PathBuf>,
    origin: Origin,
    may_be_locked: bool,
}

#[derive(Debug, Clone)]
enum Origin {
    /// `like`: a folder whose owner, and not root, is to own what root creates.
    File {
        path: PathBuf,
        like: Option<PathBuf>,
    },
    Given(Key),
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There are sealed passwords, and the file with their key is gone.
    #[error("the key file {0} is missing, and this database was sealed with a key")]
    Missing(PathBuf),
    /// The key is another one.
    #[error("the key file {0} does not open this database: it was sealed with another key")]
    Wrong(PathBuf),
    /// The file holds something else.
    #[error("the key file {0} does not hold a key: 64 hexadecimal digits are expected")]
    NotAKey(PathBuf),
    /// Others than its owner may read it.
    #[error("the key file {0} can be read by other users of this host")]
    Exposed(PathBuf),
    /// The key is systemd's, and only an administrator can give it another.
    #[error("the key is given to the service by systemd ({0}), and offhook cannot change it there")]
    Credential(PathBuf),
    /// The key is in no file.
    #[error("the key is in memory only, and there is nothing to change it in")]
    Memory,
    /// Another process is changing the key.
    #[error("another process is changing the key in {0}")]
    Busy(PathBuf),
    /// The system refused.
    #[error("cannot {operation} the key file {path}: {error}")]
    File {
        /// `read`, `create` or `replace`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A sealed text was altered, stands in a place that it was not sealed for, or was sealed with another key.
    #[error("the sealed value of {0} cannot be opened: it was altered, moved, or sealed with another key")]
    Broken(String),
    /// No randomness, no sealing.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl VaultError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::Wrong(_) => {
                "put back the key file that belongs to this database (it is in the backup of the configuration \
                 folder). Where systemd gives the key to the service, start the service: while it runs, root and the \
                 service's user find the key there. Without the key every password must be set again in a new database"
            }
            Self::NotAKey(_) => "put back the key file from a backup; do not edit it",
            Self::Exposed(_) => "chmod 0400 the file; whoever could read it may know every password",
            Self::Credential(_) => "give systemd a credential with both keys, then try again",
            Self::Memory => "use a key file",
            Self::Busy(_) => "let it finish, then look with: offhook key show",
            Self::File { .. } => "run the command as the user of the service, or as root",
            Self::Broken(_) => {
                "set this password again; if there are several, the key or the database is damaged"
            }
            Self::Entropy(_) => "the kernel gives no random numbers; nothing can be sealed on this host",
        }
    }
}

impl Vault {
    /// The vault whose key lies in this file. The file is made when the first database is sealed with it.
    pub fn at(path: &Path) -> Self {
        Self::of(Origin::File { path: path.to_owned(), like: None })
    }

    /// A vault without a file, for tests and the demonstration.
    pub fn with_key(key: [u8; 32]) -> Self {
        Self::of(Origin::Given(Key::new(key)))
    }

    fn of(origin: Origin) -> Self {
        Self { credentials: Vec::new(), origin, may_be_locked: false }
    }

    /// The same; when root makes the file, it shall belong to the owner of `folder` (the service's data).
    #[must_use]
    pub fn owned_like(mut self, folder: &Path) -> Self {
        if let Origin::File { like, .. } = &mut self.origin {
            *like = Some(folder.to_owned());
        }
        self
    }

    /// The same, with files of systemd's in which a key is looked for first. Those that are not there do not matter.
    #[must_use]
    pub fn with_credentials(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.credentials.extend(files);
        self
    }

    /// The same for whoever can do without: where the key of a database is missing, the database is opened all the
    /// same, and only what seals or opens a secret fails.
    #[must_use]
    pub fn or_locked(mut self) -> Self {
        self.may_be_locked = true;
        self
    }

    /// Unlocks it with the key that made `check`. Without a check nothing needs an old key, and a first one is made.
    pub(super) fn unlock(&self, check: Option<&Sealed>, entropy: &Entropy) -> Result<Keys, VaultError> {
        let Some(check) = check else {
            let found = match (self.find()?.into_iter().next(), &self.origin) {
                (Some(found), _) => found,
                (None, Origin::File { path, like }) => {
                    let key = key_file::create(path, like.as_deref(), entropy)?;
                    Found { key, origin: KeyOrigin::File(path.clone()) }
                }
                (None, Origin::Given(key)) => Found { key: key.clone(), origin: KeyOrigin::Memory },
            };
            return Ok(Keys::new(self.clone(), Sealer::new(&found)));
        };
        match self.sealer_of(check) {
            Ok(sealer) => Ok(Keys::new(self.clone(), sealer)),
            Err(VaultError::Missing(_)) if self.may_be_locked => Keys::locked(self.clone(), entropy),
            Err(error) => Err(error),
        }
    }

    /// The key that made `check`.
    pub(super) fn sealer_of(&self, check: &Sealed) -> Result<Sealer, VaultError> {
        let here = self.find()?;
        let id = Keys::key_of(check).unwrap_or_default();
        let found = match here.iter().find(|found| found.key.id() == id) {
            Some(found) => Some(found.clone()),
            None => self.retired(id)?,
        };
        let sealer = found.map(|found| Sealer::new(&found)).filter(|sealer| sealer.recognises(check));
        sealer.ok_or_else(|| if here.is_empty() { self.missing() } else { self.wrong() })
    }

    /// Every key that is given, the preferred one first: that of systemd, then the key file's lines.
    pub(super) fn find(&self) -> Result<Vec<Found>, VaultError> {
        let mut found: Vec<Found> = Vec::new();
        let mut add = |keys: Vec<Key>, origin: KeyOrigin| {
            for key in keys {
                if found.iter().all(|known| known.key != key) {
                    found.push(Found { key, origin: origin.clone() });
                }
            }
        };
        for file in &self.credentials {
            add(key_file::read_credential(file)?, KeyOrigin::Credential(file.clone()));
        }
        match &self.origin {
            Origin::File { path, .. } => add(key_file::read(path)?, KeyOrigin::File(path.clone())),
            Origin::Given(key) => add(vec![key.clone()], KeyOrigin::Memory),
        }
        Ok(found)
    }

    /// A key that was replaced, from the file that it was put aside in.
    fn retired(&self, id: &str) -> Result<Option<Found>, VaultError> {
        // The name comes from the database: nothing but a key's name becomes part of a path.
        let Some(path) = self.retired_file(id).filter(|_| unhex(id).is_some_and(|id| !id.is_empty())) else {
            return Ok(None);
        };
        let keys = key_file::read(&path)?;
        let key = keys.into_iter().find(|key| key.id() == id);
        Ok(key.map(|key| Found { key, origin: KeyOrigin::Retired(path) }))
    }

    /// Every key that was put aside.
    pub(super) fn find_retired(&self) -> Result<Vec<Found>, VaultError> {
        let Origin::File { path, .. } = &self.origin else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for file in key_file::all_retired(path) {
            let keys = key_file::read(&file)?.into_iter();
            found.extend(keys.map(|key| Found { key, origin: KeyOrigin::Retired(file.clone()) }));
        }
        Ok(found)
    }

    fn retired_file(&self, id: &str) -> Option<PathBuf> {
        match &self.origin {
            Origin::File { path, .. } => Some(key_file::retired(path, id)),
            Origin::Given(_) => None,
        }
    }

    /// The key that everything is to be sealed with next, beside `current`: the one that is given already and
    /// preferred, or a new one, which is in the key file, beside the others, when this returns.
    pub(super) fn prepare(&self, current: &Sealer, entropy: &Entropy) -> Result<Found, VaultError> {
        let here = self.find()?;
        if let Some(first) = here.first().filter(|first| first.key.id() != current.id()) {
            return Ok(first.clone());
        }
        let path = match (current.origin(), &self.origin) {
            (KeyOrigin::Credential(path), _) => return Err(VaultError::Credential(path.clone())),
            (_, Origin::Given(_)) => return Err(VaultError::Memory),
            (_, Origin::File { path, .. }) => path,
        };
        let key = Key::draw(entropy)?;
        let mut keys = vec![key.clone()];
        keys.extend(key_file::read(path)?);
        key_file::replace(path, &keys)?;
        Ok(Found { key, origin: KeyOrigin::File(path.clone()) })
    }

    /// Leaves only `current` in the key file, after everything was sealed with it. The others are put aside, each in a
    /// file of its name, or forgotten; gives back those files. A key of systemd's is not touched.
    pub(super) fn tidy(&self, current: &str, forget: bool) -> Result<Vec<PathBuf>, VaultError> {
        let Origin::File { path, .. } = &self.origin else { return Ok(Vec::new()) };
        let (kept, old): (Vec<Key>, Vec<Key>) =
            key_file::read(path)?.into_iter().partition(|key| key.id() == current);
        if kept.is_empty() || old.is_empty() {
            return Ok(Vec::new());
        }
        let mut aside = Vec::new();
        for key in old.iter().filter(|_| !forget) {
            let file = key_file::retired(path, &key.id());
            key_file::keep(&file, path, key)?;
            aside.push(file);
        }
        key_file::replace(path, &kept)?;
        Ok(aside)
    }

    /// Puts a key that came with a backup where it is found again: it becomes the key file where there is none, and
    /// gets a file of its name where there is another.
    pub(super) fn install(&self, key: &Key, entropy: &Entropy) -> Result<(), VaultError> {
        let Origin::File { path, like } = &self.origin else { return Err(VaultError::Memory) };
        let taken = !self.find()?.is_empty();
        let path = if taken { &key_file::retired(path, &key.id()) } else { path };
        key_file::write_new(path, like.as_deref(), key, entropy)
    }

    /// Lets only one process at a time change the key file.
    pub(super) fn lock(&self) -> Result<Option<std::fs::File>, VaultError> {
        match &self.origin {
            Origin::File { path, .. } => key_file::lock_folder(path),
            Origin::Given(_) => Ok(None),
        }
    }

    pub(super) fn missing(&self) -> VaultError {
        VaultError::Missing(self.path())
    }

    pub(super) fn wrong(&self) -> VaultError {
        VaultError::Wrong(self.path())
    }

    fn path(&self) -> PathBuf {
        match &self.origin {
            Origin::File { path, .. } => path.clone(),
            Origin::Given(_) => PathBuf::from("(in memory)"),
        }
    }
}

fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // A key of any length is accepted (RFC 2104), so the other arm is never taken.
    match <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().into(),
        Err(_) => [0; 32],
    }
}
