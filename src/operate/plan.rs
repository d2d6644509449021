//! What would change: the files that each phone would get now beside those that it fetched last, and what of its keys
//! cannot be done. Passwords are masked on both sides. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::Failure;
use super::diff::unified;
use super::fleet::Fleet;
use crate::clock::Timestamp;
use crate::device::{Device, KeyKind, Layer, Mac, Vendor};
use crate::profile::{KeyProblem, NOTHING_SUPPLIED, Profile, Scope, Subject};
use crate::provision::tells;
use crate::store::FetchedFile;

/// What a phone would get, beside what it has.
#[derive(Debug, Serialize)]
pub(crate) struct DevicePlan {
    pub(crate) mac: Mac,
    vendor: Option<Vendor>,
    model: Option<String>,
    /// Whether its next fetch brings it something else.
    pub(crate) changes: bool,
    files: Vec<FilePlan>,
    /// Function keys that it cannot do as they are meant.
    keys: Vec<KeyProblem>,
    /// What else a person should know.
    notes: Vec<String>,
}

/// One file of a phone.
#[derive(Debug, Serialize)]
struct FilePlan {
    file: String,
    change: FileChange,
    /// When the phone first had what it has.
    fetched_at: Option<Timestamp>,
    /// In the unified form, passwords masked; `null` where nothing changes, or the text is too long to be kept.
    diff: Option<String>,
    /// Why it cannot be made.
    error: Option<String>,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum FileChange {
    /// The phone has it as it is.
    None,
    /// It has another one.
    Changed,
    /// It never fetched it; many phones never ask for some of theirs.
    NeverFetched,
    /// It has it, and would get it no more.
    Gone,
    /// It cannot be made.
    Failed,
}

impl DevicePlan {
    /// Whether everything that is set for the phone can be done.
    pub(crate) fn can_be_done(&self) -> bool {
        self.keys.is_empty() && self.files.iter().all(|file| file.error.is_none())
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let name = [self.vendor.as_ref().map(ToString::to_string), self.model.clone()];
        let name: Vec<String> = name.into_iter().flatten().collect();
        let never = self.files.iter().all(|file| file.fetched_at.is_none());
        let verdict = match (self.changes, never && !self.files.is_empty()) {
            (_, true) => "has fetched nothing that is known of",
            (true, false) => "changes at its next fetch",
            (false, false) => "no change",
        };
        let mut text = format!("{} {}: {verdict}\n", self.mac, name.join(" "));
        for file in &self.files {
            let word = match file.change {
                FileChange::None => continue,
                FileChange::Changed if file.diff.is_some() => "changed",
                FileChange::Changed => "changed, too long to be compared",
                FileChange::NeverFetched => "never fetched",
                FileChange::Gone => "served no more",
                FileChange::Failed => "cannot be made",
            };
            let _ = writeln!(text, "  {}: {word}", file.file);
            for line in file.diff.iter().chain(&file.error).flat_map(|text| text.lines()) {
                let _ = writeln!(text, "    {line}");
            }
        }
        for problem in &self.keys {
            let _ = writeln!(text, "  cannot be done: {}", problem.sentence());
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        text
    }
}

/// Plans, one phone after the other; what models cannot do is found out once.
pub(crate) struct Planner<'a> {
    fleet: &'a Fleet<'a>,
    /// This host as phones see it that have fetched nothing yet, and the URL for their files.
    root: (&'a str, &'a str),
    ignored: BTreeMap<(Vendor, Option<String>), BTreeSet<KeyKind>>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(fleet: &'a Fleet<'a>, host: &'a str, base: &'a str) -> Self {
        Self { fleet, root: (host, base), ignored: BTreeMap::new() }
    }

    /// What would change for a phone.
    pub(crate) async fn plan(&mut self, device: &Device) -> Result<DevicePlan, Failure> {
        let fetched = self.fleet.store.fetched(device.mac).await?;
        let mut plan = DevicePlan {
            mac: device.mac,
            vendor: device.vendor.clone(),
            model: device.model.clone(),
            changes: false,
            files: Vec::new(),
            keys: Vec::new(),
            notes: Vec::new(),
        };
        let Some(profile) = self.fleet.profile(device) else {
            plan.notes.push("no profile knows its vendor: it gets no files".to_owned());
            return Ok(plan);
        };
        let mut notes: BTreeSet<String> = self.fleet.firmware_note(device).into_iter().collect();
        let (usual, commons) = (fetched.first(), self.fleet.store.inventory().commons());
        let named = profile.files_for(device.model.as_deref()).filter_map(|(id, file)| {
            let name = profile.file_name(id, Some(device.mac), device.model.as_deref())?;
            Some((id, file.scope(), name))
        });
        for (id, scope, name) in named {
            let has = fetched.iter().find(|file| file.file.eq_ignore_ascii_case(&name));
            let place = has.or(usual).map(|file| (file.host.as_str(), file.base.as_str()));
            let (host, base) = place.unwrap_or(self.root);
            let own = (scope == Scope::Device).then_some(device);
            let (model, site) = (device.model.as_deref(), self.fleet.site);
            let (supplied, missing) = match own {
                Some(device) => self.fleet.supplied(device, base),
                None if tells(profile, id) => (self.fleet.told_firmware(device, base), Vec::new()),
                None => Default::default(),
            };
            notes.extend(missing);
            let subject =
                Subject { device: own, model, site, commons: &commons, host, base, supplied: &supplied };
            plan.files.push(match profile.render(id, &subject) {
                Ok(rendered) => {
                    notes.extend(rendered.notes().iter().cloned());
                    FilePlan::compared(name, has, &rendered.masked())
                }
                Err(error) => FilePlan::failed(name, has, error.to_string()),
            });
        }
        let made: BTreeSet<String> = plan.files.iter().map(|file| file.file.to_ascii_lowercase()).collect();
        plan.files.extend(fetched.iter().filter(|file| !made.contains(&file.file)).map(FilePlan::gone));
        let changes = |file: &FilePlan| {
            matches!(file.change, FileChange::Changed | FileChange::Gone | FileChange::Failed)
        };
        plan.changes = plan.files.iter().any(changes) || fetched.is_empty();
        let (host, base) = self.root;
        let (device, site, commons) = (Some(device), self.fleet.site, &*commons);
        let subject = Subject { device, model: None, site, commons, host, base, supplied: &NOTHING_SUPPLIED };
        plan.keys = profile.key_problems(&subject);
        plan.keys.extend(self.ignored(profile, &subject));
        let told: BTreeSet<String> = plan.keys.iter().map(KeyProblem::sentence).collect();
        plan.notes = notes.into_iter().filter(|note| !told.contains(note)).collect();
        if profile.takes_no_raw(&subject) {
            plan.notes.push("raw parameters are set, and its files have no place for them".to_owned());
        }
        Ok(plan)
    }

    /// Keys of kinds that leave no trace in the files of the model.
    fn ignored(&mut self, profile: &Profile, subject: &Subject<'_>) -> Vec<KeyProblem> {
        let known = (profile.vendor().clone(), subject.model().map(str::to_owned));
        let ignored = self.ignored.entry(known).or_insert_with(|| profile.ignored_kinds(subject));
        let left: Vec<u16> = profile
            .key_problems(subject)
            .iter()
            .filter(|problem| problem.left_out)
            .map(|problem| problem.number)
            .collect();
        let keys = profile.keys(subject);
        let silent =
            keys.iter().filter(|laid| ignored.contains(&laid.key.kind) && !left.contains(&laid.key.number));
        silent.map(|laid| problem(profile, subject, laid.key.number, laid.key.kind, laid.layer)).collect()
    }
}

fn problem(profile: &Profile, subject: &Subject<'_>, number: u16, kind: KeyKind, layer: Layer) -> KeyProblem {
    let key = profile.key_place(subject.model(), number);
    let reason = "the files of this model have no such key".to_owned();
    KeyProblem { number, key, kind, layer, reason, left_out: true }
}

impl FilePlan {
    fn compared(file: String, has: Option<&FetchedFile>, now: &str) -> Self {
        let fetched_at = has.map(|has| has.at);
        let (change, diff) = match has {
            None => (FileChange::NeverFetched, None),
            Some(has) if has.is(now) => (FileChange::None, None),
            Some(has) => {
                let before = has.text.as_deref();
                let names = (format!("{file} as fetched {}", has.at), format!("{file} as it is now"));
                let diff = before.map(|before| unified(before, now, (&names.0, &names.1)));
                (FileChange::Changed, diff)
            }
        };
        Self { file, change, fetched_at, diff, error: None }
    }

    fn failed(file: String, has: Option<&FetchedFile>, error: String) -> Self {
        let fetched_at = has.map(|has| has.at);
        Self { file, change: FileChange::Failed, fetched_at, diff: None, error: Some(error) }
    }

    fn gone(has: &FetchedFile) -> Self {
        let (file, fetched_at) = (has.file.clone(), Some(has.at));
        Self { file, change: FileChange::Gone, fetched_at, diff: None, error: None }
    }
}
