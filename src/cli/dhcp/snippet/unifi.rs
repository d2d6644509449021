//! UniFi gateways: what to enter in the pages of UniFi Network. Every client of a network is told the same. Source:
//! help.ui.com, "UniFi Gateway - DHCP Server" and "Custom DHCP options".

use std::fmt::Write as _;

use super::flat::Flat;
use super::plan::{self, Plan, about, digits};
use crate::profile::{DhcpData, DhcpSetting};

pub(super) fn text(plan: &Plan) -> String {
    let flat = Flat::of(plan);
    let mut text = plan.head(
        "#",
        "unifi",
        &[
            "Enter it in UniFi Network: Settings > Networks > the phones' network > DHCP > DHCP Service Management > Show",
            "options. UniFi tells every client of a network the same, so it is best done in a network of the phones alone.",
        ],
    );
    for regret in flat.regrets("unifi") {
        let _ = writeln!(text, "# {regret}");
    }
    for (code, setting) in &flat.options {
        let _ = writeln!(text, "\n# option {}", about(*code, setting));
        text.push_str(&entry(*code, setting));
    }
    text
}

fn entry(code: u8, setting: &DhcpSetting) -> String {
    let (kind, value) = match &setting.data {
        DhcpData::Addresses(addresses) => {
            ("IP Address", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        data => match plan::plain(data, "\"\\") {
            Some(text) => ("Text", text.to_owned()),
            None => ("Hexadecimal", digits(&data.octets())),
        },
    };
    match (code, kind) {
        (66, "Text") => format!("TFTP Server: {value}\n"),
        _ => format!(
            "Custom DHCP Option: Name = offhook{code}, Code = {code}, Type = {kind}, Value = {value}\n"
        ),
    }
}
