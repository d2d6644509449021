//! Reads the company directory from vCard (2.1, 3.0, 4.0) as address books write it, and from CSV: a name, numbers, and
//! perhaps a company, by their header or in that order. What cannot be read is told with its line and left out.

use std::collections::BTreeMap;

use crate::device::Contact;

/// A directory of 100,000 people is a tenth of this.
const FILE_BYTES_MAX: usize = 64 << 20;
/// Letters of a name, a company or a number.
const TEXT_CHARS_MAX: usize = 255;
/// Somebody's numbers.
const NUMBERS_MAX: usize = 20;

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    /// Who was read.
    pub contacts: Vec<Contact>,
    /// What was not: its line, and why.
    pub problems: Vec<(usize, String)>,
}

/// Reads a file of contacts, of either kind.
pub fn read_contacts(bytes: &[u8]) -> Contacts {
    let problem =
        |line, why: &str| Contacts { problems: vec![(line, why.to_owned())], ..Contacts::default() };
    if bytes.len() > FILE_BYTES_MAX {
        return problem(1, "the file is too large; split it");
    }
    let Ok(text) = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) else {
        return problem(1, "the file is not UTF-8; save it as UTF-8");
    };
    let is_card = text.trim_start().get(..11).is_some_and(|head| head.eq_ignore_ascii_case("begin:vcard"));
    if is_card { cards(text) } else { rows(text) }
}

impl Contacts {
    fn add(&mut self, line: usize, name: &str, company: &str, numbers: &[String]) {
        let (name, company) = (plain(name), plain(company));
        let mut numbers: Vec<String> =
            numbers.iter().map(|number| plain(number)).filter(|number| !number.is_empty()).collect();
        numbers.truncate(NUMBERS_MAX);
        let texts = numbers.iter().chain([&name, &company]);
        let wrong = if name.is_empty() && company.is_empty() {
            "has no name"
        } else if !numbers.iter().any(|number| number.contains(|c: char| c.is_ascii_alphanumeric())) {
            "has no number"
        } else if texts.into_iter().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
            "is longer than 255 letters"
        } else {
            self.contacts.push(Contact { name, company, numbers });
            return;
        };
        self.problems.push((line, wrong.to_owned()));
    }
}

/// One line, without control characters.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Comma, semicolon or tab, whichever the first line has most of.
fn delimiter(text: &str) -> u8 {
    let head = text.lines().next().unwrap_or_default();
    let count = |delimiter: &u8| head.bytes().filter(|byte| byte == delimiter).count();
    [b';', b'\t'].into_iter().find(|one| count(one) > count(&b',')).unwrap_or(b',')
}

fn rows(text: &str) -> Contacts {
    let mut found = Contacts::default();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let mut header: Option<Vec<String>> = None;
    for record in reader.records() {
        let Ok(record) = record else {
            found.problems.push((1, "cannot be read as CSV".to_owned()));
            break;
        };
        let line =
            record.position().map_or(1, |position| usize::try_from(position.line()).unwrap_or(usize::MAX));
        let cells: Vec<&str> = record.iter().map(str::trim).collect();
        if cells.iter().all(|cell| cell.is_empty()) {
            continue;
        }
        let names = || cells.iter().map(|cell| cell.to_lowercase()).collect::<Vec<_>>();
        if header.is_none() {
            let is_header = names().iter().any(|name| name == "name");
            header = Some(if is_header { names() } else { Vec::new() });
            if is_header {
                continue;
            }
        }
        let header = header.as_deref().unwrap_or_default();
        let (mut name, mut company, mut numbers) = ("", "", Vec::new());
        for (at, cell) in cells.iter().enumerate() {
            match header.get(at).map_or(if at == 0 { "name" } else { "number" }, String::as_str) {
                "name" => name = cell,
                "company" | "organisation" | "organization" => company = cell,
                word if is_number(word) => numbers.push((*cell).to_owned()),
                _ => {}
            }
        }
        found.add(line, name, company, &numbers);
    }
    found
}

/// `number`, `number2`, `phone`, `mobile`, …
fn is_number(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ' || c == '_');
    ["number", "phone", "telephone", "mobile", "extension"].contains(&word)
}

fn cards(text: &str) -> Contacts {
    let mut found = Contacts::default();
    let mut card: Option<(usize, BTreeMap<&'static str, String>, Vec<String>)> = None;
    for (line, text) in unfolded(text) {
        let Some((head, value)) = text.split_once(':') else { continue };
        let mut words = head.split(';');
        // Some address books group properties: item1.TEL
        let name = words.next().unwrap_or_default();
        let name = name.rsplit_once('.').map_or(name, |(_, name)| name).to_ascii_uppercase();
        let is_coded = words.any(|word| word.to_ascii_uppercase().ends_with("QUOTED-PRINTABLE"));
        let value = if is_coded { decoded(value) } else { value.to_owned() };
        match (name.as_str(), card.as_mut()) {
            ("BEGIN", _) => card = Some((line, BTreeMap::new(), Vec::new())),
            ("END", Some(_)) => {
                if let Some((line, texts, numbers)) = card.take() {
                    let get = |name: &str| texts.get(name).map(String::as_str).unwrap_or_default();
                    let name = if get("FN").trim().is_empty() { get("N") } else { get("FN") };
                    found.add(line, name, get("ORG"), &numbers);
                }
            }
            ("FN", Some((_, texts, _))) => drop(texts.insert("FN", parts(&value).join(";"))),
            ("ORG", Some((_, texts, _))) => drop(texts.insert("ORG", parts(&value).swap_remove(0))),
            ("N", Some((_, texts, _))) => {
                let parts = parts(&value);
                let given = parts.get(1).map(String::as_str).unwrap_or_default();
                let family = parts.first().map(String::as_str).unwrap_or_default();
                texts.insert("N", format!("{given} {family}"));
            }
            ("TEL", Some((_, _, numbers))) => {
                let number = value.trim().trim_start_matches("tel:");
                numbers.push(number.split(';').next().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
    if let Some((line, ..)) = card {
        found.problems.push((line, "the card has no END:VCARD".to_owned()));
    }
    found
}

/// Lines with their numbers, continued ones put together (RFC 6350, 3.2; and the soft line ends of vCard 2.1).
fn unfolded(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end_matches('\r');
        match lines.last_mut() {
            Some((_, last)) if line.starts_with([' ', '\t']) => {
                last.push_str(line.get(1..).unwrap_or_default());
            }
            Some((_, last))
                if last.ends_with('=') && last.to_ascii_uppercase().contains("QUOTED-PRINTABLE") =>
            {
                last.pop();
                last.push_str(line);
            }
            _ => lines.push((number, line.to_owned())),
        }
    }
    lines
}

/// The parts of a value between semicolons, without the strokes before commas and semicolons.
fn parts(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        let last = parts.len() - 1;
        let Some(part) = parts.get_mut(last) else { break };
        match letter {
            ';' => parts.push(String::new()),
            '\\' => match letters.next() {
                Some('n' | 'N') => part.push(' '),
                other => part.extend(other),
            },
            other => part.push(other),
        }
    }
    parts
}

/// Quoted-printable text; what is no UTF-8 then stays as it was.
fn decoded(value: &str) -> String {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((octet, tail)) = rest.split_first() {
        let coded = tail
            .first_chunk::<2>()
            .filter(|_| *octet == b'=')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        octets.push(coded.unwrap_or(*octet));
        rest = if coded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8(octets).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(name: &str, company: &str, numbers: &[&str]) -> Contact {
        let numbers = numbers.iter().map(|number| (*number).to_owned()).collect();
        Contact { name: name.to_owned(), company: company.to_owned(), numbers }
    }

    #[test]
    fn csv_with_and_without_a_header() {
        let plain =
            read_contacts("Jörg Müller,200,+49 171 1\nNobody\n,300\n\n\"Abel, Änne\",201\n".as_bytes());
        assert_eq!(
            plain.contacts,
            [contact("Jörg Müller", "", &["200", "+49 171 1"]), contact("Abel, Änne", "", &["201"])]
        );
        assert_eq!(plain.problems, [(2, "has no number".to_owned()), (3, "has no name".to_owned())]);
        let named =
            read_contacts("\u{feff}Company;Name;Room;Phone;Mobile 2\r\nAcme;Zoë;12;1;2\r\n".as_bytes());
        assert_eq!(named.contacts, [contact("Zoë", "Acme", &["1", "2"])]);
    }

    #[test]
    fn vcards_of_three_versions() {
        let text = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Müller;Jörg;;;\r\nFN:Jörg Mül\r\n ler\r\nORG:Große \\; Söhne;Einkauf\r\n\
                    item1.TEL;TYPE=CELL:+49 171 55\r\nTEL:200\r\nEND:VCARD\r\n\
                    BEGIN:VCARD\r\nVERSION:4.0\r\nN:Abel;Änne;;;\r\nTEL;VALUE=uri:tel:+49-89-1;ext=5\r\nEND:VCARD\r\n\
                    BEGIN:VCARD\r\nVERSION:2.1\r\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Zo=C3=\r\n=AB\r\nTEL;CELL:5\r\nEND:VCARD\r\n\
                    BEGIN:VCARD\r\nFN:Nobody\r\nEND:VCARD\r\nBEGIN:VCARD\r\nFN:x\r\n";
        let found = read_contacts(text.as_bytes());
        assert_eq!(
            found.contacts,
            [
                contact("Jörg Müller", "Große ; Söhne", &["+49 171 55", "200"]),
                contact("Änne Abel", "", &["+49-89-1"]),
                contact("Zoë", "", &["5"]),
            ]
        );
        let lines: Vec<usize> = found.problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [21, 24]);
    }

    #[test]
    fn what_is_no_directory_is_told() {
        assert_eq!(read_contacts(b"\xff\xfe").problems.len(), 1);
        assert_eq!(read_contacts(b""), Contacts::default());
    }
}
