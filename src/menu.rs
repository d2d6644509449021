//! The user menu on a phone's display: which page was asked for, and what stands on it, in no vendor's words. Never waits,
//! never reads a clock, knows no XML; a profile's dialect draws it.

mod book;
mod page;
mod words;

use crate::device::Mac;

pub use book::{Book, Entry};
pub use page::{Again, Item, Kind, Page, Passwords, Phone, Scene, page};

/// What a search field calls its text; the only parameter that our URLs have, because old phones do not read `&amp;`.
pub const SEARCH: &str = "q";
/// What the field for a number calls it.
pub const NUMBER: &str = "n";
/// The name of the whole directory, to be loaded into a phone.
pub const PHONEBOOK: &str = "phonebook.xml";
/// Octets of what a person has typed; more is cut off.
const TYPED_BYTES_MAX: usize = 64;

/// What of the menu was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The first page.
    Start,
    /// Own numbers and state.
    Status,
    /// The directory from this entry on; with a text, only who fits.
    Directory {
        /// The first entry, from 0.
        from: usize,
        /// What was typed.
        search: String,
    },
    /// The field to search by.
    Search,
    /// Calls to another number: the field for it, or with a number the code to dial.
    Forward {
        /// What was typed.
        number: String,
    },
    /// The code that ends it.
    ForwardOff,
    /// Do not disturb: the codes to dial.
    Quiet,
    /// To be provisioned once more: the question, or with `now` that it shall be done.
    Again {
        /// Whether somebody has said yes.
        now: bool,
    },
    /// The whole directory in the phone's own format.
    Phonebook,
}

/// A path of the menu taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The phone that the path names.
    pub mac: Option<Mac>,
    /// The page.
    pub ask: Ask,
}

/// Whether a path (without leading slash) belongs to the menu at all.
pub fn is_menu(path: &str) -> bool {
    path == "menu" || path.starts_with("menu/")
}

impl Asked {
    /// Reads `menu/[MAC/]PAGE` and the query behind it; `None` for what is no page.
    pub fn parse(path: &str, query: &str) -> Option<Self> {
        let rest = path.strip_prefix("menu")?;
        let mut steps = rest.split('/').filter(|step| !step.is_empty()).peekable();
        let mac = steps.peek().filter(|step| step.len() >= 12).and_then(|step| step.parse::<Mac>().ok());
        if mac.is_some() {
            steps.next();
        }
        let ask = match (steps.next(), steps.next(), steps.next()) {
            (None, None, None) => Ask::Start,
            (Some("status"), None, None) => Ask::Status,
            (Some("search"), None, None) => Ask::Search,
            (Some("directory"), from, None) => {
                let from = from.map_or(Ok(0), str::parse).ok()?;
                Ask::Directory { from, search: typed(query, SEARCH) }
            }
            (Some("forward"), None, None) => Ask::Forward { number: typed(query, NUMBER) },
            (Some("forward-off"), None, None) => Ask::ForwardOff,
            (Some("quiet"), None, None) => Ask::Quiet,
            (Some("again"), None, None) => Ask::Again { now: false },
            (Some("again"), Some("now"), None) => Ask::Again { now: true },
            // Grandstream's GXP phones put gs_ before the name.
            (Some(name), None, None) if name.trim_start_matches("gs_") == PHONEBOOK => Ask::Phonebook,
            _ => return None,
        };
        Some(Self { mac, ask })
    }
}

/// The value of a query's parameter, without what no phone's keypad types.
pub fn typed(query: &str, name: &str) -> String {
    let value = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    let text: String = value.map(|(_, value)| book::clean(&value)).unwrap_or_default();
    let mut end = text.len().min(TYPED_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, query: &str, ask: impl Into<Option<Ask>>) {
        let asked = Asked::parse(path, query);
        assert_eq!(asked.map(|asked| asked.ask), ask.into(), "{path}?{query}");
    }

    #[test]
    fn a_path_names_a_page_and_perhaps_a_phone() {
        let mac: Mac = "000413aabbcc".parse().unwrap();
        assert_eq!(Asked::parse("menu/000413AABBCC/status", "").unwrap().mac, Some(mac));
        assert_eq!(Asked::parse("menu/status", "").unwrap().mac, None);
        check("menu", "", Some(Ask::Start));
        check("menu/000413aabbcc/", "", Some(Ask::Start));
        let found = |from, search: &str| Some(Ask::Directory { from, search: search.to_owned() });
        check("menu/directory", "", found(0, ""));
        check("menu/directory/20", "q=M%C3%BCller+%26+S%C3%B6hne", found(20, "Müller & Söhne"));
        check("menu/directory", "x=1&q=a%00%0ab", found(0, "a b"));
        check("menu/forward", "n=200", Some(Ask::Forward { number: "200".to_owned() }));
        check("menu/gs_phonebook.xml", "", Some(Ask::Phonebook));
        check("menu/again", "now", Some(Ask::Again { now: false }));
        check("menu/000413aabbcc/again/now", "", Some(Ask::Again { now: true }));
        for bad in [
            "menu/again/later",
            "menus",
            "menu/other",
            "menu/directory/-1",
            "menu/directory/1/2",
            "menu/status/1",
        ] {
            check(bad, "", None);
        }
    }

    #[test]
    fn what_is_typed_is_cut_at_a_letter() {
        let long = format!("q={}", "%C3%BC".repeat(100));
        let Some(Ask::Directory { search, .. }) =
            Asked::parse("menu/directory", &long).map(|asked| asked.ask)
        else {
            panic!()
        };
        assert_eq!(search, "ü".repeat(TYPED_BYTES_MAX / 2));
    }
}
