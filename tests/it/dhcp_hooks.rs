//! The hooks of `examples/` in the real dnsmasq and Kea: what they report of leases reaches the lives of phones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::agent::{Agent, OFFHOOK, Setup};
use crate::dhcp_observe::{AGENT, YEALINK, dnsmasq, lease, moment};
use crate::dhcp_peers::unconfined;
use crate::lab::{self, Host, Lab, Process};

/// The agent's host with a DHCP server on it that serves a routed voice network by a relay, and a phone there.
struct Routed {
    server: Host,
    phone: Host,
    _relay: Process,
    _router: Host,
}

impl Routed {
    fn new(lab: &Lab) -> Self {
        let server = lab.host("agent", &format!("{AGENT}/24"));
        let router = lab.host_on("router", &[("lan", "192.168.1.254/24"), ("voice", "10.9.0.1/16")]);
        let phone = lab.phone("yealink", YEALINK, "voice", "0.0.0.0/0");
        lab.await_cables();
        router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        server.ip(&["route", "add", "10.9.0.0/16", "via", "192.168.1.254"]);
        let folder = tempfile::tempdir_in(lab.folder()).unwrap().keep();
        let mut relay = router.spawn(&[
            &unconfined("dnsmasq", &folder),
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            &format!("--dhcp-relay=10.9.0.1,{AGENT}"),
            &format!("--pid-file={}", folder.join("pid").display()),
        ]);
        relay.line("DHCP relay");
        Self { server, phone, _relay: relay, _router: router }
    }

    /// The report of a hook, in the life of the phone that got the lease.
    fn reported(&self, agent: &Agent<'_>, by: &str) {
        lease(&self.phone, &["-V", "yealink", "-O", "66"]);
        let leased = moment(agent, YEALINK, "leased");
        assert_eq!(
            (leased["data"]["reported_by"].as_str(), leased["stage"].as_str()),
            (Some(by), Some("dhcp"))
        );
        assert_eq!(leased["data"]["relay"]["address"], "10.9.0.1", "{leased}");
        assert!(leased["data"]["address"].as_str().unwrap().starts_with("10.9.3."), "{leased}");
        assert!(leased["text"].as_str().unwrap().contains(&format!("{by} gave it 10.9.3.")), "{leased}");
        let device = agent.device(YEALINK).unwrap();
        assert!(device["address"].as_str().unwrap().starts_with("10.9.3."), "{device}");
    }
}

/// An agent that hears no DHCP (without `CAP_NET_RAW`): only hooks tell it.
fn deaf<'a>(lab: &Lab, host: &'a Host) -> Agent<'a> {
    let accounts =
        format!("mac,vendor,model,username,password\n{YEALINK},yealink,T46U,201,kHook-201-secret\n");
    let mut agent = Agent::on(lab.folder(), host, &Setup { accounts, ..Setup::default() });
    agent.begin(&["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]);
    agent
}

/// The script of `examples/`, and what it needs to know of this lab.
fn hook(name: &str, agent: &Agent<'_>) -> (String, [String; 2]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let reports = agent.config().with_file_name("data").join("run/reports");
    lab::poll("the folder of reports", || reports.is_dir().then_some(()));
    let script = script.to_string_lossy().into_owned();
    (script, [format!("OFFHOOK={OFFHOOK}"), format!("OFFHOOK_REPORTS={}", reports.display())])
}

#[test]
fn the_hook_of_dnsmasq_reports_phones_of_routed_networks() {
    lab::run("dhcp_hooks::the_hook_of_dnsmasq_reports_phones_of_routed_networks", |lab| {
        if !["dnsmasq", "busybox"].iter().all(|program| lab::has(program)) {
            return;
        }
        let routed = Routed::new(lab);
        let mut agent = deaf(lab, &routed.server);
        let (script, [offhook, reports]) = hook("dnsmasq-dhcp-script", &agent);
        let script = format!("--dhcp-script={script}");
        let own = ["--dhcp-range=10.9.3.1,10.9.3.99,255.255.0.0,1h", &script, "--script-on-renewal"];
        let mut dnsmasq = dnsmasq(lab, &routed.server, &["env", &offhook, &reports], &own);
        routed.reported(&agent, "dnsmasq");
        let data = moment(&agent, YEALINK, "leased")["data"].clone();
        assert_eq!(
            (data["class"].as_str(), data["note"].as_str()),
            (Some("yealink"), Some("yealink eth0")),
            "{data}"
        );
        assert!(data["options"].as_str().unwrap().contains("66"), "{data}");
        // What the agent hears as well is told once.
        agent.end();
        agent.begin(&[]);
        let steps = || {
            let shown = agent.json(&["device", "show", YEALINK]);
            let life = shown["timeline"].as_array().unwrap().clone();
            let dhcp = life.into_iter().filter(|moment| moment["stage"] == "dhcp");
            dhcp.map(|moment| moment["step"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let before = steps().len();
        lease(&routed.phone, &["-V", "yealink", "-O", "66"]);
        lab::poll("the line of what was heard", || (steps().len() > before).then_some(()));
        let reports = agent.config().with_file_name("data").join("run/reports");
        dnsmasq.line("DHCPACK(eth0) 10.9.3.");
        lab::poll("the report to be read", || {
            std::fs::read_dir(&reports).unwrap().next().is_none().then_some(())
        });
        let steps = steps();
        assert_eq!(steps.iter().filter(|step| *step == "leased").count(), 1, "{steps:?}");
        assert_eq!(steps.len(), before + 1, "{steps:?}");
        assert!(!dnsmasq.has_ended());
    });
}

#[test]
fn the_hook_of_kea_reports_phones_of_routed_networks() {
    const LIBRARIES: [&str; 3] = ["x86_64-linux-gnu", "aarch64-linux-gnu", ""];
    lab::run("dhcp_hooks::the_hook_of_kea_reports_phones_of_routed_networks", |lab| {
        if !["dnsmasq", "kea-dhcp4", "busybox"].iter().all(|program| lab::has(program)) {
            return;
        }
        let library =
            |place: &&str| Path::new("/usr/lib").join(place).join("kea/hooks/libdhcp_run_script.so");
        let library = LIBRARIES.iter().map(library).find(|path| path.exists()).expect("Kea's package has it");
        let routed = Routed::new(lab);
        let agent = deaf(lab, &routed.server);
        let (script, places) = hook("kea-run-script", &agent);
        // Kea gives its scripts an environment of their own.
        let [offhook, reports] = places;
        let around = format!("#!/bin/sh\nexport '{offhook}' '{reports}'\nexec '{script}' \"$@\"\n");
        let script = lab.file("kea-around", around);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = serde_json::json!({ "Dhcp4": {
            "interfaces-config": { "interfaces": ["eth0"], "dhcp-socket-type": "udp" },
            "lease-database": { "type": "memfile", "persist": false },
            "hooks-libraries": [{ "library": library, "parameters": { "name": script, "sync": false } }],
            "subnet4": [{
                "id": 9, "subnet": "10.9.0.0/16", "pools": [{ "pool": "10.9.3.1 - 10.9.3.99" }],
                "relay": { "ip-addresses": ["10.9.0.1"] },
            }],
            "loggers": [{
                "name": "kea-dhcp4", "severity": "INFO", "output_options": [{ "output": "stdout" }],
            }],
        }});
        let config = lab.file("kea.json", config.to_string());
        let folder = lab.folder().to_string_lossy();
        let places = ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"].map(|name| format!("{name}={folder}"));
        let program = unconfined("kea-dhcp4", lab.folder());
        let mut kea =
            routed.server.spawn(&["env", &places[0], &places[1], &program, "-c", config.to_str().unwrap()]);
        kea.line("DHCP4_STARTED");
        routed.reported(&agent, "kea");
        let data = moment(&agent, YEALINK, "leased")["data"].clone();
        // Kea tells its scripts of option 82 alone: the phone is one by its address.
        assert!(data["class"].is_null() && data["note"].is_null(), "{data}");
        assert!(!kea.has_ended());
    });
}
