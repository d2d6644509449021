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
