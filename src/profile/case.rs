//! A case of a profile: one phone with its accounts, keys and site, from which every file must come out byte for byte.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fact::is_fact;
use super::rendered::Slot;
use super::schema::Text;
use super::subject::{NOTHING_SUPPLIED, Site, Subject};
use crate::clock::Timestamp;
use crate::device::{Account, Approval, Commons, Device, Key, KeyKind, Line, Mac, Srtp, Transport, Vendor};
use crate::secret::{Sealed, Secret, SecretKind};

/// A phone to render files for, with its secrets.
#[derive(Debug)]
pub struct Case {
    /// The phone.
    pub device: Device,
    /// Its site.
    pub site: Site,
    /// What phones have in common; nothing.
    commons: Commons,
    /// The agent's host as the phone sees it.
    pub host: String,
    /// The agent's URL as the phone sees it.
    pub base: String,
    secrets: BTreeMap<Slot, Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseToml {
    model: String,
    mac: Mac,
    url: String,
    host: Option<String>,
    firmware: Option<String>,
    #[serde(default)]
    site: Site,
    #[serde(default, rename = "line")]
    lines: Vec<LineToml>,
    #[serde(default, rename = "key")]
    keys: Vec<KeyToml>,
    #[serde(default)]
    settings: BTreeMap<String, Text>,
    #[serde(default)]
    secrets: SecretsToml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineToml {
    number: Option<u16>,
    label: Option<String>,
    username: String,
    auth_id: Option<String>,
    display_name: Option<String>,
    registrar: Option<String>,
    transport: Option<Transport>,
    outbound_proxy: Option<String>,
    srtp: Option<Srtp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyToml {
    number: Option<u16>,
    kind: KeyKind,
    #[serde(default)]
    value: String,
    #[serde(default)]
    label: String,
    line: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SecretsToml {
    sip: BTreeMap<String, Secret>,
    menu: Option<Secret>,
    webui: Option<Secret>,
    prov: Option<Secret>,
}

impl Case {
    /// Reads a case of a vendor.
    pub(super) fn read(vendor: &Vendor, text: &str) -> Result<Self, toml::de::Error> {
        let case: CaseToml = toml::from_str(text)?;
        if let Some(fact) = case.site.settings.keys().find(|name| is_fact(name)) {
            let message = format!("site.settings.{fact} would change nothing: write {fact} under [site]");
            return Err(serde::de::Error::custom(message));
        }
        let host = case.host.clone().unwrap_or_else(|| super::with_base("{host}", &case.url));
        let mut secrets = BTreeMap::new();
        for (line, secret) in &case.secrets.sip {
            let line = line.parse().ok();
            secrets.insert(Slot { kind: SecretKind::Sip, line }, secret.clone());
        }
        let own = [
            (SecretKind::Menu, &case.secrets.menu),
            (SecretKind::Webui, &case.secrets.webui),
            (SecretKind::Prov, &case.secrets.prov),
        ];
        for (kind, secret) in own {
            secrets.extend(secret.clone().map(|secret| (Slot { kind, line: None }, secret)));
        }
        let lines = (1..).zip(case.lines).map(|(position, line)| line.line(position)).collect();
        let keys = (1..).zip(case.keys).map(|(position, key)| key.key(position)).collect();
        let device = Device {
            model: Some(case.model),
            firmware: case.firmware,
            lines,
            keys,
            settings: case.settings.into_iter().map(|(name, value)| (name, value.0)).collect(),
            ..blank_device(case.mac, vendor)
        };
        Ok(Self { device, site: case.site, commons: Commons::default(), host, base: case.url, secrets })
    }

    /// The phone for its own files.
    pub fn subject(&self) -> Subject<'_> {
        Subject { device: Some(&self.device), ..self.shared_subject() }
    }

    /// Its model and site, for files that phones share.
    pub fn shared_subject(&self) -> Subject<'_> {
        Subject {
            device: None,
            model: self.device.model.as_deref(),
            site: &self.site,
            commons: &self.commons,
            host: &self.host,
            base: &self.base,
            supplied: &NOTHING_SUPPLIED,
        }
    }

    /// All its secrets.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (Slot, &Secret)> {
        self.secrets.iter().map(|(slot, secret)| (*slot, secret))
    }

    /// The secret for a slot, if the case has one.
    pub fn secret(&self, slot: Slot) -> Option<Secret> {
        self.secrets.get(&slot).cloned()
    }
}

/// A device with nothing on it.
pub(super) fn blank_device(mac: Mac, vendor: &Vendor) -> Device {
    Device {
        mac,
        vendor: Some(vendor.clone()),
        model: None,
        firmware: None,
        approval: Approval::Approved,
        way: None,
        gigaset_id: None,
        revision: 1,
        lines: Vec::new(),
        keys: Vec::new(),
        settings: BTreeMap::new(),
        secrets: BTreeMap::new(),
        bootstrap_token: Sealed(String::new()),
        created_at: Timestamp(0),
        last_seen: None,
    }
}

impl LineToml {
    fn line(self, position: u16) -> Line {
        let number = self.number.unwrap_or(position);
        let account = Account {
            id: i64::from(number),
            auth_id: self.auth_id.unwrap_or_else(|| self.username.clone()),
            username: self.username,
            display_name: self.display_name,
            registrar: self.registrar,
            transport: self.transport,
            outbound_proxy: self.outbound_proxy,
            srtp: self.srtp,
            password_version: 1,
            password: None,
        };
        Line { number, label: self.label, account }
    }
}

impl KeyToml {
    fn key(self, position: u16) -> Key {
        let Self { number, kind, value, label, line } = self;
        Key { number: number.unwrap_or(position), kind, value, label, line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_a_phone_with_its_secrets() {
        let text = "model = 'T46U'\nmac = '805ec0aabbcc'\nurl = 'http://192.0.2.1:8480/'\n[[line]]\nusername = '200'\n\
                    [[line]]\nnumber = 4\nusername = '201'\nauth_id = 'a'\n[[key]]\nkind = 'blf'\nvalue = '202'\n\
                    [site]\ntimezone = 'Europe/Berlin'\n[settings]\ncontrast = 3\n[secrets]\nsip.1 = 'x'\nmenu = '1'\n";
        let case = Case::read(&Vendor::new("yealink"), text).unwrap();
        assert_eq!(case.host, "192.0.2.1");
        let lines: Vec<_> =
            case.device.lines.iter().map(|line| (line.number, line.account.auth_id.as_str())).collect();
        assert_eq!(lines, [(1, "200"), (4, "a")]);
        assert_eq!(case.device.settings.get("contrast").map(String::as_str), Some("3"));
        assert!(case.secret(Slot { kind: SecretKind::Sip, line: Some(1) }).is_some());
        assert!(case.secret(Slot { kind: SecretKind::Menu, line: None }).is_some());
        assert!(case.secret(Slot { kind: SecretKind::Webui, line: None }).is_none());
        assert!(case.shared_subject().device.is_none());
    }

    #[test]
    fn a_fact_of_the_site_is_no_setting_of_it() {
        let read = |settings: &str| {
            let text = format!(
                "model = 'A'\nmac = '001565000001'\nurl = 'http://h/'\n[site.settings]\n{settings}\n"
            );
            Case::read(&Vendor::new("acme"), &text).map(|case| case.site.settings.len())
        };
        assert_eq!(read("contrast = '3'"), Ok(1));
        let error = read("contrast = '3'\ntimezone = 'Europe/Berlin'").unwrap_err();
        assert!(error.message().contains("write timezone under [site]"), "{error}");
    }
}
