//! Our own certificate authority. Makes and reads it, and issues with it; never touches a file and never reads a clock.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::names::Names;
use crate::clock::{Entropy, EntropyError, Timestamp};
use crate::secret::Secret;

/// How long our authority is good: as long as a generation of phones.
const AUTHORITY_DAYS: u64 = 10 * 365;
/// How long what it issues is good.
const LEAF_DAYS: u64 = 397;
/// A host whose clock has not been set yet is in no earlier year than this program (2026-11-01).
const BUILT_AT: Timestamp = Timestamp(1_793_491_200_000);
/// The name constraints' object identifier.
const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    #[error("cannot make it: {0}")]
    Make(#[from] rcgen::Error),
    #[error("it is not a certificate and its key in PEM: {0}")]
    Pem(#[from] tokio_rustls::rustls::pki_types::pem::Error),
    #[error("it is no certificate")]
    NotACertificate,
    #[error("it is no authority, or its key is another one's")]
    Mismatch,
    #[error("it cannot be used: {0}")]
    Unusable(#[from] tokio_rustls::rustls::Error),
}

/// An authority: its certificate and its key.
pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority for the host of this name.
    pub(super) fn make(
        host: &str,
        names: &Names,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        // Two authorities of one host (one was thrown away) are told apart by people, too.
        let number: String = entropy.bytes::<4>()?.iter().fold(String::new(), |mut text, octet| {
            let _ = write!(text, "{octet:02X}");
            text
        });
        let mut params = params(&format!("offhook on {host}, CA {number}"), AUTHORITY_DAYS, now, entropy)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Not critical, though RFC 5280 asks for it: a library that does not know the extension (mbedTLS, in many
        // phones) would refuse the authority as a whole; those that know it obey it either way.
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(NAME_CONSTRAINTS, names.constraints())];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// The authority that [`Self::pem`] wrote.
    pub(super) fn read(pem: &Secret) -> Result<Self, CertificateError> {
        let (certificate, key) = read_pair(pem)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        let parsed = parsed(&certificate)?;
        if !parsed.is_ca() || parsed.public_key().subject_public_key.data != issuer.key().public_key_raw() {
            return Err(CertificateError::Mismatch);
        }
        Ok(Self { certificate, issuer })
    }

    /// Its certificate and its key.
    pub(super) fn pem(&self) -> Secret {
        pem_pair(&self.certificate, self.issuer.key())
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The names that it may issue for, and those that it may not.
    pub(super) fn permits(&self, names: &Names) -> Result<(Names, Names), CertificateError> {
        Ok(names.permitted_by(&parsed(&self.certificate)?))
    }

    /// Whether it has issued this certificate.
    pub(super) fn has_issued(&self, certificate: &X509Certificate<'_>) -> bool {
        let own = parsed(&self.certificate);
        own.is_ok_and(|own| {
            certificate.issuer().as_raw() == own.subject().as_raw()
                && certificate.verify_signature(Some(own.public_key())).is_ok()
        })
    }

    /// A certificate for a service of this host.
    pub(super) fn issue(
        &self,
        host: &str,
        key: &KeyPair,
        names: &Names,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<CertificateDer<'static>, CertificateError> {
        let mut params = params(&format!("offhook on {host}"), LEAF_DAYS, now, entropy)?;
        params.subject_alt_names = names.alternatives();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }
}

/// When a third of the life of what an authority issues is left.
pub(super) const LEAF_RENEWED_BEFORE: Duration = Duration::from_hours(LEAF_DAYS * 24 / 3);

/// What all our certificates have: a common name, a random serial number, and a validity that began before the clock of
/// any phone: some are in 2001 until they have asked a time server.
fn params(
    name: &str,
    days: u64,
    now: Timestamp,
    entropy: &Entropy,
) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(&entropy.bytes::<16>()?));
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let end = now.max(BUILT_AT).plus(Duration::from_hours(days * 24));
    if let Ok(end) = jiff::Timestamp::from_millisecond(end.0) {
        let end = jiff::tz::Offset::UTC.to_datetime(end);
        let (month, day) = (u8::try_from(end.month()).unwrap_or(1), u8::try_from(end.day()).unwrap_or(1));
        params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
    }
    Ok(params)
}

/// The certificate and the key in one PEM text.
pub(super) fn read_pair(pem: &Secret) -> Result<(CertificateDer<'static>, KeyPair), CertificateError> {
    let certificate = CertificateDer::from_pem_slice(pem.expose().as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())?;
    Ok((certificate, KeyPair::try_from(key.secret_der())?))
}

/// Both in one PEM text, of which no copy stays behind.
pub(super) fn pem_pair(certificate: &CertificateDer<'_>, key: &KeyPair) -> Secret {
    let key = Zeroizing::new(key.serialize_der());
    let mut text = String::with_capacity(2 * (certificate.len() + key.len()) + 256);
    add_pem(&mut text, "CERTIFICATE", certificate);
    add_pem(&mut text, "PRIVATE KEY", &key);
    Secret::new(text)
}

/// A certificate as PEM.
pub(super) fn public_pem(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::new();
    add_pem(&mut text, "CERTIFICATE", certificate);
    text
}

/// One block of PEM (RFC 7468): 48 octets are a line of 64 characters.
fn add_pem(text: &mut String, label: &str, der: &[u8]) {
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in der.chunks(48) {
        STANDARD.encode_string(line, text);
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
}

/// A certificate, taken apart.
pub(super) fn parsed<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, CertificateError> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|_| CertificateError::NotACertificate)
}

/// Its last moment.
pub(super) fn ends(certificate: &X509Certificate<'_>) -> Timestamp {
    Timestamp(certificate.validity().not_after.timestamp().saturating_mul(1000))
}

/// SHA-256 of a certificate, as people compare it: `AB:CD:…`.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digits: Vec<String> =
        Sha256::digest(certificate).iter().map(|octet| format!("{octet:02X}")).collect();
    digits.join(":")
}
