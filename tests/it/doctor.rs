//! The doctor of the built program: a healthy host, and hosts with faults, each named in fixed words.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::{lab, rest};

const OFFICE: &str =
    "mac,vendor,model,username,password,registrar\n001565000001,yealink,T46U,101,geheim1,127.0.0.1\n";

/// What the doctor says on the agent's host: the exit code, and the report.
fn doctor(agent: &Agent<'_>) -> (Option<i32>, Value) {
    told(agent.host().command(&agent.command(&["doctor", "--json"])))
}

fn told(mut doctor: Command) -> (Option<i32>, Value) {
    let output = doctor.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("geheim"), "{text}");
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    (output.status.code(), report)
}

/// The findings of this check and state, as sentences.
fn texts<'a>(report: &'a Value, check: &str, state: &str) -> Vec<&'a str> {
    let all = report["findings"].as_array().unwrap().iter();
    let wanted = all.filter(|one| one["check"] == check && one["state"] == state);
    wanted.map(|one| one["text"].as_str().unwrap()).collect()
}

/// Whether one of these findings has these words in it.
fn assert_says(report: &Value, check: &str, state: &str, words: &str) {
    let texts = texts(report, check, state);
    assert!(texts.iter().any(|text| text.contains(words)), "{check} {state} '{words}':\n{report:#}");
}

fn state_of<'a>(report: &'a Value, service: &str) -> &'a str {
    let mut ports = report["ports"].as_array().unwrap().iter();
    ports.find(|port| port["service"] == service).unwrap()["state"].as_str().unwrap()
}

#[test]
fn a_healthy_host_is_well_and_faults_are_named() {
    lab::run("doctor::a_healthy_host_is_well_and_faults_are_named", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        lab.await_cables();
        let mut agent =
            Agent::start(lab, &server, &Setup { accounts: OFFICE.to_owned(), ..Setup::default() });
        for port in [8481, 8482] {
            server.await_tcp(port);
        }
        let (exit, report) = doctor(&agent);
        assert_eq!((exit, &report["verdict"]), (Some(0), &Value::from("ok")), "{report:#}");
        for service in ["PnP", "NOTIFY", "TFTP", "HTTP", "HTTPS", "REST", "DHCP"] {
            assert_eq!(state_of(&report, service), "on", "{service}: {report:#}");
        }
        assert_says(&report, "agent", "ok", &format!("the agent runs (pid {})", agent.process().id()));
        assert_says(&report, "multicast", "ok", "224.0.1.75 is joined on eth0");
        for url in ["http://192.168.1.35:8480/", "https://192.168.1.35:8481/", "tftp://192.168.1.35:69/"] {
            assert_says(&report, "urls", "ok", &format!("{url} answers on eth0"));
        }
        assert_says(&report, "database", "ok", "the database is whole: 1 phones");
        assert_says(&report, "key", "ok", "only ");

        let bearer = format!("Authorization: Bearer {}", rest::token(&agent, "devices:read"));
        let (status, by_agent) = rest::ask(&server, "/api/v1/doctor", &["-H", &bearer]);
        assert_eq!((status, &by_agent["verdict"]), (200, &Value::from("ok")), "{by_agent:#}");
        assert_eq!(by_agent["ports"], report["ports"]);

        // A packet filter, a link that cannot multicast.
        let filters = lab::program("nft").is_some();
        if filters {
            server.run(&["nft", "add table inet f"]);
            server.run(&[
                "nft",
                "add chain inet f input { type filter hook input priority 0; policy accept; }",
            ]);
            server.run(&["nft", "add rule inet f input ip daddr 224.0.0.0/4 drop"]);
        }
        server.ip(&["link", "set", "eth0", "multicast", "off"]);
        let (exit, report) = doctor(&agent);
        assert_eq!(exit, Some(1), "{report:#}");
        assert_says(
            &report,
            "interfaces",
            "warn",
            "eth0 is not used: it cannot multicast (no MULTICAST flag)",
        );
        assert_says(&report, "interfaces", "broken", "no interface that phones could be heard on");
        server.ip(&["link", "set", "eth0", "multicast", "on"]);
        agent.end();

        // Another program has a port of the agent's, and a profile is refused.
        let acme = lab.folder().join("profiles/acme");
        std::fs::create_dir_all(&acme).unwrap();
        std::fs::write(acme.join("profile.toml"), "schema = 1\ndisplay_name = \"Acme\"\nnonsense = true\n")
            .unwrap();
        let config = std::fs::read_to_string(agent.config()).unwrap();
        std::fs::write(agent.config(), format!("{config}\n[profiles]\ndir = \"profiles\"\n")).unwrap();
        let holder = server.inside(|| TcpListener::bind("0.0.0.0:8480").unwrap());
        let (exit, report) = doctor(&agent);
        assert_eq!((exit, state_of(&report, "HTTP")), (Some(1), "taken"), "{report:#}");
        assert_says(&report, "ports", "broken", "port 0.0.0.0:8480/tcp (HTTP) is taken by another program: ");
        assert_says(&report, "ports", "broken", &format!("(pid {})", std::process::id()));
        assert_says(&report, "profiles", "broken", "the profile acme/profile.toml is refused: ");
        assert_says(&report, "agent", "warn", "no agent runs on ");
        if filters {
            let dropped = "the packet filter drops what phones send: PnP (5060/udp on eth0)";
            assert_says(&report, "firewall", "broken", dropped);
        } else {
            assert_says(&report, "firewall", "unknown", "was not checked");
        }
        drop(holder);
    });
}

#[test]
fn a_doctor_makes_nothing_and_a_wrong_configuration_is_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("offhook.toml"), folder.path().join("data"));
    let ask = |text: String| {
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(OFFHOOK);
        command.arg("--config").arg(&config).args(["doctor", "--json"]);
        told(command)
    };
    let (_, report) = ask(format!("[agent]\ndata_dir = \"{}\"\n", data.display()));
    assert_says(&report, "database", "warn", "there is no database yet");
    assert_says(&report, "agent", "warn", "no agent runs on ");
    assert!(!data.exists() && !folder.path().join("offhook.key").exists(), "{report:#}");
    let (exit, report) = ask("[pnp]\nenabeld = true\n".to_owned());
    assert_eq!((exit, &report["findings"][0]["check"]), (Some(1), &Value::from("config")), "{report:#}");
    assert_says(&report, "config", "broken", "did you mean 'enabled'");
}
