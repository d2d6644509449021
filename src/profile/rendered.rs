//! A rendered file whose secrets are still slots. It can be kept, compared and shown; only [`Rendered::fill`] makes
//! bytes with secrets in them, and those wipe themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use regex::Regex;
use zeroize::Zeroizing;

use super::crypt::CRYPTED_BYTES_MAX;
use super::escape::{EscapeError, Unwritable, Writing};
use super::part::Part;
use super::preamble::CommentForm;
use super::raw::RawLines;
use super::schema::Format;
use super::template::{Drawing, MARK_CLOSE, MARK_OPEN, RAW_MARK, SlotCall};
use crate::secret::{Secret, SecretKind};

/// What stands in place of a secret that is shown to people. Of constant length: it tells nothing.
const MASK: &str = "********";

/// The longest escape of one character, `&quot;`; a profile's own are no longer.
pub(super) const ESCAPE_BYTES_MAX: usize = 6;

/// A rendered file whose secrets are still slots: cacheable, never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pieces: Vec<Piece>,
    takes_raw: bool,
    notes: Vec<String>,
    writing: Arc<Writing>,
    comment: Option<CommentForm>,
    /// The media type to send it as.
    pub content_type: String,
}

/// A place for a secret, and at the same time which secret: the device's own of a kind, or the SIP password of one line.
/// A file may hold the same one in several places (snom's `http_pass` and `webserver_admin_password`); they leave, or
/// stay, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Which secret.
    pub kind: SecretKind,
    /// The line whose SIP password it is; `None` for the device's own secrets.
    pub line: Option<u16>,
}

/// Why a file was not rendered or not filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template refused, or cannot be rendered with these values.
    #[error("cannot render {vendor}/templates/{template}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Template {
        /// The profile's folder.
        vendor: String,
        /// The file in its `templates` folder.
        template: String,
        /// The line, counted from 1.
        line: Option<usize>,
        /// What happened and what to do.
        message: String,
    },
    /// A slot of a kind that the file does not declare.
    #[error(
        "{file} asks for a {kind} secret but does not declare it; add \"{kind}\" to its secrets in profile.toml"
    )]
    Undeclared {
        /// The file's path pattern.
        file: String,
        /// The kind.
        kind: SecretKind,
    },
    /// A slot whose parameter name or attributes cannot stand in this format.
    #[error("{file}: '{name}' cannot be the name of a parameter in this format")]
    SlotName {
        /// The file's path pattern.
        file: String,
        /// The name.
        name: String,
    },
    /// A slot whose line or element is one that the profile rejects.
    #[error(
        "{file}: the secret stands as `{shown}`, which release.rejects in profile.toml forbids ({pattern})"
    )]
    Rejected {
        /// The file's path pattern.
        file: String,
        /// The line or element, its secret masked.
        shown: String,
        /// The pattern that it matches.
        pattern: String,
    },
    /// A secret with a character that would break out of its place.
    #[error("the {kind} secret {reason}")]
    Secret {
        /// The kind; the secret itself is never told.
        kind: SecretKind,
        /// Which character.
        reason: Unwritable,
    },
    /// The site's time zone is unknown.
    #[error("site.timezone: {0}")]
    Zone(#[from] super::zone::ZoneError),
    /// A file of one device was asked for without a device.
    #[error("{file} belongs to one phone and needs its MAC")]
    NoDevice {
        /// The file's path pattern.
        file: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Slot(SlotPiece),
}

/// A secret's whole line or element: what stands before and after its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotPiece {
    pub(super) slot: Slot,
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) before: String,
    pub(super) after: String,
}

/// How the secrets of a file may stand in it.
#[derive(Debug, Clone)]
pub(super) struct SlotRules<'a> {
    pub(super) file: &'a str,
    pub(super) writing: &'a Arc<Writing>,
    pub(super) content_type: &'a str,
    pub(super) kinds: &'a [SecretKind],
    pub(super) form: &'a SecretForm,
    pub(super) comment: Option<&'a CommentForm>,
    /// What stands where the template has its place for raw parameters.
    pub(super) raw: &'a RawLines,
    /// What no secret's line or element may match.
    pub(super) rejects: &'a [Regex],
}

/// A secret's form: the text around `{value}`, with `{name}` and `{attributes}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretForm {
    before: String,
    after: String,
}

impl SecretForm {
    /// Reads a form that a template gives.
    pub(super) fn checked(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("'{text}' must have {{value}} in it, once"))
    }

    /// Reads a form such as `{name} = {value}\n`; `None` when `{value}` is missing or there twice.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once("{value}")?;
        if after.contains("{value}") {
            return None;
        }
        Some(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

impl Rendered {
    /// Splits what a template drew at its marks.
    pub(super) fn cut(drawing: &Drawing, rules: &SlotRules<'_>) -> Result<Self, RenderError> {
        let mut cutter = Cutter { pieces: Vec::new(), text: String::new() };
        let text = rules.raw.without_replaced(rules.writing.format, &drawing.text);
        let mut rest = text.as_str();
        while let Some((before, marked)) = rest.split_once(MARK_OPEN) {
            let (number, after) = marked.split_once(MARK_CLOSE).unwrap_or((marked, ""));
            cutter.text.push_str(before);
            if number == RAW_MARK {
                rest = cutter.raw(after, rules.raw);
                continue;
            }
            // Only secret_param makes marks, so the number is always one of ours; another would be dropped here.
            let call = number.parse::<usize>().ok().and_then(|number| drawing.trace.slots.get(number));
            rest = match call {
                Some(call) => cutter.slot(call, after, rules)?,
                None => after,
            };
        }
        cutter.text.push_str(rest);
        cutter.end_text();
        Ok(Self {
            pieces: cutter.pieces,
            takes_raw: drawing.trace.raw,
            notes: drawing.trace.notes.iter().chain(&rules.raw.notes).cloned().collect(),
            writing: Arc::clone(rules.writing),
            comment: rules.comment.cloned(),
            content_type: rules.content_type.to_owned(),
        })
    }

    /// Every place for a secret, in the file's order; one that stands in several places comes as often.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slot_pieces().map(|piece| piece.slot)
    }

    /// Every secret that the file has a place for, each once: what a release decides about.
    pub fn slot_set(&self) -> BTreeSet<Slot> {
        self.slots().collect()
    }

    /// Whether the template has a place for raw parameters.
    pub fn takes_raw(&self) -> bool {
        self.takes_raw
    }

    /// What the template wants people to know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The file without secrets: every slot gone with its whole line or element.
    pub fn plain(&self) -> String {
        self.text_pieces().collect()
    }

    /// The file with the secrets that `open` hands out; it is asked once for each of [`Self::slot_set`], in the file's
    /// order. Where it hands out none, or an empty one, the slot is gone: an empty password is never sent.
    pub fn fill(
        &self,
        mut open: impl FnMut(Slot) -> Option<Secret>,
    ) -> Result<Zeroizing<String>, RenderError> {
        let mut secrets: BTreeMap<Slot, Option<Secret>> = BTreeMap::new();
        for slot in self.slots() {
            secrets.entry(slot).or_insert_with(|| open(slot).filter(|secret| !secret.is_empty()));
        }
        let secret = |slot: Slot| secrets.get(&slot).and_then(Option::as_ref);
        let bytes = |secret: &Secret| (secret.expose().len() * ESCAPE_BYTES_MAX).max(CRYPTED_BYTES_MAX);
        let longest = |slot: Slot| secret(slot).map_or(0, bytes);
        // Room for everything from the start: a growing buffer would leave copies of secrets behind unwiped.
        let room = self.shape_bytes() + self.slots().map(longest).sum::<usize>();
        let mut filled = Zeroizing::new(String::with_capacity(room));
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Slot(piece) => {
                    let Some(secret) = secret(piece.slot) else { continue };
                    filled.push_str(&piece.before);
                    write_secret(&self.writing, piece, secret, &mut filled)?;
                    filled.push_str(&piece.after);
                }
            }
        }
        Ok(filled)
    }

    /// The file for people: asterisks in place of every secret.
    pub fn masked(&self) -> String {
        let mut text = String::with_capacity(self.shape_bytes() + 64);
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Slot(piece) => {
                    let _ = write!(text, "{}{MASK}{}", piece.before, piece.after);
                }
            }
        }
        text
    }

    pub(super) fn slot_pieces(&self) -> impl Iterator<Item = &SlotPiece> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Slot(piece) => Some(piece),
            Piece::Text(_) => None,
        })
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The same file with these pieces.
    pub(super) fn with_pieces(&self, pieces: Vec<Piece>) -> Self {
        Self { pieces, ..self.clone() }
    }

    pub(super) fn format(&self) -> Format {
        self.writing.format
    }

    pub(super) fn writing(&self) -> &Writing {
        &self.writing
    }

    pub(super) fn comment(&self) -> Option<&CommentForm> {
        self.comment.as_ref()
    }

    fn text_pieces(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Slot(_) => None,
        })
    }

    fn shape_bytes(&self) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Slot(piece) => piece.before.len() + piece.after.len(),
        };
        self.pieces.iter().map(length).sum()
    }
}

fn write_secret(
    writing: &Writing,
    piece: &SlotPiece,
    secret: &Secret,
    out: &mut Zeroizing<String>,
) -> Result<(), RenderError> {
    let kind = piece.slot.kind;
    writing.escape(&piece.part.of(secret.expose()), &mut **out).map_err(|error| match error {
        EscapeError::Unwritable(reason) => RenderError::Secret { kind, reason },
        // A String is never full.
        EscapeError::Full => RenderError::Secret { kind, reason: Unwritable::Control('\u{fffd}') },
    })
}

struct Cutter {
    pieces: Vec<Piece>,
    text: String,
}

impl Cutter {
    /// Puts the raw parameters between the text so far and `after`, with the line end that stands there; gives back what
    /// of `after` is not their line's.
    fn raw<'t>(&mut self, after: &'t str, raw: &RawLines) -> &'t str {
        let line_end = ["\r\n", "\n"].into_iter().find(|end| after.starts_with(end));
        let end = line_end.unwrap_or(if self.text.ends_with("\r\n") { "\r\n" } else { "\n" });
        let Some(blanks) = self.indentation() else {
            self.text.push_str(raw.indented("", end).trim_end_matches(['\r', '\n']));
            return after;
        };
        let indentation = self.text.split_off(self.text.len() - blanks);
        self.text.push_str(&raw.indented(&indentation, end));
        line_end.and_then(|end| after.strip_prefix(end)).unwrap_or(after)
    }

    /// Places a slot between the text so far and `after`; gives back what of `after` is not the slot's own.
    fn slot<'t>(
        &mut self,
        call: &SlotCall,
        after: &'t str,
        rules: &SlotRules<'_>,
    ) -> Result<&'t str, RenderError> {
        if !rules.kinds.contains(&call.kind) {
            return Err(RenderError::Undeclared { file: rules.file.to_owned(), kind: call.kind });
        }
        let attributes = checked_name(call, rules)?;
        let around = |form: &str| form.replace("{name}", &call.name).replace("{attributes}", &attributes);
        let form = call.form.as_ref().unwrap_or(rules.form);
        let mut before = around(&form.before);
        let mut tail = around(&form.after);
        let mut rest = after;
        let line_end = ["\r\n", "\n"].into_iter().find(|end| after.starts_with(end));
        // A line that holds only the slot is the slot's: its indentation and its end come and go with the secret.
        match (self.indentation(), line_end) {
            (Some(indentation), Some(end)) => {
                before.insert_str(0, &self.text.split_off(self.text.len() - indentation));
                tail.truncate(tail.trim_end_matches(['\r', '\n']).len());
                tail.push_str(end);
                rest = after.strip_prefix(end).unwrap_or(after);
            }
            (Some(indentation), None) if tail.ends_with('\n') || after.is_empty() => {
                before.insert_str(0, &self.text.split_off(self.text.len() - indentation));
            }
            // Within a line the form's own line end would break the line in two.
            (None, _) | (_, None) => tail.truncate(tail.trim_end_matches(['\r', '\n']).len()),
        }
        self.end_text();
        let shown = format!("{before}{MASK}{tail}");
        if let Some(pattern) = rules.rejects.iter().find(|pattern| pattern.is_match(&shown)) {
            let (file, shown) = (rules.file.to_owned(), shown.trim().to_owned());
            return Err(RenderError::Rejected { file, shown, pattern: pattern.to_string() });
        }
        let slot = Slot { kind: call.kind, line: call.line };
        self.pieces.push(Piece::Slot(SlotPiece {
            slot,
            name: call.name.clone(),
            part: call.part,
            before,
            after: tail,
        }));
        Ok(rest)
    }

    /// How many blanks stand before this place if nothing else stands on its line; `None` when something does.
    fn indentation(&self) -> Option<usize> {
        let blanks = self.text.len() - self.text.trim_end_matches([' ', '\t']).len();
        let line = self.text.get(..self.text.len() - blanks)?;
        let at_start = match line.chars().next_back() {
            Some(last) => last == '\n',
            None => match self.pieces.last() {
                Some(Piece::Slot(piece)) => piece.after.ends_with('\n'),
                Some(Piece::Text(text)) => text.ends_with('\n'),
                None => true,
            },
        };
        at_start.then_some(blanks)
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(&mut self.text)));
        }
    }
}

/// Checks that name and attributes are what the format takes them for; gives back the attributes with a leading blank.
fn checked_name(call: &SlotCall, rules: &SlotRules<'_>) -> Result<String, RenderError> {
    let refused = |name: &str| RenderError::SlotName { file: rules.file.to_owned(), name: name.to_owned() };
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let fits = match rules.writing.format {
        Format::Xml => call.name.chars().all(is_word),
        Format::Line | Format::Json | Format::Plain => {
            !call.name.contains(['"', '\\']) && !call.name.chars().any(char::is_control)
        }
    };
    if call.name.trim().is_empty() || !fits {
        return Err(refused(&call.name));
    }
    let attributes = &call.attributes;
    if attributes.contains(['<', '>', '&']) || attributes.chars().any(char::is_control) {
        return Err(refused(attributes));
    }
    let trimmed = attributes.trim_start();
    Ok(if trimmed.is_empty() { String::new() } else { format!(" {trimmed}") })
}

#[cfg(test)]
mod tests {
    use super::super::template::Trace;
    use super::*;

    const KINDS: [SecretKind; 2] = [SecretKind::Sip, SecretKind::Webui];

    fn slot(kind: SecretKind, line: Option<u16>, name: &str) -> SlotCall {
        SlotCall {
            kind,
            line,
            name: name.to_owned(),
            attributes: String::new(),
            part: Part::Whole,
            form: None,
        }
    }

    fn cut(format: Format, text: &str) -> Result<Rendered, RenderError> {
        let slots = vec![
            slot(SecretKind::Sip, Some(1), "p1"),
            slot(SecretKind::Webui, None, "web"),
            slot(SecretKind::Menu, None, "pin"),
            slot(SecretKind::Sip, Some(1), "a<b"),
            slot(SecretKind::Sip, Some(1), "rejected"),
        ];
        let text = text.replace('[', "\u{1}").replace(']', "\u{2}");
        let form = SecretForm::parse(format.secret_form()).unwrap();
        let rules = SlotRules {
            raw: &RawLines::default(),
            file: "x",
            writing: &Arc::new(format.into()),
            content_type: "t",
            kinds: &KINDS,
            form: &form,
            comment: None,
            rejects: &[Regex::new("rejected").unwrap()],
        };
        Rendered::cut(&Drawing { text, trace: Trace { slots, ..Trace::default() } }, &rules)
    }

    fn filled(rendered: &Rendered) -> String {
        rendered.fill(|slot| Some(Secret::new(format!("s{}", slot.line.unwrap_or(0))))).unwrap().to_string()
    }

    fn check(format: Format, text: &str, full: &str, plain: &str) {
        let rendered = cut(format, text).unwrap();
        assert_eq!((filled(&rendered).as_str(), rendered.plain().as_str()), (full, plain), "{text:?}");
    }

    #[test]
    fn a_line_comes_and_goes_as_a_whole() {
        check(Format::Line, "a = 1\n[0]\nb = 2\n", "a = 1\np1 = s1\nb = 2\n", "a = 1\nb = 2\n");
        check(Format::Line, "[0]\n", "p1 = s1\n", "");
        check(Format::Line, "[0]", "p1 = s1\n", "");
        check(Format::Line, "[0][1]\nb\n", "p1 = s1\nweb = s0\nb\n", "b\n");
        check(Format::Line, "a\n[0]\n[1]\nb", "a\np1 = s1\nweb = s0\nb", "a\nb");
        check(Format::Line, "a\r\n[0]\r\nb\r\n", "a\r\np1 = s1\r\nb\r\n", "a\r\nb\r\n");
        check(Format::Line, "a\n[0]b\n", "a\np1 = s1\nb\n", "a\nb\n");
        check(Format::Line, "a\n\n[0]\n\nb\n", "a\n\np1 = s1\n\nb\n", "a\n\n\nb\n");
    }

    #[test]
    fn an_element_comes_and_goes_with_its_indentation() {
        check(Format::Xml, "<x>\n  [0]\n</x>\n", "<x>\n  <p1>s1</p1>\n</x>\n", "<x>\n</x>\n");
        check(Format::Xml, "<x>[0]</x>\n", "<x><p1>s1</p1></x>\n", "<x></x>\n");
        check(Format::Xml, "<x>[0]\n</x>", "<x><p1>s1</p1>\n</x>", "<x>\n</x>");
        check(
            Format::Json,
            "{\n  [0]\n  \"a\": 1\n}",
            "{\n  \"p1\": \"s1\",\n  \"a\": 1\n}",
            "{\n  \"a\": 1\n}",
        );
    }

    #[test]
    fn secrets_are_escaped_and_those_that_break_out_refused() {
        let rendered = cut(Format::Xml, "[0]\n").unwrap();
        let fill = |text: &str| rendered.fill(|_| Some(Secret::new(text)));
        assert_eq!(fill("<&>").unwrap().as_str(), "<p1>&lt;&amp;&gt;</p1>\n");
        let error = fill("hunter2\n").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(fill("").unwrap().as_str(), "");
    }

    #[test]
    fn people_see_asterisks_of_one_length() {
        let rendered = cut(Format::Line, "a\n[0]\n").unwrap();
        assert_eq!(rendered.masked(), "a\np1 = ********\n");
        assert_eq!(rendered.slots().collect::<Vec<_>>(), [Slot { kind: SecretKind::Sip, line: Some(1) }]);
    }

    #[test]
    fn undeclared_kinds_and_impossible_names_are_errors() {
        assert!(matches!(
            cut(Format::Line, "[2]"),
            Err(RenderError::Undeclared { kind: SecretKind::Menu, .. })
        ));
        assert!(matches!(cut(Format::Xml, "[3]"), Err(RenderError::SlotName { .. })));
        let error = cut(Format::Line, "a\n[4]\n").unwrap_err().to_string();
        assert!(error.contains("x: the secret stands as `rejected = ********`"), "{error}");
    }

    #[test]
    fn a_secret_in_several_places_is_asked_for_once() {
        let rendered = cut(Format::Line, "[0]\n[1]\nb\n[0]\n").unwrap();
        let mut asked = Vec::new();
        let filled = rendered.fill(|slot| {
            asked.push(slot.kind);
            Some(Secret::new(format!("s{}", asked.len())))
        });
        assert_eq!(filled.unwrap().as_str(), "p1 = s1\nweb = s2\nb\np1 = s1\n");
        assert_eq!(asked, [SecretKind::Sip, SecretKind::Webui]);
        assert_eq!((rendered.slots().count(), rendered.slot_set().len()), (3, 2));
    }

    #[test]
    fn the_buffer_never_grows_while_secrets_are_in_it() {
        let rendered = cut(Format::Xml, "a\n[0]\n[1]\n").unwrap();
        let filled = rendered.fill(|_| Some(Secret::new("&\"'<>&\"'<>"))).unwrap();
        assert!(filled.len() <= rendered.shape_bytes() + 2 * 60, "{}", filled.len());
    }
}
