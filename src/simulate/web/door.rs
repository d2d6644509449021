//! Who is let in: passwords and their proofs, sessions, nonces, and the lock behind wrong ones. Decides; sends nothing.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::super::digest;
use super::form::Fields;
use super::interface::{Interface, Kind, Lock, LoginForm, Proof};
use crate::hex::hex;
use crate::secret::Secret;

/// Sessions and nonces that are still good.
const KEPT_MAX: usize = 32;

/// What the phone remembers of its visitors while it is up.
#[derive(Debug, Default)]
pub(super) struct Door {
    sessions: VecDeque<String>,
    nonces: VecDeque<String>,
    /// Pages that a visitor who was let in has seen.
    pub(super) seen: BTreeSet<String>,
    wrong: u32,
    locked_at: Option<Instant>,
}

/// The end of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Let in, with this session.
    Right(String),
    /// Not let in.
    Wrong,
    /// Nobody is let in.
    Locked,
}

/// A request, as far as it shows who sends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) method: &'a str,
    /// Path and query, as a digest names them.
    pub(super) target: &'a str,
    pub(super) authorization: Option<&'a str>,
    pub(super) cookies: &'a str,
    /// Of query and form.
    pub(super) fields: &'a Fields,
}

impl Caller<'_> {
    /// The cookie of this name.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.into_iter().find(|(held, _)| *held == name).map(|(_, value)| value.trim_matches('"'))
    }
}

impl Door {
    /// The nonce that a page gives its visitor: the one that the visitor's cookie holds already, else this fresh one.
    pub(super) fn issue(&mut self, interface: &Interface, caller: &Caller<'_>, fresh: &str) -> String {
        let held = interface.login.cookie.as_ref().and_then(|name| caller.cookie(name));
        if let Some(held) = held.filter(|held| self.nonces.iter().any(|nonce| nonce == held)) {
            return held.to_owned();
        }
        keep(&mut self.nonces, fresh);
        fresh.to_owned()
    }

    /// Whether the request is let in, by this kind of showing who sends it; wrong passwords count.
    pub(super) fn admits(
        &mut self,
        interface: &Interface,
        kind: Kind,
        caller: &Caller<'_>,
        password: Option<&Secret>,
        now: Instant,
    ) -> Entry {
        let login = &interface.login;
        if kind == Kind::Session {
            let held = login.cookie.as_ref().and_then(|name| caller.cookie(name));
            let sent = login.field.as_ref().and_then(|name| caller.fields.get(name));
            let known = |sid: &&str| self.sessions.iter().any(|session| session == sid);
            return match held.filter(known).or(sent.filter(known)) {
                Some(sid) => Entry::Right(sid.to_owned()),
                None => Entry::Wrong,
            };
        }
        let Some(password) = password else { return Entry::Right(String::new()) };
        let Some(authorization) = caller.authorization else { return Entry::Wrong };
        if self.is_locked(interface.lock.as_ref(), now) {
            return Entry::Locked;
        }
        let right = match kind {
            Kind::Digest => self.digest_is_right(authorization, caller, &login.user, &login.realm, password),
            _ => basic_is_right(authorization, &login.user, password),
        };
        self.judge(right, String::new(), interface.lock.as_ref(), now)
    }

    /// What a login page makes of its form; `fresh` becomes the session.
    pub(super) fn enter(
        &mut self,
        interface: &Interface,
        form: &LoginForm,
        caller: &Caller<'_>,
        password: Option<&Secret>,
        (fresh, now): (&str, Instant),
    ) -> Entry {
        if self.is_locked(interface.lock.as_ref(), now) {
            return Entry::Locked;
        }
        let name = form.user.as_ref().map(|field| caller.fields.get(field).unwrap_or_default());
        let known = name.is_none_or(|name| same(name, &interface.login.user));
        let sent = caller.fields.get(&form.password).unwrap_or_default();
        let password = password.map(Secret::expose).unwrap_or_default();
        let held = interface.login.cookie.as_ref().and_then(|name| caller.cookie(name)).unwrap_or_default();
        let (right, session) = match form.proof {
            Proof::Plain => (same(sent, password), fresh),
            Proof::Sha256Nonce => {
                let expected = |nonce: &String| sha256(&format!("{password}{nonce}"));
                let found = self.nonces.iter().position(|nonce| same(sent, &expected(nonce)));
                (found.and_then(|at| self.nonces.remove(at)).is_some(), fresh)
            }
            Proof::Md5Nonce => {
                let user = &interface.login.user;
                let expected = format!("{user}:{}", md5(&format!("{user}:{password}:{held}")));
                (self.nonces.iter().any(|nonce| nonce == held) && same(sent, &expected), held)
            }
            Proof::Script => (false, fresh),
        };
        let session = session.to_owned();
        self.judge(right && known, session, interface.lock.as_ref(), now)
    }

    /// Ends a session.
    pub(super) fn leave(&mut self, interface: &Interface, caller: &Caller<'_>) {
        let held = interface.login.cookie.as_ref().and_then(|name| caller.cookie(name));
        let sent = interface.login.field.as_ref().and_then(|name| caller.fields.get(name));
        self.sessions.retain(|session| Some(session.as_str()) != held && Some(session.as_str()) != sent);
    }

    /// Tries that are left before the lock.
    pub(super) fn left(&self, lock: Option<&Lock>) -> u32 {
        lock.map_or(0, |lock| lock.after.saturating_sub(self.wrong))
    }

    fn judge(&mut self, right: bool, session: String, lock: Option<&Lock>, now: Instant) -> Entry {
        if right {
            self.wrong = 0;
            if !session.is_empty() {
                keep(&mut self.sessions, &session);
            }
            return Entry::Right(session);
        }
        self.wrong = self.wrong.saturating_add(1);
        if lock.is_some_and(|lock| self.wrong >= lock.after) {
            self.locked_at = Some(now);
            return Entry::Locked;
        }
        Entry::Wrong
    }

    fn is_locked(&mut self, lock: Option<&Lock>, now: Instant) -> bool {
        let (Some(lock), Some(since)) = (lock, self.locked_at) else { return false };
        let over = lock.minutes.is_some_and(|minutes| {
            now.saturating_duration_since(since) >= Duration::from_secs(60 * u64::from(minutes))
        });
        if over {
            (self.locked_at, self.wrong) = (None, 0);
        } else if lock.anew {
            self.locked_at = Some(now);
        }
        !over
    }

    fn digest_is_right(
        &self,
        authorization: &str,
        caller: &Caller<'_>,
        user: &str,
        realm: &str,
        password: &Secret,
    ) -> bool {
        let Some(parameters) = digest::parameters(authorization) else { return false };
        let get = |name: &str| {
            parameters.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value.as_str())
        };
        let quality = (get("qop") == "auth").then(|| (get("nc"), get("cnonce")));
        let asked = (caller.method, caller.target);
        let expected = digest::response(user, realm, password, asked, get("nonce"), quality);
        get("username") == user
            && get("realm") == realm
            && get("uri") == caller.target
            && self.nonces.iter().any(|nonce| nonce == get("nonce"))
            && same(&expected, get("response"))
    }
}

fn basic_is_right(authorization: &str, user: &str, password: &Secret) -> bool {
    let Some((scheme, encoded)) = authorization.trim().split_once(' ') else { return false };
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(decoded) = decoded.filter(|_| scheme.eq_ignore_ascii_case("basic")) else { return false };
    decoded.split_once(':').is_some_and(|(name, word)| same(name, user) && same(word, password.expose()))
}

fn keep(list: &mut VecDeque<String>, value: &str) {
    list.push_back(value.to_owned());
    if list.len() > KEPT_MAX {
        list.pop_front();
    }
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn md5(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
