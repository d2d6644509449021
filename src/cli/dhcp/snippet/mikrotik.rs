//! MikroTik RouterOS 7: options, a set of them for each vendor, and a matcher that gives the set to who shows the vendor's
//! option 60. Syntax: help.mikrotik.com, "DHCP", sections Options, Option Sets and Generic matcher; "Scripting" for
//! quoting.

use std::fmt::Write as _;

use super::plan::{self, Mark, Plan, about, digits};
use crate::profile::DhcpData;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = plan.head(
        "#",
        "mikrotik",
        &[
            "Paste it into a terminal of RouterOS 7.16 or later. Before 7.4 there are no matchers: give the option sets to",
            "leases. If phones get no address from a matcher, add address-pool=POOL to it.",
            "An option set of a lease or of the server goes before a matcher's.",
        ],
    );
    for group in &plan.groups {
        let name = format!("offhook-{}", group.tag);
        let _ = writeln!(text, "\n# {}", group.title());
        text.push_str("/ip dhcp-server option\n");
        for (code, setting) in &group.options {
            let _ = writeln!(text, "# option {}", about(*code, setting));
            let _ =
                writeln!(text, "add name=\"{name}-{code}\" code={code} value=\"{}\"", value(&setting.data));
        }
        let options: Vec<String> = group.options.keys().map(|code| format!("{name}-{code}")).collect();
        let _ = writeln!(
            text,
            "/ip dhcp-server option sets\nadd name=\"{name}\" options=\"{}\"",
            options.join(",")
        );
        text.push_str(&matchers(&name, &group.marks(true)));
    }
    text
}

fn matchers(name: &str, marks: &[Mark]) -> String {
    let mut text = String::new();
    let classes = marks.iter().filter_map(|mark| match mark {
        Mark::Begins(class) | Mark::Holds(class) if plan::is_plain(class, "") => Some(class),
        _ => None,
    });
    for (number, class) in classes.enumerate() {
        if number == 0 {
            text.push_str("/ip dhcp-server matcher\n");
        }
        let own = if number == 0 { name.to_owned() } else { format!("{name}-{}", number + 1) };
        let _ = writeln!(
            text,
            "add name=\"{own}\" server=all code=60 matching-type=substring value=\"{}\" option-set=\"{name}\"",
            escaped(class),
        );
    }
    if text.is_empty() {
        let _ = writeln!(
            text,
            "# These phones are known by their address alone, for which RouterOS has no matcher. For each of them:\n\
             # /ip dhcp-server lease set [find mac-address=\"00:00:00:00:00:00\"] dhcp-option-set=\"{name}\"",
        );
    }
    text
}

/// A value in RouterOS's own notation: `s'…'` is a text whatever it looks like, addresses stand one behind the other.
fn value(data: &DhcpData) -> String {
    match data {
        DhcpData::Addresses(addresses) => {
            addresses.iter().map(|address| format!("'{address}'")).collect::<Vec<_>>().concat()
        }
        // `$(NAME)` would be a variable of the server, and so would $NAME be for the terminal.
        _ => match plan::plain(data, "'$") {
            Some(text) => format!("s'{}'", escaped(text)),
            None => format!("0x{}", digits(&data.octets())),
        },
    }
}

/// Between double quotes a terminal reads `\`, `"`, `$` and `?` as its own.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "\\\"$?".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
