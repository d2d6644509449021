//! The rules no compiler checks. Each rule is a row of data or one small function; a finding names file, line and rule.
//!
//! To change a rule, change its row here and say why in the row's reason.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

#[path = "tidy/example.rs"]
mod example;
#[path = "tidy/read.rs"]
mod read;

use std::fmt::Write as _;
use std::path::Path;

use example::{config_keys, shows_optional, uncommented};
use read::{files_below, is_text, root, rust_sources, tracked};

/// Production lines (those before `#[cfg(test)]`) of one file.
const LINES_MAX: usize = 500;

/// Who may know whom: a file or folder of src, and the modules of this crate that it may name. First row that fits counts.
/// Imports point downwards only; what two rooms share moves down to provision, profile, device or net.
const IMPORTS: &[(&str, &[&str])] = &[
    ("src/main", ANYTHING),
    ("src/lib", ANYTHING),
    ("src/cli", ANYTHING),
    ("src/agent", ANYTHING),
    (
        "src/admin",
        &[
            "hex",
            "store",
            "net",
            "clock",
            "provision",
            "profile",
            "device",
            "secret",
            "config",
            "release",
            "timeline",
            "tls",
            "operate",
            "doctor",
            "alarm",
        ],
    ),
    ("src/doctor", &["store", "tls", "profile", "alarm", "config", "net", "device", "clock"]),
    (
        "src/operate",
        &[
            "alarm",
            "push",
            "scan",
            "net",
            "alarm",
            "firmware",
            "hex",
            "store",
            "provision",
            "profile",
            "config",
            "release",
            "device",
            "secret",
            "clock",
            "timeline",
        ],
    ),
    // The simulated phone shares the profiles' data and no code of the servers, so that it can fail a broken one.
    ("src/simulate", &["profile", "device", "secret", "clock", "hex"]),
    ("src/accounts", &["device", "secret", "config", "clock", "net", "profile", "store"]),
    // The store's tests write sheets as people do.
    ("src/store/testing.rs", &["accounts", "device", "secret", "clock"]),
    ("src/store", &["hex", "firmware", "alarm", "device", "secret", "clock", "release", "timeline"]),
    (
        "src/provision",
        &[
            "hex", "firmware", "menu", "store", "profile", "release", "alarm", "device", "secret", "clock",
            "config", "net", "tls",
        ],
    ),
    ("src/menu", &["device"]),
    ("src/firmware", &["device", "clock"]),
    ("src/profile", &["firmware", "menu", "release", "device", "secret", "clock", "config"]),
    // A visit to a web interface only says what is next; the room's shell sends it.
    ("src/push/visit", &["hex", "net", "profile", "device", "secret"]),
    ("src/release", &["device", "secret", "clock", "rule"]),
    ("src/hex", &[]),
    ("src/rule", &[]),
    ("src/timeline", &["device", "clock"]),
    ("src/alarm", &["device"]),
    ("src/config", &["device", "net", "release", "secret"]),
    // Certificates are no room's own: the phones' listener shows them, and pages for people will.
    ("src/tls", &["config", "net", "device", "secret", "clock"]),
    ("src/net", &["device", "clock"]),
    ("src/device", &["secret", "clock"]),
    ("src/secret", &[]),
    ("src/clock", &[]),
];
/// A room's server is its shell: it may know the store, the network, the certificates and the clock as well.
const SERVER_IMPORTS: &[&str] =
    &["menu", "store", "net", "tls", "clock", "provision", "profile", "alarm", "device", "secret", "config"];
/// A room's other files: parsing and deciding. Of `net` they may use what does not wait (prefixes, limits).
const ROOM_IMPORTS: &[&str] =
    &["net", "provision", "profile", "release", "device", "secret", "clock", "config", "rule", "hex"];
const ROOMS: &[&str] = &["pnp", "dhcp", "tftp", "http", "scan", "push", "register"];
const ANYTHING: &[&str] = &["*"];

/// Files and folders that may wait and do I/O. Everything else decides.
const SHELLS: &[&str] = &[
    "src/main.rs",
    "src/cli",
    "src/agent",
    "src/admin",
    "src/operate",
    "src/doctor/gather",
    "src/doctor/ask.rs",
    "src/store",
    "src/accounts",
    "src/net",
    "src/tls/files.rs",
    "src/tls/keeper",
    "src/simulate",
    "src/push",
    "src/dhcp/ask",
    "src/provision/desk",
    "src/provision/handout.rs",
    "src/provision/menu.rs",
    "src/provision/shelf.rs",
];
/// Words of waiting and of I/O, as they stand in code.
const IO_WORDS: &[&str] = &[
    ".await",
    "async fn",
    "async move",
    "tokio::",
    "std::fs",
    "std::process",
    "std::thread",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "File::open",
    "sqlx::",
];
/// Single words that a deciding file may use all the same: file, word, reason.
const IO_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/config/load.rs", "std::fs", "reads the configuration file, once, before anything runs"),
    ("src/clock.rs", "std::fs", "reads the kernel's boot id, once"),
    ("src/clock.rs", "std::process", "reads the number of this process where the kernel has no boot id"),
    ("src/profile/origin.rs", "std::fs", "reads the folder of added profiles at start"),
];

/// Words that stand nowhere in code: word, where it may stand all the same, what to do instead.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("SystemTime::now", &["src/clock.rs"], "time is an argument; clock.rs reads it"),
    ("Instant::now", &["src/clock.rs", "tests/it", "benches"], "time is an argument; clock.rs reads it"),
    ("unsafe ", &["src/net/sys.rs"], "net/sys.rs is the one audited module for it"),
    ("#[allow(", &[], "an exception is signed: #[expect(…, reason = \"…\")]"),
    ("#![allow(", &[], "an exception is signed: #![expect(…, reason = \"…\")]"),
    ("#[ignore", &[], "a test runs, or says `skipped: …` and stands in tests/skips.txt"),
    ("todo!(", &[], "finish it, or leave it out"),
    ("unimplemented!(", &[], "finish it, or leave it out"),
    ("dbg!(", &[], "leave it out"),
    (
        "thread::sleep",
        &["tests/it/lab.rs", "tests/it/lab/process.rs", "benches"],
        "await an event (lab::poll asks the kernel)",
    ),
    (
        "time::sleep(",
        &[
            "src/net",
            "src/agent",
            "src/simulate",
            "src/store",
            "src/pnp/server",
            "src/tftp/server",
            "src/dhcp/server",
            "src/scan/server",
            "src/register/server.rs",
        ],
        "await an event; only shells wait for time",
    ),
];

/// Files where a secret is taken out of its custody; every other file passes it on unseen.
const EXPOSURES: &[(&str, &str)] = &[
    ("src/secret.rs", "its own tests"),
    ("src/store", "seals and opens"),
    ("src/tls", "writes and reads the keys of our certificates"),
    ("src/accounts", "writes what an export with passwords asks for"),
    ("src/simulate", "the phone's own copy: it registers with it"),
    ("src/profile", "fills the slots of a phone's file"),
    ("src/push", "proves a password to a phone's web page, tells a phone its own URL"),
    ("src/provision", "compares a token, builds the phone's own URL"),
    ("src/cli", "shows one password to the person who asked for it"),
];

/// Words of unfinished work, in any text file. Spelled in two halves, because this file is read as well.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("HA", "CK:"),
    concat!("for ", "now"),
];
/// Names of one machine, not of the product.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tmp/", "wt"),
    concat!(".lib", "rary"),
    concat!("../sha", "red"),
    concat!("/root", "/"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("files.pythonhosted", ".org"),
];
#[test]
fn imports_point_downwards() {
    let mut findings =
        Findings::new("imports point downwards only; no room imports another room (tests/tidy.rs, IMPORTS)");
    for source in rust_sources("src") {
        let own = module_of(&source.path);
        let allowed = allowed_imports(&source.path);
        for (line, name) in source.crate_imports() {
            if name != own && allowed != ANYTHING && !allowed.contains(&name.as_str()) {
                findings.add(&source.path, line, &format!("names crate::{name}; it may name {allowed:?}"));
            }
        }
    }
    findings.report();
}

#[test]
fn only_shells_wait() {
    let mut findings = Findings::new("decisions never wait and never do I/O (tests/tidy.rs, SHELLS)");
    for source in rust_sources("src").filter(|source| !is_shell(&source.path)) {
        for (line, text) in source.production() {
            for word in IO_WORDS.iter().filter(|word| text.contains(**word)) {
                let excepted = IO_EXCEPTIONS.iter().any(|(path, may, _)| source.path == *path && may == word);
                if !excepted {
                    findings.add(&source.path, line, &format!("`{word}` outside a shell"));
                }
            }
        }
    }
    findings.report();
}

#[test]
fn words_stay_where_they_belong() {
    let mut findings = Findings::new("words that have one place (tests/tidy.rs, WORDS)");
    for source in ["src", "tests", "benches"].into_iter().flat_map(rust_sources) {
        for (number, text) in source.code.lines().enumerate() {
            for (word, places, instead) in WORDS {
                if text.contains(word) && !places.iter().any(|place| source.path.starts_with(place)) {
                    findings.add(&source.path, number + 1, &format!("`{word}`: {instead}"));
                }
            }
        }
    }
    findings.report();
}

#[test]
fn secrets_are_opened_in_few_files() {
    let mut findings =
        Findings::new("Secret::expose is called where a row of EXPOSURES says why (tests/tidy.rs)");
    for source in rust_sources("src") {
        for (line, text) in source.production() {
            if text.contains(".expose()")
                && !EXPOSURES.iter().any(|(place, _)| source.path.starts_with(place))
            {
                findings.add(&source.path, line, "opens a secret");
            }
        }
    }
    findings.report();
}

#[test]
fn a_file_says_first_what_it_is() {
    let mut findings =
        Findings::new("a module's first lines say what it is and what it never does (`//! …`)");
    for source in ["src", "tests", "benches"].into_iter().flat_map(rust_sources) {
        if !source.text.starts_with("//! ") {
            findings.add(&source.path, 1, "does not begin with //!");
        }
    }
    findings.report();
}

#[test]
fn files_stay_short() {
    let mut findings = Findings::new("a file has at most 500 lines before its tests: split by concern");
    for source in ["src", "tests", "benches"].into_iter().flat_map(rust_sources) {
        let lines = source.production().count();
        if lines > LINES_MAX {
            findings.add(&source.path, LINES_MAX, &format!("{lines} lines"));
        }
    }
    findings.report();
}

#[test]
fn exceptions_give_a_reason() {
    let mut findings = Findings::new("an exception is signed: #[expect(…, reason = \"…\")]");
    for source in ["src", "tests", "benches"].into_iter().flat_map(rust_sources) {
        for (at, _) in source.code.match_indices("[expect(") {
            let attribute = source.code[at..].split_once(")]").map_or("", |(attribute, _)| attribute);
            if !attribute.contains("reason") {
                findings.add(&source.path, source.code[..at].lines().count(), "no reason");
            }
        }
    }
    findings.report();
}

#[test]
fn nothing_is_left_unfinished_and_no_machine_is_named() {
    let mut findings = Findings::new("tracked files hold finished work and no name of one machine");
    for path in tracked().iter().filter(|path| is_text(path)) {
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in UNFINISHED.iter().chain(MACHINE).filter(|word| line.contains(**word)) {
                findings.add(path, number + 1, &format!("`{word}`"));
            }
        }
    }
    findings.report();
}

#[test]
fn every_profile_file_has_a_case() {
    let mut findings =
        Findings::new("every vendor profile has a case for each file it serves (vendor-profiles/*/tests)");
    let profiles = tracked()
        .into_iter()
        .filter(|path| path.starts_with("vendor-profiles/") && path.ends_with("/profile.toml"));
    for path in profiles {
        let folder = Path::new(&path).parent().unwrap().to_owned();
        let profile: toml::Table = std::fs::read_to_string(root().join(&path)).unwrap().parse().unwrap();
        let expected = files_below(&root().join(&folder).join("tests"));
        for file in profile.get("file").and_then(toml::Value::as_array).into_iter().flatten() {
            let pattern = file.get("path").and_then(toml::Value::as_str).unwrap_or_default();
            let recognised = regex::Regex::new(&file_regex(pattern)).unwrap();
            if !expected.iter().any(|name| recognised.is_match(name)) {
                findings.add(&path, 1, &format!("no case has a file '{pattern}'"));
            }
        }
    }
    findings.report();
}

#[test]
fn the_example_configuration_shows_every_key() {
    let mut findings =
        Findings::new("examples/offhook.toml shows every key with its default, and is read as it stands");
    let path = "examples/offhook.toml";
    let text = std::fs::read_to_string(root().join(path)).expect("examples/offhook.toml is there");
    for (as_it_is, text) in [("as it is", text.clone()), ("with its commented lines", uncommented(&text))] {
        if let Err(error) = toml::from_str::<offhook::config::Config>(&text) {
            findings.add(path, 1, &format!("is not read {as_it_is}: {error}"));
        }
    }
    let shown: toml::Table = uncommented(&text).parse().unwrap_or_default();
    for (section, key) in config_keys() {
        if shown.get(&section).and_then(|section| section.get(&key)).is_none()
            && !shows_optional(&text, &section, &key)
        {
            findings.add(path, 1, &format!("does not show {section}.{key}"));
        }
    }
    findings.report();
}

/// A file name pattern of a profile as an expression that finds it at the end of a path, in any case.
fn file_regex(pattern: &str) -> String {
    let variable = regex::Regex::new(r"\\\{([A-Za-z:]+)\\\}").unwrap();
    let escaped = regex::escape(pattern);
    let body = variable.replace_all(&escaped, |found: &regex::Captures<'_>| match &found[1] {
        "mac" | "MAC" => "[0-9a-f]{12}",
        "mac:" => "[0-9a-f:]{17}",
        _ => ".+",
    });
    format!("(?i)(^|/){body}$")
}

/// Findings of one rule; reported together.
struct Findings {
    rule: &'static str,
    text: String,
    count: usize,
}

impl Findings {
    fn new(rule: &'static str) -> Self {
        Self { rule, text: String::new(), count: 0 }
    }

    fn add(&mut self, path: &str, line: usize, what: &str) {
        self.count += 1;
        writeln!(self.text, "  {path}:{line}: {what}").unwrap();
    }

    fn report(self) {
        assert!(self.count == 0, "{} finding(s)\nrule: {}\n{}", self.count, self.rule, self.text);
    }
}

fn allowed_imports(path: &str) -> &'static [&'static str] {
    if let Some((_, allowed)) = IMPORTS.iter().find(|(place, _)| below(path, place)) {
        return allowed;
    }
    assert!(
        ROOMS.iter().any(|room| below(path, &format!("src/{room}"))),
        "{path} is neither a room nor in the table: add a row to IMPORTS in tests/tidy.rs"
    );
    if is_shell(path) { SERVER_IMPORTS } else { ROOM_IMPORTS }
}

/// Whether the path is this module's file or lies in its folder.
fn below(path: &str, place: &str) -> bool {
    path == format!("{place}.rs") || path == place || path.starts_with(&format!("{place}/"))
}

fn is_shell(path: &str) -> bool {
    let server = path.ends_with("/server.rs") || path.contains("/server/");
    server || SHELLS.iter().any(|shell| below(path, shell))
}

/// `src/pnp/decide.rs` belongs to `pnp`.
fn module_of(path: &str) -> String {
    let rest = path.trim_start_matches("src/").trim_end_matches(".rs");
    rest.split('/').next().unwrap_or_default().to_owned()
}

/// A rule that never finds anything is no rule.
mod proofs {
    use super::file_regex;

    #[test]
    fn a_file_pattern_finds_its_case() {
        let pattern = regex::Regex::new(&file_regex("snom{model}-{MAC}.htm")).unwrap();
        assert!(pattern.is_match("case/snomD785-00041396D9B4.htm") && !pattern.is_match("case/snom.htm"));
    }
}
