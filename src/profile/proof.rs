//! What must hold of a rendered file whatever leaves with it: for every subset of the kinds of secrets, and for each line
//! alone and all but it, nothing withheld is in the file, everything released is where its slot is, no password is
//! empty, the file stays well-formed, and the rest does not change by an octet.

use std::collections::BTreeSet;

use roxmltree::{Document, Node};

use super::ProfileFile;
use super::case::Case;
use super::rendered::{Piece, Rendered, Slot, SlotPiece};
use super::schema::Format;
use crate::secret::{Secret, SecretKind};

/// Words in the name of a parameter that holds a password.
const PASSWORD_WORDS: [&str; 4] = ["pass", "pswd", "pwd", "secret"];
/// Lines of one file that are tried each on its own; the others behave like them.
const LINES_TRIED_MAX: usize = 32;
/// The first block of a TFTP transfer (RFC 1350), which may be on its way before the release is settled.
const BLOCK_BYTES: usize = 512;
/// A shorter secret of a case may stand in a file by chance.
const TELLING_BYTES: usize = 8;

/// What is wrong with a rendered file under any combination of released secrets.
pub(super) fn of_rendered(rendered: &Rendered) -> Vec<String> {
    let mut wrong = of_choices(rendered, |choice| filled(rendered, choice));
    wrong.extend(rendered.slot_pieces().filter_map(|piece| part_of_something(rendered, piece)));
    wrong.extend(of_preamble(rendered));
    wrong
}

/// What is wrong with a rendered file without secrets, and with how its slots stand: little enough to look at the files
/// of every model.
pub(super) fn of_plain(rendered: &Rendered) -> Vec<String> {
    let (format, plain) = (rendered.format(), rendered.plain());
    let mut wrong: Vec<String> =
        rendered.slot_pieces().filter_map(|piece| part_of_something(rendered, piece)).collect();
    wrong.extend(malformed(format, &plain).map(|why| format!("without secrets it is malformed: {why}")));
    let empty = empty_password(format, &plain, &parameters(rendered));
    wrong.extend(empty.map(|name| format!("without secrets {name} is empty")));
    wrong
}

/// What is wrong with a file of a case: what only its phone and its profile can tell.
pub(super) fn of_case(rendered: &Rendered, case: &Case, file: &ProfileFile) -> Vec<String> {
    let plain = rendered.plain();
    let mut wrong = Vec::new();
    let lines: BTreeSet<u16> = case.device.lines.iter().map(|line| line.number).collect();
    for slot in rendered.slot_set() {
        if slot.line.is_some_and(|line| !lines.contains(&line)) {
            wrong.push(format!("it asks for {}, and the phone has no such line", name(slot)));
        }
    }
    for (slot, secret) in case.secrets() {
        if secret.expose().len() >= TELLING_BYTES && plain.contains(secret.expose()) {
            wrong.push(format!("without secrets it holds {} all the same", name(slot)));
        }
    }
    wrong.extend(lacks(file, &plain));
    wrong
}

/// What the profile requires of a file and is not in it.
pub(super) fn lacks(file: &ProfileFile, plain: &str) -> impl Iterator<Item = String> {
    let missing = file.requires.iter().filter(|pattern| !pattern.is_match(plain));
    missing.map(|pattern| format!("does not hold what its requires says ({pattern})"))
}

/// The combinations that are tried: all subsets of the kinds, each line alone, and all but it.
fn choices(slots: &BTreeSet<Slot>) -> BTreeSet<BTreeSet<Slot>> {
    let mut choices = BTreeSet::new();
    for bits in 0..1usize << SecretKind::ALL.len() {
        let kinds = SecretKind::ALL.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        let kinds: Vec<SecretKind> = kinds.map(|(_, kind)| *kind).collect();
        choices.insert(slots.iter().filter(|slot| kinds.contains(&slot.kind)).copied().collect());
    }
    for line in slots.iter().filter(|slot| slot.line.is_some()).take(LINES_TRIED_MAX) {
        choices.insert(BTreeSet::from([*line]));
        choices.insert(slots.iter().filter(|slot| *slot != line).copied().collect());
    }
    choices
}

/// Tries every combination; `fill` makes the file of one, so that a test can show that a wrong one is found.
fn of_choices(rendered: &Rendered, fill: impl Fn(&BTreeSet<Slot>) -> String) -> Vec<String> {
    let slots = rendered.slot_set();
    let names = parameters(rendered);
    let mut wrong = Vec::new();
    for choice in choices(&slots) {
        let text = fill(&choice);
        let mut found = misplaced(rendered, &slots, &choice, &text);
        if !found.is_empty() {
            // The rest is then different as a matter of course.
        } else if unchanged_rest(rendered, &choice, &text).is_none() {
            found.push("it differs in more than its secrets".to_owned());
        }
        found.extend(malformed(rendered.format(), &text).map(|why| format!("it is malformed: {why}")));
        found.extend(empty_password(rendered.format(), &text, &names).map(|name| format!("{name} is empty")));
        wrong.extend(found.into_iter().map(|found| format!("{} {found}", with(&slots, &choice))));
    }
    wrong
}

/// A combination in words.
fn with(slots: &BTreeSet<Slot>, choice: &BTreeSet<Slot>) -> String {
    let withheld: Vec<String> = slots.difference(choice).map(|slot| name(*slot)).collect();
    match (choice.is_empty(), withheld.as_slice()) {
        (true, _) => "without secrets".to_owned(),
        (false, []) => "with all secrets".to_owned(),
        (false, withheld) => format!("without {}", withheld.join(", ")),
    }
}

fn name(slot: Slot) -> String {
    match slot.line {
        Some(line) => format!("the {} secret of line {line}", slot.kind),
        None => format!("the {} secret", slot.kind),
    }
}

/// What the canary of a slot begins with; the full stop ends the number.
fn canary(slot: Slot) -> String {
    format!("CANARY-{}-{}.", slot.kind, slot.line.unwrap_or_default())
}

/// With characters that every format must escape or may not mind; a URL, where it is one.
fn canary_secret(rendered: &Rendered, slot: Slot) -> Secret {
    let refuses = &rendered.writing().refuses;
    let word = canary(slot) + &"&<\"'>".replace(|c| refuses.contains(&c), "");
    Secret::new(match slot.kind {
        SecretKind::Prov => format!("http://{word}/{word}/"),
        SecretKind::Sip | SecretKind::Menu | SecretKind::Webui => word,
    })
}

fn filled(rendered: &Rendered, choice: &BTreeSet<Slot>) -> String {
    let open = |slot: Slot| choice.contains(&slot).then(|| canary_secret(rendered, slot));
    rendered.fill(open).map(|text| text.to_string()).unwrap_or_default()
}

/// Secrets that are where they should not be, or not where they should.
fn misplaced(
    rendered: &Rendered,
    slots: &BTreeSet<Slot>,
    choice: &BTreeSet<Slot>,
    text: &str,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for slot in slots {
        let secret = canary_secret(rendered, *slot);
        let pieces = rendered.slot_pieces().filter(|piece| piece.slot == *slot);
        let places: usize =
            pieces.map(|piece| piece.part.of(secret.expose()).matches(&canary(*slot)).count()).sum();
        let found = text.matches(&canary(*slot)).count();
        match (choice.contains(slot), found) {
            (false, 0) => {}
            (true, found) if found == places => {}
            (false, _) => wrong.push(format!("it holds {}", name(*slot))),
            (true, found) => wrong.push(format!("it holds {} {found} times, not {places}", name(*slot))),
        }
    }
    wrong
}

/// Takes every released secret's line or element out of the text again, each at the place of its slot. What is left must
/// be the plain file; `None` when it is not.
fn unchanged_rest(rendered: &Rendered, choice: &BTreeSet<Slot>, text: &str) -> Option<()> {
    let mut rest = text;
    for piece in rendered.pieces() {
        match piece {
            Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
            Piece::Slot(piece) if choice.contains(&piece.slot) => {
                rest = rest.strip_prefix(&shown(rendered, piece)?)?;
            }
            Piece::Slot(_) => {}
        }
    }
    let is_plain = !choice.is_empty() || text == rendered.plain();
    (rest.is_empty() && is_plain).then_some(())
}

/// A slot's line or element with its canary in it.
fn shown(rendered: &Rendered, piece: &SlotPiece) -> Option<String> {
    let mut shown = piece.before.clone();
    let secret = canary_secret(rendered, piece.slot);
    rendered.writing().escape(&piece.part.of(secret.expose()), &mut shown).ok()?;
    shown.push_str(&piece.after);
    Some(shown)
}

/// A slot that is only a part of a line or element, which would stay behind without it.
fn part_of_something(rendered: &Rendered, piece: &SlotPiece) -> Option<String> {
    let shown = shown(rendered, piece).unwrap_or_default();
    let whole = match rendered.format() {
        Format::Line | Format::Plain => is_own_line(rendered, piece),
        Format::Xml => Document::parse(&format!("<x>{shown}</x>")).is_ok_and(|document| {
            let mut inside = document.root_element().children().filter(|node| !is_blank(node));
            inside.next().is_some_and(|node| node.is_element()) && inside.next().is_none()
        }),
        Format::Json => {
            let member = shown.trim().trim_matches(',');
            let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).ok();
            read(format!("{{{member}}}")).or_else(|| read(format!("[{member}]"))).is_some_and(|value| {
                match value {
                    serde_json::Value::Object(members) => members.len() == 1,
                    serde_json::Value::Array(values) => values.len() == 1,
                    _ => false,
                }
            })
        }
    };
    let slot = name(piece.slot);
    (!whole).then(|| {
        format!("{slot} is only a part of its line or element, the rest of which would stay without it")
    })
}

fn is_blank(node: &Node<'_, '_>) -> bool {
    node.is_text() && node.text().is_none_or(|text| text.trim().is_empty())
}

/// Whether a line begins before the slot and ends with it.
fn is_own_line(rendered: &Rendered, piece: &SlotPiece) -> bool {
    let mut at_start = true;
    let mut pieces = rendered.pieces().iter().peekable();
    while let Some(next) = pieces.next() {
        match next {
            Piece::Text(text) => at_start = text.ends_with('\n'),
            Piece::Slot(this) if std::ptr::eq(this, piece) => {
                return at_start && (this.after.ends_with('\n') || pieces.peek().is_none());
            }
            Piece::Slot(other) => at_start = other.after.ends_with('\n'),
        }
    }
    false
}

/// What is wrong with the same file for a transfer whose first block leaves early.
fn of_preamble(rendered: &Rendered) -> Vec<String> {
    let Some(comment) = rendered.comment() else { return Vec::new() };
    let Some(with) = rendered.with_preamble(BLOCK_BYTES) else {
        return vec!["what must come first in it leaves no room for a preamble".to_owned()];
    };
    let slots = rendered.slot_set();
    let mut wrong = Vec::new();
    for choice in [BTreeSet::new(), slots.clone()] {
        let (text, long) = (filled(rendered, &choice), filled(&with, &choice));
        let found = badly_begun(&text, &long, &comment.before)
            .or_else(|| malformed(rendered.format(), &long).map(|why| format!("is malformed: {why}")));
        wrong.extend(
            found.map(|found| format!("{}, with a preamble, it {found}", self::with(&slots, &choice))),
        );
    }
    wrong
}

/// What is wrong with `long`, which must be `text` with comments in it up to the end of the first block.
fn badly_begun(text: &str, long: &str, comment: &str) -> Option<String> {
    let (Some(block), Some(tail)) = (long.get(..BLOCK_BYTES), long.get(BLOCK_BYTES..)) else {
        return Some(format!("has fewer than {BLOCK_BYTES} octets, or a character across their end"));
    };
    if block.contains("CANARY") {
        return Some(format!("has a secret within its first {BLOCK_BYTES} octets"));
    }
    let head = text.strip_suffix(tail).and_then(|head| Some((head, block.strip_prefix(head)?)));
    let Some((_, lines)) = head else { return Some("is not the same file behind it".to_owned()) };
    let bare = lines.lines().find(|line| !line.starts_with(comment));
    bare.map(|line| format!("has `{line}` among the comments"))
}

/// What makes a file of this format unreadable.
pub(super) fn malformed(format: Format, text: &str) -> Option<String> {
    match format {
        Format::Xml => Document::parse(text).err().map(|error| error.to_string()),
        Format::Json => serde_json::from_str::<serde_json::Value>(text).err().map(|error| error.to_string()),
        Format::Line | Format::Plain => None,
    }
}

/// The names of the parameters that hold the file's secrets.
fn parameters(rendered: &Rendered) -> BTreeSet<&str> {
    rendered.slot_pieces().map(|piece| parameter(rendered.format(), &piece.name)).collect()
}

/// The parameter's name in a slot's name, which may carry the form of its line (`account.1.password = `).
fn parameter(format: Format, name: &str) -> &str {
    match format {
        Format::Line | Format::Plain => name.split('=').next().unwrap_or(name).trim(),
        Format::Xml | Format::Json => name,
    }
}

/// A parameter that should hold a password and holds nothing: many phones would take that for "no password".
fn empty_password(format: Format, text: &str, slots: &BTreeSet<&str>) -> Option<String> {
    let is_password = |name: &str| {
        let lower = name.to_ascii_lowercase();
        slots.contains(name) || PASSWORD_WORDS.iter().any(|word| lower.contains(word))
    };
    match format {
        Format::Line | Format::Plain => text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (is_password(name.trim()) && is_nothing(value)).then(|| name.trim().to_owned())
        }),
        Format::Xml => {
            let document = Document::parse(text).ok()?;
            document.descendants().find_map(|node| empty_element(&node, &is_password))
        }
        Format::Json => empty_member(&serde_json::from_str(text).ok()?, &is_password),
    }
}

/// Nothing, quoted nothing, or a user name without its password (`admin:`).
fn is_nothing(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    value.is_empty() || value.ends_with(':')
}

/// `<password/>`, `<param name="password" value=""/>` and `<user password=""/>`.
fn empty_element(node: &Node<'_, '_>, is_password: &impl Fn(&str) -> bool) -> Option<String> {
    let tag = node.is_element().then(|| node.tag_name().name())?;
    let called = node.attribute("name").filter(|name| is_password(name)).or(is_password(tag).then_some(tag));
    let holds = node.children().any(|child| child.is_element() || (child.is_text() && !is_blank(&child)));
    if let Some(name) = called
        && !holds
        && node.attribute("value").is_none_or(is_nothing)
    {
        return Some(name.to_owned());
    }
    let mut attributes = node.attributes();
    let empty =
        attributes.find(|attribute| is_password(attribute.name()) && is_nothing(attribute.value()))?;
    Some(format!("{tag}'s {}", empty.name()))
}

fn empty_member(value: &serde_json::Value, is_password: &impl Fn(&str) -> bool) -> Option<String> {
    match value {
        serde_json::Value::Object(members) => members.iter().find_map(|(name, value)| {
            let empty = is_password(name) && (value.is_null() || value.as_str().is_some_and(is_nothing));
            if empty { Some(name.clone()) } else { empty_member(value, is_password) }
        }),
        serde_json::Value::Array(values) => values.iter().find_map(|value| empty_member(value, is_password)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests;
