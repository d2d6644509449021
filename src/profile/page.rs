//! A page by which a vendor's phones tell who they are to whoever asks: model, firmware or address, without a password.

use super::Profile;
use super::build::{Findings, Parts};
use super::identify::Clue;
use super::recogniser::{CLUE_BYTES_MAX, Reading, Recogniser};
use super::schema::PageToml;
use super::web::{PAGE_BYTES_MAX, decoded, flat};
use crate::device::{Source, Vendor};

/// Pages that are asked of one host, at most: it is asked what it is, not searched. No profile has more.
pub const PAGES_MAX: usize = 4;
/// Bytes of a page's path.
const PATH_BYTES_MAX: usize = 200;

/// A page of a vendor's phones, and what can be read there.
#[derive(Debug, Clone)]
pub struct Page {
    pub(super) vendor: Vendor,
    pub(super) path: String,
    pub(super) patterns: Vec<PagePattern>,
}

/// One `[[page]]` table.
#[derive(Debug, Clone)]
pub(super) struct PagePattern {
    /// The models that have it; all unless named.
    pub(super) models: Vec<String>,
    pub(super) recogniser: Recogniser,
}

impl Page {
    /// A vendor's pages, each with every pattern for it.
    pub(super) fn all(
        vendor: &str,
        tables: &[PageToml],
        parts: &Parts,
        findings: &mut Findings<'_>,
    ) -> Vec<Self> {
        let mut pages: Vec<Self> = Vec::new();
        for (at, table) in tables.iter().enumerate() {
            let key = format!("page[{at}]");
            findings.models(&format!("{key}.models"), &table.models, parts);
            let path = findings.parsed(&table.path, &format!("{key}.path"), parse_path);
            let recogniser = findings.recogniser(&key, &table.pattern());
            let (Some(path), Some(recogniser)) = (path, recogniser) else { continue };
            let models = table.models.iter().map(|name| name.get_ref().clone()).collect();
            let pattern = PagePattern { models, recogniser };
            match pages.iter_mut().find(|page| page.path == path) {
                Some(page) => page.patterns.push(pattern),
                None => pages.push(Self { vendor: Vendor::new(vendor), path, patterns: vec![pattern] }),
            }
        }
        if pages.len() > PAGES_MAX {
            let message = format!("are of {} paths, and a host is asked {PAGES_MAX} at most", pages.len());
            findings.push("page", None, message, "keep those that say most");
        }
        pages
    }

    /// Whose phones have it.
    pub fn vendor(&self) -> &Vendor {
        &self.vendor
    }

    /// What to ask for, with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What an answer's body says; nothing when it is another page than this vendor's. Of each pattern the words that it
    /// was recognised by, so that what is kept and shown is short.
    pub fn clues(&self, body: &[u8]) -> Vec<Clue> {
        let body = flat(&decoded(body.get(..PAGE_BYTES_MAX).unwrap_or(body)));
        let recognised = self.patterns.iter().filter_map(|pattern| {
            let words = pattern.recogniser.regex.find(&body)?.as_str().trim();
            let text = format!("{} {words}", self.path);
            (!words.is_empty() && text.len() <= CLUE_BYTES_MAX).then(|| Clue::new(Source::HttpPage, text))
        });
        recognised.collect()
    }

    /// Whether phones of this model have it, as far as is known.
    pub(super) fn is_of(&self, profile: &Profile, model: Option<&str>) -> bool {
        let model = model.map(|model| profile.table_name(model));
        self.patterns.iter().any(|pattern| {
            pattern.models.is_empty() || model.as_ref().is_none_or(|model| pattern.models.contains(model))
        })
    }

    /// What the words of a clue say by each pattern that knows them.
    pub(super) fn read(&self, words: &str, names: [&str; 2]) -> impl Iterator<Item = (&Recogniser, Reading)> {
        self.patterns
            .iter()
            .filter_map(move |pattern| Some((&pattern.recogniser, pattern.recogniser.read(words, names)?)))
    }
}

/// Adds a parent's pages to a profile that changes it, but where it has its own of that path.
pub(super) fn inherit(pages: &mut Vec<Page>, parent: &[Page]) {
    let added = parent.iter().filter(|page| pages.iter().all(|own| own.path != page.path));
    pages.extend(added.cloned().collect::<Vec<_>>());
}

/// A clue's text taken apart: the path that was asked, and the words found there.
pub(super) fn path_and_words(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// A path as it can be asked for.
pub(super) fn parse_path(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !text.starts_with('/') || !plain || text.len() > PATH_BYTES_MAX {
        return Err(format!(
            "is no path: it begins with '/', has no blanks and {PATH_BYTES_MAX} bytes at most"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Catalog;
    use super::super::fixture;
    use super::super::identify::Identified;
    use super::*;
    use crate::device::Identity;

    const PAGES: &str = r#"
schema = 1
display_name = "Acme"
oui = ["02ac3e"]

[[match]]
source = "http.title"
pattern = '^Acme (?:(?<model>X\d) )?phone$'
examples = [{ text = "Acme X1 phone", model = "X1" }, { text = "Acme phone" }]

[[page]]
path = "/who?x=1"
pattern = '"model": "(?<model>X\d)"'
examples = [{ text = '{ "model": "X1" }', model = "X1" }]

[[page]]
path = "/who?x=1"
pattern = '"version": "(?<firmware>[\d.]+)"'
examples = [{ text = '"version":&#32;"1.2"', firmware = "1.2" }]

[[page]]
path = "/old"
models = ["X2"]
pattern = 'Acme <b>(?<mac>[\da-f:]{17})</b>'
examples = [{ text = "Acme\n<b>00:15:65:00:00:01</b>", mac = "001565000001" }]

[models.X1]
[models.X2]
"#;

    fn catalog(profile: &str) -> Result<Catalog, String> {
        let files = fixture::vendor("acme", &[("profile.toml", profile)]);
        let (catalog, errors) = Catalog::of_folders(&[files]);
        match errors.first() {
            Some(error) => Err(error.to_string()),
            None => Ok(catalog),
        }
    }

    fn identified(catalog: &Catalog, clues: &[Clue]) -> Identified {
        catalog.identify(clues)
    }

    fn paths(catalog: &Catalog, clues: &[(Source, &str)]) -> Vec<String> {
        let clues: Vec<Clue> = clues.iter().map(|(source, text)| Clue::new(*source, *text)).collect();
        let found = identified(catalog, &clues);
        catalog.pages(&found).into_iter().map(|page| page.path().to_owned()).collect()
    }

    #[test]
    fn a_host_is_asked_for_the_pages_of_what_it_looks_like() {
        let catalog = catalog(PAGES).unwrap();
        let address = (Source::Oui, "02:ac:3e:00:00:01");
        assert_eq!(paths(&catalog, &[address]), ["/who?x=1", "/old"], "a range is a reason to ask");
        assert_eq!(paths(&catalog, &[(Source::HttpTitle, "Acme phone")]), ["/who?x=1", "/old"]);
        assert_eq!(paths(&catalog, &[(Source::HttpTitle, "Acme X1 phone"), address]), ["/who?x=1"]);
        assert_eq!(paths(&catalog, &[(Source::HttpTitle, "Acme printer")]), [""; 0]);
        let known = (Source::HttpPage, "/who?x=1 \"version\": \"1.2\"");
        assert_eq!(paths(&catalog, &[(Source::HttpTitle, "Acme X1 phone"), known]), [""; 0], "all is known");
    }

    #[test]
    fn a_page_becomes_one_voice_however_many_patterns_read_it() {
        let catalog = catalog(PAGES).unwrap();
        let page = catalog.pages_at("/who?x=1").next().unwrap();
        let clues = page.clues(b"HTML\xff {\r\n\t\"model\": \"X2\",\n \"version\":   \"2.0\" }");
        let texts: Vec<&str> = clues.iter().map(|clue| clue.text.as_str()).collect();
        assert_eq!(texts, ["/who?x=1 \"model\": \"X2\"", "/who?x=1 \"version\": \"2.0\""]);
        let found = identified(&catalog, &clues);
        let Identity { vendor, model, firmware, .. } = found.identity;
        assert_eq!(vendor, Some(Vendor::new("acme")));
        assert_eq!((model.as_deref(), firmware.as_deref()), (Some("X2"), Some("2.0")));
        assert_eq!(found.confidence, 85);
        let elsewhere = Clue::new(Source::HttpPage, "/other \"model\": \"X2\"");
        assert_eq!(identified(&catalog, &[elsewhere]).confidence, 0, "another path is another page");
    }

    #[test]
    fn what_a_page_holds_breaks_nothing() {
        let catalog = catalog(PAGES).unwrap();
        let page = catalog.pages_at("/who?x=1").next().unwrap();
        let beyond = [vec![b' '; PAGE_BYTES_MAX], b"\"model\": \"X1\"".to_vec()].concat();
        for body in [b"".as_slice(), b"\0\xff\xfe", b"&#;&#x110000;&", b"\"model\": \"", &beyond] {
            assert_eq!(page.clues(body), []);
        }
        let long = PAGES.replace("(?<model>X\\d)\"'", "(?<model>X\\d[^!]*)\"'");
        let catalog = self::catalog(&long).unwrap();
        let page = catalog.pages_at("/who?x=1").next().unwrap();
        let body = format!("\"model\": \"X1{}\"", "y".repeat(2 * CLUE_BYTES_MAX));
        assert_eq!(page.clues(body.as_bytes()), [], "words that nobody could keep");
    }

    #[test]
    fn a_path_is_one_and_a_host_is_not_searched() {
        for path in ["who", "", "/a b", "/a#b", "http://x/", "/\u{e4}"] {
            let error = catalog(&PAGES.replace("\"/old\"", &format!("{path:?}"))).unwrap_err();
            assert!(error.contains("is no path"), "{path}: {error}");
        }
        let one = "[[page]]\npath = '/N'\npattern = 'Acme N'\nexamples = [{ text = 'Acme N' }]\n";
        let more: String = (1..=3).map(|number| one.replace('N', &number.to_string())).collect();
        let error = catalog(&PAGES.replace("[models.X1]", &format!("{more}[models.X1]"))).unwrap_err();
        assert!(error.contains("of 5 paths"), "{error}");
        let error = catalog(&PAGES.replace("[\"X2\"]", "[\"X3\"]")).unwrap_err();
        assert!(error.contains("page[2].models") && error.contains("no [models] table"), "{error}");
    }
}
