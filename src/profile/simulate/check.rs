//! What can be wrong with a `[simulate]` section although every key is known.

use super::{AccountNames, KeyNames, Names, ReadFormat, Reading, Simulate};
use crate::profile::build::Findings;

/// Words in braces that stand for the phone.
const WORDS: [&str; 10] =
    ["mac", "MAC", "mac:", "MAC:", "mac-", "MAC-", "model", "MODEL", "firmware", "common"];
/// Further ones in the SUBSCRIBE.
const SUBSCRIBE_WORDS: [&str; 10] =
    ["uri", "user", "event", "user_agent", "local", "ip", "contact", "tag", "call", "branch"];
/// And in the second name of a file.
const FILE_WORDS: [&str; 2] = ["stem", "ending"];

/// Checks entries as they are written, at `key` of the profile.
pub(super) fn check(own: &Simulate, key: &str, known: (&[&str], &[&str]), findings: &mut Findings<'_>) {
    let (families, models) = known;
    if let Some(model) = own.model.as_ref().filter(|model| !models.contains(&model.as_str())) {
        let message = format!("names '{model}', which has no [models] table");
        findings.push(&format!("{key}.model"), None, message, "add the table, or correct the name");
    }
    let is_start = |digits: &String| digits.len() < 12 && digits.chars().all(|c| c.is_ascii_hexdigit());
    if own.mac.as_ref().is_some_and(|mac| !is_start(mac)) {
        let remedy = "write fewer than twelve digits and no separators: \"00156f\"";
        findings.push(&format!("{key}.mac"), None, "is not the beginning of an address", remedy);
    }
    check_texts(own, key, findings);
    if let Some(read) = &own.read {
        check_reading(read, &format!("{key}.read"), findings);
    }
    for (at, account) in own.account.iter().enumerate() {
        check_account(account, &format!("{key}.account[{at}]"), findings);
    }
    for (at, entry) in own.key.iter().enumerate() {
        check_key(entry, &format!("{key}.key[{at}]"), findings);
    }
    let globals = [("webui", &own.webui), ("menu", &own.menu), ("language", &own.language)];
    for (name, names) in globals {
        holes(names, &[], &format!("{key}.{name}"), findings);
    }
    for (name, entries) in &own.family {
        let key = format!("{key}.family.{}", name.get_ref());
        if !families.contains(&name.get_ref().as_str()) {
            findings.push(&key, Some(name.span()), "is no model's family", "correct the name");
        }
        if let Some((inner, _)) = entries.family.first_key_value() {
            findings.push(&key, Some(inner.span()), "has a family inside", "write it beside this one");
        }
        check(entries, &key, known, findings);
    }
    for (name, entries) in &own.before {
        let key = format!("{key}.before.{}", name.get_ref());
        let is_version = name.get_ref().split('.').all(|part| part.parse::<u32>().is_ok());
        if !is_version {
            findings.push(&key, Some(name.span()), "is no version", "write numbers with dots: \"8.7.5\"");
        }
        if let Some((inner, _)) = entries.family.first_key_value().or(entries.before.first_key_value()) {
            findings.push(&key, Some(inner.span()), "has layers inside", "write them beside this one");
        }
        check(entries, &key, known, findings);
    }
}

/// Checks what the profile and the one that it extends say together.
pub(super) fn check_whole(whole: &Simulate, findings: &mut Findings<'_>) {
    let families = whole.family.keys().map(|name| Some(name.get_ref().as_str()));
    for family in families.chain([None]) {
        let played = whole.played(family, None);
        let at = family.map_or_else(|| "simulate".to_owned(), |family| format!("simulate.family.{family}"));
        if !played.account.is_empty() && played.read.is_none() {
            let remedy = "say in [simulate.read] how a file is read";
            findings.push(&at, None, "names accounts and no way to read them", remedy);
        }
    }
}

fn check_texts(own: &Simulate, key: &str, findings: &mut Findings<'_>) {
    let one = [
        ("user_agent", &own.user_agent),
        ("sip_user_agent", &own.sip_user_agent),
        ("sip_server", &own.sip_server),
        ("subscribe_uri", &own.subscribe_uri),
        ("event", &own.event),
    ];
    for (name, text) in one {
        let texts: Vec<&String> = text.iter().collect();
        words(&texts, &[], &format!("{key}.{name}"), findings);
    }
    let lists: [(&str, Vec<&String>, &[&str]); 5] = [
        ("subscribe", own.subscribe.iter().collect(), &SUBSCRIBE_WORDS),
        ("fetch", own.fetch.iter().collect(), &[]),
        ("ends", own.ends.iter().collect(), &[]),
        ("beside", own.beside.iter().collect(), &FILE_WORDS),
        ("macros", own.macros.values().collect(), &[]),
    ];
    for (name, texts, further) in lists {
        words(&texts, further, &format!("{key}.{name}"), findings);
    }
    let stranger = own.ends.iter().find(|name| !own.fetch.is_empty() && !own.fetch.contains(name));
    if let Some(name) = stranger {
        let message = format!("names '{name}', which is not in fetch");
        findings.push(&format!("{key}.ends"), None, message, "write it as it stands there");
    }
    if let Some(line) = own.subscribe.iter().find(|line| !line.contains(": ")) {
        let message = format!("has '{line}', which is no header");
        findings.push(&format!("{key}.subscribe"), None, message, "write \"Name: value\"");
    }
}

/// Unknown words in braces of texts.
fn words(texts: &[&String], further: &[&str], key: &str, findings: &mut Findings<'_>) {
    for word in texts.iter().flat_map(|text| in_braces(text)) {
        if !WORDS.contains(&word) && !further.contains(&word) && !word.starts_with("facts.") {
            let message = format!("has the unknown word {{{word}}}");
            let remedy = "{mac}, {MAC}, {mac:}, {mac-}, {model}, {MODEL}, {firmware}, {common} and {facts.NAME} are known";
            findings.push(key, None, message, remedy);
        }
    }
}

fn in_braces(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word).collect()
}

fn check_reading(read: &Reading, key: &str, findings: &mut Findings<'_>) {
    let of_lines = [
        ("first", read.first.is_some()),
        ("prefix", read.prefix.is_some()),
        ("separator", read.separator.is_some()),
        ("comment", read.comment.is_some()),
        ("sections", read.sections),
        ("include", read.include.is_some()),
        ("users", !read.users.is_empty()),
        ("reset", read.reset.is_some()),
    ];
    let of_elements = [
        ("roots", !read.roots.is_empty()),
        ("index", !read.index.is_empty()),
        ("name", read.name.is_some()),
        ("name_in", read.name_in.is_some()),
        ("value", read.value.is_some()),
        ("attributes", !read.attributes.is_empty()),
        ("depth", read.depth.is_some()),
        ("known", !read.known.is_empty()),
    ];
    let (others, format) = match read.format {
        ReadFormat::Line => (&of_elements[..], "xml"),
        ReadFormat::Xml => (&of_lines[..], "line"),
    };
    for (name, _) in others.iter().filter(|(_, given)| *given) {
        let message = format!("is for format = \"{format}\"");
        findings.push(&format!("{key}.{name}"), None, message, "leave it out, or change the format");
    }
    if read.separator.as_ref().is_some_and(String::is_empty) {
        findings.push(&format!("{key}.separator"), None, "is empty", "write what stands there");
    }
}

fn check_account(account: &AccountNames, key: &str, findings: &mut Findings<'_>) {
    for (name, names) in [("username", &account.username), ("registrar", &account.registrar)] {
        if names.is_empty() {
            findings.push(key, None, format!("has no {name}"), "name the setting that holds it");
        }
    }
    let has = |word: &str| account.username.iter().any(|name| name.contains(word));
    let allowed: &[&str] = match (has("{line"), has("{id}")) {
        (true, _) => &["line", "server"],
        (_, true) => &["id", "server"],
        _ => &["server"],
    };
    for (name, names) in [
        ("username", &account.username),
        ("auth_id", &account.auth_id),
        ("password", &account.password),
        ("registrar", &account.registrar),
        ("port", &account.port),
        ("transport", &account.transport),
        ("proxy", &account.proxy),
        ("proxy_port", &account.proxy_port),
        ("display_name", &account.display_name),
        ("label", &account.label),
        ("server", &account.server),
    ] {
        holes(names, allowed, &format!("{key}.{name}"), findings);
    }
    conditions(&account.r#if, &format!("{key}.if"), findings);
    conditions(&account.proxy_if, &format!("{key}.proxy_if"), findings);
}

fn check_key(entry: &KeyNames, key: &str, findings: &mut Findings<'_>) {
    if entry.kind.iter().all(|name| !name.contains("{key")) {
        findings.push(
            &format!("{key}.kind"),
            None,
            "has no {key} in it",
            "name the setting by the key's number",
        );
    }
    for (name, names) in [("kind", &entry.kind), ("value", &entry.value), ("label", &entry.label)] {
        holes(names, &["key", "module"], &format!("{key}.{name}"), findings);
    }
    conditions(&entry.r#if, &format!("{key}.if"), findings);
}

/// Unknown words in braces of names of settings.
fn holes(names: &Names, allowed: &[&str], key: &str, findings: &mut Findings<'_>) {
    let base = |inner: &&str| inner.split(['*', '+', '-']).next().unwrap_or_default().to_owned();
    for word in names.iter().flat_map(in_braces).filter(|word| !allowed.contains(&base(word).as_str())) {
        let remedy =
            if allowed.is_empty() { "there is one of it: leave the braces out" } else { "correct it" };
        findings.push(key, None, format!("has {{{word}}} in it, which says nothing here"), remedy);
    }
}

fn conditions(texts: &[String], key: &str, findings: &mut Findings<'_>) {
    for text in texts.iter().filter(|text| !text.contains('=')) {
        findings.push(key, None, format!("is '{text}'"), "write \"NAME = VALUE\" or \"NAME != VALUE\"");
    }
}

#[cfg(test)]
mod tests {
    use crate::profile::catalog::Catalog;
    use crate::profile::fixture;

    /// What is found in a profile with this text in its `[simulate]` section, which begins on line 5.
    fn findings(text: &str) -> Vec<String> {
        let profile =
            format!("schema = 1\ndisplay_name = 'Acme'\n[models.X1]\nfamily = 'desk'\n[simulate]\n{text}");
        let (_, errors) = Catalog::of_folders(&[fixture::vendor("acme", &[("profile.toml", &profile)])]);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wrong_key_is_found_with_its_place() {
        for (text, expected) in [
            ("useragent = 'x'\n", "acme/profile.toml:6: unknown field `useragent`"),
            ("[simulate.read]\nformat = 'xml'\nroot = ['a']\n", "acme/profile.toml:8: unknown field `root`"),
            ("[simulate.read]\nformat = 'csv'\n", "acme/profile.toml:7: unknown variant `csv`"),
            ("[[simulate.account]]\nuser = 'x'\n", "acme/profile.toml:7: unknown field `user`"),
            ("prov = 3\n", "acme/profile.toml:6: write the name of a setting, or a list"),
            (
                "[simulate.family.dect]\nfetch = ['x']\n",
                "acme/profile.toml:6: simulate.family.dect: is no model's",
            ),
            (
                "[simulate.before.v1]\nfetch = ['x']\n",
                "acme/profile.toml:6: simulate.before.v1: is no version",
            ),
            ("model = 'X2'\n", "simulate.model: names 'X2'"),
            ("mac = '00:15'\n", "simulate.mac: is not the beginning"),
            ("fetch = ['{serial}.cfg']\n", "simulate.fetch: has the unknown word {serial}"),
            ("fetch = ['a']\nends = ['b']\n", "simulate.ends: names 'b', which is not in fetch"),
            ("subscribe = ['Via']\n", "simulate.subscribe: has 'Via', which is no header"),
            ("webui = 'pw{line}'\n", "simulate.webui: has {line} in it"),
            ("[simulate.read]\nindex = ['idx']\n", "simulate.read.index: is for format = \"xml\""),
            (
                "[simulate.read]\nformat = 'xml'\nfirst = '#'\n",
                "simulate.read.first: is for format = \"line\"",
            ),
            ("[[simulate.account]]\nusername = 'u{line}'\n", "simulate.account[0]: has no registrar"),
            (
                "[[simulate.account]]\nusername = 'u'\nregistrar = 'r{line}'\n",
                "simulate.account[0].registrar: has {line} in it",
            ),
            (
                "[[simulate.account]]\nusername = 'u'\nregistrar = 'r'\nif = ['on']\n",
                "simulate.account[0].if: is 'on'",
            ),
            (
                "[[simulate.account]]\nusername = 'u'\nregistrar = 'r'\n",
                "simulate: names accounts and no way",
            ),
            ("[[simulate.key]]\nkind = 'k'\n", "simulate.key[0].kind: has no {key} in it"),
        ] {
            let found = findings(text);
            assert!(found.iter().any(|finding| finding.contains(expected)), "{text}: {found:?}");
        }
        let right = "fetch = ['{mac}.cfg']\n[simulate.read]\n[[simulate.account]]\nusername = 'u{line}'\nregistrar = 'r'\n\
                     [simulate.family.desk]\nuser_agent = '{facts.part}'\n";
        assert_eq!(findings(right), [""; 0]);
    }
}
