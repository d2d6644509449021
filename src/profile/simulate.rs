//! `[simulate]`: how the vendor's phones behave, for the simulated ones. Data only: what they call themselves, what they
//! fetch, how they read it, and which parameter means what. The simulator's readers are its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::build::Findings;
use super::schema::Retention;
use crate::device::Transport;
use crate::firmware::Version;

mod check;

/// `[simulate]`, and what lies over it for a family or before a firmware version.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Simulate {
    /// The model that is simulated when none is named.
    pub model: Option<String>,
    /// The first digits of their hardware addresses.
    pub mac: Option<String>,
    /// The firmware of a model whose table names no whole version.
    pub firmware: Option<String>,
    /// User-Agent of HTTP requests.
    pub user_agent: Option<String>,
    /// User-Agent of SIP messages; empty: they send none.
    pub sip_user_agent: Option<String>,
    /// Server of SIP answers, by those who send one.
    pub sip_server: Option<String>,
    /// What they do on a NOTIFY that comes by itself.
    pub notify: Option<OnNotify>,
    /// Which of the simulator's web interfaces is theirs.
    pub web: Option<String>,
    /// The URI of the SUBSCRIBE.
    pub subscribe_uri: Option<String>,
    /// The Event header.
    pub event: Option<String>,
    /// The port that SIP leaves by.
    pub sip_port: Option<u16>,
    /// The header lines of the SUBSCRIBE, where they are not the usual ones.
    pub subscribe: Vec<String>,
    /// The files asked for below a folder, in this order.
    pub fetch: Vec<String>,
    /// Those of them after which, once got, no other is asked for.
    pub ends: Vec<String>,
    /// The second name asked for where the URL names a file.
    pub beside: Option<String>,
    /// What the phone's own macros in URLs stand for.
    pub macros: BTreeMap<String, String>,
    /// What becomes of a setting that no file names; the profile's own retention unless given.
    pub retention: Option<Retention>,
    /// How a file is read.
    pub read: Option<Reading>,
    /// Which settings make an account.
    pub account: Vec<AccountNames>,
    /// Which settings make a function key.
    pub key: Vec<KeyNames>,
    /// The words for transports, where they are not `udp`, `tcp` and `tls`.
    pub transports: BTreeMap<String, Transport>,
    /// Passwords of the web page.
    pub webui: Names,
    /// Credentials of the phone's menus.
    pub menu: Names,
    /// The URL for later looks.
    pub prov: Names,
    /// The display's language.
    pub language: Names,
    family: BTreeMap<Spanned<String>, Simulate>,
    before: BTreeMap<Spanned<String>, Simulate>,
}

/// `[simulate.notify]`: NOTIFYs that a running phone acts upon, each an Event, `;NAME=VALUE` behind it where that must be
/// among its parameters, and after a blank a line that must be in the body. Of several that fit, the longest counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnNotify {
    /// It looks at its configuration again.
    pub resync: Vec<String>,
    /// It starts again, and looks then.
    pub reboot: Vec<String>,
    /// It looks at the URL in the body.
    pub url: Vec<String>,
    /// Out of the box, it asks for an account's password before a resync or reboot.
    pub challenge: bool,
}

/// `[simulate.read]`: how a file becomes settings, each a name and a value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// Lines or elements.
    pub format: ReadFormat,
    /// Lines: how the first one begins; a file without is ignored.
    pub first: Option<String>,
    /// Lines: what stands before a name; lines without it are no settings.
    pub prefix: Option<String>,
    /// Lines: what stands between name and value, `=` unless given.
    pub separator: Option<String>,
    /// What values stand in.
    pub quote: Option<String>,
    /// Lines: how those begin that say nothing, `#` unless given.
    pub comment: Option<Vec<String>>,
    /// Lines: `[NAME]` puts `NAME/` before the names that follow.
    pub sections: bool,
    /// Lines: what stands before the name of a further file.
    pub include: Option<String>,
    /// Lines: settings whose value is `USER:VALUE`, one for each user.
    pub users: Vec<String>,
    /// Lines: the line after which the phone forgets what it knew.
    pub reset: Option<String>,
    /// Elements: the roots of setting files.
    pub roots: Vec<String>,
    /// Elements: attributes whose value follows the element's name.
    pub index: Vec<String>,
    /// Elements: the attribute that is the name instead of the element's.
    pub name: Option<String>,
    /// Elements: the element within that has the name in its text.
    pub name_in: Option<String>,
    /// Elements: the attribute that is the value instead of the element's text.
    pub value: Option<String>,
    /// Elements: attributes that are settings of their own, `ELEMENT@ATTRIBUTE`; `*`: all of them.
    pub attributes: Vec<String>,
    /// Elements: how many elements of the path make the name, 1 unless given.
    pub depth: Option<usize>,
    /// Elements: the values that an attribute may have.
    pub known: BTreeMap<String, Vec<String>>,
    /// Values that put a setting back to the factory's.
    pub clear: Vec<String>,
    /// Settings whose values name further files.
    pub files: Names,
}

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFormat {
    /// A setting to a line.
    #[default]
    Line,
    /// XML.
    Xml,
}

/// `[[simulate.account]]`: names of settings; the first that is set counts. `{line}` is the account's number, `{line-1}`
/// where the phone counts from 0, `{id}` where accounts have names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountNames {
    /// The account's number where the names have no `{line}`, its place among the entries unless given; the first one's
    /// with `numbers`.
    pub line: Option<u16>,
    /// What stands for `{line}`, line by line, where that is not the line's own number.
    pub numbers: Vec<u16>,
    /// The last line, where the names are other settings' as well.
    pub max: Option<u16>,
    /// What must hold for the account to be used.
    pub r#if: Vec<String>,
    /// The user part of its address.
    pub username: Names,
    /// The name in the digest; the user part where none is set.
    pub auth_id: Names,
    /// The password.
    pub password: Names,
    /// Where it registers: a host, with a port and `;transport=` or not.
    pub registrar: Names,
    /// The registrar's port.
    pub port: Names,
    /// The transport.
    pub transport: Names,
    /// Where the REGISTER goes instead.
    pub proxy: Names,
    /// The proxy's port.
    pub proxy_port: Names,
    /// What must hold for the proxy to be used.
    pub proxy_if: Vec<String>,
    /// The name for the other side.
    pub display_name: Names,
    /// The name on the own display.
    pub label: Names,
    /// The setting that says which `{server}` of a list is the account's.
    pub server: Names,
}

/// `[[simulate.key]]`: names of settings; `{key}` is the key's number, `{module}` its module's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyNames {
    /// The last key, where the names are other settings' as well.
    pub max: Option<u16>,
    /// What must hold for the key to be one that was configured.
    pub r#if: Vec<String>,
    /// What it does.
    pub kind: Names,
    /// To whom.
    pub value: Names,
    /// What stands beside it.
    pub label: Names,
}

/// One name of a setting or several, of which the first that is set counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// Whether no setting is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn or(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("write the name of a setting, or a list of names");
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(name) => Ok(Self(vec![name])),
            toml::Value::Array(names) => names
                .into_iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self)
                .ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl Simulate {
    /// How the phones of this family behave with this firmware: the section, what differs before that firmware, the
    /// family's own entries, and what differs there.
    #[must_use]
    pub fn played(&self, family: Option<&str>, firmware: Option<&str>) -> Self {
        let mut played = self.at(firmware);
        let own = |(name, _): &(&Spanned<String>, &Self)| Some(name.get_ref().as_str()) == family;
        if let Some((_, own)) = self.family.iter().find(own) {
            played = own.at(firmware).over(played);
        }
        played
    }

    /// Without the families, with what differs before this firmware, the oldest version deciding.
    fn at(&self, firmware: Option<&str>) -> Self {
        let mut played = Self { family: BTreeMap::new(), before: BTreeMap::new(), ..self.clone() };
        let Some(firmware) = firmware.map(Version::new) else { return played };
        let mut older: Vec<_> =
            self.before.iter().map(|(name, own)| (Version::new(name.get_ref().as_str()), own)).collect();
        older.sort_by(|(one, _), (other, _)| other.cmp(one));
        for (_, own) in older.into_iter().filter(|(version, _)| firmware < *version) {
            played = own.clone().over(played);
        }
        played
    }

    /// These entries over those of `base`. A list or a table replaces the other as a whole.
    pub(super) fn over(self, base: Self) -> Self {
        let list = |own: Vec<String>, base: Vec<String>| if own.is_empty() { base } else { own };
        Self {
            model: self.model.or(base.model),
            mac: self.mac.or(base.mac),
            firmware: self.firmware.or(base.firmware),
            user_agent: self.user_agent.or(base.user_agent),
            sip_user_agent: self.sip_user_agent.or(base.sip_user_agent),
            sip_server: self.sip_server.or(base.sip_server),
            notify: self.notify.or(base.notify),
            web: self.web.or(base.web),
            subscribe_uri: self.subscribe_uri.or(base.subscribe_uri),
            event: self.event.or(base.event),
            sip_port: self.sip_port.or(base.sip_port),
            subscribe: list(self.subscribe, base.subscribe),
            fetch: list(self.fetch, base.fetch),
            ends: list(self.ends, base.ends),
            beside: self.beside.or(base.beside),
            macros: if self.macros.is_empty() { base.macros } else { self.macros },
            retention: self.retention.or(base.retention),
            read: self.read.or(base.read),
            account: if self.account.is_empty() { base.account } else { self.account },
            key: if self.key.is_empty() { base.key } else { self.key },
            transports: if self.transports.is_empty() { base.transports } else { self.transports },
            webui: self.webui.or(base.webui),
            menu: self.menu.or(base.menu),
            prov: self.prov.or(base.prov),
            language: self.language.or(base.language),
            family: laid_over(self.family, base.family),
            before: laid_over(self.before, base.before),
        }
    }
}

fn laid_over(
    own: BTreeMap<Spanned<String>, Simulate>,
    mut base: BTreeMap<Spanned<String>, Simulate>,
) -> BTreeMap<Spanned<String>, Simulate> {
    for (name, entries) in own {
        let beneath = base.remove(&name).unwrap_or_default();
        base.insert(name, entries.over(beneath));
    }
    base
}

impl Findings<'_> {
    /// Reads the section: the profile's own entries over those of the one that it extends. `families` are those of the
    /// models, `models` their names.
    pub(super) fn simulate(
        &mut self,
        own: Option<&Simulate>,
        parent: Option<&Simulate>,
        families: &[&str],
        models: &[&str],
    ) -> Option<Simulate> {
        let own = own?.clone();
        let before = self.count();
        check::check(&own, "simulate", (families, models), self);
        let whole = own.over(parent.cloned().unwrap_or_default());
        if before == self.count() {
            check::check_whole(&whole, self);
        }
        Some(whole)
    }
}
