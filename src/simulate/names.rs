//! Names of settings with numbers in them: `account.{line}.password` found among a phone's settings, and written for one
//! of its lines; `P{key*2+1361}` where a vendor counts in its own way. Texts only.

use super::settings::Settings;
use crate::profile::Names;
use crate::secret::Secret;

/// What was found for the words in braces: numbers as people count, from 1, or a text for `{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found(Vec<(String, String)>);

impl Found {
    /// These words with their numbers.
    pub(super) fn of(words: &[(&str, u16)]) -> Self {
        Self(words.iter().map(|(word, number)| ((*word).to_owned(), number.to_string())).collect())
    }

    /// The number found for a word.
    pub(super) fn number(&self, word: &str) -> Option<u16> {
        self.get(word)?.parse().ok()
    }

    /// Says what a further word stands for.
    pub(super) fn set(&mut self, word: &str, value: String) {
        self.0.retain(|(held, _)| held != word);
        self.0.push((word.to_owned(), value));
    }

    fn get(&self, word: &str) -> Option<&str> {
        self.0.iter().find(|(held, _)| held == word).map(|(_, value)| value.as_str())
    }
}

/// Everything for which a phone has a setting of one of these names, in order.
pub(super) fn found(names: &Names, settings: &Settings) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for pattern in names.iter() {
        for name in settings.names() {
            if let Some(one) = found_in(pattern, name).filter(|one| !found.contains(one)) {
                found.push(one);
            }
        }
    }
    let order =
        |found: &Found| found.0.iter().map(|(_, value)| (value.len(), value.clone())).collect::<Vec<_>>();
    found.sort_by_key(order);
    found
}

/// The first of these settings that is set and not empty, with its name.
pub(super) fn held<'s>(names: &Names, found: &Found, settings: &'s Settings) -> Option<(String, &'s Secret)> {
    names.iter().find_map(|pattern| {
        let name = written(pattern, found);
        let value = settings.secret(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}

/// The same for a value that is no secret.
pub(super) fn text<'s>(names: &Names, found: &Found, settings: &'s Settings) -> Option<&'s str> {
    held(names, found, settings).map(|(_, value)| value.expose())
}

/// Whether `NAME = VALUE` or `NAME != VALUE` holds; a setting that is not set is empty.
pub(super) fn holds(condition: &str, found: &Found, settings: &Settings) -> bool {
    let (name, value, wanted) = match condition.split_once("!=") {
        Some((name, value)) => (name, value, false),
        None => condition.split_once('=').map_or((condition, "", true), |(name, value)| (name, value, true)),
    };
    let held = settings.text(&written(name.trim(), found)).unwrap_or_default();
    (held == value.trim()) == wanted
}

/// A pattern with what was found in it; a word that was not found stays.
pub(super) fn written(pattern: &str, found: &Found) -> String {
    let mut parts = pattern.split('{');
    let begin = parts.next().unwrap_or_default().to_owned();
    parts.fold(begin, |text, part| {
        let filled = part.split_once('}').and_then(|(inner, behind)| {
            let hole = Hole::read(inner)?;
            Some(format!("{}{behind}", hole.write(found.get(hole.word)?)?))
        });
        text + &filled.unwrap_or_else(|| format!("{{{part}"))
    })
}

/// What stands in braces: `line`, `line-1`, `key*2+1361`.
struct Hole<'p> {
    word: &'p str,
    times: i64,
    plus: i64,
}

impl<'p> Hole<'p> {
    fn read(inner: &'p str) -> Option<Self> {
        let end = inner.find(['*', '+', '-']).unwrap_or(inner.len());
        let (word, rest) = inner.split_at_checked(end)?;
        let (times, plus) = match rest.strip_prefix('*') {
            None => (1, rest),
            Some(rest) => {
                let end = rest.find(['+', '-']).unwrap_or(rest.len());
                let (times, plus) = rest.split_at_checked(end)?;
                (times.parse().ok()?, plus)
            }
        };
        let plus = if plus.is_empty() { 0 } else { plus.parse().ok()? };
        Some(Self { word, times, plus })
    }

    /// What it holds as the phone writes it.
    fn write(&self, value: &str) -> Option<String> {
        if self.times == 1 && self.plus == 0 {
            return Some(value.to_owned());
        }
        let number: i64 = value.parse().ok()?;
        Some(number.checked_mul(self.times)?.checked_add(self.plus)?.to_string())
    }

    /// What is written here, as people count; `None`: it is none of this phone's.
    fn take(&self, name: &'p str) -> Option<(String, &'p str)> {
        let is_own = |c: char| if self.word == "id" { c.is_ascii_alphanumeric() } else { c.is_ascii_digit() };
        let end = name.find(|c| !is_own(c)).unwrap_or(name.len());
        let (written, left) = name.split_at_checked(end).filter(|(written, _)| !written.is_empty())?;
        if self.word == "id" {
            return Some((written.to_owned(), left));
        }
        let number = written.parse::<i64>().ok()?.checked_sub(self.plus)?;
        let number = (number % self.times == 0).then_some(number / self.times)?;
        let number = u16::try_from(number).ok().filter(|number| *number > 0)?;
        Some((number.to_string(), left))
    }
}

/// What a name of this pattern has in place of its words.
fn found_in(pattern: &str, name: &str) -> Option<Found> {
    let (mut pattern, mut name) = (pattern, name);
    let mut found = Found::default();
    while let Some((fixed, rest)) = pattern.split_once('{') {
        let (inner, behind) = rest.split_once('}')?;
        let hole = Hole::read(inner).filter(|hole| hole.times > 0)?;
        let (value, left) = hole.take(name.strip_prefix(fixed)?)?;
        found.set(hole.word, value);
        (pattern, name) = (behind, left);
    }
    (pattern == name).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_names_and_written_again() {
        let check = |pattern: &str, name: &str, expected: &[(&str, u16)]| {
            let found = found_in(pattern, name);
            assert_eq!(found, Some(Found::of(expected)), "{pattern} {name}");
            assert_eq!(written(pattern, &found.unwrap()), name);
        };
        check("account.{line}.name", "account.12.name", &[("line", 12)]);
        check("m.{module}.k.{key}.type", "m.1.k.20.type", &[("module", 1), ("key", 20)]);
        check("user_name{line}", "user_name3", &[("line", 3)]);
        check("line/{line-1}/id", "line/0/id", &[("line", 1)]);
        check("P{key*2+1361}", "P1365", &[("key", 2)]);
        check("P35", "P35", &[]);
        let found = found_in("a.{id}.b", "a.0a3.b").unwrap();
        assert_eq!(written("c.{id}", &found), "c.0a3");
        for (pattern, name) in [
            ("account.{line}.name", "account..name"),
            ("account.{line}.name", "account.1.names"),
            ("account.{line}.name", "account.0.name"),
            ("account.{line}.name", "account.99999.name"),
            ("P{key*2+1361}", "P1364"),
            ("P{key*2+1361}", "P1361"),
            ("user_name{line}", "user_name1x"),
        ] {
            assert_eq!(found_in(pattern, name), None, "{pattern} {name}");
        }
    }

    #[test]
    fn conditions_hold_or_not() {
        let mut settings = Settings::default();
        settings.set("a.1", "on");
        let one = Found::of(&[("line", 1)]);
        for (condition, expected) in [
            ("a.{line} = on", true),
            ("a.{line}=off", false),
            ("a.{line} != off", true),
            ("a.{line} !=", true),
            ("b.{line} =", true),
            ("b.{line} != off", true),
        ] {
            assert_eq!(holds(condition, &one, &settings), expected, "{condition}");
        }
    }
}
