//! What goes back: JSON, or a problem. A problem says what the command line would say. Never a secret.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::operate::{Exit, Failure};
use crate::store::{Answered, StoreError};

/// JSON that goes back, with what belongs into its head.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: String,
    heads: Vec<(HeaderName, String)>,
}

impl Answer {
    /// This, as JSON.
    pub(super) fn json<T: Serialize>(value: &T) -> Result<Self, Failure> {
        let body = serde_json::to_string(value).map_err(|error| {
            Failure::failed("json", format!("cannot write the answer as JSON: {error}"), "")
        })?;
        Ok(Self { status: StatusCode::OK, body, heads: Vec::new() })
    }

    /// An answer that was given before.
    pub(super) fn again((status, body): Answered) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        Self { status, body, heads: Vec::new() }
    }

    /// Its status and body, to be given again.
    pub(super) fn kept(&self) -> Answered {
        (self.status.as_u16(), self.body.clone())
    }

    /// It goes on, and can be read there.
    pub(super) fn accepted(mut self, url: String) -> Self {
        self.status = StatusCode::ACCEPTED;
        self.heads.push((LOCATION, url));
        self
    }

    /// With the version of what it shows.
    pub(super) fn of_version(mut self, version: Option<String>) -> Self {
        self.heads.extend(version.map(|version| (ETAG, format!("\"{version}\""))));
        self
    }

    /// With where more of it is (RFC 8288).
    pub(super) fn with_links(mut self, links: &[(&str, String)]) -> Self {
        let links: Vec<String> = links.iter().map(|(rel, url)| format!("<{url}>; rel=\"{rel}\"")).collect();
        if !links.is_empty() {
            self.heads.push((LINK, links.join(", ")));
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        respond(self.status, "application/json", self.body, self.heads)
    }
}

/// Why nothing was done, as a status and a problem (RFC 9457).
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    failure: Failure,
    heads: Vec<(HeaderName, String)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, failure: Failure) -> Self {
        Self { status, failure, heads: Vec::new() }
    }

    /// The question is at fault.
    pub(super) fn asked(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(status, Failure::usage(code, message, remedy))
    }

    /// No token that is worth something (RFC 6750, 3).
    pub(super) fn unknown() -> Self {
        let remedy =
            "send Authorization: Bearer TOKEN; offhook token create makes one, offhook token list shows them";
        let message = "this needs a token that is neither expired nor revoked";
        let problem = Self::asked(StatusCode::UNAUTHORIZED, "unauthorized", message, remedy);
        problem.with(WWW_AUTHENTICATE, "Bearer realm=\"offhook\"")
    }

    /// Too often.
    pub(super) fn too_often(after_s: u64) -> Self {
        let message = "too many requests with a wrong token came from this address";
        let problem =
            Self::asked(StatusCode::TOO_MANY_REQUESTS, "too_many", message, "wait, and check the token");
        problem.with(RETRY_AFTER, after_s.to_string())
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.heads.push((name, value.into()));
        self
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match (failure.code, failure.exit) {
            ("not_found", _) => StatusCode::NOT_FOUND,
            ("changed", _) => StatusCode::PRECONDITION_FAILED,
            ("idempotency_key_reused", _) | (_, Exit::Usage) => StatusCode::UNPROCESSABLE_ENTITY,
            ("store_unavailable", _) => StatusCode::SERVICE_UNAVAILABLE,
            (_, Exit::No) => StatusCode::CONFLICT,
            (_, Exit::Failed) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, failure);
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.with(RETRY_AFTER, "1") } else { problem }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Failure::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Failure { code, message, remedy, exit } = self.failure;
        if exit == Exit::Failed {
            tracing::warn!("A request of the REST API failed: {message}");
        }
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": message,
            "code": code, "remedy": remedy,
        });
        respond(self.status, "application/problem+json", body.to_string(), self.heads)
    }
}

/// There is nothing at this path.
pub(super) async fn nothing_here() -> Problem {
    let remedy = "GET /api/openapi.json describes what there is";
    Problem::asked(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path", remedy)
}

/// There is, but not for this method; the router says for which.
pub(super) async fn other_method() -> Problem {
    let remedy = "the header Allow has the methods; GET /api/openapi.json describes what there is";
    Problem::asked(StatusCode::METHOD_NOT_ALLOWED, "method", "this path is not for this method", remedy)
}

fn respond(
    status: StatusCode,
    kind: &'static str,
    body: String,
    heads: Vec<(HeaderName, String)>,
) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in heads {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
