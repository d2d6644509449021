//! Where the lines of a template's XML stand: beside the place for raw parameters, in a module there, or elsewhere; and the
//! attributes of its tags.
//! It reads text with marks in it, which is no XML yet, and makes the best of what is malformed.

use super::super::template::{MARK_CLOSE, MARK_OPEN, RAW_MARK};

/// A template's text, its tags found.
#[derive(Debug)]
pub(super) struct Markup<'t> {
    text: &'t str,
    tags: Vec<Tag>,
    /// The element in which the place for raw parameters stands.
    raw: Option<usize>,
}

/// How a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'t> {
    /// In the same element as the place for raw parameters.
    pub(super) is_sibling: bool,
    /// It is one whole element and nothing else.
    pub(super) is_element: bool,
    /// The element around it, where that stands beside the place for raw parameters.
    pub(super) module: Option<&'t str>,
}

#[derive(Debug)]
struct Tag {
    start: usize,
    end: usize,
    kind: Kind,
    /// The element that it stands in, by the number of its opening tag; that of the document is `None`.
    parent: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    Empty,
    /// A comment, a declaration.
    Other,
}

impl<'t> Markup<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut tags: Vec<Tag> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut from = 0;
        while let Some((start, end, kind)) = next_tag(text, from) {
            if kind == Kind::Close {
                open.pop();
            }
            tags.push(Tag { start, end, kind, parent: open.last().copied() });
            if kind == Kind::Open {
                open.push(tags.len() - 1);
            }
            from = end;
        }
        let mut markup = Self { text, tags, raw: None };
        let mark = text.find(&format!("{MARK_OPEN}{RAW_MARK}{MARK_CLOSE}"));
        markup.raw = mark.and_then(|at| markup.parent(at));
        markup
    }

    /// How the line stands that begins at this octet.
    pub(super) fn line(&self, at: usize, line: &str) -> Place<'t> {
        let start = at + line.len() - line.trim_start().len();
        let end = at + line.trim_end().len();
        let first = self.tags.partition_point(|tag| tag.end <= start);
        let inside: Vec<&Tag> =
            self.tags.get(first..).unwrap_or_default().iter().take_while(|tag| tag.start < end).collect();
        let parent = self.parent(start);
        let around = parent.and_then(|number| self.tags.get(number));
        let module = around.filter(|tag| tag.parent == self.raw).map(|tag| self.name(tag));
        Place { is_sibling: parent == self.raw, is_element: is_element(&inside, start, end), module }
    }

    /// The text without attributes of these names, none that holds a place for something else.
    pub(super) fn without_attributes(&self, replaced: &[&str]) -> String {
        let mut kept = String::with_capacity(self.text.len());
        let mut at = 0;
        for tag in self.tags.iter().filter(|tag| matches!(tag.kind, Kind::Open | Kind::Empty)) {
            for (start, end) in self.attributes(tag, replaced) {
                let (start, end) = self.with_its_blanks(start, end);
                kept.push_str(self.text.get(at..start).unwrap_or_default());
                at = at.max(end);
            }
        }
        kept.push_str(self.text.get(at..).unwrap_or_default());
        kept
    }

    /// Where the attributes of these names stand in a tag.
    fn attributes(&self, tag: &Tag, names: &[&str]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let inside = self.text.get(tag.start..tag.end).unwrap_or_default();
        let mut rest = inside.find(char::is_whitespace).and_then(|at| inside.get(at..)).unwrap_or_default();
        loop {
            rest = rest.trim_start();
            let Some(length) = rest.find(|c: char| c.is_whitespace() || c == '=') else { return found };
            let (name, behind) = rest.split_at(length);
            let value = behind.trim_start().strip_prefix('=').map(str::trim_start);
            let quoted = value.and_then(|value| {
                let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
                value.get(1..)?.split_once(quote)
            });
            let start = tag.end - rest.len();
            rest = match quoted {
                Some((value, after)) => {
                    if names.contains(&name) && !value.contains(MARK_OPEN) {
                        found.push((start, tag.end - after.len()));
                    }
                    after
                }
                None => behind.strip_prefix('=').unwrap_or(behind),
            };
        }
    }

    /// From where to where an attribute is taken out: with its line where nothing else stands there.
    fn with_its_blanks(&self, start: usize, end: usize) -> (usize, usize) {
        let (before, after) =
            (self.text.get(..start).unwrap_or_default(), self.text.get(end..).unwrap_or_default());
        let blanks = before.len() - before.trim_end_matches([' ', '\t']).len();
        let behind = after.len() - after.trim_start_matches([' ', '\t']).len();
        let line_end =
            ["\r\n", "\n"].into_iter().find(|end| after.get(behind..).unwrap_or_default().starts_with(end));
        match (before.get(..start - blanks).unwrap_or_default().ends_with('\n'), line_end) {
            (true, Some(line_end)) => (start - blanks, end + behind + line_end.len()),
            (true, None) => (start, end + behind),
            (false, _) => (start - blanks, end),
        }
    }

    fn name(&self, tag: &Tag) -> &'t str {
        let inside = self.text.get(tag.start..tag.end).unwrap_or_default();
        let inside = inside.strip_prefix('<').unwrap_or(inside);
        inside.split(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).next().unwrap_or_default()
    }

    /// The element that this octet stands in.
    fn parent(&self, at: usize) -> Option<usize> {
        let next = self.tags.partition_point(|tag| tag.end <= at);
        let number = next.checked_sub(1)?;
        let tag = self.tags.get(number)?;
        if tag.kind == Kind::Open { Some(number) } else { tag.parent }
    }
}

/// Whether these tags are one element from `start` to `end`.
fn is_element(tags: &[&Tag], start: usize, end: usize) -> bool {
    let (Some(first), Some(last)) = (tags.first(), tags.last()) else { return false };
    let ends_with_its_own = match first.kind {
        Kind::Empty => tags.len() == 1,
        Kind::Open => {
            // Only the last of them stands where the first does.
            let mut beside = tags.iter().skip(1).filter(|tag| tag.parent == first.parent);
            beside.next().is_some_and(|tag| tag.kind == Kind::Close && tag.end == last.end)
        }
        Kind::Close | Kind::Other => false,
    };
    ends_with_its_own && first.start == start && last.end == end
}

/// The next tag from this octet on: where it begins and ends.
fn next_tag(text: &str, from: usize) -> Option<(usize, usize, Kind)> {
    let start = from + text.get(from..)?.find('<')?;
    let tag = text.get(start..)?;
    let until = |end: &str| tag.find(end).map_or(tag.len(), |at| at + end.len());
    let (length, kind) = if tag.starts_with("<!--") {
        (until("-->"), Kind::Other)
    } else if tag.starts_with("<![CDATA[") {
        (until("]]>"), Kind::Other)
    } else if tag.starts_with("<?") {
        (until("?>"), Kind::Other)
    } else if tag.starts_with("<!") {
        (until(">"), Kind::Other)
    } else if tag.starts_with("</") {
        (until(">"), Kind::Close)
    } else {
        let length = tag_length(tag);
        let empty = tag.get(..length).is_some_and(|tag| tag.ends_with("/>"));
        (length, if empty { Kind::Empty } else { Kind::Open })
    };
    Some((start, start + length, kind))
}

/// Up to the first `>` that does not stand in quotes.
fn tag_length(tag: &str) -> usize {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some(_), _) => {}
        }
    }
    tag.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each line whether it stands beside `raw()`, is an element, is in a module.
    fn told(text: &str) -> String {
        let markup = Markup::new(text);
        let mut at = 0;
        let mut told = String::new();
        for line in text.split_inclusive('\n') {
            let Place { is_sibling, is_element, module } = markup.line(at, line);
            let letters = [(is_sibling, 's'), (is_element, 'e'), (module.is_some(), 'm')];
            told.extend(letters.into_iter().filter(|(is, _)| *is).map(|(_, letter)| letter));
            told.push('|');
            at += line.len();
        }
        told
    }

    #[test]
    fn a_line_stands_in_an_element_or_in_a_module() {
        let raw = format!("{MARK_OPEN}{RAW_MARK}{MARK_CLOSE}");
        let deep = format!("<?xml v?>\n<a>\n  <b>\n    <c>1</c>\n  </b>\n  <c>1</c>\n  {raw}\n</a>\n");
        assert_eq!(told(&deep), "||s|em|m|se|s|s|");
        let several = format!("<a>\n<b/><c/>\n<b x=\">\"/>\n<b><d/></b>\n<b>\n</b>\n{raw}\n</a>\n");
        assert_eq!(told(&several), "|s|se|se|s|m|s|s|");
        let within = format!("<a>\n<!-- <b> -->\n<b/>\r\n<d\n  x=\"1\"\n  {raw}\n/>\n<b>ü</b>\n");
        assert_eq!(told(&within), "|s|se|s|s|s|s|se|");
    }

    #[test]
    fn what_is_malformed_is_read_all_the_same() {
        for text in
            ["<", "<a", "</a></b>", "<a b=\"", "<!--", "\u{1}raw\u{2}", "<![CDATA[", "<a>\n</b>\n</c>\n<é"]
        {
            assert!(told(text).contains('|'), "{text}");
        }
    }
}
