//! What the example configuration should show: the keys that config.rs declares.

use super::read::rust_sources;

/// Lines like `# key = value` as if they were not commented; sentences stay comments.
pub(super) fn uncommented(text: &str) -> String {
    let knob = regex::Regex::new(r"(?m)^# ?([a-z_]+ = )").unwrap();
    knob.replace_all(text, "$1").into_owned()
}

/// A key without a default may be shown by a line of its section that begins with its name.
pub(super) fn shows_optional(text: &str, section: &str, key: &str) -> bool {
    let body = text.split_once(&format!("\n[{section}]")).map_or("", |(_, rest)| rest);
    let body = body.split_once("\n[").map_or(body, |(body, _)| body);
    body.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} ")))
}

/// Section and key of everything in config.rs and its folder, as their structs declare them.
pub(super) fn config_keys() -> Vec<(String, String)> {
    let sources = rust_sources("src").filter(|source| source.path.starts_with("src/config"));
    let text: String = sources.map(|source| source.text.as_str()).collect();
    let field = regex::Regex::new(r"(?m)^    pub (\w+): (\w+)").unwrap();
    let fields_of = |name: &str| -> Vec<(String, String)> {
        let head = format!("pub struct {name} {{");
        let body = text
            .split_once(&head)
            .map_or("", |(_, rest)| rest.split_once("\n}").map_or("", |(body, _)| body));
        field.captures_iter(body).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
    };
    let sections = fields_of("Config");
    assert!(sections.len() > 10, "config.rs declares its sections as fields of Config");
    let keys = |(section, kind): &(String, String)| {
        let section = section.clone();
        fields_of(kind).into_iter().map(move |(key, _)| (section.clone(), key)).collect::<Vec<_>>()
    };
    sections.iter().flat_map(keys).collect()
}
