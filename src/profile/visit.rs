//! How a web interface is told where the phone's configuration is: `[[web]]`, requests in order with what their answers
//! must be. Reads and checks what profiles write; sends nothing, and knows no password but those that phones are sold with.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::Deserialize;
use toml::Spanned;

use super::build::Findings;
use super::reach::Told;
use super::schema::ModelToml;

/// Passwords as sold that are tried: many phones lock themselves after five wrong ones.
const FACTORY_PASSWORDS_MAX: usize = 3;
/// Words that a step may use: the URL and its parts,
const URL_WORDS: [&str; 6] = ["url", "url_scheme", "url_host", "url_port", "url_path", "url_bare"];
/// who logs in,
const LOGIN_WORDS: [&str; 2] = ["user", "password"];
/// and what everybody may know.
const OPEN_WORDS: [&str; 2] = ["phone", "now"];

/// One web interface of a vendor's phones.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Its name in listings.
    pub name: String,
    models: Vec<String>,
    families: Vec<String>,
    /// The administrator's name.
    pub user: String,
    /// Its passwords as sold; none: the phone asks for none until it has one.
    pub factory: Vec<String>,
    /// The schemes of URLs that it takes.
    pub schemes: Vec<String>,
    /// What the phone is told by SIP when all is set, where its web interface cannot make it look.
    pub then: Option<Told>,
    /// The requests, stage by stage.
    pub steps: Vec<VisitStep>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Is it this interface? Nothing is given away.
    Look,
    /// Prove a password.
    Login,
    /// Write the URL.
    Set,
    /// Make the phone look there.
    Apply,
    /// Log out, whatever came before.
    Leave,
}

/// One request, and what its answer must be.
#[derive(Debug, Clone)]
pub struct VisitStep {
    /// What it is for.
    pub stage: Stage,
    /// GET, POST or PUT.
    pub method: &'static str,
    /// Path and query.
    pub target: Phrase,
    /// Beside those of every request.
    pub headers: Vec<(String, Phrase)>,
    /// What is sent.
    pub body: Option<Payload>,
    /// Whether a challenge (401) is answered: Digest where it is offered, else Basic.
    pub auth: bool,
    /// The codes of a good answer.
    pub status: Vec<u16>,
    /// Whether a connection that ends without an answer is one: phones that start at once.
    pub dropped: bool,
    /// What a line of its head must match.
    pub head: Option<Regex>,
    /// What its body must match.
    pub has: Option<Regex>,
    /// What its body must not match.
    pub lacks: Option<Regex>,
    /// What of its body says that the password was wrong,
    pub wrong: Option<Regex>,
    /// and that nobody is let in for a while.
    pub locked: Option<Regex>,
    /// Words for later steps: the first group of each.
    pub take: Vec<(String, Regex)>,
    /// Words that are digests of others.
    pub make: Vec<(String, Digesting, Phrase)>,
}

/// What is sent with a request.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Fields in order, urlencoded.
    Form(Vec<(String, Phrase)>),
    /// A text and its media type; lines end in CR LF on the wire. Words in a text that begins with `{` are escaped as
    /// JSON has it.
    Text(Phrase, String),
}

/// A digest, in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digesting {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
}

/// A text with words in braces. Braces around anything else are what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Word(String),
}

/// `[[web]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VisitToml {
    name: String,
    models: Vec<Spanned<String>>,
    families: Vec<Spanned<String>>,
    user: String,
    factory: Vec<String>,
    schemes: Option<Vec<String>>,
    then: Option<Told>,
    look: Vec<Spanned<StepToml>>,
    login: Vec<Spanned<StepToml>>,
    set: Vec<Spanned<StepToml>>,
    apply: Vec<Spanned<StepToml>>,
    leave: Vec<Spanned<StepToml>>,
}

/// One step as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StepToml {
    get: Option<String>,
    post: Option<String>,
    put: Option<String>,
    headers: BTreeMap<String, String>,
    form: Option<Vec<(String, String)>>,
    body: Option<String>,
    r#type: Option<String>,
    auth: bool,
    status: Option<Vec<u16>>,
    dropped: bool,
    head: Option<Spanned<String>>,
    has: Option<Spanned<String>>,
    lacks: Option<Spanned<String>>,
    wrong: Option<Spanned<String>>,
    locked: Option<Spanned<String>>,
    take: BTreeMap<String, Spanned<String>>,
    make: BTreeMap<String, String>,
}

impl Visit {
    /// Reads every row; `parent` stands in where there is none.
    pub(super) fn all(
        tables: &[Spanned<VisitToml>],
        parent: Option<&[Self]>,
        models: &BTreeMap<String, ModelToml>,
        findings: &mut Findings<'_>,
    ) -> Vec<Self> {
        if tables.is_empty() {
            return parent.unwrap_or_default().to_vec();
        }
        let rows = tables.iter().enumerate();
        rows.map(|(at, row)| row.get_ref().read(&format!("web[{at}]"), row, models, findings)).collect()
    }

    /// Whether phones of this model and family may have it.
    pub(super) fn is_of(&self, model: &str, family: Option<&str>) -> bool {
        let has = |names: &[String], name: &str| names.iter().any(|one| one.eq_ignore_ascii_case(name));
        let is_any = self.models.is_empty() && self.families.is_empty();
        is_any || has(&self.models, model) || family.is_some_and(|family| has(&self.families, family))
    }

    /// Where a stage begins.
    pub fn first_of(&self, stage: Stage) -> usize {
        self.steps.iter().position(|step| step.stage >= stage).unwrap_or(self.steps.len())
    }
}

impl VisitToml {
    fn read(
        &self,
        key: &str,
        row: &Spanned<Self>,
        models: &BTreeMap<String, ModelToml>,
        findings: &mut Findings<'_>,
    ) -> Visit {
        for name in self.models.iter().filter(|name| !models.contains_key(name.get_ref())) {
            let message = format!("'{}' is no model of this profile", name.get_ref());
            findings.push(&format!("{key}.models"), Some(name.span()), message, "correct the name");
        }
        let has_family = |name: &str| models.values().any(|model| model.family.as_deref() == Some(name));
        for name in self.families.iter().filter(|name| !has_family(name.get_ref())) {
            let message = format!("'{}' is no family of this profile", name.get_ref());
            findings.push(&format!("{key}.families"), Some(name.span()), message, "correct the name");
        }
        if self.factory.len() > FACTORY_PASSWORDS_MAX {
            let message = format!("{FACTORY_PASSWORDS_MAX} at most: phones lock themselves");
            findings.push(&format!("{key}.factory"), Some(row.span()), message, "keep the likely ones");
        }
        for (name, is_empty) in
            [("name", self.name.is_empty()), ("look", self.look.is_empty()), ("set", self.set.is_empty())]
        {
            if is_empty {
                let remedy = "a row has a name, a look that gives nothing away, and what it sets";
                findings.push(&format!("{key}.{name}"), Some(row.span()), "is missing", remedy);
            }
        }
        let stages = [
            (Stage::Look, &self.look),
            (Stage::Login, &self.login),
            (Stage::Set, &self.set),
            (Stage::Apply, &self.apply),
            (Stage::Leave, &self.leave),
        ];
        let mut known: BTreeSet<String> = OPEN_WORDS.iter().map(|word| (*word).to_owned()).collect();
        let mut steps = Vec::new();
        for (stage, written) in stages {
            let more: &[&str] = match stage {
                Stage::Login => &LOGIN_WORDS,
                Stage::Set => &URL_WORDS,
                Stage::Look | Stage::Apply | Stage::Leave => &[],
            };
            known.extend(more.iter().map(|word| (*word).to_owned()));
            for (number, step) in written.iter().enumerate() {
                let key = format!("{key}.{}[{number}]", stage.as_str());
                steps.extend(step.get_ref().read(&key, step, stage, &mut known, findings));
            }
        }
        let texts = |texts: &[Spanned<String>]| texts.iter().map(|text| text.get_ref().clone()).collect();
        Visit {
            name: self.name.clone(),
            models: texts(&self.models),
            families: texts(&self.families),
            user: self.user.clone(),
            factory: self.factory.clone(),
            schemes: self.schemes.clone().unwrap_or_else(|| vec!["http".to_owned()]),
            then: self.then,
            steps,
        }
    }
}

impl StepToml {
    fn read(
        &self,
        key: &str,
        written: &Spanned<Self>,
        stage: Stage,
        known: &mut BTreeSet<String>,
        findings: &mut Findings<'_>,
    ) -> Option<VisitStep> {
        let ways = [("GET", &self.get), ("POST", &self.post), ("PUT", &self.put)];
        let mut asked = ways.into_iter().filter_map(|(method, path)| Some((method, path.as_ref()?)));
        let (Some((method, path)), None) = (asked.next(), asked.next()) else {
            let remedy = "write one of get, post and put, with a path";
            findings.push(key, Some(written.span()), "is no request", remedy);
            return None;
        };
        if !path.starts_with('/') || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            findings.push(key, Some(written.span()), format!("'{path}' is no path"), "it begins with /");
        }
        if stage == Stage::Look && self.auth {
            findings.push(key, Some(written.span()), "gives a password away", "look without auth");
        }
        let mut patterns = |name: &str, text: &Option<Spanned<String>>| {
            text.as_ref().and_then(|text| findings.pattern(text, &format!("{key}.{name}")))
        };
        let (head, has, lacks) =
            (patterns("head", &self.head), patterns("has", &self.has), patterns("lacks", &self.lacks));
        let (wrong, locked) = (patterns("wrong", &self.wrong), patterns("locked", &self.locked));
        let mut make = Vec::new();
        for (name, text) in &self.make {
            let Some((digest, phrase)) = digesting(text) else {
                let remedy = "write md5(…) or sha256(…)";
                findings.push(&format!("{key}.make"), Some(written.span()), format!("'{text}'"), remedy);
                continue;
            };
            check(key, written, &phrase, known, findings);
            make.push((name.clone(), digest, phrase));
        }
        known.extend(self.make.keys().cloned());
        let target = Phrase::read(path);
        let headers: Vec<_> =
            self.headers.iter().map(|(name, text)| (name.clone(), Phrase::read(text))).collect();
        let body = self.payload();
        let phrases = headers.iter().map(|(_, phrase)| phrase).chain([&target]);
        for phrase in phrases.chain(body.iter().flat_map(Payload::phrases)) {
            check(key, written, phrase, known, findings);
        }
        let taken = self.take.iter().filter_map(|(name, text)| {
            let pattern = findings.pattern(text, &format!("{key}.take"))?;
            if pattern.captures_len() < 2 {
                let remedy = "put what is taken into parentheses";
                findings.push(&format!("{key}.take"), Some(text.span()), "has no group", remedy);
            }
            Some((name.clone(), pattern))
        });
        let take: Vec<_> = taken.collect();
        known.extend(self.take.keys().cloned());
        let status = self.status.clone().unwrap_or_else(|| vec![200]);
        let (auth, dropped) = (self.auth, self.dropped);
        Some(VisitStep {
            stage,
            method,
            target,
            headers,
            body,
            auth,
            status,
            dropped,
            head,
            has,
            lacks,
            wrong,
            locked,
            take,
            make,
        })
    }

    fn payload(&self) -> Option<Payload> {
        if let Some(fields) = &self.form {
            let fields = fields.iter().map(|(name, text)| (name.clone(), Phrase::read(text)));
            return Some(Payload::Form(fields.collect()));
        }
        let kind = self.r#type.clone().unwrap_or_else(|| "text/plain".to_owned());
        self.body.as_ref().map(|text| Payload::Text(Phrase::read(text), kind))
    }
}

impl Stage {
    /// The word of profiles and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Login => "login",
            Self::Set => "set",
            Self::Apply => "apply",
            Self::Leave => "leave",
        }
    }
}

impl VisitStep {
    /// Its name for people: the stage and the request, without query and words.
    pub fn name(&self) -> String {
        let path = self.target.0.first().map_or("/", |piece| match piece {
            Piece::Plain(text) => text.split('?').next().unwrap_or_default(),
            Piece::Word(_) => "/",
        });
        format!("{}: {} {path}", self.stage.as_str(), self.method)
    }

    /// Whether it says the password, or sends a digest of it.
    pub fn has_word(&self, word: &str) -> Mention {
        let says = |phrase: &Phrase| phrase.words().any(|own| own == word);
        let sent = self.headers.iter().map(|(_, phrase)| phrase).chain([&self.target]);
        if sent.chain(self.body.iter().flat_map(Payload::phrases)).any(says) {
            return Mention::AsItIs;
        }
        if self.make.iter().any(|(_, _, phrase)| says(phrase)) { Mention::Digested } else { Mention::Not }
    }
}

/// How a step mentions a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mention {
    /// Not at all.
    Not,
    /// Within a digest.
    Digested,
    /// As it is.
    AsItIs,
}

impl Payload {
    fn phrases(&self) -> Vec<&Phrase> {
        match self {
            Self::Form(fields) => fields.iter().map(|(_, phrase)| phrase).collect(),
            Self::Text(phrase, _) => vec![phrase],
        }
    }
}

impl Phrase {
    /// Reads a text.
    pub fn read(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some((word, after)) = behind.split_once('}').filter(|(word, _)| is_word(word)) {
                if !plain.is_empty() {
                    pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Word(word.to_owned()));
                rest = after;
            } else {
                plain.push('{');
                rest = behind;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Self(pieces)
    }

    /// The words in it.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Word(word) => Some(word.as_str()),
            Piece::Plain(_) => None,
        })
    }

    /// The text with words filled in by `fill`; `None` where it has none for one of them.
    pub fn filled(&self, mut fill: impl FnMut(&str) -> Option<String>) -> Option<String> {
        self.0.iter().try_fold(String::new(), |mut text, piece| {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Word(word) => text.push_str(&zeroize::Zeroizing::new(fill(word)?)),
            }
            Some(text)
        })
    }

    /// Whether it begins as a JSON object does.
    pub fn is_json(&self) -> bool {
        matches!(self.0.first(), Some(Piece::Plain(text)) if text.trim_start().starts_with('{'))
    }
}

/// Words must be known by then.
fn check(
    key: &str,
    written: &Spanned<StepToml>,
    phrase: &Phrase,
    known: &BTreeSet<String>,
    findings: &mut Findings<'_>,
) {
    for word in phrase.words().filter(|word| !known.contains(*word)) {
        let all: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = format!("'{{{word}}}' is not known here");
        let remedy = format!("known at this step: {}", all.join(", "));
        findings.push(key, Some(written.span()), message, &remedy);
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn digesting(text: &str) -> Option<(Digesting, Phrase)> {
    let (name, inner) = text.strip_suffix(')')?.split_once('(')?;
    let digest = match name {
        "md5" => Digesting::Md5,
        "sha256" => Digesting::Sha256,
        _ => return None,
    };
    Some((digest, Phrase::read(inner)))
}

#[cfg(test)]
#[path = "visit/tests.rs"]
mod tests;
