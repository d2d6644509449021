//! The certificates that our authority has issued to this host: one for phones that know only RSA, and one for the
//! rest. Never touches a file and never reads a clock.

use std::sync::Arc;

use rcgen::{KeyPair, RsaKeySize};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::authority::{Authority, CertificateError, LEAF_RENEWED_BEFORE, ends, parsed, pem_pair, read_pair};
use super::names::Names;
use crate::clock::{Entropy, Timestamp};
use crate::secret::Secret;

/// Which kind of key a certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// P-256: small, and cheap to sign with.
    Ecdsa,
    /// RSA with 2048 bits.
    Rsa,
}

impl Kind {
    /// In the order of preference.
    pub(super) const ALL: [Self; 2] = [Self::Ecdsa, Self::Rsa];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }

    fn draw(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::Rsa => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
    }
}

/// A certificate and its key.
pub(super) struct Leaf {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    names: Names,
    ends: Timestamp,
}

impl Leaf {
    /// Issued by this authority, with a key of its own.
    pub(super) fn make(
        kind: Kind,
        authority: &Authority,
        host: &str,
        names: &Names,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Self, CertificateError> {
        Self::issued(kind.draw()?, authority, host, names, now, entropy)
    }

    /// The leaf that [`Self::pem`] wrote; `None` when another authority issued it.
    pub(super) fn read(pem: &Secret, authority: &Authority) -> Result<Option<Self>, CertificateError> {
        let (certificate, key) = read_pair(pem)?;
        let parsed = parsed(&certificate)?;
        if !authority.has_issued(&parsed) {
            return Ok(None);
        }
        let (names, ends) = (Names::in_certificate(&parsed), ends(&parsed));
        Ok(Some(Self { key, certificate, names, ends }))
    }

    /// Whether it lacks a name, or has little time left.
    pub(super) fn is_due(&self, names: &Names, now: Timestamp) -> bool {
        !names.are_in(&self.names) || self.ends.minus(LEAF_RENEWED_BEFORE) <= now
    }

    /// Issued again, with the same key.
    pub(super) fn renewed(
        self,
        authority: &Authority,
        host: &str,
        names: &Names,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Self, CertificateError> {
        Self::issued(self.key, authority, host, names, now, entropy)
    }

    fn issued(
        key: KeyPair,
        authority: &Authority,
        host: &str,
        names: &Names,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Self, CertificateError> {
        let certificate = authority.issue(host, &key, names, now, entropy)?;
        let ends = ends(&parsed(&certificate)?);
        Ok(Self { key, certificate, names: names.clone(), ends })
    }

    /// Certificate and key.
    pub(super) fn pem(&self) -> Secret {
        pem_pair(&self.certificate, &self.key)
    }

    /// As rustls shows it.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, CertificateError> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Ok(Arc::new(CertifiedKey::from_der(vec![self.certificate.clone()], key, provider)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::config::HostName;
    use crate::net::interfaces::Table;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn names(besides: &[&str]) -> Names {
        let quoted = |name: &&str| serde_json::from_value(serde_json::json!(name)).unwrap();
        let besides: Vec<HostName> = besides.iter().map(quoted).collect();
        Names::of(&Table::default(), "pbx", &besides)
    }

    fn authority(host: &str) -> Authority {
        Authority::make(host, &names(&[]), NOW, &Entropy::System).unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_another_authoritys_is_not_ours() {
        let ours = authority("pbx");
        let again = Authority::read(&ours.pem()).unwrap();
        assert_eq!(again.certificate(), ours.certificate());
        for kind in Kind::ALL {
            let leaf =
                Leaf::make(kind, &again, "pbx", &names(&["192.168.1.35"]), NOW, &Entropy::System).unwrap();
            let read = Leaf::read(&leaf.pem(), &ours).unwrap().unwrap();
            assert_eq!((&read.certificate, &read.names), (&leaf.certificate, &names(&["192.168.1.35"])));
            assert!(Leaf::read(&leaf.pem(), &authority("pbx")).unwrap().is_none());
            leaf.certified(&aws_lc_rs::default_provider()).unwrap();
        }
        let stranger = authority("pbx");
        let (certificate, _) = read_pair(&ours.pem()).unwrap();
        let (_, key) = read_pair(&stranger.pem()).unwrap();
        assert!(Authority::read(&pem_pair(&certificate, &key)).is_err(), "the key is another one's");
        for broken in ["", "geheim", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Authority::read(&Secret::new(broken)).is_err());
            assert!(Leaf::read(&Secret::new(broken), &ours).is_err());
        }
    }

    #[test]
    fn a_leaf_is_due_for_a_new_name_and_when_a_third_is_left() {
        let authority = authority("pbx");
        let leaf = Leaf::make(
            Kind::Ecdsa,
            &authority,
            "pbx",
            &names(&["10.0.0.1", "10.0.0.2"]),
            NOW,
            &Entropy::System,
        );
        let leaf = leaf.unwrap();
        let day = Duration::from_hours(24);
        for (what, names, days, expected) in [
            ("as it was made", names(&["10.0.0.1", "10.0.0.2"]), 0, false),
            ("an address has gone", names(&["10.0.0.1"]), 0, false),
            ("an address has come", names(&["10.0.0.3"]), 0, true),
            ("a name has come", names(&["10.0.0.1", "phones.lan"]), 0, true),
            ("two thirds", names(&[]), 263, false),
            ("a third is left", names(&[]), 265, true),
            ("over", names(&[]), 400, true),
        ] {
            assert_eq!(leaf.is_due(&names, NOW.plus(day * days)), expected, "{what}");
        }
        assert!(!leaf.is_due(&names(&[]), Timestamp(0)), "before the clock is set");
        let key = leaf.key.public_key_raw().to_vec();
        let renewed = leaf.renewed(&authority, "pbx", &names(&["10.0.0.3"]), NOW, &Entropy::System).unwrap();
        assert_eq!(renewed.key.public_key_raw(), key, "the key stays");
        assert!(!renewed.is_due(&names(&["10.0.0.3"]), NOW));
    }

    #[test]
    fn an_authority_made_before_the_clock_is_set_is_good_today() {
        let authority = Authority::make("pbx", &names(&[]), Timestamp(0), &Entropy::System).unwrap();
        let parsed = parsed(authority.certificate()).unwrap();
        assert!(ends(&parsed) > NOW.plus(Duration::from_hours(24 * 365)));
        assert_eq!(parsed.validity().not_before.timestamp(), 946_684_800, "2000-01-01");
        let (permitted, others) =
            authority.permits(&names(&["192.168.1.35", "203.0.113.9", "pbx.example.com"])).unwrap();
        assert_eq!(permitted, names(&["192.168.1.35"]));
        assert_eq!(others.to_string(), "203.0.113.9, pbx.example.com");
    }
}
