//! The certificates as they are now: made at the first start, issued again when they must be, read again when their
//! files change. What cannot be read leaves what was there before, and is said once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tracing::{info, warn};

use super::authority::{Authority, CertificateError, ends, fingerprint, parsed, public_pem};
use super::files::{self, Stamp};
use super::leaf::{Kind, Leaf};
use super::names::Names;
use super::witness::{Vendors, Witness};
use crate::clock::{Clock, Entropy};
use crate::config::HttpsConfig;

/// The authority with its key, and without it, in the folder.
const AUTHORITY: &str = "authority.pem";
pub(super) const PUBLIC: &str = "ca.crt";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What TLS is set up from.
#[derive(Debug)]
pub struct TlsOptions {
    /// Where our own authority is kept.
    pub folder: PathBuf,
    /// `[https]`
    pub config: HttpsConfig,
    /// This host's name, for people.
    pub host: String,
    /// The time.
    pub clock: Clock,
    /// For serial numbers.
    pub entropy: Entropy,
}

/// TLS as this host speaks it. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    options: TlsOptions,
    provider: Arc<CryptoProvider>,
    authority: Authority,
    shown: RwLock<Shown>,
    held: Mutex<Held>,
}

/// What every new connection is given.
#[derive(Clone, Default)]
struct Shown {
    certificates: Arc<Certificates>,
    vendors: Option<Arc<Vendors>>,
}

/// What was read, and from which state of the files.
#[derive(Default)]
struct Held {
    leaves: Vec<(Kind, Leaf)>,
    own: Option<Arc<CertifiedKey>>,
    own_seen: Vec<(PathBuf, Stamp)>,
    vendors_seen: Vec<(PathBuf, Stamp)>,
    vendors: usize,
    left_out: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("folder", &self.0.options.folder).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads our authority, or makes it; then everything as [`Self::refresh`] does.
    pub fn open(options: TlsOptions, names: &Names) -> Result<Self, TlsError> {
        let authority = authority(&options, names)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let inner = Inner { options, provider, authority, shown: RwLock::default(), held: Mutex::default() };
        let tls = Self(Arc::new(inner));
        tls.0
            .issue(&mut tls.0.held(), names)
            .map_err(|error| TlsError { path: tls.0.options.folder.clone(), reason: error.to_string() })?;
        tls.refresh(names);
        Ok(tls)
    }

    /// Issues what is due, and reads again what was written since the last time; to be called every few seconds, and
    /// when this host has other addresses.
    pub fn refresh(&self, names: &Names) {
        let inner = &*self.0;
        let mut held = inner.held();
        let issued = inner.issue(&mut held, names).unwrap_or_else(|error| {
            warn!("Cannot issue a certificate for {names}: {error}");
            false
        });
        let read = inner.read_own(&mut held);
        let vendors = inner.read_vendors(&mut held);
        if !issued && !read && vendors.is_none() && !inner.shown().certificates.0.is_empty() {
            return;
        }
        let issued = held.leaves.iter().filter_map(|(_, leaf)| leaf.certified(&inner.provider).ok());
        let certificates = Certificates(held.own.iter().cloned().chain(issued).collect());
        let mut shown = inner.shown.write().unwrap_or_else(PoisonError::into_inner);
        shown.certificates = Arc::new(certificates);
        if let Some(vendors) = vendors {
            shown.vendors = vendors;
        }
    }

    /// The server's side of one handshake, and who will know what the phone has shown in it.
    pub fn acceptor(&self) -> Result<(TlsAcceptor, Arc<Witness>), rustls::Error> {
        let inner = &*self.0;
        let shown = inner.shown();
        let witness = Arc::new(Witness::new(shown.vendors));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&inner.provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::clone(&witness) as Arc<_>)
            .with_cert_resolver(shown.certificates);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Nothing is resumed: a phone connects a few times a day, and whoever it proves to be is proved each time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.time_provider = Arc::new(Wall(inner.options.clock.clone()));
        Ok((TlsAcceptor::from(Arc::new(config)), witness))
    }

    /// Whether this witness knows the authorities of phones as they are now.
    pub fn is_current(&self, witness: &Witness) -> bool {
        witness.knows(self.0.shown().vendors.as_ref())
    }

    /// The certificate of our authority, in PEM: what phones and people need to trust us.
    pub fn authority_pem(&self) -> String {
        public_pem(self.0.authority.certificate())
    }

    /// The same in DER.
    pub fn authority_der(&self) -> &[u8] {
        self.0.authority.certificate()
    }

    /// Its SHA-256, as people compare it.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.0.authority.certificate())
    }

    /// What is shown and believed, in a few words for a person.
    pub fn summary(&self) -> String {
        let held = self.0.held();
        let certificate = match (&held.own, &self.0.options.config.certificate) {
            (Some(_), Some(path)) => format!("certificate {}", path.display()),
            (None, Some(path)) => {
                format!("certificate of our own CA, because {} cannot be used", path.display())
            }
            (_, None) => "certificate of our own CA, /ca.crt".to_owned(),
        };
        match (held.vendors, &self.0.options.config.client_ca) {
            (0, None) => certificate,
            (0, Some(_)) => format!("{certificate}; NO authority of phones is in https.client_ca"),
            (1, _) => format!("{certificate}; phones prove themselves by certificates of one authority"),
            (many, _) => {
                format!("{certificate}; phones prove themselves by certificates of {many} authorities")
            }
        }
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> Shown {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads or issues our own certificates; whether one is another now.
    fn issue(&self, held: &mut Held, names: &Names) -> Result<bool, CertificateError> {
        let (names, left_out) = self.authority.permits(names)?;
        let left_out = left_out.to_string();
        if held.left_out != left_out && !left_out.is_empty() {
            warn!(
                "Our certificate authority was made before this host was known as {left_out}, and may not issue for \
                 that; for a new one, stop the agent and remove {}",
                self.options.folder.display()
            );
        }
        held.left_out = left_out;
        let now = self.options.clock.now();
        let mut is_new = false;
        for kind in Kind::ALL {
            let place = held.leaves.iter().position(|(known, _)| *known == kind);
            if place
                .and_then(|place| held.leaves.get(place))
                .is_some_and(|(_, leaf)| !leaf.is_due(&names, now))
            {
                continue;
            }
            let path = self.options.folder.join(format!("{}.pem", kind.as_str()));
            let known = place.map(|place| held.leaves.swap_remove(place).1).or_else(|| self.kept(&path));
            let leaf = match known {
                Some(leaf) if !leaf.is_due(&names, now) => leaf,
                known => self.issued(kind, known, &names, &path)?,
            };
            held.leaves.push((kind, leaf));
            is_new = true;
        }
        held.leaves.sort_by_key(|(kind, _)| *kind as u8);
        Ok(is_new)
    }

    /// The certificate in this file, if our authority has issued it.
    fn kept(&self, path: &Path) -> Option<Leaf> {
        let pem = files::read_secret(path).ok().flatten()?;
        Leaf::read(&pem, &self.authority)
            .inspect_err(|error| warn!("Cannot use {}: {error}; it is made anew", path.display()))
            .ok()
            .flatten()
    }

    fn issued(
        &self,
        kind: Kind,
        known: Option<Leaf>,
        names: &Names,
        path: &Path,
    ) -> Result<Leaf, CertificateError> {
        let TlsOptions { host, clock, entropy, .. } = &self.options;
        let (authority, now) = (&self.authority, clock.now());
        let leaf = match known {
            Some(leaf) => leaf.renewed(authority, host, names, now, entropy)?,
            None => Leaf::make(kind, authority, host, names, now, entropy)?,
        };
        if let Err(error) = files::write_secret(path, &leaf.pem()) {
            warn!("Cannot keep a certificate in {}: {error}; the next start makes another", path.display());
        }
        info!("Issued a certificate ({}) for {names}", kind.as_str());
        Ok(leaf)
    }

    /// Reads the administrator's certificate, if it was written since the last time; whether it is another now.
    fn read_own(&self, held: &mut Held) -> bool {
        let HttpsConfig { certificate: Some(certificate), key, .. } = &self.options.config else {
            return false;
        };
        let key = key.as_ref().unwrap_or(certificate);
        let stamps = files::stamps([certificate, key]);
        if std::mem::replace(&mut held.own_seen, stamps.clone()) == stamps {
            return false;
        }
        match self.own(certificate, key) {
            Ok(own) => {
                info!("The certificate {} is in use", certificate.display());
                held.own = Some(own);
                true
            }
            Err(reason) => {
                let instead = if held.own.is_some() { "the one before" } else { "one of our own authority" };
                warn!("Cannot use the certificate {}: {reason}; {instead} is in use", certificate.display());
                false
            }
        }
    }

    fn own(&self, certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
        let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain = files::read(certificate).map_err(|error| named(certificate, &error))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.map_err(|error| named(certificate, &error))?;
        let secret = files::read_secret(key).map_err(|error| named(key, &error))?;
        let secret = secret.ok_or_else(|| named(key, &"there is no such file"))?;
        let secret =
            PrivateKeyDer::from_pem_slice(secret.expose().as_bytes()).map_err(|error| named(key, &error))?;
        let Some(first) = chain.first() else {
            return Err(named(certificate, &"there is no certificate in it"));
        };
        let until = ends(&parsed(first).map_err(|error| error.to_string())?);
        let own = CertifiedKey::from_der(chain, secret, &self.provider).map_err(|error| error.to_string())?;
        if until <= self.options.clock.now() {
            warn!(
                "The certificate {} ended at {until}; phones that look at it refuse it",
                certificate.display()
            );
        }
        Ok(Arc::new(own))
    }

    /// Reads the phones' authorities, if one of their files was written since the last time.
    #[expect(clippy::option_option, reason = "unchanged, none at all, or these")]
    fn read_vendors(&self, held: &mut Held) -> Option<Option<Arc<Vendors>>> {
        let folder = self.options.config.client_ca.as_ref()?;
        let found = files::certificates_in(folder);
        let mut stamps = files::stamps([folder]);
        stamps.extend(files::stamps(found.iter().flatten()));
        if std::mem::replace(&mut held.vendors_seen, stamps.clone()) == stamps {
            return None;
        }
        if let Err(error) = &found {
            warn!("Cannot read the authorities of phones in {}: {error}", folder.display());
        }
        let mut roots = RootCertStore::empty();
        for path in found.into_iter().flatten() {
            if let Err(error) = add_all(&mut roots, &path) {
                warn!("Cannot use {} as an authority of phones: {error}", path.display());
            }
        }
        held.vendors = roots.len();
        info!(
            "Phones prove themselves by certificates of {} authorities in {}",
            held.vendors,
            folder.display()
        );
        Some(Vendors::of(roots, &self.provider).map(Arc::new))
    }
}

/// All certificates of a file, in PEM or the one in DER.
fn add_all(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    for certificate in certificates_of(path)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The certificates in a file, in PEM or the one in DER.
pub(super) fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let octets = files::read(path).map_err(|error| error.to_string())?;
    // A DER certificate is a SEQUENCE.
    if octets.first() == Some(&0x30) {
        return Ok(vec![CertificateDer::from(octets)]);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        found => found.map_err(|error| error.to_string()),
    }
}

fn authority(options: &TlsOptions, names: &Names) -> Result<Authority, TlsError> {
    let path = options.folder.join(AUTHORITY);
    let failed = |reason: String| TlsError { path: path.clone(), reason };
    let kept = files::read_secret(&path).map_err(|error| failed(error.to_string()))?;
    let authority = if let Some(pem) = kept {
        Authority::read(&pem).map_err(|error| failed(error.to_string()))?
    } else {
        let TlsOptions { host, clock, entropy, .. } = options;
        let made = Authority::make(host, names, clock.now(), entropy);
        let made = made.map_err(|error| failed(error.to_string()))?;
        files::write_secret(&path, &made.pem()).map_err(|error| failed(error.to_string()))?;
        info!("Made a certificate authority: SHA-256 {}", fingerprint(made.certificate()));
        made
    };
    let left = parsed(authority.certificate()).map(|parsed| ends(&parsed).minus(YEAR));
    if left.is_ok_and(|end| end <= options.clock.now()) {
        warn!(
            "Our certificate authority has less than a year left; for a new one, stop the agent and remove {}",
            options.folder.display()
        );
    }
    let public = options.folder.join(PUBLIC);
    let pem = public_pem(authority.certificate());
    if files::read(&public).ok().as_deref() != Some(pem.as_bytes())
        && let Err(error) = files::write_public(&public, &pem)
    {
        warn!("Cannot write {}: {error}", public.display());
    }
    Ok(authority)
}

/// Phones have to be told of a new authority while the old one is still good.
const YEAR: Duration = Duration::from_hours(365 * 24);

/// The certificates to choose from, the best first.
#[derive(Debug, Default)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first whose signatures the client understands. Rustls has left out what does not go with its cipher suites.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).cloned()
    }
}

/// Our clock, as rustls asks for it.
#[derive(Debug)]
struct Wall(Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(since_epoch)))
    }
}

#[cfg(test)]
mod tests;
