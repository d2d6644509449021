//! Reads the tree for the rules: files that git knows, and Rust code told from its comments and strings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

/// Suffixes of the files that are read for those words.
const TEXT: &[&str] = &[
    "rs", "toml", "md", "sh", "run", "sql", "j2", "html", "css", "js", "cfg", "txt", "xml", "service", "yml",
    "py", "lua", "conf",
];

/// One Rust file: as written, and with comments and the insides of strings blanked.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) code: String,
}

impl Source {
    /// Numbered lines of code before the tests.
    pub(super) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate().map(|(number, line)| (number + 1, line));
        lines.take_while(|(_, line)| !line.contains("#[cfg(test)]"))
    }

    /// The modules of this crate that production code names, with the line: `crate::a::…` and `crate::{a, b::…}`.
    pub(super) fn crate_imports(&self) -> Vec<(usize, String)> {
        let production = self.code.split("#[cfg(test)]").next().unwrap_or_default();
        let mut found = Vec::new();
        for (at, _) in production.match_indices("crate::") {
            let line = production[..at].lines().count();
            let rest = &production[at + "crate::".len()..];
            for name in first_names(rest) {
                found.push((line, name));
            }
        }
        found
    }
}

/// The first segments of a path or of a braced group of paths.
fn first_names(rest: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(word(&group[start..at]));
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// Comments and the insides of string and character literals become blanks; lines keep their numbers.
fn blanked(text: &str) -> String {
    static LITERAL: LazyLock<regex::Regex> = LazyLock::new(|| {
        let kinds = [
            r"//[^\n]*",
            r"/\*.*?\*/",
            r####"b?r###".*?"###"####,
            r###"b?r##".*?"##"###,
            r##"b?r#".*?"#"##,
            r#"\bb?r".*?""#,
            r#""(?:\\.|[^"\\])*""#,
            r"'(?:\\[^\n]{1,8}?|[^'\\\n])'",
        ];
        regex::Regex::new(&format!("(?s){}", kinds.join("|"))).unwrap()
    });
    let blank = |found: &regex::Captures<'_>| {
        found[0].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect::<String>()
    };
    LITERAL.replace_all(text, blank).into_owned()
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that git knows or would add; without git, every file outside target.
pub(super) fn tracked() -> BTreeSet<String> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match listing {
        Ok(listing) if listing.status.success() => {
            String::from_utf8_lossy(&listing.stdout).lines().map(str::to_owned).collect()
        }
        _ => files_below(root()).into_iter().filter(|path| !path.starts_with("target/")).collect(),
    }
}

/// Paths below a folder, relative to it.
pub(super) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// The Rust files of src, tests and benches; read once for all rules.
fn all_sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let paths = ["src", "tests", "benches"].into_iter().flat_map(|folder| {
            files_below(&root().join(folder)).into_iter().map(move |path| format!("{folder}/{path}"))
        });
        let read = |path: String| {
            let text = std::fs::read_to_string(root().join(&path)).unwrap();
            Source { code: blanked(&text), path, text }
        };
        paths.filter(|path| has_suffix(path, "rs")).map(read).collect()
    })
}

/// Those of one folder.
pub(super) fn rust_sources(folder: &str) -> impl Iterator<Item = &'static Source> {
    all_sources().iter().filter(move |source| source.path.starts_with(&format!("{folder}/")))
}

fn has_suffix(path: &str, suffix: &str) -> bool {
    Path::new(path).extension().is_some_and(|own| own == suffix)
}

pub(super) fn is_text(path: &str) -> bool {
    let name = Path::new(path);
    let suffix = name.extension().map_or("", |suffix| suffix.to_str().unwrap_or_default());
    (suffix.is_empty() || TEXT.contains(&suffix)) && path != "LICENSE"
}

/// The reader's own proofs.
mod tests {
    use super::{blanked, first_names};

    #[test]
    fn code_is_told_from_text() {
        let code = blanked("let a = \"x.await\"; // .await\nlet c = '\"'; f().await; r#\"tokio:: \"\"#;");
        assert_eq!(code.matches(".await").count(), 1);
        assert!(!code.contains("tokio"));
        assert_eq!(code.lines().count(), 2);
        assert!(blanked("fn f<'a>(x: &'a str) { x.await }").contains(".await"));
    }

    #[test]
    fn imports_are_found_in_groups() {
        assert_eq!(first_names("{a::{b, c}, d, self}"), ["a", "d", "self"]);
        assert_eq!(first_names("net::Prefix;"), ["net"]);
    }
}
