//! Each server's text as it was looked at by a person (`tests/dhcp-snippets`), and read back by a small reader of that
//! server's grammar, written from its documentation: what the server would send is what the profiles say. dnsmasq, Kea
//! and dhcpd read theirs themselves (`tests/it/dhcp_snippet.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::flat::Flat;
use super::*;
use crate::profile::DhcpPlace;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The phones of `tests/dhcp-profiles`, which read DHCP in every way that is known, and two that are built in.
const EVERY_WAY: [&str; 12] = [
    "acme",
    "avaya",
    "camrivox",
    "cisco",
    "fanvil",
    "gigaset",
    "mitel",
    "panasonic",
    "poly",
    "snom",
    "unify",
    "yealink",
];

fn plan(vendors: &[&str]) -> Plan {
    let (catalog, errors) = Catalog::load(Some(&Path::new(ROOT).join("tests/dhcp-profiles")));
    assert_eq!(errors, []);
    let vendors = if vendors.is_empty() { &EVERY_WAY } else { vendors };
    let wanted = |profile: &&Arc<Profile>| vendors.contains(&profile.vendor().as_str());
    let profiles: Vec<_> = catalog.profiles().filter(wanted).cloned().collect();
    let place = DhcpPlace {
        base_http: Some("http://192.0.2.1:8480/".to_owned()),
        base_tftp: Some("tftp://192.0.2.1/".to_owned()),
        vlan: Some(20),
        vlan_priority: Some(5),
        registrar: Some("pbx.example".to_owned()),
        ..DhcpPlace::at(Ipv4Addr::new(192, 0, 2, 1))
    };
    Plan::new(&profiles, &place)
}

fn golden(server: Server, vendors: &str) -> PathBuf {
    let name = server.to_possible_value().unwrap().get_name().to_owned();
    Path::new(ROOT).join(format!("tests/dhcp-snippets/{name}-{vendors}.txt"))
}

/// `BLESS=1 cargo test` writes them anew; then read the difference.
#[test]
fn each_servers_text_is_as_it_was_looked_at() {
    for server in Server::value_variants() {
        for (name, vendors) in [("builtin", &["snom", "yealink"][..]), ("all", &[])] {
            let text = server.text(&plan(vendors));
            assert_eq!(text, server.text(&plan(vendors)), "the same again");
            let file = golden(*server, name);
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&file, &text).unwrap();
            }
            assert_eq!(text, std::fs::read_to_string(&file).unwrap(), "{}", file.display());
            assert!(
                text.ends_with('\n') && !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t')
            );
            assert!(text.lines().all(|line| line.trim_end() == line), "{}", file.display());
        }
    }
}

/// Vendor by vendor, what a server would send.
type Sent = BTreeMap<String, BTreeMap<u8, Vec<u8>>>;

fn said(plan: &Plan) -> Sent {
    let octets = |group: &plan::Group| {
        group.options.iter().map(|(code, setting)| (*code, setting.data.octets())).collect()
    };
    plan.groups.iter().map(|group| (group.tag.clone(), octets(group))).collect()
}

/// Lines that are not comments.
fn lines<'t>(text: &'t str, sign: &'t str) -> impl Iterator<Item = &'t str> {
    text.lines().filter(move |line| !line.trim().is_empty() && !line.trim_start().starts_with(sign))
}

fn from_hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2) && !digits.is_empty(), "{digits}");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn addresses(text: &str, separator: &str) -> Vec<u8> {
    text.split(separator).flat_map(|address| address.parse::<Ipv4Addr>().unwrap().octets()).collect()
}

/// `key=value` words of RouterOS; values bare, or in double quotes with `\` before `"`, `\`, `$` and `?`.
fn words(line: &str) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    let mut rest = line.chars().peekable();
    while rest.peek().is_some() {
        let key: String = rest.by_ref().take_while(|c| *c != '=').collect();
        let mut value = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next().expect("a quote ends") {
                    '"' => break,
                    '\\' => {
                        let c = rest.next().unwrap();
                        assert!("\"\\$?".contains(c), "\\{c} means something in RouterOS: {line}");
                        value.push(c);
                    }
                    c => {
                        assert!(!"$?".contains(c), "{c} is read by the terminal: {line}");
                        value.push(c);
                    }
                }
            }
            assert!(rest.next().is_none_or(|c| c == ' '), "{line}");
        } else {
            value = rest.by_ref().take_while(|c| *c != ' ').collect();
            assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{line}");
        }
        assert!(words.insert(key, value).is_none(), "a key twice: {line}");
    }
    words
}

#[test]
fn routeros_would_send_what_the_profiles_say() {
    let plan = plan(&[]);
    let text = mikrotik::text(&plan);
    let mut menu = "";
    let mut values: BTreeMap<String, (u8, Vec<u8>)> = BTreeMap::new();
    let mut sets: Sent = BTreeMap::new();
    let mut matched = BTreeSet::new();
    for line in lines(&text, "#") {
        let Some(rest) = line.strip_prefix("add ") else {
            assert!(
                ["/ip dhcp-server option", "/ip dhcp-server option sets", "/ip dhcp-server matcher"]
                    .contains(&line),
                "{line}"
            );
            menu = line;
            continue;
        };
        let words = words(rest);
        let keys: Vec<&str> = words.keys().map(String::as_str).collect();
        let name = words["name"].clone();
        match menu {
            "/ip dhcp-server option" => {
                assert_eq!(keys, ["code", "name", "value"]);
                let value = &words["value"];
                let octets = if let Some(digits) = value.strip_prefix("0x") {
                    from_hex(digits)
                } else if let Some(text) = value.strip_prefix("s'") {
                    let text = text.strip_suffix('\'').unwrap();
                    assert!(!text.contains('\'') && !text.contains("$("), "{value}");
                    text.as_bytes().to_vec()
                } else {
                    let inner = value.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap();
                    addresses(inner, "''")
                };
                assert!(values.insert(name, (words["code"].parse().unwrap(), octets)).is_none());
            }
            "/ip dhcp-server option sets" => {
                assert_eq!(keys, ["name", "options"]);
                let options = words["options"].split(',').map(|option| values[option].clone()).collect();
                sets.insert(name.strip_prefix("offhook-").unwrap().to_owned(), options);
            }
            _ => {
                assert_eq!(keys, ["code", "matching-type", "name", "option-set", "server", "value"]);
                assert_eq!((&*words["code"], &*words["matching-type"]), ("60", "substring"));
                matched.insert(words["option-set"].strip_prefix("offhook-").unwrap().to_owned());
                assert!(sets.contains_key(words["option-set"].strip_prefix("offhook-").unwrap()));
            }
        }
    }
    assert_eq!(sets, said(&plan));
    let by_class =
        plan.groups.iter().filter(|group| !group.classes.is_empty()).map(|group| group.tag.clone());
    assert_eq!(matched, by_class.collect());
}

/// Words of a PowerShell command: bare, or between single quotes where two of them are one.
fn tokens(line: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut token = String::new();
    let mut rest = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match (quoted, c) {
            (true, '\'') if rest.next_if_eq(&'\'').is_some() => token.push('\''),
            (_, '\'') => quoted = !quoted,
            (false, ' ') => tokens.push(std::mem::take(&mut token)),
            (false, c) => {
                assert!(c.is_ascii_alphanumeric() || "-,.:(){}".contains(c), "'{c}' means something: {line}");
                token.push(c);
            }
            (true, c) => token.push(c),
        }
    }
    assert!(!quoted, "quotes come in pairs: {line}");
    tokens.push(token);
    tokens.retain(|token| !token.is_empty());
    tokens
}

#[test]
fn windows_would_send_what_the_profiles_say() {
    let plan = plan(&[]);
    let text = windows::text(&plan);
    let mut kinds = BTreeMap::from([("43".to_owned(), "BinaryData".to_owned())]);
    kinds.extend(["66", "67"].map(|code| (code.to_owned(), "String".to_owned())));
    let mut classes = BTreeSet::new();
    let mut sent: Sent = BTreeMap::new();
    let mut open = 0;
    for line in lines(&text, "#") {
        open += line.matches('{').count();
        open -= line.matches('}').count();
        let tokens = tokens(line.trim());
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        match tokens.as_slice() {
            ["if", "(-not", "(Get-DhcpServerv4OptionDefinition", "-OptionId", code, ..] => {
                assert!(!kinds.contains_key(*code), "{line}");
            }
            ["}"] => {}
            ["Add-DhcpServerv4OptionDefinition", "-Name", _, "-OptionId", code, "-Type", kind, many @ ..] => {
                assert!(["String", "IPv4Address", "BinaryData"].contains(kind), "{line}");
                assert_eq!(many, if *kind == "IPv4Address" { &["-MultiValued"][..] } else { &[] });
                kinds.insert((*code).to_owned(), (*kind).to_owned());
            }
            ["Add-DhcpServerv4Class", "-Name", name, "-Type", "Vendor", "-Data", data] => {
                assert!(!data.is_empty() && classes.insert((*name).to_owned()), "{line}");
            }
            ["Add-DhcpServerv4Policy", "-Name", name, "-Condition", "OR", conditions @ ..] => {
                assert!(!conditions.is_empty(), "{line}");
                for condition in conditions.chunks(2) {
                    let values = condition[1].strip_prefix("EQ,").unwrap().split(',');
                    for value in values {
                        let value = value.strip_suffix('*').unwrap();
                        match condition[0] {
                            "-VendorClass" => assert!(classes.contains(value), "{line}"),
                            "-MacAddress" => assert!(from_hex(value).len() <= 6, "{line}"),
                            other => panic!("{other}"),
                        }
                    }
                }
                sent.insert(name.strip_prefix("offhook ").unwrap().to_owned(), BTreeMap::new());
            }
            ["Set-DhcpServerv4OptionValue", "-PolicyName", name, "-OptionId", code, "-Value", value] => {
                let octets = match kinds[*code].as_str() {
                    "String" => value.as_bytes().to_vec(),
                    "IPv4Address" => addresses(value, ","),
                    _ => value
                        .split(',')
                        .flat_map(|octet| from_hex(octet.strip_prefix("0x").unwrap()))
                        .collect(),
                };
                let policy = sent.get_mut(name.strip_prefix("offhook ").unwrap()).unwrap();
                assert!(policy.insert(code.parse().unwrap(), octets).is_none(), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!((open, sent), (0, said(&plan)));
}

#[test]
fn ios_would_send_what_the_profiles_say() {
    for vendors in [&[][..], &["snom", "yealink"], &["snom"], &["mitel"], &["cisco"], &["unify"]] {
        let plan = plan(vendors);
        let text = cisco::text(&plan);
        assert!(text.lines().all(|line| line.len() <= cisco::LINE_MAX), "{text}");
        let mut sent = BTreeMap::new();
        let mut lines = lines(&text, "!");
        assert_eq!(lines.next(), Some("ip dhcp pool PHONES"));
        for line in lines {
            let words: Vec<&str> = line.strip_prefix(" option ").unwrap().splitn(3, ' ').collect();
            let [code, kind, value] = words.as_slice() else { panic!("{line}") };
            let octets = match *kind {
                "ascii" => {
                    let text = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
                    assert!(!text.contains(['"', '?']), "{line}");
                    text.as_bytes().to_vec()
                }
                "ip" => addresses(value, " "),
                "hex" => from_hex(&value.replace('.', "")),
                other => panic!("{other}"),
            };
            sent.insert(code.parse::<u8>().unwrap(), octets);
        }
        told_to_all(&plan, &sent);
    }
}

#[test]
fn unifi_would_send_what_the_profiles_say() {
    for vendors in [&[][..], &["snom", "yealink"], &["snom"], &["cisco"], &["fanvil", "snom"]] {
        let plan = plan(vendors);
        let mut sent = BTreeMap::new();
        for line in lines(&unifi::text(&plan), "#") {
            let (code, octets) = match line.strip_prefix("TFTP Server: ") {
                Some(text) => (66, text.as_bytes().to_vec()),
                None => custom_option(line),
            };
            sent.insert(code, octets);
        }
        told_to_all(&plan, &sent);
    }
}

fn custom_option(line: &str) -> (u8, Vec<u8>) {
    let fields: Vec<&str> = line.strip_prefix("Custom DHCP Option: ").unwrap().splitn(4, ", ").collect();
    let names = ["Name = ", "Code = ", "Type = ", "Value = "];
    let values: Vec<&str> =
        fields.iter().zip(names).map(|(field, name)| field.strip_prefix(name).unwrap()).collect();
    let [_, code, kind, value] = values.as_slice() else { panic!("{line}") };
    let octets = match *kind {
        "Text" => value.as_bytes().to_vec(),
        "Hexadecimal" => from_hex(value),
        "IP Address" => addresses(value, ","),
        other => panic!("{other}"),
    };
    (code.parse().unwrap(), octets)
}

/// What all clients are told helps everybody that it is said to help.
fn told_to_all(plan: &Plan, sent: &BTreeMap<u8, Vec<u8>>) {
    let flat = Flat::of(plan);
    let expected: BTreeMap<u8, Vec<u8>> =
        flat.options.iter().map(|(code, setting)| (*code, setting.data.octets())).collect();
    assert_eq!(sent, &expected);
    for group in &plan.groups {
        let left_out = flat.left_out.iter().any(|other| other.tag == group.tag);
        assert!(left_out || group.profile.judge(sent, &plan.place).is_right(), "{}", group.name);
    }
    if plan.groups.len() == 1 {
        assert!(flat.left_out.is_empty(), "one vendor alone gets what it wants");
    }
}

#[test]
fn opnsense_gets_dnsmasqs_lines_and_openwrt_its_sections() {
    let plan = plan(&[]);
    let own: Vec<String> = lines(&dnsmasq::text(&plan), "#").map(str::to_owned).collect();
    let text = opnsense::text(&plan);
    assert_eq!(lines(&text, "#").collect::<Vec<_>>(), own);
    let kinds = ["dhcp-vendorclass=set:offhook-", "dhcp-mac=set:offhook-", "dhcp-option=tag:offhook-"];
    assert!(own.iter().all(|line| kinds.iter().any(|kind| line.starts_with(kind)) && line.len() < 1025));
    let mut tags = BTreeSet::new();
    for line in lines(&openwrt::text(&plan), "#") {
        let words: Vec<&str> = line.trim().splitn(3, ' ').collect();
        let [kind, name, value] = words.as_slice() else { panic!("{line}") };
        match *kind {
            "config" => {
                assert!(["vendorclass", "mac"].contains(name), "{line}");
                let name = value.trim_matches('\'');
                assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
                assert!(tags.insert(name.to_owned()), "a section twice: {line}");
            }
            "option" => assert!(["vendorclass", "mac", "networkid"].contains(name), "{line}"),
            "list" => assert_eq!(*name, "dhcp_option", "{line}"),
            other => panic!("{other}"),
        }
        assert!(value.starts_with('\'') && value.ends_with('\''), "{line}");
    }
    assert_eq!(
        tags.iter()
            .filter(|tag| plan.groups.iter().any(|group| **tag == format!("offhook_{}", group.tag)))
            .count(),
        plan.groups.len()
    );
}

#[test]
fn a_fritzbox_is_told_what_helps_instead() {
    let text = fritzbox::text(&plan(&["snom", "gigaset"]));
    assert!(text.contains("cannot send option 66"), "{text}");
    assert!(text.contains("Do nothing: Snom use SIP multicast"), "{text}");
    assert!(text.contains("Gigaset: http://192.0.2.1:8480/"), "{text}");
    let numbers: Vec<&str> =
        lines(&text, "#").filter(|line| !line.starts_with(' ')).map(|line| &line[..2]).collect();
    assert_eq!(numbers, ["1.", "2.", "3.", "4."]);
}
