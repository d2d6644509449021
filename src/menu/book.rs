//! The company directory: accounts and imported contacts in one list, sorted as people look for them, and searched the
//! way people type on twelve keys. Names are made fit for a display here, whatever they held.

use std::collections::BTreeSet;

use crate::device::{Account, Contact};

/// Letters of a name; displays show thirty.
const NAME_CHARS_MAX: usize = 60;

/// Somebody with one number.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// As it is shown.
    pub name: String,
    /// What is dialled.
    pub number: String,
    /// What is looked at in a search.
    #[serde(skip)]
    keys: [String; 3],
}

impl Entry {
    /// Somebody; `None` without a number that can be dialled.
    pub fn new(name: &str, company: &str, number: &str) -> Option<Self> {
        let (name, company, number) = (clean(name), clean(company), dialled(number));
        let own = match (name.is_empty(), company.is_empty()) {
            (false, true) => name.clone(),
            (true, false) => company.clone(),
            (false, false) => format!("{name} ({company})"),
            (true, true) => number.clone(),
        };
        let keys = [folded(&own, false), folded(&own, true), number.clone()];
        (!number.is_empty()).then(|| Self { name: shortened(&own), number, keys })
    }

    fn fits(&self, typed: &[String; 2]) -> bool {
        self.keys.iter().any(|key| typed.iter().any(|typed| key.contains(typed.as_str())))
    }
}

/// The directory.
#[derive(Debug, Default)]
pub struct Book(Vec<Entry>);

impl Book {
    /// Everybody, sorted; who stands in both with the same number stands there once.
    pub fn new<'a>(
        accounts: impl IntoIterator<Item = (&'a Account, Option<&'a str>)>,
        contacts: impl IntoIterator<Item = &'a Contact>,
    ) -> Self {
        let of_account = |(account, label): (&'a Account, Option<&'a str>)| {
            let said = |text: Option<&'a str>| text.filter(|text| !text.trim().is_empty());
            let name = said(account.display_name.as_deref()).or(said(label));
            Entry::new(name.unwrap_or(&account.username), "", &account.username)
        };
        let of_contact = |contact: &'a Contact| {
            let Contact { name, company, numbers } = contact;
            numbers.iter().filter_map(move |number| Entry::new(name, company, number))
        };
        let accounts = accounts.into_iter().filter_map(of_account);
        let mut entries: Vec<Entry> = accounts.chain(contacts.into_iter().flat_map(of_contact)).collect();
        entries.sort_by(|a, b| (&a.keys[0], &a.number).cmp(&(&b.keys[0], &b.number)));
        let mut seen = BTreeSet::new();
        entries.retain(|entry| seen.insert((entry.keys[0].clone(), entry.number.clone())));
        Self(entries)
    }

    /// Everybody whose name, company or number has what was typed in it, umlauts or not.
    pub fn find(&self, search: &str) -> Vec<&Entry> {
        let number = dialled(search);
        let typed = [folded(search, false), folded(search, true)];
        let by_number = |entry: &&Entry| number.len() > 2 && entry.number.contains(number.as_str());
        self.0.iter().filter(|entry| entry.fits(&typed) || by_number(entry)).collect()
    }
}

/// A text in one line, without what a display or an XML file cannot hold.
pub(crate) fn clean(text: &str) -> String {
    let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
    let text: String = text.chars().map(|c| if bad(c) { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_CHARS_MAX - 1).collect();
    format!("{}…", kept.trim_end())
}

/// A number as a phone dials it: people write it with blanks, brackets and strokes. `+49 (0) 89` loses the zero that is
/// dialled only without the country. A SIP user name stays as it is.
pub(crate) fn dialled(number: &str) -> String {
    let number = clean(number);
    let number = number.trim_start_matches("tel:").trim_start_matches("sip:");
    if number.contains(char::is_alphabetic) {
        let fits = |c: char| c.is_ascii_alphanumeric() || "+*#._-@".contains(c);
        return if number.chars().all(fits) { number.to_owned() } else { String::new() };
    }
    let number = if number.starts_with('+') { number.replace("(0)", "") } else { number.to_owned() };
    let digits = number.chars().enumerate();
    digits
        .filter(|(at, c)| c.is_ascii_digit() || "*#".contains(*c) || (*c == '+' && *at == 0))
        .map(|(_, c)| c)
        .collect()
}

/// A text as it is compared: small letters without marks; ä as a, or in German as ae.
fn folded(text: &str, german: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match (c, german) {
            ('ä', true) | ('æ', _) => out.push_str("ae"),
            ('ö', true) | ('œ', _) => out.push_str("oe"),
            ('ü', true) => out.push_str("ue"),
            ('ß', _) => out.push_str("ss"),
            // What is left of İ in small letters.
            ('\u{300}'..='\u{36f}', _) => {}
            (c, _) => out.push(bare(c)),
        }
    }
    out
}

/// A small Latin letter without its mark.
fn bare(c: char) -> char {
    match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'ď' | 'đ' => 'd',
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ğ' => 'g',
        'ì'..='ï' | 'ī' | 'į' | 'ı' => 'i',
        'ł' | 'ľ' => 'l',
        'ñ' | 'ń' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ő' | 'ō' => 'o',
        'ř' => 'r',
        'ś' | 'š' | 'ş' | 'ș' => 's',
        'ť' | 'ţ' | 'ț' => 't',
        'ù'..='ü' | 'ů' | 'ű' | 'ū' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(name: &str, company: &str, numbers: &[&str]) -> Contact {
        let numbers = numbers.iter().map(|number| (*number).to_owned()).collect();
        Contact { name: name.to_owned(), company: company.to_owned(), numbers }
    }

    fn names(found: &[&Entry]) -> Vec<String> {
        found.iter().map(|entry| entry.name.clone()).collect()
    }

    #[test]
    fn people_are_found_however_they_are_typed() {
        let contacts = [
            contact("Zoë Özil", "", &["+49 (0) 89 / 123-45"]),
            contact("Jörg Müller", "Große & Söhne", &["200", "0171 55 66 77"]),
            contact("Änne Abel", "", &["201"]),
        ];
        let book = Book::new([], &contacts);
        assert_eq!(names(&book.find(""))[0], "Änne Abel");
        for typed in ["müller", "MUELLER", "muller", "jorg m", "grosse", "große", "5566"] {
            assert!(!book.find(typed).is_empty(), "{typed}");
            assert!(book.find(typed).iter().all(|entry| entry.name.contains("Müller")), "{typed}");
        }
        assert_eq!(book.find("ozil")[0].number, "+498912345");
        assert!(book.find("nobody").is_empty());
    }

    #[test]
    fn nobody_stands_there_twice_and_who_has_no_number_not_at_all() {
        let contacts =
            [contact("A", "", &["1 0", "10"]), contact("A", "", &["10", "ext. 5"]), contact("B", "", &[])];
        let book = Book::new([], &contacts);
        assert_eq!(book.find("").len(), 1);
    }

    #[test]
    fn a_name_fits_a_display_whatever_it_held() {
        let long = "ß".repeat(200);
        let entry = Entry::new(&format!("a\r\n\u{1}b {long}"), "", "1").unwrap();
        assert_eq!(entry.name.chars().count(), NAME_CHARS_MAX);
        assert!(entry.name.starts_with("a b ß") && entry.name.ends_with('…'));
        assert_eq!(Entry::new("", "Firma", "1").unwrap().name, "Firma");
        assert_eq!(Entry::new("", "", "anna.b").unwrap().name, "anna.b");
    }
}
