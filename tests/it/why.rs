//! `offhook why` beside real phones: each fault is named by its first broken step, with what to do about it.

use crate::agent::{Agent, Setup};
use crate::lab;
use crate::phone::{Phone, Vendor};

const REGISTRAR: &str = "192.168.1.35:5060";

const PHONE: &str = "00:15:65:00:00:01";
const OTHER: &str = "00:15:65:00:00:02";
const STRANGER: &str = "00:15:65:00:00:03";
const ABSENT: &str = "00:15:65:00:00:04";

/// Whether the command says that nothing is broken, and what it says.
fn why(agent: &Agent, phone: &str) -> (bool, serde_json::Value) {
    let (fine, text) = agent.attempt(&["--json", "why", phone]);
    let told = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    (fine, told)
}

/// Waits until this is what is wrong: sightings are written a moment later.
fn broken(agent: &Agent, phone: &str, step: &str, code: &str) -> String {
    let told = lab::poll(&format!("'{code}' of {phone}"), || {
        let (fine, told) = why(agent, phone);
        (!fine && told["code"] == code).then_some(told)
    });
    assert_eq!((&told["verdict"], &told["step"]), (&"broken".into(), &step.into()), "{told:#}");
    format!("{} {}", told["text"].as_str().unwrap(), told["remedy"].as_str().unwrap())
}

/// The phone asks the registrar for its account, which answers.
fn register(phone: &Phone, pbx: &std::net::UdpSocket, seq: u32, more: &str, status: &str) {
    let head = format!("To: <sip:201@pbx>\r\nCall-ID: r1\r\nCSeq: {seq} REGISTER\r\n");
    phone.send(format!("REGISTER sip:pbx SIP/2.0\r\n{head}{more}\r\n").as_bytes(), REGISTRAR);
    let mut bytes = [0; 2048];
    let (_, from) = pbx.recv_from(&mut bytes).unwrap();
    pbx.send_to(format!("SIP/2.0 {status}\r\n{head}\r\n").as_bytes(), from).unwrap();
}

#[test]
fn the_first_step_that_broke_is_named_with_its_remedy() {
    lab::run("why::the_first_step_that_broke_is_named_with_its_remedy", |lab| {
        let host = lab.host("agent", "192.168.1.35/24");
        lab.await_cables();
        let accounts = format!(
            "mac,vendor,model,username,password\n{PHONE},yealink,T46U,201,kOne-201-secret\n{OTHER},yealink,T46U,202,kTwo-202-secret\n"
        );
        let config = "[adopt]\npolicy = \"approve\"\n[sip]\nregistrar = \"pbx\"\n".to_owned();
        let mut agent = Agent::start(lab, &host, &Setup { accounts, config });
        assert!(broken(&agent, ABSENT, "heard", "never_heard").contains("offhook scan"));

        let stranger = Phone::plug(lab, "stranger", Vendor::Yealink, STRANGER, "lan", "192.168.1.103/24");
        stranger.subscribe();
        lab::poll("it to wait", || {
            let (fine, told) = why(&agent, STRANGER);
            (fine && told["verdict"] == "waiting" && told["code"] == "pending").then_some(())
        });
        agent.offhook(&["device", "block", STRANGER]);
        assert!(
            broken(&agent, STRANGER, "admitted", "blocked")
                .contains(&format!("offhook device approve {STRANGER}"))
        );

        let phone = Phone::plug(lab, "phone", Vendor::Yealink, PHONE, "lan", "192.168.1.101/24");
        let other = Phone::plug(lab, "other", Vendor::Yealink, OTHER, "lan", "192.168.1.102/24");
        let files = "http://192.168.1.35:8480";
        assert_eq!(phone.get(&format!("{files}/001565000001.cgf")).0, 404);
        let said = broken(&agent, PHONE, "served", "unknown_file");
        assert!(said.contains("named like 001565000001.cfg"), "{said}");
        assert_eq!(phone.get(&format!("{files}/{}", other.file())).0, 404);
        let said = broken(&agent, OTHER, "served", "wrong_phone");
        assert!(said.contains("offhook url 00:15:65:00:00:02"), "{said}");

        let notify = phone.provisioned();
        assert_eq!(phone.get(&phone.settings_url(&notify.url)).0, 200);
        let told = lab::poll("it to be up", || {
            let (fine, told) = why(&agent, "192.168.1.101");
            (fine && told["verdict"] == "up").then_some(told)
        });
        assert_eq!((&told["mac"], &told["model"]), (&PHONE.into(), &"T46U".into()), "{told:#}");
        let text = agent.offhook(&["why", PHONE]);
        assert!(text.contains("ok      served") && text.contains("up: it has everything"), "{text}");
        assert!(!text.contains("secret"), "{text}");

        // The PBX of this host, which has the port.
        let pbx = host.udp(REGISTRAR);
        let credential = "Authorization: Digest username=\"201\"\r\n";
        register(&phone, &pbx, 1, "", "401 Unauthorized");
        register(&phone, &pbx, 2, credential, "403 Forbidden");
        let said = broken(&agent, PHONE, "registered", "registrar_refuses");
        assert!(said.contains("account 201 was refused with 403"), "{said}");
        register(&phone, &pbx, 3, credential, "200 OK");
        lab::poll("it to be registered", || {
            let steps = why(&agent, PHONE).1["steps"].as_array().unwrap().clone();
            let last = steps.last().unwrap();
            (last["state"] == "done" && last["text"] == "account 201 registered (192.168.1.35)").then_some(())
        });

        agent.end();
        assert!(broken(&agent, PHONE, "agent", "agent_down").contains("offhook run"));
    });
}
