//! What a line of a template begins with that a raw parameter replaces: its name in the file's own form, up to where the
//! form ends a name.

use super::super::schema::Format;
use super::markup::Place;
use super::{INDEX, RawForm, RawName};

/// The beginning of a line or an element.
#[derive(Debug)]
pub(super) struct Head {
    /// Up to the end of the name.
    start: String,
    follows: Follows,
}

/// What must follow a name, so that it is not a longer one.
#[derive(Debug)]
enum Follows {
    /// The quote that ends an attribute of an element: `<setting id="NAME" value=…/>`.
    Quote(char),
    /// The end of the element's name, and among its attributes this one or, if `false`, none that begins so:
    /// `<NAME idx="1">`.
    Tag(Option<(String, bool)>),
    /// The same in an element of this name: a module.
    Within(String),
    /// What stands between name and value, but for blanks and the value's own quote, and a value.
    Mark(String),
    /// It is an attribute, which stands in a line of whatever else.
    Attribute,
}

impl Head {
    pub(super) fn new(form: &RawForm, format: Format, name: RawName<'_>) -> Self {
        let before = form.text.split_once("{value}").map_or(form.text.as_str(), |(before, _)| before);
        // An index that is an attribute of its own stands anywhere behind the element's name.
        let attribute = form.index.as_deref().filter(|index| index.starts_with(' '));
        let marks: &[&str] = if attribute.is_some() { &["{name}"] } else { &["{name}", INDEX] };
        let ends = marks.iter().filter_map(|mark| Some(before.rfind(mark)? + mark.len()));
        let (start, between) =
            before.split_at_checked(ends.max().unwrap_or_default()).unwrap_or((before, ""));
        let index = match (name.index, &form.index) {
            (Some(number), Some(form)) => form.replace(INDEX, number),
            _ => String::new(),
        };
        let filled = |text: &str| text.replace("{name}", name.name).replace(INDEX, &index);
        if form.text.trim_start().starts_with("<{index}>") {
            let start = format!("<{}", name.name);
            return Self { start, follows: Follows::Within(name.index.unwrap_or_default().to_owned()) };
        }
        let between = between.trim();
        let mark = || between.trim_end_matches(['"', '\'']).trim_end().to_owned();
        let follows = match between.chars().next() {
            Some(quote @ ('"' | '\'')) if start.trim_start().starts_with('<') => Follows::Quote(quote),
            _ if start.trim_start().starts_with('<') => {
                let unlike = |form: &str| form.split(INDEX).next().unwrap_or_default().to_owned();
                Follows::Tag(attribute.map(|form| match name.index {
                    Some(_) => (index.clone(), true),
                    None => (unlike(form), false),
                }))
            }
            _ if format == Format::Xml => Follows::Attribute,
            _ => Follows::Mark(mark()),
        };
        Self { start: filled(start).trim_start().to_owned(), follows }
    }

    /// The attribute that the parameter is, if it is one.
    pub(super) fn attribute(&self) -> Option<&str> {
        matches!(self.follows, Follows::Attribute).then_some(self.start.as_str())
    }

    /// Whether this line, without blanks around it, is one that the parameter replaces.
    pub(super) fn begins(&self, line: &str, place: Option<Place<'_>>) -> bool {
        let Some(rest) = line.strip_prefix(self.start.as_str()) else { return false };
        let is_element = place.is_some_and(|place| place.is_sibling && place.is_element);
        let ends_name = || rest.starts_with(['>', '/', ' ', '\t']);
        match &self.follows {
            Follows::Quote(quote) => is_element && rest.starts_with(*quote),
            Follows::Tag(attribute) => {
                let tag = rest.split('>').next().unwrap_or_default();
                let fits = |(text, wanted): &(String, bool)| tag.contains(text.as_str()) == *wanted;
                is_element && ends_name() && attribute.as_ref().is_none_or(fits)
            }
            Follows::Within(module) => {
                let is_there = |place: Place<'_>| place.is_element && place.module == Some(module.as_str());
                place.is_some_and(is_there) && ends_name()
            }
            Follows::Mark(mark) if mark.is_empty() => rest.starts_with([' ', '\t']),
            Follows::Mark(mark) => rest.trim_start().starts_with(mark.as_str()),
            Follows::Attribute => false,
        }
    }
}
