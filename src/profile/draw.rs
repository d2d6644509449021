//! Drawing a file for a subject: the layers of settings and keys are settled, the template draws, raw parameters take
//! their place.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{self, KeyProblem, LaidKey};
use super::layers::{LaidSetting, RAW, Stack};
use super::model::Model;
use super::proof::malformed;
use super::raw::{RawLines, SecretNames};
use super::rendered::{RenderError, Rendered, SlotRules};
use super::subject::{self, Ground, Subject};
use super::template::{Drawing, TemplateError};
use super::{FileId, Profile, Scope};
use crate::device::{Account, Commons, Device, Key, KeyKind, KeyPlace, Line, Transport};

/// Lines of a phone whose passwords' names are looked for. No desk phone has more, and the names that base stations give
/// the lines behind are like those before.
const LINES_TRIED_MAX: u16 = 64;

/// A subject with everything that holds for it.
struct Settled<'a> {
    model: &'a Model,
    /// As the profile writes it.
    name: Option<&'a str>,
    stack: Stack<'a>,
    keys: Vec<LaidKey>,
    problems: Vec<KeyProblem>,
}

impl Profile {
    /// Draws a file for a subject; the same subject gives the same bytes.
    pub fn render(&self, id: FileId, subject: &Subject<'_>) -> Result<Rendered, RenderError> {
        let settled = self.settled(subject);
        let raw = settled.stack.raw();
        let drawing = self.drawn(id, subject, &settled)?;
        let plain = self.cut(id, &drawing, &RawLines::default())?;
        if raw.is_empty() || !plain.takes_raw() {
            return Ok(plain);
        }
        let file = self.file(id);
        let lines = RawLines::new(&file.raw, &file.writing, &raw, &self.secret_names(subject, &settled));
        let is_broken = |rendered: &Rendered| malformed(file.format(), &rendered.plain()).is_some();
        let with = self.cut(id, &drawing, &lines)?;
        if !is_broken(&with) || is_broken(&plain) {
            return Ok(with);
        }
        let lines = lines.unbroken(|lines| self.cut(id, &drawing, lines).map(|with| is_broken(&with)))?;
        self.cut(id, &drawing, &lines)
    }

    /// The settings as they hold for a subject, by their neutral names; raw parameters are none of them.
    pub fn settings(&self, subject: &Subject<'_>) -> BTreeMap<String, String> {
        let (model, name) = self.known_model(subject);
        let stack = Stack::new(subject, self.vendor.as_str(), name, Some(model.settings()));
        let neutral = stack.settled().into_iter().filter(|(name, _)| !name.starts_with(RAW));
        neutral.map(|(name, (_, value))| (name.to_owned(), value.to_owned())).collect()
    }

    /// The keys as they hold for a phone, in the files or not.
    pub fn keys(&self, subject: &Subject<'_>) -> Vec<LaidKey> {
        let (_, name) = self.known_model(subject);
        keys::laid(subject, self.vendor.as_str(), name)
    }

    /// Which of them its model cannot do as they are meant.
    pub fn key_problems(&self, subject: &Subject<'_>) -> Vec<KeyProblem> {
        self.settled(subject).problems
    }

    /// The number of the key that a person names, on phones of this model; `Err` says why there is none.
    pub fn key_number(&self, model: Option<&str>, place: KeyPlace) -> Result<u16, String> {
        model.and_then(|name| self.model(name)).unwrap_or(self.models.any()).key_number(place)
    }

    /// How a person finds the key of this number on phones of this model: `key 5`, `module 1 key 5`.
    pub fn key_place(&self, model: Option<&str>, number: u16) -> String {
        model.and_then(|name| self.model(name)).unwrap_or(self.models.any()).key_place(number)
    }

    /// Whether one of the phone's files has a place for raw parameters.
    pub fn takes_raw(&self, subject: &Subject<'_>) -> bool {
        let settled = self.settled(subject);
        let own = self.files_for(subject.model()).filter(|(_, file)| file.scope == Scope::Device);
        let drawn = own.map(|(id, _)| self.drawn(id, subject, &settled));
        drawn.flatten().any(|drawing| drawing.trace.raw)
    }

    /// Whether raw parameters are set for this phone, and none of its files has a place for them.
    pub fn takes_no_raw(&self, subject: &Subject<'_>) -> bool {
        !self.settled(subject).stack.raw().is_empty() && !self.takes_raw(subject)
    }

    /// Kinds of keys that leave no trace in the files of a phone's model: put on its first or its last key, each is
    /// compared with a key that is empty on purpose. For people's commands: it draws every file some thirty times.
    pub fn ignored_kinds(&self, subject: &Subject<'_>) -> BTreeSet<KeyKind> {
        let (model, _) = self.known_model(subject);
        let Some(phone) = subject.device else { return BTreeSet::new() };
        let plans = Commons::default();
        let files = |number, kind| {
            let [value, label] = ["202", "Key"].map(str::to_owned);
            let key = Key { number, kind, value, label, line: None };
            let device = Device { keys: vec![key], ..phone.clone() };
            let subject = Subject { device: Some(&device), commons: &plans, ..*subject };
            let own = self.files_for(subject.model()).filter(|(_, file)| file.scope == Scope::Device);
            own.map(|(id, _)| self.render(id, &subject).map(|file| file.plain()))
                .collect::<Result<Vec<_>, _>>()
        };
        let numbers = [1, model.line_keys.unwrap_or(1).max(1)];
        let empty = numbers.map(|number| files(number, KeyKind::None));
        let is_ignored = |kind: &KeyKind| {
            numbers.iter().zip(&empty).all(|(number, empty)| match (files(*number, *kind), empty) {
                (Ok(with), Ok(without)) => with == *without,
                // Nothing to compare with: it is taken to be done.
                (Ok(_), Err(_)) => false,
                (Err(_), _) => true,
            })
        };
        KeyKind::ALL.into_iter().filter(|kind| *kind != KeyKind::None && is_ignored(kind)).collect()
    }

    pub(super) fn known_model<'a>(&'a self, subject: &Subject<'a>) -> (&'a Model, Option<&'a str>) {
        let asked = subject.model();
        let known = asked.and_then(|name| self.model(name));
        (known.unwrap_or(self.models.any()), known.map(|model| model.name.as_str()).or(asked))
    }

    fn settled<'a>(&'a self, subject: &Subject<'a>) -> Settled<'a> {
        let (model, name) = self.known_model(subject);
        let stack = Stack::new(subject, self.vendor.as_str(), name, Some(model.settings()));
        let laid = keys::laid(subject, self.vendor.as_str(), name);
        let (keys, problems) = keys::sift(laid, model, self.maps(), subject);
        Settled { model, name, stack, keys, problems }
    }

    /// What the template draws, with everything that is to be told.
    fn drawn(
        &self,
        id: FileId,
        subject: &Subject<'_>,
        settled: &Settled<'_>,
    ) -> Result<Drawing, RenderError> {
        let file = self.file(id);
        if file.scope == Scope::Device && subject.device.is_none() {
            return Err(RenderError::NoDevice { file: file.path.to_string() });
        }
        let (mut drawing, notes) = self.draw(id, subject, settled)?;
        if drawing.trace.raw && file.scope != Scope::Device {
            let message = "raw() stands in a file that phones share; put it into a phone's own".to_owned();
            let template = file.template.clone();
            return Err(self.failed(TemplateError { template, line: None, message }));
        }
        drawing.trace.notes.extend(notes);
        Ok(drawing)
    }

    /// A drawing with its places for secrets, and with raw parameters in theirs.
    fn cut(&self, id: FileId, drawing: &Drawing, raw: &RawLines) -> Result<Rendered, RenderError> {
        let file = self.file(id);
        let rules = SlotRules {
            file: &file.path.to_string(),
            writing: &file.writing,
            content_type: &file.content_type,
            kinds: &file.secrets,
            form: &file.form,
            comment: file.comment.as_ref(),
            raw,
            rejects: &self.release.rejects,
        };
        Rendered::cut(drawing, &rules)
    }

    /// What the template draws, and what else is to be told.
    fn draw(
        &self,
        id: FileId,
        subject: &Subject<'_>,
        settled: &Settled<'_>,
    ) -> Result<(Drawing, Vec<String>), RenderError> {
        let file = self.file(id);
        let (site, refused) = subject.site.seen_by(&settled.stack);
        let subject = &Subject { site: &site, ..*subject };
        let neutral = settled.stack.settled().into_iter().filter(|(name, _)| !name.starts_with(RAW));
        let mut settings: BTreeMap<&str, &str> = neutral.map(|(name, (_, value))| (name, value)).collect();
        let supplied = self.menu_settings(subject);
        for (name, url) in &supplied {
            settings.entry(name).or_insert(url);
        }
        let ground = Ground {
            vendor: self.vendor.as_str(),
            model: settled.name,
            facts: settled.model.facts(),
            settings,
            keys: &settled.keys,
        };
        let context = subject::context(subject, &ground)?;
        let drawing = self
            .templates
            .draw(&file.template, &file.writing, context)
            .map_err(|error| self.failed(error))?;
        let mut notes = subject::notes(subject);
        notes.extend(refused);
        if file.scope == Scope::Device {
            notes.extend(settled.problems.iter().map(KeyProblem::sentence));
        }
        Ok((drawing, notes))
    }

    /// The names of all places for passwords in the phone's own files, of the lines that it has and of those that it may
    /// get: a raw parameter must not set one of them in the file beside the one that holds it.
    fn secret_names(&self, subject: &Subject<'_>, settled: &Settled<'_>) -> SecretNames {
        let mut names = SecretNames::default();
        let most = self.models.iter().filter_map(|model| model.lines).max();
        // A template may refuse a line beyond the model's last one.
        let counts = [most, settled.model.lines, Some(1)];
        let fuller: Vec<Device> = subject
            .device
            .into_iter()
            .flat_map(|device| counts.map(|count| with_lines(device, count)))
            .collect();
        for (id, _) in self.files_for(subject.model()).filter(|(_, file)| !file.secrets.is_empty()) {
            let cut = |subject: &Subject<'_>, settled: &Settled<'_>| {
                self.cut(id, &self.drawn(id, subject, settled)?, &RawLines::default())
            };
            let own = cut(subject, settled).ok();
            let stand_in = fuller.iter().find_map(|device| {
                let subject = Subject { device: Some(device), ..*subject };
                cut(&subject, &self.settled(&subject)).ok()
            });
            own.iter().chain(&stand_in).flat_map(Rendered::slot_pieces).for_each(|piece| names.add(piece));
        }
        names
    }

    fn failed(&self, error: TemplateError) -> RenderError {
        let TemplateError { template, line, message } = error;
        RenderError::Template { vendor: self.vendor.to_string(), template, line, message }
    }
}

/// The same phone with so many lines of no account in place of its own.
fn with_lines(device: &Device, count: Option<u16>) -> Device {
    let account = Account {
        id: 0,
        username: "line".to_owned(),
        auth_id: String::new(),
        display_name: None,
        registrar: None,
        transport: Some(Transport::Udp),
        outbound_proxy: None,
        srtp: None,
        password_version: 0,
        password: None,
    };
    let last = count.unwrap_or(1).clamp(1, LINES_TRIED_MAX);
    let lines = (1..=last).map(|number| Line { number, label: None, account: account.clone() }).collect();
    Device { lines, keys: Vec::new(), ..device.clone() }
}

/// Every setting as it holds for a subject, facts of the site first, and the layer that each comes from. Without a
/// profile there is nothing of the vendor's.
pub fn laid_settings(profile: Option<&Profile>, subject: &Subject<'_>) -> Vec<LaidSetting> {
    let (model, name) = match profile {
        Some(profile) => {
            let (model, name) = profile.known_model(subject);
            (Some(model), name)
        }
        None => (None, subject.model()),
    };
    let vendor = subject.device.and_then(|device| device.vendor.as_ref());
    let vendor = profile.map(super::Profile::vendor).or(vendor);
    let vendor = vendor.map(crate::device::Vendor::as_str).unwrap_or_default();
    let stack = Stack::new(subject, vendor, name, model.map(Model::settings));
    let mut laid = subject.site.facts_of(&stack);
    let others = stack.settled().into_iter().filter(|(name, _)| !super::is_fact(name));
    laid.extend(others.map(|(name, (layer, value))| LaidSetting {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        layer,
    }));
    laid
}
