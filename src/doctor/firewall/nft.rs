//! The rules of nftables as `nft -j list ruleset` prints them (libnftables-json(5)), in our form. Only reads text.

use std::collections::HashMap;

use serde_json::Value;

use super::{Action, Chain, Rule, Table, Test, What};
use crate::net::Prefix;

/// The hooks that a packet for this host comes through.
const HOOKS: [&str; 2] = ["prerouting", "input"];

type Sets = HashMap<(String, String), Vec<Value>>;

/// `None` where the text is not such a listing.
pub(super) fn read(text: &str) -> Option<Vec<Table>> {
    let text = text.get(text.find('{')?..)?;
    let listing: Value = serde_json::from_str(text).ok()?;
    let items = listing.get("nftables")?.as_array()?;
    let sets: Sets = items.iter().filter_map(|item| set(item.get("set")?)).collect();
    let mut tables: Vec<Table> = Vec::new();
    for item in items {
        if let Some((chain, name)) = item.get("chain").and_then(|chain| Some((chain, table_of(chain)?))) {
            if !tables.iter().any(|table| table.name == name) {
                tables.push(Table { name: name.clone(), chains: Vec::new() });
            }
            if let Some(own) = tables.iter_mut().find(|table| table.name == name) {
                own.chains.push(chain_of(chain));
            }
        } else if let Some((rule, name)) = item.get("rule").and_then(|rule| Some((rule, table_of(rule)?))) {
            let (own, of) = (word(rule, "chain"), tables.iter_mut().find(|table| table.name == name));
            let mut chains = of.into_iter().flat_map(|table| &mut table.chains);
            if let Some(chain) = chains.find(|chain| chain.name == own) {
                chain.rules.extend(rules(rule, &name, &sets));
            }
        }
    }
    tables.retain(|table| table.chains.iter().any(|chain| chain.entry.is_some()));
    Some(tables)
}

/// Tables that see IPv4 for this host.
fn table_of(item: &Value) -> Option<String> {
    let family = word(item, "family");
    matches!(family.as_str(), "ip" | "inet").then(|| format!("nft table {family} {}", word(item, "table")))
}

fn word(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn set(set: &Value) -> Option<((String, String), Vec<Value>)> {
    let elements = set.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
    Some(((table_of(set)?, word(set, "name")), elements))
}

fn chain_of(chain: &Value) -> Chain {
    let is_entry = HOOKS.contains(&word(chain, "hook").as_str()) && word(chain, "type") != "nat";
    let entry = is_entry.then(|| word(chain, "policy") != "drop");
    Chain { name: word(chain, "name"), entry, rules: Vec::new() }
}

/// A rule; one with a verdict map is one for each of its verdicts.
fn rules(rule: &Value, table: &str, sets: &Sets) -> Vec<Rule> {
    let handle = rule.get("handle").and_then(Value::as_i64).unwrap_or_default();
    let mut tests: Vec<(Value, Value, bool)> = Vec::new();
    let mut others = 0;
    let mut actions: Vec<(Option<(Value, Value)>, Action)> = Vec::new();
    for part in rule.get("expr").and_then(Value::as_array).into_iter().flatten() {
        let Some((name, value)) = part.as_object().and_then(|part| part.iter().next()) else { continue };
        let inner = |name: &str| value.get(name).cloned().unwrap_or_default();
        match name.as_str() {
            "match" => tests.push((inner("left"), inner("right"), word(value, "op") == "!=")),
            "vmap" => {
                let data = inner("data");
                let pairs = data.get("set").and_then(Value::as_array).cloned().unwrap_or_default();
                // A map with a name is not looked up.
                others += usize::from(pairs.is_empty());
                for pair in &pairs {
                    let (on, action) =
                        (pair.get(0).cloned().unwrap_or_default(), pair.get(1).and_then(action));
                    actions.push((Some((inner("key"), on)), action.unwrap_or(Action::Nothing)));
                }
                if pairs.is_empty() {
                    actions.push((None, Action::Accept));
                }
            }
            "limit" | "xt" | "queue" | "connlimit" | "quota" | "ct count" => {
                others += 1;
                let target = word(value, "name");
                let refuses = matches!(target.as_str(), "REJECT" | "DROP");
                actions.extend(refuses.then_some((None, Action::Drop)));
            }
            _ => actions.extend(action(part).map(|action| (None, action))),
        }
    }
    let rule_of = |(on, action): (Option<(Value, Value)>, Action)| {
        let own = on.map(|(left, right)| (left, right, false));
        let read = |(left, right, negated): &(Value, Value, bool)| test(left, right, *negated, table, sets);
        let mut all: Vec<Test> = tests.iter().chain(&own).flat_map(read).collect();
        all.extend((0..others).map(|_| Test { what: What::Other, negated: false }));
        Rule { tests: all, action, text: format!("rule with handle {handle}") }
    };
    actions.into_iter().map(rule_of).collect()
}

fn action(part: &Value) -> Option<Action> {
    let (name, value) = part.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "accept" => Action::Accept,
        "drop" | "reject" => Action::Drop,
        "return" => Action::Return,
        "jump" => Action::Jump(word(value, "target")),
        "goto" => Action::Goto(word(value, "target")),
        _ => return None,
    })
}

fn test(left: &Value, right: &Value, negated: bool, table: &str, sets: &Sets) -> Vec<Test> {
    let what = |what: Option<What>| vec![Test { what: what.unwrap_or(What::Other), negated }];
    let Some(atoms) = atoms(right, table, sets) else { return what(None) };
    let words = || atoms.iter().map(|atom| atom.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>();
    if let Some(meta) = left.get("meta") {
        return what(match word(meta, "key").as_str() {
            "iif" | "iifname" => words().map(What::Interface),
            "l4proto" => words().map(What::Protocol),
            "pkttype" => words().map(What::Cast),
            "nfproto" => words().map(|words| {
                What::To(if words.iter().any(|one| one == "ipv4") { everywhere() } else { vec![] })
            }),
            _ => None,
        });
    }
    if let Some(tracked) = left.get("ct") {
        return what(match word(tracked, "key").as_str() {
            "state" => words().map(What::Tracked),
            // Nobody has changed the addresses of what a phone sends first.
            "status" => words()
                .filter(|words| words.iter().all(|one| one == "dnat" || one == "snat"))
                .map(What::Tracked),
            _ => None,
        });
    }
    if left.get("fib").is_some_and(|fib| word(fib, "result") == "type") {
        return what(
            words().map(|words| What::Kind(words.iter().map(|one| one.to_ascii_lowercase()).collect())),
        );
    }
    let Some(payload) = left.get("payload") else { return what(None) };
    match (word(payload, "protocol").as_str(), word(payload, "field").as_str()) {
        ("ip", "protocol") => what(words().map(What::Protocol)),
        ("ip", "daddr") => what(networks(&atoms).map(What::To)),
        ("ip", "saddr") => what(networks(&atoms).map(What::From)),
        ("ip6", _) => what(Some(What::To(vec![]))),
        (protocol @ ("udp" | "tcp" | "th"), "dport") => {
            let mut tests = what(ports(&atoms).map(What::Port));
            if protocol != "th" {
                tests.push(Test { what: What::Protocol(vec![protocol.to_owned()]), negated: false });
            }
            tests
        }
        (protocol @ ("udp" | "tcp" | "icmp" | "icmpv6" | "igmp"), _) => {
            let mut tests = what(None);
            tests.push(Test { what: What::Protocol(vec![protocol.to_owned()]), negated: false });
            tests
        }
        _ => what(None),
    }
}

fn everywhere() -> Vec<Prefix> {
    Prefix::new(std::net::Ipv4Addr::UNSPECIFIED, 0).into_iter().collect()
}

/// The single values of the right side of a match: of a set, a set with a name, a list.
fn atoms(right: &Value, table: &str, sets: &Sets) -> Option<Vec<Value>> {
    let of_set = |elements: &Vec<Value>| {
        let value = |one: &Value| one.get("elem").and_then(|elem| elem.get("val")).unwrap_or(one).clone();
        elements.iter().map(value).collect::<Vec<Value>>()
    };
    match right {
        Value::String(name) if name.starts_with('@') => {
            sets.get(&(table.to_owned(), name.trim_start_matches('@').to_owned())).map(of_set)
        }
        Value::Array(list) => Some(of_set(list)),
        Value::Object(object) => match object.get("set").and_then(Value::as_array) {
            Some(elements) => Some(of_set(elements)),
            None => Some(vec![right.clone()]),
        },
        Value::Null | Value::Bool(_) => None,
        Value::String(_) | Value::Number(_) => Some(vec![right.clone()]),
    }
}

fn ports(atoms: &[Value]) -> Option<Vec<(u16, u16)>> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok().or_else(|| service(text)),
        _ => None,
    };
    let port = |atom: &Value| match atom.get("range") {
        Some(range) => Some((number(range.get(0)?)?, number(range.get(1)?)?)),
        None => number(atom).map(|port| (port, port)),
    };
    atoms.iter().map(port).collect()
}

/// Names that nft may print for ports of ours.
fn service(name: &str) -> Option<u16> {
    match name {
        "tftp" => Some(69),
        "sip" => Some(5060),
        "sip-tls" => Some(5061),
        _ => None,
    }
}

fn networks(atoms: &[Value]) -> Option<Vec<Prefix>> {
    let network = |atom: &Value| match (atom, atom.get("prefix")) {
        (Value::String(text), _) => text.parse().ok(),
        (_, Some(prefix)) => {
            let bits = prefix.get("len").and_then(Value::as_u64).and_then(|bits| u8::try_from(bits).ok())?;
            Prefix::new(word(prefix, "addr").parse().ok()?, bits)
        }
        _ => None,
    };
    atoms.iter().map(network).collect()
}
