//! The rules of iptables as `iptables-save` prints them, in our form. Only reads text.

use super::{Action, Chain, Rule, Table, Test, What};

/// Tables whose rules drop packets for this host, and the chain that those come in by.
const ENTRIES: [(&str, &str); 3] = [("raw", "PREROUTING"), ("mangle", "INPUT"), ("filter", "INPUT")];

/// The tables of the text that packets for this host come through.
pub(super) fn read(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table { name: format!("iptables -t {name}"), chains: Vec::new() });
        } else if let (Some(chain), Some(table)) = (line.strip_prefix(':'), tables.last_mut()) {
            let mut words = chain.split_whitespace();
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let own = table.name.trim_start_matches("iptables -t ");
            let entry = ENTRIES.contains(&(own, name)).then(|| policy != "DROP");
            table.chains.push(Chain { name: name.to_owned(), entry, rules: Vec::new() });
        } else if let (Some(rule), Some(table)) = (line.strip_prefix("-A "), tables.last_mut()) {
            let (name, rest) = rule.split_once(' ').unwrap_or((rule, ""));
            if let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == name) {
                chain.rules.push(rule_of(&words_of(rest), line));
            }
        }
    }
    tables.retain(|table| {
        table.chains.iter().any(|chain| chain.entry == Some(false) || !chain.rules.is_empty())
    });
    tables
}

/// Words, those in quotation marks whole.
fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in text.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn rule_of(words: &[String], line: &str) -> Rule {
    let (mut tests, mut action) = (Vec::new(), Action::Nothing);
    let mut negated = false;
    let mut rest = words.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        let values = match rest.peek() {
            Some(next) if !next.starts_with('-') && *next != "!" => rest.next().unwrap_or_default(),
            _ => "",
        };
        let list = || values.split(',').map(str::to_owned).collect::<Vec<String>>();
        let networks = || values.split(',').map(|one| one.parse().ok()).collect::<Option<Vec<_>>>();
        let lower = || list().iter().map(|one| one.to_ascii_lowercase()).collect::<Vec<String>>();
        let what = match word {
            "-j" | "-g" => {
                action = target(values, word == "-g");
                continue;
            }
            "-m" | "--comment" | "--reject-with" => continue,
            "-p" if values == "all" => continue,
            "-p" => Some(What::Protocol(lower())),
            "--dport" | "--dports" => ports(values).map(What::Port),
            "-d" => networks().map(What::To),
            "-s" => networks().map(What::From),
            "-i" => Some(What::Interface(list())),
            "--state" | "--ctstate" => Some(What::Tracked(lower())),
            "--pkt-type" => Some(What::Cast(lower())),
            "--dst-type" => Some(What::Kind(lower())),
            other if other.starts_with('-') => None,
            _ => continue,
        };
        tests.push(Test { what: what.unwrap_or(What::Other), negated: std::mem::take(&mut negated) });
    }
    Rule { tests, action, text: format!("'{line}'") }
}

fn target(name: &str, goes: bool) -> Action {
    match name {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "CT" | "TRACE" | "NOTRACK" | "TCPMSS" | "SET" | "DSCP" => {
            Action::Nothing
        }
        chain if goes => Action::Goto(chain.to_owned()),
        chain => Action::Jump(chain.to_owned()),
    }
}

/// `69`, `8480:8482`, `69,5060`
fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let port = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let bound = |text: &str, empty| if text.is_empty() { Some(empty) } else { text.parse().ok() };
        Some((bound(first, 0)?, bound(last, u16::MAX)?))
    };
    text.split(',').map(port).collect()
}
