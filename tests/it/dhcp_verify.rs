//! `offhook dhcp verify` against the real dnsmasq, Kea and ISC dhcpd: what a phone would make of right and of wrong
//! configurations, no lease taken, and no packet sent but the questions that are documented.

mod desk;

use std::path::Path;

use offhook::profile::Catalog;
use serde_json::Value;

use crate::agent::OFFHOOK;
use crate::dhcp_snippet;
use crate::lab::{self, Capture, Host, Lab, Packet, Process};
use desk::{AGENT, Desk, TIMEOUT, dnsmasq};

/// The addresses that a server's lease file knows of.
fn leases(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.contains("10.66.0.")).map(str::to_owned).collect()
}

/// What the agent's host has put on its link, besides asking for hardware addresses.
fn sent(seen: &Capture, host: &Host) -> Vec<Packet> {
    let link = host.ip(&["-o", "link", "show", "dev", "eth0"]);
    let mac = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned();
    seen.all(|packet| packet.source_mac == mac && packet.ether_type == 0x0800)
}

/// The message type of a question from port 68 to port 67; `None` for any other packet.
fn question(packet: &Packet) -> Option<u8> {
    let is_dhcp = (packet.protocol, packet.source_port, packet.target_port) == (17, 68, 67);
    let kind = packet.payload.get(240..243).filter(|_| is_dhcp)?;
    (kind[..2] == [53, 1]).then_some(kind[2])
}

/// Whether nothing but INFORMs from our own address was sent, so many at least.
fn only_informs(seen: &Capture, host: &Host, at_least: usize) {
    let sent = sent(seen, host);
    assert!(sent.len() >= at_least, "{} questions", sent.len());
    for packet in &sent {
        assert_eq!(question(packet), Some(8), "{packet:?}");
        assert_eq!(packet.source.to_string(), AGENT);
        assert_eq!(packet.payload[12..16], [10, 66, 0, 35], "ciaddr is our own");
        assert_eq!(packet.payload[24..28], [0; 4], "and no relay is between");
    }
}

/// Everything that a snippet says is right for every vendor, and the server has given nothing away.
fn right(lab: &Lab, name: &str, start: fn(&Lab, &Host, &str) -> Process) {
    let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
    let desk = Desk::new(lab, &agent, "");
    lab.await_cables();
    let _running = start(lab, &server, &desk.snippet(name));
    let file = lab.folder().join("leases");
    assert_eq!(leases(&file), [""; 0]);
    let seen = agent.capture();
    let told = desk.verify(&["--all"]);
    assert_eq!(told.exit, 0, "{:#?}", told.said());
    let tested = told.rows.iter().filter(|row| row["verdict"] != "not_tested");
    let mut vendors: Vec<&str> = tested.filter_map(|row| row["vendor"].as_str()).collect();
    vendors.dedup();
    let (catalog, errors) = Catalog::load(Some(Path::new(desk::PROFILES)));
    assert_eq!(errors, []);
    let led = catalog.profiles().filter(|profile| profile.dhcp().is_some());
    let mut expected: Vec<&str> = led.map(|profile| profile.vendor().as_str()).collect();
    vendors.sort_unstable();
    expected.sort_unstable();
    assert_eq!(vendors, expected);
    let questions = vendors.len();
    for vendor in vendors {
        let leads_here =
            |row: &Value| row["vendor"] == vendor && row["served"] == true && row["url"].is_string();
        assert!(told.rows.iter().any(leads_here), "{vendor}");
    }
    let mut answered = told.rows.iter().filter(|row| row["verdict"] != "not_tested");
    assert!(answered.all(|row| row["server"] == "10.66.0.1" && row["server_is"] == "other"));
    only_informs(&seen, &agent, questions);
    assert_eq!(leases(&file), [""; 0]);
}

#[test]
fn what_a_snippet_says_to_dnsmasq_is_right_for_every_vendor() {
    if lab::has("dnsmasq") {
        lab::run("dhcp_verify::what_a_snippet_says_to_dnsmasq_is_right_for_every_vendor", |lab| {
            right(lab, "dnsmasq", dhcp_snippet::dnsmasq);
        });
    }
}

#[test]
fn what_a_snippet_says_to_kea_is_right_for_every_vendor() {
    if lab::has("kea-dhcp4") {
        lab::run("dhcp_verify::what_a_snippet_says_to_kea_is_right_for_every_vendor", |lab| {
            right(lab, "kea", dhcp_snippet::kea);
        });
    }
}

#[test]
fn what_a_snippet_says_to_dhcpd_is_right_for_every_vendor() {
    if lab::has("dhcpd") {
        lab::run("dhcp_verify::what_a_snippet_says_to_dhcpd_is_right_for_every_vendor", |lab| {
            right(lab, "isc", dhcp_snippet::dhcpd);
        });
    }
}

#[test]
fn each_wrong_configuration_is_told_from_the_others() {
    if !lab::has("dnsmasq") {
        return;
    }
    lab::run("dhcp_verify::each_wrong_configuration_is_told_from_the_others", |lab| {
        let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let check = |lines: &str, vendor: &str, exit: i32, expected: &[&str]| {
            let (_running, file) = dnsmasq(lab, &server, lines);
            let told = desk.verify(&["--vendor", vendor]);
            assert_eq!(
                (told.said(), told.exit),
                (expected.iter().map(|row| (*row).to_owned()).collect(), exit),
                "{lines}"
            );
            let is_helped = |row: &Value| {
                let remedy = row["remedy"].as_str().unwrap();
                remedy.contains("snippet SERVER --vendor") || row["verdict"] == "right"
            };
            assert!(told.rows.iter().all(is_helped), "{lines}");
            assert_eq!(leases(&file), [""; 0]);
        };
        let url = "http://10.66.0.35:8480/";
        check(&format!("dhcp-option=66,{url}"), "yealink", 0, &[&format!("66 right - {url}")]);
        // These phones ask a bare host by TFTP.
        check("dhcp-option=66,10.66.0.35", "poly", 0, &["66 right - tftp://10.66.0.35"]);
        check(&format!("dhcp-option=66,\"\\\"{url}\\\"\""), "yealink", 1, &["66 wrong_format quoted -"]);
        // For one class only, and not that of these phones.
        check(
            &format!("dhcp-vendorclass=set:s,snom\ndhcp-option=tag:s,66,{url}"),
            "yealink",
            1,
            &["66 missing - -"],
        );
        check(
            "dhcp-option=66,http://10.66.0.9/cfg/",
            "yealink",
            1,
            &["66 wrong_host http://10.66.0.9 http://10.66.0.9/cfg/"],
        );
        check(
            "dhcp-option=66,tftp://10.66.0.35:6969/",
            "poly",
            1,
            &["66 wrong_host tftp://10.66.0.35:6969 tftp://10.66.0.35:6969/"],
        );
        check(
            &format!("dhcp-option-force=43,{}\ndhcp-option=66,{url}", hex(url)),
            "snom",
            0,
            &["43 wrong_format bare_text -", &format!("66 right - {url}")],
        );
        let without_tftp = Desk::new(lab, &agent, "[tftp]\nlisten = 'off'\n");
        let (_running, _) = dnsmasq(lab, &server, "dhcp-option=66,10.66.0.35");
        let told = without_tftp.verify(&["--vendor", "poly"]);
        assert_eq!(
            (told.exit, told.said()),
            (1, vec!["66 wrong_format no_scheme tftp://10.66.0.35".to_owned()])
        );
    });
}

fn hex(text: &str) -> String {
    text.bytes().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

/// dnsmasq refuses a text in option 150; others take what they are told.
#[test]
fn a_text_where_addresses_belong_is_told() {
    if !lab::has("dhcpd") {
        return;
    }
    lab::run("dhcp_verify::a_text_where_addresses_belong_is_told", |lab| {
        let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let text = "option phone-servers code 150 = text;\noption phone-servers \"10.66.0.35\";";
        let _running = dhcp_snippet::dhcpd(lab, &server, text);
        let told = desk.verify(&["--vendor", "cisco"]);
        let expected = ["150 wrong_format text_not_addresses -"];
        assert_eq!((told.exit, told.said()), (1, expected.map(str::to_owned).to_vec()));
        assert_eq!(told.all("value"), ["10.66.0.35"]);
    });
}

#[test]
fn a_password_in_an_answer_is_told_and_never_shown() {
    if !lab::has("dnsmasq") {
        return;
    }
    lab::run("dhcp_verify::a_password_in_an_answer_is_told_and_never_shown", |lab| {
        let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let (_running, _) = dnsmasq(lab, &server, "dhcp-option=66,http://prov:kTop-s3cret@10.66.0.35:8480/");
        let told = desk.verify(&["--vendor", "yealink"]);
        assert_eq!(told.exit, 1);
        assert_eq!(told.all("verdict"), ["password_in_url", "right"]);
        assert_eq!(told.all("value"), ["http://***@10.66.0.35:8480/"; 2]);
        for words in [
            &["dhcp", "verify", "--vendor", "yealink"][..],
            &["--json", "dhcp", "verify", "--vendor", "snom"],
        ] {
            let (_, text, errors) = desk.command(&[words, &TIMEOUT].concat());
            assert!(
                text.contains("10.66.0.35:8480") && !format!("{text}{errors}").contains("s3cret"),
                "{text}{errors}"
            );
        }
    });
}

/// Rules by MAC address are seen, of the ranges that the inventory's phones are of.
#[test]
fn a_server_that_knows_phones_by_their_mac_is_asked_by_one() {
    if !lab::has("dnsmasq") {
        return;
    }
    lab::run("dhcp_verify::a_server_that_knows_phones_by_their_mac_is_asked_by_one", |lab| {
        let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let rules = "dhcp-mac=set:y,00:15:65:*:*:*\ndhcp-option=tag:y,66,http://10.66.0.35:8480/";
        let (_running, _) = dnsmasq(lab, &server, rules);
        let accounts =
            "mac,vendor,model,username,password\n00:15:65:00:00:01,yealink,T46U,201,kMac-201-secret\n";
        let (exit, _, errors) = desk.command(&["import", &lab.file("a.csv", accounts).to_string_lossy()]);
        assert_eq!(exit, 0, "{errors}");
        let told = desk.verify(&[]);
        assert_eq!((told.exit, told.said()), (0, vec!["66 right - http://10.66.0.35:8480/".to_owned()]));
        let accounts =
            "mac,vendor,model,username,password\n80:5e:c0:00:00:02,yealink,T46U,202,kMac-202-secret\n";
        let (exit, _, errors) = desk.command(&["import", &lab.file("b.csv", accounts).to_string_lossy()]);
        assert_eq!(exit, 0, "{errors}");
        let told = desk.verify(&[]);
        assert_eq!(told.exit, 1, "the phones of the other range are not told");
        assert_eq!(told.all("verdict"), ["right", "missing"]);
    });
}

/// dhcpd that is not authoritative does not answer INFORM. One DISCOVER does it, and no second one within ten minutes.
#[test]
fn silence_is_explained_and_a_discover_is_rare() {
    if !lab::has("dhcpd") {
        return;
    }
    lab::run("dhcp_verify::silence_is_explained_and_a_discover_is_rare", |lab| {
        let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let text = "not authoritative;\noption tftp-server-name \"http://10.66.0.35:8480/\";";
        let _running = dhcp_snippet::dhcpd(lab, &server, text);
        let file = lab.folder().join("leases");
        let seen = agent.capture();
        let both = ["--vendor", "poly", "--vendor", "yealink"];
        let told = desk.verify(&both);
        assert_eq!((told.exit, told.all("verdict")), (1, vec!["no_answer"; 2]));
        assert!(
            told.all("remedy")[0].contains("authoritative") && told.all("remedy")[0].contains("--discover")
        );
        only_informs(&seen, &agent, 2);

        let told = desk.verify(&[&both[..], &["--discover"]].concat());
        assert_eq!((told.exit, told.all("verdict")), (0, vec!["right"; 2]));
        assert_eq!(told.all("asked_by"), ["discover"; 2]);
        assert!(told.all("note")[0].contains("another vendor's DISCOVER"), "what was only guessed is said");
        let told = desk.verify(&[&both[..], &["--discover"]].concat());
        assert_eq!((told.exit, told.all("verdict")), (1, vec!["no_answer"; 2]));
        assert!(told.all("remedy")[0].contains("next one in 10 min"), "{:?}", told.all("remedy"));

        let discovers: Vec<Packet> =
            sent(&seen, &agent).into_iter().filter(|packet| question(packet) == Some(1)).collect();
        assert_eq!(discovers.len(), 1);
        assert!(sent(&seen, &agent).iter().all(|packet| matches!(question(packet), Some(1 | 8))));
        assert_eq!(leases(&file), [""; 0]);
    });
}

#[test]
fn no_server_at_all_is_said() {
    lab::run("dhcp_verify::no_server_at_all_is_said", |lab| {
        let agent = lab.host("agent", "10.66.0.35/24");
        let _quiet = lab.host("quiet", "10.66.0.1/24");
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let seen = agent.capture();
        let told = desk.verify(&["--vendor", "snom", "--discover"]);
        assert_eq!((told.exit, told.all("verdict")), (1, vec!["no_answer"]));
        assert!(told.all("sentence")[0].contains("INFORM or DISCOVER"), "{:?}", told.all("sentence"));
        let kinds: Vec<Option<u8>> = sent(&seen, &agent).iter().map(question).collect();
        // Three times as a phone, three times in our own name, and one DISCOVER.
        assert_eq!(kinds, [Some(8), Some(8), Some(8), Some(8), Some(8), Some(8), Some(1)]);
    });
}

#[test]
fn two_servers_that_disagree_are_told_apart() {
    if !lab::has("dnsmasq") {
        return;
    }
    lab::run("dhcp_verify::two_servers_that_disagree_are_told_apart", |lab| {
        let (first, second) = (lab.host("first", "10.66.0.1/24"), lab.host("second", "10.66.0.2/24"));
        let agent = lab.host("agent", "10.66.0.35/24");
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let (_first, _) = dnsmasq(lab, &first, "dhcp-option=66,http://10.66.0.35:8480/");
        let (_second, _) = dnsmasq(lab, &second, "dhcp-option=66,http://10.66.0.9/");
        let told = desk.verify(&["--vendor", "yealink"]);
        assert_eq!(told.exit, 1);
        let mut verdicts = told.all("verdict");
        verdicts.sort_unstable();
        assert_eq!(verdicts, ["right", "servers_disagree", "wrong_host"]);
        let told = desk.verify(&["--vendor", "yealink", "--server", "10.66.0.1"]);
        assert_eq!((told.exit, told.all("server")), (0, vec!["10.66.0.1"]));
    });
}

/// A DHCP server on the agent's own host is asked as well: one that listens by a socket, and two that listen by packets.
#[test]
fn a_server_on_this_host_is_asked_too() {
    lab::run("dhcp_verify::a_server_on_this_host_is_asked_too", |lab| {
        let agent = lab.host("agent", "10.66.0.35/24");
        let _other = lab.host("other", "10.66.0.1/24");
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let check = |name: &str| {
            let told = desk.verify(&["--vendor", "snom"]);
            assert_eq!(told.exit, 0, "{name}: {:?}", told.said());
            assert!(told.all("server_is").iter().all(|whose| *whose == "this_host"), "{name}");
        };
        if lab::has("dnsmasq") {
            let (_running, _) = dnsmasq(lab, &agent, "dhcp-option=66,http://10.66.0.35:8480/");
            check("dnsmasq");
        }
        if lab::has("kea-dhcp4") {
            let data = "\"option-data\": [{ \"name\": \"tftp-server-name\", \"data\": \"http://10.66.0.35:8480/\" }]";
            let _running = dhcp_snippet::kea(lab, &agent, data);
            check("Kea");
        }
        if lab::has("dhcpd") {
            let _running =
                dhcp_snippet::dhcpd(lab, &agent, "option tftp-server-name \"http://10.66.0.35:8480/\";");
            check("dhcpd");
        }
    });
}

#[test]
fn a_name_that_leads_here_is_ours() {
    if !lab::has("dnsmasq") {
        return;
    }
    lab::run("dhcp_verify::a_name_that_leads_here_is_ours", |lab| {
        let (server, agent) = (lab.host("server", "10.66.0.1/24"), lab.host("agent", "10.66.0.35/24"));
        let hosts = lab.file("hosts", "10.66.0.35 pbx.test\n10.66.0.9 other.test\n");
        lab::tool(&["mount", "--bind", &hosts.to_string_lossy(), "/etc/hosts"]);
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let check = |host: &str, exit: i32, verdict: &str, note: &str| {
            let (_running, _) = dnsmasq(lab, &server, &format!("dhcp-option=66,http://{host}:8480/"));
            let told = desk.verify(&["--vendor", "yealink"]);
            assert_eq!((told.exit, told.all("verdict")), (exit, vec![verdict]), "{host}");
            assert!(told.all("note")[0].contains(note), "{host}: {:?}", told.all("note"));
        };
        check("pbx.test", 0, "right", "pbx.test is 10.66.0.35");
        check("other.test", 1, "wrong_host", "other.test is 10.66.0.9");
        check("nowhere.invalid", 1, "wrong_host", "does not know nowhere.invalid");
    });
}

/// The server stands behind a router, and sends no answer to a broadcast: it is asked by its address.
#[test]
fn a_server_in_another_network_is_asked_by_its_address() {
    if !lab::has("kea-dhcp4") {
        return;
    }
    lab::run("dhcp_verify::a_server_in_another_network_is_asked_by_its_address", |lab| {
        let agent = lab.host("agent", "10.66.0.35/24");
        let router = lab.host_on("router", &[("lan", "10.66.0.1/24"), ("far", "10.77.0.1/24")]);
        let server = lab.host_on("server", &[("far", "10.77.0.5/24")]);
        router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        agent.ip(&["route", "add", "10.77.0.0/24", "via", "10.66.0.1"]);
        server.ip(&["route", "add", "10.66.0.0/24", "via", "10.77.0.1"]);
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let data =
            "\"option-data\": [{ \"name\": \"tftp-server-name\", \"data\": \"http://10.66.0.35:8480/\" }]";
        let _running = dhcp_snippet::kea(lab, &server, data);
        let told = desk.verify(&["--vendor", "snom", "--server", "10.77.0.5"]);
        assert_eq!((told.exit, told.all("server")), (0, vec!["10.77.0.5"]));
        assert_eq!(desk.verify(&["--vendor", "snom"]).exit, 1, "nobody hears a broadcast");
    });
}

#[test]
fn wrong_use_and_missing_rights_say_what_to_do() {
    lab::run("dhcp_verify::wrong_use_and_missing_rights_say_what_to_do", |lab| {
        let agent = lab.host("agent", "10.66.0.35/24");
        let desk = Desk::new(lab, &agent, "");
        lab.await_cables();
        let check = |words: &[&str], exit: i32, code: &str, word: &str| {
            let (got, text, errors) = desk.command(&[&["--json", "dhcp", "verify"], words].concat());
            assert_eq!(got, exit, "{words:?}: {text}{errors}");
            let error: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(error["error"]["code"], code, "{words:?}");
            assert!(text.contains(word), "{words:?}: {text}");
        };
        check(&["--vendor", "nobody"], 2, "not_found", "yealink");
        check(&[], 2, "no_phones", "--all");
        check(&["--all", "--interface", "eth9"], 2, "no_interface", "eth9");
        check(&["--all", "--timeout", "0s"], 2, "timeout", "1s");
        check(&["--all", "--timeout", "soon"], 2, "usage", "90s");
        check(&["--all", "--vendor", "snom"], 2, "usage", "--vendor");
        let config = desk.config.to_string_lossy();
        let user = ["unshare", "-U", "--map-user=1000", "--map-group=1000", OFFHOOK, "--config", &config];
        let output = agent.command(&[&user[..], &["dhcp", "verify", "--all"]].concat()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("setcap cap_net_raw+ep") && text.contains("eth0"), "{text}");
    });
}
