//! What a host's web server shows to anybody: the title of its page, the realm that it asks a password for, and the
//! name of its server, out of an answer as it came. Lenient, because web servers in phones are.

use std::borrow::Cow;

use super::identify::Clue;
use crate::device::Source;

/// Bytes of a status line and its headers; a phone's are a tenth of it.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a page that are looked at. What identifies a phone stands at the beginning.
pub const PAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer that are worth receiving.
pub const ANSWER_BYTES_MAX: usize = HEAD_BYTES_MAX + PAGE_BYTES_MAX;
/// Headers of one answer that are read.
const HEADERS_MAX: usize = 100;
/// Characters of a title, a realm or a server's name that are kept.
const WORDS_CHARS_MAX: usize = 200;
/// Realms of one answer: nobody has more than one each for Basic and Digest.
const REALMS_MAX: usize = 4;
/// The longest entity, `&#1114111;`, without its ampersand and semicolon.
const ENTITY_CHARS_MAX: usize = 8;

/// The answer of a web server, or as much as came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAnswer<'b> {
    status: u16,
    headers: Vec<(String, String)>,
    body: Cow<'b, [u8]>,
}

impl<'b> WebAnswer<'b> {
    /// Reads an answer, `HTTP/1.0 200 OK` and what follows. `None` when it is none.
    pub fn read(bytes: &'b [u8]) -> Option<Self> {
        let bytes = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
        let (head, body) = split_head(bytes);
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let status = status_of(lines.next()?)?;
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.take(HEADERS_MAX) {
            let text = decoded(line);
            // A folded header goes on in the next line.
            match (text.starts_with([' ', '\t']), headers.last_mut(), text.split_once(':')) {
                (true, Some((_, value)), _) => {
                    value.push(' ');
                    value.push_str(text.trim());
                }
                (false, _, Some((name, value))) => {
                    headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                }
                _ => {}
            }
        }
        let chunked = |(name, value): &(String, String)| {
            name == "transfer-encoding" && value.to_ascii_lowercase().contains("chunked")
        };
        let body = if headers.iter().any(chunked) { Cow::Owned(joined(body)) } else { Cow::Borrowed(body) };
        Some(Self { status, headers, body })
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Every value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// What follows the headers, chunks put together.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its headers as they came, `name: value`, the names in lower case.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.headers.iter().map(|(name, value)| format!("{name}: {value}"))
    }

    /// What it says of who answers: title, realms, server.
    pub fn clues(&self) -> Vec<Clue> {
        let title = title(&self.body).map(|title| Clue::new(Source::HttpTitle, title));
        let challenges = self.header("www-authenticate").chain(self.header("proxy-authenticate"));
        let realms = challenges.flat_map(realms).take(REALMS_MAX);
        let realms = realms.map(|realm| Clue::new(Source::HttpRealm, realm));
        let servers = self.header("server").map(words).filter(|name| !name.is_empty());
        let servers = servers.map(|name| Clue::new(Source::HttpServer, name));
        let mut clues: Vec<Clue> = Vec::new();
        for clue in title.into_iter().chain(realms).chain(servers.take(1)) {
            if !clues.contains(&clue) {
                clues.push(clue);
            }
        }
        clues
    }
}

/// Head and body; an answer without the empty line is all head.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut line_is_empty = false;
    for (at, byte) in bytes.iter().enumerate().take(HEAD_BYTES_MAX) {
        match byte {
            b'\n' if line_is_empty => return bytes.split_at(at + 1),
            b'\n' => line_is_empty = true,
            b'\r' => {}
            _ => line_is_empty = false,
        }
    }
    bytes.split_at(bytes.len().min(HEAD_BYTES_MAX))
}

fn status_of(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/")?;
    let code = rest.split_ascii_whitespace().nth(1)?.get(..3)?;
    code.parse().ok().filter(|status| (100..600).contains(status))
}

/// The chunks of a body put together, as far as they are well-formed.
fn joined(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = body.split_at(end + 1);
        let size = std::str::from_utf8(line).ok().and_then(|line| {
            let digits = line.split(';').next().unwrap_or_default().trim();
            usize::from_str_radix(digits, 16).ok().filter(|size| *size > 0)
        });
        let Some(size) = size else { break };
        whole.extend_from_slice(rest.get(..size).unwrap_or(rest));
        let Some(after) = rest.get(size..) else { break };
        body = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")).unwrap_or(after);
    }
    whole
}

/// The first title of a page that is not empty.
fn title(body: &[u8]) -> Option<String> {
    let mut rest = body;
    loop {
        let (_, after) = rest.split_at(find(rest, b"<title")? + b"<title".len());
        let opened = after.iter().position(|byte| *byte == b'>')?;
        let text = after.get(opened + 1..).unwrap_or_default();
        let end = find(text, b"</title").unwrap_or(text.len());
        let title = words(&decoded(text.get(..end).unwrap_or_default()));
        if !title.is_empty() {
            return Some(title);
        }
        rest = text.get(end..).filter(|rest| !rest.is_empty())?;
    }
}

/// Where a word in lower case stands, in any case.
fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

/// The realms of one header, which may hold several challenges. Quoted or not, the quote closed or not.
fn realms(challenges: &str) -> Vec<String> {
    let mut realms = Vec::new();
    let mut rest = challenges;
    while let Some(at) = rest.find(['"', 'r', 'R']) {
        let before = rest.get(..at).and_then(|before| before.chars().next_back());
        let from = rest.get(at..).unwrap_or_default();
        if let Some(quoted) = from.strip_prefix('"') {
            rest = unquoted(quoted).1;
            continue;
        }
        let begins = before.is_none_or(|before| before.is_whitespace() || before == ',');
        let value = from
            .get(..5)
            .filter(|name| begins && name.eq_ignore_ascii_case("realm"))
            .and_then(|_| from.get(5..)?.trim_start().strip_prefix('='))
            .map(str::trim_start);
        let Some(value) = value else {
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        let (realm, after) = if let Some(quoted) = value.strip_prefix('"') {
            unquoted(quoted)
        } else {
            let end = value.find(',').unwrap_or(value.len());
            (value.get(..end).unwrap_or_default().to_owned(), value.get(end..).unwrap_or_default())
        };
        realms.push(words(&realm));
        rest = after;
    }
    realms.retain(|realm| !realm.is_empty());
    realms
}

/// A quoted text behind its first quote, and what follows the last.
fn unquoted(text: &str) -> (String, &str) {
    let mut said = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => return (said, text.get(at + 1..).unwrap_or_default()),
            _ => {}
        }
        said.push(c);
    }
    (said, "")
}

/// Bytes as text: UTF-8, also when it is cut off within a character, else Latin-1.
pub(super) fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default())
        }
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// A short text for people and patterns.
fn words(text: &str) -> String {
    flat(text).chars().take(WORDS_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

/// A text in one line: entities are what they stand for, and whatever separates words is one blank.
pub(super) fn flat(text: &str) -> String {
    let mut flat = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (said, after) = match entity(rest) {
            Some((said, after)) => (said, after),
            None => (c, rest.get(c.len_utf8()..).unwrap_or_default()),
        };
        rest = after;
        if !(said.is_whitespace() || said.is_control()) {
            flat.push(said);
        } else if !flat.is_empty() && !flat.ends_with(' ') {
            flat.push(' ');
        }
    }
    flat.truncate(flat.trim_end().len());
    flat
}

/// The character that an entity at the beginning stands for, and what follows it.
fn entity(text: &str) -> Option<(char, &str)> {
    let text = text.strip_prefix('&')?;
    let end = text.char_indices().take(ENTITY_CHARS_MAX + 1).find(|(_, c)| *c == ';')?.0;
    let (name, after) = (text.get(..end)?, text.get(end + 1..)?);
    let said = match (name.strip_prefix('#'), name) {
        (Some(number), _) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
        (None, "amp") => '&',
        (None, "lt") => '<',
        (None, "gt") => '>',
        (None, "quot") => '"',
        (None, "apos") => '\'',
        (None, "nbsp") => ' ',
        (None, "reg") => '®',
        (None, "trade") => '™',
        (None, "copy") => '©',
        (None, _) => return None,
    };
    Some((said, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clues(answer: &[u8]) -> Vec<(&'static str, String)> {
        let answer = WebAnswer::read(answer).expect("an answer");
        answer.clues().into_iter().map(|clue| (clue.source.as_str(), clue.text)).collect()
    }

    fn check(answer: &str, expected: &[(&str, &str)]) {
        let found = clues(answer.as_bytes());
        let found: Vec<(&str, &str)> = found.iter().map(|(source, text)| (*source, text.as_str())).collect();
        assert_eq!(found, expected, "{answer:?}");
    }

    #[test]
    fn title_realm_and_server_are_found_however_written() {
        let (title, realm, server) = ("http.title", "http.realm", "http.server");
        check(
            "HTTP/1.1 200 OK\r\nServer: Acme\r\n\r\n<HTML><HEAD><TITLE\n lang=en>Acme&nbsp;X1\r\n &amp; Co</Title>",
            &[(title, "Acme X1 & Co"), (server, "Acme")],
        );
        check("HTTP/1.0 200\n\n<title></title><title>second", &[(title, "second")]);
        check("HTTP/1.0 404 Not Found\nSERVER:  lighttpd \n", &[(server, "lighttpd")]);
        check(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest qop=\"auth\", realm=\"Acme \\\"X1\\\"\", nonce=\"realm=no\"\r\n\
             www-authenticate:Basic realm = Acme X1\r\n\r\n",
            &[(realm, "Acme \"X1\""), (realm, "Acme X1")],
        );
        check(
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"a\", Digest Realm=\"b\", xrealm=\"c\"\r\n\r\n",
            &[(realm, "a"), (realm, "b")],
        );
        check("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"open\r\n\r\n", &[(realm, "open")]);
        check(
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest\r\n realm=\"folded\"\r\n\r\n",
            &[(realm, "folded")],
        );
        check("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"\"\r\n\r\n<title> </title>", &[]);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n<title>Ac\r\n6;x\r\nme X1<\r\n0\r\n\r\n",
            &[(title, "Acme X1<")],
        );
        check(
            "HTTP/1.1 200 OK\r\n\r\n<title>&#65;&#x43;me &#0; &#xD800; &unknown; &",
            &[(title, "ACme &#xD800; &unknown; &")],
        );
    }

    #[test]
    fn latin_1_and_cut_off_characters_are_read() {
        let answer = b"HTTP/1.1 200 OK\r\nServer: Ger\xe4t\r\n\r\n<title>T\xfcr</title>";
        assert_eq!(clues(answer), [("http.title", "Tür".to_owned()), ("http.server", "Gerät".to_owned())]);
        assert_eq!(clues(b"HTTP/1.1 200 OK\r\n\r\n<title>T\xc3"), [("http.title", "T".to_owned())]);
    }

    #[test]
    fn what_is_no_answer_is_none_and_what_is_long_is_cut() {
        for bytes in ["", "HTTP/", "HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 999 x", "SIP/2.0 200 OK", "<title>x"]
        {
            assert_eq!(WebAnswer::read(bytes.as_bytes()), None, "{bytes}");
        }
        let long = format!("HTTP/1.1 200 OK\r\n\r\n<title>{}</title>", "ä ".repeat(ANSWER_BYTES_MAX));
        let answer = WebAnswer::read(long.as_bytes()).unwrap();
        assert!(answer.clues().iter().all(|clue| clue.text.chars().count() <= WORDS_CHARS_MAX));
        let many = format!("HTTP/1.1 401 No\r\n{}\r\n", "WWW-Authenticate: Basic realm=x\r\n".repeat(5000));
        assert_eq!(WebAnswer::read(many.as_bytes()).unwrap().clues().len(), 1, "one realm is one clue");
    }

    proptest! {
        #[test]
        fn nothing_a_host_answers_breaks_it(head in "\\PC{0,80}", body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = format!("HTTP/1.1 401 x\r\nWWW-Authenticate: {head}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
            bytes.extend(&body);
            let answer = WebAnswer::read(&bytes).unwrap();
            for clue in answer.clues() {
                prop_assert!(!clue.text.is_empty() && !clue.text.contains(char::is_control));
            }
            WebAnswer::read(&body);
        }
    }
}
