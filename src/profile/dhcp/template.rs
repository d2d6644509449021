//! A text of a profile with the agent's facts in it: `{base}`, `{host}`, `{vlan}` … The phone's own braces stay.

use super::DhcpPlace;
use super::endpoint::Endpoint;
use crate::profile::schema::WithoutScheme;

/// Words that phones put something in place of themselves, in any vendor's profile.
const PHONE_WORDS: [&str; 4] = ["mac", "MAC", "model", "MODEL"];

/// A list of addresses has no place for another one.
const TFTP_PORT: u16 = 69;

/// A fact of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Base,
    Tftp,
    TftpHost,
    Host,
    Port,
    Vlan,
    VlanPriority,
    Registrar,
}

const WORDS: [(&str, Word); 8] = [
    ("base", Word::Base),
    ("tftp", Word::Tftp),
    ("tftp_host", Word::TftpHost),
    ("host", Word::Host),
    ("port", Word::Port),
    ("vlan", Word::Vlan),
    ("vlan_priority", Word::VlanPriority),
    ("registrar", Word::Registrar),
];

/// What a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It says where the phone's files are.
    Server,
    /// It says at which port.
    Port,
    /// The VLAN or its priority.
    Vlan,
    /// The SIP registrar.
    Registrar,
    /// It is the same everywhere.
    Fixed,
}

/// A text with places for facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(Word),
}

impl Template {
    /// Reads a text; `macros` are further words of the phone's own. An unknown word is an error that names it.
    pub(super) fn parse(text: &str, macros: &[String]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut fixed = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            fixed.push_str(before);
            let Some((word, behind)) = after.split_once('}') else {
                return Err("has a { without its }".to_owned());
            };
            if let Some((_, known)) = WORDS.iter().find(|(name, _)| *name == word) {
                if !fixed.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut fixed)));
                }
                pieces.push(Piece::Word(*known));
            } else if PHONE_WORDS.contains(&word) || macros.iter().any(|own| own == word) {
                fixed.extend(["{", word, "}"]);
            } else {
                return Err(format!("has the unknown word {{{word}}}"));
            }
            rest = behind;
        }
        fixed.push_str(rest);
        if fixed.contains(|c: char| c.is_control()) {
            return Err("holds a control character".to_owned());
        }
        if !fixed.is_empty() {
            pieces.push(Piece::Text(fixed));
        }
        Ok(Self(pieces))
    }

    /// A single word.
    pub(super) fn of(word: Word) -> Self {
        Self(vec![Piece::Word(word)])
    }

    /// The text at this place; `None` when a fact in it is not known there.
    pub(super) fn fill(&self, facts: &Facts<'_>) -> Option<String> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Word(word) => facts.of(*word),
        });
        pieces.collect()
    }

    /// What it is for.
    pub(super) fn role(&self) -> Role {
        let has = |wanted: &[Word]| {
            self.0.iter().any(|piece| matches!(piece, Piece::Word(word) if wanted.contains(word)))
        };
        if has(&[Word::Base, Word::Tftp, Word::TftpHost, Word::Host]) {
            Role::Server
        } else if has(&[Word::Port]) {
            Role::Port
        } else if has(&[Word::Vlan, Word::VlanPriority]) {
            Role::Vlan
        } else if has(&[Word::Registrar]) {
            Role::Registrar
        } else {
            Role::Fixed
        }
    }

    /// Whether the whole option says nothing without it.
    pub(super) fn is_needed(&self) -> bool {
        matches!(self.role(), Role::Server | Role::Port)
    }

    /// What stands before the server's address and is no part of a URL: `server=` in `server={base}`.
    pub(super) fn introduction(&self) -> &str {
        match self.0.as_slice() {
            [Piece::Text(text), _, ..] if !text.contains("://") => text,
            _ => "",
        }
    }

    /// What stands in a text of this shape in the place of its only word: `20` in `VLAN-A=20;` of `VLAN-A={vlan};`.
    pub(super) fn word_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (before, after) = match self.0.as_slice() {
            [Piece::Word(_)] => ("", ""),
            [Piece::Text(before), Piece::Word(_)] => (before.as_str(), ""),
            [Piece::Word(_), Piece::Text(after)] => ("", after.as_str()),
            [Piece::Text(before), Piece::Word(_), Piece::Text(after)] => (before.as_str(), after.as_str()),
            _ => return None,
        };
        text.strip_prefix(before)?.strip_suffix(after)
    }

    /// The name of a `NAME=value` or `NAME:value`, in small letters.
    pub(super) fn name(&self) -> Option<String> {
        let [Piece::Text(text), ..] = self.0.as_slice() else { return None };
        text.split_once(['=', ':']).map(|(name, _)| name.trim().to_ascii_lowercase())
    }
}

/// What the words stand for, for one vendor's phones at one place.
pub(super) struct Facts<'p> {
    pub(super) place: &'p DhcpPlace,
    /// The root of the files by what these phones speak.
    pub(super) base: Option<&'p str>,
}

impl Facts<'_> {
    fn of(&self, word: Word) -> Option<String> {
        let place = self.place;
        match word {
            Word::Base => self.base.map(with_slash),
            Word::Tftp => place.base_tftp.as_deref().map(with_slash),
            Word::TftpHost => {
                let usual = port_of(place.base_tftp.as_deref()?) == Some(TFTP_PORT);
                usual.then(|| place.host.to_string())
            }
            Word::Host => Some(place.host.to_string()),
            // A port goes beside an HTTP server's address; TFTP has the one that everybody knows.
            Word::Port => {
                port_of(self.base.filter(|base| base.starts_with("http"))?).map(|port| port.to_string())
            }
            Word::Vlan => place.vlan.map(|vlan| vlan.to_string()),
            Word::VlanPriority => place.vlan.and(place.vlan_priority).map(|priority| priority.to_string()),
            Word::Registrar => {
                let registrar = place.registrar.as_deref()?;
                Some(registrar.rsplit_once(':').map_or(registrar, |(host, _)| host).to_owned())
            }
        }
    }
}

fn port_of(base: &str) -> Option<u16> {
    Endpoint::read(base, WithoutScheme::Refused).ok()?.parts().2
}

fn with_slash(base: &str) -> String {
    if base.ends_with('/') { base.to_owned() } else { format!("{base}/") }
}
