//! The REST API of the built program, asked by curl: tokens by the command line, a phone that is armed and fetches, and
//! clients that take their time.

use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab::{self, Host};
use crate::phone::{Phone, Vendor};

const YEALINK: &str = "00:15:65:00:00:01";
const OFFICE: &str = "mac,vendor,model,username,password\n001565000001,yealink,T46U,101,geheim1\n";
const API: &str = "http://127.0.0.1:8482";

/// A token of these scopes, as the command line makes it.
pub(crate) fn token(agent: &Agent<'_>, scopes: &str) -> String {
    let made = agent.json(&["token", "create", "pbx", "--scope", scopes, "--expires", "1d"]);
    made["token"].as_str().unwrap().to_owned()
}

/// What curl gets on the agent's own host: the status, and the body as JSON.
pub(crate) fn ask(host: &Host, path: &str, options: &[&str]) -> (u16, Value) {
    let url = format!("{API}{path}");
    let text = host.run(&[&["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", &url], options].concat());
    let (body, status) = text.trim_end().rsplit_once('\n').unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error} in\n{text}"));
    (status.parse().unwrap(), body)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn a_token_is_printed_alone_and_wrong_use_is_told_from_a_no() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("offhook.toml");
    std::fs::write(&config, format!("[agent]\ndata_dir = \"{}/data\"\n", folder.path().display())).unwrap();
    let run = |exit: i32, arguments: &[&str]| {
        let output = Command::new(OFFHOOK).arg("--config").arg(&config).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let [token, note] =
        run(0, &["token", "create", "pbx", "--scope", "devices:read", "--scope", "release:arm"]);
    let id = token.trim_end().split('_').nth(1).unwrap();
    assert!(token.starts_with("oh_") && token.len() == 3 + 8 + 1 + 64 + 1, "{}", token.len());
    assert!(
        note.contains(id) && note.contains("devices:read,release:arm") && !note.contains(token.trim()),
        "{note}"
    );
    let [listed, _] = run(0, &["token", "list"]);
    assert!(listed.contains(id) && !listed.contains(token.trim_end()), "{listed}");
    let [_, wrong] = run(2, &["token", "create", "pbx", "--scope", "devices"]);
    assert!(wrong.contains("'devices' is not a scope; use some of devices:read"), "{wrong}");
    for wrong in
        [&["--scope", "admin", "--expires", "366d"][..], &["--scope", "admin", "--expires", "0s"], &[]]
    {
        run(2, &[&["token", "create", "pbx"], wrong].concat());
    }
    let [_, unknown] = run(1, &["token", "revoke", "nonesuch"]);
    assert!(
        unknown.contains("there is no token 'nonesuch'") && unknown.contains("offhook token list"),
        "{unknown}"
    );
    run(0, &["token", "revoke", id]);
    assert!(
        !run(0, &["token", "list"])[0].contains(id)
            && run(0, &["token", "list", "--all"])[0].contains("revoked")
    );
}

#[test]
fn case_55_and_56_a_program_arms_a_phone_once_and_only_with_its_scope() {
    lab::run("rest::case_55_and_56_a_program_arms_a_phone_once_and_only_with_its_scope", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let config = "[adopt]\npolicy = \"known\"\n".to_owned();
        let mut agent = Agent::start(lab, &server, &Setup { accounts: OFFICE.to_owned(), config });
        server.await_tcp(8482);
        let phone = Phone::plug(lab, "phone", Vendor::Yealink, YEALINK, "lan", "192.168.1.40/24");
        let url = phone.settings_url(&phone.provisioned().url);
        assert!(phone.get(&url).1.contains("geheim1"));
        agent.audited("acked");

        let [reader, armer] = ["devices:read", "release:arm"].map(|scope| bearer(&token(&agent, scope)));
        let show = |agent: &Agent<'_>| {
            let (status, shown) = ask(agent.host(), &format!("/api/v1/devices/{YEALINK}"), &["-H", &reader]);
            let told = agent.json(&["device", "show", YEALINK]);
            for name in ["release", "lines", "settings", "tokens", "sightings", "revision"] {
                let volatile = name == "release";
                assert!(volatile || shown[name] == told[name], "{name}: {shown} and {told}");
            }
            assert_eq!(status, 200);
            shown["release"][0].clone()
        };
        assert_eq!((&show(&agent)["state"], &show(&agent)["epoch"]), (&"open".into(), &1.into()));

        let arm = |agent: &Agent<'_>, token: &str, body: &str| {
            let options = ["-H", token, "-H", "Idempotency-Key: moved-1", "--json", body];
            ask(agent.host(), &format!("/api/v1/devices/{YEALINK}/arm"), &options)
        };
        let body = json!({ "kinds": ["sip"], "reason": "moved" }).to_string();
        let (status, refused) = arm(&agent, &reader, &body);
        assert_eq!((status, &refused["code"]), (403, &"forbidden".into()), "{refused}");
        let row = agent.audited("api_refused");
        assert_eq!((&row["mac"], &row["detail"]["why"]), (&YEALINK.into(), &"scope".into()), "{row}");
        assert_eq!(show(&agent)["epoch"], 1);

        let first = arm(&agent, &armer, &body);
        assert_eq!((first.0, &first.1["epoch"], &first.1["state"]), (200, &2.into(), &"staged".into()));
        assert_eq!(arm(&agent, &armer, &body), first);
        agent.kill();
        agent.begin(&[]);
        server.await_tcp(8482);
        assert_eq!(arm(&agent, &armer, &body), first, "a killed agent knows what it did");
        assert_eq!(agent.audit("armed").len(), 1);
        lab::poll("the password again", || phone.get(&url).1.contains("geheim1").then_some(()));

        let id = armer.split('_').nth(1).unwrap();
        agent.offhook(&["token", "revoke", id]);
        assert_eq!(arm(&agent, &armer, &body).0, 401, "at once");
        let listed = agent.json(&["token", "list"]);
        let [left] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!((&left["scopes"], left["last_used"].is_string()), (&json!(["devices:read"]), true));
    });
}

#[test]
fn only_the_host_itself_reaches_it_and_a_client_that_dribbles_is_closed() {
    lab::run("rest::only_the_host_itself_reaches_it_and_a_client_that_dribbles_is_closed", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &Setup { accounts: OFFICE.to_owned(), ..Setup::default() });
        server.await_tcp(8482);
        let other = lab.host("other", "192.168.1.50/24");
        let (reached, _) = other.attempt(&["curl", "-sS", "-m", "3", "http://192.168.1.35:8482/healthz"]);
        assert!(!reached);
        for file in ["/api/openapi.json", "/api/v1/devices", "/healthz"] {
            let phones = format!("http://192.168.1.35:8480{file}");
            let status = other.run(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", &phones]);
            assert_eq!(status, "404", "{file} on the phones' listener");
        }
        let rebound = ask(&server, "/api/v1/devices", &["-H", "Host: rebound.example:8482"]);
        assert_eq!((rebound.0, &rebound.1["code"]), (421, &"host".into()));
        // Half a head, then silence: cat ends when the agent has closed the connection.
        let dribble = "exec 3<>/dev/tcp/127.0.0.1/8482; printf 'GET /healthz HTTP/1.1\\r\\nHo' >&3; cat <&3";
        let before = std::time::Instant::now();
        server.attempt(&["timeout", "20", "bash", "-c", dribble]);
        let took = before.elapsed().as_secs();
        assert!((8..16).contains(&took), "closed after {took} s");
        drop(agent);
    });
}

#[test]
fn a_port_that_others_could_reach_is_not_opened() {
    lab::run("rest::a_port_that_others_could_reach_is_not_opened", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let config = "[admin]\nlisten = \"0.0.0.0:8482\"\n".to_owned();
        let agent = Agent::start(lab, &server, &Setup { accounts: OFFICE.to_owned(), config });
        let (reached, _) = server.attempt(&["curl", "-sS", "-m", "3", &format!("{API}/healthz")]);
        assert!(!reached);
        let told = agent.stop();
        assert!(told.contains("OFF  REST") && told.contains("ssh -L 8482:127.0.0.1:8482"), "{told}");
    });
}
