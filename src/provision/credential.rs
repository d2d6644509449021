//! Decides whether a request of the menu shows the phone's menu credential: HTTP digest (RFC 7616, with MD5 or SHA-256) or
//! basic. Never waits, never reads a clock, and says no word about what was wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::device::Mac;
use crate::hex::hex;
use crate::profile::MenuAuth;
use crate::secret::Secret;

/// What phones show, or ask their user for.
const REALM: &str = "offhook";
/// How long a challenge is answered.
const NONCE_LIFE_MS: i64 = 10 * 60 * 1000;
/// Octets of a header that is looked at.
const HEADER_BYTES_MAX: usize = 2_048;
/// Wrong credentials of one address for one phone, after which none is looked at until the memory ends.
const WRONG_MAX: u32 = 10;
/// How long they are remembered.
const MEMORY: Duration = Duration::from_mins(5);
/// How many pairs of an address and a phone are remembered; beyond, none is looked at: a flood opens no door.
const PAIRS_MAX: usize = 4_096;

/// What was asked, as far as a credential covers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Covered<'a> {
    /// `GET`.
    pub(super) method: &'a str,
    /// Path and query as they came.
    pub(super) target: &'a str,
}

/// What a phone says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// User and password.
    Basic(String, Secret),
    /// The parameters of a digest, names in small letters.
    Digest(HashMap<String, String>),
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It knows the credential.
    Right,
    /// It knows it, and answered an old challenge.
    Stale,
    /// It does not.
    Wrong,
}

impl Shown {
    /// Reads an Authorization header.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').filter(|_| header.len() <= HEADER_BYTES_MAX)?;
        if scheme.eq_ignore_ascii_case("basic") {
            let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
            let (user, password) = text.split_once(':')?;
            return Some(Self::Basic(user.to_owned(), Secret::new(password)));
        }
        scheme.eq_ignore_ascii_case("digest").then(|| Self::Digest(parameters(rest)))
    }

    /// Who it says to be.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Basic(user, _) => user,
            Self::Digest(parameters) => parameters.get("username").map_or("", String::as_str),
        }
    }

    /// Whether the password is right. `nonce` makes the challenge of a moment.
    pub(super) fn check(
        &self,
        password: &Secret,
        covered: Covered<'_>,
        now: Timestamp,
        nonce: impl Fn(i64) -> String,
    ) -> Verdict {
        match self {
            Self::Basic(_, shown) if same(shown.expose(), password.expose()) => Verdict::Right,
            Self::Basic(..) => Verdict::Wrong,
            Self::Digest(parameters) => {
                digest(parameters, password, covered, now, nonce).unwrap_or(Verdict::Wrong)
            }
        }
    }
}

/// Name and value of each parameter; values out of their quotes.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while let Some((name, behind)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ', '\t']).to_ascii_lowercase();
        let behind = behind.trim_start();
        let (value, next) = if let Some(quoted) = behind.strip_prefix('"') {
            unquoted(quoted)
        } else {
            let (value, next) = behind.split_once(',').unwrap_or((behind, ""));
            (value.trim().to_owned(), next)
        };
        found.insert(name, value);
        rest = next;
    }
    found
}

fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// RFC 7616, 3.4.1. `None`: something is missing, or of a kind that we did not offer.
fn digest(
    parameters: &HashMap<String, String>,
    password: &Secret,
    covered: Covered<'_>,
    now: Timestamp,
    nonce: impl Fn(i64) -> String,
) -> Option<Verdict> {
    let get = |name: &str| parameters.get(name).map(String::as_str);
    let (user, realm, shown, uri) = (get("username")?, get("realm")?, get("nonce")?, get("uri")?);
    let hash: fn(&str) -> String = match get("algorithm").unwrap_or("MD5").to_ascii_uppercase().as_str() {
        "MD5" => digested::<Md5>,
        "SHA-256" => digested::<Sha256>,
        _ => return None,
    };
    let made_at = i64::from_str_radix(shown.split_once('-')?.0, 16).ok()?;
    // A phone may name us with the whole URL.
    let own = uri == covered.target
        || uri.split_once("://").is_some_and(|(_, rest)| rest.ends_with(covered.target));
    if realm != REALM || !own || !same(shown, &nonce(made_at)) {
        return None;
    }
    let who = hash(&format!("{user}:{realm}:{}", password.expose()));
    let what = hash(&format!("{}:{uri}", covered.method));
    let expected = match get("qop") {
        Some("auth") => {
            let (count, own) = (get("nc")?, get("cnonce")?);
            hash(&format!("{who}:{shown}:{count}:{own}:auth:{what}"))
        }
        None => hash(&format!("{who}:{shown}:{what}")),
        Some(_) => return None,
    };
    if !same(&expected, &get("response")?.to_ascii_lowercase()) {
        return None;
    }
    let age = now.0.saturating_sub(made_at);
    Some(if (0..=NONCE_LIFE_MS).contains(&age) { Verdict::Right } else { Verdict::Stale })
}

fn digested<D: Digest>(written: &str) -> String {
    hex(&D::digest(written.as_bytes()))
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// The WWW-Authenticate headers that ask for a credential. Browsers may choose; a phone gets the one that it knows.
pub(super) fn challenges(auth: MenuAuth, nonce: &str, stale: bool, choose: bool) -> Vec<String> {
    if auth == MenuAuth::Basic {
        return vec![format!("Basic realm=\"{REALM}\"")];
    }
    let stale = if stale { ", stale=true" } else { "" };
    let one = |algorithm: &str| {
        format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}")
    };
    let strong = choose.then(|| one("SHA-256"));
    strong.into_iter().chain([one("MD5")]).collect()
}

/// Who has shown wrong credentials, for whom.
#[derive(Debug, Default)]
pub(super) struct Wrongs(HashMap<(IpAddr, Mac), (Instant, u32)>);

impl Wrongs {
    /// Whether a credential of this address for this phone is looked at.
    pub(super) fn are_few(&mut self, pair: (IpAddr, Mac), now: Instant) -> bool {
        let fresh = |since: Instant| now.saturating_duration_since(since) < MEMORY;
        if self.0.len() >= PAIRS_MAX {
            self.0.retain(|_, (since, _)| fresh(*since));
        }
        match self.0.get(&pair).filter(|(since, _)| fresh(*since)) {
            Some((_, count)) => *count < WRONG_MAX,
            None => self.0.len() < PAIRS_MAX,
        }
    }

    /// It was wrong.
    pub(super) fn note(&mut self, pair: (IpAddr, Mac), now: Instant) {
        let entry = self.0.entry(pair).or_insert((now, 0));
        if now.saturating_duration_since(entry.0) >= MEMORY {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }

    /// It was right.
    pub(super) fn forget(&mut self, pair: (IpAddr, Mac)) {
        self.0.remove(&pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const COVERED: Covered<'_> = Covered { method: "GET", target: "/menu/000413aabbcc/?q=a" };

    fn nonce(at: i64) -> String {
        format!("{at:x}-seal{at}")
    }

    fn header(algorithm: &str, password: &str, qop: bool, made_at: i64) -> String {
        let hash = if algorithm == "MD5" { digested::<Md5> } else { digested::<Sha256> };
        let (who, what) = (hash(&format!("me:offhook:{password}")), hash(&format!("GET:{}", COVERED.target)));
        let nonce = nonce(made_at);
        let (response, quality) = if qop {
            (hash(&format!("{who}:{nonce}:00000001:c:auth:{what}")), ", qop=auth, nc=00000001, cnonce=\"c\"")
        } else {
            (hash(&format!("{who}:{nonce}:{what}")), "")
        };
        format!(
            "Digest username=\"me\", realm=\"offhook\", nonce=\"{nonce}\", uri=\"{}\", response=\"{response}\", \
             algorithm={algorithm}{quality}",
            COVERED.target
        )
    }

    fn check(header: &str, verdict: Verdict) {
        let shown = Shown::read(header).unwrap();
        assert_eq!(shown.user(), "me");
        assert_eq!(shown.check(&Secret::new("4815"), COVERED, NOW, nonce), verdict, "{header}");
    }

    #[test]
    fn who_knows_the_credential_is_told_from_who_does_not() {
        for algorithm in ["MD5", "SHA-256"] {
            for qop in [true, false] {
                check(&header(algorithm, "4815", qop, NOW.0), Verdict::Right);
                check(&header(algorithm, "4816", qop, NOW.0), Verdict::Wrong);
                check(&header(algorithm, "4815", qop, NOW.0 - NONCE_LIFE_MS - 1), Verdict::Stale);
            }
        }
        check(&format!("Basic {}", STANDARD.encode("me:4815")), Verdict::Right);
        check(&format!("Basic {}", STANDARD.encode("me:48150")), Verdict::Wrong);
        check(&header("MD5", "4815", true, NOW.0).replace("q=a", "q=b"), Verdict::Wrong);
        check(&header("MD5", "4815", true, NOW.0).replace("seal17", "seal18"), Verdict::Wrong);
    }

    #[test]
    fn a_broken_header_is_no_credential() {
        for bad in ["", "Digest", "Bearer x", "Basic !", "Basic YQ=="] {
            assert_eq!(Shown::read(bad), None, "{bad}");
        }
        let whole = header("MD5", "4815", true, NOW.0);
        for end in 7..whole.len() {
            let shown = whole.get(..end).and_then(Shown::read);
            let verdict = shown.map(|shown| shown.check(&Secret::new("0"), COVERED, NOW, nonce));
            assert_ne!(verdict, Some(Verdict::Right));
        }
    }

    #[test]
    fn after_ten_wrong_ones_none_is_looked_at_for_a_while() {
        let (mut wrongs, pair) =
            (Wrongs::default(), ([192, 0, 2, 1].into(), "000413aabbcc".parse().unwrap()));
        let now = crate::clock::Clock::System.instant();
        for _ in 0..WRONG_MAX {
            assert!(wrongs.are_few(pair, now));
            wrongs.note(pair, now);
        }
        assert!(!wrongs.are_few(pair, now));
        assert!(wrongs.are_few(pair, now + MEMORY));
    }
}
