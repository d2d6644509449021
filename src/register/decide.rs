//! What became of a REGISTER (RFC 3261, section 10): registered, given up, refused, or not answered. Never waits, never
//! reads a clock.
//!
//! 1. A question and its answer have one Call-ID and one `CSeq`.
//! 2. A 401 or 407 to a question without a credential, or with a stale nonce, is only a challenge (section 22; RFC 7616,
//!    3.3): the phone asks again, and nothing is told. To any other it is a refusal.
//! 3. A 2xx to `Expires: 0` or to a Contact with `expires=0` is the end of a registration.
//! 4. Without any answer within 32 s (Timer F) the registrar is silent.
//! 5. The same of the same account is told once an hour.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::device::{Mac, Step};
use crate::net::sip::{self, Start, Wire};

/// Timer F of RFC 3261.
const SILENT_AFTER: Duration = Duration::from_secs(32);
/// The same is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_hours(1);
/// Questions without an answer, and accounts, that are remembered: phones of one LAN that all boot at once.
const QUESTIONS_MAX: usize = 16_384;
const ACCOUNTS_MAX: usize = 16_384;
/// Longer user names are nobody's.
const USER_CHARS_MAX: usize = 64;

/// Questions that wait for their answer, and what was told of each account.
#[derive(Debug, Default)]
pub struct Watch {
    waiting: HashMap<Key, Question>,
    told: HashMap<(Mac, String), (Step, u16, Instant)>,
}

type Key = (String, String);

#[derive(Debug)]
struct Question {
    phone: Mac,
    from: SocketAddrV4,
    registrar: SocketAddrV4,
    user: String,
    /// It carries a credential.
    authorised: bool,
    /// It ends a registration.
    ends: bool,
    since: Instant,
    /// There was a provisional answer, or a challenge.
    heard: bool,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whose.
    pub phone: Mac,
    /// From where it asked.
    pub from: SocketAddrV4,
    /// `registered`, `unregistered`, `rejected` or `unanswered`.
    pub step: Step,
    /// The same for a person.
    pub outcome: String,
}

/// Whether a datagram may be about a registration: cheap enough for every datagram of a busy PBX.
pub fn is_about_registration(datagram: &[u8]) -> bool {
    let is_answer = || datagram.starts_with(b"SIP/2.0 ") && holds(datagram, b"REGISTER");
    datagram.starts_with(b"REGISTER ") || is_answer()
}

fn holds(datagram: &[u8], word: &[u8]) -> bool {
    datagram.windows(word.len()).any(|window| window == word)
}

impl Watch {
    /// A datagram on its way; `phone`: whose it is, where who put it on the link is a phone of ours.
    pub fn hear(
        &mut self,
        datagram: &[u8],
        phone: Option<Mac>,
        from: SocketAddrV4,
        to: SocketAddrV4,
        now: Instant,
    ) -> Option<News> {
        let (text, _) = sip::text(datagram);
        let wire = Wire::read(&text).ok()?;
        let key = (wire.header("Call-ID")?.to_owned(), wire.header("CSeq")?.to_owned());
        match &wire.start {
            Start::Request { method, .. } if *method == "REGISTER" => {
                self.ask(key, &wire, phone?, from, to, now);
                None
            }
            Start::Response { status } if key.1.contains("REGISTER") => {
                self.answer(&key, *status, &wire, now)
            }
            Start::Request { .. } | Start::Response { .. } => None,
        }
    }

    fn ask(
        &mut self,
        key: Key,
        wire: &Wire<'_>,
        phone: Mac,
        from: SocketAddrV4,
        to: SocketAddrV4,
        now: Instant,
    ) {
        if self.waiting.len() >= QUESTIONS_MAX {
            return;
        }
        let Some(user) = wire.header("To").and_then(user_of) else { return };
        let authorised =
            ["Authorization", "Proxy-Authorization"].iter().any(|name| wire.header(name).is_some());
        let contact_ends = |contact: &str| sip::parameter(contact, "expires") == Some("0");
        let ends =
            wire.header("Expires").map(str::trim) == Some("0") || wire.all("Contact").any(contact_ends);
        let question =
            Question { phone, from, registrar: to, user, authorised, ends, since: now, heard: false };
        // A repetition changes nothing.
        self.waiting.entry(key).or_insert(question);
    }

    fn answer(&mut self, key: &Key, status: u16, wire: &Wire<'_>, now: Instant) -> Option<News> {
        if status < 200 {
            if let Some(question) = self.waiting.get_mut(key) {
                question.heard = true;
            }
            return None;
        }
        let question = self.waiting.remove(key)?;
        let challenges = ["WWW-Authenticate", "Proxy-Authenticate"].iter().flat_map(|name| wire.all(name));
        let is_stale = challenges.map(str::to_ascii_lowercase).any(|said| is_stale(&said));
        let (step, why) = match status {
            200..300 if question.ends => (Step::Unregistered, "ended its registration".to_owned()),
            200..300 => (Step::Registered, "registered".to_owned()),
            // It goes on with what it was told.
            300..=399 | 423 => return None,
            401 | 407 if !question.authorised || is_stale => return None,
            _ => (Step::Rejected, format!("was refused with {status}: {}", meaning(status))),
        };
        self.tell(question, step, status, &why, now)
    }

    /// Those whose registrar has not said a word.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<News> {
        let over = |question: &Question| now.saturating_duration_since(question.since) >= SILENT_AFTER;
        let silent: Vec<Question> =
            self.waiting.extract_if(|_, question| over(question)).map(|(_, one)| one).collect();
        let silent = silent.into_iter().filter(|question| !question.heard && !question.ends);
        silent.filter_map(|one| self.tell(one, Step::Unanswered, 0, "got no answer", now)).collect()
    }

    fn tell(
        &mut self,
        question: Question,
        step: Step,
        status: u16,
        what: &str,
        now: Instant,
    ) -> Option<News> {
        let Question { phone, from, registrar, user, .. } = question;
        let outcome = format!("account {user} {what} ({})", registrar.ip());
        let known = self.told.get(&(phone, user.clone())).is_some_and(|(before, code, at)| {
            (*before, *code) == (step, status) && now.saturating_duration_since(*at) < TOLD_AGAIN
        });
        if known {
            return None;
        }
        if self.told.len() >= ACCOUNTS_MAX {
            self.told.retain(|_, (.., at)| now.saturating_duration_since(*at) < TOLD_AGAIN);
        }
        if self.told.len() < ACCOUNTS_MAX {
            self.told.insert((phone, user), (step, status, now));
        }
        Some(News { phone, from, step, outcome })
    }
}

/// The user part of an address, without what a terminal would obey.
fn user_of(to: &str) -> Option<String> {
    let uri = sip::uri(to);
    let (_, rest) = uri.split_once(':')?;
    let (user, _) = rest.split_once('@')?;
    let user: String = sip::plain(user).chars().filter(|c| !c.is_control()).take(USER_CHARS_MAX).collect();
    (!user.is_empty()).then_some(user)
}

fn is_stale(challenge: &str) -> bool {
    challenge.replace([' ', '"'], "").contains("stale=true")
}

/// What a status says about a registration.
fn meaning(status: u16) -> &'static str {
    match status {
        401 | 407 => "the registrar does not take its password",
        403 => "the registrar forbids it; a wrong password, or a rule of the PBX",
        404 | 604 => "the registrar does not know this account",
        408 | 480 | 500..600 => "the registrar cannot do it now",
        _ => "the registrar does not take it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const PHONE: &str = "192.168.1.101:5062";
    const PBX: &str = "192.168.1.9:5060";

    struct Scene {
        watch: Watch,
        now: Instant,
    }

    fn phone() -> Mac {
        "001565010203".parse().unwrap()
    }

    impl Scene {
        fn new() -> Self {
            Self { watch: Watch::default(), now: Clock::System.instant() }
        }

        fn send(&mut self, text: &str, is_ours: bool) -> Option<News> {
            let text = text.replace('\n', "\r\n");
            assert!(is_about_registration(text.as_bytes()), "{text}");
            let (from, to) = (PHONE.parse().unwrap(), PBX.parse().unwrap());
            self.watch.hear(text.as_bytes(), is_ours.then(phone), from, to, self.now)
        }

        fn ask(&mut self, seq: u32, more: &str) {
            let text = format!(
                "REGISTER sip:pbx SIP/2.0\nTo: <sip:201@pbx>\ni: abc\nCSeq: {seq} REGISTER\n{more}\n"
            );
            assert_eq!(self.send(&text, true), None);
        }

        fn answer(&mut self, seq: u32, status: &str, more: &str) -> Option<(Step, String)> {
            let text = format!("SIP/2.0 {status}\nCall-ID: abc\nCSeq: {seq} REGISTER\n{more}\n");
            self.send(&text, false).map(|news| (news.step, news.outcome))
        }
    }

    const CREDENTIAL: &str = "Authorization: Digest username=\"201\"\n";

    #[test]
    fn a_challenge_is_no_refusal_and_a_registration_is_told_once_an_hour() {
        let mut scene = Scene::new();
        scene.ask(1, "");
        assert_eq!(scene.answer(1, "100 Trying", ""), None);
        assert_eq!(scene.answer(1, "401 Unauthorized", "WWW-Authenticate: Digest nonce=\"a\"\n"), None);
        scene.ask(2, CREDENTIAL);
        assert_eq!(
            scene.answer(2, "401 Unauthorized", "WWW-Authenticate: Digest nonce=\"b\", stale=TRUE\n"),
            None
        );
        scene.ask(3, CREDENTIAL);
        let told = scene.answer(3, "200 OK", "").unwrap();
        assert_eq!(told, (Step::Registered, "account 201 registered (192.168.1.9)".to_owned()));
        assert_eq!(scene.answer(3, "200 OK", ""), None, "repeated");
        scene.ask(4, CREDENTIAL);
        assert_eq!(scene.answer(4, "200 OK", ""), None, "as before");
        scene.now += TOLD_AGAIN;
        scene.ask(5, CREDENTIAL);
        assert_eq!(scene.answer(5, "200 OK", "").unwrap().0, Step::Registered);
        scene.ask(6, "Authorization: x\nContact: <sip:201@192.168.1.101>;expires=0\n");
        assert_eq!(scene.answer(6, "200 OK", "").unwrap().0, Step::Unregistered);
    }

    #[test]
    fn who_is_refused_or_not_heard_is_told_why() {
        let mut scene = Scene::new();
        for (seq, (status, word)) in (1..).zip([
            ("401 Unauthorized", "does not take its password"),
            ("403 Forbidden", "forbids it"),
            ("404 Not Found", "does not know this account"),
            ("503 Service Unavailable", "cannot do it now"),
            ("488 Not Acceptable Here", "does not take it"),
        ]) {
            scene.ask(seq, CREDENTIAL);
            let (step, text) = scene.answer(seq, status, "WWW-Authenticate: Digest nonce=\"c\"\n").unwrap();
            assert!(step == Step::Rejected && text.contains(word), "{text}");
        }
        scene.ask(9, "");
        assert_eq!(scene.watch.handle_timeout(scene.now), []);
        let silent = scene.watch.handle_timeout(scene.now + SILENT_AFTER);
        assert_eq!((silent[0].step, silent.len()), (Step::Unanswered, 1));
        assert!(scene.watch.waiting.is_empty());
    }

    #[test]
    fn what_is_nobodys_or_no_message_changes_nothing() {
        let mut scene = Scene::new();
        assert_eq!(
            scene.send("REGISTER sip:pbx SIP/2.0\nTo: <sip:201@pbx>\ni: x\nCSeq: 1 REGISTER\n\n", false),
            None
        );
        for odd in [
            "REGISTER sip:pbx SIP/2.0\nTo: tel\ni: x\nCSeq: 1 REGISTER\n\n",
            "REGISTER \n",
            "SIP/2.0 9 REGISTER\n\n",
        ] {
            assert_eq!(scene.send(odd, true), None, "{odd}");
        }
        assert!(scene.watch.waiting.is_empty());
        assert!(!is_about_registration(b"INVITE sip:a SIP/2.0\r\n") && !is_about_registration(b""));
        for _ in 0..3 {
            scene.ask(1, "");
        }
        assert_eq!(scene.watch.waiting.len(), 1);
    }
}
