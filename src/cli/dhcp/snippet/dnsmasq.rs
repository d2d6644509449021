//! dnsmasq: a tag for each vendor, and options for that tag. Syntax: dnsmasq(8), `--dhcp-vendorclass`, `--dhcp-mac`,
//! `--dhcp-option`.

use std::fmt::Write as _;

use super::plan::{self, Mark, Plan, about};
use crate::profile::{DhcpData, colons};

pub(super) fn text(plan: &Plan) -> String {
    let head = plan.head(
        "#",
        "dnsmasq",
        &[
            "Save as /etc/dnsmasq.d/offhook.conf, check with: dnsmasq --test, then restart dnsmasq.",
            "dnsmasq ends the texts of 66 and 67 with a NUL, which phones take for the end.",
            "Where dnsmasq has such an option for everybody (dhcp-option=66,...), these go before it for the phones.",
        ],
    );
    head + &lines(plan)
}

/// The lines that OPNsense takes as well.
pub(super) fn lines(plan: &Plan) -> String {
    let mut text = String::new();
    for group in &plan.groups {
        let tag = format!("offhook-{}", group.tag);
        let marks = group.marks(true);
        if marks.is_empty() {
            let _ = writeln!(text, "\n# {}", group.unknowable());
            continue;
        }
        let _ = writeln!(text, "\n# {}", group.title());
        for mark in marks {
            let _ = match mark {
                // Looked for anywhere in option 60.
                Mark::Begins(class) | Mark::Holds(class) => {
                    writeln!(text, "dhcp-vendorclass=set:{tag},{}", word(&class))
                }
                Mark::Mac(octets) => writeln!(text, "dhcp-mac=set:{tag},{}", wild(&octets)),
            };
        }
        for (code, setting) in &group.options {
            let _ = writeln!(text, "# option {}", about(*code, setting));
            let line = |value: &str| format!("dhcp-option=tag:{tag},{code},{value}\n");
            text.push_str(&told(value(*code, &setting.data), line));
        }
    }
    text
}

/// A value as dnsmasq reads it in its file: in quotes it is a text whatever it looks like. What it sends in 66 and 67 is a
/// text with a NUL behind it, however it is written.
pub(super) fn value(code: u8, data: &DhcpData) -> Option<String> {
    let text = match data {
        DhcpData::Octets(octets) if matches!(code, 66 | 67) => {
            let text = String::from_utf8(octets.strip_suffix(&[0]).unwrap_or(octets).to_vec());
            &DhcpData::Text(text.ok()?)
        }
        data => data,
    };
    match (text, plan::plain(text, "")) {
        (DhcpData::Addresses(addresses), _) => {
            Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        (_, Some(text)) => Some(quoted(text)),
        (_, None) => (!matches!(code, 66 | 67)).then(|| octets(&data.octets())),
    }
}

/// A line of a file, or why there is none.
pub(super) fn told(value: Option<String>, line: impl Fn(&str) -> String) -> String {
    value.map_or_else(
        || "# cannot be told by dnsmasq, which wants a text of ASCII here\n".to_owned(),
        |value| line(&value),
    )
}

/// One octet alone would be read as a number.
fn octets(octets: &[u8]) -> String {
    match octets {
        [one] => format!("{one}b"),
        _ => colons(octets),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn word(text: &str) -> String {
    let is_simple = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_simple { text.to_owned() } else { quoted(text) }
}

/// `00:15:65:*:*:*`
pub(super) fn wild(octets: &[u8]) -> String {
    let known = octets.iter().map(|octet| format!("{octet:02x}"));
    let open = std::iter::repeat_n("*".to_owned(), 6usize.saturating_sub(octets.len()));
    known.chain(open).collect::<Vec<_>>().join(":")
}
