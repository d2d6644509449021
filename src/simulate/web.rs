//! A phone's web interface, while the phone stays up: HTTP as its vendor's phones speak it, from one data file for each
//! interface (`src/simulate/web/*.toml`, with its sources). What a form sets becomes the phone's settings, and the phone
//! fetches from a URL that it was given for real. What no source says is left out; each file lists that.

mod door;
mod form;
mod interface;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use door::{Caller, Door, Entry};
use form::Fields;
use interface::{Interface, Kind, Page, Reply, Then};

use super::Phone;
use super::report::{Failure, StepKind};
use super::stay::{Call, Known, Log};
use crate::secret::Secret;

/// The longest form that is read: a configuration in one.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A visitor that does not finish its request is dropped.
const HEAD_WAIT: Duration = Duration::from_secs(10);
const VISIT_MAX: Duration = Duration::from_secs(60);
/// Phones serve few at once.
const VISITORS_MAX: usize = 16;

/// The web interface of a phone that stays up.
#[derive(Debug, Clone)]
pub struct Web {
    /// The port; 0: any free one.
    pub port: u16,
    /// Which interface, by its name; the one of the phone's profile unless given.
    pub interface: Option<String>,
    /// The password, where it is not the factory's and no configuration gave another.
    pub password: Option<Secret>,
    /// Whether somebody at the phone has allowed remote control.
    pub remote_control: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self { port: 80, interface: None, password: None, remote_control: false }
    }
}

/// The names of every interface.
pub fn interfaces() -> impl Iterator<Item = &'static str> {
    interface::FILES.iter().map(|(name, _)| *name)
}

/// The phone's web server.
pub(super) struct Site<'a, 'l> {
    listener: TcpListener,
    local: SocketAddrV4,
    phone: &'a Phone,
    web: &'a Web,
    interface: Interface,
    known: &'a Known,
    log: &'a Log<'l>,
    calls: mpsc::Sender<Call>,
    door: Mutex<Door>,
}

/// An answer, and what follows it once it has been sent.
struct Answer {
    reply: Reply,
    calls: Vec<Call>,
    told: String,
}

impl<'a, 'l> Site<'a, 'l> {
    /// Opens the site on this address.
    pub(super) fn open(
        phone: &'a Phone,
        web: &'a Web,
        address: Ipv4Addr,
        known: &'a Known,
        log: &'a Log<'l>,
        calls: mpsc::Sender<Call>,
    ) -> Result<Self, Failure> {
        let at = SocketAddrV4::new(address, web.port);
        let cannot =
            |error: String| Failure::new(StepKind::Visit, format!("cannot show a web page on {at}: {error}"));
        let named = web.interface.as_deref().or(phone.habits.sheet.web.as_deref());
        let Some(interface) = named.and_then(|name| Interface::of(name, &phone.habits)) else {
            let names: Vec<&str> = interfaces().collect();
            let reason = format!("no web interface of this phone is known; there are {}", names.join(", "));
            return Err(Failure::new(StepKind::Visit, reason));
        };
        let bind = || {
            let listener = std::net::TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = bind().map_err(|error| cannot(error.to_string()))?;
        let port = listener.local_addr().map_err(|error| cannot(error.to_string()))?.port();
        let local = SocketAddrV4::new(address, port);
        Ok(Self { listener, local, phone, web, interface, known, log, calls, door: Mutex::default() })
    }

    /// Where it listens.
    pub(super) fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// Serves as long as it is polled.
    pub(super) async fn serve(&self) -> Infallible {
        let mut visits = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if visits.len() < VISITORS_MAX => {
                    if let Ok((stream, from)) = accepted {
                        visits.push(self.visit(stream, from));
                    }
                }
                Some(()) = visits.next() => {}
            }
        }
    }

    /// One connection. What it makes the phone do is done when the answer has been sent.
    async fn visit(&self, stream: TcpStream, from: SocketAddr) {
        let calls = Mutex::new(Vec::new());
        let service = service_fn(|request: Request<Incoming>| async {
            let answer = self.hear(request).await;
            self.log.note(StepKind::Visit, format!("{} from {}", answer.told, from.ip()));
            let acts = !answer.calls.is_empty();
            calls.lock().unwrap_or_else(PoisonError::into_inner).extend(answer.calls);
            Ok::<_, Infallible>(response(&answer.reply, acts))
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).title_case_headers(true);
        // What is not HTTP is hyper's 400, and none of the phone's.
        let _ = tokio::time::timeout(VISIT_MAX, server.serve_connection(TokioIo::new(stream), service)).await;
        let made = std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner));
        for call in made {
            let _ = self.calls.send(call).await;
        }
    }

    async fn hear(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let said = format!("{} {}", head.method, head.uri.path());
        let limited = Limited::new(body, BODY_BYTES_MAX).collect();
        let answer = match tokio::time::timeout(HEAD_WAIT, limited).await {
            Ok(Ok(body)) => self.decide(&head, &body.to_bytes()),
            _ => told(status(StatusCode::PAYLOAD_TOO_LARGE), "more than the phone reads"),
        };
        let number = answer.reply.status.unwrap_or(200);
        let told = if answer.told.is_empty() { String::new() } else { format!(", {}", answer.told) };
        Answer { told: format!("{}: {number}{told}", super::url::shorten(&said)), ..answer }
    }

    fn decide(&self, head: &hyper::http::request::Parts, body: &Bytes) -> Answer {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(missing) = self.interface.needs.iter().find(|name| header(name).is_none()) {
            return told(status(StatusCode::FORBIDDEN), &format!("no {missing}"));
        }
        let query = Fields::of_form(head.uri.query().unwrap_or_default().as_bytes());
        let form = Fields::of_body(body);
        let fields = query.and(&form);
        let caller = Caller {
            method: head.method.as_str(),
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
            authorization: header("authorization"),
            cookies: header("cookie").unwrap_or_default(),
            fields: &fields,
        };
        let fresh = self.phone.spec.entropy.text("0123456789abcdef", 16).unwrap_or_default();
        let mut door = self.door();
        let fitting = self
            .interface
            .page
            .iter()
            .filter(|page| page.fits(caller.method, head.uri.path(), &query, &form));
        let now = self.phone.spec.clock.instant();
        let mut there = fitting.filter(|page| {
            page.seen.as_ref().is_none_or(|path| door.seen.contains(path))
                && (!page.inside
                    || door.admits(&self.interface, Kind::Session, &caller, None, now) != Entry::Wrong)
        });
        let Some(page) = there.next() else {
            let missing = self.interface.missing.as_ref();
            let reply = missing.map(|reply| self.fill(reply, "", "", &door));
            return told(reply.unwrap_or_else(|| status(StatusCode::NOT_FOUND)), "");
        };
        drop(there);
        if let Some(missing) = page.needs.iter().find(|name| header(name).is_none()) {
            return told(status(StatusCode::FORBIDDEN), &format!("no {missing}"));
        }
        if page.remote && !self.web.remote_control {
            return told(status(StatusCode::FORBIDDEN), "remote control is not allowed");
        }
        if let Some(answer) = self.enter(page, &caller, &fresh, &mut door) {
            return answer;
        }
        if !page.anyone
            && let Some(answer) = self.turn_away(page, &caller, &fresh, &mut door)
        {
            return answer;
        }
        self.show(page, &caller, (header("content-type").unwrap_or_default(), body), &fresh, &mut door)
    }

    /// The end of a login page's form; none where the page is not one.
    fn enter(&self, page: &Page, caller: &Caller<'_>, fresh: &str, door: &mut Door) -> Option<Answer> {
        let form = page.login.as_ref()?;
        let password = self.password();
        let now = self.phone.spec.clock.instant();
        let entry = door.enter(&self.interface, form, caller, password.as_ref(), (fresh, now));
        Some(match entry {
            Entry::Right(sid) => {
                let is_factory =
                    password.as_ref().map(Secret::expose) == self.interface.login.password.as_deref();
                let shown = form.virgin.as_ref().filter(|_| is_factory).unwrap_or(&page.reply);
                let mut reply = self.fill(shown, &sid, "", door);
                if let Some(cookie) = &self.interface.login.cookie {
                    reply.headers.insert("Set-Cookie".to_owned(), format!("{cookie}={sid}; path=/"));
                }
                Answer { calls: next(page).into_iter().collect(), ..told(reply, "logged in") }
            }
            Entry::Wrong => told(self.fill(&form.failed, "", fresh, door), "wrong password"),
            Entry::Locked => self.locked(door),
        })
    }

    /// The answer to somebody who may not see a page; none where the caller may.
    fn turn_away(&self, page: &Page, caller: &Caller<'_>, fresh: &str, door: &mut Door) -> Option<Answer> {
        let password = self.password();
        let now = self.phone.spec.clock.instant();
        let kind = if page.basic { Kind::Basic } else { self.interface.login.kind };
        match door.admits(&self.interface, kind, caller, password.as_ref(), now) {
            Entry::Right(_) => None,
            Entry::Locked => Some(self.locked(door)),
            Entry::Wrong => {
                let mut reply = self.fill(&self.interface.stranger, "", fresh, door);
                let realm = &self.interface.login.realm;
                let challenge = match kind {
                    Kind::Session => return Some(told(reply, "not logged in")),
                    Kind::Basic => format!("Basic realm=\"{realm}\""),
                    Kind::Digest => {
                        let nonce = door.issue(&self.interface, caller, fresh);
                        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"")
                    }
                };
                reply.status = Some(401);
                reply.headers.insert("WWW-Authenticate".to_owned(), challenge);
                let why = if caller.authorization.is_some() { "wrong password" } else { "no password" };
                Some(told(reply, why))
            }
        }
    }

    fn show(
        &self,
        page: &Page,
        caller: &Caller<'_>,
        (kind, body): (&str, &Bytes),
        fresh: &str,
        door: &mut Door,
    ) -> Answer {
        door.seen.insert(page.path.clone());
        if page.logout {
            door.leave(&self.interface, caller);
        }
        let nonce = if page.issues { door.issue(&self.interface, caller, fresh) } else { String::new() };
        let sid = self.interface.login.field.as_ref().and_then(|name| caller.fields.get(name));
        let reply = self.fill(&page.reply, sid.unwrap_or_default(), &nonce, door);
        let settings: Vec<(String, String)> =
            page.set.iter().flat_map(|set| set.find(caller.fields)).collect();
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        let mut said = if names.is_empty() { String::new() } else { format!("sets {}", names.join(", ")) };
        let mut calls = Vec::new();
        if !settings.is_empty() {
            let secret = |(name, value): (String, String)| (name, Secret::new(&value));
            calls.push(Call::Set(settings.into_iter().map(secret).collect()));
        }
        if page.upload {
            match form::uploaded(kind, body) {
                Some(file) => calls.push(Call::File(file.to_vec())),
                None => "no file in it".clone_into(&mut said),
            }
        }
        calls.extend(next(page));
        Answer { reply, calls, told: said }
    }

    fn locked(&self, door: &Door) -> Answer {
        let reply = self.interface.lock.as_ref().map(|lock| lock.reply.clone()).unwrap_or_default();
        told(self.fill(&reply, "", "", door), "locked after wrong passwords")
    }

    /// The password that counts: a configuration's, the one that the phone was started with, the factory's.
    fn password(&self) -> Option<Secret> {
        let lessons = self.known.lessons();
        let own = match &self.interface.login.setting {
            Some(setting) => lessons.password_at(setting),
            None => lessons.web_password.clone(),
        };
        own.or_else(|| self.web.password.clone())
            .or_else(|| self.interface.login.password.as_deref().map(Secret::new))
    }

    fn fill(&self, reply: &Reply, sid: &str, nonce: &str, door: &Door) -> Reply {
        let lock = self.interface.lock.as_ref();
        let minutes = lock.and_then(|lock| lock.minutes).unwrap_or_default().to_string();
        let left = door.left(lock).to_string();
        let words = [("{sid}", sid), ("{nonce}", nonce), ("{left}", &left), ("{minutes}", &minutes)];
        let fill =
            |text: &str| words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
        let mut headers = self.interface.headers.clone();
        headers.extend(reply.headers.clone());
        Reply {
            status: reply.status,
            headers: headers.into_iter().map(|(name, value)| (name, fill(&value))).collect(),
            body: fill(&reply.body),
        }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next(page: &Page) -> Option<Call> {
    page.then.map(|then| match then {
        Then::Resync => Call::Resync,
        Then::Reboot => Call::Reboot,
    })
}

fn status(status: StatusCode) -> Reply {
    let body = format!("<html><head><title>{status}</title></head><body>{status}</body></html>");
    Reply { status: Some(status.as_u16()), body, ..Reply::default() }
}

fn told(reply: Reply, told: &str) -> Answer {
    Answer { reply, calls: Vec::new(), told: told.to_owned() }
}

fn response(reply: &Reply, last: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body.clone())));
    *response.status_mut() =
        reply.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/html"));
    for (name, value) in &reply.headers {
        put(headers, name, value);
    }
    if last {
        put(headers, "Connection", "close");
    }
    response
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
    if let (Ok(name), Ok(value)) = (name, value) {
        headers.insert(name, value);
    }
}
