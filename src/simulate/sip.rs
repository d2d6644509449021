//! SIP messages as a phone reads them: tolerant, but it notes what was not as it should be. Reads and writes texts;
//! sends nothing.

/// The longest datagram that is read; longer ones are cut by the socket.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_535;
/// More header lines than any PBX sends; the rest is not read.
const HEADERS_MAX: usize = 200;

/// One message, its header names in lower case and unabbreviated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) start: Start,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// What a strict reader would have refused.
    pub(super) flaws: Vec<&'static str>,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Request { method: String, uri: String },
    Response { code: u16, reason: String },
}

impl Message {
    /// Reads a datagram; `None` when its first line is not SIP's.
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let mut flaws = Vec::new();
        let (head, body) = split_head(datagram, &mut flaws);
        let Ok(text) = str::from_utf8(head) else {
            flaws.push("bytes that are not UTF-8 in the header");
            return Self::from_head(&String::from_utf8_lossy(head), body, flaws);
        };
        Self::from_head(text, body, flaws)
    }

    fn from_head(head: &str, body: &[u8], mut flaws: Vec<&'static str>) -> Option<Self> {
        let mut lines = head.lines();
        let mut first = lines.next()?;
        while first.is_empty() {
            flaws.push("an empty line before the first one");
            first = lines.next()?;
        }
        let start = read_start(first)?;
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.take(HEADERS_MAX) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((full_name(name.trim()), value.trim().to_owned()));
            } else if !line.trim().is_empty() {
                flaws.push("a header line without a colon");
            }
        }
        Some(Self { start, headers, body: body.to_vec(), flaws })
    }

    /// The first header of this name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every header of this name, in order.
    pub(super) fn all<'m>(&'m self, name: &str) -> impl Iterator<Item = &'m str> {
        self.headers.iter().filter(move |(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// Number and method of `CSeq`.
    pub(super) fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("cseq")?.split_once(char::is_whitespace)?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// Whether this is a response to the request with this Call-ID and `CSeq` method.
    pub(super) fn responds_to(&self, call_id: &str, method: &str) -> Option<u16> {
        let Start::Response { code, .. } = &self.start else { return None };
        let fits = self.header("call-id") == Some(call_id) && self.cseq().is_some_and(|(_, m)| m == method);
        fits.then_some(*code)
    }
}

/// The URI of a From, To or Contact value, out of its angle brackets.
pub(super) fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// A parameter behind the URI of a header's value, out of its quotes.
pub(super) fn parameter<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    let behind = value.rsplit_once('>').map_or(value, |(_, behind)| behind);
    behind.split(';').skip(1).find_map(|parameter| {
        let (held, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        held.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The response to a request, with what must be copied from it.
pub(super) fn respond(request: &Message, status: &str, own_tag: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for via in request.all("via") {
        push_header(&mut text, "Via", via);
    }
    push_header(&mut text, "From", request.header("from").unwrap_or_default());
    let to = request.header("to").unwrap_or_default();
    if own_tag.is_empty() || parameter(to, "tag").is_some() {
        push_header(&mut text, "To", to);
    } else {
        push_header(&mut text, "To", &format!("{to};tag={own_tag}"));
    }
    push_header(&mut text, "Call-ID", request.header("call-id").unwrap_or_default());
    push_header(&mut text, "CSeq", request.header("cseq").unwrap_or_default());
    for (name, value) in more {
        push_header(&mut text, name, value);
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    text.into_bytes()
}

/// `Name: value` and the line's end.
pub(super) fn push_header(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str(": ");
    text.push_str(value);
    text.push_str("\r\n");
}

/// Everything before the empty line, and everything behind it.
fn split_head<'d>(datagram: &'d [u8], flaws: &mut Vec<&'static str>) -> (&'d [u8], &'d [u8]) {
    let at = |needle: &[u8]| datagram.windows(needle.len()).position(|window| window == needle);
    if let Some(position) = at(b"\r\n\r\n") {
        let (head, rest) = datagram.split_at_checked(position).unwrap_or((datagram, &[]));
        return (head, rest.get(4..).unwrap_or_default());
    }
    if let Some(position) = at(b"\n\n") {
        flaws.push("lines that end without a carriage return");
        let (head, rest) = datagram.split_at_checked(position).unwrap_or((datagram, &[]));
        return (head, rest.get(2..).unwrap_or_default());
    }
    flaws.push("no empty line behind the header");
    (datagram, &[])
}

fn read_start(line: &str) -> Option<Start> {
    if let Some(rest) = line.strip_prefix("SIP/2.0 ") {
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = code.parse().ok().filter(|code| (100..700).contains(code))?;
        return Some(Start::Response { code, reason: reason.to_owned() });
    }
    let mut parts = line.split(' ');
    let (method, uri, version) = (parts.next()?, parts.next()?, parts.next()?);
    let token = !method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase());
    (token && version == "SIP/2.0" && parts.next().is_none())
        .then(|| Start::Request { method: method.to_owned(), uri: uri.to_owned() })
}

/// Header names in lower case, compact ones (RFC 3261 7.3.3, RFC 6665 8.2.1) spelled out.
fn full_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "v" => "via".to_owned(),
        "f" => "from".to_owned(),
        "t" => "to".to_owned(),
        "i" => "call-id".to_owned(),
        "m" => "contact".to_owned(),
        "c" => "content-type".to_owned(),
        "l" => "content-length".to_owned(),
        "o" => "event".to_owned(),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whatever_its_form() {
        let plain = b"NOTIFY sip:a@1.2.3.4:5060 SIP/2.0\r\nVia: x\r\nv: y\r\nEvent:ua-profile;\r\n profile-type=device\r\nl: 3\r\n\r\nabc";
        let message = Message::read(plain).unwrap();
        assert_eq!(
            message.start,
            Start::Request { method: "NOTIFY".into(), uri: "sip:a@1.2.3.4:5060".into() }
        );
        assert_eq!(message.all("via").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(message.header("event"), Some("ua-profile; profile-type=device"));
        assert_eq!((message.body.as_slice(), message.flaws.len()), (b"abc".as_slice(), 0));

        let rough = Message::read(b"SIP/2.0 200\nCSeq: 3  SUBSCRIBE\nnonsense\n").unwrap();
        assert_eq!(rough.start, Start::Response { code: 200, reason: String::new() });
        assert_eq!(rough.cseq(), Some((3, "SUBSCRIBE")));
        assert_eq!(rough.flaws, ["no empty line behind the header", "a header line without a colon"]);
    }

    #[test]
    fn what_is_not_sip_is_not_read() {
        for bytes in [&b""[..], b"\r\n\r\n", b"hello", b"SIP/2.0 9999 x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(Message::read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn parameters_stand_behind_the_uri() {
        let value = "\"a;b\" <sip:x@y;tag=wrong>;Tag=\"right\";lr";
        assert_eq!(uri_of(value), "sip:x@y;tag=wrong");
        assert_eq!(parameter(value, "tag"), Some("right"));
        assert_eq!(parameter(value, "lr"), Some(""));
        assert_eq!(parameter("<sip:x@y>", "tag"), None);
    }
}
