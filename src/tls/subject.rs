//! The MAC in the subject of a phone's certificate. Vendors write it in every way: as the common name, behind the model
//! or before the serial number, with and without separators. Never decides whether the certificate is genuine.

use std::collections::BTreeSet;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::device::Mac;

/// Characters of a common name that are kept (RFC 5280 has 64 at most).
const NAME_CHARS_MAX: usize = 64;
/// Words that Cisco writes directly before a MAC.
const PREFIXES: [&str; 2] = ["SEP", "ATA"];

/// The one MAC in a subject, in whichever of its attributes. With none, or with two, it names no phone: generic
/// certificates are shared by all phones of a model, and of two the right one would have to be guessed.
pub(super) fn sole_mac(subject: &X509Name<'_>) -> Option<Mac> {
    let texts = subject.iter_attributes().filter_map(|attribute| text(attribute.attr_value().data));
    let found: BTreeSet<Mac> = texts.flat_map(|text| macs(&text)).collect();
    let mut found = found.into_iter();
    found.next().filter(|_| found.next().is_none())
}

/// The common name of a certificate, as its holder writes it; whoever shows it need not be that.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    let name = text(name.attr_value().data)?;
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// An attribute's text: UTF-8 as it is, two octets a character (`BMPString`) without the empty ones.
fn text(octets: &[u8]) -> Option<String> {
    let is_wide = octets.len() >= 2
        && octets.len().is_multiple_of(2)
        && octets.iter().step_by(2).all(|high| *high == 0);
    let narrow: Vec<u8>;
    let octets = if is_wide {
        narrow = octets.iter().skip(1).step_by(2).copied().collect();
        &narrow
    } else {
        octets
    };
    std::str::from_utf8(octets).ok().map(str::to_owned)
}

/// The MACs that a text names:
///
/// 1. twelve hexadecimal digits that stand alone, or behind `SEP` or `ATA`;
/// 2. six pairs of them with `:` or `-` between them, and no seventh pair;
/// 3. three groups of four with `.` between them.
///
/// What touches a `.` or an `@` otherwise is a part of a domain or an address: anybody may get a certificate for
/// `001565aabbcc.example.com`.
fn macs(text: &str) -> Vec<Mac> {
    let mut found = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || ":-.@".contains(c))) {
        if let Some(mac) = word.parse().ok().filter(|_| !word.contains('-') && !word.contains(':')) {
            found.push(mac);
        } else if !word.contains(['.', '@']) {
            found.extend(between_separators(word));
        }
    }
    found
}

/// The MACs in a word of parts with `:` and `-` between them.
fn between_separators(word: &str) -> Vec<Mac> {
    let mut found = Vec::new();
    let mut run = String::new();
    let mut before = None;
    for part in word.split_inclusive([':', '-']) {
        let after = part.chars().next_back().filter(|last| ":-".contains(*last));
        let part = part.trim_end_matches([':', '-']);
        let is_pair = part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
        // The separator of the run so far; a run of one pair has none yet.
        let goes_on = is_pair && run.chars().nth(2).or(before) == before;
        if !goes_on {
            found.extend(run.parse::<Mac>());
            run.clear();
        }
        if is_pair {
            run.extend(before.filter(|_| !run.is_empty()));
            run.push_str(part);
        } else {
            found.extend(bare(part));
        }
        before = after;
    }
    found.extend(run.parse::<Mac>());
    found
}

/// A MAC without separators, with or without a word before it.
fn bare(part: &str) -> Option<Mac> {
    let digits = match part.split_at_checked(3) {
        Some((prefix, rest)) if PREFIXES.iter().any(|known| known.eq_ignore_ascii_case(prefix)) => rest,
        _ => part,
    };
    [part, digits].into_iter().filter(|digits| digits.len() == 12).find_map(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(subject: &str, expected: &[&str]) {
        let expected: Vec<Mac> = expected.iter().map(|mac| mac.parse().unwrap()).collect();
        assert_eq!(macs(subject), expected, "{subject}");
    }

    #[test]
    fn a_mac_is_found_however_a_vendor_writes_it() {
        let mac = ["00:15:65:aa:bb:cc"];
        for subject in [
            "001565AABBCC",
            "001565aabbcc",
            "00:15:65:AA:BB:CC",
            "00-15-65-aa-bb-cc",
            "0015.65aa.bbcc",
            "SPA504G-CBT141400UK-001565AABBCC",
            "SPA-504G, MAC: 001565AABBCC, Serial: CBT141400UK",
            "SPA-504G,MAC:00:15:65:aa:bb:cc",
            "MAC=001565AABBCC",
            "CP-8845-SEP001565AABBCC",
            "SEP001565AABBCC",
            "ATA001565AABBCC",
            "Polycom VVX 410 (001565aabbcc)",
            "T46U_001565AABBCC",
            "001565AABBCC/2020",
            "W60B-00-15-65-AA-BB-CC",
            "00:15:65:AA:BB:CC-1",
        ] {
            check(subject, &mac);
        }
        check("001565AABBCC 000413AABBCC", &["00:15:65:aa:bb:cc", "00:04:13:aa:bb:cc"]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for subject in [
            "",
            "ciscogeneric",
            "Yealink Network Technology Co.,Ltd.",
            "001565AABBC",
            "001565AABBCCD",
            "0x001565AABBCC",
            "001565aabbcc.example.com",
            "phone-001565aabbcc.example.com",
            "001565aabbcc@example.com",
            "00:15:65:ff:fe:aa:bb:cc",
            "00:15:65:aa:bb",
            "00:15-65:aa-bb:cc",
            "00:15:65:aa:bb:cc:dd",
            "SN-00-15-65-AA-BB-CC-DD",
            "0015.65aa.bbcc.ddee",
            "000000000000",
            "FFFFFFFFFFFF",
            "01005e00014b",
            "SEP",
            "ATA00156",
            "é01565aabbcc",
            "001565aabb\u{0663}\u{0663}",
        ] {
            check(subject, &[]);
        }
    }

    #[test]
    fn two_octets_a_character_are_read_as_well() {
        let wide: Vec<u8> = "001565AABBCC".bytes().flat_map(|octet| [0, octet]).collect();
        assert_eq!(text(&wide).as_deref(), Some("001565AABBCC"));
        assert_eq!(text(b"001565AABBCC").as_deref(), Some("001565AABBCC"));
        assert_eq!(text(b"\xff\xfe"), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>(), octets in any::<Vec<u8>>()) {
            let _ = macs(&text);
            let _ = super::text(&octets).map(|text| macs(&text));
        }

        #[test]
        fn between_other_words_it_is_the_same_one(
            octets in any::<[u8; 6]>(),
            before in "[G-Z ]{0,8}",
            after in "[G-Z ]{0,8}",
        ) {
            let Some(mac) = Mac::new(octets) else { return Ok(()) };
            for written in [mac.to_string(), mac.to_string().replace(':', "-"), mac.bare()] {
                prop_assert_eq!(macs(&format!("{before}-{written}-{after}")), vec![mac]);
            }
        }
    }
}
