//! Firmware: which releases there are, which of them a phone gets next, and when it gets no more of one. Pure: never
//! waits, reads no file and no clock. What is said here of a version holds for every vendor's way to write one.

mod plan;
mod version;

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

pub use plan::{Obstacle, Phone, Plan, Wish, plan};
pub use version::Version;

use crate::clock::Timestamp;
use crate::device::{Mac, Vendor};

/// A phone that has fetched the whole file so often, and still says that it has the version before, gets it no more.
pub const FETCHED_MAX: u32 = 2;

/// A release: what somebody brought for phones of a vendor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Whose phones.
    pub vendor: Vendor,
    /// What a phone says that has it.
    pub version: Version,
    /// Models as their phones print them; `*` and `?` stand for any characters and any one.
    pub models: Vec<String>,
    /// Only for phones of this hardware revision.
    pub hardware: Option<String>,
    /// The version that a phone must have to go on to this one.
    pub minimum: Option<Version>,
    /// Its files; the first is the one that phones are told of.
    pub files: Vec<ReleaseFile>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseFile {
    /// Its name, without a folder.
    pub name: String,
    /// In octets.
    pub size: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

impl Release {
    /// The folder of its files below the vendor's.
    pub fn folder(&self) -> String {
        folder(&self.version)
    }

    /// The file that phones are told of.
    pub fn main(&self) -> Option<&ReleaseFile> {
        self.files.first()
    }

    /// How people name it: `VENDOR/VERSION/FILE`, which is where the file lies as well.
    pub fn name(&self) -> String {
        let file = self.main().map(|file| file.name.as_str()).unwrap_or_default();
        format!("{}/{}/{file}", self.vendor, self.folder())
    }

    /// Whether it is for phones of this model, by any of the names that the model has.
    fn is_for_model(&self, models: &[&str]) -> bool {
        self.models.iter().any(|pattern| models.iter().any(|model| fits(pattern, model)))
    }
}

/// The name of the folder of a version's files: the version, of what may stand in a URL and in a folder's name.
pub fn folder(version: &Version) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let folder: String = version.as_str().chars().map(plain).collect();
    // Dots alone are a step on the way, not a folder.
    if folder.chars().all(|c| c == '.') { format!("v{folder}") } else { folder }
}

/// Whether a name fits a pattern, in any case: `*` is any characters, `?` any one.
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = name.get(read) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at += 1;
                read += 1;
            }
            // The last star takes one character more.
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, read) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|rest| *rest == '*')
}

/// A phone's way to the release that it was told of last. Of each phone there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Try {
    /// SHA-256 of the release's file.
    pub sha256: String,
    /// What the phone had when it fetched it.
    pub from: String,
    /// How often it has fetched all of it.
    pub fetched: u32,
    /// When it was told of it, or last fetched it.
    pub at: Timestamp,
}

impl Try {
    /// Whether it is about this: the same file, for a phone that still has what it had.
    fn is_about(&self, release: &Release, current: &str) -> bool {
        self.from == current && release.main().is_some_and(|file| file.sha256 == self.sha256)
    }

    /// The same for a phone that has `current`, and was told of this release.
    pub fn told(before: Option<&Self>, release: &Release, current: &str, at: Timestamp) -> Option<Self> {
        let sha256 = release.main()?.sha256.clone();
        let fetched =
            before.filter(|tried| tried.is_about(release, current)).map_or(0, |tried| tried.fetched);
        Some(Self { sha256, from: current.to_owned(), fetched, at })
    }

    /// The same after one more whole fetch of this release's file.
    pub fn counted(before: Option<&Self>, release: &Release, current: &str, at: Timestamp) -> Option<Self> {
        let told = Self::told(before, release, current, at)?;
        Some(Self { fetched: told.fetched.saturating_add(1), ..told })
    }

    /// Whether the phone gets this release no more.
    pub fn is_over(&self, release: &Release, current: &str) -> bool {
        self.is_about(release, current) && self.fetched >= FETCHED_MAX
    }
}

/// All releases, and how far phones have come. Built by the store, immutable afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
    /// By vendor and name.
    pub releases: Vec<Arc<Release>>,
    /// By phone.
    pub tries: HashMap<Mac, Try>,
}

impl Stock {
    /// What becomes of a phone: [`plan()`] over its vendor's releases.
    pub fn plan(&self, vendor: &Vendor, phone: &Phone<'_>, wish: &Wish) -> Plan {
        let of_vendor = self.releases.iter().filter(|release| release.vendor == *vendor);
        plan(phone, wish, of_vendor)
    }

    /// Whether the phone has fetched this often enough.
    pub fn is_stuck(&self, mac: Mac, release: &Release, current: &str) -> bool {
        self.tries.get(&mac).is_some_and(|tried| tried.is_over(release, current))
    }

    /// The release of this name, in any case.
    pub fn find(&self, name: &str) -> Option<&Arc<Release>> {
        self.releases.iter().find(|release| release.name().eq_ignore_ascii_case(name))
    }

    /// The release, and which of its files, that lies at `FOLDER/NAME` of the vendor, in any case.
    pub fn file(&self, vendor: &str, path: &str) -> Option<(&Arc<Release>, &ReleaseFile)> {
        let (folder, name) = path.split_once('/')?;
        let here = |release: &&Arc<Release>| {
            release.vendor.as_str() == vendor && release.folder().eq_ignore_ascii_case(folder)
        };
        self.releases.iter().filter(here).find_map(|release| {
            let file = release.files.iter().find(|file| file.name.eq_ignore_ascii_case(name))?;
            Some((release, file))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            vendor: Vendor::new("yealink"),
            version: Version::new("108.86.0.90"),
            models: vec!["T4?U".to_owned()],
            hardware: None,
            minimum: None,
            files: vec![ReleaseFile { name: "t.rom".to_owned(), size: 1, sha256: "ab".to_owned() }],
        }
    }

    #[test]
    fn a_pattern_fits_models() {
        for (pattern, name) in [
            ("T46U", "t46u"),
            ("T4?U", "T48U"),
            ("*", ""),
            ("VVX*", "vvx_450"),
            ("a*b*c", "aXbXbc"),
            ("**", "x"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("T46", "T46U"), ("T4?U", "T4U"), ("", "x"), ("a*b", "abc"), ("?", "")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_folder_is_one_step_of_a_url() {
        for (version, expected) in
            [("108.86.0.90", "108.86.0.90"), ("6.1.5(a)", "6.1.5-a-"), ("..", "v.."), ("1/2 b", "1-2-b")]
        {
            assert_eq!(folder(&Version::new(version)), expected);
        }
    }

    #[test]
    fn a_phone_that_fetches_twice_and_stays_gets_it_no_more() {
        let (release, before) = (release(), "108.86.0.20");
        let at = Timestamp(7);
        let once = Try::counted(None, &release, before, at).unwrap();
        assert!(!once.is_over(&release, before));
        let twice = Try::counted(Some(&once), &release, before, at).unwrap();
        assert!(twice.is_over(&release, before));
        assert!(!twice.is_over(&release, "108.86.0.45"), "it has moved");
        let mut other = release.clone();
        "cd".clone_into(&mut other.files[0].sha256);
        assert!(!twice.is_over(&other, before), "another file");
        assert_eq!(Try::counted(Some(&twice), &release, "108.86.0.45", at).unwrap().fetched, 1);
        assert_eq!(
            Try::told(Some(&once), &release, before, Timestamp(9)),
            Some(Try { at: Timestamp(9), ..once })
        );
    }

    #[test]
    fn a_file_is_found_by_its_place() {
        let stock = Stock { releases: vec![Arc::new(release())], ..Stock::default() };
        assert_eq!(stock.file("yealink", "108.86.0.90/T.ROM").unwrap().1.sha256, "ab");
        assert!(
            stock.file("yealink", "t.rom").is_none() && stock.file("snom", "108.86.0.90/t.rom").is_none()
        );
        assert!(stock.find("Yealink/108.86.0.90/t.rom").is_some());
    }
}
