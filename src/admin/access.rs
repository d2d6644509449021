//! Who may: a token, and what it is for. Whoever may not is told no more than that, and is written down.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{debug, warn};

use super::answer::Problem;
use super::refusals::Refusal;
use super::{Shared, lock};
use crate::device::Mac;
use crate::secret::Secret;
use crate::store::{ApiToken, Presented, Scope, Store};

/// What is no token may be presented so often at once by one address, then once more after each of these, and by so
/// many addresses at a time. Nobody guesses 256 bits, and a right token is taken from any address, so each is looked for in
/// the database: this is for whoever has a wrong one, to hear of it and to wait.
pub(super) const FAILURES: (u32, Duration, usize) = (20, Duration::from_secs(3), 4_096);
/// Octets of a header that is looked at as a token.
const TOKEN_BYTES_MAX: usize = 256;

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
}

/// Who asks: a token that may.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) token: ApiToken,
}

impl Caller {
    /// The store, with this caller in the audit.
    pub(super) fn store(&self, shared: &Shared) -> Store {
        shared.store().acting_as(&self.token.actor())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// A route without [`check`] before it has no caller, and answers nobody.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unknown)
    }
}

/// Lets a request through whose token is for `scope`.
pub(super) async fn check(
    State((shared, scope)): State<(Shared, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(text) = bearer(request.headers()) else {
        shared.note(&request, None, "no token");
        return Err(Problem::unknown());
    };
    let token = match shared.store().present_token(&text).await? {
        Presented::Valid(token) => token,
        Presented::Over(token) => return Err(shared.failed(&request, Some(&token), "the token is over")),
        Presented::Unknown => return Err(shared.failed(&request, None, "no such token")),
    };
    lock(&shared.0.used).insert(token.id.clone(), token.clone());
    if !token.may(scope) {
        shared.note(&request, Some(&token), "scope");
        return Err(forbidden(&token, scope));
    }
    request.extensions_mut().insert(Caller { token });
    Ok(next.run(request).await)
}

fn forbidden(token: &ApiToken, scope: Scope) -> Problem {
    let message = format!("token {} is not for {scope}", token.id);
    let remedy = format!("offhook token create NAME --scope {scope} makes one that is");
    Problem::asked(StatusCode::FORBIDDEN, "forbidden", message, remedy)
}

/// The token of a request (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && text.len() <= TOKEN_BYTES_MAX;
    fits.then(|| Secret::new(token.trim()))
}

impl Shared {
    /// A wrong token: so many from one address are looked at and written down; more are told to wait.
    fn failed(&self, request: &Request, token: Option<&ApiToken>, why: &'static str) -> Problem {
        let now = self.0.parts.clock.instant();
        let peer = request.extensions().get::<Ends>().map(|ends| ends.peer);
        self.note(request, token, why);
        if peer.is_some_and(|peer| lock(&self.0.failures).allows(peer, now)) {
            return Problem::unknown();
        }
        Problem::too_often(FAILURES.1.as_secs())
    }

    fn note(&self, request: &Request, token: Option<&ApiToken>, why: &'static str) {
        let Some(ends) = request.extensions().get::<Ends>() else { return };
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        // Of strangers only the route: they may write what they like into a path.
        let mac = token.and_then(|_| mac_in(route, request.uri().path()));
        let refusal = Refusal {
            token: token.map(|token| token.id.clone()),
            peer: ends.peer,
            asked: format!("{} {route}", request.method()),
            mac,
            why,
        };
        debug!("Refused {} of {}: {why}", refusal.asked, refusal.peer);
        lock(&self.0.refusals).note(refusal, self.0.parts.clock.instant());
    }

    /// Writes down who was refused, and which tokens were used. With `all`, what is left.
    pub(super) async fn write_down(&self, all: bool) {
        let now = self.0.parts.clock.instant();
        let rows = lock(&self.0.refusals).due(now, all);
        if !rows.is_empty()
            && let Err(error) = self.store().write_api_refusals(&rows).await
        {
            warn!("Cannot write down yet who was refused by the REST API: {error}");
            lock(&self.0.refusals).put_back(rows, now);
        }
        let used = std::mem::take(&mut *lock(&self.0.used));
        for token in used.values() {
            if let Err(error) = self.store().token_used(token).await {
                debug!("Cannot write down that token {} was used: {error}", token.id);
            }
        }
    }
}

fn mac_in(route: &str, path: &str) -> Option<Mac> {
    let mut named = route.split('/').zip(path.split('/'));
    let (_, text) = named.find(|(name, _)| *name == "{mac}")?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_bearers() {
        let check = |text: &str, token: bool| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
            assert_eq!(bearer(&headers).is_some(), token, "{text}");
        };
        check("Bearer oh_1_2", true);
        check("bearer  oh_1_2", true);
        check("Basic b2g6eA==", false);
        check("Bearer", false);
        check(&format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX)), false);
        assert!(bearer(&HeaderMap::new()).is_none());
    }

    #[test]
    fn the_phone_that_was_asked_for_is_known() {
        let mac = "00:15:65:f4:f9:e1".parse().ok();
        assert_eq!(mac_in("/api/v1/devices/{mac}/arm", "/api/v1/devices/001565f4f9e1/arm"), mac);
        assert_eq!(mac_in("/api/v1/devices/{mac}", "/api/v1/devices/x"), None);
        assert_eq!(mac_in("/api/v1/alarms/{id}/done", "/api/v1/alarms/001565f4f9e1/done"), None);
    }
}
