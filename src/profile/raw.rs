//! Raw parameters: what an administrator wants in a vendor's file beyond what its templates say. Written by the file's
//! own form and escaping, in the place of a line that the template wrote under the same name. Never a parameter that
//! holds a password, and never more than one line or element.

mod head;
mod markup;
mod secret;

use super::escape::{EscapeError, Writing};
use super::schema::Format;
use super::template::MARK_OPEN;
use head::Head;
use markup::Markup;
pub(super) use secret::SecretNames;

/// No parameter of any vendor is longer.
const NAME_CHARS_MAX: usize = 100;
/// The number of an identity, a key, a handset.
const INDEX_CHARS_MAX: usize = 16;
/// What an index stands as where the parameter is not written without one.
const INDEX: &str = "{index}";

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
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:%@/$ ".contains(c));
        let single_blanks = !name.contains("  ") && !name.ends_with(' ');
        let word = |index: &str| {
            (1..=INDEX_CHARS_MAX).contains(&index.len())
                && index.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        let fits = starts && plain && single_blanks && name.len() <= NAME_CHARS_MAX && index.is_none_or(word);
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
    /// What stands for `{index}` where a name has one: holds `{index}`. If nothing else, a name must have one.
    index: Option<String>,
}

impl RawForm {
    /// Reads a form; `Err` says what is missing.
    pub(super) fn parse(text: &str, index: Option<&str>) -> Result<Self, String> {
        let (before, after) = text.split_once("{value}").ok_or("does not have {value} in it")?;
        if !before.contains("{name}") || after.contains("{value}") {
            return Err("must have {name}, and {value} once behind it".to_owned());
        }
        if before.contains(INDEX) != index.is_some() {
            return Err("has {index} where raw_index is given, and only there".to_owned());
        }
        if index.is_some_and(|index| !index.contains(INDEX)) {
            return Err("raw_index does not have {index} in it".to_owned());
        }
        Ok(Self { text: text.to_owned(), index: index.map(str::to_owned) })
    }

    /// The parameter's line or element without the line's end.
    fn write(&self, writing: &Writing, name: RawName<'_>, value: &str) -> Result<String, String> {
        self.check(writing.format, name)?;
        let (before, after) = self.around(name);
        let mut line = before;
        writing.escape(value, &mut line).map_err(|error| match error {
            EscapeError::Unwritable(why) => format!("its value {why}"),
            EscapeError::Full => "its value is too long".to_owned(),
        })?;
        line.push_str(after.trim_end_matches(['\r', '\n']));
        Ok(line)
    }

    /// Whether this name can stand in this form.
    fn check(&self, format: Format, name: RawName<'_>) -> Result<(), String> {
        let refuse = |reason: &str| Err(reason.to_owned());
        match (name.index, self.index.as_deref()) {
            (Some(_), None) => return refuse("this file's parameters have no index in brackets"),
            (None, Some(INDEX)) => return refuse("its name needs an index in brackets, as in NAME[INDEX]"),
            (Some(_), Some(_)) | (None, _) => {}
        }
        if format == Format::Xml && self.text.contains("<{name}") && !is_xml_name(name.name) {
            return refuse("it is no name of an element");
        }
        // Only a mark of its own says where a name of several words ends.
        let ends_at = self.text.strip_prefix("{name}").and_then(|rest| rest.trim_start().chars().next());
        let mark =
            ends_at.filter(|c| matches!(c, ':' | '=') && matches!(format, Format::Line | Format::Plain));
        match mark {
            None if name.name.contains(' ') => refuse("this file's parameters have no blanks in their names"),
            Some(mark) if name.name.contains(mark) => Err(format!("its name would end at the '{mark}'")),
            None | Some(_) => Ok(()),
        }
    }

    /// What stands before the value and behind it.
    fn around(&self, name: RawName<'_>) -> (String, String) {
        let index = match (name.index, &self.index) {
            (Some(number), Some(form)) => form.replace(INDEX, number),
            _ => String::new(),
        };
        let filled = |form: &str| form.replace("{name}", name.name).replace(INDEX, &index);
        let (before, after) = self.text.split_once("{value}").unwrap_or((&self.text, ""));
        (filled(before), filled(after))
    }
}

/// The raw parameters of one file, ready to be put where its template wants them.
#[derive(Debug, Default)]
pub(super) struct RawLines {
    lines: Vec<RawLine>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// One of them.
#[derive(Debug)]
struct RawLine {
    /// As people write it.
    name: String,
    text: String,
    /// What a line that it replaces begins with.
    head: Head,
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
                let line = form.write(writing, name, value)?;
                Ok(RawLine {
                    name: (*text).to_owned(),
                    text: line,
                    head: Head::new(form, writing.format, name),
                })
            });
            match written {
                Ok(line) => lines.lines.push(line),
                Err(reason) => lines.notes.push(left_out(text, &reason)),
            }
        }
        lines
    }

    /// Those of them with which a file stays well-formed, tried one after the other.
    pub(super) fn unbroken<E>(self, mut breaks: impl FnMut(&Self) -> Result<bool, E>) -> Result<Self, E> {
        let mut kept = Self { lines: Vec::new(), notes: self.notes };
        for line in self.lines {
            kept.lines.push(line);
            if breaks(&kept)?
                && let Some(line) = kept.lines.pop()
            {
                kept.notes.push(left_out(&line.name, "with it the file would be malformed"));
            }
        }
        Ok(kept)
    }

    /// The lines, each behind this indentation and with this end.
    pub(super) fn indented(&self, indentation: &str, end: &str) -> String {
        self.lines.iter().flat_map(|line| [indentation, &line.text, end]).collect()
    }

    /// Takes out of a template's text the lines that these replace, none with a place for something else in it. Of
    /// elements only those beside the place for raw parameters, or in a module that stands there: the same name deeper
    /// in the file is another parameter. An attribute is a parameter of whichever element.
    pub(super) fn without_replaced(&self, format: Format, text: &str) -> String {
        if self.lines.is_empty() {
            return text.to_owned();
        }
        let attributes: Vec<&str> = self.lines.iter().filter_map(|raw| raw.head.attribute()).collect();
        if format == Format::Xml && !attributes.is_empty() {
            return Markup::new(text).without_attributes(&attributes);
        }
        let markup = (format == Format::Xml).then(|| Markup::new(text));
        let mut kept = String::with_capacity(text.len());
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let place = markup.as_ref().map(|markup| markup.line(at, line));
            let is_replaced = |raw: &RawLine| raw.head.begins(line.trim(), place);
            if line.contains(MARK_OPEN) || !self.lines.iter().any(is_replaced) {
                kept.push_str(line);
            }
            at += line.len();
        }
        kept
    }
}

fn is_xml_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn left_out(name: &str, reason: &str) -> String {
    format!("the raw parameter {name} is left out: {reason}")
}

#[cfg(test)]
mod tests;
