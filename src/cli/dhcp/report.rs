//! `offhook dhcp report`: what the hook of a DHCP server calls. It leaves one small file for each lease in a folder of the
//! agent's, and never fails: a DHCP server has better things to do than to look after us.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::cli::Context;
use crate::device::Mac;
use crate::dhcp::report::{LeaseEvent, Report};

/// Leases that one call reports; a server commits one or two at a time.
const LEASES_MAX: usize = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's folder for reports (default: of the agent that this user's commands belong to)
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// As dnsmasq gives them to its dhcp-script (`add MAC ADDRESS [NAME]`), or Kea to its `run_script` (`leases4_committed`);
    /// the rest stands in the environment
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<std::ffi::OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) {
    let arguments: Vec<String> =
        args.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    // Not `std::env::var`: an option 60 need not be UTF-8.
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let folder = args.folder.clone().unwrap_or_else(|| context.places.reports());
    for report in read(&arguments, variable) {
        if let Err(error) = leave(&folder, &report.tidied()) {
            eprintln!(
                "offhook: cannot leave a report in {}: {error}; the agent makes that folder, and this user has to be in \
                 its group: sudo adduser USER offhook",
                folder.display()
            );
            return;
        }
    }
}

/// What a hook was called with; nothing where that is no lease of an Ethernet host.
fn read(arguments: &[String], variable: impl Fn(&str) -> Option<String>) -> Vec<Report> {
    match arguments {
        [event, mac, address, rest @ ..] if matches!(event.as_str(), "add" | "old" | "del") => {
            dnsmasq(event, mac, address, rest.first(), variable).into_iter().collect()
        }
        [callout, ..] if callout.starts_with("lease") => kea(callout, variable),
        _ => Vec::new(),
    }
}

/// dnsmasq(8), --dhcp-script.
fn dnsmasq(
    event: &str,
    mac: &str,
    address: &str,
    name: Option<&String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Report> {
    let event = match event {
        "add" => LeaseEvent::New,
        "old" => LeaseEvent::Kept,
        _ => LeaseEvent::Over,
    };
    Some(Report {
        by: "dnsmasq".to_owned(),
        event,
        mac: mac.parse().ok()?,
        address: address.parse().ok()?,
        class: variable("DNSMASQ_VENDOR_CLASS"),
        host_name: variable("DNSMASQ_SUPPLIED_HOSTNAME").or_else(|| name.cloned()),
        asked: variable("DNSMASQ_REQUESTED_OPTIONS"),
        relay: variable("DNSMASQ_RELAY_ADDRESS").and_then(|relay| relay.parse().ok()),
        circuit_id: variable("DNSMASQ_CIRCUIT_ID"),
        remote_id: variable("DNSMASQ_REMOTE_ID"),
        note: variable("DNSMASQ_TAGS"),
    })
}

/// The Kea manual, "`run_script`: Run Script Support for External Hook Scripts".
fn kea(callout: &str, variable: impl Fn(&str) -> Option<String>) -> Vec<Report> {
    let lease = |event, prefix: &str| {
        let own = |name: &str| variable(&format!("{prefix}_{name}"));
        let query = |name: &str| variable(&format!("QUERY4_{name}"));
        let mac: Mac = own("HWADDR").or_else(|| query("HWADDR"))?.parse().ok()?;
        let is_empty = |relay: &Ipv4Addr| relay.is_unspecified();
        Some(Report {
            by: "kea".to_owned(),
            event,
            mac,
            address: own("ADDRESS")?.parse().ok()?,
            // Of the phone's options Kea (2.2) tells none but 82.
            class: None,
            host_name: own("HOSTNAME"),
            asked: None,
            relay: query("GIADDR").and_then(|relay| relay.parse().ok()).filter(|relay| !is_empty(relay)),
            circuit_id: query("OPTION_82_SUB_OPTION_1"),
            remote_id: query("OPTION_82_SUB_OPTION_2"),
            note: variable("SUBNET4_NAME")
                .or_else(|| variable("SUBNET4_ID"))
                .map(|subnet| format!("subnet {subnet}")),
        })
    };
    let several = |event, prefix: &str| {
        let count = variable(&format!("{prefix}_SIZE")).and_then(|count| count.parse().ok()).unwrap_or(0);
        let leases = (0..LEASES_MAX.min(count)).filter_map(|at| lease(event, &format!("{prefix}_AT{at}")));
        leases.collect::<Vec<_>>()
    };
    match callout {
        "leases4_committed" => {
            let mut reports = several(LeaseEvent::Over, "DELETED_LEASES4");
            reports.extend(several(LeaseEvent::New, "LEASES4"));
            reports
        }
        "lease4_renew" | "lease4_recover" => lease(LeaseEvent::Kept, "LEASE4").into_iter().collect(),
        "lease4_release" | "lease4_expire" => lease(LeaseEvent::Over, "LEASE4").into_iter().collect(),
        "lease4_decline" => lease(LeaseEvent::Declined, "LEASE4").into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Puts the report into the folder, whole or not at all. One of the same phone and event that the agent has not read yet
/// is replaced: without an agent the folder does not grow for ever.
fn leave(folder: &Path, report: &Report) -> io::Result<()> {
    let event = match report.event {
        LeaseEvent::New => "new",
        LeaseEvent::Kept => "kept",
        LeaseEvent::Over => "over",
        LeaseEvent::Declined => "declined",
    };
    let name = format!("{}-{event}", report.mac.bare());
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file
        .write_all(&serde_json::to_vec(report)?)
        // The agent is another user; nobody else can look into the folder. The server's umask may be any.
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&draft, folder.join(name)));
    written.inspect_err(|_| drop(std::fs::remove_file(&draft)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        arguments: &[&str],
        variables: &[(&str, &str)],
        expected: &[(LeaseEvent, &str, &str)],
    ) -> Vec<Report> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let reports = read(&arguments, |name| find(name).map(|(_, value)| (*value).to_owned()));
        let told: Vec<_> = reports
            .iter()
            .map(|report| (report.event, report.mac.to_string(), report.address.to_string()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(event, mac, address)| (*event, (*mac).to_owned(), (*address).to_owned()))
            .collect();
        assert_eq!(told, expected, "{arguments:?}");
        reports
    }

    #[test]
    fn dnsmasq_reports_leases() {
        const MAC: &str = "80:5e:c0:00:00:01";
        let variables = [
            ("DNSMASQ_VENDOR_CLASS", "yealink"),
            ("DNSMASQ_SUPPLIED_HOSTNAME", "SIP-T46U"),
            ("DNSMASQ_RELAY_ADDRESS", "10.9.0.1"),
            ("DNSMASQ_TAGS", "voice"),
        ];
        let reports =
            check(&["add", MAC, "10.9.0.7", "t46u"], &variables, &[(LeaseEvent::New, MAC, "10.9.0.7")]);
        let [report] = reports.as_slice() else { panic!("{reports:?}") };
        assert_eq!(
            (report.class.as_deref(), report.host_name.as_deref()),
            (Some("yealink"), Some("SIP-T46U"))
        );
        assert_eq!((report.relay, report.note.as_deref()), ("10.9.0.1".parse().ok(), Some("voice")));
        check(&["old", MAC, "10.9.0.7"], &[], &[(LeaseEvent::Kept, MAC, "10.9.0.7")]);
        check(&["del", MAC, "10.9.0.7", "-"], &[], &[(LeaseEvent::Over, MAC, "10.9.0.7")]);
        check(&["add", "00:01:00:01:2a:3b:4c", "fd00::7"], &[], &[]);
        check(&["tftp", "1234", "10.9.0.7", "/x"], &[], &[]);
        check(&["init"], &[], &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn kea_reports_leases() {
        const MAC: &str = "80:5e:c0:00:00:01";
        let variables = [
            ("LEASES4_SIZE", "1"),
            ("LEASES4_AT0_ADDRESS", "10.9.0.7"),
            ("LEASES4_AT0_HWADDR", MAC),
            ("DELETED_LEASES4_SIZE", "1"),
            ("DELETED_LEASES4_AT0_ADDRESS", "10.9.0.6"),
            ("DELETED_LEASES4_AT0_HWADDR", MAC),
            ("QUERY4_GIADDR", "10.9.0.1"),
            ("LEASE4_ADDRESS", "10.9.0.8"),
            ("LEASE4_HWADDR", MAC),
        ];
        let both = [(LeaseEvent::Over, MAC, "10.9.0.6"), (LeaseEvent::New, MAC, "10.9.0.7")];
        let reports = check(&["leases4_committed"], &variables, &both);
        assert_eq!(reports.last().and_then(|report| report.relay), "10.9.0.1".parse().ok());
        check(&["lease4_renew"], &variables, &[(LeaseEvent::Kept, MAC, "10.9.0.8")]);
        check(&["lease4_expire"], &variables, &[(LeaseEvent::Over, MAC, "10.9.0.8")]);
        check(&["lease4_decline"], &variables, &[(LeaseEvent::Declined, MAC, "10.9.0.8")]);
        check(&["lease6_renew"], &variables, &[]);
        check(&["leases4_committed"], &[("LEASES4_SIZE", "99999999999")], &[]);
    }

    #[test]
    fn a_report_replaces_the_same_that_was_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["add", "805ec0000001", "10.9.0.7"].map(str::to_owned);
        for class in ["first", "second"] {
            let reports = read(&arguments, |name| (name == "DNSMASQ_VENDOR_CLASS").then(|| class.to_owned()));
            leave(folder.path(), &reports[0]).unwrap();
        }
        let files: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        assert!(std::fs::read_to_string(file).unwrap().contains("second"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert!(leave(&folder.path().join("nonexistent"), &read(&arguments, |_| None)[0]).is_err());
    }
}
