//! ISC DHCP: a class for each vendor. Syntax: dhcpd.conf(5), "client classing"; dhcp-options(5), "defining new options";
//! dhcp-eval(5).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plan::{self, Mark, Plan, about};
use crate::profile::{DhcpData, colons};

pub(super) fn text(plan: &Plan) -> String {
    let mut text = plan.head(
        "#",
        "isc",
        &[
            "Put it into dhcpd.conf outside every subnet, check with: dhcpd -t, then restart dhcpd.",
            "An option that a host statement sets goes before these. A phone that asks by DHCPINFORM is answered only",
            "where the subnet is `authoritative`.",
        ],
    );
    text.push('\n');
    let names = names(plan);
    for (code, (name, format)) in &names {
        if let Some(format) = format {
            let _ = writeln!(text, "option {name} code {code} = {format};");
        }
    }
    for group in &plan.groups {
        let tests: Vec<String> = group.marks(false).iter().map(test).collect();
        if tests.is_empty() {
            let _ = writeln!(text, "\n# {}", group.unknowable());
            continue;
        }
        let _ = writeln!(text, "\n# {}", group.title());
        let _ = writeln!(text, "class \"offhook-{}\" {{", group.tag);
        let _ = writeln!(text, "  match if {};", tests.join("\n        or "));
        for (code, setting) in &group.options {
            let _ = writeln!(text, "  # option {}", about(*code, setting));
            let name = names.get(code).map_or("", |(name, _)| name.as_str());
            let _ = writeln!(text, "  option {name} {};", value(&setting.data));
        }
        text.push_str("}\n");
    }
    text
}

/// Each option's name, and how it is defined where dhcpd has none, or none that takes what is to be said.
fn names(plan: &Plan) -> BTreeMap<u8, (String, Option<&'static str>)> {
    let mut names = BTreeMap::new();
    for code in plan.groups.iter().flat_map(|group| group.options.keys()) {
        let all = plan.groups.iter().filter_map(|group| group.options.get(code));
        let are = |kind: fn(&DhcpData) -> bool| all.clone().all(|setting| kind(&setting.data));
        let texts = are(|data| plan::plain(data, "").is_some());
        let definition = match code {
            66 if texts => ("tftp-server-name".to_owned(), None),
            67 if texts => ("bootfile-name".to_owned(), None),
            _ if are(|data| matches!(data, DhcpData::Addresses(_))) => {
                (format!("offhook-{code}"), Some("array of ip-address"))
            }
            _ => (format!("offhook-{code}"), Some("string")),
        };
        names.insert(*code, definition);
    }
    names
}

fn test(mark: &Mark) -> String {
    match mark {
        // `~=` would look anywhere, but stops at the first NUL of a binary option 60.
        Mark::Begins(class) | Mark::Holds(class) => {
            format!("substring(option vendor-class-identifier, 0, {}) = {}", class.len(), string(class))
        }
        Mark::Mac(octets) => format!("substring(hardware, 1, {}) = {}", octets.len(), colons(octets)),
    }
}

fn value(data: &DhcpData) -> String {
    match data {
        DhcpData::Addresses(addresses) => {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        _ => plan::plain(data, "").map_or_else(|| colons(&data.octets()), string),
    }
}

fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
