//! A device as listings show it: never a secret, at most that there is one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::Failure;
use super::fleet::Laid;
use super::release::{GrantShown, Release, Releases, Short};
use crate::clock::Timestamp;
use crate::device::{Account, Approval, Device, Key, Layer, Mac, Srtp, Transport, Vendor, Way};
use crate::profile::{KeyProblem, LaidKey, LaidSetting};
use crate::secret::SecretKind;
use crate::store::{Seen, Store};
use crate::timeline::Moment;

/// What stands in place of a secret.
const MASK: &str = "********";
/// Moments of a phone's life that a person reads at a time; as JSON there are all.
const MOMENTS_SHOWN: usize = 20;
/// There is one.
const SET: &str = "set";

/// The device of this address, or that there is none, and where it was seen all the same.
pub(crate) async fn known(store: &Store, mac: Mac) -> Result<Arc<Device>, Failure> {
    if let Some(device) = store.inventory().device(mac) {
        return Ok(device);
    }
    let seen = store.sightings(Some(mac)).await?;
    let seen = seen.first().map(|seen| {
        let place = seen.whereabouts().map(|address| format!(" from {address}")).unwrap_or_default();
        format!("; it was seen by {} at {}{place}", seen.channel.as_str(), seen.last)
    });
    Err(Failure::no(
        "not_found",
        format!("{mac} is not in the inventory{}", seen.unwrap_or_default()),
        format!("offhook device approve {mac} takes it in"),
    ))
}

/// One row of `device list`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    mac: Mac,
    vendor: Option<Vendor>,
    model: Option<String>,
    firmware: Option<String>,
    state: Approval,
    /// How its passwords stand, in a word.
    passwords: Option<&'static str>,
    /// The open window that closes first.
    closes_in_s: Option<u64>,
    #[serde(skip)]
    short: Option<Short>,
    way: Option<Way>,
    /// User names, by line.
    accounts: Vec<String>,
    address: Option<String>,
    created_at: Timestamp,
    last_seen: Option<Timestamp>,
}

impl Summary {
    /// Rows for these devices; addresses from these sightings, the newest first.
    pub(crate) fn of<'a>(
        devices: impl Iterator<Item = &'a Arc<Device>>,
        sightings: &[Seen],
        releases: &Releases<'_>,
    ) -> Vec<Self> {
        let mut addresses: HashMap<Mac, &str> = HashMap::new();
        for seen in sightings {
            if let Some(address) = seen.whereabouts() {
                addresses.entry(seen.mac).or_insert(address);
            }
        }
        let row = |device: &'a Arc<Device>| {
            let short = releases.of(device).short();
            Self {
                mac: device.mac,
                vendor: device.vendor.clone(),
                model: device.model.clone(),
                firmware: device.firmware.clone(),
                state: device.approval,
                passwords: short.map(|short| short.word),
                closes_in_s: short.and_then(|short| short.closes_in_s),
                short,
                way: device.way,
                accounts: device.lines.iter().map(|line| line.account.username.clone()).collect(),
                address: addresses.get(&device.mac).map(|address| (*address).to_owned()),
                created_at: device.created_at,
                last_seen: device.last_seen,
            }
        };
        devices.map(row).collect()
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.mac.to_string(),
            or_dash(self.vendor.as_ref()),
            or_dash(self.model.as_ref()),
            self.state.as_str().to_owned(),
            or_dash(self.short.map(Short::cell)),
            or_dash(Some(self.accounts.join(",")).filter(|accounts| !accounts.is_empty())),
            or_dash(self.way.map(Way::as_str)),
            or_dash(self.address.as_ref()),
            or_dash(self.last_seen),
        ]
    }
}

/// What `device show` shows.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    mac: Mac,
    vendor: Option<&'a Vendor>,
    model: Option<&'a str>,
    firmware: Option<&'a str>,
    state: Approval,
    way: Option<Way>,
    gigaset_id: Option<&'a str>,
    created_at: Timestamp,
    last_seen: Option<Timestamp>,
    revision: i64,
    lines: Vec<LineShown<'a>>,
    /// Its own; on the other numbers it has those of the plans.
    keys: &'a [Key],
    /// All its keys, each with the plan that it comes from.
    laid_keys: Vec<LaidKey>,
    /// What its model cannot do of them.
    key_problems: Vec<KeyProblem>,
    /// Its own.
    settings: &'a BTreeMap<String, String>,
    /// All that holds for it, each with the layer that it comes from.
    laid_settings: Vec<LaidSetting>,
    /// By kind: whether it is set.
    credentials: BTreeMap<&'static str, &'static str>,
    tokens: BTreeMap<&'static str, &'static str>,
    /// Each password: whether it may leave, and how far its delivery is proven.
    release: Vec<GrantShown>,
    sightings: Vec<Seen>,
    /// What happened to it, the latest last.
    timeline: Vec<Moment>,
}

/// An account on a line, or in the pool.
#[derive(Debug, Serialize)]
struct LineShown<'a> {
    line: u16,
    label: Option<&'a str>,
    #[serde(flatten)]
    account: AccountShown<'a>,
}

/// An account without its password.
#[derive(Debug, Serialize)]
pub(crate) struct AccountShown<'a> {
    pub(crate) username: &'a str,
    auth_id: &'a str,
    pub(crate) display_name: Option<&'a str>,
    pub(crate) registrar: Option<&'a str>,
    transport: Option<Transport>,
    outbound_proxy: Option<&'a str>,
    srtp: Option<Srtp>,
    password: PasswordShown,
}

/// That there is a password, and its how manieth.
#[derive(Debug, Serialize)]
struct PasswordShown {
    set: bool,
    version: i64,
}

impl<'a> AccountShown<'a> {
    pub(crate) fn new(account: &'a Account) -> Self {
        Self {
            username: &account.username,
            auth_id: &account.auth_id,
            display_name: account.display_name.as_deref(),
            registrar: account.registrar.as_deref(),
            transport: account.transport,
            outbound_proxy: account.outbound_proxy.as_deref(),
            srtp: account.srtp,
            password: PasswordShown { set: account.password.is_some(), version: account.password_version },
        }
    }

    /// `set (version 2)` or `not set`.
    pub(crate) fn password(&self) -> String {
        if self.password.set {
            format!("set (version {})", self.password.version)
        } else {
            "not set".to_owned()
        }
    }
}

impl<'a> Shown<'a> {
    pub(crate) fn new(
        device: &'a Device,
        sightings: Vec<Seen>,
        timeline: Vec<Moment>,
        release: &Release,
        laid: Laid,
    ) -> Self {
        let set = |kind: SecretKind| if device.secrets.contains_key(&kind) { SET } else { "not set" };
        let line = |line: &'a crate::device::Line| LineShown {
            line: line.number,
            label: line.label.as_deref(),
            account: AccountShown::new(&line.account),
        };
        Self {
            mac: device.mac,
            vendor: device.vendor.as_ref(),
            model: device.model.as_deref(),
            firmware: device.firmware.as_deref(),
            state: device.approval,
            way: device.way,
            gigaset_id: device.gigaset_id.as_deref(),
            created_at: device.created_at,
            last_seen: device.last_seen,
            revision: device.revision,
            lines: device.lines.iter().map(line).collect(),
            keys: &device.keys,
            laid_keys: laid.keys,
            key_problems: laid.problems,
            settings: &device.settings,
            laid_settings: laid.settings,
            credentials: [SecretKind::Webui, SecretKind::Menu].map(|kind| (kind.as_str(), set(kind))).into(),
            tokens: [("bootstrap", MASK), ("steady", MASK)].into(),
            release: release.shown(),
            sightings,
            timeline,
        }
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row("mac", self.mac.to_string());
        row("vendor", or_dash(self.vendor));
        row("model", or_dash(self.model));
        row("firmware", or_dash(self.firmware));
        row("state", self.state.as_str().to_owned());
        row("way in", or_dash(self.way.map(Way::as_str)));
        if let Some(id) = self.gigaset_id {
            row("gigaset id", id.to_owned());
        }
        row("created", self.created_at.to_string());
        row("last seen", or_dash(self.last_seen));
        for line in &self.lines {
            let account = &line.account;
            let mut parts = vec![account.username.to_owned()];
            if account.auth_id != account.username {
                parts.push(format!("auth id {}", account.auth_id));
            }
            parts.extend(account.display_name.map(|name| format!("\"{name}\"")));
            parts.extend(line.label.map(|label| format!("label \"{label}\"")));
            parts.extend(account.registrar.map(|registrar| format!("registrar {registrar}")));
            parts.extend(account.transport.map(|transport| transport.as_str().to_owned()));
            parts.extend(account.outbound_proxy.map(|proxy| format!("by {proxy}")));
            parts.extend(account.srtp.map(|srtp| format!("srtp {}", srtp.as_str())));
            parts.push(format!("password: {}", account.password()));
            row(&format!("line {}", line.line), parts.join(", "));
        }
        for LaidKey { key, layer, .. } in &self.laid_keys {
            row(&format!("key {}", key.number), key_text(key, Some(*layer)));
        }
        // Without a profile there is nothing below the phone's own.
        for key in self.keys.iter().filter(|_| self.laid_keys.is_empty()) {
            row(&format!("key {}", key.number), key_text(key, None));
        }
        for problem in &self.key_problems {
            row("but", problem.sentence());
        }
        for (kind, set) in self.credentials.iter().filter(|(_, set)| **set != SET) {
            row(kind, format!("password: {set}"));
        }
        for password in &self.release {
            let mut name = password.name();
            for line in password.lines() {
                row(name, line);
                name = "";
            }
        }
        for (token, mask) in &self.tokens {
            row(token, format!("token: {mask}"));
        }
        for seen in &self.sightings {
            let (count, times) = (seen.count, if seen.count == 1 { "time" } else { "times" });
            let told = format!(
                "{}{}: {} ({count} {times} since {})",
                seen.last,
                seen.whereabouts().map(|address| format!(" from {address}")).unwrap_or_default(),
                seen.outcome,
                seen.first
            );
            row(&format!("seen by {}", seen.channel.as_str()), told);
        }
        if !self.laid_settings.is_empty() {
            text.push_str("\nsettings, and where each comes from:\n");
            text.push_str(&super::setting::settings_text(&self.laid_settings));
        }
        if !self.timeline.is_empty() {
            text.push_str("\nwhat happened:\n");
        }
        let surplus = self.timeline.len().saturating_sub(MOMENTS_SHOWN);
        for moment in self.timeline.iter().skip(surplus) {
            let _ = writeln!(text, "  {}", moment.line());
        }
        text
    }
}

/// A key for a person: `blf 202 "Front desk" on line 2 (site)`.
pub(crate) fn key_text(key: &Key, layer: Option<Layer>) -> String {
    let mut text = key.kind.as_str().to_owned();
    if !key.value.is_empty() {
        let _ = write!(text, " {}", key.value);
    }
    if !key.label.is_empty() {
        let _ = write!(text, " \"{}\"", key.label);
    }
    if let Some(line) = key.line {
        let _ = write!(text, " on line {line}");
    }
    if let Some(layer) = layer.filter(|layer| *layer != Layer::Device) {
        let _ = write!(text, " ({})", layer.as_str());
    }
    text
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
