//! An option's octets as they may be shown to people: without the passwords in them.

use std::net::Ipv4Addr;

use super::endpoint::redacted;
use super::{colons, form};

/// Option 150, a list of addresses (RFC 5859).
const TFTP_ADDRESSES: u8 = 150;

/// The value of an option from a server: a text as it is, quotes and blanks included, addresses, sub-options with their
/// codes, and otherwise hexadecimal digits. A password in it is replaced by `***`.
pub fn shown_option(code: u8, octets: &[u8]) -> String {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
    let text = octets.get(..end).unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(text)
        && !text.trim_end().contains(char::is_control)
    {
        return redacted(text.trim_end_matches(['\r', '\n']));
    }
    let (addresses, rest) = octets.as_chunks::<4>();
    if code == TFTP_ADDRESSES && rest.is_empty() {
        let addresses = addresses.iter().map(|address| Ipv4Addr::from(*address).to_string());
        return addresses.collect::<Vec<_>>().join(", ");
    }
    if let Ok(subs) = form::sub_options(octets) {
        let shown = subs.iter().map(|(code, value)| format!("{code} \"{}\"", shown_sub(value)));
        return shown.collect::<Vec<_>>().join(", ");
    }
    shown_sub(octets)
}

/// Octets that are no text are shown by their digits, unless a password would be among them.
fn shown_sub(octets: &[u8]) -> String {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(octets.get(..end).unwrap_or_default());
    if !text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return redacted(&text);
    }
    let printed: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if redacted(&printed) == printed { colons(octets) } else { format!("{} octets", octets.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_it_stands_there() {
        let check =
            |code: u8, octets: &[u8], expected: &str| assert_eq!(shown_option(code, octets), expected);
        check(66, b"http://192.0.2.1:8480/\0", "http://192.0.2.1:8480/");
        check(66, b"\"http://192.0.2.1/\" ", "\"http://192.0.2.1/\" ");
        check(150, &[192, 0, 2, 1, 192, 0, 2, 2], "192.0.2.1, 192.0.2.2");
        check(150, b"192.0.2.1", "192.0.2.1");
        check(43, b"\x42\x0ahttp://a/b\x84\x0220", "66 \"http://a/b\", 132 \"20\"");
        check(43, &[1, 4, 0, 0, 0, 9], "1 \"00:00:00:09\"");
        check(125, &[0, 0, 0, 9, 200], "00:00:00:09:c8");
        check(66, b"", "");
    }

    #[test]
    fn no_password_is_shown_in_any_shape() {
        let url = b"http://admin:s3cr3t@pbx/";
        let sub = [&[66, u8::try_from(url.len()).unwrap()], &url[..]].concat();
        let broken = [&[66, 200], &url[..]].concat();
        for octets in [&url[..], &sub, &broken, &[&[0, 0, 4, 3, 99][..], url].concat()] {
            for code in [43, 66, 125, 150] {
                let shown = shown_option(code, octets);
                let digits = "73:33:63:72:33:74";
                assert!(!shown.contains("s3cr3t") && !shown.contains(digits), "{code}: {shown}");
            }
        }
    }
}
