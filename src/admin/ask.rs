//! What a request asks for: the phone in its path, its filters, its body, and under which conditions it is to be done.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::answer::Problem;
use crate::device::Mac;
use crate::store::Versions;

/// Octets of a body: a request names a few passwords and a reason.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to come.
const BODY_MAX: Duration = Duration::from_secs(10);
/// How long a body that is a file may take to come and be taken.
pub(super) const FILE_MAX: Duration = Duration::from_mins(29);
/// Octets of an Idempotency-Key.
const KEY_BYTES_MAX: usize = 255;
/// Rows of a page, and the most of them.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// The phone that the path names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phone(pub(super) Mac);

impl<S: Send + Sync> FromRequestParts<S> for Phone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text);
        let mac = text.unwrap_or_default().parse();
        mac.map(Self).map_err(|error: crate::device::MacError| {
            Problem::asked(
                StatusCode::UNPROCESSABLE_ENTITY,
                "mac",
                error.to_string(),
                "write 00:15:65:f4:f9:e1",
            )
        })
    }
}

/// What stands behind the `?`.
#[derive(Debug)]
pub(super) struct Filter<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Filter<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(value)| Self(value)).map_err(|error| {
            let remedy = "GET /api/openapi.json describes what may stand behind the ?";
            Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "query", error.body_text(), remedy)
        })
    }
}

/// How many rows are asked for.
pub(super) fn page(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        _ => Err(Problem::asked(
            StatusCode::UNPROCESSABLE_ENTITY,
            "limit",
            format!("limit is 1 to {PAGE_MAX}"),
            "the header Link has the URL of the next page",
        )),
    }
}

/// A cursor that this program did not make.
pub(super) fn no_cursor() -> Problem {
    let remedy = "take the URL from the header Link of the page before";
    Problem::asked(StatusCode::UNPROCESSABLE_ENTITY, "cursor", "this is no cursor", remedy)
}

/// A request that changes something.
#[derive(Debug)]
pub(super) struct Asked<T> {
    pub(super) body: T,
    pub(super) conditions: Conditions,
}

/// Under which conditions it is to be done.
#[derive(Debug)]
pub(super) struct Conditions {
    /// What is asked for, as it came: method, path, and the body or what stands for it.
    pub(super) method: Bytes,
    pub(super) path: Bytes,
    pub(super) body: Bytes,
    /// Idempotency-Key
    pub(super) key: Option<Bytes>,
    /// If-Match
    pub(super) versions: Option<Versions>,
}

impl Conditions {
    /// Those of this head.
    pub(super) fn of(parts: &Parts, body: Bytes) -> Result<Self, Problem> {
        Ok(Self {
            method: Bytes::copy_from_slice(parts.method.as_str().as_bytes()),
            path: Bytes::copy_from_slice(parts.uri.path().as_bytes()),
            body,
            key: key(&parts.headers)?,
            versions: versions(&parts.headers)?,
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Problem;

    /// A body is JSON; none is an empty object.
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let mut conditions = Conditions::of(&parts, Bytes::new())?;
        let raw = whole(body, BODY_MAX).await?;
        if !raw.is_empty() && !is_json(&parts.headers) {
            let message = "the body is not said to be JSON";
            let remedy = "send Content-Type: application/json";
            return Err(Problem::asked(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body", message, remedy));
        }
        // Read as a struct, an array would be its fields in their order.
        if !raw.is_empty() && !raw.trim_ascii_start().starts_with(b"{") {
            let message = "the body is no JSON object";
            let remedy = "GET /api/openapi.json describes the body";
            return Err(Problem::asked(StatusCode::BAD_REQUEST, "body", message, remedy));
        }
        let text: &[u8] = if raw.is_empty() { b"{}" } else { &raw };
        let body = serde_json::from_slice(text).map_err(|error| misread(&error))?;
        conditions.body = raw;
        Ok(Self { body, conditions })
    }
}

/// All of a body, if it comes in time. Whoever sends it slowly would keep its connection for as long as that takes.
async fn whole(body: Body, patience: Duration) -> Result<Bytes, Problem> {
    let Ok(read) = tokio::time::timeout(patience, to_bytes(body, BODY_BYTES_MAX)).await else {
        let message = format!("the body did not come within {} s", patience.as_secs());
        return Err(Problem::asked(StatusCode::REQUEST_TIMEOUT, "body", message, "send it at once"));
    };
    read.map_err(|_| {
        let message = format!("the body did not come whole, or has more than {BODY_BYTES_MAX} octets");
        Problem::asked(StatusCode::PAYLOAD_TOO_LARGE, "body", message, "send less")
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = kind(headers).split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Whether the body is said to be a file.
pub(super) fn is_file(headers: &HeaderMap) -> bool {
    kind(headers).trim().eq_ignore_ascii_case("application/octet-stream")
}

fn kind(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

fn misread(error: &serde_json::Error) -> Problem {
    let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
    let remedy = "GET /api/openapi.json describes the body";
    let message = format!("the body is not understood: {}", without_values(&error.to_string()));
    Problem::asked(status, "body", message, remedy)
}

/// What serde says of a body without the texts that stood in it: one may be a password in the wrong place. Names of
/// fields, and what was expected, stay.
fn without_values(said: &str) -> String {
    let without = |said: String, quote: char| match said.split_once(quote) {
        Some((before, after)) => match after.rsplit_once(quote) {
            Some((_, after)) => format!("{before}…{after}"),
            None => said,
        },
        None => said,
    };
    let said = without(without(said.to_owned(), '"'), '\'');
    match said.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected")) {
        Some((_, expected)) => format!("unknown word, expected{expected}"),
        None => said,
    }
}

/// The versions of If-Match. One that is marked as weak is never the present one (RFC 9110, 13.1.1).
fn versions(headers: &HeaderMap) -> Result<Option<Versions>, Problem> {
    let mut versions = Vec::new();
    for value in headers.get_all(IF_MATCH) {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Some(Versions::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let Some(inner) = inner else {
                let remedy = "write it as the header ETag had it, with its quotes";
                let message = "If-Match has no entity tag";
                return Err(Problem::asked(StatusCode::BAD_REQUEST, "if_match", message, remedy));
            };
            versions.push(if quoted == tag { inner.to_owned() } else { String::new() });
        }
    }
    Ok((!versions.is_empty()).then_some(Versions::OneOf(versions)))
}

fn key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=KEY_BYTES_MAX).contains(&key.len()) => {
            Ok(Some(Bytes::copy_from_slice(key.as_bytes())))
        }
        (Some(_), _) => Err(Problem::asked(
            StatusCode::BAD_REQUEST,
            "idempotency_key",
            format!("an Idempotency-Key is one text of 1 to {KEY_BYTES_MAX} characters"),
            "make a random one for each request, and send it again with the same request only",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn if_match_is_a_list_of_tags() {
        let check = |rows: &[&str], versions: Option<Versions>| {
            let rows: Vec<_> = rows.iter().map(|value| ("if-match", *value)).collect();
            assert_eq!(super::versions(&headers(&rows)).unwrap(), versions);
        };
        let one_of =
            |tags: &[&str]| Some(Versions::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        check(&[], None);
        check(&["*"], Some(Versions::Any));
        check(&["\"a\""], one_of(&["a"]));
        check(&["\"a\", \"b\"", "\"c\""], one_of(&["a", "b", "c"]));
        check(&["W/\"a\""], one_of(&[""]));
        for wrong in ["a", "\"a", "", "\"a\",,"] {
            assert!(super::versions(&headers(&[("if-match", wrong)])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_is_not_repeated() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only read")]
        struct Wanted {
            kinds: Vec<crate::secret::SecretKind>,
            count: u8,
            window: crate::release::Window,
        }
        let check = |body: &str, says: &str| {
            let error = serde_json::from_str::<Wanted>(body).unwrap_err();
            let said = without_values(&error.to_string());
            assert!(said.starts_with(says) && !said.contains("geheim"), "{said}");
        };
        check("{\"kinds\":[\"geheim`, expected x\"]}", "unknown word, expected");
        check("{\"kinds\":[\"geheim\"]}", "unknown word, expected one of `sip`");
        check("{\"count\":\"geheim\"}", "invalid type: string …, expected u8");
        check("{\"count\":\"geheim\\\"geheim\"}", "invalid type: string …, expected u8");
        check(
            "{\"colour\":\"geheim\"}",
            "unknown field `colour`, expected one of `kinds`, `count`, `window`",
        );
        check("{\"kinds\":[\"geheim", "EOF while parsing");
        check("{\"window\":\"geheim'geheim\"}", "… is not a length of time");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = futures_util::stream::pending::<std::io::Result<Bytes>>();
        let problem = whole(Body::from_stream(never), Duration::ZERO).await.unwrap_err();
        assert_eq!(axum::response::IntoResponse::into_response(problem).status(), 408);
    }

    #[test]
    fn a_key_is_one_short_text() {
        assert!(key(&headers(&[])).unwrap().is_none());
        assert_eq!(key(&headers(&[("idempotency-key", "a b")])).unwrap().unwrap(), "a b");
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        for wrong in [&[("idempotency-key", "")][..], &[("idempotency-key", &long)]] {
            assert!(key(&headers(wrong)).is_err());
        }
        assert!(key(&headers(&[("idempotency-key", "a"), ("idempotency-key", "a")])).is_err());
    }
}
