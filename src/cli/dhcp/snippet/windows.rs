//! Windows Server: vendor classes, option definitions, and a policy with values for each vendor. Syntax: learn.microsoft.com,
//! the module `DhcpServer` of PowerShell: `Add-DhcpServerv4OptionDefinition`, `Add-DhcpServerv4Class`,
//! `Add-DhcpServerv4Policy`, `Set-DhcpServerv4OptionValue`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plan::{Group, Mark, Plan, about, digits};
use crate::profile::DhcpData;

/// Options that every Windows server has: code and type.
const DEFINED: [(u8, &str); 3] = [(43, "BinaryData"), (66, "String"), (67, "String")];

pub(super) fn text(plan: &Plan) -> String {
    let mut text = plan.head(
        "#",
        "windows",
        &[
            "Run it in PowerShell as administrator on the DHCP server (Windows Server 2012 R2 or later). It sets server-wide",
            "policies; -ScopeId NETWORK behind each policy and value limits them to one scope.",
            "An option that a reservation sets goes before these. DHCPINFORM is answered with them as well.",
        ],
    );
    text.push('\n');
    for (code, kind) in definitions(plan) {
        let many = if kind == "IPv4Address" { " -MultiValued" } else { "" };
        let _ = writeln!(
            text,
            "if (-not (Get-DhcpServerv4OptionDefinition -OptionId {code} -ErrorAction SilentlyContinue)) {{"
        );
        let _ = writeln!(
            text,
            "  Add-DhcpServerv4OptionDefinition -Name 'Option {code}' -OptionId {code} -Type {kind}{many}"
        );
        text.push_str("}\n");
    }
    for group in &plan.groups {
        text.push_str(&policy(plan, group));
    }
    text
}

/// The type of each code: a text where all vendors want one, octets otherwise.
fn kinds(plan: &Plan) -> BTreeMap<u8, &'static str> {
    let mut kinds = BTreeMap::new();
    for (code, setting) in plan.groups.iter().flat_map(|group| &group.options) {
        let kind = match &setting.data {
            DhcpData::Text(text) if text.is_ascii() => "String",
            DhcpData::Addresses(_) => "IPv4Address",
            DhcpData::Text(_) | DhcpData::Octets(_) => "BinaryData",
        };
        let known = *kinds.entry(*code).or_insert(kind);
        if known != kind {
            kinds.insert(*code, "BinaryData");
        }
    }
    kinds.extend(DEFINED);
    kinds
}

fn definitions(plan: &Plan) -> impl Iterator<Item = (u8, &'static str)> {
    kinds(plan).into_iter().filter(|(code, _)| DEFINED.iter().all(|(defined, _)| defined != code))
}

fn policy(plan: &Plan, group: &Group) -> String {
    let marks = group.marks(false);
    if marks.is_empty() {
        return format!("\n# {}\n", group.unknowable());
    }
    let kinds = kinds(plan);
    let name = quoted(&format!("offhook {}", group.tag));
    let mut text = format!("\n# {}\n", group.title());
    let mut classes = Vec::new();
    let mut addresses = Vec::new();
    for mark in &marks {
        match mark {
            Mark::Begins(class) | Mark::Holds(class) => {
                let number =
                    if classes.is_empty() { String::new() } else { format!(" {}", classes.len() + 1) };
                let class_name = format!("offhook {}{number}", group.tag);
                let _ = writeln!(
                    text,
                    "Add-DhcpServerv4Class -Name {} -Type Vendor -Data {}",
                    quoted(&class_name),
                    quoted(class)
                );
                // The star is the wildcard: everything that begins with the class's data.
                classes.push(quoted(&format!("{class_name}*")));
            }
            Mark::Mac(octets) => addresses.push(quoted(&format!("{}*", digits(octets).to_uppercase()))),
        }
    }
    let condition = |name: &str, values: &[String]| match values {
        [] => String::new(),
        values => format!(" -{name} EQ,{}", values.join(",")),
    };
    let conditions = condition("VendorClass", &classes) + &condition("MacAddress", &addresses);
    let _ = writeln!(text, "Add-DhcpServerv4Policy -Name {name} -Condition OR{conditions}");
    for (code, setting) in &group.options {
        let kind = kinds.get(code).copied().unwrap_or("BinaryData");
        let value = value(kind, &setting.data);
        let _ = writeln!(text, "# option {}", about(*code, setting));
        let _ =
            writeln!(text, "Set-DhcpServerv4OptionValue -PolicyName {name} -OptionId {code} -Value {value}");
    }
    text
}

fn value(kind: &str, data: &DhcpData) -> String {
    match (kind, data) {
        ("String", DhcpData::Text(text)) => quoted(text),
        ("IPv4Address", DhcpData::Addresses(addresses)) => {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        _ => data.octets().iter().map(|octet| format!("0x{octet:02x}")).collect::<Vec<_>>().join(","),
    }
}

/// Between single quotes PowerShell reads nothing but the quote itself, written twice.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
