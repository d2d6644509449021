//! What a web server asks a password by, and the answer to it: Digest (RFC 7616, MD5 and SHA-256) where it is offered, else
//! Basic (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::hex::hex;
use crate::secret::Secret;

/// Characters of a parameter; a nonce has 64 at most.
const PARAMETER_CHARS_MAX: usize = 256;
/// Parameters of one challenge; there are eight.
const PARAMETERS_MAX: usize = 16;

/// A challenge that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The password goes as it is.
    Basic,
    /// A digest of it goes.
    Digest(Digest),
}

/// What a server wants digested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    sha256: bool,
    /// Whether `qop=auth` is offered.
    quality: bool,
    stale: bool,
    /// How often this nonce was used.
    count: u32,
}

impl Challenge {
    /// The best of what was offered: a server that offers both gets the digest.
    pub(super) fn choose(headers: &[&str]) -> Option<Self> {
        let digests = headers.iter().filter_map(|header| Digest::read(header));
        if let Some(best) = digests.max_by_key(|digest| digest.sha256) {
            return Some(Self::Digest(best));
        }
        let is_basic = |header: &&&str| {
            header.split(',').any(|one| {
                let word = one.split_ascii_whitespace().next().unwrap_or_default();
                word.eq_ignore_ascii_case("basic")
            })
        };
        headers.iter().find(is_basic).map(|_| Self::Basic)
    }

    /// Whether the password would go as it is.
    pub(super) fn is_basic(&self) -> bool {
        matches!(self, Self::Basic)
    }

    /// Whether the server says that only the nonce was too old.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Digest(Digest { stale: true, .. }))
    }

    /// The value of the Authorization header.
    pub(super) fn answer(
        &mut self,
        user: &str,
        password: &Secret,
        asked: (&str, &str),
        cnonce: &str,
    ) -> Zeroizing<String> {
        match self {
            Self::Basic => {
                let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
                Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
            }
            Self::Digest(digest) => Zeroizing::new(digest.answer(user, password, asked, cnonce)),
        }
    }
}

impl Digest {
    fn read(header: &str) -> Option<Self> {
        let at = header.to_ascii_lowercase().find("digest ")?;
        let parameters = parameters(header.get(at + "digest ".len()..)?);
        let get =
            |name: &str| parameters.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone());
        let sha256 = match get("algorithm").map(|name| name.to_ascii_lowercase()).as_deref() {
            None | Some("md5") => false,
            Some("sha-256") => true,
            Some(_) => return None,
        };
        let offered = get("qop");
        let quality = offered.as_ref().is_some_and(|qop| qop.split(',').any(|one| one.trim() == "auth"));
        if offered.is_some() && !quality {
            return None;
        }
        let stale = get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
        let (realm, nonce, opaque) = (get("realm")?, get("nonce")?, get("opaque"));
        Some(Self { realm, nonce, opaque, sha256, quality, stale, count: 0 })
    }

    fn answer(
        &mut self,
        user: &str,
        password: &Secret,
        (method, target): (&str, &str),
        cnonce: &str,
    ) -> String {
        self.count += 1;
        let count = format!("{:08x}", self.count);
        let hash = |text: String| {
            let text = Zeroizing::new(text);
            if self.sha256 {
                hex(&Sha256::digest(text.as_bytes()))
            } else {
                hex(&Md5::digest(text.as_bytes()))
            }
        };
        let who = Zeroizing::new(hash(format!("{user}:{}:{}", self.realm, password.expose())));
        let what = hash(format!("{method}:{target}"));
        let nonce = &self.nonce;
        let (response, quality) = if self.quality {
            let response = hash(format!("{}:{nonce}:{count}:{cnonce}:auth:{what}", *who));
            (response, format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""))
        } else {
            (hash(format!("{}:{nonce}:{what}", *who)), String::new())
        };
        let algorithm = if self.sha256 { "SHA-256" } else { "MD5" };
        let opaque = self.opaque.as_ref().map(|opaque| format!(", opaque=\"{}\"", quoted(opaque)));
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{target}\", response=\"{response}\", \
             algorithm={algorithm}{quality}{}",
            quoted(user),
            quoted(&self.realm),
            quoted(nonce),
            opaque.unwrap_or_default()
        )
    }
}

/// Names in lower case and values out of their quotes, until another scheme begins.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, behind)) = rest.split_once('=').filter(|_| found.len() < PARAMETERS_MAX) {
        let name = name.trim_matches([',', ' ', '\t']);
        if name.contains([' ', '\t']) {
            break;
        }
        let (value, next) = value_of(behind.trim_start());
        if value.len() <= PARAMETER_CHARS_MAX && !value.chars().any(char::is_control) {
            found.push((name.to_ascii_lowercase(), value));
        }
        rest = next;
    }
    found
}

fn value_of(text: &str) -> (String, &str) {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => return (value, inner.get(at + 1..).unwrap_or_default()),
            _ => {}
        }
        value.push(c);
    }
    (value, "")
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standards_are_answered() {
        // RFC 2617 section 3.5, and RFC 7616 section 3.9.1.
        let check = |header: &str, user: &str, password: &str, cnonce: &str, response: &str| {
            let mut challenge = Challenge::choose(&[header]).unwrap();
            let answer = challenge.answer(user, &Secret::new(password), ("GET", "/dir/index.html"), cnonce);
            assert!(answer.contains(&format!("response=\"{response}\"")), "{}", *answer);
        };
        check(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
            "Mufasa",
            "Circle Of Life",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        );
        check(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
            "Mufasa",
            "Circle of Life",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        );
    }

    #[test]
    fn the_digest_is_taken_where_there_is_one_and_what_is_not_understood_is_not_answered() {
        let check = |headers: &[&str], expected: Option<bool>| {
            assert_eq!(Challenge::choose(headers).map(|one| one.is_basic()), expected, "{headers:?}");
        };
        check(&["Basic realm=\"x\""], Some(true));
        check(&["basic"], Some(true));
        check(&["Basic realm=\"x\"", "Digest realm=\"x\", nonce=\"1\""], Some(false));
        check(&["Basic realm=\"x\", Digest realm=\"x\", nonce=\"1\""], Some(false));
        check(&["Digest realm=\"x\", nonce=\"1\", algorithm=MD5-sess"], None);
        check(&["Digest realm=\"x\", nonce=\"1\", qop=\"auth-int\""], None);
        check(&["Digest realm=\"x\""], None);
        check(&["Bearer", ""], None);
        check(&[], None);
        for hostile in ["Digest =,=,=", "Digest realm=\"", "Digest realm=\"\\", "digest \u{e4}=\"\u{1}\""] {
            assert_eq!(Challenge::choose(&[hostile]), None, "{hostile}");
        }
        let mut sly = Challenge::choose(&["Digest realm=\"a\\\"b\", nonce=\"1\""]).unwrap();
        let answer = sly.answer("u", &Secret::new("p"), ("GET", "/"), "c");
        assert!(answer.contains("realm=\"a\\\"b\""), "{}", *answer);
    }
}
