//! The walk of a request for the user menu: who is it, does it know the phone's menu credential, and the page in the
//! dialect of its vendor. Waits for the neighbour table and, once after each change, for the contacts.
//!
//! A phone on our link is known by its neighbour entry or its certificate, as for its files; whether it must show the
//! credential as well, its profile says. Whoever comes from elsewhere is asked for the credential, whatever phone it
//! names, so that nobody learns which are ours.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use tracing::{debug, warn};

use super::credential::{self, Covered, Shown, Verdict, Wrongs};
use super::desk::{Desk, Inner};
use super::{Answer, FileBody, FileRequest, Proof};
use crate::clock::Timestamp;
use crate::config::MenuConfig;
use crate::device::{Approval, Channel, Device, Identity, Mac, Step as Life};
use crate::menu::{self, Again, Ask, Asked, Book, Page, Passwords, Phone, Scene};
use crate::net::limit::Limiter;
use crate::profile::{self, MenuAuth, MenuForm, Profile, Told, Zone};
use crate::release::{Grant, Grants};
use crate::secret::{Secret, SecretKind};

/// How often somebody at a phone may have it told to fetch its settings: once it has done so it needs no more.
const AGAIN_EVERY: Duration = Duration::from_mins(2);
/// Phones that are remembered for that; beyond, nobody is told until some are forgotten.
const AGAIN_MAX: usize = 16_384;

/// Somebody at a phone wants it to fetch its settings once more. Who takes this tells the phone; no password is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisionAgain {
    /// Which phone.
    pub mac: Mac,
    /// From where it was asked.
    pub peer: IpAddr,
    /// By which service.
    pub channel: Channel,
}

/// What a phone asks of its menu.
#[derive(Debug, Clone, Copy)]
pub struct MenuRequest<'a> {
    /// Who asks, and for which path.
    pub file: &'a FileRequest,
    /// Behind the question mark, as it came.
    pub query: &'a str,
    /// `GET` or `HEAD`.
    pub method: &'a str,
    /// Path and query as they came.
    pub target: &'a str,
    /// The Authorization header.
    pub authorization: Option<&'a str>,
}

/// What it gets.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives for one request")]
pub enum MenuAnswer {
    /// A page, or that there is none.
    Given(Answer),
    /// 401 with these WWW-Authenticate headers.
    Unauthorized(Vec<String>),
}

/// What the desk remembers for the menu.
#[derive(Debug)]
pub(super) struct Menu {
    book: Mutex<Option<(i64, Arc<Book>)>>,
    wrongs: Mutex<Wrongs>,
    again: Mutex<Limiter<Mac>>,
}

impl Default for Menu {
    fn default() -> Self {
        let again = Mutex::new(Limiter::new(1, AGAIN_EVERY, AGAIN_MAX));
        Self { book: Mutex::default(), wrongs: Mutex::default(), again }
    }
}

/// A phone of ours, and how its pages are drawn.
struct Viewer<'a> {
    device: Arc<Device>,
    profile: Option<&'a Profile>,
    form: MenuForm,
    /// Whether no profile says how.
    is_html: bool,
}

impl Desk {
    /// The page that this peer gets.
    pub async fn menu(&self, request: &MenuRequest<'_>) -> MenuAnswer {
        let inner = &self.0;
        let asked = Asked::parse(&request.file.path, request.query);
        let Some(asked) = asked.filter(|_| inner.parts.menu.enabled) else {
            return MenuAnswer::Given(Answer::NotFound);
        };
        let (proof, interface) = inner.proof(request.file).await;
        let neighbour = match proof {
            Proof::Neighbour(mac) => Some(mac),
            Proof::Silent | Proof::OffLink => None,
        };
        match inner.certified(request.file, interface.is_some()).or(neighbour) {
            Some(mac) => inner.menu_of_neighbour(request, &asked, mac).await,
            None => inner.menu_of_stranger(request, &asked).await,
        }
    }
}

impl Inner {
    /// Who asks is proven to be the phone `mac`.
    async fn menu_of_neighbour(&self, request: &MenuRequest<'_>, asked: &Asked, mac: Mac) -> MenuAnswer {
        let named = asked.mac.unwrap_or(mac);
        let Some(viewer) = self.viewer(named, &asked.ask).filter(|_| named == mac) else {
            return MenuAnswer::Given(self.in_vain(request.file, named));
        };
        if viewer.form.auth == MenuAuth::None {
            return self.shown(request, asked, &viewer).await;
        }
        match self.credential(request, &viewer, asked.mac.is_none()) {
            Verdict::Right => self.shown(request, asked, &viewer).await,
            verdict => self.unauthorized(viewer.form.auth, verdict, viewer.is_html),
        }
    }

    /// Who asks may be anybody: without the credential it gets what everybody gets, for every phone that it may name.
    async fn menu_of_stranger(&self, request: &MenuRequest<'_>, asked: &Asked) -> MenuAnswer {
        let user = request.authorization.and_then(Shown::read).map(|shown| shown.user().to_owned());
        let mac = asked.mac.or_else(|| user?.parse().ok());
        let viewer = mac.and_then(|mac| self.viewer(mac, &asked.ask));
        let verdict = match &viewer {
            Some(viewer) => self.credential(request, viewer, asked.mac.is_none()),
            None => Verdict::Wrong,
        };
        match viewer.filter(|_| verdict == Verdict::Right) {
            Some(viewer) => self.shown(request, asked, &viewer).await,
            None => self.unauthorized(MenuAuth::Digest, verdict, false),
        }
    }

    fn unauthorized(&self, auth: MenuAuth, verdict: Verdict, choose: bool) -> MenuAnswer {
        let nonce = self.nonce(self.parts.clock.now().0);
        let stale = verdict == Verdict::Stale;
        MenuAnswer::Unauthorized(credential::challenges(auth, &nonce, stale, choose))
    }

    /// The challenge of a moment: nobody else can make one, and nobody has to remember it.
    fn nonce(&self, at: i64) -> String {
        let seal = self.parts.store.keys().fingerprint(&Secret::new(format!("menu challenge {at}")));
        format!("{at:x}-{seal}")
    }

    /// The phone of ours that this MAC is, if its vendor shows such pages.
    fn viewer(&self, mac: Mac, ask: &Ask) -> Option<Viewer<'_>> {
        let device = self.parts.store.inventory().device(mac)?;
        let profile = device.vendor.as_ref().and_then(|vendor| self.parts.catalog.get(vendor));
        let profile = profile.map(AsRef::as_ref);
        let form = match ask {
            Ask::Phonebook => Some(profile.and_then(Profile::phonebook)?),
            _ => profile.and_then(Profile::menu),
        };
        let is_html = form.is_none();
        let form = form.cloned().unwrap_or_else(profile::html_form);
        (device.approval == Approval::Approved).then_some(Viewer { device, profile, form, is_html })
    }

    /// Whether the menu credential of this phone was shown. The user is the phone's MAC, or one of its numbers where the
    /// path names the phone.
    fn credential(&self, request: &MenuRequest<'_>, viewer: &Viewer<'_>, by_mac: bool) -> Verdict {
        let device = &viewer.device;
        let Some(shown) = request.authorization.and_then(Shown::read) else { return Verdict::Wrong };
        let pair = (request.file.peer, device.mac);
        let now = self.parts.clock.instant();
        if !self.wrongs().are_few(pair, now) {
            debug!(device.mac = %device.mac, "{} has shown too many wrong menu credentials", request.file.peer);
            return Verdict::Wrong;
        }
        let is_mac = shown.user().parse() == Ok(device.mac);
        let is_line = device.lines.iter().any(|line| line.account.username == shown.user());
        let may_be_basic = viewer.form.auth == MenuAuth::Basic || request.file.channel == Channel::Https;
        let fits = matches!(shown, Shown::Digest(_)) || may_be_basic;
        let covered = Covered { method: request.method, target: request.target };
        let checked =
            |password: Secret| shown.check(&password, covered, self.parts.clock.now(), |at| self.nonce(at));
        let verdict = match self.menu_password(viewer) {
            Some(password) if fits && (is_mac || is_line && !by_mac) => checked(password),
            _ => Verdict::Wrong,
        };
        match verdict {
            Verdict::Right => self.wrongs().forget(pair),
            Verdict::Wrong => self.wrongs().note(pair, now),
            Verdict::Stale => {}
        }
        verdict
    }

    /// The password; where the vendor has one for menu and web page, it is that one.
    fn menu_password(&self, viewer: &Viewer<'_>) -> Option<Secret> {
        let kind =
            viewer.profile.map_or(SecretKind::Menu, |profile| profile.release().kind_of(SecretKind::Menu));
        let opened = self.parts.store.reveal(&viewer.device, kind, None);
        let opened = opened.inspect_err(|error| {
            warn!(device.mac = %viewer.device.mac, "Cannot open a menu credential: {error}");
        });
        opened.ok().flatten().filter(|password| !password.is_empty())
    }

    /// The page itself.
    async fn shown(&self, request: &MenuRequest<'_>, asked: &Asked, viewer: &Viewer<'_>) -> MenuAnswer {
        let file = request.file;
        let Some(root) = self.parts.roots.for_request(file.local, file.channel) else {
            return MenuAnswer::Given(Answer::Unavailable);
        };
        let device = &viewer.device;
        let url = format!("{}menu/{}/", root.url(file.local), device.mac.bare());
        let book = self.book().await;
        let config = &self.parts.menu;
        let mut phone = phone(device, viewer.profile);
        if asked.ask == Ask::Status {
            self.add_state(&mut phone, device).await;
        }
        let scene = Scene {
            url: &url,
            language: &self.parts.site.language,
            phone: &phone,
            book: &book,
            forward_on: MenuConfig::code(&config.forward_on),
            forward_off: MenuConfig::code(&config.forward_off),
            quiet_on: MenuConfig::code(&config.dnd_on),
            quiet_off: MenuConfig::code(&config.dnd_off),
            again: self.again(request, asked, viewer),
            items_max: viewer.form.items_max,
        };
        let (ask, items_max, list) = part(asked, request.query, &viewer.form);
        let answer = match drawn(&ask, &Scene { items_max, ..scene }, viewer, &list) {
            Ok(Some((text, left_out))) => {
                if left_out > 0 && self.is_news(file.peer, device.mac) {
                    warn!(
                        device.mac = %device.mac,
                        "The directory is longer than {} reads: {left_out} entries are left out", device.mac
                    );
                }
                Answer::File(FileBody {
                    bytes: Bytes::from(text),
                    content_type: viewer.form.content_type.clone(),
                    etag: String::new(),
                    ranges: false,
                    receipt: None,
                })
            }
            Ok(None) => Answer::NotFound,
            Err(reason) => {
                if self.is_news(file.peer, device.mac) {
                    warn!(device.mac = %device.mac, "Cannot draw a page of the menu of {}: {reason}", device.mac);
                }
                Answer::Unavailable
            }
        };
        let told = match asked.ask {
            Ask::Start => Some("opened its menu"),
            Ask::Phonebook => Some("fetched the directory"),
            _ => None,
        };
        if let (Answer::File(_), Some(told)) = (&answer, told) {
            let vendor = device.vendor.clone();
            let identity = Identity { mac: Some(device.mac), vendor, ..Identity::default() };
            self.heard_of(file, &identity, Life::Served, told);
        }
        MenuAnswer::Given(answer)
    }

    /// What is known of how the phone stands.
    async fn add_state(&self, phone: &mut Phone, device: &Device) {
        let store = &self.parts.store;
        let zone = Zone::named(&self.parts.site.timezone).ok();
        let zone = zone.and_then(|zone| TimeZone::posix(&zone.posix).ok()).unwrap_or(TimeZone::UTC);
        let fetched = store.fetched(device.mac).await.unwrap_or_else(|error| {
            warn!(device.mac = %device.mac, "Cannot read what {} has fetched: {error}", device.mac);
            Vec::new()
        });
        phone.seen = device.last_seen.and_then(|seen| shown_at(seen, &zone));
        let newest = fetched.iter().map(|file| file.at).max();
        phone.configured = newest.and_then(|at| shown_at(at, &zone));
        phone.passwords = store.inventory().grants(device.mac).and_then(|grants| passwords(&grants));
    }

    /// Whether this phone can be told to fetch its settings; where somebody at it said yes, it is.
    fn again(&self, request: &MenuRequest<'_>, asked: &Asked, viewer: &Viewer<'_>) -> Again {
        let device = &viewer.device;
        let means = viewer.profile.and_then(|profile| profile.means(Told::Resync, device.model.as_deref()));
        if means.is_none() {
            return Again::ByRestart;
        }
        // Only GET says yes: whoever looks what a page is like has pressed nothing.
        if asked.ask != (Ask::Again { now: true }) || request.method != "GET" {
            return Again::Offered;
        }
        if !lock(&self.menu.again).allows(device.mac, self.parts.clock.instant()) {
            return Again::Later;
        }
        let FileRequest { peer, channel, .. } = *request.file;
        match self.parts.again.try_send(ProvisionAgain { mac: device.mac, peer, channel }) {
            Ok(()) => Again::Told,
            Err(_) => Again::Later,
        }
    }

    /// The directory as of the last change of the inventory.
    async fn book(&self) -> Arc<Book> {
        let generation = self.parts.store.inventory().generation();
        let kept = lock(&self.menu.book).clone();
        if let Some((_, book)) = kept.filter(|(at, _)| *at == generation) {
            return book;
        }
        let contacts = self.parts.store.contacts().await.unwrap_or_else(|error| {
            warn!("Cannot read the contacts of the directory: {error}");
            Vec::new()
        });
        let holdings = self.parts.store.inventory().accounts();
        let held = holdings.iter().filter(|holding| holding.on.is_some());
        let accounts = held.map(|holding| (holding.account.as_ref(), holding.label.as_deref()));
        let book = Arc::new(Book::new(accounts, &contacts));
        *lock(&self.menu.book) = Some((generation, Arc::clone(&book)));
        book
    }

    fn wrongs(&self) -> MutexGuard<'_, Wrongs> {
        lock(&self.menu.wrongs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn phone(device: &Device, profile: Option<&Profile>) -> Phone {
    let name = |line: &crate::device::Line| {
        let account = &line.account;
        let name = line.label.as_ref().or(account.display_name.as_ref()).unwrap_or(&account.username);
        (name.clone(), account.username.clone())
    };
    let vendor = profile.map_or("", Profile::display_name);
    Phone {
        lines: device.lines.iter().map(name).collect(),
        model: device.model.as_ref().map(|model| format!("{vendor} {model}").trim().to_owned()),
        mac: device.mac.to_string(),
        ..Phone::default()
    }
}

/// How the passwords of a phone stand together: ready if one is, delivered if all are.
fn passwords(grants: &Grants) -> Option<Passwords> {
    let grants = &grants.grants;
    if grants.is_empty() {
        None
    } else if grants.iter().any(Grant::is_armed) {
        Some(Passwords::Ready)
    } else if grants.iter().all(|grant| grant.delivered == Some(grant.version)) {
        Some(Passwords::Delivered)
    } else {
        Some(Passwords::Locked)
    }
}

/// A moment as the clocks of the site show it, to the minute.
fn shown_at(at: Timestamp, zone: &TimeZone) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone());
    Some(at.strftime("%Y-%m-%d %H:%M").to_string())
}

/// Which part of the directory a phone gets that asks for all of it, and which of its lists it calls that: its profile says
/// whether it pages by itself, by our links, or not at all.
fn part(asked: &Asked, query: &str, form: &MenuForm) -> (Ask, usize, String) {
    let whole = |from, search| Ask::Directory { from, search };
    match &form.query {
        Some(names) if asked.ask == Ask::Phonebook => {
            let number = |name: &str| menu::typed(query, name).parse::<usize>().ok();
            let from = number(&names.first).unwrap_or(1).saturating_sub(1);
            let count = number(&names.count).filter(|count| *count > 0).unwrap_or(form.items_max);
            let search = menu::typed(query, &names.search).replace('*', "");
            (whole(from, search), count.min(form.items_max), menu::typed(query, &names.kind))
        }
        None if asked.ask == Ask::Phonebook && form.paged => {
            (whole(0, String::new()), form.items_max, String::new())
        }
        _ => (asked.ask.clone(), form.items_max, String::new()),
    }
}

/// Draws with as many entries as fit into the octets that the phone reads; with the text, how many of a whole directory
/// found no place.
fn drawn(
    ask: &Ask,
    scene: &Scene<'_>,
    viewer: &Viewer<'_>,
    list: &str,
) -> Result<Option<(String, usize)>, String> {
    let form = &viewer.form;
    let draw = |page: &Page| match viewer.profile.filter(|_| !viewer.is_html) {
        Some(profile) => profile.draw_page(form, page, viewer.device.model.as_deref(), list),
        None => profile::draw_html(page),
    };
    let mut items_max = scene.items_max;
    loop {
        let Some(page) = menu::page(ask, &Scene { items_max, ..*scene }) else { return Ok(None) };
        let text = draw(&page)?;
        if text.len() <= form.bytes_max {
            let left_out = page.total.saturating_sub(page.entries.len());
            return Ok(Some((text, if *ask == Ask::Phonebook { left_out } else { 0 })));
        }
        let shown = page.entries.len();
        if shown <= 1 {
            return Err(format!("a page has {} octets, and the phone reads {}", text.len(), form.bytes_max));
        }
        items_max = (shown * form.bytes_max / text.len()).clamp(1, shown - 1);
    }
}
