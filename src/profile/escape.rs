//! Writing a value into a file so that it stays a value: a display name can never become a setting, an element or a
//! second line.

use std::fmt::{self, Write};

use super::schema::Format;

/// A value holds a character that no file can hold safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("holds a control character (U+{:04X}); remove it where the value comes from", u32::from(*.0))]
pub struct ControlCharacter(pub char);

impl Format {
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

    /// Writes `value` escaped for this format.
    pub(super) fn escape(self, value: &str, out: &mut impl Write) -> Result<(), EscapeError> {
        if let Some(control) = value.chars().find(|c| is_unsafe(*c)) {
            return Err(EscapeError::Control(ControlCharacter(control)));
        }
        match self {
            Self::Line | Self::Plain => out.write_str(value)?,
            Self::Xml => escape_by(value, out, xml_entity)?,
            Self::Json => escape_by(value, out, json_escape)?,
        }
        Ok(())
    }
}

/// Why a value was not written.
#[derive(Debug)]
pub(super) enum EscapeError {
    /// It must not be written.
    Control(ControlCharacter),
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

fn escape_by(
    value: &str,
    out: &mut impl Write,
    replacement: impl Fn(char) -> Option<&'static str>,
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
        format.escape(value, &mut out).ok().map(|()| out)
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
