//! The names of a phone's passwords: what no raw parameter may be called, of whichever line.

use std::collections::BTreeSet;

use super::super::rendered::SlotPiece;

/// How the last word of a name ends that holds a password, whichever; and what such a word may be as a whole.
const ENDINGS: [&str; 7] = ["password", "passwd", "passwort", "pswd", "pwd", "passphrase", "secret"];
const WORDS: [&str; 5] = ["pass", "userpass", "authpass", "pin", "psk"];

/// The names in the places for passwords of a phone's files.
#[derive(Debug, Default)]
pub(in crate::profile) struct SecretNames {
    /// Every word of these places: a parameter's name is one of them, however the place is written.
    words: BTreeSet<String>,
    /// The names alone, for parameters whose names are of several words.
    whole: BTreeSet<String>,
}

impl SecretNames {
    /// Takes in the names of a place.
    pub(in crate::profile) fn add(&mut self, piece: &SlotPiece) {
        let outside = |c: char| !(c.is_ascii_alphanumeric() || "_-.:%@/$".contains(c));
        let is_name = |text: &&str| text.contains(|c: char| c.is_ascii_alphabetic());
        for text in [&piece.before, &piece.name] {
            self.words.extend(text.split(outside).filter(is_name).map(alike));
            let names = text.lines().filter_map(|line| line.split([':', '=', '"']).next());
            self.whole.extend(names.filter(is_name).map(alike));
        }
    }

    /// Whether a parameter is one of them, or the same one of another line (`account.2.password`), or by its name one
    /// that no file has a place for (`ldap.password`): what is set stands readable in the database and its backups.
    pub(super) fn covers(&self, name: &str) -> bool {
        if reads_as_password(name) {
            return true;
        }
        // With a colon or a slash in it a name may be one word here and two to the phone.
        let parts = name.split([':', '/']).filter(|part| !part.is_empty());
        std::iter::once(name).chain(parts).map(str::trim).any(|name| {
            if !name.contains(' ') {
                return self.words.contains(&alike(name));
            }
            let mut names = std::iter::once(name).chain(name.split(' '));
            names.any(|name| self.whole.contains(&alike(name)))
        })
    }
}

/// Whether the last word of a name says that it holds a password. What counts passwords, or tells how to write them, has
/// another last word (`password_length`).
fn reads_as_password(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.rsplit(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    words.next().is_some_and(|last| WORDS.contains(&last) || ENDINGS.iter().any(|end| last.ends_with(end)))
}

/// A name in small letters, with a mark for each number in it: those of all lines are alike. A letter with a number
/// (`P34`) is a name by its number.
fn alike(name: &str) -> String {
    let name = name.trim_matches(['.', ':', ' ', '\t']).to_ascii_lowercase().replace('_', ".");
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((letter, number)) = name.split_at_checked(1)
        && letter.starts_with(|c: char| c.is_ascii_alphabetic())
        && is_digits(number)
    {
        return format!("{letter}{}", number.trim_start_matches('0'));
    }
    let mut masked = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            c => masked.push(c),
        }
    }
    masked
}
