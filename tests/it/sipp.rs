//! sipp as the phone: a PnP client that we did not write.

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::lab;

#[test]
fn sipp_gets_its_url() {
    if !lab::has("sipp") {
        return;
    }
    lab::run("sipp::sipp_gets_its_url", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let accounts =
            "mac,vendor,model,username,password\n00:15:65:f4:f9:e1,yealink,T46U,201,kSipp-201-secret\n"
                .to_owned();
        let _agent = Agent::start(
            lab,
            &server,
            &Setup { accounts, config: "[sip]\nregistrar = \"pbx\"\n".to_owned() },
        );
        let phone = lab.phone("phone", "00:15:65:f4:f9:e1", "lan", "192.168.1.100/24");
        let heard = server.capture();
        let scenario = lab.file("pnp.xml", include_str!("sipp/pnp.xml"));
        let phones = lab.file("phones.csv", "SEQUENTIAL\n001565f4f9e1;00:15:65:f4:f9:e1\n");
        let (scenario, phones) = (scenario.to_string_lossy(), phones.to_string_lossy());
        let one_call =
            "-m 1 -r 1 -p 5060 -nostdin -recv_timeout 5000 -timeout 20 -timeout_error -trace_err -trace_logs";
        let mut command = vec!["sipp", "-sf", &scenario, "-inf", &phones, "-i", "192.168.1.100"];
        command.extend(one_call.split(' '));
        command.push("224.0.1.75:5060");
        let mut client = phone.command(&command);
        // sipp writes its logs where it stands.
        let output = client.current_dir(lab.folder()).env("TERM", "dumb").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        heard.expect("sipp's 200 to our NOTIFY", |packet| {
            packet.target_port == 5065 && packet.text().starts_with("SIP/2.0 200")
        });
    });
}

#[test]
fn sipp_is_found_by_a_scan() {
    if !lab::has("sipp") {
        return;
    }
    lab::run("sipp::sipp_is_found_by_a_scan", |lab| {
        let agent = lab.host("agent", "192.168.1.35/24");
        let phone = lab.phone("phone", "00:15:65:f4:f9:e1", "lan", "192.168.1.100/24");
        lab.await_cables();
        let scenario = lab.file("options.xml", include_str!("sipp/options.xml"));
        let scenario = scenario.to_string_lossy().into_owned();
        let options = "-i 192.168.1.100 -p 5060 -m 1 -nostdin -timeout 120 -timeout_error";
        let mut command = vec!["env", "TERM=dumb", "sipp", "-sf", &scenario];
        command.extend(options.split(' '));
        let _sipp = phone.spawn(&command);
        phone.await_udp(5060);
        let data = lab.folder().join("data");
        let config = lab.file("offhook.toml", format!("[agent]\ndata_dir = '{}'\n", data.display()));
        let config = config.to_str().unwrap();
        let text =
            agent.run(&[OFFHOOK, "--config", config, "--json", "scan", "192.168.1.96/28", "--rate", "500"]);
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&told["phones"], &told["found"][0]["model"]), (&1.into(), &"T46U".into()), "{told}");
        assert_eq!(told["found"][0]["address"], "192.168.1.100");
    });
}
