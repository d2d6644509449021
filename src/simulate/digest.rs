//! Digest authentication as desk phones do it: RFC 2617 with MD5, with and without `qop=auth`.

use md5::{Digest, Md5};

use crate::hex::hex;
use crate::secret::Secret;

/// What a registrar asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: String,
    pub(super) nonce: String,
    opaque: Option<String>,
    /// Whether the registrar offers `qop=auth`.
    auth: bool,
    /// Whether only the nonce was too old.
    pub(super) stale: bool,
}

/// Who asks, with what.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a Secret,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    /// Random, hexadecimal.
    pub(super) cnonce: &'a str,
    /// How often this nonce was used.
    pub(super) count: u32,
}

impl Challenge {
    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate header; says in words why it cannot be answered.
    pub(super) fn read(value: &str) -> Result<Self, String> {
        let parameters = parameters(value).ok_or("a challenge that is not Digest")?;
        let get =
            |name: &str| parameters.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone());
        if let Some(algorithm) = get("algorithm").filter(|algorithm| !algorithm.eq_ignore_ascii_case("md5")) {
            return Err(format!(
                "a challenge for {}; these phones know MD5",
                super::url::shorten(&algorithm)
            ));
        }
        let qop = get("qop");
        let auth = qop
            .as_ref()
            .is_some_and(|offered| offered.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
        if qop.is_some() && !auth {
            return Err("a challenge without qop=auth".to_owned());
        }
        Ok(Self {
            realm: get("realm").ok_or("a challenge without a realm")?,
            nonce: get("nonce").ok_or("a challenge without a nonce")?,
            opaque: get("opaque"),
            auth,
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the Authorization header.
    pub(super) fn answer(&self, request: &Request<'_>) -> String {
        let count = format!("{:08x}", request.count);
        let quality = self.auth.then_some((count.as_str(), request.cnonce));
        let Request { username, password, method, uri, cnonce, .. } = request;
        let response = response(username, &self.realm, password, (method, uri), &self.nonce, quality);
        let quality =
            if self.auth { format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\"") } else { String::new() };
        let opaque = self.opaque.as_ref().map(|opaque| format!(", opaque=\"{}\"", quote(opaque)));
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5{quality}{}",
            quote(username),
            quote(&self.realm),
            quote(&self.nonce),
            opaque.unwrap_or_default()
        )
    }
}

/// RFC 2617 3.2.2.1: MD5 of credentials, nonce and request; `quality` is the count and cnonce of `qop=auth`.
pub(super) fn response(
    username: &str,
    realm: &str,
    password: &Secret,
    (method, uri): (&str, &str),
    nonce: &str,
    quality: Option<(&str, &str)>,
) -> String {
    let who = hash(&[username, realm, password.expose()]);
    let what = hash(&[method, uri]);
    match quality {
        Some((count, cnonce)) => hash(&[&who, nonce, count, cnonce, "auth", &what]),
        None => hash(&[&who, nonce, &what]),
    }
}

/// Name and value of each parameter behind `Digest`; names in lower case, values out of their quotes.
pub(super) fn parameters(value: &str) -> Option<Vec<(String, String)>> {
    let (scheme, mut rest) = value.trim().split_once(char::is_whitespace)?;
    if !scheme.eq_ignore_ascii_case("digest") {
        return None;
    }
    let mut found = Vec::new();
    while let Some((name, behind)) = rest.split_once('=') {
        let (value, next) = read_value(behind.trim_start());
        found.push((name.trim_matches([',', ' ', '\t']).to_ascii_lowercase(), value));
        rest = next;
    }
    Some(found)
}

/// A token or quoted string, and what follows its comma.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, next) = text.split_once(',').unwrap_or((text, ""));
        return (value.trim().to_owned(), next);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn quote(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn hash(parts: &[&str]) -> String {
    let mut md5 = Md5::new();
    for (position, part) in parts.iter().enumerate() {
        if position > 0 {
            md5.update(b":");
        }
        md5.update(part.as_bytes());
    }
    hex(&md5.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 3.5.
    const CHALLENGE: &str = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;

    #[test]
    fn the_example_of_rfc_2617_is_answered() {
        let password = Secret::new("Circle Of Life");
        let request = Request {
            username: "Mufasa",
            password: &password,
            method: "GET",
            uri: "/dir/index.html",
            cnonce: "0a4f113b",
            count: 1,
        };
        let answer = Challenge::read(CHALLENGE).unwrap().answer(&request);
        assert!(answer.contains(r#"response="6629fae49393a05397450978507c4ef1""#), "{answer}");
        assert!(answer.contains(r#"opaque="5ccc069c403ebaf9f0171e9517f40e41""#), "{answer}");
        assert!(answer.contains("qop=auth, nc=00000001"), "{answer}");
    }

    /// RFC 2069's example with its published correction: no qop.
    #[test]
    fn a_challenge_without_qop_is_answered_the_old_way() {
        let password = Secret::new("CircleOfLife");
        let old = response(
            "Mufasa",
            "testrealm@host.com",
            &password,
            ("GET", "/dir/index.html"),
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            None,
        );
        assert_eq!(old, "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn what_a_phone_cannot_answer_is_said() {
        for (value, reason) in [
            ("Basic realm=\"x\"", "a challenge that is not Digest"),
            (
                "Digest realm=\"x\", nonce=\"y\", algorithm=SHA-256",
                "a challenge for SHA-256; these phones know MD5",
            ),
            ("Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\"", "a challenge without qop=auth"),
            ("Digest nonce=\"y\"", "a challenge without a realm"),
            ("Digest realm=\"x\"", "a challenge without a nonce"),
        ] {
            assert_eq!(Challenge::read(value), Err(reason.to_owned()), "{value}");
        }
    }

    #[test]
    fn quoted_commas_and_quotes_are_no_ends() {
        let challenge = Challenge::read(r#"digest  Realm="a, \"b\"",nonce=n , stale=TRUE"#).unwrap();
        assert_eq!(
            (challenge.realm.as_str(), challenge.nonce.as_str(), challenge.stale),
            ("a, \"b\"", "n", true)
        );
    }
}
