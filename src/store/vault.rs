//! The vault: seals passwords and tokens for the database and opens them again. Its key lies in a file of its own, so
//! that a copy of the database, or a backup of it, holds no password. Never logs, never shows a key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key_file;
use crate::clock::{Entropy, EntropyError};
use crate::secret::{Sealed, Secret};

/// The only format of a sealed text so far; written first in it, so that a later one can be told apart.
const FORMAT: &str = "1";
const NONCE_BYTES: usize = 24;
/// What [`Keys::check`] seals: whoever opens it has the right key.
const CHECK_TEXT: &str = "offhook";

/// Where the key comes from; [`super::Store::open`] unlocks it.
#[derive(Debug, Clone)]
pub struct Vault(Origin);

#[derive(Debug, Clone)]
enum Origin {
    /// `like`: a folder whose owner, and not root, is to own what root creates.
    File {
        path: PathBuf,
        like: Option<PathBuf>,
    },
    Given(Keys),
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
    /// The system refused.
    #[error("cannot {operation} the key file {path}: {error}")]
    File {
        /// `read` or `create`.
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
                 folder); without it every password must be set again in a new database"
            }
            Self::NotAKey(_) => "put back the key file from a backup; do not edit it",
            Self::Exposed(_) => "chmod 0400 the file; whoever could read it may know every password",
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
        Self(Origin::File { path: path.to_owned(), like: None })
    }

    /// The same; when root makes the file, it shall belong to the owner of `folder` (the service's data).
    #[must_use]
    pub fn owned_like(self, folder: &Path) -> Self {
        match self.0 {
            Origin::File { path, .. } => Self(Origin::File { path, like: Some(folder.to_owned()) }),
            given @ Origin::Given(_) => Self(given),
        }
    }

    /// A vault without a file, for tests and the demonstration.
    pub fn with_key(key: [u8; 32]) -> Self {
        Self(Origin::Given(Keys::new(&Zeroizing::new(key), Path::new("(in memory)"))))
    }

    /// Reads the key; makes one if there is none and `sealed_before` says that nothing needs the old one.
    pub(super) fn unlock(&self, sealed_before: bool, entropy: &Entropy) -> Result<Keys, VaultError> {
        let (path, like) = match &self.0 {
            Origin::Given(keys) => return Ok(keys.clone()),
            Origin::File { path, like } => (path, like),
        };
        let key = match key_file::read(path)? {
            Some(key) => key,
            None if sealed_before => return Err(VaultError::Missing(path.clone())),
            None => key_file::create(path, like.as_deref(), entropy)?,
        };
        Ok(Keys::new(&key, path))
    }
}

/// Which value a sealed text stands for. It is authenticated with it, so that a row copied over another does not open.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) table: &'static str,
    pub(super) row: String,
    pub(super) kind: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.table, self.row, self.kind)
    }
}

/// The unlocked vault. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Subkeys>);

struct Subkeys {
    seal: Zeroizing<[u8; 32]>,
    etag: Zeroizing<[u8; 32]>,
    fingerprint: Zeroizing<[u8; 32]>,
    id: String,
    path: PathBuf,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    fn new(key: &Zeroizing<[u8; 32]>, path: &Path) -> Self {
        let derived = |purpose: &str| Zeroizing::new(hmac(key, purpose.as_bytes()));
        let id = hex(derived("offhook key id").get(..4).unwrap_or_default());
        Self(Arc::new(Subkeys {
            seal: derived("offhook seal"),
            etag: derived("offhook etag"),
            fingerprint: derived("offhook fingerprint"),
            id,
            path: path.to_owned(),
        }))
    }

    /// An entity tag, in quotes, of a file for a phone. Keyed: from a plain hash of a file with an eight-digit menu
    /// credential in it, that credential could be found by trying. It covers the epochs of the passwords in the body, so
    /// that the same body after an arming is another one.
    pub fn etag(&self, body: &[u8], epochs: &[i64]) -> String {
        let mut parts = vec![body];
        let epochs: Vec<[u8; 8]> = epochs.iter().map(|epoch| epoch.to_be_bytes()).collect();
        parts.extend(epochs.iter().map(<[u8; 8]>::as_slice));
        let tag = hmac(&self.0.etag, &parts.concat());
        format!("\"{}\"", hex(tag.get(..16).unwrap_or_default()))
    }

    /// A short name of a value for the audit: the same value has the same one, and without the key nobody finds the
    /// value from it.
    pub fn fingerprint(&self, secret: &Secret) -> String {
        let mark = hmac(&self.0.fingerprint, secret.expose().as_bytes());
        hex(mark.get(..8).unwrap_or_default())
    }

    /// Seals the `version`th value of a place.
    pub(super) fn seal(
        &self,
        place: &Place,
        version: i64,
        secret: &Secret,
        entropy: &Entropy,
    ) -> Result<Sealed, VaultError> {
        let nonce = entropy.bytes::<NONCE_BYTES>()?;
        let associated = associated(place, version);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: associated.as_bytes() };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| VaultError::Broken(place.to_string()))?;
        Ok(Sealed(format!("{FORMAT}.{}.{version}.{}.{}", self.0.id, hex(&nonce), hex(&sealed))))
    }

    /// Opens a sealed text of this place; with `version`, only that one.
    pub(super) fn open(
        &self,
        place: &Place,
        version: Option<i64>,
        sealed: &Sealed,
    ) -> Result<Secret, VaultError> {
        self.try_open(place, version, sealed).ok_or_else(|| VaultError::Broken(place.to_string()))
    }

    fn try_open(&self, place: &Place, expected: Option<i64>, sealed: &Sealed) -> Option<Secret> {
        let mut parts = sealed.0.split('.');
        let mut next = || parts.next();
        let (format, id, version) = (next()?, next()?, next()?.parse::<i64>().ok()?);
        let (nonce, body) = (unhex(next()?)?, unhex(next()?)?);
        if format != FORMAT || id != self.0.id || expected.is_some_and(|expected| expected != version) {
            return None;
        }
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let associated = associated(place, version);
        let payload = Payload { msg: &body, aad: associated.as_bytes() };
        let opened = Zeroizing::new(self.cipher().decrypt(&XNonce::from(nonce), payload).ok()?);
        std::str::from_utf8(&opened).ok().map(Secret::new)
    }

    /// Which version a sealed text says it is; 0 for what is no sealed text.
    pub(super) fn version_of(sealed: &Sealed) -> i64 {
        sealed.0.split('.').nth(2).and_then(|version| version.parse().ok()).unwrap_or(0)
    }

    /// A text by which a later start recognises its key.
    pub(super) fn check(&self, entropy: &Entropy) -> Result<Sealed, VaultError> {
        self.seal(&check_place(), 1, &Secret::new(CHECK_TEXT), entropy)
    }

    /// Whether this is the key that made `check`.
    pub(super) fn recognise(&self, check: &Sealed) -> Result<(), VaultError> {
        match self.open(&check_place(), Some(1), check) {
            Ok(text) if text.expose() == CHECK_TEXT => Ok(()),
            _ => Err(VaultError::Wrong(self.0.path.clone())),
        }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0.seal).into())
    }
}

fn check_place() -> Place {
    Place { table: "head", row: "1".to_owned(), kind: "check" }
}

fn associated(place: &Place, version: i64) -> String {
    format!("{}|{}|{}|{version}", place.table, place.row, place.kind)
}

fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // A key of any length is accepted (RFC 2104), so the other arm is never taken.
    match <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().into(),
        Err(_) => [0; 32],
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits; `None` for anything else.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> Keys {
        Vault::with_key([byte; 32]).unlock(false, &Entropy::System).unwrap()
    }

    fn place(row: &str, kind: &'static str) -> Place {
        Place { table: "device_secret", row: row.to_owned(), kind }
    }

    #[test]
    fn a_sealed_text_opens_only_in_its_place_and_version_with_its_key() {
        let sealed = keys(1).seal(&place("00", "menu"), 2, &Secret::new("geheim"), &Entropy::System).unwrap();
        assert!(!sealed.0.contains("geheim"), "{sealed:?}");
        let open = |keys: Keys, place: Place, version| {
            keys.open(&place, version, &sealed).ok().map(|secret| secret.expose().to_owned())
        };
        assert_eq!(open(keys(1), place("00", "menu"), None).as_deref(), Some("geheim"));
        assert_eq!(open(keys(1), place("00", "menu"), Some(2)).as_deref(), Some("geheim"));
        assert_eq!(open(keys(1), place("00", "menu"), Some(1)), None);
        assert_eq!(open(keys(1), place("01", "menu"), None), None);
        assert_eq!(open(keys(1), place("00", "webui"), None), None);
        assert_eq!(open(keys(2), place("00", "menu"), None), None);
    }

    #[test]
    fn an_altered_text_does_not_open() {
        let sealed = keys(1).seal(&place("00", "menu"), 1, &Secret::new("x"), &Entropy::System).unwrap();
        let (head, last) = sealed.0.split_at(sealed.0.len() - 1);
        for altered in [
            format!("{head}{}", if last == "0" { "1" } else { "0" }),
            sealed.0.replacen(".1.", ".2.", 1),
            sealed.0.replacen("1.", "2.", 1),
            head.to_owned(),
            String::new(),
            "1.é.1.zz.zz".to_owned(),
        ] {
            assert!(keys(1).open(&place("00", "menu"), None, &Sealed(altered.clone())).is_err(), "{altered}");
        }
    }

    #[test]
    fn two_sealings_of_one_password_differ() {
        let seal = || keys(1).seal(&place("00", "menu"), 1, &Secret::new("x"), &Entropy::System).unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn etags_depend_on_the_key_and_the_body() {
        assert_eq!(keys(1).etag(b"a", &[]), keys(1).etag(b"a", &[]));
        assert_ne!(keys(1).etag(b"a", &[]), keys(1).etag(b"b", &[]));
        assert_ne!(keys(1).etag(b"a", &[]), keys(2).etag(b"a", &[]));
        assert_ne!(keys(1).etag(b"a", &[1]), keys(1).etag(b"a", &[2]));
        assert_eq!(keys(1).etag(b"a", &[]).len(), 34);
    }

    #[test]
    fn a_fingerprint_names_a_value_and_shows_nothing_of_it() {
        let [one, other] = ["12345678", "12345679"].map(Secret::new);
        assert_eq!(keys(1).fingerprint(&one), keys(1).fingerprint(&one));
        assert_ne!(keys(1).fingerprint(&one), keys(1).fingerprint(&other));
        assert_ne!(keys(1).fingerprint(&one), keys(2).fingerprint(&one));
        assert_eq!(keys(1).fingerprint(&one).len(), 16);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?} {:?}", keys(0xab), Vault::with_key([0xab; 32]));
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}
