//! Kea: a client class for each vendor. Syntax: Kea's reference manual, "Client Classification", "Standard DHCPv4
//! Options" (values as octets need no definition), "DHCPv4 Private Options" (43 in a class), "DHCPv4 Vendor-Specific
//! Options" (125).

use std::fmt::Write as _;

use super::plan::{self, Group, Mark, Plan, about, digits};
use crate::profile::DhcpData;

pub(super) fn text(plan: &Plan) -> String {
    let mut text = plan.head(
        "//",
        "kea",
        &[
            "Put it into \"Dhcp4\" of kea-dhcp4.conf (join it with the \"client-classes\" that are there), check with:",
            "kea-dhcp4 -t /etc/kea/kea-dhcp4.conf, then reload. Comments may stay.",
            "An option that a subnet, pool or reservation sets (66, say) goes before these: take it out there.",
        ],
    );
    let (known, unknowable): (Vec<&Group>, Vec<&Group>) =
        plan.groups.iter().partition(|group| !group.marks(false).is_empty());
    for group in unknowable {
        let _ = writeln!(text, "// {}", group.unknowable());
    }
    let classes: Vec<String> = known.into_iter().map(class).collect();
    let _ = writeln!(text, "\"client-classes\": [\n{}\n]", classes.join(",\n"));
    text
}

fn class(group: &Group) -> String {
    let mut text = format!("  {{\n    // {}\n", group.title());
    let tests: Vec<String> = group.marks(false).iter().map(test).collect();
    let _ = writeln!(text, "    \"name\": \"offhook-{}\",", group.tag);
    let _ = writeln!(text, "    \"test\": \"{}\",", tests.join(" or "));
    // Without this Kea takes the value for a list of sub-options, and makes its own of it.
    if group.options.contains_key(&43) {
        let _ = writeln!(
            text,
            "    \"option-def\": [ {{ \"name\": \"offhook-43\", \"code\": 43, \"type\": \"binary\" }} ],"
        );
    }
    text.push_str("    \"option-data\": [\n");
    let rows: Vec<(String, Vec<String>)> = group
        .options
        .iter()
        .map(|(code, setting)| {
            (format!("      // option {}\n", about(*code, setting)), data(*code, &setting.data))
        })
        .collect();
    let last = rows.iter().rposition(|(_, rows)| !rows.is_empty());
    for (number, (comment, rows)) in rows.iter().enumerate() {
        text.push_str(comment);
        if rows.is_empty() {
            text.push_str(
                "      // cannot be told by Kea, which makes something of its own of this option\n",
            );
        } else {
            let comma = if Some(number) == last { "" } else { "," };
            let _ = writeln!(text, "{}{comma}", rows.join(",\n"));
        }
    }
    text.push_str("    ]\n  }");
    text
}

fn test(mark: &Mark) -> String {
    match mark {
        Mark::Begins(class) | Mark::Holds(class) => {
            let literal = if plan::is_plain(class, "'\"\\") {
                format!("'{class}'")
            } else {
                format!("0x{}", digits(class.as_bytes()))
            };
            format!("substring(option[60].hex, 0, {}) == {literal}", class.len())
        }
        Mark::Mac(octets) => format!("substring(pkt4.mac, 0, {}) == 0x{}", octets.len(), digits(octets)),
    }
}

/// Options that Kea knows as records of its own and cuts to their size: 159 is RFC 7618's ports.
const RECORDS: [u8; 1] = [159];

/// The rows of one option; none when Kea has no way to send these octets.
fn data(code: u8, data: &DhcpData) -> Vec<String> {
    if RECORDS.contains(&code) {
        return Vec::new();
    }
    if code == 125 {
        return identified(&data.octets()).unwrap_or_default();
    }
    vec![format!("      {{ \"code\": {code}, \"csv-format\": false, \"data\": \"{}\" }}", value(data))]
}

fn value(data: &DhcpData) -> String {
    plan::plain(data, "'\"\\").map_or_else(|| digits(&data.octets()), |text| format!("'{text}'"))
}

/// Kea sends 125 as an enterprise's sub-options, and nothing else: a text of the vendor's own does not fit.
fn identified(octets: &[u8]) -> Option<Vec<String>> {
    let (enterprise, [_, rest @ ..]) = octets.split_first_chunk::<4>()? else { return None };
    let enterprise = u32::from_be_bytes(*enterprise);
    let mut rows = vec![format!("      {{ \"name\": \"vivso-suboptions\", \"data\": \"{enterprise}\" }}")];
    let mut rest = rest;
    while let [code, length, behind @ ..] = rest {
        let (value, behind) = behind.split_at_checked(usize::from(*length))?;
        rows.push(format!(
            "      {{ \"space\": \"vendor-{enterprise}\", \"code\": {code}, \"csv-format\": false, \"always-send\": true, \
             \"data\": \"{}\" }}",
            digits(value)
        ));
        rest = behind;
    }
    rest.is_empty().then_some(rows)
}
