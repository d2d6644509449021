//! `[menu]`: how a vendor's phones show pages, and read a directory. A template draws a page of [`crate::menu`]'s; here
//! is what a profile says of it, and how a page that grows too long is made shorter.

use std::sync::LazyLock;

use minijinja::Value;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};

use super::Profile;
use super::escape::Writing;
use super::schema::Format;
use super::subject::Subject;
use super::template::{Maps, TemplateError, Templates};
use crate::device::Contact;
use crate::menu::{self, Again, Ask, Book, PHONEBOOK, Page, Phone, Scene};

/// How phones are told to show who is at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MenuAuth {
    /// HTTP digest (RFC 7616 with MD5).
    #[default]
    Digest,
    /// HTTP basic.
    Basic,
    /// They cannot: who they are is proven as for their files, or not at all.
    None,
}

/// `[menu]`, or `[menu.phonebook]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MenuToml {
    pub(super) template: String,
    #[serde(default = "text_xml")]
    pub(super) content_type: String,
    #[serde(default = "thirty")]
    pub(super) items_max: usize,
    #[serde(default = "sixty_four_k")]
    pub(super) bytes_max: usize,
    #[serde(default)]
    pub(super) auth: MenuAuth,
    #[serde(default)]
    pub(super) paged: bool,
    pub(super) query: Option<MenuQuery>,
}

/// How a phone that pages through the directory by itself calls what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MenuQuery {
    /// The beginning of a name, perhaps with stars.
    pub search: String,
    /// The first entry, from 1.
    pub first: String,
    /// How many.
    pub count: String,
    /// A word that is answered as it was asked: which of its lists the phone means.
    pub kind: String,
}

fn text_xml() -> String {
    "text/xml; charset=utf-8".to_owned()
}

const fn thirty() -> usize {
    30
}

const fn sixty_four_k() -> usize {
    64 * 1024
}

/// How one kind of page is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuForm {
    template: String,
    /// The media type.
    pub content_type: String,
    /// Entries on one page at most.
    pub items_max: usize,
    /// Octets of one page at most.
    pub bytes_max: usize,
    /// What proves who is there.
    pub auth: MenuAuth,
    /// Whether the directory comes page by page, as in the menu.
    pub paged: bool,
    /// Whether the phone says which part it wants.
    pub query: Option<MenuQuery>,
}

impl From<MenuToml> for MenuForm {
    fn from(toml: MenuToml) -> Self {
        let MenuToml { template, content_type, items_max, bytes_max, auth, paged, query } = toml;
        Self { template, content_type, items_max, bytes_max, auth, paged, query }
    }
}

/// What a page needs to be drawn: the page itself, and the phone's model as the profile knows it.
#[derive(Debug, Serialize)]
struct Ground<'a, P: Serialize> {
    page: &'a P,
    model: Option<&'a str>,
    /// Which of its lists the phone asked for.
    list: &'a str,
}

impl Profile {
    /// How its phones show pages; `None`: they show none.
    pub fn menu(&self) -> Option<&MenuForm> {
        self.menu.as_ref()
    }

    /// How its phones read a whole directory.
    pub fn phonebook(&self) -> Option<&MenuForm> {
        self.phonebook.as_ref()
    }

    /// The settings that the menu brings, below all others: its URL, and that of the directory. In files that phones
    /// share they name no phone; the neighbour table does.
    pub(super) fn menu_settings(&self, subject: &Subject<'_>) -> Vec<(&'static str, String)> {
        if !subject.site.menu || !subject.base.starts_with("http") {
            return Vec::new();
        }
        let mac = subject.mac().map(|mac| format!("{}/", mac.bare())).unwrap_or_default();
        // A phone's own base holds its token, which stands in no setting.
        let shared =
            subject.base.split_once("/d/").map_or(subject.base.trim_end_matches('/'), |(root, _)| root);
        let url = format!("{shared}/menu/{mac}");
        let menu = self.menu.as_ref().map(|_| ("menu_url", url.clone()));
        let phonebook = self.phonebook.as_ref().map(|_| ("phonebook_url", format!("{url}{PHONEBOOK}")));
        menu.into_iter().chain(phonebook).collect()
    }

    /// Draws a page in one of these forms; `list` is which of its lists the phone asked for.
    pub fn draw_page(
        &self,
        form: &MenuForm,
        page: &impl Serialize,
        model: Option<&str>,
        list: &str,
    ) -> Result<String, String> {
        drawn(&self.templates, &form.template, Ground { page, model, list })
            .map_err(|error| format!("{}/templates/{}", self.vendor, told(&error)))
    }
}

/// What is wrong with how this profile draws pages: with names that try to break out, one entry and many.
pub(super) fn wrong(profile: &Profile) -> Vec<String> {
    let forms = [("menu.pages", profile.menu()), ("menu.phonebook", profile.phonebook())];
    // A template seldom looks at the model: one that is known, and none.
    let models = [profile.models().next().map(|model| model.name.as_str()), None];
    let mut wrong = Vec::new();
    for (key, form) in forms.into_iter().filter_map(|(key, form)| Some((key, form?))) {
        for model in models {
            let found = sample_pages(HOSTILE).iter().find_map(|page| wrong_page(profile, form, page, model));
            let model = model.unwrap_or("an unknown model");
            wrong.extend(found.map(|found| format!("{key} for {model}: {found}")));
        }
    }
    wrong
}

fn wrong_page(profile: &Profile, form: &MenuForm, page: &Page, model: Option<&str>) -> Option<String> {
    let text = match profile.draw_page(form, page, model, "") {
        Ok(text) => text,
        Err(error) => return Some(error),
    };
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    if let Err(error) = roxmltree::Document::parse_with_options(&text, options) {
        return Some(format!("a page is malformed: {error}"));
    }
    (text.len() > form.bytes_max && page.entries.len() <= 1)
        .then(|| format!("a page with one entry has {} octets", text.len()))
}

/// Names that would be elements, attributes, entities or two lines.
const HOSTILE: &[&str] = &["Zoë & <Söhne> \"x\" 'y' ]]>", "a\r\n\u{1}\u{2028}b", "&amp;{{ page }}{% if %}"];

/// Every kind of page, with people of these names.
fn sample_pages(names: &[&str]) -> Vec<Page> {
    let contact = |name: &&str| Contact {
        name: (*name).to_owned(),
        company: (*name).to_owned(),
        numbers: vec!["200".to_owned(), "+49 171 1".to_owned()],
    };
    let contacts: Vec<Contact> = names.iter().map(contact).collect();
    let book = Book::new([], &contacts);
    let own = names.iter().map(|name| ((*name).to_owned(), "201".to_owned()));
    let phone = Phone { lines: own.collect(), ..Phone::default() };
    let scene = Scene {
        url: "http://192.0.2.1:8480/menu/000413aabbcc/",
        language: "de",
        phone: &phone,
        book: &book,
        forward_on: Some("*72{number}"),
        forward_off: Some("*73"),
        quiet_on: Some("*78"),
        quiet_off: Some("*79"),
        again: Again::Offered,
        items_max: 1,
    };
    let found = |from: usize, search: &str| Ask::Directory { from, search: search.to_owned() };
    let search = names.first().map(|name| (*name).to_owned()).unwrap_or_default();
    let asks = [
        Ask::Start,
        Ask::Status,
        Ask::Search,
        found(0, ""),
        found(1, ""),
        found(0, &format!("{search}?")),
        Ask::Forward { number: String::new() },
        Ask::Forward { number: "200".to_owned() },
        Ask::ForwardOff,
        Ask::Quiet,
        Ask::Again { now: false },
        Ask::Phonebook,
    ];
    let told = Scene { again: Again::Told, ..scene };
    let told = menu::page(&Ask::Again { now: true }, &told);
    asks.iter().filter_map(|ask| menu::page(ask, &scene)).chain(told).collect()
}

/// How pages are written, in every dialect: the escapes of XML are those of HTML.
pub(super) fn writing() -> Writing {
    Writing::from(Format::Xml)
}

fn drawn<P: Serialize>(
    templates: &Templates,
    name: &str,
    ground: Ground<'_, P>,
) -> Result<String, TemplateError> {
    let context = Value::from(Serde(ground));
    templates.draw(name, &writing(), context).map(|drawing| drawing.text)
}

fn told(error: &TemplateError) -> String {
    let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}: {}", error.template, error.message)
}

/// The pages of phones, and people's browsers, for which no profile has a dialect.
static HTML: LazyLock<Option<Templates>> = LazyLock::new(|| {
    let sources = [("menu.html.j2".to_owned(), include_str!("menu.html.j2").to_owned())];
    Templates::compile(&sources.into(), &[writing()].into(), &Maps::default().into()).ok()
});

/// The form of a page where no profile has one: HTML without script or style.
pub fn html_form() -> MenuForm {
    MenuForm {
        template: "menu.html.j2".to_owned(),
        content_type: "text/html; charset=utf-8".to_owned(),
        items_max: thirty(),
        bytes_max: sixty_four_k(),
        auth: MenuAuth::Digest,
        paged: true,
        query: None,
    }
}

/// Draws a page in that form.
pub fn draw_html(page: &impl Serialize) -> Result<String, String> {
    let templates = HTML.as_ref().ok_or("the built-in page is broken")?;
    drawn(templates, "menu.html.j2", Ground { page, model: None, list: "" }).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Catalog;
    use super::*;

    #[test]
    fn every_dialect_draws_every_page() {
        let catalog = Catalog::builtin().unwrap();
        let with = catalog.profiles().filter(|profile| profile.menu().is_some()).count();
        assert!(with >= 6, "{with}");
        for profile in catalog.profiles() {
            assert_eq!(wrong(profile), [""; 0], "{}", profile.vendor());
        }
        for page in sample_pages(HOSTILE) {
            let text = draw_html(&page).unwrap();
            let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
            assert!(roxmltree::Document::parse_with_options(&text, options).is_ok(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_name_stays_a_name_in_every_dialect(name in "\\PC{1,70}|.{1,70}") {
            static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::builtin().unwrap());
            let pages = sample_pages(&[&name]);
            for profile in CATALOG.profiles() {
                for form in [profile.menu(), profile.phonebook()].into_iter().flatten() {
                    for page in &pages {
                        let text = profile.draw_page(form, page, None, "").unwrap();
                        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
                        let drawn = roxmltree::Document::parse_with_options(&text, options).unwrap();
                        for entry in &page.entries {
                            let shown = drawn.descendants().filter_map(|node| node.text());
                            prop_assert!(shown.into_iter().any(|text| text == entry.name), "{} {text}", profile.vendor());
                        }
                    }
                }
            }
        }
    }
}
