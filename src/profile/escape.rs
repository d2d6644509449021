//! Writing a value into a file so that it stays a value: a display name can never become a setting, an element or a
//! second line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use super::schema::Format;

/// A value holds a character that the file cannot hold safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// No file can.
    #[error("holds a control character (U+{:04X}); remove it where the value comes from", u32::from(*.0))]
    Control(char),
    /// The phones know no way to write it there.
    #[error("holds {0:?}, for which this file has no escape; remove it where the value comes from")]
    Refused(char),
}

/// How values stand in a file: by its format, and by what the profile says beyond that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Writing {
    pub(super) format: Format,
    /// Characters that stand as something else, over the format's own.
    pub(super) escapes: BTreeMap<char, String>,
    /// Characters that cannot stand there at all.
    pub(super) refuses: BTreeSet<char>,
}

impl From<Format> for Writing {
    fn from(format: Format) -> Self {
        Self { format, escapes: BTreeMap::new(), refuses: BTreeSet::new() }
    }
}

impl Writing {
    /// Writes `value` so that it stays a value.
    pub(super) fn escape(&self, value: &str, out: &mut impl Write) -> Result<(), EscapeError> {
        if let Some(control) = value.chars().find(|c| is_unsafe(*c)) {
            return Err(EscapeError::Unwritable(Unwritable::Control(control)));
        }
        if let Some(refused) = value.chars().find(|c| self.refuses.contains(c)) {
            return Err(EscapeError::Unwritable(Unwritable::Refused(refused)));
        }
        let by_format: fn(char) -> Option<&'static str> = match self.format {
            Format::Line | Format::Plain => |_| None,
            Format::Xml => xml_entity,
            Format::Json => json_escape,
        };
        let by_profile = |c: char| self.escapes.get(&c).map(String::as_str);
        Ok(escape_by(value, out, |c| by_profile(c).or_else(|| by_format(c)))?)
    }
}

impl Format {
    /// Whether it has an escape of its own for this character.
    pub(super) fn escapes(self, c: char) -> bool {
        match self {
            Self::Line | Self::Plain => false,
            Self::Xml => xml_entity(c).is_some(),
            Self::Json => json_escape(c).is_some(),
        }
    }

    /// The media type that phones expect for this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Line | Self::Plain => "text/plain; charset=utf-8",
            Self::Xml => "text/xml; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    /// How a secret stands in the file when the profile does not say otherwise.
    pub(super) fn secret_form(self) -> &'static str {
        match self {
            Self::Line | Self::Plain => "{name} = {value}\n",
            Self::Xml => "<{name}{attributes}>{value}</{name}>\n",
            Self::Json => "\"{name}\": \"{value}\",\n",
        }
    }

    /// How a raw parameter stands in the file, and the index of its name, when the profile does not say otherwise.
    pub(super) fn raw_form(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Line | Self::Plain => ("{name} = {value}\n", None),
            Self::Xml => ("<{name}{index}>{value}</{name}>\n", Some(" idx=\"{index}\"")),
            Self::Json => ("\"{name}\": \"{value}\",\n", None),
        }
    }
}

/// Why a value was not written.
#[derive(Debug)]
pub(super) enum EscapeError {
    /// It must not be written.
    Unwritable(Unwritable),
    /// The output is full.
    Full,
}

impl From<fmt::Error> for EscapeError {
    fn from(_: fmt::Error) -> Self {
        Self::Full
    }
}

/// Control characters, the two Unicode line ends (some parsers end a line there), and what XML 1.0 cannot hold.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

fn escape_by<'r>(
    value: &str,
    out: &mut impl Write,
    replacement: impl Fn(char) -> Option<&'r str>,
) -> fmt::Result {
    let mut written = 0;
    for (at, c) in value.char_indices() {
        if let Some(entity) = replacement(c) {
            out.write_str(value.get(written..at).unwrap_or_default())?;
            out.write_str(entity)?;
            written = at + c.len_utf8();
        }
    }
    out.write_str(value.get(written..).unwrap_or_default())
}

fn xml_entity(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    }
}

fn json_escape(c: char) -> Option<&'static str> {
    match c {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(format: Format, value: &str) -> Option<String> {
        let mut out = String::new();
        Writing::from(format).escape(value, &mut out).ok().map(|()| out)
    }

    #[test]
    fn each_format_has_its_own_escapes() {
        let check = |format, expected: &str| {
            assert_eq!(escaped(format, "a&<>\"'\\ü").as_deref(), Some(expected));
        };
        check(Format::Line, "a&<>\"'\\ü");
        check(Format::Xml, "a&amp;&lt;&gt;&quot;&#39;\\ü");
        check(Format::Json, "a&<>\\\"'\\\\ü");
    }

    #[test]
    fn a_profile_adds_escapes_and_refuses_what_it_cannot_write() {
        let mut writing = Writing::from(Format::Line);
        writing.escapes.insert('"', "\\\"".to_owned());
        writing.refuses.insert(';');
        let mut out = String::new();
        writing.escape("a\"b'", &mut out).unwrap();
        assert_eq!(out, "a\\\"b'");
        let refused = writing.escape("a;b", &mut out).unwrap_err();
        assert!(matches!(refused, EscapeError::Unwritable(Unwritable::Refused(';'))), "{refused:?}");
    }

    #[test]
    fn no_control_character_passes() {
        for value in ["a\nb", "a\rb", "a\0", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{2028}", "\t"] {
            for format in [Format::Line, Format::Xml, Format::Json, Format::Plain] {
                assert_eq!(escaped(format, value), None, "{value:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back_as_it_was(value in ".{0,60}") {
            if let Some(xml) = escaped(Format::Xml, &value) {
                let text = format!("<a b=\"{xml}\">{xml}</a>");
                let document = roxmltree::Document::parse(&text).unwrap();
                let element = document.root_element();
                prop_assert_eq!(element.text().unwrap_or_default(), &value);
                prop_assert_eq!(element.attribute("b").unwrap_or_default(), &value);
            }
            if let Some(json) = escaped(Format::Json, &value) {
                prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{json}\"")).unwrap(), value);
            }
        }
    }
}
