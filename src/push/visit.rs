//! A visit to a phone's web interface, as its profile writes it: gives the requests one after the other, takes in what was
//! answered, and says at which step the phone refused. Never sends, never waits. What a phone answers is used for nothing
//! but the words that the profile takes out of it, short ones without control characters.

mod digest;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use md5::Md5;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use self::digest::Challenge;
use crate::hex::hex;
use crate::net::sip::PRODUCT;
use crate::profile::{Digesting, Mention, Payload, Phrase, Stage, Visit, VisitStep, WebAnswer};
use crate::secret::Secret;

/// Characters of a word that is taken out of an answer, or of a cookie: sessions and nonces have 64 at most.
const WORD_CHARS_MAX: usize = 256;
/// Cookies of one visit; nobody sets more than three.
const COOKIES_MAX: usize = 8;

/// A password that may be tried.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The password.
    pub password: Secret,
    /// Whether it is this phone's own: then it leaves only within a digest. Otherwise it is one that phones are sold with,
    /// and everybody knows it.
    pub own: bool,
}

/// Where the phone is pointed, and what else a visit needs to know.
#[derive(Debug, Clone)]
pub struct Aims {
    /// The phone's address.
    pub phone: Ipv4Addr,
    /// The URL for the phone; as secret as a token in it.
    pub url: Secret,
    /// Milliseconds, for pages that a phone would take from its cache.
    pub now_ms: i64,
    /// Random, hexadecimal.
    pub cnonce: String,
}

/// What shall happen next.
#[derive(Debug)]
pub enum Next {
    /// Send this, and tell what was heard.
    Send(Request),
    /// It is over.
    Over(Result<(), Refusal>),
}

/// A request, on a connection of its own.
#[derive(Debug)]
pub struct Request {
    /// Head and body, which leave in one write: there are phones that read once.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its name for people.
    pub step: String,
    /// What it is for.
    pub stage: Stage,
    /// The first request of an attempt that proves a password: `Some(true)` where it is the phone's own.
    pub proves: Option<bool>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Heard<'b> {
    /// An answer, or as much as came of it.
    Answer(WebAnswer<'b>),
    /// The connection ended without one.
    Dropped,
    /// There was no connection, or nothing came within its time.
    Nothing,
}

/// At which step a phone did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The step.
    pub stage: Stage,
    /// Its name.
    pub step: String,
    /// What happened.
    pub why: Why,
}

/// Why a visit ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Another interface than this.
    Other,
    /// A code that was not expected.
    Status(u16),
    /// The answer does not say what it should.
    Words,
    /// The password was not the right one; the last of those that may be tried.
    WrongPassword,
    /// Too many wrong passwords: nobody is let in.
    Locked,
    /// It asks for a password, and there is none to try.
    NoPassword,
    /// It takes the phone's own password only as it is.
    Clear,
    /// No answer.
    NoAnswer,
    /// Something that cannot be written where it belongs.
    Unfit(String),
}

/// A visit under way.
pub struct Visitor<'v> {
    visit: &'v Visit,
    /// What is known from the start.
    words: BTreeMap<&'static str, Zeroizing<String>>,
    phone: Ipv4Addr,
    cnonce: String,
    credentials: VecDeque<Credential>,
    session: Session,
    at: usize,
    ended: Option<Result<(), Refusal>>,
}

/// What the phone gave, until another password is tried.
#[derive(Default)]
struct Session {
    words: BTreeMap<String, Zeroizing<String>>,
    cookies: Vec<(String, String)>,
    challenge: Option<Challenge>,
    /// What is sent on the next request of the same step answers the challenge that has just come.
    answers: bool,
    /// Whether a password was proved in this attempt.
    proved: bool,
    /// Whether something was asked that there may be to leave.
    entered: bool,
}

impl<'v> Visitor<'v> {
    /// Before the first request. Passwords are tried in this order, each once.
    pub fn new(visit: &'v Visit, aims: &Aims, credentials: Vec<Credential>) -> Self {
        let mut words = url_words(&aims.url);
        words.insert("phone", Zeroizing::new(aims.phone.to_string()));
        words.insert("now", Zeroizing::new(aims.now_ms.to_string()));
        words.insert("user", Zeroizing::new(visit.user.clone()));
        Self {
            visit,
            words,
            phone: aims.phone,
            cnonce: aims.cnonce.clone(),
            credentials: credentials.into(),
            session: Session::default(),
            at: 0,
            ended: None,
        }
    }

    /// What to do now.
    pub fn next_command(&mut self) -> Next {
        loop {
            let visit = self.visit;
            let Some(step) = visit.steps.get(self.at) else {
                return Next::Over(self.ended.clone().unwrap_or(Ok(())));
            };
            match self.request(step) {
                Ok(request) => return Next::Send(request),
                Err(why) => self.fail(step, why),
            }
        }
    }

    /// Takes in what was heard of the request that was given last.
    pub fn handle(&mut self, heard: &Heard<'_>) {
        let visit = self.visit;
        let Some(step) = visit.steps.get(self.at) else { return };
        if step.stage > Stage::Look {
            self.session.entered = true;
        }
        match self.judge(step, heard) {
            Ok(Verdict::Good) => {
                self.session.answers = false;
                self.at += 1;
            }
            Ok(Verdict::Again) => {}
            Err(Why::WrongPassword) => self.wrong(step),
            Err(why) => self.fail(step, why),
        }
    }

    /// How many passwords were found wrong so far is what is missing of those that were given.
    pub fn passwords_left(&self) -> usize {
        self.credentials.len()
    }

    /// The next password, if there is one, from the first step of the login on.
    fn wrong(&mut self, step: &VisitStep) {
        self.credentials.pop_front();
        if self.credentials.is_empty() {
            return self.fail(step, Why::WrongPassword);
        }
        self.session = Session { entered: true, ..Session::default() };
        self.at = self.visit.first_of(Stage::Login);
    }

    /// Whoever was let in leaves, whatever has happened; how that goes changes nothing any more.
    fn fail(&mut self, step: &VisitStep, why: Why) {
        self.session.answers = false;
        if step.stage == Stage::Leave {
            self.at += 1;
            return;
        }
        self.ended = Some(Err(Refusal { stage: step.stage, step: step.name(), why }));
        let leave = self.visit.first_of(Stage::Leave);
        self.at = if self.session.entered { leave } else { self.visit.steps.len() };
    }

    fn judge(&mut self, step: &VisitStep, heard: &Heard<'_>) -> Result<Verdict, Why> {
        let answer = match heard {
            Heard::Answer(answer) => answer,
            Heard::Dropped if step.dropped => return Ok(Verdict::Good),
            Heard::Dropped | Heard::Nothing => return Err(Why::NoAnswer),
        };
        self.keep_cookies(answer);
        if step.auth && answer.status() == 401 {
            return self.challenged(answer);
        }
        let body = String::from_utf8_lossy(answer.body());
        if step.locked.as_ref().is_some_and(|pattern| pattern.is_match(&body)) {
            return Err(Why::Locked);
        }
        if step.wrong.as_ref().is_some_and(|pattern| pattern.is_match(&body)) {
            return Err(Why::WrongPassword);
        }
        let unlike = |why: Why| if step.stage == Stage::Look { Why::Other } else { why };
        if !step.status.contains(&answer.status()) {
            return Err(unlike(Why::Status(answer.status())));
        }
        let is_headed =
            step.head.as_ref().is_none_or(|pattern| answer.lines().any(|line| pattern.is_match(&line)));
        let has = step.has.as_ref().is_none_or(|pattern| pattern.is_match(&body));
        let lacks = step.lacks.as_ref().is_none_or(|pattern| !pattern.is_match(&body));
        if !(is_headed && has && lacks) {
            return Err(unlike(Why::Words));
        }
        for (name, pattern) in &step.take {
            let found = pattern.captures(&body).and_then(|groups| groups.get(1)).map(|group| group.as_str());
            let word = found.filter(|word| is_short(word)).ok_or(Why::Words)?;
            self.session.words.insert(name.clone(), Zeroizing::new(word.to_owned()));
        }
        Ok(Verdict::Good)
    }

    /// A password is asked for: the challenge is answered once. A nonce that has only become too old is another matter.
    fn challenged(&mut self, answer: &WebAnswer<'_>) -> Result<Verdict, Why> {
        let before = self.session.challenge.take();
        let challenges: Vec<&str> = answer.header("www-authenticate").collect();
        let challenge = Challenge::choose(&challenges).ok_or(Why::Status(401))?;
        if self.session.answers && !challenge.is_stale() {
            return Err(Why::WrongPassword);
        }
        let is_basic = challenge.is_basic();
        if is_basic && before.is_some_and(|before| before.is_basic()) {
            return Err(Why::WrongPassword);
        }
        let credential = self.credentials.front().ok_or(Why::NoPassword)?;
        if credential.own && is_basic {
            return Err(Why::Clear);
        }
        self.session.challenge = Some(challenge);
        self.session.answers = true;
        Ok(Verdict::Again)
    }

    fn keep_cookies(&mut self, answer: &WebAnswer<'_>) {
        for set in answer.header("set-cookie") {
            let pair = set.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || !is_short(name) || !is_short(value) {
                continue;
            }
            let cookies = &mut self.session.cookies;
            cookies.retain(|(held, _)| held != name);
            if cookies.len() < COOKIES_MAX {
                cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn request(&mut self, step: &VisitStep) -> Result<Request, Why> {
        let mention = step.has_word("password");
        let says = mention != Mention::Not;
        if says {
            let credential = self.credentials.front().ok_or(Why::NoPassword)?;
            if credential.own && mention == Mention::AsItIs {
                return Err(Why::Clear);
            }
        }
        self.make(step)?;
        let target = self.filled(&step.target, percent)?;
        let mut head = Zeroizing::new(format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {PRODUCT}\r\nAccept: */*\r\nConnection: close\r\n",
            step.method, *target, self.phone
        ));
        let mut header = |name: &str, value: &str| {
            if value.chars().any(char::is_control) {
                return Err(Why::Unfit(name.to_owned()));
            }
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
            Ok(())
        };
        for (name, phrase) in &step.headers {
            header(name, &self.filled(phrase, str::to_owned)?)?;
        }
        if !self.session.cookies.is_empty() && !step.headers.iter().any(|(name, _)| name == "Cookie") {
            let pairs: Vec<String> =
                self.session.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            header("Cookie", &pairs.join("; "))?;
        }
        let authorization = self.authorization(step, &target);
        if let Some(value) = &authorization {
            header("Authorization", value)?;
        }
        let body = self.body(step)?;
        if let Some((kind, body)) = &body {
            header("Content-Type", kind)?;
            header("Content-Length", &body.len().to_string())?;
        } else if step.method != "GET" {
            header("Content-Length", "0")?;
        }
        head.push_str("\r\n");
        let mut bytes = Zeroizing::new(head.as_bytes().to_vec());
        if let Some((_, body)) = &body {
            bytes.extend_from_slice(body.as_bytes());
        }
        let is_first = (says || authorization.is_some()) && !self.session.proved;
        self.session.proved |= is_first;
        let proves = self.credentials.front().filter(|_| is_first).map(|credential| credential.own);
        Ok(Request { bytes, step: step.name(), stage: step.stage, proves })
    }

    /// The words that are digests of others.
    fn make(&mut self, step: &VisitStep) -> Result<(), Why> {
        for (name, digesting, phrase) in &step.make {
            let text = self.filled(phrase, str::to_owned)?;
            let digest = match digesting {
                Digesting::Md5 => hex(&Md5::digest(text.as_bytes())),
                Digesting::Sha256 => hex(&Sha256::digest(text.as_bytes())),
            };
            self.session.words.insert(name.clone(), Zeroizing::new(digest));
        }
        Ok(())
    }

    fn authorization(&mut self, step: &VisitStep, target: &str) -> Option<Zeroizing<String>> {
        let challenge = self.session.challenge.as_mut().filter(|_| step.auth)?;
        let credential = self.credentials.front()?;
        Some(challenge.answer(&self.visit.user, &credential.password, (step.method, target), &self.cnonce))
    }

    fn body(&self, step: &VisitStep) -> Result<Option<(String, Zeroizing<String>)>, Why> {
        Ok(match &step.body {
            None => None,
            Some(Payload::Form(fields)) => {
                let mut form = Zeroizing::new(String::new());
                for (name, phrase) in fields {
                    let value = self.filled(phrase, str::to_owned)?;
                    if !form.is_empty() {
                        form.push('&');
                    }
                    form.extend(form_urlencoded::byte_serialize(name.as_bytes()));
                    form.push('=');
                    form.extend(form_urlencoded::byte_serialize(value.as_bytes()));
                }
                Some(("application/x-www-form-urlencoded".to_owned(), form))
            }
            Some(Payload::Text(phrase, kind)) if phrase.is_json() => {
                Some((kind.clone(), self.filled(phrase, json)?))
            }
            Some(Payload::Text(phrase, kind)) => {
                let text = self.filled(phrase, str::to_owned)?;
                Some((kind.clone(), Zeroizing::new(text.replace('\n', "\r\n"))))
            }
        })
    }

    fn filled(&self, phrase: &Phrase, escape: fn(&str) -> String) -> Result<Zeroizing<String>, Why> {
        let mut missing = None;
        let filled = phrase.filled(|word| {
            let known = match word {
                "password" => self.credentials.front().map(|held| escape(held.password.expose())),
                _ => self.words.get(word).or_else(|| self.session.words.get(word)).map(|text| escape(text)),
            };
            if known.is_none() {
                missing = Some(word.to_owned());
            }
            known
        });
        filled.map(Zeroizing::new).ok_or_else(|| Why::Unfit(missing.unwrap_or_default()))
    }
}

/// What an answer comes to.
enum Verdict {
    /// On to the next step.
    Good,
    /// The same step again, now with a proof.
    Again,
}

/// The URL, and its parts.
fn url_words(url: &Secret) -> BTreeMap<&'static str, Zeroizing<String>> {
    let whole = url.expose();
    let (scheme, bare) = whole.split_once("://").unwrap_or(("", whole));
    let (authority, path) = bare.split_once('/').unwrap_or((bare, ""));
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, usual_port(scheme)));
    let words = [
        ("url", whole),
        ("url_scheme", scheme),
        ("url_host", host),
        ("url_port", port),
        ("url_path", path.trim_end_matches('/')),
        ("url_bare", bare.trim_end_matches('/')),
    ];
    words.into_iter().map(|(name, text)| (name, Zeroizing::new(text.to_owned()))).collect()
}

fn usual_port(scheme: &str) -> &'static str {
    match scheme {
        "https" => "443",
        "tftp" => "69",
        _ => "80",
    }
}

/// As it stands in a path or a query (RFC 3986 section 2.3).
fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    escaped
}

/// As it stands within the quotes of a JSON text.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn is_short(text: &str) -> bool {
    !text.is_empty() && text.len() <= WORD_CHARS_MAX && !text.chars().any(|c| c.is_control() || c == ';')
}

impl Refusal {
    /// What happened, in a sentence.
    pub fn said(&self) -> String {
        let step = &self.step;
        match &self.why {
            Why::Other => format!("its web page is another one ({step})"),
            Why::Status(status) => format!("its web page answered {status} ({step})"),
            Why::Words => format!("its web page did not answer as expected ({step})"),
            Why::WrongPassword => format!("its web page did not take the password ({step})"),
            Why::Locked => format!("its web page is locked after wrong passwords ({step})"),
            Why::NoPassword => format!("its web page asks for a password, and none may be tried ({step})"),
            Why::Clear => {
                format!("its web page takes its password only in the clear, so it was not sent ({step})")
            }
            Why::NoAnswer => format!("its web page did not answer ({step})"),
            Why::Unfit(what) => format!("what it gave cannot be used: {what} ({step})"),
        }
    }
}

#[cfg(test)]
mod tests;
