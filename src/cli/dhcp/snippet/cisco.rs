//! Cisco IOS and IOS XE: options of a pool. Every client of a pool is told the same. Syntax: Cisco IOS IP Addressing
//! Services Command Reference, `ip dhcp pool`, `option`.

use std::fmt::Write as _;

use super::flat::Flat;
use super::plan::{self, Plan, about, digits};
use crate::profile::DhcpData;

/// What a line of the configuration may hold.
pub(super) const LINE_MAX: usize = 254;

pub(super) fn text(plan: &Plan) -> String {
    let flat = Flat::of(plan);
    let mut text = plan.head(
        "!",
        "cisco-ios",
        &[
            "In configuration mode; PHONES is the name of the pool that serves the phones (show ip dhcp pool).",
            "IOS tells every client of a pool the same, so it is best done in a pool of the phones' VLAN alone.",
        ],
    );
    for regret in flat.regrets("cisco-ios") {
        let _ = writeln!(text, "! {regret}");
    }
    text.push_str("ip dhcp pool PHONES\n");
    for (code, setting) in &flat.options {
        let _ = writeln!(text, " ! option {}", shortened(&about(*code, setting)));
        let line = format!(" option {code} {}", value(&setting.data));
        if line.len() > LINE_MAX {
            let _ = writeln!(text, " ! is too long for a line of IOS and left out");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn shortened(text: &str) -> String {
    text.chars().take(LINE_MAX - 20).collect()
}

/// A text in quotes; a terminal would take `?` for a question.
fn value(data: &DhcpData) -> String {
    match data {
        DhcpData::Addresses(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("ip {}", addresses.join(" "))
        }
        _ => match plan::plain(data, "\"?\\") {
            Some(text) => format!("ascii \"{text}\""),
            None => format!("hex {}", dotted(&digits(&data.octets()))),
        },
    }
}

/// `4217.6874.74`
fn dotted(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().collect();
    digits.chunks(4).map(|four| four.iter().collect::<String>()).collect::<Vec<_>>().join(".")
}
