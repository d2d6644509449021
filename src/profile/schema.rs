//! `profile.toml` as written. Every key is known here and nowhere else; an unknown one is an error with its line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::language::LanguageToml;
use super::menu::MenuToml;
use super::reach::{PushToml, ReachToml};
use super::simulate::Simulate;
use super::visit::VisitToml;
use crate::device::Source;
use crate::release::CloseOn;
use crate::secret::SecretKind;

/// The schema this program reads.
pub(super) const SCHEMA: i64 = 1;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileToml {
    pub(super) schema: Spanned<i64>,
    pub(super) display_name: String,
    pub(super) extends: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) oui: Vec<Spanned<String>>,
    pub(super) pnp: Option<PnpToml>,
    pub(super) dhcp: Option<DhcpToml>,
    pub(super) retention: Option<Retention>,
    pub(super) release: Option<ReleaseToml>,
    pub(super) reach: Option<ReachToml>,
    #[serde(default)]
    pub(super) http: HttpToml,
    #[serde(default)]
    pub(super) push: Vec<Spanned<PushToml>>,
    #[serde(default)]
    pub(super) web: Vec<Spanned<VisitToml>>,
    pub(super) manual: Option<ManualToml>,
    #[serde(default, rename = "match")]
    pub(super) matches: Vec<MatchToml>,
    #[serde(default, rename = "page")]
    pub(super) pages: Vec<PageToml>,
    #[serde(default, rename = "file")]
    pub(super) files: Vec<FileToml>,
    #[serde(default)]
    pub(super) map: BTreeMap<String, BTreeMap<String, Text>>,
    #[serde(default)]
    pub(super) defaults: BTreeMap<String, Text>,
    #[serde(default)]
    pub(super) models: BTreeMap<String, ModelToml>,
    pub(super) simulate: Option<Simulate>,
    pub(super) menu: Option<PagesToml>,
    pub(super) language_files: Option<LanguageToml>,
}

/// `[http]`: what the phones want of answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpToml {
    /// User-Agents that take an answer only with its date, and when the connection ends with it.
    #[serde(default)]
    pub(super) dated: Vec<Spanned<String>>,
}

/// `[menu]`: pages and the whole directory; either may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PagesToml {
    pub(super) pages: Option<MenuToml>,
    pub(super) phonebook: Option<MenuToml>,
}

/// `pnp = { url = "directory", content_type = "application/url" }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PnpToml {
    pub(super) url: Spanned<String>,
    #[serde(default = "application_url")]
    pub(super) content_type: String,
}

fn application_url() -> String {
    "application/url".to_owned()
}

/// `[dhcp]`: what these phones read from DHCP; `dhcp/read.rs` makes sense of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DhcpToml {
    pub(super) options: Vec<Spanned<u8>>,
    pub(super) gives: Option<Vec<Spanned<u8>>>,
    pub(super) inform: bool,
    pub(super) value: Option<Spanned<String>>,
    pub(super) ask: Option<Vec<Spanned<u8>>>,
    pub(super) inform_ask: Option<Vec<Spanned<u8>>>,
    pub(super) vendor_class: Option<Vec<Spanned<String>>>,
    pub(super) macros: Vec<String>,
    pub(super) without_scheme: WithoutScheme,
    pub(super) file: Option<Spanned<u8>>,
    pub(super) option: BTreeMap<Spanned<String>, DhcpOptionToml>,
}

/// `[dhcp.option.CODE]`, and what stands in its `sub`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DhcpOptionToml {
    pub(super) code: Option<Spanned<u8>>,
    pub(super) format: Option<Spanned<DhcpFormat>>,
    pub(super) value: Option<Spanned<String>>,
    pub(super) parts: Vec<Spanned<String>>,
    pub(super) separator: Option<String>,
    pub(super) nul: bool,
    pub(super) length_max: Option<u8>,
    pub(super) octets: Option<Spanned<u8>>,
    pub(super) without_scheme: Option<WithoutScheme>,
    pub(super) enterprise: Option<u32>,
    pub(super) end: bool,
    pub(super) sub: Vec<Spanned<DhcpOptionToml>>,
}

/// How an option's value, or a sub-option's, is written in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DhcpFormat {
    /// As it is typed.
    Text,
    /// IPv4 addresses of four octets each.
    Addresses,
    /// A number, the high octet first.
    Integer,
    /// Sub-options of a code, a length and a value.
    Encapsulated,
    /// An enterprise number, a length and what that enterprise made of the rest (RFC 3925).
    VendorIdentifying,
    /// Names or addresses behind an octet that says which (RFC 3361).
    SipServers,
}

/// What a phone makes of a host without `http://` or the like before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutScheme {
    /// A TFTP server, as RFC 2132 has it for option 66.
    #[default]
    Tftp,
    /// An HTTP server.
    Http,
    /// Nothing.
    Refused,
}

/// What a phone does with a setting that its file does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// It keeps the value it has: passwords can be sent once.
    Keep,
    /// It falls back to its default, or nobody has tested it: passwords go with every configuration.
    #[default]
    Replace,
}

impl Retention {
    /// The word in profiles and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
        }
    }
}

/// `[release]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReleaseToml {
    pub(super) alias: BTreeMap<SecretKind, Spanned<SecretKind>>,
    pub(super) rejects: Vec<Spanned<String>>,
    pub(super) sip: ReleaseKindToml,
    pub(super) menu: ReleaseKindToml,
    pub(super) webui: ReleaseKindToml,
    pub(super) prov: ReleaseKindToml,
}

/// `[release.KIND]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReleaseKindToml {
    pub(super) window: Option<Spanned<String>>,
    pub(super) close_on: Option<CloseOn>,
}

/// `manual = { where = "Settings > Auto Provision > Server URL", value = "http://{host}:{port}/" }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManualToml {
    pub(super) r#where: String,
    pub(super) value: String,
}

/// `[[match]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchToml {
    #[serde(deserialize_with = "match_source")]
    pub(super) source: Source,
    pub(super) pattern: Spanned<String>,
    pub(super) confidence: Option<Spanned<u8>>,
    #[serde(default)]
    pub(super) examples: Vec<Spanned<ExampleToml>>,
    #[serde(default)]
    pub(super) rejects: Vec<Spanned<String>>,
}

/// The sources of texts that patterns read.
const SOURCES: [Source; 13] = [
    Source::SipEvent,
    Source::SipUserAgent,
    Source::SipUri,
    Source::HttpUserAgent,
    Source::HttpPath,
    Source::TftpPath,
    Source::HttpTitle,
    Source::HttpRealm,
    Source::HttpServer,
    Source::TlsSubject,
    Source::MdnsHost,
    Source::MdnsService,
    Source::DhcpVendorClass,
];

/// A source by its word. The MAC range is none that patterns read: `oui` stands at the top of the profile; and a page is
/// read only where it was asked for.
fn match_source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
    let word = String::deserialize(deserializer)?;
    SOURCES.into_iter().find(|source| source.as_str() == word).ok_or_else(|| {
        let known = SOURCES.map(|source| format!("`{}`", source.as_str())).join(", ");
        let hint = match word.as_str() {
            "oui" => "; ranges of MACs stand in oui = […] at the top",
            "http.page" => "; pages and their patterns stand in [[page]]",
            _ => "",
        };
        serde::de::Error::custom(format!("unknown source `{word}`, expected one of {known}{hint}"))
    })
}

/// `[[page]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageToml {
    pub(super) path: Spanned<String>,
    pub(super) pattern: Spanned<String>,
    pub(super) confidence: Option<Spanned<u8>>,
    #[serde(default)]
    pub(super) models: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) examples: Vec<Spanned<ExampleToml>>,
    #[serde(default)]
    pub(super) rejects: Vec<Spanned<String>>,
}

impl PageToml {
    /// What it recognises by.
    pub(super) fn pattern(&self) -> MatchToml {
        MatchToml {
            source: Source::HttpPage,
            pattern: self.pattern.clone(),
            confidence: self.confidence.clone(),
            examples: self.examples.clone(),
            rejects: self.rejects.clone(),
        }
    }
}

/// A text that a recogniser must match, and what it must read there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleToml {
    pub(super) text: String,
    pub(super) model: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) mac: Option<String>,
}

/// `[[file]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileToml {
    pub(super) path: Spanned<String>,
    pub(super) template: Spanned<String>,
    pub(super) format: Format,
    pub(super) content_type: Option<String>,
    #[serde(default)]
    pub(super) secrets: Vec<SecretKind>,
    pub(super) secret_form: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) escapes: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) refuses: String,
    pub(super) comment: Option<Spanned<String>>,
    pub(super) raw_form: Option<Spanned<String>>,
    pub(super) raw_index: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) requires: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) models: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) families: Vec<Spanned<String>>,
    pub(super) scope: Option<Spanned<Scope>>,
}

/// How a file is written, and so how values are escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `key = value`, one to a line.
    Line,
    /// Elements.
    Xml,
    /// Objects.
    Json,
    /// Text of no structure that we know.
    Plain,
}

/// For whom a file is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One phone's own.
    Device,
    /// All phones of a model.
    Model,
    /// All phones of the vendor.
    Site,
}

/// `[models.X]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ModelToml {
    pub(super) lines: Option<u16>,
    pub(super) line_keys: Option<u16>,
    pub(super) expansion_keys: Option<u16>,
    pub(super) common: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) family: Option<String>,
    pub(super) retention: Option<Retention>,
    pub(super) aliases: Vec<String>,
    pub(super) screen_languages: Vec<String>,
    pub(super) settings: BTreeMap<String, Text>,
    pub(super) facts: BTreeMap<String, toml::Value>,
}

/// A text that may be written as a number or a bool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            toml::Value::Integer(number) => Ok(Self(number.to_string())),
            toml::Value::Boolean(flag) => Ok(Self(flag.to_string())),
            other => Err(serde::de::Error::custom(format!(
                "a {} is no value of a setting; write a text, a whole number, true or false",
                other.type_str()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_with_its_place() {
        let text = "schema = 1\ndisplay_name = \"Acme\"\nouis = []\n";
        let error = toml::from_str::<ProfileToml>(text).unwrap_err();
        assert!(error.message().contains("ouis"), "{error}");
        assert_eq!(super::super::error::line_of(text, error.span()), Some(3));
    }

    #[test]
    fn settings_are_text_however_written() {
        let text = "schema = 1\ndisplay_name = \"A\"\n[defaults]\na = 1\nb = true\nc = \"x\"\n";
        let profile: ProfileToml = toml::from_str(text).unwrap();
        let values: Vec<&str> = profile.defaults.values().map(|text| text.0.as_str()).collect();
        assert_eq!(values, ["1", "true", "x"]);
        assert!(toml::from_str::<ProfileToml>(&format!("{text}d = [1]\n")).is_err());
    }
}
