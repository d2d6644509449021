//! Reads what arrives on the PnP sockets: the SUBSCRIBE by which a phone asks for its configuration, and the answers to
//! our NOTIFYs. Decides nothing, sends nothing, and takes nothing a phone wrote for true.

use std::borrow::Cow;

use super::names::Branch;
use crate::device::{Mac, Source};
use crate::net::sip::{self, Start, Wire, WireError};
use crate::profile::Clue;

/// Bytes of a datagram that is looked at. A SUBSCRIBE has about 700, and what does not fit in one frame is no phone's.
pub const DATAGRAM_BYTES_MAX: usize = 8192;

/// Via headers that are copied into an answer; a multicast with one hop has one.
const VIAS_MAX: usize = 16;

/// What the values of a SUBSCRIBE usually take together.
const VALUES_BYTES: usize = 640;

/// What a datagram says.
#[derive(Debug)]
pub enum Message {
    /// A phone asks for its configuration.
    Subscribe(Box<Subscribe>),
    /// Somebody answers a request.
    Response(Response),
    /// Any other request: nothing of ours.
    Other,
}

/// An answer, as far as it is needed to find the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 100 to 699.
    pub status: u16,
    /// Copied from the request.
    pub call_id: String,
    /// Copied from the request, without the method.
    pub cseq: u32,
    /// Of the first Via, if it is one of ours; phones have been seen to leave it out.
    pub branch: Option<Branch>,
}

/// A SUBSCRIBE for a phone's configuration. Header values are as the phone wrote them, without control characters; they
/// stand in one text, because thousands of phones may ask at the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    values: String,
    request_uri: Span,
    first_via: Span,
    further_vias: Vec<Span>,
    from: Span,
    to: Span,
    call_id: Span,
    contact: Span,
    event: Span,
    user_agent: Span,
    cseq: u32,
    expires: Option<u32>,
    latin1: bool,
}

/// A part of the text of all values; empty for a header that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

/// The Event header of a SUBSCRIBE (RFC 6080): `ua-profile;profile-type="device";vendor="…";model="…";version="…"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UaProfile {
    /// `device`; `application` on `AudioCodes`.
    pub profile_type: Option<String>,
    /// In any spelling: Panasonic writes `vender`.
    pub vendor: Option<String>,
    /// Not always the model: `OEM`, `VOIP PHONE`, a sister model.
    pub model: Option<String>,
    /// The firmware.
    pub version: Option<String>,
}

/// Why a datagram is not answered. Never our error: counted, and logged at DEBUG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Over [`DATAGRAM_BYTES_MAX`].
    #[error("{0} bytes are more than {DATAGRAM_BYTES_MAX}")]
    TooLong(usize),
    /// Blanks and NULs: phones and NAT devices keep paths open with them.
    #[error("nothing in it")]
    Empty,
    /// Not SIP at all.
    #[error("not SIP: {0}")]
    NotSip(&'static str),
    /// A header that an answer needs is missing.
    #[error("no {0} header")]
    Missing(&'static str),
    /// The `CSeq` has no number.
    #[error("no number in the CSeq header")]
    CSeq,
    /// A SUBSCRIBE for something else.
    #[error("a SUBSCRIBE for another event than ua-profile")]
    OtherEvent,
    /// A SUBSCRIBE with a tag in To: somebody else's dialog.
    #[error("a SUBSCRIBE inside a dialog")]
    InDialog,
    /// The sender lists what it takes, and application/url is not among it.
    #[error("a SUBSCRIBE that does not accept application/url")]
    NoUrlAccepted,
}

impl MessageError {
    /// The reason as one word, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "too_long",
            Self::Empty => "empty",
            Self::NotSip(_) => "not_sip",
            Self::Missing(_) | Self::CSeq => "incomplete",
            Self::OtherEvent => "other_event",
            Self::InDialog => "in_dialog",
            Self::NoUrlAccepted => "no_url_accepted",
        }
    }
}

impl From<WireError> for MessageError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Empty => Self::Empty,
            WireError::StartLine => Self::NotSip("the first line"),
            WireError::TooManyHeaders => Self::NotSip("too many headers"),
        }
    }
}

impl Message {
    /// Reads a datagram, in any of the forms that phones have been seen to write.
    pub fn parse(datagram: &[u8]) -> Result<Self, MessageError> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(MessageError::TooLong(datagram.len()));
        }
        let (text, latin1) = sip::text(datagram);
        let wire = Wire::read(&text)?;
        match &wire.start {
            Start::Response { status } => Response::read(&wire, *status).map(Self::Response),
            Start::Request { method, uri } if method.eq_ignore_ascii_case("SUBSCRIBE") => {
                Subscribe::read(&wire, uri, latin1).map(|subscribe| Self::Subscribe(Box::new(subscribe)))
            }
            Start::Request { .. } => Ok(Self::Other),
        }
    }
}

impl Response {
    fn read(wire: &Wire<'_>, status: u16) -> Result<Self, MessageError> {
        let via = wire.header("Via").ok_or(MessageError::Missing("Via"))?;
        Ok(Self {
            status,
            call_id: wire.header("Call-ID").ok_or(MessageError::Missing("Call-ID"))?.to_owned(),
            cseq: cseq(wire)?,
            branch: branch(via).and_then(Branch::parse),
        })
    }
}

impl Subscribe {
    /// Reads a datagram that must be a SUBSCRIBE for a configuration.
    pub fn parse(datagram: &[u8]) -> Result<Self, MessageError> {
        match Message::parse(datagram)? {
            Message::Subscribe(subscribe) => Ok(*subscribe),
            Message::Response(_) | Message::Other => Err(MessageError::NotSip("not a SUBSCRIBE")),
        }
    }

    fn read(wire: &Wire<'_>, request_uri: &str, latin1: bool) -> Result<Self, MessageError> {
        let must = |name| wire.header(name).ok_or(MessageError::Missing(name));
        let event = must("Event")?;
        if !is_ua_profile(event) {
            return Err(MessageError::OtherEvent);
        }
        let to = must("To")?;
        if tag(to).is_some() {
            return Err(MessageError::InDialog);
        }
        if !accepts_url(wire) {
            return Err(MessageError::NoUrlAccepted);
        }
        let mut values = String::with_capacity(VALUES_BYTES);
        let mut keep = |value: &str| {
            let start = values.len();
            values.push_str(value);
            Span { start, end: values.len() }
        };
        let mut vias = wire.all("Via").take(VIAS_MAX);
        let subscribe = Self {
            request_uri: keep(request_uri),
            first_via: keep(vias.next().ok_or(MessageError::Missing("Via"))?),
            further_vias: vias.map(&mut keep).collect(),
            from: keep(must("From")?),
            to: keep(to),
            call_id: keep(must("Call-ID")?),
            contact: keep(wire.header("Contact").map_or("", sip::uri)),
            event: keep(event),
            user_agent: keep(wire.header("User-Agent").unwrap_or_default()),
            cseq: cseq(wire)?,
            expires: wire.header("Expires").and_then(|value| value.parse().ok()),
            latin1,
            values: String::new(),
        };
        Ok(Self { values, ..subscribe })
    }

    fn value(&self, span: Span) -> &str {
        self.values.get(span.start..span.end).unwrap_or_default()
    }

    /// The URI that is asked; carries the MAC on nearly all phones.
    pub fn request_uri(&self) -> &str {
        self.value(self.request_uri)
    }

    /// The Via headers in order of arrival, at least one; one value may hold several, separated by commas.
    pub fn vias(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first_via).chain(&self.further_vias).map(|span| self.value(*span))
    }

    /// The From header; its tag may be missing.
    pub fn from(&self) -> &str {
        self.value(self.from)
    }

    /// The tag of the caller, which a few phones leave out.
    pub fn from_tag(&self) -> Option<&str> {
        tag(self.from())
    }

    /// The To header; without a tag, or it would not be a new dialog.
    pub fn to(&self) -> &str {
        self.value(self.to)
    }

    /// The dialog's name, chosen by the phone.
    pub fn call_id(&self) -> &str {
        self.value(self.call_id)
    }

    /// The number of the request; 1, 10 and 20000 have been seen.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// The URI of the Contact, without display name, brackets and header parameters.
    pub fn contact(&self) -> Option<&str> {
        Some(self.value(self.contact)).filter(|uri| !uri.is_empty())
    }

    /// The Event header.
    pub fn event(&self) -> &str {
        self.value(self.event)
    }

    /// The Event header, read.
    pub fn ua_profile(&self) -> UaProfile {
        UaProfile::read(self.event())
    }

    /// Vendor, model and firmware, on most phones.
    pub fn user_agent(&self) -> Option<&str> {
        Some(self.value(self.user_agent)).filter(|agent| !agent.is_empty())
    }

    /// 0 on every phone seen: one answer is wanted, no subscription.
    pub fn expires(&self) -> Option<u32> {
        self.expires
    }

    /// Whether texts were Latin-1, so that answers must be.
    pub(crate) fn is_latin1(&self) -> bool {
        self.latin1
    }

    /// The branch of the first Via, which snom desk phones leave out.
    pub fn branch(&self) -> Option<&str> {
        branch(self.value(self.first_via))
    }

    /// The MAC that the phone says is its own, in whichever of the usual places and spellings. `None` where there is
    /// none (`AudioCodes`), or where it is no device's address.
    pub fn claimed_mac(&self) -> Option<Mac> {
        self.users()
            .find_map(|user| named_mac(&unescape(user)))
            // Without "MAC" before it only in the request's own URI: elsewhere twelve digits may be a telephone number.
            .or_else(|| user_part(self.request_uri()).and_then(|user| unescape(user).parse().ok()))
            .or_else(|| self.user_agent().and_then(mac_in_words))
    }

    /// Everything that tells which phone this is, for the vendor profiles.
    pub fn clues(&self) -> Vec<Clue> {
        let mut users: Vec<&str> = Vec::with_capacity(4);
        for user in self.users() {
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let mut clues: Vec<Clue> = users.into_iter().map(|user| Clue::new(Source::SipUri, user)).collect();
        clues.push(Clue::new(Source::SipEvent, self.event()));
        clues.extend(self.user_agent().map(|agent| Clue::new(Source::SipUserAgent, agent)));
        clues
    }

    /// The user parts of the URIs as written, the request's first.
    pub(crate) fn users(&self) -> impl Iterator<Item = &str> {
        [self.request_uri(), sip::uri(self.to()), sip::uri(self.from())]
            .into_iter()
            .chain(self.contact())
            .filter_map(user_part)
    }
}

impl UaProfile {
    fn read(value: &str) -> Self {
        let mut profile = Self::default();
        for (name, text) in sip::split_top(value, ';').skip(1).filter_map(|piece| piece.split_once('=')) {
            let text = Some(sip::unquote(text).to_owned()).filter(|text| !text.is_empty());
            match name.trim().to_ascii_lowercase().as_str() {
                "profile-type" => profile.profile_type = text,
                "vendor" | "vender" => profile.vendor = text,
                "model" => profile.model = text,
                "version" => profile.version = text,
                _ => {}
            }
        }
        profile
    }
}

fn is_ua_profile(event: &str) -> bool {
    event.split(';').next().is_some_and(|package| package.trim().eq_ignore_ascii_case("ua-profile"))
}

/// The number in `CSeq`; what stands behind it is not looked at.
fn cseq(wire: &Wire<'_>) -> Result<u32, MessageError> {
    let value = wire.header("CSeq").ok_or(MessageError::Missing("CSeq"))?;
    sip::number(value).ok_or(MessageError::CSeq)
}

/// No Accept header is taken for consent: the package's default type would be of no use to any desk phone.
fn accepts_url(wire: &Wire<'_>) -> bool {
    let mut types = wire.all("Accept").flat_map(|value| value.split(',')).peekable();
    types.peek().is_none()
        || types.any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            ["application/url", "application/*", "*/*"].iter().any(|known| known.eq_ignore_ascii_case(range))
        })
}

/// The tag of a From or To value; not a `tag` parameter inside the URI.
fn tag(value: &str) -> Option<&str> {
    sip::parameter(value, "tag").filter(|tag| !tag.is_empty())
}

/// The branch of the first Via in a value that may hold several.
fn branch(via: &str) -> Option<&str> {
    let first = sip::split_top(via, ',').next()?;
    sip::parameter(first, "branch").filter(|branch| !branch.is_empty())
}

/// What stands between the scheme and the `@`; the whole rest where there is no `@`, because there are phones that write
/// `sip:MAC%3a00135E874B49` without a host.
fn user_part(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") && !scheme.eq_ignore_ascii_case("sips") {
        return None;
    }
    match rest.rsplit_once('@') {
        Some((user, _)) => Some(user).filter(|user| !user.is_empty()),
        None => rest.split([';', '?']).next().filter(|rest| named_mac(&unescape(rest)).is_some()),
    }
}

/// Percent escapes as the ASCII characters they stand for; others stay as they are.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let escaped = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped.filter(u8::is_ascii_graphic) {
            plain.push(char::from(byte));
            rest = after.get(2..).unwrap_or_default();
        } else {
            plain.push('%');
            rest = after;
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// `MAC:001565…`, `MAC001565…` or `MAC=001565…`, in any case and with any separators.
fn named_mac(user: &str) -> Option<Mac> {
    let (name, rest) = user.split_at_checked(3)?;
    if !name.eq_ignore_ascii_case("mac") {
        return None;
    }
    let rest = rest.trim_start_matches([':', '=', '-', '_', ' ']);
    // Behind the address a phone may add what it likes.
    [rest.len(), 17, 14, 12].iter().find_map(|length| rest.get(..*length)?.parse().ok())
}

/// The first word that is a MAC: several vendors end their User-Agent with it.
fn mac_in_words(text: &str) -> Option<Mac> {
    text.split([' ', ';', '(', ')', '[', ']', ','])
        .filter(|word| word.len() >= 12)
        .find_map(|word| word.trim_start_matches("MAC:").parse().ok())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What must be read from the real messages in tests/captures; see sip.toml there.
    #[derive(Deserialize)]
    struct Captures {
        subscribe: Vec<Capture>,
        other: Vec<NoSubscribe>,
    }

    #[derive(Deserialize)]
    struct Capture {
        file: String,
        request_uri: String,
        via: String,
        from_tag: Option<String>,
        branch: Option<String>,
        call_id: String,
        cseq: u32,
        contact: String,
        profile_type: String,
        vendor: Option<String>,
        model: String,
        version: String,
        user_agent: Option<String>,
        mac: Option<String>,
        users: Vec<String>,
    }

    #[derive(Deserialize)]
    struct NoSubscribe {
        file: String,
        status: Option<u16>,
        call_id: Option<String>,
    }

    fn folder() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
    }

    fn captures() -> Captures {
        toml::from_str(&std::fs::read_to_string(folder().join("sip.toml")).unwrap()).unwrap()
    }

    #[test]
    fn every_captured_subscribe_is_read_as_its_phone_meant_it() {
        for expected in captures().subscribe {
            let name = &expected.file;
            let read = Subscribe::parse(&std::fs::read(folder().join(name)).unwrap()).unwrap();
            assert_eq!(read.request_uri(), expected.request_uri, "{name}");
            assert_eq!(read.vias().collect::<Vec<_>>(), [expected.via], "{name}");
            assert_eq!(read.from_tag(), expected.from_tag.as_deref(), "{name}");
            assert_eq!(read.branch(), expected.branch.as_deref(), "{name}");
            assert_eq!((read.call_id(), read.cseq()), (expected.call_id.as_str(), expected.cseq), "{name}");
            assert_eq!(read.contact(), Some(expected.contact.as_str()), "{name}");
            assert_eq!(read.ua_profile().profile_type, Some(expected.profile_type), "{name}");
            assert_eq!(read.ua_profile().vendor, expected.vendor, "{name}");
            assert_eq!(read.ua_profile().model, Some(expected.model), "{name}");
            assert_eq!(read.ua_profile().version, Some(expected.version), "{name}");
            assert_eq!(read.user_agent(), expected.user_agent.as_deref(), "{name}");
            assert_eq!(read.claimed_mac().map(Mac::bare), expected.mac, "{name}");
            assert_eq!(read.expires(), Some(0), "{name}");
            let users = read.clues().into_iter().filter(|clue| clue.source == Source::SipUri);
            assert_eq!(users.map(|clue| clue.text).collect::<Vec<_>>(), expected.users, "{name}");
        }
    }

    #[test]
    fn every_capture_is_listed() {
        let Captures { subscribe, other } = captures();
        let listed = subscribe.into_iter().map(|row| row.file).chain(other.into_iter().map(|row| row.file));
        let listed: std::collections::BTreeSet<String> = listed.collect();
        let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
        let sip = files.filter(|path| path.extension().is_some_and(|extension| extension == "sip"));
        let there = sip.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        assert_eq!(there.collect::<std::collections::BTreeSet<_>>(), listed);
    }

    #[test]
    fn captured_answers_and_notifies_are_told_from_subscribes() {
        for expected in captures().other {
            let name = &expected.file;
            let read = Message::parse(&std::fs::read(folder().join(name)).unwrap()).unwrap();
            let status = match &read {
                Message::Response(response) => Some(response.status),
                Message::Subscribe(_) | Message::Other => None,
            };
            assert_eq!(status, expected.status, "{name}");
            if let Message::Response(response) = read {
                assert_eq!(Some(response.call_id), expected.call_id, "{name}");
            }
            let bytes = std::fs::read(folder().join(name)).unwrap();
            assert!(matches!(Subscribe::parse(&bytes), Err(MessageError::NotSip(_))), "{name}");
        }
    }

    const PLAIN: &str = "SUBSCRIBE sip:MAC%3a001565AABBCC@224.0.1.75 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK7;rport\r\n\
        From: <sip:MAC%3a001565AABBCC@224.0.1.75>;tag=7\r\n\
        To: <sip:MAC%3a001565AABBCC@224.0.1.75>\r\n\
        Call-ID: 7@192.0.2.7\r\n\
        CSeq: 1 SUBSCRIBE\r\n\
        Contact: <sip:192.0.2.7:5060>\r\n\
        Event: ua-profile;profile-type=\"device\";vendor=\"Yealink\";model=\"T46U\";version=\"108.86.0.90\"\r\n\
        Expires: 0\r\n\
        Accept: application/url\r\n\
        Content-Length: 0\r\n\
        \r\n";

    /// PLAIN with one text replaced by another.
    fn with(old: &str, new: &str) -> Result<Subscribe, MessageError> {
        assert!(PLAIN.contains(old), "{old}");
        Subscribe::parse(PLAIN.replace(old, new).as_bytes())
    }

    #[test]
    fn odd_forms_are_read_like_the_plain_one() {
        let plain = Subscribe::parse(PLAIN.as_bytes()).unwrap();
        let check =
            |what: &str, old: &str, new: &str| assert_eq!(with(old, new), Ok(plain.clone()), "{what}");
        check("bare LF", "\r\n", "\n");
        check("bare CR", "\r\n", "\r");
        check("text-mode line ends", "\r\n", "\r\r\n");
        check("no last blank line", "Content-Length: 0\r\n\r\n", "Content-Length: 0");
        check("LF at the end only", "Content-Length: 0\r\n\r\n", "Content-Length: 0\r\n\n");
        check("blank lines before", "SUBSCRIBE sip", "\r\n\r\nSUBSCRIBE sip");
        check("NULs before", "SUBSCRIBE sip", "\0\0SUBSCRIBE sip");
        check("NULs after", "Length: 0\r\n\r\n", "Length: 0\r\n\0\0\0");
        check("byte order mark", "SUBSCRIBE sip", "\u{feff}SUBSCRIBE sip");
        check("lower-case method", "SUBSCRIBE sip", "Subscribe sip");
        check("compact Via", "Via:", "v:");
        check("compact From", "From:", "f:");
        check("compact To", "To:", "t :");
        check("compact Call-ID", "Call-ID:", "i:");
        check("compact Contact", "Contact:", "m:");
        check("compact Event", "Event:", "O:");
        check("compact Content-Length", "Content-Length:", "l:");
        check("other case", "Call-ID:", "CALL-id:");
        check("space before the colon", "Event:", "Event :");
        check("no space after the colon", "Event: ", "Event:");
        check("folded", "From: <", "From:\r\n  <");
        check("folded by a tab", "CSeq: 1 SUB", "CSeq:\t1\r\n\tSUB");
        check("junk line", "Event:", "junk\r\nEvent:");
        check("unknown headers", "Event:", "X-Odd: \u{1F4DE}\r\nEvent:");
        check("Contact with a name", "Contact: <", "Contact: \"a <phone>\" <");
        check("bare Contact", "Contact: <sip:192.0.2.7:5060>", "Contact: sip:192.0.2.7:5060;expires=0");
        check("no Accept", "Accept: application/url\r\n", "");
        check("Accept list", "Accept: application/url", "Accept: text/plain, Application/URL;q=1");
        check("CSeq without blank", "CSeq: 1 SUBSCRIBE", "CSeq: 1SUBSCRIBE");
        check("empty header", "Expires: 0", "Expires:\r\nExpires: 0");
        check("body", "Length: 0\r\n\r\n", "Length: 9\r\n\r\nVia: nope");
    }

    #[test]
    fn every_spelling_of_the_event_is_read() {
        let check = |value: &str, expected: [Option<&str>; 3]| {
            let event = UaProfile::read(value);
            assert_eq!(
                [event.vendor, event.model, event.version],
                expected.map(|text| text.map(str::to_owned)),
                "{value}"
            );
        };
        let all = [Some("Panasonic"), Some("KX-HDV130"), Some("08.180")];
        check(
            r#"ua-profile;profile-type="device";vender="Panasonic";model="KX-HDV130";version="08.180""#,
            all,
        );
        check(r#"UA-Profile ; version = 08.180 ; MODEL='KX-HDV130';vendor="Panasonic"#, all);
        check(r#"ua-profile;vendor="";model="a;b""#, [None, Some("a;b"), None]);
        check("ua-profile", [None, None, None]);
        assert!(is_ua_profile("UA-Profile ;x") && !is_ua_profile("presence"));
        assert!(!is_ua_profile("ua-profiles;x=y"));
    }

    #[test]
    fn every_spelling_of_the_mac_is_read() {
        let check = |uri: &str, expected: Option<&str>| {
            let subscribe = with("sip:MAC%3a001565AABBCC@224.0.1.75", uri).unwrap();
            assert_eq!(subscribe.claimed_mac().map(Mac::bare).as_deref(), expected, "{uri}");
        };
        let mac = Some("001565aabbcc");
        check("sip:MAC%3a001565AABBCC@intern.example", mac);
        check("sip:MAC%3A001565aabbcc@local", mac);
        check("sip:MAC001565aabbcc@224.0.1.75", mac);
        check("sip:MAC=001565aabbcc@224.0.1.75", mac);
        check("sip:mac:00:15:65:aa:bb:cc@224.0.1.75", mac);
        check("sip:MAC%3a00%3A15%3A65%3Aaa%3Abb%3Acc@224.0.1.75", mac);
        check("sip:MAC-00-15-65-AA-BB-CC@224.0.1.75", mac);
        check("sip:MAC%3a001565AABBCC", mac);
        check("sip:MAC%3a001565AABBCC;x=y", mac);
        check("sip:001565aabbcc@224.0.1.75", mac);
        check("sip:MAC%3a001565AABBCC-2@local", mac);
        check("sip:MAC%3a001565AABB@local", None);
        check("sip:MAC%3a000000000000@local", None);
        check("sip:MAC%3a01005e00014b@local", None);
        check("sip:MAC%3a%zz%@local", None);
        check("sip:224.0.1.75:5060", None);
        check("tel:001565aabbcc", None);
        check("x", None);
    }

    #[test]
    fn the_mac_is_found_elsewhere_when_the_request_does_not_carry_it() {
        let check = |what: &str, request: &str, from: &str, agent: &str, expected: Option<&str>| {
            let message = PLAIN
                .replacen("sip:MAC%3a001565AABBCC@224.0.1.75", request, 1)
                .replacen("sip:MAC%3a001565AABBCC@224.0.1.75", from, 1)
                .replacen("<sip:MAC%3a001565AABBCC@224.0.1.75>", "<sip:224.0.1.75>", 1)
                .replace("Expires", &format!("User-Agent: {agent}\r\nExpires"));
            let mac = Subscribe::parse(message.as_bytes()).unwrap().claimed_mac();
            assert_eq!(mac.map(Mac::bare).as_deref(), expected, "{what}");
        };
        let mac = Some("001565aabbcc");
        check("in From", "sip:224.0.1.75:5060", "sip:MAC%3a001565AABBCC@x", "none", mac);
        check("a telephone number in From", "sip:224.0.1.75:5060", "sip:004912345678@x", "none", None);
        check(
            "Yealink's agent",
            "sip:224.0.1.75",
            "sip:x",
            "Yealink SIP-T46U 108.86.0.90 00:15:65:aa:bb:cc",
            mac,
        );
        check("Fanvil's agent", "sip:224.0.1.75", "sip:x", "Fanvil X4 2.10.2.6887 001565aabbcc", mac);
        check(
            "Panasonic's agent",
            "sip:224.0.1.75",
            "sip:x",
            "Panasonic_KX-UT113/01.133 (001565aabbcc)",
            mac,
        );
    }

    #[test]
    fn what_is_not_for_us_says_why() {
        let check = |what: &str, old: &str, new: &str, expected: MessageError| {
            assert_eq!(with(old, new), Err(expected), "{what}");
        };
        check("no Via", "Via:", "X-Via:", MessageError::Missing("Via"));
        check("no From", "From:", "X-From:", MessageError::Missing("From"));
        check("no To", "To:", "X-To:", MessageError::Missing("To"));
        check("no Call-ID", "Call-ID:", "X-Call-ID:", MessageError::Missing("Call-ID"));
        check("no CSeq", "CSeq:", "X-CSeq:", MessageError::Missing("CSeq"));
        check("CSeq without number", "CSeq: 1", "CSeq: one", MessageError::CSeq);
        check("CSeq over 32 bits", "CSeq: 1", "CSeq: 4294967296", MessageError::CSeq);
        check("no Event", "Event:", "X-Event:", MessageError::Missing("Event"));
        check("another event", "ua-profile", "message-summary", MessageError::OtherEvent);
        check(
            "in a dialog",
            "To: <sip:MAC%3a001565AABBCC@224.0.1.75>",
            "To: <sip:x@y>;tag=9",
            MessageError::InDialog,
        );
        check("other types only", "application/url", "message/external-body", MessageError::NoUrlAccepted);
        check("HTTP", " SIP/2.0\r\nVia", " HTTP/1.1\r\nVia", MessageError::NotSip("the first line"));
        assert_eq!(Subscribe::parse(b"\r\n\r\n"), Err(MessageError::Empty));
        assert_eq!(Subscribe::parse(&[0; 4]), Err(MessageError::Empty));
        let long = format!("{PLAIN}{}", "x".repeat(DATAGRAM_BYTES_MAX));
        assert_eq!(Subscribe::parse(long.as_bytes()), Err(MessageError::TooLong(long.len())));
        assert!(matches!(Message::parse(b"OPTIONS sip:a SIP/2.0\r\n\r\n"), Ok(Message::Other)));
    }
}
