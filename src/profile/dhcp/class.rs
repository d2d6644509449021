//! What a DHCP server compares a client with to know a vendor's phones: the beginning of their option 60, or of their
//! address. Servers know no regular expressions, so this is what a profile's patterns and examples have in common.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Dhcp;
use crate::device::Source;
use crate::profile::Profile;
use crate::profile::recogniser::Recogniser;

/// Fewer characters would match other vendors' phones, and PCs.
const CHARACTERS_MIN: usize = 3;
/// Prefixes of one range of addresses; a range that needs more is told by larger blocks.
const PREFIXES_MAX: usize = 16;

/// A client's option 60, as far as it tells the vendor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ClassText {
    /// Letters of it, in their case.
    pub text: String,
    /// Whether it begins with them; otherwise they are somewhere in it.
    pub at_start: bool,
}

/// The first octets of hardware addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacStart(pub Vec<u8>);

impl Profile {
    /// What the phones' option 60 begins with or holds; nothing when they send none that is known,
    /// for what a pattern takes is no proof that a phone sends it.
    pub fn class_texts(&self) -> Vec<ClassText> {
        if self.dhcp.as_ref().is_some_and(|dhcp| dhcp.vendor_classes().is_empty()) {
            return Vec::new();
        }
        let patterns = self.recognisers.iter().filter(|pattern| pattern.source == Source::DhcpVendorClass);
        let mut found: BTreeSet<ClassText> = patterns.flat_map(texts).collect();
        let sent = self.dhcp.iter().flat_map(Dhcp::vendor_classes);
        let sent = sent.filter_map(|class| {
            let text = std::str::from_utf8(class).ok()?.trim_end_matches('\0').to_owned();
            (!text.is_empty() && !text.contains(char::is_control))
                .then_some(ClassText { text, at_start: true })
        });
        found.extend(sent);
        found.iter().filter(|one| !is_within(one, &found)).cloned().collect()
    }

    /// The beginnings of the phones' addresses in whole octets. A range that is not made of these is widened to the
    /// octets it lies in.
    pub fn mac_starts(&self) -> Vec<MacStart> {
        let starts: BTreeSet<MacStart> =
            self.ranges.iter().flat_map(|range| range.starts(PREFIXES_MAX)).map(MacStart).collect();
        let within = |one: &MacStart| starts.iter().any(|other| one != other && one.0.starts_with(&other.0));
        starts.iter().filter(|one| !within(one)).cloned().collect()
    }
}

/// Whether another text covers this one.
fn is_within(one: &ClassText, all: &BTreeSet<ClassText>) -> bool {
    all.iter().any(|other| {
        let covers = if other.at_start {
            one.at_start && one.text.starts_with(&other.text)
        } else {
            one.text.contains(&other.text)
        };
        one != other && covers
    })
}

/// The letters that a pattern begins with, when they are enough; else what its examples begin with.
fn texts(pattern: &Recogniser) -> Vec<ClassText> {
    let examples: Vec<&str> =
        pattern.examples.iter().map(|example| example.text.trim_end_matches('\0')).collect();
    let (literal, at_start) = beginning(pattern.regex.as_str());
    if let Some(text) = as_written(&literal, &examples, at_start) {
        return vec![ClassText { text, at_start }];
    }
    let common = common_start(&examples);
    if common.chars().count() >= CHARACTERS_MIN {
        return vec![ClassText { text: common.to_owned(), at_start: true }];
    }
    let whole = examples.iter().filter(|text| !text.is_empty() && !text.contains(char::is_control));
    whole.map(|text| ClassText { text: (*text).to_owned(), at_start: true }).collect()
}

/// The plain letters at the beginning of a pattern, and whether it is bound to the text's beginning.
fn beginning(pattern: &str) -> (String, bool) {
    let at_start = pattern.starts_with('^');
    // Another branch may begin with anything.
    if pattern.contains('|') && !pattern.contains('(') {
        return (String::new(), at_start);
    }
    let mut letters = String::new();
    let mut rest = pattern.trim_start_matches('^').chars().peekable();
    while let Some(c) = rest.next() {
        let letter = match c {
            '\\' => match rest.next() {
                Some(escaped) if !escaped.is_alphanumeric() => escaped,
                _ => break,
            },
            '(' | '[' | '.' | '$' | '{' | '|' | ')' | '?' | '*' | '+' => break,
            plain => plain,
        };
        if matches!(rest.peek(), Some('?' | '*' | '{')) {
            break;
        }
        letters.push(letter);
    }
    (letters, at_start)
}

/// The literal in the case of the examples, which all must have it.
fn as_written(literal: &str, examples: &[&str], at_start: bool) -> Option<String> {
    if literal.chars().count() < CHARACTERS_MIN || !literal.is_ascii() {
        return None;
    }
    let lower = literal.to_ascii_lowercase();
    let found = examples.iter().map(|text| {
        let at = text.to_ascii_lowercase().find(&lower).filter(|at| *at == 0 || !at_start)?;
        text.get(at..at + literal.len())
    });
    let found: Option<BTreeSet<&str>> = found.collect();
    // Servers compare letter by letter: two spellings are two texts.
    let found = found?;
    let mut spellings = found.iter();
    match (spellings.next(), spellings.next()) {
        (None, _) => Some(literal.to_owned()),
        (Some(one), None) => Some((*one).to_owned()),
        (Some(_), Some(_)) => None,
    }
}

fn common_start<'t>(texts: &[&'t str]) -> &'t str {
    let Some((first, others)) = texts.split_first() else { return "" };
    let mut end = first.len();
    for other in others {
        let same = first.bytes().zip(other.bytes()).take_while(|(one, two)| one == two).count();
        end = end.min(same);
    }
    while !first.is_char_boundary(end) {
        end -= 1;
    }
    first.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::device::Vendor;
    use crate::profile::{Catalog, fixture};

    fn acme(more: &str) -> Vec<(String, bool)> {
        let text = format!("schema = 1\ndisplay_name = 'Acme'\n{more}");
        let (catalog, errors) = Catalog::of_folders(&[fixture::vendor("acme", &[("profile.toml", &text)])]);
        assert_eq!(errors, []);
        let texts = catalog.get(&Vendor::new("acme")).unwrap().class_texts();
        texts.into_iter().map(|class| (class.text, class.at_start)).collect()
    }

    fn matching(pattern: &str, examples: &[&str]) -> String {
        let examples: Vec<String> = examples.iter().map(|text| format!("{{ text = {text:?} }}")).collect();
        let examples = examples.join(", ");
        format!("[[match]]\nsource = 'dhcp.vendor-class'\npattern = '{pattern}'\nexamples = [{examples}]\n")
    }

    #[test]
    fn a_server_is_told_what_patterns_and_examples_have_in_common() {
        let check = |pattern: &str, examples: &[&str], expected: &[(&str, bool)]| {
            let expected: Vec<(String, bool)> =
                expected.iter().map(|(text, at_start)| ((*text).to_owned(), *at_start)).collect();
            assert_eq!(acme(&matching(pattern, examples)), expected, "{pattern}");
        };
        check(r"^snom(?<model>\w*)", &["snom300"], &[("snom", true)]);
        check("^yealink$", &["yealink"], &[("yealink", true)]);
        check(r"^Polycom-(?<model>\w+)", &["Polycom-SSIP7000"], &[("Polycom-", true)]);
        check(r"Polycom\b.*", &["  6=  Polycom  X"], &[("Polycom", false)]);
        check(r"^Cisco Systems, Inc\.", &["Cisco Systems, Inc. IP"], &[("Cisco Systems, Inc.", true)]);
        check(
            r"^Cisco Systems, Inc\.",
            &["Cisco Systems, Inc. IP", "Cisco systems, Inc. IP"],
            &[("Cisco ", true)],
        );
        check(
            "^(?:LINKSYS|Cisco) SPA",
            &["LINKSYS SPA-962", "Cisco SPA508G"],
            &[("Cisco SPA508G", true), ("LINKSYS SPA-962", true)],
        );
        check("^C\\d+_?IP", &["C470IP", "C470_IP"], &[("C470", true)]);
        let two = matching("^C470", &["C470IP"]) + &matching("^C470_I", &["C470_IP"]);
        assert_eq!(acme(&two), [("C470".to_owned(), true)]);
        assert_eq!(acme(""), []);
        assert_eq!(acme("[dhcp]\nvendor_class = ['ccp.avaya.com']"), [("ccp.avaya.com".to_owned(), true)]);
        assert_eq!(acme("[dhcp]\nvendor_class = ['hex:000102']"), []);
        let more = |classes: &str| {
            format!("[dhcp]\nvendor_class = {classes}\n{}", matching("^HT80[1-4]", &["HT801", "HT802"]))
        };
        assert_eq!(acme(&more("['HT701']")), [("HT701".to_owned(), true), ("HT80".to_owned(), true)]);
        assert_eq!(acme(&more("[]")), []);
    }

    #[test]
    fn addresses_begin_with_whole_octets() {
        let check = |ouis: &str, expected: &[&[u8]]| {
            let text = format!("schema = 1\ndisplay_name = 'Acme'\noui = {ouis}\n");
            let (catalog, errors) =
                Catalog::of_folders(&[fixture::vendor("acme", &[("profile.toml", &text)])]);
            assert_eq!(errors, []);
            let starts = catalog.get(&Vendor::new("acme")).unwrap().mac_starts();
            let starts: Vec<&[u8]> = starts.iter().map(|start| start.0.as_slice()).collect();
            assert_eq!(starts, expected, "{ouis}");
        };
        check("['001565', '000413e2']", &[&[0, 4, 0x13, 0xe2], &[0, 0x15, 0x65]]);
        check("['0004']", &[&[0, 4]]);
        check("['00041e', '00041f']", &[&[0, 4, 0x1e], &[0, 4, 0x1f]]);
        check("['000413800000-000413809fff']", &[&[0, 4, 0x13, 0x80]]);
        check("['000413800000-00041381ffff']", &[&[0, 4, 0x13, 0x80], &[0, 4, 0x13, 0x81]]);
        check("['000413', '00041380']", &[&[0, 4, 0x13]]);
        check("['0004130000f0-0004130000f1']", &[&[0, 4, 0x13, 0, 0, 0xf0], &[0, 4, 0x13, 0, 0, 0xf1]]);
    }
}
