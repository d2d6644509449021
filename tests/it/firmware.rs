//! Firmware and language files with the built program: phones by curl and atftp, under their own User-Agents. A phone is
//! told of one step after the other, of none that is damaged, of none that it has fetched twice in vain, and waits for its
//! turn.

use std::path::Path;

use crate::agent::{Agent, Setup};
use crate::lab::{self, Host, Lab};

const SNOM: &str = "00:04:13:aa:bb:cc";
const YEALINK: &str = "80:5e:c0:aa:bb:01";
const BASE: &str = "http://192.168.1.35:8480/";

/// A phone that says which firmware it has.
struct Phone<'a> {
    host: &'a Host,
    mac: &'static str,
}

impl Phone<'_> {
    fn file(&self) -> String {
        let bare = self.mac.replace(':', "");
        if self.mac == SNOM { format!("snomD785-{}.htm", bare.to_uppercase()) } else { format!("{bare}.cfg") }
    }

    fn agent(&self, firmware: &str) -> String {
        let bare = self.mac.replace(':', "").to_uppercase();
        match self.mac {
            SNOM => format!("Mozilla/4.0 (compatible; snomD785-SIP {firmware} 1.1.7-IFX-26.11.12 {bare})"),
            mac => format!("Yealink SIP-T46U {firmware} {mac}"),
        }
    }

    /// Its own file, as it gets it with this firmware.
    fn settings(&self, firmware: &str) -> String {
        self.host.run(&[
            "curl",
            "-sSf",
            "-m",
            "20",
            "-A",
            &self.agent(firmware),
            &format!("{BASE}{}", self.file()),
        ])
    }

    /// The URL of the firmware that it is told of.
    fn told(&self, firmware: &str) -> Option<String> {
        let settings = self.settings(firmware);
        let (before, after) =
            if self.mac == SNOM { ("<firmware perm=\"R\">", "<") } else { ("static.firmware.url = ", "\n") };
        let (_, rest) = settings.split_once(before)?;
        rest.split_once(after).map(|(url, _)| url.to_owned())
    }

    /// Fetches a URL into a file: the status.
    fn fetch(&self, url: &str, to: &Path, more: &[&str]) -> u16 {
        let to = to.to_string_lossy();
        let fixed = ["curl", "-sS", "-m", "60", "-o", &*to, "-w", "%{http_code}"];
        self.host.run(&[&fixed[..], more, &[url]].concat()).trim().parse().unwrap()
    }
}

/// Files of three releases in the lab's folder, and the commands that bring them.
fn bring(lab: &Lab, agent: &Agent<'_>) {
    for (vendor, model, version, minimum, file) in [
        ("snom", "D78*", "10.1.101.11", None, "snomD785-10.1.101.11-SIP-r.bin"),
        ("snom", "D785", "10.1.169.16", Some("10.1.101.11"), "snomD785-10.1.169.16-SIP-r.bin"),
        ("yealink", "T46U", "108.86.0.45", None, "T46U-108.86.0.45.rom"),
        ("yealink", "T46U", "108.86.0.90", Some("108.86.0.45"), "T46U-108.86.0.90.rom"),
    ] {
        let path = lab.file(file, content(version));
        let path = path.to_string_lossy().into_owned();
        let mut command =
            vec!["firmware", "add", &path, "--vendor", vendor, "--model", model, "--version", version];
        command.extend(minimum.iter().flat_map(|minimum| ["--minimum", minimum]));
        agent.offhook(&command);
    }
}

/// Of each version another content, none that repeats with the blocks.
fn content(version: &str) -> Vec<u8> {
    version
        .bytes()
        .cycle()
        .zip(0_u32..)
        .take(300_000)
        .map(|(byte, at)| byte ^ u8::try_from(at / 251 % 256).unwrap())
        .collect()
}

fn accounts() -> String {
    format!("mac,vendor,model,username,password\n{SNOM},snom,D785,101,a\n{YEALINK},yealink,T46U,102,b\n")
}

/// What `firmware check` says of a phone.
fn state(agent: &Agent<'_>, mac: &str) -> (String, Option<String>) {
    let check = agent.json(&["firmware", "check", mac]);
    let phone = &check["phones"][0];
    (phone["state"].as_str().unwrap().to_owned(), phone["next"].as_str().map(str::to_owned))
}

#[test]
fn phones_take_one_step_after_the_other_and_then_none() {
    lab::run("firmware::phones_take_one_step_after_the_other_and_then_none", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &Setup { accounts: accounts(), ..Setup::default() });
        bring(lab, &agent);
        let snom = lab.phone("snom", SNOM, "lan", "192.168.1.101/24");
        let yealink = lab.phone("yealink", YEALINK, "lan", "192.168.1.102/24");
        let to = lab.folder().join("got");
        for (phone, versions) in [
            (Phone { host: &snom, mac: SNOM }, ["8.9.3.80", "10.1.101.11", "10.1.169.16"]),
            (Phone { host: &yealink, mac: YEALINK }, ["108.86.0.20", "108.86.0.45", "108.86.0.90"]),
        ] {
            let [first, second, last] = versions;
            for (has, gets) in [(first, second), (second, last)] {
                let url = phone.told(has).unwrap_or_else(|| panic!("{has} is told of {gets}"));
                assert!(url.contains(&format!("/{gets}/")), "{has}: {url}");
                assert_eq!(phone.settings(has), phone.settings(has), "the same question, the same bytes");
                lab::poll("the agent to know its firmware", || {
                    (agent.device(phone.mac)?["firmware"] == has).then_some(())
                });
                // The first step in one piece, the second one in two.
                let half = if has == first { vec!["0-299999"] } else { vec!["0-149999", "150000-"] };
                let mut got = Vec::new();
                for range in half {
                    assert_eq!(phone.fetch(&url, &to, &["-r", range]), 206);
                    got.extend(std::fs::read(&to).unwrap());
                }
                assert!(got == content(gets), "{url}");
                let outcome = format!("firmware {gets}");
                lab::poll("the line of its fetch", || {
                    let shown = agent.json(&["device", "show", phone.mac]);
                    let moments = shown["timeline"].as_array().unwrap().clone();
                    moments.iter().any(|moment| moment.to_string().contains(&outcome)).then_some(())
                });
            }
            assert_eq!(phone.told(last), None);
            lab::poll("the end", || (state(&agent, phone.mac).0 == "up_to_date").then_some(()));
        }
        // A firmware that is pinned, or held, is what somebody wants.
        let phone = Phone { host: &yealink, mac: YEALINK };
        agent.offhook(&["device", "set", YEALINK, "firmware=108.86.0.45"]);
        assert_eq!(phone.told("108.86.0.90"), None);
        assert_eq!(state(&agent, YEALINK).0, "blocked");
        agent.offhook(&["device", "set", YEALINK, "firmware=108.86.0.45 downgrade"]);
        assert!(phone.told("108.86.0.90").unwrap().contains("/108.86.0.45/"));
        let shown = agent.json(&["device", "show", YEALINK]);
        let laid = shown["laid_settings"].as_array().unwrap();
        let version = laid.iter().find(|setting| setting["name"] == "firmware_version").unwrap();
        assert_eq!((&version["value"], &version["layer"]), (&"108.86.0.45".into(), &"agent".into()));
        agent.offhook(&["site", "set", "--vendor", "yealink", "firmware=hold"]);
        agent.offhook(&["device", "unset", YEALINK, "firmware"]);
        assert_eq!(phone.told("108.86.0.20"), None);
        assert_eq!(state(&agent, YEALINK).0, "held");
    });
}

#[test]
fn a_phone_by_tftp_gets_its_firmware_and_a_damaged_file_is_refused() {
    lab::run("firmware::a_phone_by_tftp_gets_its_firmware_and_a_damaged_file_is_refused", |lab| {
        if !lab::has("atftp") {
            return;
        }
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &Setup { accounts: accounts(), ..Setup::default() });
        bring(lab, &agent);
        let host = lab.phone("yealink", YEALINK, "lan", "192.168.1.102/24");
        let phone = Phone { host: &host, mac: YEALINK };
        phone.settings("108.86.0.20");
        lab::poll("the agent to know its firmware", || {
            (agent.device(YEALINK)?["firmware"] == "108.86.0.20").then_some(())
        });
        let fetched = |file: &str| {
            let to = lab.folder().join("tftp");
            let _ = std::fs::remove_file(&to);
            let command = format!("atftp -g -r {file} -l {} 192.168.1.35", to.display());
            let (done, _) = host.attempt(&["sh", "-c", &command]);
            std::fs::read(&to).ok().filter(|bytes| done && !bytes.is_empty())
        };
        let settings = String::from_utf8(fetched(&phone.file()).unwrap()).unwrap();
        let path = settings.split_once("firmware.url = tftp://192.168.1.35/").unwrap().1;
        let path = path.lines().next().unwrap();
        assert!(fetched(path).unwrap() == content("108.86.0.45"));
        assert!(fetched("T46U-108.86.0.45.rom").unwrap() == content("108.86.0.45"), "by its bare name");
        // Both were whole, and the phone says that it has what it had.
        lab::poll("the second fetch to be counted", || phone.told("108.86.0.20").is_none().then_some(()));
        agent.alarmed("firmware_stuck");
        assert_eq!(state(&agent, YEALINK).0, "stuck");
        agent.offhook(&["firmware", "retry", YEALINK]);
        let url = phone.told("108.86.0.20").unwrap();
        let place = lab.folder().join("data/files/firmware/yealink/108.86.0.45/T46U-108.86.0.45.rom");
        let mut bytes = std::fs::read(&place).unwrap();
        bytes[200_000] ^= 1;
        std::fs::write(&place, bytes).unwrap();
        let to = lab.folder().join("got");
        lab::poll("the damage to be noticed", || (phone.fetch(&url, &to, &[]) == 404).then_some(()));
        assert!(
            agent.alarmed("firmware_damaged")["text"].as_str().unwrap().contains("not as it was brought")
        );
        let (sound, text) = agent.attempt(&["firmware", "check"]);
        assert!(!sound && text.contains("T46U-108.86.0.45.rom of yealink/108.86.0.45/"), "{text}");
        agent.offhook(&["firmware", "remove", "yealink/108.86.0.45/T46U-108.86.0.45.rom"]);
        assert!(!place.exists());
        assert!(agent.attempt(&["firmware", "check"]).0);
        assert_eq!(state(&agent, YEALINK), ("blocked".to_owned(), None));
    });
}

#[test]
fn the_eleventh_of_eleven_phones_waits() {
    lab::run("firmware::the_eleventh_of_eleven_phones_waits", |lab| {
        const MACS: [&str; 11] = [
            "80:5e:c0:00:00:01",
            "80:5e:c0:00:00:02",
            "80:5e:c0:00:00:03",
            "80:5e:c0:00:00:04",
            "80:5e:c0:00:00:05",
            "80:5e:c0:00:00:06",
            "80:5e:c0:00:00:07",
            "80:5e:c0:00:00:08",
            "80:5e:c0:00:00:09",
            "80:5e:c0:00:00:0a",
            "80:5e:c0:00:00:0b",
        ];
        let server = lab.host("agent", "192.168.1.35/24");
        let rows = MACS.iter().enumerate().map(|(n, mac)| format!("{mac},yealink,T46U,{n},x\n"));
        let accounts = rows.fold("mac,vendor,model,username,password\n".to_owned(), |all, row| all + &row);
        let mut agent = Agent::start(lab, &server, &Setup { accounts, ..Setup::default() });
        bring(lab, &agent);
        let address = |n: usize| format!("192.168.1.{}/24", 101 + n);
        let hosts: Vec<Host> = MACS
            .iter()
            .enumerate()
            .map(|(n, mac)| lab.phone(&format!("p{n}"), mac, "lan", &address(n)))
            .collect();
        let phones: Vec<Phone<'_>> = hosts.iter().zip(MACS).map(|(host, mac)| Phone { host, mac }).collect();
        let told: Vec<bool> = phones.iter().map(|phone| phone.told("108.86.0.20").is_some()).collect();
        assert_eq!(told, [&[true; 10][..], &[false]].concat());
        agent.end();
        agent.begin(&[]);
        assert_eq!(phones[10].told("108.86.0.20"), None, "a restart frees no place");
        assert!(phones[3].told("108.86.0.20").is_some(), "it keeps its place");
        assert_eq!(phones[3].told("108.86.0.90"), None, "it is done");
        assert!(phones[10].told("108.86.0.20").is_some());
        assert_eq!(phones[3].told("108.86.0.20"), None);
    });
}

#[test]
fn a_language_file_that_is_there_is_linked_and_one_that_is_not_is_told() {
    lab::run("firmware::a_language_file_that_is_there_is_linked_and_one_that_is_not_is_told", |lab| {
        const MITEL: &str = "00:08:5d:aa:bb:01";
        const POLY: &str = "00:04:f2:aa:bb:01";
        let server = lab.host("agent", "192.168.1.35/24");
        let accounts = format!("{}{MITEL},mitel,6869i,103,c\n{POLY},polycom,VVX_450,104,d\n", accounts());
        let config = "[site]\nlanguage = \"de\"\n".to_owned();
        let agent = Agent::start(lab, &server, &Setup { accounts, config });
        let put = |path: &str| {
            let path = lab.folder().join("data/files/lang").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"Sprache").unwrap();
        };
        put("snom/10.1.169.16/gui_lang_DE.xml");
        put("snom/web_lang_DE.xml");
        put("polycom/German_Germany/VVX-dictionary.xml");
        let snom = lab.phone("snom", SNOM, "lan", "192.168.1.101/24");
        let phone = Phone { host: &snom, mac: SNOM };
        let settings = phone.settings("10.1.169.16");
        let url = format!("{BASE}lang/snom/10.1.169.16/gui_lang_DE.xml");
        assert!(settings.contains(&format!("<language url=\"{url}\" name=\"Deutsch\"/>")), "{settings}");
        assert!(settings.contains("lang/snom/web_lang_DE.xml"), "{settings}");
        let to = lab.folder().join("got");
        assert_eq!(phone.fetch(&url, &to, &[]), 200);
        assert_eq!(std::fs::read(&to).unwrap(), b"Sprache");
        let other = phone.settings("10.1.184.15");
        assert!(!other.contains("gui-languages") && other.contains("web-languages"), "{other}");

        let mitel = lab.phone("mitel", MITEL, "lan", "192.168.1.103/24");
        let file = format!("{BASE}{}.cfg", MITEL.replace(':', "").to_uppercase());
        let settings = || mitel.run(&["curl", "-sSf", "-m", "20", &file]);
        assert!(!settings().contains("language 1:"));
        agent.log("there is no file for the language 'de': files/lang/mitel/lang_de.txt");
        let plan = agent.attempt(&["plan", MITEL]).1;
        assert!(plan.contains("there is no file for the language 'de'"), "{plan}");
        put("mitel/lang_de.txt");
        lab::poll("the file to be seen", || {
            settings().contains(&format!("language 1: {BASE}lang/mitel/lang_de.txt")).then_some(())
        });
        assert!(!agent.attempt(&["plan", MITEL]).1.contains("there is no file"));

        // Some ask for it by a folder of their own below the root.
        let poly = lab.phone("poly", POLY, "lan", "192.168.1.104/24");
        let phone = Phone { host: &poly, mac: POLY };
        let url = format!("{BASE}VVXLocalization/German_Germany/VVX-dictionary.xml");
        assert_eq!(phone.fetch(&url, &to, &[]), 200);
        assert_eq!(phone.fetch(&url.replace("German_Germany", "Italian_Italy"), &to, &[]), 404);
    });
}
