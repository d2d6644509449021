//! What a phone's certificate proves. A phone shows the one that its vendor put into it, wherever it connects to, so a
//! certificate that proves nothing is no reason to turn the phone away: the connection goes on as if it had shown none.
//! Never decides what a proven phone may have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::authority::parsed;
use super::subject::sole_mac;
use crate::device::Mac;

/// What a phone's certificate proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhoneCertificate {
    /// Whose it is.
    pub mac: Mac,
    /// Whether its time, or that of one it hangs on, is over.
    pub expired: bool,
}

/// The authorities whose certificates prove phones.
#[derive(Debug)]
pub(super) struct Vendors {
    verifier: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Vendors {
    /// These authorities; `None` without any.
    pub(super) fn of(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Option<Self> {
        let algorithms = provider.signature_verification_algorithms;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .ok()?;
        Some(Self { verifier, algorithms })
    }

    /// Whose certificate this is; or, in words, why it proves nobody.
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PhoneCertificate, String> {
        let expired = match self.verifier.verify_client_cert(own, others, now) {
            Ok(_) => false,
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => {
                // Was it good when the first of them ended?
                let then = std::iter::once(own).chain(others).filter_map(last_moment).min();
                let then = then.ok_or("it cannot be read")?;
                self.verifier.verify_client_cert(own, others, then).map_err(|error| error.to_string())?;
                true
            }
            Err(error) => return Err(error.to_string()),
        };
        let parsed = parsed(own).map_err(|error| error.to_string())?;
        let mac = sole_mac(parsed.subject()).ok_or("there is not exactly one MAC in its subject")?;
        Ok(PhoneCertificate { mac, expired })
    }
}

fn last_moment(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let seconds = u64::try_from(parsed(certificate).ok()?.validity().not_after.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
}

/// What one connection's handshake has shown.
#[derive(Debug)]
pub struct Witness {
    vendors: Option<Arc<Vendors>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What became of the certificate, if there was one.
    judged: Option<Result<PhoneCertificate, String>>,
    /// Whether the peer has its key.
    has_key: bool,
}

impl Witness {
    pub(super) fn new(vendors: Option<Arc<Vendors>>) -> Self {
        Self { vendors, seen: Mutex::default() }
    }

    /// Whether it judges by these authorities.
    pub(super) fn knows(&self, vendors: Option<&Arc<Vendors>>) -> bool {
        self.vendors.as_ref().map(Arc::as_ptr) == vendors.map(Arc::as_ptr)
    }

    /// The phone that the peer has proved to be, once the handshake is over: its certificate is genuine, and it holds the
    /// key. Or, in words, why what it showed proves nothing.
    pub fn phone(&self) -> Result<Option<PhoneCertificate>, String> {
        let seen = self.seen();
        match &seen.judged {
            None => Ok(None),
            Some(Ok(_)) if !seen.has_key => {
                Err("it has not shown that it holds the certificate's key".to_owned())
            }
            Some(judged) => judged.clone().map(Some),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A signature is looked at where it would prove something; a wrong one proves nothing, and ends nothing either.
    fn signed(
        &self,
        verify: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) {
        let mut seen = self.seen();
        if let (Some(Ok(_)), Some(vendors)) = (&seen.judged, &self.vendors) {
            seen.has_key = verify(&vendors.algorithms).is_ok();
        }
    }
}

impl ClientCertVerifier for Witness {
    /// Nobody is asked for what nobody could judge.
    fn offer_client_auth(&self) -> bool {
        self.vendors.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: a phone shows whatever it has, and some would show nothing when the issuer of their certificate is an
    /// intermediate that is not in the list.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judge = |vendors: &Arc<Vendors>| vendors.judge(end_entity, intermediates, now);
        *self.seen() = Seen { judged: self.vendors.as_ref().map(judge), has_key: false };
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|algorithms| verify_tls12_signature(message, cert, dss, algorithms));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(|algorithms| verify_tls13_signature(message, cert, dss, algorithms));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.vendors.as_ref().map(|vendors| vendors.algorithms.supported_schemes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use super::*;

    const MAC: &str = "00:15:65:aa:bb:cc";

    struct Vendor {
        issuer: Issuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
    }

    fn vendor() -> Vendor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Vendor Root CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Vendor { issuer: Issuer::new(params, key), certificate }
    }

    impl Vendor {
        fn certificate(&self, subject: &[(DnType, &str)], last_year: i32) -> CertificateDer<'static> {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, value) in subject {
                params.distinguished_name.push(kind.clone(), *value);
            }
            params.not_before = rcgen::date_time_ymd(2010, 1, 1);
            params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
            params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
        }

        fn trusted(&self) -> Vendors {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).unwrap();
            Vendors::of(roots, &Arc::new(aws_lc_rs::default_provider())).unwrap()
        }
    }

    /// In 2026.
    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_795_000_000))
    }

    #[test]
    fn a_certificate_proves_the_one_mac_in_its_subject() {
        let vendor = vendor();
        let trusted = vendor.trusted();
        let check = |what: &str, subject: &[(DnType, &str)], last_year, expected: Option<bool>| {
            let judged = trusted.judge(&vendor.certificate(subject, last_year), &[], now());
            let expected = expected.map(|expired| PhoneCertificate { mac: MAC.parse().unwrap(), expired });
            assert_eq!(judged.clone().ok(), expected, "{what}: {judged:?}");
        };
        let (cn, ou) = (DnType::CommonName, DnType::OrganizationalUnitName);
        check("the name", &[(cn.clone(), "001565AABBCC")], 2040, Some(false));
        check("elsewhere", &[(cn.clone(), "SPA-504G"), (ou.clone(), MAC)], 2040, Some(false));
        check("twice the same", &[(cn.clone(), MAC), (ou.clone(), "001565aabbcc")], 2040, Some(false));
        check("two", &[(cn.clone(), MAC), (ou.clone(), "001565aabbcd")], 2040, None);
        check("generic", &[(cn.clone(), "Yealink Device"), (ou, "ciscogeneric")], 2040, None);
        check("no subject", &[], 2040, None);
        check("its time is over", &[(cn.clone(), MAC)], 2020, Some(true));
        check("generic, and its time is over", &[(cn, "generic")], 2020, None);
    }

    #[test]
    fn only_an_authority_that_is_trusted_counts() {
        let (ours, other) = (vendor(), vendor());
        let genuine = ours.certificate(&[(DnType::CommonName, MAC)], 2040);
        assert!(ours.trusted().judge(&genuine, &[], now()).is_ok());
        let error = other.trusted().judge(&genuine, &[], now()).unwrap_err();
        assert!(error.contains("invalid peer certificate"), "{error}");
        let expired = ours.certificate(&[(DnType::CommonName, MAC)], 2020);
        assert!(other.trusted().judge(&expired, &[], now()).is_err(), "expired and foreign");
        // Brought along, the other authority is trusted no more than before.
        let brought = [ours.certificate.clone()];
        assert!(other.trusted().judge(&genuine, &brought, now()).is_err());
        for garbage in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0; 4096]] {
            assert!(ours.trusted().judge(&CertificateDer::from(garbage), &[], now()).is_err());
        }
    }

    #[test]
    fn without_a_signature_nothing_is_proven() {
        let vendor = vendor();
        let genuine = vendor.certificate(&[(DnType::CommonName, MAC)], 2040);
        let witness = Witness::new(Some(Arc::new(vendor.trusted())));
        assert_eq!(witness.phone(), Ok(None));
        witness.verify_client_cert(&genuine, &[], now()).unwrap();
        assert!(witness.phone().is_err());
        witness.signed(|_| Err(Error::DecryptError));
        assert!(witness.phone().is_err(), "somebody else's certificate");
        witness.signed(|_| Ok(HandshakeSignatureValid::assertion()));
        assert_eq!(witness.phone().unwrap().unwrap().mac, MAC.parse().unwrap());
        witness.verify_client_cert(&CertificateDer::from(&b"x"[..]), &[], now()).unwrap();
        witness.signed(|_| Ok(HandshakeSignatureValid::assertion()));
        assert!(witness.phone().is_err());
        assert!(!Witness::new(None).offer_client_auth(), "nobody could judge it");
    }
}
