//! Files of lines: `key = value` and its relatives.

use std::borrow::Cow;

use super::{Contents, unquoted};
use crate::profile::Reading;

/// Reads a file line by line.
pub(super) fn read(body: &[u8], reading: &Reading) -> Result<Contents, String> {
    let mut contents = Contents::default();
    let text = String::from_utf8_lossy(body);
    if matches!(text, Cow::Owned(_)) {
        contents.remarks.push("bytes that are not UTF-8".to_owned());
    }
    if let Some(first) = reading.first.as_ref()
        && !text.trim_start_matches('\u{feff}').starts_with(first.as_str())
    {
        return Err(format!("its first line is not '{first}', so the phone ignores the file"));
    }
    let mut section = String::new();
    for (number, line) in text.lines().map(str::trim).zip(1..).map(|(line, number)| (number, line)) {
        read_line(line, number, reading, &mut section, &mut contents);
    }
    Ok(contents)
}

fn read_line(line: &str, number: usize, reading: &Reading, section: &mut String, contents: &mut Contents) {
    if let Some(file) = reading.include.as_ref().and_then(|include| line.strip_prefix(include.as_str())) {
        contents.files.push(file.trim().trim_matches(['<', '>', '"']).trim().to_owned());
        return;
    }
    let first = number == 1 && reading.first.is_some();
    if line.is_empty() || first || is_comment(line, reading) {
        return;
    }
    if reading.reset.as_ref().is_some_and(|reset| same_words(reset, line)) {
        contents.reset = true;
        return;
    }
    let inner = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    if let Some(name) = inner.filter(|_| reading.sections) {
        *section = format!("{}/", name.trim());
        return;
    }
    let line = match &reading.prefix {
        None => line,
        Some(prefix) => match line.strip_prefix(prefix.as_str()) {
            Some(line) => line.trim_start(),
            None => return,
        },
    };
    let separator = reading.separator.as_deref().unwrap_or("=");
    let Some((name, value)) = line.split_once(separator) else {
        contents.remarks.push(format!("line {number} is not 'key {} value'", separator.trim()));
        return;
    };
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || (separator == "=" && name.contains(char::is_whitespace)) {
        contents.remarks.push(format!("line {number} has no key"));
        return;
    }
    let Some(value) = unquoted(value, reading) else {
        contents.remarks.push(format!("line {number} has a value that is not in its quotes"));
        return;
    };
    match value.split_once(':') {
        Some((user, value)) if reading.users.iter().any(|users| users == name) => {
            contents.push(format!("{section}{name}:{user}"), value);
        }
        _ => contents.push(format!("{section}{name}"), value),
    }
}

fn is_comment(line: &str, reading: &Reading) -> bool {
    match &reading.comment {
        Some(begins) => begins.iter().any(|begin| line.starts_with(begin.as_str())),
        None => line.starts_with('#'),
    }
}

/// `a = 1` and `a=1` are the same.
fn same_words(one: &str, other: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    letters(one) == letters(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::settings::Settings;

    fn reading(text: &str) -> Reading {
        toml::from_str(text).unwrap()
    }

    /// Every setting as `name=value`, and the remarks.
    fn check(form: &str, text: &str, expected: &[&str], remarks: &[&str]) {
        let reading = reading(form);
        let contents = Contents::read(text.as_bytes(), &reading).unwrap();
        let mut settings = Settings::default();
        contents.apply(&reading, &mut settings);
        let read: Vec<String> =
            settings.values().map(|(name, value)| format!("{name}={}", value.expose())).collect();
        assert_eq!(read, expected, "{text:?}");
        assert_eq!(contents.remarks, remarks, "{text:?}");
    }

    #[test]
    fn lines_are_settings_in_every_form() {
        check(
            "first = '#!version:'\nusers = ['pw']\nclear = ['%NULL%']",
            "#!version:1\n# c = d\na.1 = x = y\npw = admin:p:w\npw = user:u\nb = %NULL%\nc=\n",
            &["a.1=x = y", "c=", "pw:admin=p:w", "pw:user=u"],
            &[],
        );
        check(
            "prefix = 'SET '\nseparator = ' '\nquote = '\"'",
            "## x\nSET A \"b c\"\nGOTO END\nSET B 1\n",
            &["A=b c", "B=1"],
            &[],
        );
        check("separator = ':'", "sip line1 user name: 201\n", &["sip line1 user name=201"], &[]);
        check(
            "sections = true\ncomment = [';']",
            "; x\n[sip]\na=1\n[net]\na=2\n",
            &["net/a=2", "sip/a=1"],
            &[],
        );
        check(
            "quote = '\"'",
            "A=\"b\"\nB=\"c\nC=\"d\"e\"\nD=\"\"\n",
            &["A=b", "D="],
            &["line 2 has a value that is not in its quotes", "line 3 has a value that is not in its quotes"],
        );
        check(
            "",
            "nonsense\n = 3\na b = 4\npassword =\n",
            &["password="],
            &[
                "line 1 is not 'key = value'",
                "line 2 has no key",
                "line 3 has no key",
                "password empties a password",
            ],
        );
    }

    #[test]
    fn a_file_without_its_first_line_is_ignored() {
        let reading = reading("first = '#!version:'");
        for text in ["", "a = 1\n#!version:1\n", "\n#!version:1\na = 1\n"] {
            assert!(Contents::read(text.as_bytes(), &reading).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_list_names_its_files() {
        let reading = reading("include = 'include:config'\nreset = 'overwrite_mode = 1'\nfiles = ['MORE']");
        let text =
            "include:config <a.cfg>\ninclude:config \"http://h/b.cfg\"\noverwrite_mode=1\nMORE = c, d\n";
        let contents = Contents::read(text.as_bytes(), &reading).unwrap();
        assert_eq!(contents.files, ["a.cfg", "http://h/b.cfg", "c", "d"]);
        assert!(contents.reset && !contents.has_settings(&reading));
    }
}
