//! The table of routes, and what every request goes through. The tests and the description are made from the same table,
//! so that no route can be forgotten in them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::access::{self, Ends};
use super::answer::{Problem, nothing_here, other_method};
use super::api::{alarms, audit, devices, doctor, firmware, health, keys, rounds, scan, site};
use super::ask::{FILE_MAX, is_file};
use super::origin::{Own, is_of_another_site};
use super::{AdminParts, Shared, openapi};
use crate::operate::Failure;
use crate::store::Scope;

/// How long a request may take, from its head to the head of its answer.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Said with every answer. Pages bring everything with them, stand in nobody's frame, and are kept by no cache.
const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// One thing that can be asked for.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What its token is for; `None`: it needs no token.
    pub(super) scope: Option<Scope>,
    handler: MethodRouter<Shared>,
}

/// Everything that can be asked for.
pub(super) fn routes() -> Vec<Route> {
    let open = |path, handler| Route { method: Method::GET, path, scope: None, handler };
    let read = |path, scope, handler| Route { method: Method::GET, path, scope: Some(scope), handler };
    let write = |path, scope, handler| Route { method: Method::POST, path, scope: Some(scope), handler };
    vec![
        open("/healthz", get(health::alive)),
        open("/readyz", get(health::ready)),
        open("/api/openapi.json", get(openapi::document)),
        read("/api/v1/devices", Scope::DevicesRead, get(devices::list)),
        read("/api/v1/devices/{mac}", Scope::DevicesRead, get(devices::show)),
        write("/api/v1/devices/{mac}/approve", Scope::DevicesWrite, post(devices::approve)),
        write("/api/v1/devices/{mac}/block", Scope::DevicesWrite, post(devices::block)),
        write("/api/v1/devices/{mac}/arm", Scope::ReleaseArm, post(devices::arm)),
        write("/api/v1/devices/{mac}/lock", Scope::ReleaseArm, post(devices::lock)),
        write("/api/v1/devices/{mac}/confirm", Scope::ReleaseArm, post(devices::confirm)),
        write("/api/v1/devices/{mac}/settings", Scope::DevicesWrite, post(site::set_device)),
        read("/api/v1/devices/{mac}/keys", Scope::DevicesRead, get(keys::of_device)),
        write("/api/v1/devices/{mac}/keys", Scope::DevicesWrite, post(keys::change_device)),
        read("/api/v1/devices/{mac}/why", Scope::DevicesRead, get(devices::why)),
        read("/api/v1/devices/{mac}/plan", Scope::DevicesRead, get(devices::plan)),
        read("/api/v1/site", Scope::DevicesRead, get(site::show)),
        write("/api/v1/site", Scope::DevicesWrite, post(site::set)),
        read("/api/v1/keys", Scope::DevicesRead, get(keys::plans)),
        write("/api/v1/keys", Scope::DevicesWrite, post(keys::change_plan)),
        read("/api/v1/firmware", Scope::DevicesRead, get(firmware::list)),
        write("/api/v1/firmware", Scope::FirmwareWrite, post(firmware::add)),
        read("/api/v1/firmware/check", Scope::DevicesRead, get(firmware::check)),
        write("/api/v1/firmware/remove", Scope::FirmwareWrite, post(firmware::remove)),
        write("/api/v1/firmware/retry", Scope::FirmwareWrite, post(firmware::retry)),
        read("/api/v1/scans", Scope::DevicesRead, get(scan::list)),
        write("/api/v1/scans", Scope::DevicesWrite, post(scan::start)),
        read("/api/v1/scans/plan", Scope::DevicesRead, get(scan::plan)),
        read("/api/v1/scans/{id}", Scope::DevicesRead, get(scan::show)),
        read("/api/v1/scans/{id}/found", Scope::DevicesRead, get(scan::found)),
        read("/api/v1/scans/{id}/difference", Scope::DevicesRead, get(scan::difference)),
        write("/api/v1/scans/{id}/stop", Scope::DevicesWrite, post(scan::stop)),
        read("/api/v1/rounds", Scope::DevicesRead, get(rounds::list)),
        write("/api/v1/rounds", Scope::DevicesWrite, post(rounds::start)),
        read("/api/v1/rounds/{id}", Scope::DevicesRead, get(rounds::show)),
        read("/api/v1/rounds/{id}/phones", Scope::DevicesRead, get(rounds::phones)),
        write("/api/v1/rounds/{id}/stop", Scope::DevicesWrite, post(rounds::stop)),
        read("/api/v1/audit", Scope::AuditRead, get(audit::list)),
        read("/api/v1/alarms", Scope::DevicesRead, get(alarms::list)),
        read("/api/v1/doctor", Scope::DevicesRead, get(doctor::look)),
        write("/api/v1/alarms/{id}/done", Scope::DevicesWrite, post(alarms::done)),
    ]
}

/// The routes, behind what every request goes through.
pub(super) fn router(shared: &Shared) -> Router {
    let mut router = Router::new();
    for Route { path, scope, handler, .. } in routes() {
        let handler = match scope {
            Some(scope) => {
                handler.route_layer(from_fn_with_state((Shared::clone(shared), scope), access::check))
            }
            None => handler,
        };
        router = router.route(path, handler);
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(Shared::clone(shared), door))
        .with_state(Shared::clone(shared))
}

/// Every request comes in and goes out here.
async fn door(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    // Whoever takes a file says itself when it takes too long.
    let patience = if is_file(request.headers()) { FILE_MAX + REQUEST_MAX } else { REQUEST_MAX };
    let mut response = match admitted(&shared, &request) {
        Err(problem) => problem.into_response(),
        // On a task of its own: who hangs up leaves nothing half done.
        Ok(()) => match tokio::time::timeout(patience, tokio::spawn(next.run(request))).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => broken().into_response(),
            Err(_) => too_late(patience).into_response(),
        },
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Whether a request is meant for this host, and not made by a page of somebody else.
fn admitted(shared: &Shared, request: &Request) -> Result<(), Problem> {
    let AdminParts { config, interfaces, .. } = &shared.0.parts;
    let table = interfaces.current();
    let local = request.extensions().get::<Ends>().map(|ends| ends.local);
    let is_asked = local.is_some_and(|local| {
        let own = Own { local, table: &Arc::clone(&table), names: &config.admin.hosts };
        own.is_asked(request.uri(), request.headers())
    });
    if !is_asked {
        return Err(Problem::asked(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "this agent is not reached by that name",
            "use localhost or an address of this host, or add the name to admin.hosts",
        ));
    }
    if is_of_another_site(request.method(), request.headers()) {
        let message = "a page of another site made this request";
        return Err(Problem::asked(
            StatusCode::FORBIDDEN,
            "cross_site",
            message,
            "use a program that is no browser",
        ));
    }
    Ok(())
}

fn broken() -> Problem {
    let failure =
        Failure::failed("bug", "the request met a fault of this program", "the agent's log says where");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, failure)
}

fn too_late(patience: Duration) -> Problem {
    let message = format!("the request was not done within {} s", patience.as_secs());
    let remedy = "try again, with the same Idempotency-Key where it had one";
    Problem::asked(StatusCode::SERVICE_UNAVAILABLE, "timeout", message, remedy)
}
