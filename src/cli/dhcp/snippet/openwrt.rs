//! OpenWrt: sections of /etc/config/dhcp, from which OpenWrt writes dnsmasq's file. Syntax: OpenWrt's user guide, "DHCP and
//! DNS configuration", classifying clients.

use std::fmt::Write as _;

use super::dnsmasq;
use super::plan::{Mark, Plan, about};

pub(super) fn text(plan: &Plan) -> String {
    let mut text = plan.head(
        "#",
        "openwrt",
        &[
            "Append to /etc/config/dhcp, then: service dnsmasq restart",
            "(with `uci show dhcp` first, to see that no section of these names is there already).",
        ],
    );
    for group in &plan.groups {
        let marks = group.marks(true);
        if marks.is_empty() {
            let _ = writeln!(text, "\n# {}", group.unknowable());
            continue;
        }
        let tag = format!("offhook_{}", group.tag.replace('-', "_"));
        let _ = writeln!(text, "\n# {}", group.title());
        for (number, mark) in marks.iter().enumerate() {
            let name = if number == 0 { tag.clone() } else { format!("{tag}_{}", number + 1) };
            let (kind, value) = match mark {
                // Looked for anywhere in option 60. A comma would end the text for dnsmasq.
                Mark::Begins(class) | Mark::Holds(class) => {
                    ("vendorclass", class.split(',').next().unwrap_or_default().to_owned())
                }
                Mark::Mac(octets) => ("mac", dnsmasq::wild(octets)),
            };
            let _ = writeln!(text, "config {kind} '{name}'");
            let _ = writeln!(text, "\toption {kind} {}", quoted(&value));
            let _ = writeln!(text, "\toption networkid '{tag}'");
            // The options stand with the first section: all of them set the same tag.
            if number == 0 {
                for (code, setting) in &group.options {
                    let _ = writeln!(text, "\t# option {}", about(*code, setting));
                    let line =
                        |value: &str| format!("\tlist dhcp_option {}\n", quoted(&format!("{code},{value}")));
                    text.push_str(&dnsmasq::told(dnsmasq::value(*code, &setting.data), line));
                }
            }
            text.push('\n');
        }
        text.truncate(text.trim_end_matches('\n').len());
        text.push('\n');
    }
    text
}

/// UCI takes a text between single quotes as it is; a single quote ends it, and is written between double ones.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}
