//! What a new device is born with: a web password, a menu credential and two tokens, random and sealed at once.
//! Writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::StoreError;
use super::inventory::{Entry, TokenDigest, digest};
use super::vault::{Keys, Place};
use crate::clock::{Entropy, Timestamp};
use crate::device::{Approval, Device, Identity, Mac, Way};
use crate::hex::hex;
use crate::secret::{Sealed, Secret, SecretKind};

/// Letters and digits that nobody confuses when typing them from a sheet of paper.
const CLEAR_LETTERS: &str = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const WEB_PASSWORD_CHARS: usize = 16;
/// No zero: a spreadsheet takes a leading one away.
const MENU_DIGITS: &str = "123456789";
const MENU_CREDENTIAL_CHARS: usize = 8;
/// The version of a device's first secrets.
const FIRST: i64 = 1;

/// What seals and draws the lots for new secrets.
#[derive(Debug, Clone)]
pub(super) struct Mint {
    pub(super) keys: Keys,
    pub(super) entropy: Entropy,
}

impl Mint {
    pub(super) fn seal(&self, place: &Place, version: i64, secret: &Secret) -> Result<Sealed, StoreError> {
        Ok(self.keys.seal(place, version, secret, &self.entropy)?)
    }

    /// A device that did not exist, with credentials of its own.
    pub(super) fn device(
        &self,
        mac: Mac,
        identity: &Identity,
        approval: Approval,
        way: Option<Way>,
        (generation, now): (i64, Timestamp),
    ) -> Result<Entry, StoreError> {
        let seal = |kind: SecretKind, secret: &Secret| {
            self.seal(&device_place(mac, kind.as_str()), FIRST, secret).map(|sealed| (kind, sealed))
        };
        let (steady, steady_digest) = self.token()?;
        let (bootstrap, bootstrap_digest) = self.token()?;
        let secrets: BTreeMap<SecretKind, Sealed> = [
            seal(SecretKind::Webui, &self.web_password()?)?,
            seal(SecretKind::Menu, &self.menu_credential()?)?,
            seal(SecretKind::Prov, &steady)?,
        ]
        .into();
        let device = Device {
            mac,
            vendor: identity.vendor.clone(),
            model: identity.model.clone(),
            firmware: identity.firmware.clone(),
            approval,
            way,
            gigaset_id: None,
            revision: generation,
            lines: Vec::new(),
            keys: Vec::new(),
            settings: BTreeMap::new(),
            secrets,
            bootstrap_token: self.seal(&device_place(mac, BOOTSTRAP), FIRST, &bootstrap)?,
            created_at: now,
            last_seen: None,
        };
        Ok(Entry { device: Arc::new(device), digests: [bootstrap_digest, steady_digest] })
    }

    /// A new token for the URL that is handed out.
    pub(super) fn bootstrap(&self, mac: Mac) -> Result<(Sealed, TokenDigest), StoreError> {
        let (token, digest) = self.token()?;
        Ok((self.seal(&device_place(mac, BOOTSTRAP), FIRST, &token)?, digest))
    }

    /// Sixteen clear letters, with a small one, a large one and a digit among them, as some phones demand.
    fn web_password(&self) -> Result<Secret, StoreError> {
        loop {
            let drawn = Secret::new(self.entropy.text(CLEAR_LETTERS, WEB_PASSWORD_CHARS)?);
            let has = |kind: fn(&char) -> bool| drawn.expose().chars().any(|c| kind(&c));
            if has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit) {
                return Ok(drawn);
            }
        }
    }

    fn menu_credential(&self) -> Result<Secret, StoreError> {
        Ok(Secret::new(self.entropy.text(MENU_DIGITS, MENU_CREDENTIAL_CHARS)?))
    }

    /// 128 random bits as 32 lower-case digits.
    fn token(&self) -> Result<(Secret, TokenDigest), StoreError> {
        let bits = Zeroizing::new(self.entropy.bytes::<16>()?);
        let token = Secret::new(hex(bits.as_slice()));
        let digest = digest(token.expose());
        Ok((token, digest))
    }
}

/// The kind of the bootstrap token's row; it is no kind of slot, so that no template can ask for it.
pub(super) const BOOTSTRAP: &str = "bootstrap";

/// Where a device's secret stands.
pub(super) fn device_place(mac: Mac, kind: &'static str) -> Place {
    Place { table: "device_secret", row: mac.bare(), kind }
}

/// Where an account's password stands.
pub(super) fn account_place(id: i64) -> Place {
    Place { table: "account", row: id.to_string(), kind: "sip" }
}

#[cfg(test)]
mod tests {
    use super::super::vault::Vault;
    use super::*;

    #[test]
    fn credentials_have_their_forms() {
        let entropy = Entropy::seeded(1);
        let keys = Vault::with_key([7; 32]).unlock(None, &entropy).unwrap();
        let mint = Mint { keys: keys.clone(), entropy };
        let mac: Mac = "00:15:65:f4:f9:e1".parse().unwrap();
        let entry = mint
            .device(mac, &Identity::default(), Approval::Pending, None, (1, Timestamp::default()))
            .unwrap();
        let open = |kind: SecretKind| {
            let sealed = &entry.device.secrets[&kind];
            keys.open(&device_place(mac, kind.as_str()), Some(1), sealed).unwrap().expose().to_owned()
        };
        let web = open(SecretKind::Webui);
        assert!(web.len() == 16 && web.chars().all(|c| CLEAR_LETTERS.contains(c)), "{web}");
        let menu = open(SecretKind::Menu);
        assert!(menu.len() == 8 && menu.chars().all(|c| MENU_DIGITS.contains(c)), "{menu}");
        let steady = open(SecretKind::Prov);
        assert!(steady.len() == 32 && steady.chars().all(|c| "0123456789abcdef".contains(c)), "{steady}");
        assert_eq!(digest(&steady), entry.digests[1]);
        assert_ne!(entry.digests[0], entry.digests[1]);
        let shown = format!("{entry:?}");
        assert!(![web, menu, steady].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}
