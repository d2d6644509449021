//! How commands print: aligned tables for people, arrays for programs, and how far long work has come.

use std::io::{IsTerminal as _, Write};

use super::Failure;

/// Prints a listing: an array of `rows` as JSON, or a table of the same rows for a person.
pub(crate) fn listing<T: serde::Serialize>(
    json: bool,
    rows: &[T],
    heads: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) {
    if json {
        return value(&rows);
    }
    let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
    print(&table(heads, &lines));
}

/// Prints one value as indented JSON.
pub(crate) fn value<T: serde::Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => eprintln!("offhook: cannot print the result as JSON: {error}"),
    }
}

/// Prints text; a closed pipe (`offhook … | head`) ends the printing quietly.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Columns as wide as their widest cell; nothing but the heads when there are no rows.
pub(crate) fn table(heads: &[&str], lines: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let width = |column: usize| {
        std::iter::once(&heads)
            .chain(lines)
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..heads.len()).filter_map(width).collect();
    let mut text = String::new();
    for line in std::iter::once(&heads).chain(lines) {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// How far long work has come, on a line of standard error that is written over; nothing where nobody watches.
pub(crate) struct Progress {
    what: &'static str,
    watched: bool,
    shown: Option<u64>,
}

impl Progress {
    /// Nothing is done yet. `what` says what is done: `rows written`.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, watched: std::io::stderr().is_terminal(), shown: None }
    }

    /// So much is done, of so much.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if self.watched && self.shown != Some(percent) {
            self.shown = Some(percent);
            let _ = write!(std::io::stderr(), "\r{done} of {total} {} ({percent} %)", self.what);
        }
    }

    /// Prints text above the line.
    pub(crate) fn line(&mut self, text: &str) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        print(text);
    }

    /// Takes the line away.
    pub(crate) fn end(self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Prints a failure: what happened and what to do, on standard error; as JSON on standard output when asked.
///
/// Without a message, the command has said it all before.
pub(crate) fn failure(failure: &Failure, json: bool) {
    if failure.message.is_empty() {
        return;
    }
    if json {
        let error =
            serde_json::json!({ "code": failure.code, "message": failure.message, "remedy": failure.remedy });
        value(&serde_json::json!({ "error": error }));
    } else {
        eprintln!("offhook: {}", failure.message);
        if !failure.remedy.is_empty() {
            eprintln!("  {}", failure.remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let lines = vec![vec!["a".to_owned(), "bcd".to_owned()], vec!["efgh".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &lines), "X     Y\na     bcd\nefgh\n");
    }
}
