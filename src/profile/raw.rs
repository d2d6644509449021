//! Raw parameters: what an administrator wants in a vendor's file beyond what its templates say. Written by the file's
//! own form and escaping, in the place of a line that the template wrote under the same name. Never a parameter that
//! holds a password, and never more than one line or element.

use std::collections::BTreeSet;

use super::escape::{EscapeError, Writing};
use super::rendered::SlotPiece;
use super::schema::Format;
use super::template::MARK_OPEN;

/// No parameter of any vendor is longer.
const NAME_CHARS_MAX: usize = 100;
/// The number of an identity, a key, a handset.
const INDEX_CHARS_MAX: usize = 16;

/// A raw parameter's name: the vendor's, and in brackets the index that some vendors write as an attribute
/// (`user_mailbox[1]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawName<'n> {
    name: &'n str,
    index: Option<&'n str>,
}

impl<'n> RawName<'n> {
    /// Reads a name; `Err` says what it may be.
    pub(super) fn read(text: &'n str) -> Result<Self, String> {
        let (name, index) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '%' | '@'));
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:%@/$".contains(c));
        let word = |index: &str| {
            (1..=INDEX_CHARS_MAX).contains(&index.len())
                && index.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        let fits = starts && plain && name.len() <= NAME_CHARS_MAX && index.is_none_or(word);
        fits.then_some(Self { name, index }).ok_or_else(|| {
            format!("'{text}' is no parameter's name; write it as the vendor does, an index as in NAME[1]")
        })
    }
}

/// Whether this can be the name of a raw parameter at all, without `raw:` before it.
pub fn check_raw_name(name: &str) -> Result<(), String> {
    RawName::read(name).map(|_| ())
}

/// How raw parameters stand in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawForm {
    /// Holds `{name}` and `{value}`, and may hold `{index}`.
    text: String,
    /// What stands for `{index}` where a name has one: holds `{index}`.
    index: Option<String>,
}

impl RawForm {
    /// Reads a form; `Err` says what is missing.
    pub(super) fn parse(text: &str, index: Option<&str>) -> Result<Self, String> {
        let (before, after) = text.split_once("{value}").ok_or("does not have {value} in it")?;
        if !before.contains("{name}") || after.contains("{value}") {
            return Err("must have {name}, and {value} once behind it".to_owned());
        }
        if before.contains("{index}") != index.is_some() {
            return Err("has {index} where raw_index is given, and only there".to_owned());
        }
        if index.is_some_and(|index| !index.contains("{index}")) {
            return Err("raw_index does not have {index} in it".to_owned());
        }
        Ok(Self { text: text.to_owned(), index: index.map(str::to_owned) })
    }

    /// The parameter's line or element without the line's end, and what a line that it replaces begins with.
    fn write(&self, writing: &Writing, name: RawName<'_>, value: &str) -> Result<(String, String), String> {
        if writing.format == Format::Xml && self.text.contains("<{name}") && !is_xml_name(name.name) {
            return Err("it is no name of an element".to_owned());
        }
        let index = match (name.index, &self.index) {
            (Some(number), Some(form)) => form.replace("{index}", number),
            (None, _) => String::new(),
            (Some(_), None) => return Err("this file's parameters have no index in brackets".to_owned()),
        };
        let around = |form: &str| form.replace("{name}", name.name).replace("{index}", &index);
        let (before, after) = self.text.split_once("{value}").unwrap_or((&self.text, ""));
        let head_end = ["{name}", "{index}"].iter().filter_map(|mark| Some(before.rfind(mark)? + mark.len()));
        let head = around(before.get(..head_end.max().unwrap_or_default()).unwrap_or_default());
        let mut line = around(before);
        writing.escape(value, &mut line).map_err(|error| match error {
            EscapeError::Unwritable(why) => format!("its value {why}"),
            EscapeError::Full => "its value is too long".to_owned(),
        })?;
        line.push_str(around(after).trim_end_matches(['\r', '\n']));
        Ok((line, head.trim_start().to_owned()))
    }
}

/// The raw parameters of one file, ready to be put where its template wants them.
#[derive(Debug, Default)]
pub(super) struct RawLines {
    lines: Vec<String>,
    /// Beginnings of lines that they replace.
    heads: Vec<String>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

impl RawLines {
    /// Writes these parameters; none of those whose names are in `secret`.
    pub(super) fn new(
        form: &RawForm,
        writing: &Writing,
        parameters: &[(&str, &str)],
        secret: &SecretNames,
    ) -> Self {
        let mut lines = Self::default();
        for (text, value) in parameters {
            let written = RawName::read(text).and_then(|name| {
                if secret.covers(name.name) {
                    return Err("it is one of those that hold passwords".to_owned());
                }
                form.write(writing, name, value)
            });
            match written {
                Ok((line, head)) => {
                    lines.lines.push(line);
                    lines.heads.push(head);
                }
                Err(reason) => lines.notes.push(left_out(text, &reason)),
            }
        }
        lines
    }

    /// They would break the file, so that none of them is written.
    pub(super) fn refused(parameters: &[(&str, &str)]) -> Self {
        let reason = "with the raw parameters the file would be malformed";
        let notes = parameters.iter().map(|(name, _)| left_out(name, reason)).collect();
        Self { notes, ..Self::default() }
    }

    /// The lines, each behind this indentation.
    pub(super) fn indented(&self, indentation: &str) -> String {
        self.lines.iter().map(|line| format!("{indentation}{line}\n")).collect()
    }

    /// Takes out of a template's text the lines that these replace, none with a place for something else in it.
    pub(super) fn without_replaced(&self, text: &str) -> String {
        let replaced = |line: &str| {
            let line = line.trim_start();
            !line.contains(MARK_OPEN)
                && self.heads.iter().any(|head| {
                    let rest = line.strip_prefix(head.as_str());
                    rest.is_some_and(|rest| {
                        rest.starts_with(|c: char| matches!(c, '=' | '>' | '"' | ' ' | '\t'))
                            && is_whole(line)
                            && !(head.starts_with('<') && rest.starts_with(" idx="))
                    })
                })
        };
        text.split_inclusive('\n').filter(|line| !replaced(line)).collect()
    }
}

/// Whether a line is not the beginning of an element that goes on in the next one.
fn is_whole(line: &str) -> bool {
    let line = line.trim_end();
    !line.starts_with('<') || line.ends_with("/>") || line.contains("</")
}

fn is_xml_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn left_out(name: &str, reason: &str) -> String {
    format!("the raw parameter {name} is left out: {reason}")
}

/// The names in the places for passwords of a phone's files: what a raw parameter must not be called.
#[derive(Debug, Default)]
pub(super) struct SecretNames(BTreeSet<String>);

impl SecretNames {
    /// Takes in the words of a place: its parameter's name is one of them, however the place is written.
    pub(super) fn add(&mut self, piece: &SlotPiece) {
        let outside = |c: char| !(c.is_ascii_alphanumeric() || "_-.:%@/$".contains(c));
        for text in [&piece.before, &piece.name] {
            self.0.extend(text.split(outside).filter(|word| !word.is_empty()).map(alike));
        }
    }

    /// Whether a parameter is one of them, or the same one of another line (`account.2.password`).
    fn covers(&self, name: &str) -> bool {
        // With a colon or a slash in it a name may be one word here and two to the phone.
        let parts = name.split([':', '/']).filter(|part| !part.is_empty());
        std::iter::once(name).chain(parts).any(|name| self.0.contains(&alike(name)))
    }
}

/// A name in small letters, with a mark for each part of it that is a number.
fn alike(name: &str) -> String {
    let part = |part: &str| {
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if number { "#".to_owned() } else { part.to_ascii_lowercase() }
    };
    name.trim_matches(['.', ':']).split(['.', '_']).map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rendered::Slot;
    use super::*;
    use crate::secret::SecretKind;

    fn secret(before: &str) -> SecretNames {
        let slot = Slot { kind: SecretKind::Webui, line: None };
        let piece = SlotPiece {
            slot,
            name: "static.security.user_password = admin:".to_owned(),
            part: super::super::part::Part::Whole,
            before: before.to_owned(),
            after: String::new(),
        };
        let mut names = SecretNames::default();
        names.add(&piece);
        names
    }

    fn written(form: &RawForm, format: Format, name: &str, value: &str) -> Result<String, String> {
        let secret = secret("account.1.password = ");
        let lines = RawLines::new(form, &format.into(), &[(name, value)], &secret);
        match lines.notes.first() {
            Some(note) => Err(note.clone()),
            None => Ok(lines.indented("  ")),
        }
    }

    #[test]
    fn a_parameter_is_a_line_or_an_element() {
        let line = RawForm::parse("{name} = {value}\n", None).unwrap();
        assert_eq!(written(&line, Format::Line, "a.1.b", "x = y").unwrap(), "  a.1.b = x = y\n");
        let form = "<{name}{index} perm=\"R\">{value}</{name}>\n";
        let xml = RawForm::parse(form, Some(" idx=\"{index}\"")).unwrap();
        let expected = "  <user_mailbox idx=\"1\" perm=\"R\">*97 &amp; &lt;x&gt;</user_mailbox>\n";
        assert_eq!(written(&xml, Format::Xml, "user_mailbox[1]", "*97 & <x>").unwrap(), expected);
        assert_eq!(written(&xml, Format::Xml, "dnd", "on").unwrap(), "  <dnd perm=\"R\">on</dnd>\n");
        let attribute = RawForm::parse(" {name}=\"{value}\"\n", None).unwrap();
        assert_eq!(written(&attribute, Format::Xml, "a.b", "\"").unwrap(), "   a.b=\"&quot;\"\n");
        for (text, index) in [("{name}", None), ("{value}={name}", None), ("{name}{index}={value}", None)] {
            assert!(RawForm::parse(text, index).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_no_password_and_no_second_line() {
        let line = RawForm::parse("{name} = {value}\n", None).unwrap();
        let check = |name: &str, value: &str, says: &str| {
            let note = written(&line, Format::Line, name, value).unwrap_err();
            assert!(note.contains(says), "{name}: {note}");
        };
        check("account.1.password", "x", "hold passwords");
        check("Account.7.Password", "x", "hold passwords");
        check("static.security.user_password", "admin:x", "hold passwords");
        check("a\nb", "x", "no parameter's name");
        check("a = 1", "x", "no parameter's name");
        check("#!include", "x", "no parameter's name");
        check("a[1]", "x", "no index");
        check("a", "x\naccount.1.password = y", "control character");
        check("a", "x\u{2028}y", "control character");
        assert!(written(&line, Format::Line, "account.1.passwords", "x").is_ok());
    }

    #[test]
    fn what_the_template_wrote_under_the_name_is_replaced() {
        let line = RawForm::parse("{name} = {value}\n", None).unwrap();
        let lines = RawLines::new(&line, &Format::Line.into(), &[("a.b", "2")], &SecretNames::default());
        assert_eq!(lines.without_replaced("a.b = 1\na.bc = 1\na.b=3\nx a.b = 1\n"), "a.bc = 1\nx a.b = 1\n");
        let form = "<{name}{index}>{value}</{name}>\n";
        let xml = RawForm::parse(form, Some(" idx=\"{index}\"")).unwrap();
        let lines =
            RawLines::new(&xml, &Format::Xml.into(), &[("a[2]", "x"), ("b", "y")], &SecretNames::default());
        let text = "<a idx=\"1\">1</a>\n <a idx=\"2\" perm=\"R\">2</a>\n<b perm=\"R\">1</b>\n<b idx=\"1\">1</b>\n<b>\n</b>\n";
        assert_eq!(lines.without_replaced(text), "<a idx=\"1\">1</a>\n<b idx=\"1\">1</b>\n<b>\n</b>\n");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_one_parameter(name in ".{1,12}", value in ".{0,30}") {
            let line = RawForm::parse("{name} = {value}\n", None).unwrap();
            if let Ok(text) = written(&line, Format::Line, &name, &value) {
                prop_assert_eq!(text.lines().count(), 1);
                let read = text.trim_start().strip_suffix('\n').and_then(|line| line.split_once(" = "));
                prop_assert_eq!(read, Some((name.as_str(), value.as_str())));
            }
            let form = "<{name}{index}>{value}</{name}>\n";
            let xml = RawForm::parse(form, Some(" idx=\"{index}\"")).unwrap();
            if let Ok(text) = written(&xml, Format::Xml, &name, &value) {
                let document = roxmltree::Document::parse(&text).unwrap();
                prop_assert_eq!(document.root_element().text().unwrap_or_default(), value);
            }
        }
    }
}
