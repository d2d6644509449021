//! The unlocked vault: the key that seals, and the keys that still open what was sealed before. Follows the database:
//! when another process has sealed everything with a new key, it looks for that key. Never logs, never shows a key.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::{Found, KeyOrigin};
use super::{Vault, VaultError, hmac};
use crate::clock::Entropy;
use crate::hex::{hex, unhex};
use crate::secret::{Sealed, Secret};

/// The only format of a sealed text so far; written first in it, so that a later one can be told apart.
const FORMAT: &str = "1";
const NONCE_BYTES: usize = 24;
/// What [`Keys::check`] seals: whoever opens it has the right key.
const CHECK_TEXT: &str = "offhook";

/// Which value a sealed text stands for. It is authenticated with it, so that a row copied over another does not open.
#[derive(Debug, Clone)]
pub(in crate::store) struct Place {
    pub(in crate::store) table: &'static str,
    pub(in crate::store) row: String,
    pub(in crate::store) kind: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.table, self.row, self.kind)
    }
}

/// The unlocked vault. Cheap to clone; all clones are one vault.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    /// Where a key that is not here yet may be found.
    vault: Vault,
    ring: RwLock<Ring>,
}

struct Ring {
    /// Seals. `None`: the vault is locked, because no key was found and none was demanded.
    current: Option<Arc<Sealer>>,
    /// Open what was sealed before, and what another process is about to seal with.
    others: Vec<Arc<Sealer>>,
    etag: Zeroizing<[u8; 32]>,
}

/// One key at work.
pub(in crate::store) struct Sealer {
    seal: Zeroizing<[u8; 32]>,
    etag: Zeroizing<[u8; 32]>,
    id: String,
    origin: KeyOrigin,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// An unlocked vault with this key.
    pub(in crate::store) fn new(vault: Vault, current: Sealer) -> Self {
        let etag = current.etag.clone();
        Self::with(vault, Ring { current: Some(Arc::new(current)), others: Vec::new(), etag })
    }

    /// A vault without a key: it seals and opens nothing, and its entity tags are of this process only.
    pub(super) fn locked(vault: Vault, entropy: &Entropy) -> Result<Self, VaultError> {
        let etag = Zeroizing::new(entropy.bytes::<32>()?);
        Ok(Self::with(vault, Ring { current: None, others: Vec::new(), etag }))
    }

    fn with(vault: Vault, ring: Ring) -> Self {
        Self(Arc::new(Inner { vault, ring: RwLock::new(ring) }))
    }

    /// An entity tag, in quotes, of a file for a phone. Keyed: from a plain hash of a file with an eight-digit menu
    /// credential in it, that credential could be found by trying. It covers the epochs of the passwords in the body, so
    /// that the same body after an arming is another one.
    pub fn etag(&self, body: &[u8], epochs: &[i64]) -> String {
        let mut parts = vec![body];
        let epochs: Vec<[u8; 8]> = epochs.iter().map(|epoch| epoch.to_be_bytes()).collect();
        parts.extend(epochs.iter().map(<[u8; 8]>::as_slice));
        let tag = hmac(&self.ring().etag, &parts.concat());
        format!("\"{}\"", hex(tag.get(..16).unwrap_or_default()))
    }

    /// A short name of a value for the audit: the same value has the same one, and without the key nobody finds the
    /// value from it.
    pub fn fingerprint(&self, secret: &Secret) -> String {
        let key = Zeroizing::new(hmac(&self.ring().etag, b"offhook fingerprint"));
        hex(hmac(&key, secret.expose().as_bytes()).get(..8).unwrap_or_default())
    }

    /// Which key seals; `None` while there is none.
    pub fn id(&self) -> Option<String> {
        self.ring().current.as_ref().map(|sealer| sealer.id.clone())
    }

    /// The file of the key that seals, or would.
    pub(in crate::store) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// The key that seals.
    pub(in crate::store) fn sealer(&self) -> Result<Arc<Sealer>, VaultError> {
        self.ring().current.clone().ok_or_else(|| self.0.vault.missing())
    }

    /// Seals the `version`th value of a place.
    pub(in crate::store) fn seal(
        &self,
        place: &Place,
        version: i64,
        secret: &Secret,
        entropy: &Entropy,
    ) -> Result<Sealed, VaultError> {
        self.sealer()?.seal(place, version, secret, entropy)
    }

    /// Opens a sealed text of this place; with `version`, only that one.
    pub(in crate::store) fn open(
        &self,
        place: &Place,
        version: Option<i64>,
        sealed: &Sealed,
    ) -> Result<Secret, VaultError> {
        let ring = self.ring();
        let Some(current) = &ring.current else { return Err(self.0.vault.missing()) };
        let id = Self::key_of(sealed);
        let fitting = std::iter::once(current).chain(&ring.others).find(|sealer| Some(&*sealer.id) == id);
        let opened = fitting.and_then(|sealer| sealer.try_open(place, version, sealed));
        opened.ok_or_else(|| VaultError::Broken(place.to_string()))
    }

    /// Which version a sealed text says it is; 0 for what is no sealed text.
    pub(in crate::store) fn version_of(sealed: &Sealed) -> i64 {
        sealed.0.split('.').nth(2).and_then(|version| version.parse().ok()).unwrap_or(0)
    }

    /// Which key a sealed text says that it was sealed with.
    pub(in crate::store) fn key_of(sealed: &Sealed) -> Option<&str> {
        sealed.0.split('.').nth(1)
    }

    /// A text by which a later start recognises its key.
    pub(in crate::store) fn check(&self, entropy: &Entropy) -> Result<Sealed, VaultError> {
        self.sealer()?.check(entropy)
    }

    /// Seals with the key that the database is sealed with, as its `check` tells: another process may have changed it.
    /// A vault that is locked stays so where there is no such key.
    pub(in crate::store) fn follow(&self, check: &Sealed) -> Result<(), VaultError> {
        let current = self.ring().current.clone();
        if current.as_ref().is_some_and(|current| Self::key_of(check) == Some(&current.id)) {
            return Ok(());
        }
        let known = self.ring().others.iter().find(|other| Self::key_of(check) == Some(&*other.id)).cloned();
        let next = match known {
            Some(known) if known.recognises(check) => known,
            Some(_) => return Err(self.0.vault.wrong()),
            None => match self.0.vault.sealer_of(check) {
                Ok(found) => Arc::new(found),
                Err(VaultError::Missing(_)) if current.is_none() => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        let mut ring = self.ring_mut();
        ring.etag.clone_from(&next.etag);
        ring.others.retain(|other| other.id != next.id);
        // What was read before is opened with the key before.
        let before = ring.current.replace(next);
        ring.others.extend(before);
        Ok(())
    }

    /// Can open what this key seals from now on.
    pub(in crate::store) fn learn(&self, sealer: &Arc<Sealer>) {
        let mut ring = self.ring_mut();
        if ring.others.iter().all(|other| other.id != sealer.id) {
            ring.others.push(Arc::clone(sealer));
        }
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.0.ring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sealer {
    pub(in crate::store) fn new(found: &Found) -> Self {
        Self {
            seal: found.key.derived("offhook seal"),
            etag: found.key.derived("offhook etag"),
            id: found.key.id(),
            origin: found.origin.clone(),
        }
    }

    /// The key's name.
    pub(in crate::store) fn id(&self) -> &str {
        &self.id
    }

    /// Where the key was found.
    pub(in crate::store) fn origin(&self) -> &KeyOrigin {
        &self.origin
    }

    pub(in crate::store) fn seal(
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
        Ok(Sealed(format!("{FORMAT}.{}.{version}.{}.{}", self.id, hex(&nonce), hex(&sealed))))
    }

    pub(in crate::store) fn check(&self, entropy: &Entropy) -> Result<Sealed, VaultError> {
        self.seal(&check_place(), 1, &Secret::new(CHECK_TEXT), entropy)
    }

    /// Whether this is the key that made `check`.
    pub(in crate::store) fn recognises(&self, check: &Sealed) -> bool {
        let text = self.try_open(&check_place(), Some(1), check);
        text.is_some_and(|text| text.expose() == CHECK_TEXT)
    }

    fn try_open(&self, place: &Place, expected: Option<i64>, sealed: &Sealed) -> Option<Secret> {
        let mut parts = sealed.0.split('.');
        let mut next = || parts.next();
        let (format, id, version) = (next()?, next()?, next()?.parse::<i64>().ok()?);
        let (nonce, body) = (unhex(next()?)?, unhex(next()?)?);
        if format != FORMAT || id != self.id || expected.is_some_and(|expected| expected != version) {
            return None;
        }
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let associated = associated(place, version);
        let payload = Payload { msg: &body, aad: associated.as_bytes() };
        let opened = Zeroizing::new(self.cipher().decrypt(&XNonce::from(nonce), payload).ok()?);
        std::str::from_utf8(&opened).ok().map(Secret::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.seal).into())
    }
}

fn check_place() -> Place {
    Place { table: "head", row: "1".to_owned(), kind: "check" }
}

fn associated(place: &Place, version: i64) -> String {
    format!("{}|{}|{}|{version}", place.table, place.row, place.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> Keys {
        Vault::with_key([byte; 32]).unlock(None, &Entropy::System).unwrap()
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
        assert_eq!(keys(1).etag(b"a", &[]).len(), 34);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?} {:?}", keys(0xab), Vault::with_key([0xab; 32]));
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn after_a_change_of_keys_both_open_and_the_new_one_seals() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::at(&folder.path().join("offhook.key"));
        let keys = vault.unlock(None, &Entropy::System).unwrap();
        let before = keys.id().unwrap();
        let seal = |text: &str| keys.seal(&place("00", "menu"), 1, &Secret::new(text), &Entropy::System);
        let (old, old_check) = (seal("a").unwrap(), keys.check(&Entropy::System).unwrap());
        let next = vault.prepare(&keys.sealer().unwrap(), &Entropy::System).unwrap();
        let check = Sealer::new(&next).check(&Entropy::System).unwrap();
        keys.follow(&check).unwrap();
        assert_ne!(keys.id().unwrap(), before);
        let new = seal("b").unwrap();
        for (sealed, text) in [(old, "a"), (new, "b")] {
            assert_eq!(keys.open(&place("00", "menu"), None, &sealed).unwrap().expose(), text);
        }
        keys.follow(&old_check).unwrap();
        assert_eq!(keys.id().unwrap(), before, "a database put back is followed too");
    }
}
