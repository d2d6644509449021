//! The form of SIP messages, for every room that speaks it.
//!
//! Repairs what phones get wrong in SIP and gives back a start line and headers. Reads forms, knows no meaning, never
//! fails because of a header it does not understand, and never copies a control character.
//!
//! What is repaired: blank lines, NULs and stray bytes before the message; line ends that are a bare LF, a bare CR or
//! CR CR LF; folded lines (RFC 3261 section 7.3.1); compact names (section 7.3.3); blanks before the colon; no blank
//! line at the end; bytes that are not UTF-8 (read as Latin-1, and written back as the same bytes).

use std::borrow::Cow;

/// Who we are, in User-Agent and Server.
pub(crate) const PRODUCT: &str = concat!("offhook/", env!("CARGO_PKG_VERSION"));

/// Header lines in one message. Real SUBSCRIBEs have about fifteen; more is somebody else's experiment.
const HEADERS_MAX: usize = 128;

/// Compact names and what they stand for (RFC 3261 section 20, RFC 6665 section 8.4, RFC 3515, 3841, 3892, 4028, 8224).
const COMPACT: [(&str, &str); 19] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("o", "Event"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("s", "Subject"),
    ("k", "Supported"),
    ("u", "Allow-Events"),
    ("r", "Refer-To"),
    ("b", "Referred-By"),
    ("x", "Session-Expires"),
    ("a", "Accept-Contact"),
    ("j", "Reject-Contact"),
    ("d", "Request-Disposition"),
    ("y", "Identity"),
];

/// A message in its repaired form; values point into the datagram where nothing had to be repaired.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    /// The first line.
    pub(crate) start: Start<'a>,
    /// Names as they stand there (compact ones expanded), values without control characters, in the order of arrival.
    headers: Vec<(&'a str, Cow<'a, str>)>,
}

/// The first line of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    /// `SUBSCRIBE sip:… SIP/2.0`
    Request {
        /// As written.
        method: &'a str,
        /// Everything between the method and the version.
        uri: Cow<'a, str>,
    },
    /// `SIP/2.0 200 OK`
    Response {
        /// 100 to 699.
        status: u16,
    },
}

/// Why a datagram is not a SIP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// Nothing but blanks, NULs or stray bytes: a keep-alive.
    #[error("nothing in it")]
    Empty,
    /// The first line is neither a request's nor a response's.
    #[error("the first line is not SIP")]
    StartLine,
    /// More than [`HEADERS_MAX`] header lines.
    #[error("more than {HEADERS_MAX} headers")]
    TooManyHeaders,
}

/// The datagram as text, without what stands before the first letter. Latin-1 where it is not UTF-8; the second value
/// says so, and [`to_bytes`] turns such a text into the same bytes again.
pub(crate) fn text(datagram: &[u8]) -> (Cow<'_, str>, bool) {
    let start = datagram.iter().position(u8::is_ascii_alphabetic).unwrap_or(datagram.len());
    let rest = datagram.get(start..).unwrap_or_default();
    match std::str::from_utf8(rest) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(rest.iter().map(|byte| char::from(*byte)).collect()), true),
    }
}

/// The reverse of [`text`].
pub(crate) fn to_bytes(text: String, latin1: bool) -> Vec<u8> {
    if latin1 {
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
    } else {
        text.into_bytes()
    }
}

impl<'a> Wire<'a> {
    /// Reads the head of a message.
    pub(crate) fn read(text: &'a str) -> Result<Self, WireError> {
        let mut lines = Lines(text);
        let first = lines.next().filter(|line| !line.is_empty()).ok_or(WireError::Empty)?;
        let start = Start::read(first).ok_or(WireError::StartLine)?;
        let mut headers: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(20);
        let mut foldable = false;
        for line in lines {
            if line.is_empty() {
                break;
            }
            if line.starts_with([' ', '\t']) {
                match headers.last_mut().filter(|_| foldable) {
                    Some((_, value)) => unfold(value, line),
                    None => continue,
                }
            } else if let Some(header) = header(line) {
                headers.push(header);
                foldable = true;
            } else {
                // A line without a colon is junk, and so is what continues it.
                foldable = false;
            }
            if headers.len() > HEADERS_MAX {
                return Err(WireError::TooManyHeaders);
            }
        }
        Ok(Self { start, headers })
    }

    /// The first header of this name that is not empty.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every header of this name that is not empty, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(have, value)| have.eq_ignore_ascii_case(name) && !value.is_empty())
            .map(|(_, value)| value.as_ref())
    }
}

impl<'a> Start<'a> {
    /// Blanks between the three parts may be any number of spaces and tabs, and a URI may have some inside.
    fn read(line: &'a str) -> Option<Self> {
        let line = line.trim_matches(blank);
        let (first, rest) = line.split_once(blank)?;
        let rest = rest.trim_start_matches(blank);
        if is_version(first) {
            let status = rest.split(blank).next()?.parse().ok()?;
            return (100..700).contains(&status).then_some(Self::Response { status });
        }
        let (uri, version) = rest.rsplit_once(blank)?;
        let uri = uri.trim_end_matches(blank);
        let method_fits = first.chars().all(|c| c.is_ascii_alphabetic());
        (is_version(version) && method_fits && !uri.is_empty())
            .then(|| Self::Request { method: first, uri: clean(uri) })
    }
}

fn is_version(word: &str) -> bool {
    word.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("SIP/"))
}

fn blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// One header line: its full name and its value. `None` for a line that is no header.
fn header(line: &str) -> Option<(&str, Cow<'_, str>)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_matches(|c: char| blank(c) || c.is_control());
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return None;
    }
    Some((expand(name), clean(value)))
}

fn expand(name: &str) -> &str {
    if name.len() != 1 {
        return name;
    }
    COMPACT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map_or(name, |(_, long)| long)
}

/// The value without blanks around it; tabs become spaces and other control characters go.
fn clean(value: &str) -> Cow<'_, str> {
    // 0xC2 begins the two bytes of U+0080 to U+009F: control characters, too, but not worth decoding every text for.
    let harmless = |byte: u8| byte >= b' ' && byte != 0x7f && byte != 0xc2;
    let value = value.trim_matches(blank);
    if value.bytes().all(harmless) {
        return Cow::Borrowed(value);
    }
    let value = value.trim_matches(|c: char| blank(c) || c.is_control());
    let kept = value.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control());
    Cow::Owned(kept.collect())
}

/// Adds a continuation line; whatever blanks stood around the fold become one space.
fn unfold(value: &mut Cow<'_, str>, line: &str) {
    let more = clean(line);
    if more.is_empty() {
        return;
    }
    let value = value.to_mut();
    if !value.is_empty() {
        value.push(' ');
    }
    value.push_str(&more);
}

/// Lines that end in LF, in CR LF (with any number of CRs before the LF), or in a bare CR.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = self.0.split_once('\n').unwrap_or((self.0, ""));
        let line = line.trim_end_matches('\r');
        if let Some((before, _)) = line.split_once('\r') {
            self.0 = self.0.get(before.len() + 1..).unwrap_or_default();
            return Some(before);
        }
        self.0 = rest;
        Some(line)
    }
}

/// What follows `separator` at the top level ends a piece: not inside `"…"`, not inside `<…>`.
pub(crate) fn split_top(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let mut quoted = false;
        let mut escaped = false;
        let mut bracketed = false;
        for (at, c) in whole.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '<' if !quoted => bracketed = true,
                '>' if !quoted => bracketed = false,
                _ if c == separator && !quoted && !bracketed => {
                    rest = whole.get(at + c.len_utf8()..);
                    return whole.get(..at);
                }
                _ => {}
            }
        }
        rest = None;
        Some(whole)
    })
}

/// The value of a parameter among `;name=value` pieces, without its quotes; empty for a parameter without a value.
pub(crate) fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    split_top(text, ';').skip(1).find_map(|piece| {
        let (have, value) = piece.split_once('=').unwrap_or((piece, ""));
        have.trim().eq_ignore_ascii_case(name).then(|| unquote(value))
    })
}

/// A value without the quotes, single or double, closed or not, around it.
pub(crate) fn unquote(value: &str) -> &str {
    value.trim().trim_matches(['"', '\'']).trim()
}

/// The number that a value begins with, as in `CSeq: 1 NOTIFY`; what stands behind it is not looked at.
pub(crate) fn number(value: &str) -> Option<u32> {
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A text without control characters: what our own side writes is not trusted either, for a profile is data.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        return Cow::Owned(text.chars().filter(|c| !c.is_control()).collect());
    }
    Cow::Borrowed(text)
}

/// The URI in a name-addr or addr-spec (`"Phone" <sip:…>;tag=…`, `sip:…;tag=…`).
pub(crate) fn uri(value: &str) -> &str {
    match bracket(value).and_then(|at| value.get(at + 1..)) {
        Some(rest) => rest.split('>').next().unwrap_or(rest).trim(),
        None => value.split([';', ',', ' ']).next().unwrap_or(value).trim(),
    }
}

/// Where the first `<` outside of quotes stands; any `<` where a quote never ends.
fn bracket(value: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => return Some(at),
            _ => {}
        }
    }
    value.find('<').filter(|_| quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(message: &str, name: &str) -> Option<String> {
        Wire::read(message).unwrap().header(name).map(str::to_owned)
    }

    #[test]
    fn every_line_end_is_a_line_end() {
        for end in ["\r\n", "\n", "\r", "\r\r\n"] {
            let message =
                ["SUBSCRIBE sip:a@b SIP/2.0", "Via: x", "Event: ua-profile", "", "Event: body"].join(end);
            assert_eq!(value(&message, "event").as_deref(), Some("ua-profile"), "{end:?}");
        }
    }

    #[test]
    fn folds_compact_names_and_blanks_before_the_colon_are_repaired() {
        let message =
            "SUBSCRIBE  sip:a@b\tSIP/2.0\r\nv : SIP/2.0/UDP h\r\n\t ;rport\r\no\t:ua-profile\r\nL:0\r\n";
        assert_eq!(value(message, "Via").as_deref(), Some("SIP/2.0/UDP h ;rport"));
        assert_eq!(value(message, "Event").as_deref(), Some("ua-profile"));
        assert_eq!(value(message, "Content-Length").as_deref(), Some("0"));
    }

    #[test]
    fn junk_lines_are_passed_over() {
        let message = "SUBSCRIBE sip:a@b SIP/2.0\r\n folded start\r\nno colon\r\n more junk\r\n: none\r\n\
                       a b: c\r\nTo: x\0y\r\n";
        let wire = Wire::read(message).unwrap();
        assert_eq!(wire.headers.len(), 1);
        assert_eq!(wire.header("To"), Some("xy"));
    }

    #[test]
    fn start_lines_are_read() {
        let check =
            |line: &str, expected: Option<Start<'_>>| assert_eq!(Start::read(line), expected, "{line}");
        let request = |uri: &'static str| Some(Start::Request { method: "SUBSCRIBE", uri: uri.into() });
        check("SUBSCRIBE sip:a@b SIP/2.0", request("sip:a@b"));
        check("SUBSCRIBE sip:a b@c sip/2.0 ", request("sip:a b@c"));
        check("SIP/2.0 200 OK", Some(Start::Response { status: 200 }));
        check("SIP/2.0 481", Some(Start::Response { status: 481 }));
        check("SIP/2.0 99 x", None);
        check("SUBSCRIBE sip:a@b", None);
        check("SUBSCRIBE SIP/2.0", None);
        check("GET / HTTP/1.1", None);
    }

    #[test]
    fn latin_1_goes_out_as_it_came_in() {
        let raw = b"\r\n\0\0SUBSCRIBE sip:a@b SIP/2.0\r\nUser-Agent: B\xfcro\r\n\r\n";
        let (text, latin1) = text(raw);
        assert!(latin1);
        assert_eq!(value(&text, "User-Agent").as_deref(), Some("B\u{fc}ro"));
        assert_eq!(to_bytes("B\u{fc}ro".to_owned(), latin1), b"B\xfcro");
    }

    #[test]
    fn quotes_and_brackets_hide_separators() {
        let pieces: Vec<&str> = split_top(r#""a;\"b" <sip:c;d>;tag=e;f="g;h"#, ';').collect();
        assert_eq!(pieces, [r#""a;\"b" <sip:c;d>"#, "tag=e", r#"f="g;h"#]);
        assert_eq!(parameter("x;Tag = \"q\" ;lr", "tag"), Some("q"));
        assert_eq!(parameter("x;rport;branch=z", "rport"), Some(""));
        assert_eq!(uri(r#""<not>" <sip:a@b;c>;d"#), "sip:a@b;c");
        assert_eq!(uri("sip:a@b;tag=c"), "sip:a@b");
        assert_eq!(uri(r#"<sip:a@b>;x="y""#), "sip:a@b");
        assert_eq!(uri(r#""open <sip:a@b>"#), "sip:a@b");
    }

    #[test]
    fn too_many_headers_are_refused() {
        let message = format!("SUBSCRIBE sip:a@b SIP/2.0\r\n{}", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert!(matches!(Wire::read(&message), Err(WireError::TooManyHeaders)));
        assert!(matches!(Wire::read(""), Err(WireError::Empty)));
        assert!(matches!(Wire::read("\r\n\r\n"), Err(WireError::Empty)));
    }
}
