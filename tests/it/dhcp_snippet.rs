//! What `offhook dhcp snippet` prints, loaded into the real dnsmasq, Kea and ISC dhcpd, and asked for over the wire as each
//! vendor's phones ask: the octets of the answer are those that the profile says, and a PC gets none of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook::device::Mac;
use offhook::profile::{Catalog, DhcpPlace, Profile};

use crate::agent::OFFHOOK;
use crate::lab::{self, Host, Lab, PATIENCE, Process};

const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dhcp-profiles");
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const PHONE: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 50);
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const ACK: u8 = 5;
const INFORM: u8 = 8;

/// A question is asked again after this, as phones do.
const AGAIN: Duration = Duration::from_secs(2);

/// It ends 66 and 67 with a NUL of its own, whatever stands in its file; no phone takes that for a part of them.
#[test]
fn dnsmasq_says_what_the_profiles_say() {
    if lab::has("dnsmasq") {
        lab::run("dhcp_snippet::dnsmasq_says_what_the_profiles_say", |lab| {
            prove(lab, "dnsmasq", dnsmasq, &[]);
        });
    }
}

/// Kea writes option 125 itself, of sub-options, so a text of the vendor's own cannot be told; and 159 is a record to it.
#[test]
fn kea_says_what_the_profiles_say() {
    if lab::has("kea-dhcp4") {
        lab::run("dhcp_snippet::kea_says_what_the_profiles_say", |lab| {
            prove(lab, "kea", kea, &[("mitel", 125), ("panasonic", 159)]);
        });
    }
}

#[test]
fn dhcpd_says_what_the_profiles_say() {
    if lab::has("dhcpd") {
        lab::run("dhcp_snippet::dhcpd_says_what_the_profiles_say", |lab| prove(lab, "isc", dhcpd, &[]));
    }
}

/// OpenWrt's and OPNsense's lines become dnsmasq's: what OpenWrt's script makes of its sections is written here as the
/// script does it, and loaded.
#[test]
fn dnsmasq_takes_what_openwrt_and_opnsense_hand_it() {
    if !lab::has("dnsmasq") {
        return;
    }
    lab::run("dhcp_snippet::dnsmasq_takes_what_openwrt_and_opnsense_hand_it", |lab| {
        let server = lab.host("server", "10.66.0.1/24");
        for text in [from_uci(&snippet(lab, "openwrt")), snippet(lab, "opnsense")] {
            let file = lab.file("offhook.conf", text);
            server.run(&[&unconfined(lab, "dnsmasq"), "--test", &format!("--conf-file={}", file.display())]);
        }
    });
}

/// Loads the snippet, asks as everybody, and compares; `untold`: what this server has no way to say.
fn prove(lab: &Lab, name: &str, start: fn(&Lab, &Host, &str) -> Process, untold: &[(&str, u8)]) {
    let (catalog, errors) = Catalog::load(Some(Path::new(PROFILES)));
    assert_eq!(errors, []);
    let server = lab.host("server", "10.66.0.1/24");
    let phone = lab.phone("phone", "02:00:00:00:00:50", "lan", "10.66.0.50/24");
    lab.await_cables();
    let text = snippet(lab, name);
    for (vendor, code) in untold {
        assert!(text.contains("cannot be told"), "{vendor}'s {code} is told after all:\n{text}");
    }
    let _running = start(lab, &server, &text);
    let client = Client { server: &server, phone: &phone, socket: phone.udp("0.0.0.0:68") };
    client.socket.set_broadcast(true).unwrap();
    let mut asked = 0;
    let mut wrong: Vec<String> = Vec::new();
    for profile in catalog.profiles().filter(|profile| profile.dhcp().is_some()) {
        let mut values = profile.dhcp_values(&place());
        values.retain(|code, _| !untold.contains(&(profile.vendor().as_str(), *code)));
        for class in classes(profile) {
            for kind in [INFORM, DISCOVER] {
                let codes: Vec<u8> = [1, 3, 6, 15].into_iter().chain(values.keys().copied()).collect();
                let mut answer = client.ask(kind, mac_of(profile), class.as_deref(), &codes);
                let ended = |code: &u8| name == "dnsmasq" && matches!(code, 66 | 67);
                for (_, octets) in answer.iter_mut().filter(|(code, _)| ended(code)) {
                    assert_eq!(octets.pop(), Some(0), "dnsmasq's own NUL");
                }
                for (code, octets) in values.iter().filter(|(code, octets)| answer.get(code) != Some(octets))
                {
                    let class = class.as_deref().map(String::from_utf8_lossy);
                    let told = answer.get(code).map(|octets| String::from_utf8_lossy(octets));
                    let vendor = profile.vendor();
                    wrong.push(format!(
                        "{vendor}: {class:?}: {code}: {told:?}, not {:?}",
                        String::from_utf8_lossy(octets)
                    ));
                }
                asked += 1;
            }
        }
        // What the phone would make of it, as `offhook dhcp verify` says it.
        let verdict = profile.judge(&values, &place());
        assert!(verdict.is_right(), "{}: {verdict:?}", profile.vendor());
    }
    assert!(wrong.is_empty(), "{name} says otherwise:\n{}", wrong.join("\n"));
    assert!(asked >= 26, "{asked} questions");
    let codes: Vec<u8> = [1, 3, 6, 15, 43, 60, 66, 67, 114, 120, 125, 132, 133, 150, 159, 160, 242].into();
    for class in [Some(&b"MSFT 5.0"[..]), Some(b"dhcpcd-9.4.1:Linux"), None] {
        let answer = client.ask(DISCOVER, "02:11:22:33:44:55".parse().unwrap(), class, &codes);
        assert!(answer.contains_key(&1), "the PC is answered: {answer:?}");
        assert!(answer.keys().all(|code| *code < 43 || (50..60).contains(code)), "{class:?}: {answer:?}");
    }
}

fn place() -> DhcpPlace {
    DhcpPlace {
        base_http: Some(format!("http://{SERVER}:8480/")),
        base_tftp: Some(format!("tftp://{SERVER}/")),
        vlan: Some(20),
        vlan_priority: Some(5),
        registrar: Some("pbx.example".to_owned()),
        ..DhcpPlace::at(SERVER)
    }
}

fn snippet(lab: &Lab, server: &str) -> String {
    let config = format!(
        "[agent]\ndata_dir = '{}'\n[profiles]\ndir = '{PROFILES}'\n[site]\nvlan = 20\nvlan_priority = 5\n\
         [sip]\nregistrar = 'pbx.example'\n",
        lab.folder().join("data").display(),
    );
    let config = lab.file("offhook.toml", config);
    let mut command = Command::new(OFFHOOK);
    command.arg("--config").arg(config).args(["dhcp", "snippet", server, "--all", "--host", "10.66.0.1"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The option 60 of each kind of this vendor's phones.
fn classes(profile: &Arc<Profile>) -> Vec<Option<Vec<u8>>> {
    let classes = profile.dhcp().unwrap().vendor_classes();
    if classes.is_empty() { vec![None] } else { classes.iter().cloned().map(Some).collect() }
}

/// A phone of this vendor, number 7.
fn mac_of(profile: &Profile) -> Mac {
    let mut octets = profile.mac_starts().first().map_or(vec![2, 0, 0], |start| start.0.clone());
    octets.resize(5, 0);
    octets.push(7);
    Mac::new(octets.try_into().unwrap()).unwrap()
}

/// Asks over UDP, with a hardware address of the phone's own choice.
struct Client<'l> {
    server: &'l Host,
    phone: &'l Host,
    socket: UdpSocket,
}

impl Client<'_> {
    fn ask(&self, kind: u8, mac: Mac, class: Option<&[u8]>, codes: &[u8]) -> BTreeMap<u8, Vec<u8>> {
        self.phone.ip(&["link", "set", "eth0", "address", &mac.to_string()]);
        self.server.ip(&["neigh", "flush", "dev", "eth0"]);
        let (question, xid) = question(kind, mac, class, codes);
        let (to, wanted) = if kind == INFORM { (SERVER, ACK) } else { (Ipv4Addr::BROADCAST, OFFER) };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.socket.send_to(&question, (to, 67)).unwrap();
            self.socket.set_read_timeout(Some(AGAIN)).unwrap();
            let mut buffer = [0; 2048];
            while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                let answer = &buffer[..length];
                if length < 240 || answer[0] != 2 || answer[4..8] != xid {
                    continue;
                }
                let options = options(&answer[240..]);
                if options.get(&53).is_some_and(|kind| kind == &[wanted]) {
                    return options;
                }
            }
        }
        panic!("no answer to {mac} with {class:?}")
    }
}

/// RFC 2131's layout.
fn question(kind: u8, mac: Mac, class: Option<&[u8]>, codes: &[u8]) -> (Vec<u8>, [u8; 4]) {
    let xid = [kind, mac.octets()[3], mac.octets()[4], mac.octets()[5] ^ u8::try_from(codes.len()).unwrap()];
    let mut packet = vec![1, 1, 6, 0];
    packet.extend(xid);
    packet.extend([0, 0]);
    packet.extend(if kind == DISCOVER { [0x80, 0] } else { [0, 0] });
    packet.extend(if kind == INFORM { PHONE.octets() } else { [0; 4] });
    packet.extend([0; 12]);
    packet.extend(mac.octets());
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, kind, 55, u8::try_from(codes.len()).unwrap()]);
    packet.extend(codes);
    if let Some(class) = class {
        packet.extend([60, u8::try_from(class.len()).unwrap()]);
        packet.extend(class);
    }
    // Whatever fits a frame may come back.
    packet.extend([57, 2, 5, 0xdc, 255]);
    packet.resize(packet.len().max(300), 0);
    (packet, xid)
}

/// The options, parts of one joined (RFC 3396).
fn options(mut octets: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut options: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    while let [code, rest @ ..] = octets {
        octets = rest;
        match (*code, octets) {
            (0, _) => {}
            (255, _) | (_, []) => break,
            (code, [length, rest @ ..]) => {
                let (value, rest) = rest.split_at(usize::from(*length));
                options.entry(code).or_default().extend(value);
                octets = rest;
            }
        }
    }
    options
}

pub(crate) fn dnsmasq(lab: &Lab, server: &Host, snippet: &str) -> Process {
    let program = unconfined(lab, "dnsmasq");
    let leases = lab.file("leases", "");
    let text = format!(
        "port=0\nno-ping\ndhcp-authoritative\ninterface=eth0\ndhcp-range=10.66.0.100,10.66.0.200,255.255.255.0,1h\n\
         dhcp-leasefile={}\npid-file={}\n{snippet}",
        leases.display(),
        lab.folder().join("pid").display(),
    );
    let config = format!("--conf-file={}", lab.file("dnsmasq.conf", text).display());
    server.run(&[&program, "--test", &config]);
    // It may not become another user here.
    let mut dnsmasq = server.spawn(&[&program, "--no-daemon", &config]);
    dnsmasq.line("DHCP, IP range");
    dnsmasq
}

pub(crate) fn kea(lab: &Lab, server: &Host, snippet: &str) -> Process {
    let program = unconfined(lab, "kea-dhcp4");
    let leases = lab.file("leases", "");
    let text = format!(
        "{{ \"Dhcp4\": {{\n{snippet},\n\"interfaces-config\": {{ \"interfaces\": [\"eth0\"] }},\n\
         \"lease-database\": {{ \"type\": \"memfile\", \"name\": \"{}\", \"lfc-interval\": 0 }},\n\
         \"authoritative\": true,\n\"subnet4\": [{{ \"id\": 1, \"subnet\": \"10.66.0.0/24\",\n\
         \"pools\": [{{ \"pool\": \"10.66.0.100 - 10.66.0.200\" }}] }}],\n\
         \"loggers\": [{{ \"name\": \"kea-dhcp4\", \"severity\": \"INFO\", \"output_options\": [{{ \"output\": \"stdout\" }}] }}]\n}} }}\n",
        leases.display(),
    );
    let config = lab.file("kea.json", text);
    let config = config.to_str().unwrap();
    let places =
        ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"].map(|name| format!("{name}={}", lab.folder().display()));
    server.run(&["env", &places[0], &places[1], &program, "-t", config]);
    let mut kea = server.spawn(&["env", &places[0], &places[1], &program, "-c", config]);
    kea.line("DHCP4_STARTED");
    kea
}

pub(crate) fn dhcpd(lab: &Lab, server: &Host, snippet: &str) -> Process {
    let program = unconfined(lab, "dhcpd");
    let text = format!(
        "authoritative;\nping-check false;\n{snippet}\nsubnet 10.66.0.0 netmask 255.255.255.0 {{ range 10.66.0.100 10.66.0.200; }}\n",
    );
    let config = lab.file("dhcpd.conf", text);
    let (config, leases) = (config.to_str().unwrap(), lab.file("leases", ""));
    let pid = lab.folder().join("pid");
    let told = server.run(&[&program, "-4", "-t", "-cf", config, "-lf", leases.to_str().unwrap()]);
    assert!(!told.contains("warning"), "{told}");
    let (leases, pid) = (leases.to_str().unwrap(), pid.to_str().unwrap());
    let mut dhcpd =
        server.spawn(&[&program, "-4", "-f", "-d", "-cf", config, "-lf", leases, "-pf", pid, "eth0"]);
    dhcpd.line("Server starting service");
    dhcpd
}

/// `AppArmor` lets the packaged programs of some systems see their own folders only; a copy has no such rule.
fn unconfined(lab: &Lab, program: &str) -> String {
    let found = lab::program(program).expect("the caller has asked whether it is there");
    let copy = lab.folder().join(program);
    std::fs::copy(&found, &copy).unwrap();
    copy.to_string_lossy().into_owned()
}

/// dnsmasq's lines as OpenWrt writes them from sections of `/etc/config/dhcp`.
fn from_uci(text: &str) -> String {
    let mut lines = Vec::new();
    let mut kind = String::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words.as_slice() {
            ["config", section, _] => {
                (*section).clone_into(&mut kind);
                values.clear();
            }
            ["option", name, value] => {
                values.insert((*name).to_owned(), unquoted(value));
                if *name == "networkid" {
                    lines.push(format!("dhcp-{kind}=set:{},{}", values["networkid"], values[&kind]));
                }
            }
            ["list", "dhcp_option", value] => {
                lines.push(format!("dhcp-option=tag:{},{}", values["networkid"], unquoted(value)));
            }
            _ => assert!(line.is_empty() || line.starts_with('#'), "{line}"),
        }
    }
    lines.join("\n") + "\n"
}

/// A shell's word of single- and double-quoted pieces.
fn unquoted(word: &str) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some(quote) = rest.chars().next() {
        assert!(matches!(quote, '\'' | '"'), "{word}");
        let (piece, behind) = rest[1..].split_once(quote).expect("quotes come in pairs");
        text.push_str(piece);
        rest = behind;
    }
    text
}
