//! What stands on a page of the menu: titles, items, people and fields, in no vendor's form.

use serde::Serialize;

use super::book::{Book, Entry, clean, dialled};
use super::words::{Words, words};
use super::{Ask, NUMBER, SEARCH};

/// The phone that looks at its menu, as far as it is to be shown.
#[derive(Debug, Clone, Default)]
pub struct Phone {
    /// Names and numbers of its lines: `Reception`, `201`.
    pub lines: Vec<(String, String)>,
    /// What it is: `snom D785`.
    pub model: Option<String>,
    /// Its MAC.
    pub mac: String,
    /// When it was last heard, in words.
    pub seen: Option<String>,
    /// Since when it has the settings that it has, in words.
    pub configured: Option<String>,
    /// How its passwords stand; `None`: it has none.
    pub passwords: Option<Passwords>,
}

/// How a phone's passwords stand, as far as whoever is at it may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passwords {
    /// They leave with the phone's next request.
    Ready,
    /// The phone has them.
    Delivered,
    /// They leave when an operator says so.
    Locked,
}

/// Whether a phone can be told to fetch its settings once more, and what became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It can.
    Offered,
    /// No way is known to tell such a phone anything.
    ByRestart,
    /// It is being told.
    Told,
    /// It was told a moment ago, or nobody can tell it now.
    Later,
}

/// Everything that a page may need.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The menu's URL for this phone, with the slash behind.
    pub url: &'a str,
    /// ISO 639-1.
    pub language: &'a str,
    /// Who looks.
    pub phone: &'a Phone,
    /// Everybody.
    pub book: &'a Book,
    /// What the PBX is dialled for forwarding: `*72{number}`.
    pub forward_on: Option<&'a str>,
    /// To end it.
    pub forward_off: Option<&'a str>,
    /// For do not disturb.
    pub quiet_on: Option<&'a str>,
    /// To end it.
    pub quiet_off: Option<&'a str>,
    /// Whether it can be provisioned once more.
    pub again: Again,
    /// How many entries a page has at most.
    pub items_max: usize,
}

/// The kinds of pages, as templates name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Items that lead to further pages.
    Menu,
    /// Lines of text.
    Text,
    /// People and codes that can be dialled.
    Directory,
    /// A field to type into.
    Input,
}

/// An item that leads on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What is shown.
    pub label: String,
    /// Where it leads.
    pub url: String,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Which kind.
    pub kind: Kind,
    /// Above it.
    pub title: String,
    /// Of a menu.
    pub items: Vec<Item>,
    /// Of a text.
    pub text: Vec<String>,
    /// Of a directory.
    pub entries: Vec<Entry>,
    /// Of a field: what is asked for.
    pub prompt: String,
    /// Of a field: how the URL's parameter is called.
    pub parameter: &'static str,
    /// Of a field: whether it takes a number.
    pub number: bool,
    /// Of a field: where what was typed goes.
    pub url: String,
    /// Of a directory: the first of its entries, from 1.
    pub first: usize,
    /// Of a directory: how many there are on all pages.
    pub total: usize,
    /// Further entries.
    pub next: Option<Item>,
    /// Those before.
    pub previous: Option<Item>,
    /// To search.
    pub search: Option<Item>,
    /// The page above this one.
    pub up: Option<Item>,
}

impl Page {
    fn new(kind: Kind, title: &str) -> Self {
        Self {
            kind,
            title: title.to_owned(),
            items: Vec::new(),
            text: Vec::new(),
            entries: Vec::new(),
            prompt: String::new(),
            parameter: SEARCH,
            number: false,
            url: String::new(),
            first: 1,
            total: 0,
            next: None,
            previous: None,
            search: None,
            up: None,
        }
    }
}

/// The page that was asked for; `None` where this site has none such.
pub fn page(ask: &Ask, scene: &Scene<'_>) -> Option<Page> {
    let words = words(scene.language);
    let mut page = match ask {
        Ask::Start => return Some(start(scene, words)),
        Ask::Status => status(scene, words),
        Ask::Search => field(words.search, words.search_for, SEARCH, scene.link("directory")),
        Ask::Directory { from, search } => directory(*from, search, scene, words),
        Ask::Forward { number } => forward(number, scene, words)?,
        Ask::ForwardOff => forward_off(scene, words)?,
        Ask::Quiet => quiet(scene, words)?,
        Ask::Again { .. } => again(scene, words),
        Ask::Phonebook => phonebook(scene, words),
    };
    page.up = Some(Item { label: words.menu.to_owned(), url: scene.url.to_owned() });
    Some(page)
}

impl Scene<'_> {
    fn link(&self, page: &str) -> String {
        format!("{}{page}", self.url)
    }

    fn item(&self, label: &str, page: &str) -> Item {
        Item { label: label.to_owned(), url: self.link(page) }
    }
}

fn start(scene: &Scene<'_>, words: &Words) -> Page {
    let own = scene.phone.lines.first().map(|(name, number)| titled(name, number));
    let mut page = Page::new(Kind::Menu, own.as_deref().unwrap_or(words.menu));
    page.items.push(scene.item(words.directory, "directory"));
    page.items.push(scene.item(words.search, "search"));
    if scene.forward_on.is_some() {
        page.items.push(scene.item(words.forward, "forward"));
    }
    if scene.forward_off.is_some() {
        page.items.push(scene.item(words.forward_off, "forward-off"));
    }
    if scene.quiet_on.is_some() || scene.quiet_off.is_some() {
        page.items.push(scene.item(words.quiet, "quiet"));
    }
    page.items.push(scene.item(words.phone, "status"));
    page.items.push(scene.item(words.again, "again"));
    page
}

fn status(scene: &Scene<'_>, words: &Words) -> Page {
    let Phone { lines, model, mac, seen, configured, passwords } = scene.phone;
    let mut page = Page::new(Kind::Text, words.phone);
    let own = lines.iter().map(|(name, number)| format!("{}: {}", words.number, titled(name, number)));
    page.text.extend(own);
    page.text.extend(model.iter().map(|model| format!("{}: {}", words.model, clean(model))));
    page.text.push(format!("MAC: {mac}"));
    page.text.extend(seen.iter().map(|seen| format!("{}: {seen}", words.seen)));
    page.text.extend(configured.iter().map(|at| format!("{}: {at}", words.configured)));
    let said = passwords.map(|passwords| match passwords {
        Passwords::Ready => words.ready,
        Passwords::Delivered => words.delivered,
        Passwords::Locked => words.locked,
    });
    page.text.extend(said.map(|said| format!("{}: {said}", words.passwords)));
    // Only the PBX knows; the phone itself shows it beside its lines.
    page.text.push(format!("{}: {}", words.registration, words.unknown));
    page
}

/// First a question, so that nobody does it in passing; then what became of it. It arms nothing: a phone that has its
/// passwords comes for its settings alone.
fn again(scene: &Scene<'_>, words: &Words) -> Page {
    let said = match scene.again {
        Again::Offered => {
            let mut page = Page::new(Kind::Menu, words.again);
            page.items.push(scene.item(words.again_now, "again/now"));
            return page;
        }
        Again::ByRestart => words.again_restart,
        Again::Told => words.again_told,
        Again::Later => words.again_later,
    };
    let mut page = Page::new(Kind::Text, words.again);
    page.text.push(said.to_owned());
    page
}

/// `Reception (201)`; once where both are the same.
fn titled(name: &str, number: &str) -> String {
    match clean(name) {
        name if name.is_empty() || name == number => clean(number),
        name => format!("{name} ({})", clean(number)),
    }
}

fn directory(from: usize, search: &str, scene: &Scene<'_>, words: &Words) -> Page {
    let search = clean(search);
    let title = if search.is_empty() { words.directory.to_owned() } else { search.clone() };
    let found = scene.book.find(&search);
    let most = scene.items_max.max(1);
    if found.is_empty() {
        let mut page = Page::new(Kind::Text, &title);
        page.text.push(words.nobody.to_owned());
        page.search = Some(scene.item(words.search, "search"));
        return page;
    }
    let mut page = Page::new(Kind::Directory, &title);
    page.entries = found.iter().skip(from).take(most).map(|entry| Entry::clone(entry)).collect();
    let at = |label: &str, from: usize| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair(SEARCH, &search).finish();
        let query = if search.is_empty() { String::new() } else { format!("?{query}") };
        scene.item(label, &format!("directory/{from}{query}"))
    };
    page.first = from.saturating_add(1);
    page.total = found.len();
    let end = from.saturating_add(page.entries.len());
    page.next = (end < found.len()).then(|| at(words.next, end));
    page.previous = (from > 0).then(|| at(words.previous, from.saturating_sub(most)));
    page.search = Some(scene.item(words.search, "search"));
    page
}

fn phonebook(scene: &Scene<'_>, words: &Words) -> Page {
    let mut page = Page::new(Kind::Directory, words.directory);
    let all = scene.book.find("");
    page.total = all.len();
    page.entries = all.into_iter().take(scene.items_max).cloned().collect();
    page
}

fn field(title: &str, prompt: &str, parameter: &'static str, url: String) -> Page {
    Page { prompt: prompt.to_owned(), parameter, url, ..Page::new(Kind::Input, title) }
}

/// First the field for a number, then the code that tells the PBX: the phone dials it, so the PBX knows whose calls.
/// Forwarding is ended by a page of its own, so that nobody has to type a number for that.
fn forward(number: &str, scene: &Scene<'_>, words: &Words) -> Option<Page> {
    let number = dialled(number);
    let code = scene.forward_on?;
    if number.is_empty() {
        let field = field(words.forward, words.forward_to, NUMBER, scene.link("forward"));
        return Some(Page { number: true, ..field });
    }
    let on = (format!("{} {number}", words.forward_to), code.replace("{number}", &number));
    codes(words.forward, [Some(on), None])
}

fn forward_off(scene: &Scene<'_>, words: &Words) -> Option<Page> {
    codes(words.forward, [Some((words.forward_off.to_owned(), scene.forward_off?.to_owned())), None])
}

fn quiet(scene: &Scene<'_>, words: &Words) -> Option<Page> {
    let code = |code: Option<&str>, way: &str| Some((format!("{}: {way}", words.quiet), code?.to_owned()));
    codes(words.quiet, [code(scene.quiet_on, words.on), code(scene.quiet_off, words.off)])
}

fn codes(title: &str, codes: [Option<(String, String)>; 2]) -> Option<Page> {
    let mut page = Page::new(Kind::Directory, title);
    page.entries =
        codes.into_iter().flatten().filter_map(|(name, code)| Entry::new(&name, "", &code)).collect();
    (!page.entries.is_empty()).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Contact;

    fn book(count: u32) -> Book {
        let contact = |n: u32| Contact {
            name: format!("Person {n:03}"),
            company: String::new(),
            numbers: vec![format!("{}", 1000 + n)],
        };
        let contacts: Vec<Contact> = (0..count).map(contact).collect();
        Book::new([], &contacts)
    }

    fn shown(ask: &Ask, book: &Book, forward: bool) -> Option<Page> {
        let phone = Phone {
            lines: vec![("Zoë".to_owned(), "201".to_owned())],
            model: Some("Acme X1".to_owned()),
            mac: "00:04:13:aa:bb:cc".to_owned(),
            configured: Some("2026-07-29 12:05".to_owned()),
            passwords: Some(Passwords::Delivered),
            seen: None,
        };
        let code = |code: &'static str| forward.then_some(code);
        let scene = Scene {
            url: "http://h/menu/000413aabbcc/",
            language: "de",
            phone: &phone,
            book,
            forward_on: code("*72{number}"),
            forward_off: code("*73"),
            quiet_on: code("*78"),
            quiet_off: None,
            again: Again::Offered,
            items_max: 20,
        };
        page(ask, &scene)
    }

    fn directory(from: usize, search: &str) -> Ask {
        Ask::Directory { from, search: search.to_owned() }
    }

    #[test]
    fn paging_forward_shows_everybody_once() {
        let book = book(45);
        let (mut from, mut seen) = (0, Vec::new());
        for _ in 0..3 {
            let page = shown(&directory(from, ""), &book, false).unwrap();
            from += page.entries.len();
            seen.extend(page.entries.iter().map(|entry| entry.number.clone()));
            assert_eq!(page.next.is_some(), from < 45);
        }
        seen.dedup();
        assert_eq!((seen.len(), from), (45, 45));
        assert_eq!(shown(&directory(usize::MAX, ""), &book, false).unwrap().entries, []);
    }

    #[test]
    fn a_search_goes_on_with_its_text_and_one_parameter() {
        let page = shown(&directory(0, "person & co"), &book(45), false).unwrap();
        assert_eq!((page.kind, page.text[0].as_str()), (Kind::Text, "Niemand gefunden"));
        let page = shown(&directory(0, "pérson"), &book(45), false).unwrap();
        let next = page.next.unwrap();
        assert_eq!(next.url, "http://h/menu/000413aabbcc/directory/20?q=p%C3%A9rson");
        assert!(!next.url.contains('&'));
    }

    #[test]
    fn codes_are_offered_where_the_site_has_them() {
        let book = book(1);
        let labels = |page: Page| page.items.into_iter().map(|item| item.label).collect::<Vec<_>>();
        let without = labels(shown(&Ask::Start, &book, false).unwrap());
        assert_eq!(without, ["Telefonbuch", "Suchen", "Dieses Telefon", "Einstellungen neu laden"]);
        let with = labels(shown(&Ask::Start, &book, true).unwrap());
        assert_eq!(with[2..5], ["Rufumleitung", "Umleitung aus", "Nicht stören"]);
        let forward = |number: &str| shown(&Ask::Forward { number: number.to_owned() }, &book, true).unwrap();
        assert_eq!(forward("").kind, Kind::Input);
        assert_eq!(forward("0171 / 55").entries[0].number, "*72017155");
        assert_eq!(shown(&Ask::ForwardOff, &book, true).unwrap().entries[0].number, "*73");
        assert_eq!(shown(&Ask::Quiet, &book, true).unwrap().entries[0].number, "*78");
        for ask in [Ask::Quiet, Ask::ForwardOff, Ask::Forward { number: "1".to_owned() }] {
            assert_eq!(shown(&ask, &book, false), None);
        }
    }

    #[test]
    fn a_phone_sees_its_own_number() {
        let page = shown(&Ask::Status, &book(0), false).unwrap();
        assert_eq!(page.text[0], "Nummer: Zoë (201)");
        assert_eq!(page.up.unwrap().url, "http://h/menu/000413aabbcc/");
        let state =
            ["Einstellungen vom: 2026-07-29 12:05", "Passwörter: auf dem Telefon", "Anmeldung: unbekannt"];
        assert_eq!(page.text[3..], state);
    }

    #[test]
    fn whoever_asks_for_its_settings_says_yes_first() {
        let page = shown(&Ask::Again { now: false }, &book(0), false).unwrap();
        assert_eq!((page.kind, page.items.len()), (Kind::Menu, 1));
        assert_eq!(page.items[0].url, "http://h/menu/000413aabbcc/again/now");
    }
}
