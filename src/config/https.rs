//! `[https]`: the phones' TLS listener, its certificates, and whose certificates of phones are believed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{HostName, Listen};

/// `[https]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpsConfig {
    /// Address and port; `off` switches the listener off.
    pub listen: Listen,
    /// Names and addresses by which phones know this host, besides its own.
    pub names: Vec<HostName>,
    /// A certificate with its chain (PEM) that is shown before those of our own authority.
    pub certificate: Option<PathBuf>,
    /// Its key (PEM); in the certificate's file where none is given.
    pub key: Option<PathBuf>,
    /// A folder with the certificates of phone vendors' authorities (PEM or DER).
    pub client_ca: Option<PathBuf>,
    /// Whether a phone's certificate that has expired still proves it.
    pub expired_certificates: ExpiredCertificates,
}

impl Default for HttpsConfig {
    fn default() -> Self {
        Self {
            listen: Listen::on([0, 0, 0, 0], 8481),
            names: Vec::new(),
            certificate: None,
            key: None,
            client_ca: None,
            expired_certificates: ExpiredCertificates::default(),
        }
    }
}

impl HttpsConfig {
    /// What was written relative to the configuration file, with its folder before it; or what is wrong with it.
    pub(super) fn beside(&mut self, folder: Option<&Path>) -> Result<(), &'static str> {
        if let Some(folder) = folder {
            for path in [&mut self.certificate, &mut self.key, &mut self.client_ca].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        if self.key.is_some() && self.certificate.is_none() {
            return Err("is a key without https.certificate, which it belongs to");
        }
        Ok(())
    }
}

/// Whether a phone's certificate that has expired still proves it. Phones outlive their certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiredCertificates {
    /// On our own links only; the log tells of it.
    #[default]
    OnLink,
    /// From everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl ExpiredCertificates {
    /// Whether it proves a phone that is, or is not, on one of our links.
    pub fn accepted(self, on_link: bool) -> bool {
        match self {
            Self::OnLink => on_link,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_beside_the_configuration() {
        let mut config: HttpsConfig =
            toml::from_str("certificate = \"a.pem\"\nkey = \"/k/a.key\"\nclient_ca = \"roots\"").unwrap();
        config.beside(Some(Path::new("/etc/offhook"))).unwrap();
        assert_eq!(config.certificate.as_deref(), Some(Path::new("/etc/offhook/a.pem")));
        assert_eq!(config.key.as_deref(), Some(Path::new("/k/a.key")));
        assert_eq!(config.client_ca.as_deref(), Some(Path::new("/etc/offhook/roots")));
        config.certificate = None;
        assert!(config.beside(None).is_err());
        for (word, on_link, elsewhere) in
            [("on-link", true, false), ("always", true, true), ("never", false, false)]
        {
            let config: HttpsConfig = toml::from_str(&format!("expired_certificates = \"{word}\"")).unwrap();
            let accepted = |on_link| config.expired_certificates.accepted(on_link);
            assert_eq!((accepted(true), accepted(false)), (on_link, elsewhere), "{word}");
        }
    }
}
