//! Decides how a request of a phone is answered over HTTP, from the request's head and the desk's answer. Never waits,
//! never reads a clock, and never learns why there is no file: what is unknown, foreign or refused looks the same.

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
    USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};

use super::range::{Part, part};
use crate::clock::Timestamp;
use crate::provision::{Answer, FileBody, FileHead, knows};

/// When a phone may ask again after 503, in seconds: what made it wait (a locked database, a full disk) seldom lasts
/// longer, and phones that ignore the header ask later anyway.
const RETRY_AFTER_SECONDS: &str = "30";

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// All of it.
    Get,
    /// Its head only. Asks nothing of the desk that would count as handing it out.
    Head,
}

impl Verb {
    /// The verb of a method; `None` for those that are refused with 405.
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::HEAD => Some(Self::Head),
            _ => None,
        }
    }
}

/// How the certificate of our own authority is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As text: most phones, OpenSSL, browsers.
    Pem,
    /// As octets: the rest.
    Der,
}

/// The form in which a name asks for our own authority, which phones and people have to trust before they can use TLS.
pub fn authority(name: &str) -> Option<Form> {
    match name {
        "ca.crt" | "ca.pem" => Some(Form::Pem),
        "ca.der" | "ca.cer" => Some(Form::Der),
        _ => None,
    }
}

/// The file for that: the same for everybody.
pub fn authority_file(bytes: Bytes, fingerprint: &str) -> FileBody {
    let content_type = "application/x-x509-ca-cert".to_owned();
    let etag = format!("\"{}-{}\"", fingerprint.replace(':', ""), bytes.len());
    FileBody { bytes, content_type, etag, ranges: true, receipt: None }
}

/// The name of the file that a request's path asks for, without leading slash: percent-decoded once, repeated slashes
/// as one. `None` for what cannot be the name of a file of ours: control characters, no UTF-8, steps upwards.
pub fn name(path: &str) -> Option<String> {
    let decoded = if path.contains('%') { percent_decoded(path)? } else { path.to_owned() };
    if decoded.chars().any(char::is_control) || decoded.split(['/', '\\']).any(|step| step == "..") {
        return None;
    }
    let trimmed = decoded.trim_start_matches('/');
    if !trimmed.contains("//") {
        return Some(trimmed.to_owned());
    }
    let steps: Vec<&str> = trimmed.split('/').filter(|step| !step.is_empty()).collect();
    Some(steps.join("/"))
}

/// `%2e` as `.`; what is not two hexadecimal digits stays as it is. Decoded once: `%252e` is the text `%2e`.
fn percent_decoded(path: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((octet, tail)) = rest.split_first() {
        let coded = tail.first_chunk().filter(|_| *octet == b'%').and_then(|[high, low]| {
            let digit = |octet: &u8| char::from(*octet).to_digit(16);
            u8::try_from(digit(high)? << 4 | digit(low)?).ok()
        });
        octets.push(coded.unwrap_or(*octet));
        rest = if coded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8(octets).ok()
}

/// The User-Agent as text: some phones send Latin-1.
pub fn user_agent(headers: &HeaderMap) -> Option<String> {
    let octets = headers.get(USER_AGENT)?.as_bytes();
    let latin = || octets.iter().map(|octet| char::from(*octet)).collect();
    Some(std::str::from_utf8(octets).map_or_else(|_| latin(), str::to_owned))
}

/// The tags that the phone says it has, as it wrote them.
pub fn known_tags(headers: &HeaderMap) -> Option<String> {
    let lists: Vec<&str> =
        headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).collect();
    (!lists.is_empty()).then(|| lists.join(", "))
}

/// A file of which only what is said about it is sent.
fn bodyless(head: FileHead) -> FileBody {
    FileBody {
        bytes: Bytes::new(),
        content_type: head.content_type,
        etag: head.etag.unwrap_or_default(),
        ranges: false,
        receipt: None,
    }
}

/// The answer to a method other than GET and HEAD.
pub fn refused_method() -> Response<Bytes> {
    with(plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"), ALLOW, "GET, HEAD")
}

/// The answer to a request for a file. Whether a phone has its own file already, the desk has decided: what comes as
/// [`Answer::File`] may have been released, and is sent.
pub fn reply(verb: Verb, headers: &HeaderMap, answer: Answer) -> Response<Bytes> {
    let mut response = match answer {
        Answer::File(body) if body.ranges && has(headers, &body) => not_modified(body),
        Answer::File(body) if body.ranges => parts(headers, body),
        Answer::File(body) => whole(body),
        Answer::Known(head) => not_modified(bodyless(head)),
        Answer::Head(head) => whole(bodyless(head)),
        // A server closes the connection instead of asking for a response; whoever asks all the same learns nothing.
        Answer::NotFound | Answer::NeedsOptions | Answer::Silence => not_found(),
        Answer::Forbidden => plain(StatusCode::FORBIDDEN, "forbidden\n"),
        Answer::Unavailable => {
            let response = plain(StatusCode::SERVICE_UNAVAILABLE, "not available now\n");
            with(response, RETRY_AFTER, RETRY_AFTER_SECONDS)
        }
    };
    if verb == Verb::Head {
        behead(&mut response);
    }
    response
}

/// 401: the phone, or who is at it, is asked for the menu credential.
pub fn unauthorized(verb: Verb, challenges: &[String]) -> Response<Bytes> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
    for value in challenges.iter().filter_map(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    if verb == Verb::Head {
        behead(&mut response);
    }
    response
}

/// The one 404: for unknown phones, foreign files and whatever else is not there.
pub fn not_found() -> Response<Bytes> {
    plain(StatusCode::NOT_FOUND, "not found\n")
}

/// Takes the body away. The length of a static file is told; that of a phone's own file is not, because it depends on
/// what a GET would release.
fn behead(response: &mut Response<Bytes>) {
    let body = std::mem::take(response.body_mut());
    let is_static = response.headers().get(ACCEPT_RANGES).is_some_and(|ranges| ranges == "bytes");
    if is_static && response.status().is_success() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}

/// Whether the phone already has this static file: it names its tag, or says that any will do. If-Modified-Since is not
/// looked at.
fn has(headers: &HeaderMap, body: &FileBody) -> bool {
    known_tags(headers).is_some_and(|known| knows(&known, &body.etag) || known.trim() == "*")
}

fn not_modified(body: FileBody) -> Response<Bytes> {
    let mut response = described(StatusCode::NOT_MODIFIED, body);
    *response.body_mut() = Bytes::new();
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn whole(body: FileBody) -> Response<Bytes> {
    described(StatusCode::OK, body)
}

/// A static file, whole or one part of it.
fn parts(headers: &HeaderMap, body: FileBody) -> Response<Bytes> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // RFC 9110, 13.1.5: a part only of the very body that the phone has the rest of; a date never matches.
    let same = text(IF_RANGE).is_none_or(|tag| tag.trim() == body.etag);
    let len = body.bytes.len();
    match part(text(RANGE).filter(|_| same), len) {
        Part::Whole => whole(body),
        Part::Of(range) => {
            let span = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            let mut response = described(StatusCode::PARTIAL_CONTENT, body);
            let bytes = response.body().slice(range);
            *response.body_mut() = bytes;
            with_text(response, CONTENT_RANGE, span)
        }
        Part::Unsatisfiable => {
            let response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable\n");
            with_text(response, CONTENT_RANGE, format!("bytes */{len}"))
        }
    }
}

/// Which octets of its file a response has.
pub fn span(response: &Response<Bytes>) -> std::ops::Range<usize> {
    let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first = text.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    let first: usize = first.unwrap_or_default();
    first..first + response.body().len()
}

/// A response with the headers that describe a file, and its bytes. A phone's own file is stored nowhere on its way
/// and given only as a whole.
fn described(status: StatusCode, body: FileBody) -> Response<Bytes> {
    let mut response = Response::new(body.bytes);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(4);
    for (name, text) in [(CONTENT_TYPE, body.content_type), (ETAG, body.etag)] {
        if !text.is_empty()
            && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text))
        {
            headers.insert(name, value);
        }
    }
    if body.ranges {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    } else {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Says that the connection ends with this answer, where it does, and to phones that drop any other answer when it was. That
/// is no date to compare by: If-Modified-Since is not looked at.
pub fn end(response: &mut Response<Bytes>, closes: bool, dated: Option<Timestamp>) {
    let headers = response.headers_mut();
    if closes || dated.is_some() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let at = dated.and_then(|now| jiff::Timestamp::from_millisecond(now.0).ok());
    let text = at.map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Some(Ok(value)) = text.map(HeaderValue::try_from) {
        headers.insert(LAST_MODIFIED, value);
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    let response = with(response, CONTENT_TYPE, "text/plain; charset=utf-8");
    with(response, CACHE_CONTROL, "no-store")
}

fn with(mut response: Response<Bytes>, name: HeaderName, value: &'static str) -> Response<Bytes> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

fn with_text(mut response: Response<Bytes>, name: HeaderName, value: String) -> Response<Bytes> {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device_file() -> FileBody {
        FileBody {
            bytes: Bytes::from_static(b"#!version:1.0.0.1\n"),
            content_type: "text/plain; charset=utf-8".to_owned(),
            etag: "\"abc\"".to_owned(),
            ranges: false,
            receipt: None,
        }
    }

    fn firmware() -> FileBody {
        let bytes = Bytes::from_static(b"0123456789");
        FileBody { bytes, content_type: "application/octet-stream".to_owned(), ranges: true, ..device_file() }
    }

    fn ask(verb: Verb, headers: &[(&'static str, &str)], answer: Answer) -> Response<Bytes> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        reply(verb, &pairs.collect(), answer)
    }

    fn check(what: &str, headers: &[(&'static str, &str)], body: FileBody, status: u16, bytes: &[u8]) {
        let response = ask(Verb::Get, headers, Answer::File(body));
        assert_eq!((response.status().as_u16(), response.body().as_ref()), (status, bytes), "{what}");
    }

    fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_answer_says_how_it_ends() {
        let ended = |closes, dated| {
            let mut response = not_found();
            end(&mut response, closes, dated);
            let text = |name| {
                response.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
            };
            (text(CONNECTION), text(LAST_MODIFIED))
        };
        let close = || Some("close".to_owned());
        assert_eq!(ended(false, None), (None, None));
        assert_eq!(ended(true, None), (close(), None));
        let dated = ended(false, Some(Timestamp(784_111_777_000)));
        assert_eq!(dated, (close(), Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned())));
    }

    #[test]
    fn a_device_file_comes_whole_and_is_stored_nowhere() {
        let all = b"#!version:1.0.0.1\n";
        check("plain", &[], device_file(), 200, all);
        check("a range", &[("range", "bytes=0-3")], device_file(), 200, all);
        check("a date", &[("if-modified-since", "Sat, 29 Oct 2033 19:43:31 GMT")], device_file(), 200, all);
        let response = ask(Verb::Get, &[], Answer::File(device_file()));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(header(&response, "accept-ranges"), Some("none"));
        assert_eq!(header(&response, "etag"), Some("\"abc\""));
        assert_eq!(header(&response, "content-type"), Some("text/plain; charset=utf-8"));
    }

    #[test]
    fn who_has_a_static_file_is_told_so() {
        for known in ["\"abc\"", "\"x\", \"abc\"", "W/\"abc\"", "*"] {
            check(known, &[("if-none-match", known)], firmware(), 304, b"");
        }
        check("another", &[("if-none-match", "\"abd\"")], firmware(), 200, b"0123456789");
        check("before a range", &[("if-none-match", "*"), ("range", "bytes=0-1")], firmware(), 304, b"");
        let response = ask(Verb::Get, &[("if-none-match", "*")], Answer::File(firmware()));
        assert_eq!(header(&response, "etag"), Some("\"abc\""));
    }

    fn head_of(etag: Option<&str>) -> FileHead {
        FileHead { content_type: "text/plain".to_owned(), etag: etag.map(str::to_owned) }
    }

    #[test]
    fn case_20_head_gets_no_body_no_length_and_no_invented_tag() {
        let response = ask(Verb::Head, &[], Answer::Head(head_of(None)));
        assert_eq!((response.status().as_u16(), response.body().len()), (200, 0));
        for absent in ["content-length", "etag"] {
            assert_eq!(header(&response, absent), None);
        }
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        let response = ask(Verb::Head, &[], Answer::Head(head_of(Some("\"abc\""))));
        assert_eq!(header(&response, "etag"), Some("\"abc\""));
    }

    #[test]
    fn case_21_a_range_of_a_file_with_passwords_is_the_whole_file() {
        let all = b"#!version:1.0.0.1\n";
        check("a range", &[("range", "bytes=0-99")], device_file(), 200, all);
        check("the rest", &[("range", "bytes=5-"), ("if-range", "\"abc\"")], device_file(), 200, all);
        let response = ask(Verb::Get, &[("range", "bytes=0-99")], Answer::File(device_file()));
        assert_eq!(header(&response, "accept-ranges"), Some("none"));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(header(&response, "content-encoding"), None);
    }

    #[test]
    fn case_22_the_desk_says_whether_a_phone_has_its_file() {
        let response =
            ask(Verb::Get, &[("if-none-match", "\"abc\"")], Answer::Known(head_of(Some("\"abc\""))));
        assert_eq!((response.status().as_u16(), response.body().len()), (304, 0));
        assert_eq!(header(&response, "etag"), Some("\"abc\""));
        // What it released is sent, whatever the phone says that it has.
        for known in ["*", "\"abc\"", "W/\"abc\""] {
            check(known, &[("if-none-match", known)], device_file(), 200, b"#!version:1.0.0.1\n");
        }
    }

    #[test]
    fn a_static_file_comes_in_parts() {
        check("whole", &[], firmware(), 200, b"0123456789");
        check("a part", &[("range", "bytes=2-4")], firmware(), 206, b"234");
        check("the end", &[("range", "bytes=-3")], firmware(), 206, b"789");
        check("several", &[("range", "bytes=0-1,4-5")], firmware(), 200, b"0123456789");
        check("of this", &[("range", "bytes=8-"), ("if-range", "\"abc\"")], firmware(), 206, b"89");
        check(
            "of another",
            &[("range", "bytes=8-"), ("if-range", "\"old\"")],
            firmware(),
            200,
            b"0123456789",
        );
        let response = ask(Verb::Get, &[("range", "bytes=2-4")], Answer::File(firmware()));
        assert_eq!(header(&response, "content-range"), Some("bytes 2-4/10"));
        let response = ask(Verb::Get, &[("range", "bytes=10-")], Answer::File(firmware()));
        assert_eq!(
            (response.status().as_u16(), header(&response, "content-range")),
            (416, Some("bytes */10"))
        );
    }

    #[test]
    fn head_tells_a_length_only_of_static_files() {
        let response = ask(Verb::Head, &[], Answer::File(device_file()));
        assert_eq!((response.status().as_u16(), response.body().len()), (200, 0));
        assert_eq!(header(&response, "content-length"), None);
        let response = ask(Verb::Head, &[], Answer::File(firmware()));
        assert_eq!((header(&response, "content-length"), response.body().len()), (Some("10"), 0));
        let response = ask(Verb::Head, &[], Answer::NotFound);
        assert_eq!((response.status().as_u16(), response.body().len()), (404, 0));
    }

    #[test]
    fn what_is_not_handed_out_says_nothing() {
        let response = ask(Verb::Get, &[("range", "bytes=0-1"), ("if-none-match", "*")], Answer::NotFound);
        assert_eq!(format!("{response:?}"), format!("{:?}", not_found()));
        assert_eq!(ask(Verb::Get, &[], Answer::Forbidden).status(), 403);
        let response = ask(Verb::Get, &[], Answer::Unavailable);
        assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (503, Some("30")));
        assert_eq!(header(&refused_method(), "allow"), Some("GET, HEAD"));
        assert_eq!(Verb::of(&Method::PUT), None);
    }

    #[test]
    fn our_authority_is_a_static_file_of_four_names() {
        for (name, form) in
            [("ca.crt", Form::Pem), ("ca.pem", Form::Pem), ("ca.der", Form::Der), ("ca.cer", Form::Der)]
        {
            assert_eq!(authority(name), Some(form));
        }
        for other in ["", "CA.crt", "x/ca.crt", "ca.key", "authority.pem"] {
            assert_eq!(authority(other), None, "{other}");
        }
        let file = authority_file(Bytes::from_static(b"certificate"), "AB:CD");
        let response = ask(Verb::Get, &[("if-none-match", "\"ABCD-11\"")], Answer::File(file));
        assert_eq!(response.status(), 304);
    }

    #[test]
    fn a_path_becomes_a_name_or_nothing() {
        let rows = [
            ("/001565f4f9e1.cfg", Some("001565f4f9e1.cfg")),
            ("//d//TOKEN/a.cfg", Some("d/TOKEN/a.cfg")),
            ("/provisioning/snomD785-00041396D9B4.htm", Some("provisioning/snomD785-00041396D9B4.htm")),
            ("/%7Bmac%7D.cfg", Some("{mac}.cfg")),
            ("/a%2", Some("a%2")),
            ("/a%zz", Some("a%zz")),
            ("/a%+1b", Some("a%+1b")),
            ("/a%252e%252e/b", Some("a%2e%2e/b")),
            ("/..a/b..", Some("..a/b..")),
            ("/gr%C3%BCn.cfg", Some("grün.cfg")),
            ("/", Some("")),
            ("/../etc/passwd", None),
            ("/a/%2e%2e/b", None),
            ("/a%2f..%2fb", None),
            ("/..\\b", None),
            ("/a%00.cfg", None),
            ("/a%0d%0a", None),
            ("/a%7f", None),
            ("/gr%FCn.cfg", None),
        ];
        for (path, expected) in rows {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_user_agent_in_latin_1_is_still_text() {
        let value = HeaderValue::from_bytes(b"T\xe9l\xe9phone/1").unwrap();
        assert_eq!(user_agent(&HeaderMap::from_iter([(USER_AGENT, value)])).as_deref(), Some("Téléphone/1"));
    }
}
