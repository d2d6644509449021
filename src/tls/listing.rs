//! The certificates of this host for people to look at: read from their files, without any key, whether an agent runs
//! or not.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::public_key::PublicKey;

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
    /// `RSA 2048`, `P-256`, …
    pub key: Option<String>,
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
        names: Some(names_of(&parsed)).filter(|names| !names.is_empty()),
        key: Some(key_of(&parsed)),
        until: Some(ends(&parsed)),
        sha256: Some(fingerprint(certificate)),
        trouble: None,
    }
}

/// Names that stand for many (`*.example.org`) are nobody's own, and come last.
fn names_of(certificate: &X509Certificate<'_>) -> String {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let many = names.filter_map(|name| match name {
        GeneralName::DNSName(name) if name.starts_with("*.") => Some((*name).to_owned()),
        _ => None,
    });
    let own = Names::in_certificate(certificate).to_string();
    let all: Vec<String> = std::iter::once(own).filter(|own| !own.is_empty()).chain(many).collect();
    all.join(", ")
}

fn key_of(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("P-{}", point.key_size()),
        Ok(_) | Err(_) => "another kind".to_owned(),
    }
}

fn useless(role: Role, file: &Path, trouble: String) -> Listed {
    let file = file.to_owned();
    let trouble = Some(trouble);
    Listed { role, file, subject: None, names: None, key: None, until: None, sha256: None, trouble }
}
