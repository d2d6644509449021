//! For whom a file is rendered, and how templates see it: facts of no vendor, with every default settled, and no secret
//! among them.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Value;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};

use super::keys::LaidKey;
use super::zone::{Zone, ZoneError};
use crate::config::{SipConfig, SiteConfig};
use crate::device::{Commons, Device, KeyKind, Line, Mac, Srtp, Transport};

/// What a file is rendered for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The phone; `None` for files common to a model or the site.
    pub device: Option<&'a Device>,
    /// The model, where the device names none.
    pub model: Option<&'a str>,
    /// What every phone of the site gets.
    pub site: &'a Site,
    /// What was set for all phones, those of a vendor or of a model.
    pub commons: &'a Commons,
    /// The agent's host as the phone sees it.
    pub host: &'a str,
    /// The agent's URL as the phone sees it, `http://HOST:8480/`.
    pub base: &'a str,
    /// Settings that name what this agent serves: firmware, language files. Every other layer lies over them.
    pub supplied: &'a Supplied,
}

/// Settings by name that the agent works out itself.
pub type Supplied = BTreeMap<String, String>;

/// None of them.
pub static NOTHING_SUPPLIED: Supplied = BTreeMap::new();

impl<'a> Subject<'a> {
    /// The model of the phone, or else the one named.
    pub fn model(&self) -> Option<&'a str> {
        self.device.and_then(|device| device.model.as_deref()).or(self.model)
    }

    /// The phone's MAC.
    pub fn mac(&self) -> Option<Mac> {
        self.device.map(|device| device.mac)
    }
}

/// The site as templates see it: `[site]` and `[sip]` with defaults settled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// ISO 639-1.
    pub language: String,
    /// ISO 3166-1 alpha-2, lower-case.
    pub country: String,
    /// An IANA name.
    pub timezone: String,
    /// The time server; the agent's host where none is given.
    pub ntp: Option<String>,
    /// VLAN of the phones.
    pub vlan: Option<u16>,
    /// Priority in that VLAN.
    pub vlan_priority: Option<u8>,
    /// Country of the tones; `country` where none is given.
    pub tones: Option<String>,
    /// In order of preference.
    pub codecs: Vec<String>,
    /// Minutes between two looks of a phone at its configuration; 0: only at boot.
    pub resync_minutes: u32,
    /// Digits dialled before a watched extension to take its call.
    pub pickup_code: Option<String>,
    /// For accounts that name none; the agent's host where none is given.
    pub registrar: Option<String>,
    /// For accounts that name none.
    pub transport: Transport,
    /// For accounts that name none.
    pub outbound_proxy: Option<String>,
    /// Whether its phones get a user menu.
    pub menu: bool,
    /// The site's layer of settings.
    pub settings: BTreeMap<String, String>,
    /// The facts above that the configuration writes, other than they are anyway.
    #[serde(skip)]
    pub(crate) written: BTreeSet<&'static str>,
}

impl Default for Site {
    fn default() -> Self {
        Self::new(&SiteConfig::default(), &SipConfig::default(), "UTC")
    }
}

impl Site {
    /// The site of a configuration; `host_zone` is the time zone where it names none.
    pub fn new(site: &SiteConfig, sip: &SipConfig, host_zone: &str) -> Self {
        Self {
            language: site.language.clone(),
            country: site.country.clone(),
            timezone: site.timezone.clone().unwrap_or_else(|| host_zone.to_owned()),
            ntp: site.ntp.clone(),
            vlan: site.vlan,
            vlan_priority: site.vlan_priority,
            tones: site.tones.clone(),
            codecs: site.codecs.clone(),
            resync_minutes: site.resync_minutes,
            pickup_code: site.pickup_code.clone(),
            registrar: sip.registrar.clone(),
            transport: sip.transport,
            outbound_proxy: sip.outbound_proxy.clone(),
            menu: false,
            settings: site.settings.clone(),
            written: written(site),
        }
    }

    /// Whether the configuration says this fact. One that it writes as it is by default counts as not written: the
    /// vendor's and the model's lie over that.
    pub(super) fn is_written(&self, fact: &str) -> bool {
        self.written.contains(fact)
    }
}

fn written(site: &SiteConfig) -> BTreeSet<&'static str> {
    let usual = SiteConfig::default();
    let differs = [
        ("language", site.language != usual.language),
        ("country", site.country != usual.country),
        ("timezone", site.timezone != usual.timezone),
        ("ntp", site.ntp != usual.ntp),
        ("vlan", site.vlan != usual.vlan),
        ("vlan_priority", site.vlan_priority != usual.vlan_priority),
        ("tones", site.tones != usual.tones),
        ("codecs", site.codecs != usual.codecs),
        ("resync_minutes", site.resync_minutes != usual.resync_minutes),
        ("pickup_code", site.pickup_code != usual.pickup_code),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// What a profile adds to the subject.
pub(super) struct Ground<'a> {
    pub(super) vendor: &'a str,
    /// The model's name as the profile writes it.
    pub(super) model: Option<&'a str>,
    pub(super) facts: &'a Value,
    /// As they hold, by their neutral names.
    pub(super) settings: BTreeMap<&'a str, &'a str>,
    /// Those that the model can do.
    pub(super) keys: &'a [LaidKey],
}

/// Everything that a template can see.
pub(super) fn context(subject: &Subject<'_>, ground: &Ground<'_>) -> Result<Value, ZoneError> {
    let mut entries: Vec<(&str, Value)> = vec![
        ("vendor", Value::from(ground.vendor)),
        ("model", Value::from(ground.model)),
        ("facts", ground.facts.clone()),
        ("lines", Value::from(Serde(lines(subject)))),
        ("keys", Value::from(Serde(keys(ground.keys)))),
        ("site", Value::from(Serde(SiteView::new(subject)))),
        ("zone", Value::from(Serde(Zone::named(&subject.site.timezone)?))),
        ("host", Value::from(subject.host)),
        ("base", Value::from(subject.base)),
        ("settings", Value::from_pairs(ground.settings.iter().map(|(name, value)| (*name, *value)))),
    ];
    if let Some(device) = subject.device {
        entries.push(("mac", Value::from(device.mac.bare())));
        entries.push(("mac_upper", Value::from(device.mac.bare().to_ascii_uppercase())));
        entries.push(("mac_colon", Value::from(device.mac.to_string())));
        entries.push(("firmware", Value::from(device.firmware.as_deref())));
    }
    Ok(Value::from_pairs(entries))
}

/// What people should know about this subject's files.
pub(super) fn notes(subject: &Subject<'_>) -> Vec<String> {
    let given =
        |registrar: &Option<String>| registrar.as_deref().is_some_and(|registrar| !registrar.is_empty());
    let lines = subject.device.map(|device| device.lines.as_slice()).unwrap_or_default();
    let without =
        lines.iter().filter(|line| !given(&line.account.registrar) && !given(&subject.site.registrar));
    let note = |line: &Line| {
        format!(
            "line {} names no registrar, nor does sip.registrar: the agent's own host stands in",
            line.number
        )
    };
    without.map(note).collect()
}

#[derive(Debug, Serialize)]
struct LineView<'a> {
    number: u16,
    label: &'a str,
    username: &'a str,
    auth_id: &'a str,
    display_name: &'a str,
    registrar: &'a str,
    registrar_host: &'a str,
    registrar_port: u16,
    transport: Transport,
    outbound_proxy: &'a str,
    outbound_proxy_host: &'a str,
    outbound_proxy_port: u16,
    srtp: Srtp,
}

impl<'a> LineView<'a> {
    fn new(line: &'a Line, subject: &Subject<'a>) -> Self {
        let account = &line.account;
        let said = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        let site = subject.site;
        // A PBX usually runs where its provisioning does; the account or sip.registrar says otherwise.
        let registrar = said(&account.registrar).or(said(&site.registrar)).unwrap_or(subject.host);
        let proxy = said(&account.outbound_proxy).or(said(&site.outbound_proxy)).unwrap_or_default();
        let (registrar_host, registrar_port) = host_and_port(registrar);
        let (outbound_proxy_host, outbound_proxy_port) = host_and_port(proxy);
        Self {
            number: line.number,
            label: said(&line.label).or(said(&account.display_name)).unwrap_or(&account.username),
            username: &account.username,
            auth_id: if account.auth_id.is_empty() { &account.username } else { &account.auth_id },
            display_name: said(&account.display_name).unwrap_or(&account.username),
            registrar,
            registrar_host,
            registrar_port,
            transport: account.transport.unwrap_or(site.transport),
            outbound_proxy: proxy,
            outbound_proxy_host,
            outbound_proxy_port,
            srtp: account.srtp.unwrap_or_default(),
        }
    }
}

fn lines<'a>(subject: &Subject<'a>) -> Vec<LineView<'a>> {
    let lines = subject.device.map(|device| device.lines.as_slice()).unwrap_or_default();
    lines.iter().map(|line| LineView::new(line, subject)).collect()
}

/// `host`, `host:port`, `[2001:db8::1]:port` or a bare IPv6 address; port 0 when there is none.
fn host_and_port(text: &str) -> (&str, u16) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => (text, 0),
        },
        _ => (text, 0),
    }
}

#[derive(Debug, Serialize)]
struct KeyView<'a> {
    number: u16,
    kind: KeyKind,
    value: &'a str,
    label: &'a str,
    line: u16,
}

/// The function keys.
fn keys(keys: &[LaidKey]) -> Vec<KeyView<'_>> {
    let mut views = Vec::with_capacity(keys.len());
    for laid in keys {
        let LaidKey { key, line, .. } = laid;
        views.push(KeyView {
            number: key.number,
            kind: key.kind,
            value: &key.value,
            label: &key.label,
            line: *line,
        });
    }
    views
}

#[derive(Debug, Serialize)]
struct SiteView<'a> {
    language: &'a str,
    country: &'a str,
    timezone: &'a str,
    ntp: &'a str,
    vlan: Option<u16>,
    vlan_priority: Option<u8>,
    tones: &'a str,
    codecs: &'a [String],
    resync_minutes: u32,
    pickup_code: Option<&'a str>,
    menu: bool,
}

impl<'a> SiteView<'a> {
    fn new(subject: &Subject<'a>) -> Self {
        let site = subject.site;
        Self {
            language: &site.language,
            country: &site.country,
            timezone: &site.timezone,
            ntp: site.ntp.as_deref().unwrap_or(subject.host),
            vlan: site.vlan,
            vlan_priority: site.vlan_priority,
            tones: site.tones.as_deref().unwrap_or(&site.country),
            codecs: &site.codecs,
            resync_minutes: site.resync_minutes,
            pickup_code: site.pickup_code.as_deref(),
            menu: site.menu && subject.base.starts_with("http"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_carry_a_port() {
        let check = |text: &str, host: &str, port| assert_eq!(host_and_port(text), (host, port), "{text}");
        check("pbx.example", "pbx.example", 0);
        check("192.0.2.5:5070", "192.0.2.5", 5070);
        check("[2001:db8::1]:5070", "[2001:db8::1]", 5070);
        check("2001:db8::1", "2001:db8::1", 0);
        check("[2001:db8::1]", "[2001:db8::1]", 0);
        check("pbx:sip", "pbx:sip", 0);
        check("", "", 0);
    }
}
