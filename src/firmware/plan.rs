//! Which release a phone gets next, and which after that: the fewest steps, none backwards unless somebody wants it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::{Release, Version};

/// What a wish says when a pinned version may be older than what the phone has.
const DOWNGRADE: &str = "downgrade";

/// What somebody wants a phone to have: the setting `firmware`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wish {
    /// The newest there is.
    #[default]
    Latest,
    /// What it has.
    Hold,
    /// This, and nothing else.
    Pin {
        /// Which.
        version: Version,
        /// Even if it has a newer one.
        downgrade: bool,
    },
}

impl FromStr for Wish {
    type Err = String;

    /// `latest`, `hold`, a version, or a version and `downgrade`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (first, second, more) = (words.next(), words.next(), words.next());
        match (first, second, more) {
            (Some("latest"), None, _) => Ok(Self::Latest),
            (Some("hold"), None, _) => Ok(Self::Hold),
            (Some(version), second, None)
                if version.contains(|c: char| c.is_ascii_digit())
                    && second.is_none_or(|word| word == DOWNGRADE) =>
            {
                Ok(Self::Pin { version: Version::new(version), downgrade: second.is_some() })
            }
            _ => Err(format!(
                "'{text}' is no firmware to wish for; write latest, hold, a version, or a version and \"{DOWNGRADE}\""
            )),
        }
    }
}

/// A phone, as far as its firmware is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Phone<'a> {
    /// What it says that it has.
    pub current: &'a str,
    /// Its model, by all names that it has.
    pub models: &'a [&'a str],
    /// Its hardware revision, where somebody has said it.
    pub hardware: Option<&'a str>,
}

/// What becomes of a phone's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// There is no release for its model.
    NoRelease,
    /// It has what it is to have.
    UpToDate,
    /// Somebody wants it to stay as it is.
    Held,
    /// It gets this.
    Step {
        /// The release.
        release: Arc<Release>,
        /// And these versions after it.
        then: Vec<Version>,
    },
    /// It cannot have what it is to have.
    Blocked(Obstacle),
}

/// Why a phone cannot have what it is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Obstacle {
    /// The pinned version is in no release for its model.
    Missing {
        /// The version that is wished for.
        version: Version,
    },
    /// The pinned version is older than what it has.
    Downgrade {
        /// The version that is wished for.
        version: Version,
    },
    /// A version in between is missing.
    Gap {
        /// The version that it is to have.
        version: Version,
        /// What a phone must have before that.
        minimum: Version,
    },
    /// The releases for its model are for one hardware revision each, and nobody has said which one it is.
    Hardware,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { version } => write!(f, "no release for its model is {version}"),
            Self::Downgrade { version } => {
                write!(
                    f,
                    "{version} is older than what it has; set \"{version} {DOWNGRADE}\" if that is meant"
                )
            }
            Self::Gap { version, minimum } => {
                write!(f, "{version} wants {minimum} before it, and no release leads there")
            }
            Self::Hardware => f.write_str(
                "the releases are for hardware revisions; set hardware=… for the phone or its model",
            ),
        }
    }
}

/// Plans the way of a phone over these releases of its vendor.
pub fn plan<'r>(phone: &Phone<'_>, wish: &Wish, releases: impl Iterator<Item = &'r Arc<Release>>) -> Plan {
    let of_model: Vec<&Arc<Release>> =
        releases.filter(|release| release.is_for_model(phone.models) && release.main().is_some()).collect();
    if *wish == Wish::Hold {
        return Plan::Held;
    }
    let fits = |release: &Arc<Release>| match (&release.hardware, phone.hardware) {
        (None, _) => true,
        (Some(wanted), Some(has)) => super::fits(wanted, has.trim()),
        (Some(_), None) => false,
    };
    let fitting: Vec<&Arc<Release>> = of_model.iter().copied().filter(|release| fits(release)).collect();
    if fitting.is_empty() {
        let unsaid = phone.hardware.is_none() && !of_model.is_empty();
        return if unsaid { Plan::Blocked(Obstacle::Hardware) } else { Plan::NoRelease };
    }
    let current = Version::new(phone.current);
    match wish {
        Wish::Pin { version, downgrade } => pinned(&fitting, &current, version, *downgrade),
        Wish::Latest | Wish::Hold => latest(&fitting, &current),
    }
}

fn pinned(releases: &[&Arc<Release>], current: &Version, version: &Version, downgrade: bool) -> Plan {
    if current == version {
        return Plan::UpToDate;
    }
    let wished = releases.iter().copied().filter(|release| release.version == *version);
    let Some(release) = wished.max_by(|a, b| preferred(a).cmp(&preferred(b))) else {
        return Plan::Blocked(Obstacle::Missing { version: version.clone() });
    };
    if version < current {
        return if downgrade {
            Plan::Step { release: Arc::clone(release), then: Vec::new() }
        } else {
            Plan::Blocked(Obstacle::Downgrade { version: version.clone() })
        };
    }
    let way = way(releases, current, version);
    match way.last() {
        Some(last) if last.version == *version => stepped(&way),
        _ => gap(release),
    }
}

fn latest(releases: &[&Arc<Release>], current: &Version) -> Plan {
    let newest = releases.iter().copied().max_by(|a, b| a.version.cmp(&b.version));
    let Some(newest) = newest.filter(|newest| newest.version > *current) else { return Plan::UpToDate };
    let way = way(releases, current, &newest.version);
    if way.is_empty() { gap(newest) } else { stepped(&way) }
}

fn gap(release: &Release) -> Plan {
    let minimum = release.minimum.clone().unwrap_or_else(|| release.version.clone());
    Plan::Blocked(Obstacle::Gap { version: release.version.clone(), minimum })
}

fn stepped(way: &[&Arc<Release>]) -> Plan {
    match way.split_first() {
        Some((first, rest)) => {
            let then = rest.iter().map(|release| release.version.clone()).collect();
            Plan::Step { release: Arc::clone(first), then }
        }
        None => Plan::UpToDate,
    }
}

/// The releases on the way from one version towards another, as far as it leads. Each step is the longest that the
/// version before it allows: whatever can be reached from a version can be reached from a later one, so no way has
/// fewer steps.
fn way<'r>(releases: &[&'r Arc<Release>], from: &Version, to: &Version) -> Vec<&'r Arc<Release>> {
    let mut way: Vec<&Arc<Release>> = Vec::new();
    loop {
        let here = way.last().map_or(from, |release| &release.version);
        let reachable = releases.iter().copied().filter(|release| {
            let allowed = release.minimum.as_ref().is_none_or(|minimum| minimum <= here);
            allowed && release.version > *here && release.version <= *to
        });
        let best =
            reachable.max_by(|a, b| a.version.cmp(&b.version).then_with(|| preferred(a).cmp(&preferred(b))));
        match best {
            Some(release) => way.push(release),
            None => return way,
        }
    }
}

/// Of two releases of one version the one that was made for fewer phones, and then always the same one.
fn preferred(release: &Release) -> (bool, std::cmp::Reverse<usize>, String) {
    let wild = release.models.iter().map(|model| model.matches(['*', '?']).count()).sum();
    (release.hardware.is_some(), std::cmp::Reverse(wild), release.name())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::device::Vendor;
    use crate::firmware::ReleaseFile;

    fn release(version: &str, minimum: Option<&str>) -> Arc<Release> {
        Arc::new(Release {
            vendor: Vendor::new("yealink"),
            version: Version::new(version),
            models: vec!["T46*".to_owned()],
            hardware: None,
            minimum: minimum.map(Version::new),
            files: vec![ReleaseFile { name: format!("{version}.rom"), size: 1, sha256: version.to_owned() }],
        })
    }

    fn planned(current: &str, wish: &str, releases: &[Arc<Release>]) -> String {
        let phone = Phone { current, models: &["T46U"], hardware: None };
        match plan(&phone, &wish.parse().unwrap(), releases.iter()) {
            Plan::Step { release, then } => {
                let then: Vec<&str> = then.iter().map(Version::as_str).collect();
                format!("{} {}", release.version, then.join(" ")).trim().to_owned()
            }
            Plan::Blocked(obstacle) => format!("blocked: {obstacle}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_is_reached_by_the_fewest_steps() {
        let releases =
            [release("2", None), release("3", None), release("5", Some("3")), release("6", Some("5"))];
        let check = |current, wish, expected: &str| assert_eq!(planned(current, wish, &releases), expected);
        check("1", "latest", "3 5 6");
        check("3", "latest", "5 6");
        check("4", "latest", "5 6");
        check("6", "latest", "UpToDate");
        check("7", "latest", "UpToDate");
        check("1", "hold", "Held");
        check("1", "5", "3 5");
        check("1", "2", "2");
        check("2", "2.0", "UpToDate");
        check("1", "4", "blocked: no release for its model is 4");
        check("6", "5 downgrade", "5");
        check("6", "2 downgrade", "2");
        check("6", "5", "blocked: 5 is older than what it has; set \"5 downgrade\" if that is meant");
    }

    #[test]
    fn a_gap_is_told_and_half_a_way_to_the_newest_is_gone() {
        let releases = [release("3", Some("2")), release("6", Some("5"))];
        assert_eq!(
            planned("1", "latest", &releases),
            "blocked: 6 wants 5 before it, and no release leads there"
        );
        assert_eq!(planned("2", "latest", &releases), "3");
        assert_eq!(planned("2", "6", &releases), "blocked: 6 wants 5 before it, and no release leads there");
        assert_eq!(
            planned("3", "latest", &releases),
            "blocked: 6 wants 5 before it, and no release leads there"
        );
    }

    #[test]
    fn a_release_is_for_its_models_and_hardware() {
        let mut for_hardware = Release::clone(&release("2", None));
        for_hardware.hardware = Some("V1.3?".to_owned());
        let releases = [Arc::new(for_hardware)];
        let step = |models, hardware| {
            plan(&Phone { current: "1", models, hardware }, &Wish::Latest, releases.iter())
        };
        assert!(matches!(step(&["t46s"], Some("v1.3a")), Plan::Step { .. }));
        assert_eq!(step(&["T46S"], None), Plan::Blocked(Obstacle::Hardware));
        assert_eq!(step(&["T46S"], Some("V1.4A")), Plan::NoRelease);
        assert_eq!(step(&["T48S"], None), Plan::NoRelease);
        assert!(matches!(step(&["other", "T46S"], Some("V1.3A")), Plan::Step { .. }));
    }

    #[test]
    fn a_wish_is_a_word_or_a_version() {
        for right in ["latest", "hold", "108.86.0.90", " 10.1 downgrade "] {
            assert!(right.parse::<Wish>().is_ok(), "{right}");
        }
        for wrong in ["", "newest", "latest downgrade", "1.0 upgrade", "1.0 downgrade now", "hold 1.0"] {
            assert!(wrong.parse::<Wish>().is_err(), "{wrong}");
        }
    }

    /// The fewest steps, found by trying all.
    fn fewest(releases: &[Arc<Release>], from: &Version, to: &Version) -> Option<usize> {
        let mut seen = vec![from.clone()];
        let mut queue = VecDeque::from([(from.clone(), 0)]);
        while let Some((here, steps)) = queue.pop_front() {
            if here == *to {
                return Some(steps);
            }
            for release in releases {
                let allowed = release.minimum.as_ref().is_none_or(|minimum| *minimum <= here);
                if allowed && release.version > here && !seen.contains(&release.version) {
                    seen.push(release.version.clone());
                    queue.push_back((release.version.clone(), steps + 1));
                }
            }
        }
        None
    }

    proptest! {
        #[test]
        fn every_step_is_allowed_and_no_way_is_shorter(
            rows in prop::collection::vec((1_u8..20, prop::option::of(0_u8..20)), 1..8),
            current in 0_u8..20,
        ) {
            let releases: Vec<Arc<Release>> = rows
                .iter()
                .map(|(version, minimum)| release(&version.to_string(), minimum.map(|n| n.to_string()).as_deref()))
                .collect();
            let newest = releases.iter().map(|release| release.version.clone()).max().unwrap();
            let from = Version::new(current.to_string());
            let next = |current: &Version| {
                let phone = Phone { current: current.as_str(), models: &["T46U"], hardware: None };
                plan(&phone, &Wish::Latest, releases.iter())
            };
            let (mut here, mut steps) = (from.clone(), 0);
            while let Plan::Step { release, then } = next(&here) {
                prop_assert!(release.version > here);
                prop_assert!(release.minimum.as_ref().is_none_or(|minimum| *minimum <= here));
                if steps == 0 && then.last().unwrap_or(&release.version) == &newest {
                    prop_assert_eq!(Some(then.len() + 1), fewest(&releases, &from, &newest));
                }
                here = release.version.clone();
                steps += 1;
            }
            if newest > from && fewest(&releases, &from, &newest).is_some() {
                prop_assert_eq!(here, newest, "it gets there");
            }
        }
    }
}
