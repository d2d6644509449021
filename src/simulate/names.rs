//! Names of settings with numbers in them: `account.{line}.password` found among a phone's settings, and written for one
//! of its lines. Texts only.

use super::settings::Settings;
use crate::profile::Names;
use crate::secret::Secret;

/// A number by the word in braces that it was found for.
pub(super) type Numbers = Vec<(String, u16)>;

/// The number found for a word.
pub(super) fn number(numbers: &Numbers, word: &str) -> Option<u16> {
    numbers.iter().find(|(held, _)| held == word).map(|(_, number)| *number)
}

/// The numbers for which a phone has a setting of one of these names, in order.
pub(super) fn found(names: &Names, settings: &Settings) -> Vec<Numbers> {
    let mut found: Vec<Numbers> = names
        .iter()
        .flat_map(|pattern| settings.names().filter_map(move |name| numbers_in(pattern, name)))
        .collect();
    found.sort_by_key(|numbers| numbers.iter().map(|(_, number)| *number).collect::<Vec<_>>());
    found.dedup();
    found
}

/// The first of these settings that is set and not empty, with its name.
pub(super) fn held<'s>(
    names: &Names,
    numbers: &Numbers,
    settings: &'s Settings,
) -> Option<(String, &'s Secret)> {
    names.iter().find_map(|pattern| {
        let name = written(pattern, numbers);
        let value = settings.secret(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}

/// The same for a value that is no secret.
pub(super) fn text<'s>(names: &Names, numbers: &Numbers, settings: &'s Settings) -> Option<&'s str> {
    held(names, numbers, settings).map(|(_, value)| value.expose())
}

/// Whether `NAME = VALUE` or `NAME != VALUE` holds; a setting that is not set is empty.
pub(super) fn holds(condition: &str, numbers: &Numbers, settings: &Settings) -> bool {
    let (name, value, wanted) = match condition.split_once("!=") {
        Some((name, value)) => (name, value, false),
        None => condition.split_once('=').map_or((condition, "", true), |(name, value)| (name, value, true)),
    };
    let held = settings.text(&written(name.trim(), numbers)).unwrap_or_default();
    (held == value.trim()) == wanted
}

/// A pattern with its numbers in it.
pub(super) fn written(pattern: &str, numbers: &Numbers) -> String {
    numbers.iter().fold(pattern.to_owned(), |name, (word, number)| {
        name.replace(&format!("{{{word}}}"), &number.to_string())
    })
}

/// The numbers by which a name is one of this pattern's.
fn numbers_in(pattern: &str, name: &str) -> Option<Numbers> {
    let (mut pattern, mut name) = (pattern, name);
    let mut numbers = Numbers::new();
    while let Some((fixed, rest)) = pattern.split_once('{') {
        let (word, behind) = rest.split_once('}')?;
        let digits = name.strip_prefix(fixed)?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (number, left) = digits.split_at_checked(end)?;
        numbers.push((word.to_owned(), number.parse().ok()?));
        (pattern, name) = (behind, left);
    }
    (pattern == name).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_names() {
        let check = |pattern: &str, name: &str, expected: Option<&[(&str, u16)]>| {
            let expected: Option<Numbers> = expected
                .map(|numbers| numbers.iter().map(|(word, number)| ((*word).to_owned(), *number)).collect());
            assert_eq!(numbers_in(pattern, name), expected, "{pattern} {name}");
        };
        check("account.{line}.name", "account.12.name", Some(&[("line", 12)]));
        check("m.{module}.k.{key}.type", "m.1.k.20.type", Some(&[("module", 1), ("key", 20)]));
        check("user_name{line}", "user_name3", Some(&[("line", 3)]));
        check("P35", "P35", Some(&[]));
        for (pattern, name) in [
            ("account.{line}.name", "account..name"),
            ("account.{line}.name", "account.1.names"),
            ("account.{line}.name", "account.99999.name"),
            ("user_name{line}", "user_name1x"),
        ] {
            check(pattern, name, None);
        }
    }

    #[test]
    fn conditions_hold_or_not() {
        let mut settings = Settings::default();
        settings.set("a.1", "on");
        let one = vec![("line".to_owned(), 1)];
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
