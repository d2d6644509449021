//! The certificates of this host for people to look at: read from their files, without any key, whether an agent runs
//! or not.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::CertificateDer;

use super::authority::{ends, fingerprint, parsed};
use super::files;
use super::keeper::{PUBLIC, certificates_of};
use super::names::Names;
use crate::clock::Timestamp;
use crate::config::HttpsConfig;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Our own authority: phones and people have to trust it.
    Authority,
    /// The administrator's certificate of this host.
    Own,
    /// An authority whose certificates prove phones.
    Phones,
}

/// One certificate, or a file in which there should be one.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    /// What it is for.
    pub role: Role,
    /// Its file.
    pub file: PathBuf,
    /// Whose it is.
    pub subject: Option<String>,
    /// The names and addresses in it.
    pub names: Option<String>,
    /// Its last moment.
    pub until: Option<Timestamp>,
    /// SHA-256, as people compare it.
    pub sha256: Option<String>,
    /// Why it is of no use.
    pub trouble: Option<String>,
}

/// Our authority in `folder`, and what `[https]` names.
pub fn listing(folder: &Path, config: &HttpsConfig) -> Vec<Listed> {
    let own = folder.join(PUBLIC);
    let mut listed = if own.exists() { of_file(Role::Authority, &own) } else { Vec::new() };
    if let Some(certificate) = &config.certificate {
        // The rest of its file is the chain.
        listed.extend(of_file(Role::Own, certificate).into_iter().take(1));
    }
    if let Some(folder) = &config.client_ca {
        match files::certificates_in(folder) {
            Ok(paths) => listed.extend(paths.iter().flat_map(|path| of_file(Role::Phones, path))),
            Err(error) => listed.push(useless(Role::Phones, folder, error.to_string())),
        }
    }
    listed
}

fn of_file(role: Role, file: &Path) -> Vec<Listed> {
    match certificates_of(file) {
        Ok(found) => found.iter().map(|certificate| of(role, file, certificate)).collect(),
        Err(reason) => vec![useless(role, file, reason)],
    }
}

fn of(role: Role, file: &Path, certificate: &CertificateDer<'_>) -> Listed {
    let parsed = match parsed(certificate) {
        Ok(parsed) => parsed,
        Err(error) => return useless(role, file, error.to_string()),
    };
    Listed {
        role,
        file: file.to_owned(),
        subject: Some(parsed.subject().to_string()),
        names: Some(Names::in_certificate(&parsed).to_string()).filter(|names| !names.is_empty()),
        until: Some(ends(&parsed)),
        sha256: Some(fingerprint(certificate)),
        trouble: None,
    }
}

fn useless(role: Role, file: &Path, trouble: String) -> Listed {
    let file = file.to_owned();
    Listed { role, file, subject: None, names: None, until: None, sha256: None, trouble: Some(trouble) }
}
