//! The user menu as phones ask for it: curl with the credential of each vendor's phone, at the addresses of a link.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;

use offhook::config::MenuConfig;
use offhook::device::{Contact, Mac};

use crate::agent::{Agent, Setup};
use crate::lab;
use crate::push::answer;
use crate::services::Services;

const ACCOUNTS: &str = "mac,vendor,model,username,password,display_name,web_password,menu_password\n\
    000413aabbcc,snom,D785,201,canary-1,Zoë Özil & Söhne,web-1,48151623\n\
    805ec0aabbcc,yealink,T46U,202,canary-2,<Ann> \"A\",web-2,\n\
    000b82aabbcc,grandstream,GXP2170,203,canary-3,Carl,web-3,\n\
    0c383eaabbcc,fanvil,X4U,204,canary-4,Dora,web-4,\n\
    08000faabbcc,mitel,6867i,205,canary-5,Emil,web-5,\n\
    0004f2aabbcc,polycom,VVX_400,206,canary-6,Frida,web-6,\n\
    001fc1aabbcc,htek,UC926,207,canary-7,Gustav,web-7,\n\
    f87b20aabbcc,cisco,8841,208,canary-8,Hanna,web-8,\n\
    7c2f80aabbcc,gigaset,N670 IP PRO,209,canary-9,Ida,web-9,\n";
const SNOM: &str = "127.0.0.11";
const GIGASET: &str = "127.0.0.19";
const VENDORS: [(&str, &str, &str); 8] = [
    ("127.0.0.12", "805ec0aabbcc", "Yealink"),
    ("127.0.0.13", "000b82aabbcc", ""),
    ("127.0.0.14", "0c383eaabbcc", "IPPhone"),
    ("127.0.0.15", "08000faabbcc", "Aastra"),
    ("127.0.0.16", "0004f2aabbcc", "<html>"),
    ("127.0.0.17", "001fc1aabbcc", ""),
    ("127.0.0.18", "f87b20aabbcc", "Cisco"),
    (GIGASET, "7c2f80aabbcc", ""),
];

fn services() -> Services {
    let others = VENDORS.iter().map(|(at, mac, _)| (*at, *mac));
    let phones: HashMap<IpAddr, Mac> = others
        .chain([(SNOM, "000413aabbcc")])
        .map(|(at, mac)| (at.parse().unwrap(), mac.parse().unwrap()))
        .collect();
    let code = |code: &str| Some(code.to_owned());
    let menu = MenuConfig {
        enabled: true,
        forward_on: code("*72{number}"),
        forward_off: code("*73"),
        dnd_on: code("*78"),
        dnd_off: code("*79"),
    };
    let services = Services::start_menu(ACCOUNTS, phones, menu);
    let contact = |n: u32| Contact {
        name: format!("Müller {n:03} {}", "lang ".repeat(40)),
        company: "Größe & <Co>".to_owned(),
        numbers: vec![format!("+49 (0) 89 / {n:04}"), format!("0171 {n:04}")],
    };
    services.add_contacts(&(0..60).map(contact).collect::<Vec<_>>());
    services
}

/// Asks from an address: the status, and what came.
fn ask(services: &Services, from: &str, path: &str, more: &[&str]) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}/{path}", services.http);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "10", "--interface", from, "-w", "\n%{http_code}"]).args(more).arg(url);
    let output = curl.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn a_snom_shows_its_credential_and_pages_through_the_directory() {
    let services = services();
    let digest: &[&str] = &["--digest", "-u", "000413AABBCC:48151623"];
    let at = "menu/000413aabbcc/";
    let (status, _) = ask(&services, SNOM, at, &[]);
    assert_eq!(status, 401);
    let (status, body) = ask(&services, SNOM, at, digest);
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("<Title>Zoë Özil &amp; Söhne (201)</Title>"), "{body}");
    assert!(body.contains("menu/000413aabbcc/quiet"), "{body}");
    // Without a MAC in the path the neighbour table says who it is; a number is its user's name as well.
    assert_eq!(ask(&services, SNOM, "menu/status", digest).0, 200);
    assert_eq!(ask(&services, SNOM, at, &["--digest", "-u", "201:48151623"]).0, 200);
    for wrong in ["000413aabbcc:48151624", "000413aabbcd:48151623", "202:48151623"] {
        assert_eq!(ask(&services, SNOM, at, &["--digest", "-u", wrong]).0, 401, "{wrong}");
    }
    // Basic would show it to everybody on the way.
    assert_eq!(ask(&services, SNOM, at, &["-u", "000413aabbcc:48151623"]).0, 401);
    let (mut path, mut numbers) = (format!("{at}directory?q=mueller"), Vec::new());
    loop {
        let (status, body) = ask(&services, SNOM, &path, digest);
        assert_eq!((status, body.len() <= 10_000), (200, true), "{path}");
        let page = roxmltree::Document::parse(&body).unwrap();
        let texts = |name: &'static str| {
            page.descendants().filter(move |node| node.has_tag_name(name)).filter_map(|node| node.text())
        };
        numbers.extend(texts("Telephone").map(str::to_owned));
        assert!(texts("Name").all(|name| name.chars().count() <= 60));
        let keys = page.descendants().filter(|node| node.has_tag_name("SoftKeyItem"));
        let next = keys.filter(|key| key.descendants().any(|node| node.text() == Some("Next")));
        let mut urls = next.flat_map(|key| key.children().filter(|node| node.has_tag_name("URL")));
        let Some(url) = urls.find_map(|node| node.text()) else { break };
        path = url.split_once("8480/").unwrap().1.to_owned();
    }
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 120, "everybody, once");
    assert_eq!(ask(&services, SNOM, "menu/000413aabbcc/phonebook.xml", digest).0, 200);
    let (_, body) = ask(&services, SNOM, &format!("{at}forward?n=0171+55"), digest);
    assert!(body.contains("<Telephone>*72017155</Telephone>"), "{body}");
    services.stop();
}

#[test]
fn every_dialect_is_well_formed_whatever_people_are_called() {
    let services = services();
    for (from, mac, dialect) in VENDORS {
        let pages = ["", "directory", "search", "forward", "quiet", "status", "directory?q=nobody"];
        for page in pages.iter().filter(|_| !dialect.is_empty()) {
            let (status, body) = ask(&services, from, &format!("menu/{mac}/{page}"), &[]);
            assert_eq!(status, 200, "{mac} {page}: {body}");
            let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
            let parsed = roxmltree::Document::parse_with_options(&body, options);
            assert!(parsed.is_ok() && body.contains(dialect), "{mac} {page}: {parsed:?}\n{body}");
            assert!(!body.contains("canary"));
        }
        let (status, body) = ask(&services, from, &format!("menu/{mac}/phonebook.xml"), &[]);
        assert_eq!(status, 200, "{mac}");
        assert!(body.contains("Zoë Özil &amp; Söhne") || body.contains("Müller"), "{mac}: {body}");
        assert!(body.contains("Ann"), "{mac}: {body}");
    }
    services.stop();
}

#[test]
fn nobody_else_sees_it_and_nobody_learns_which_phones_there_are() {
    let services = services();
    let right: &[&str] = &["--digest", "-u", "000413aabbcc:48151623"];
    // Another phone on the link is somebody else, even with the credential.
    assert_eq!(ask(&services, "127.0.0.12", "menu/000413aabbcc/", right).0, 404);
    assert_eq!(ask(&services, "127.0.0.12", "menu/000413aabbcd/", right).0, 404);
    // Who is nobody's neighbour is asked for a credential, for phones that are there and for others.
    for mac in ["000413aabbcc", "000413aabbcd", "805ec0aabbcc"] {
        let (status, body) =
            ask(&services, "127.0.0.99", &format!("menu/{mac}/"), &["--digest", "-u", "x:y"]);
        assert_eq!((status, body.as_str()), (401, "unauthorized\n"), "{mac}");
    }
    assert_eq!(ask(&services, "127.0.0.99", "menu/000413aabbcc/", right).0, 200);
    // After ten wrong ones the right one is not looked at either.
    for _ in 0..10 {
        assert_eq!(ask(&services, "127.0.0.98", "menu/000413aabbcc/", &["--digest", "-u", "201:1"]).0, 401);
    }
    assert_eq!(ask(&services, "127.0.0.98", "menu/000413aabbcc/", right).0, 401);
    assert_eq!(ask(&services, SNOM, "menu/000413aabbcc/nothing", right).0, 404);
    services.stop();
}

#[test]
fn a_gigaset_pages_through_the_directory_by_itself() {
    let services = services();
    let ask = |query: &str| ask(&services, GIGASET, &format!("menu/phonebook.xml?{query}"), &[]);
    let (status, body) = ask("command=get_list&type=wp&first=3&count=2&set_first=*M%C3%BCller*");
    assert_eq!(status, 200);
    let list = roxmltree::Document::parse(&body).unwrap();
    let of = |name| list.root_element().attribute(name);
    assert_eq!(
        [of("type"), of("total"), of("first"), of("last")],
        [Some("wp"), Some("120"), Some("3"), Some("4")]
    );
    assert_eq!(list.descendants().filter(|node| node.has_tag_name("entry")).count(), 2);
    let (_, body) = ask("first=0&count=0&set_first=nobody");
    assert!(body.contains("total=\"0\" first=\"1\" last=\"0\""), "{body}");
    services.stop();
}

#[test]
fn a_phone_asks_for_its_settings_once_in_a_while_and_no_password_is_armed() {
    let services = services();
    let (from, mac) = ("127.0.0.12", "menu/805ec0aabbcc");
    let (_, body) = ask(&services, from, &format!("{mac}/"), &[]);
    assert!(body.contains(&format!("{mac}/again<")), "{body}");
    let (_, body) = ask(&services, from, &format!("{mac}/again"), &[]);
    assert!(body.contains(&format!("{mac}/again/now<")), "{body}");
    let now = format!("{mac}/again/now");
    assert_eq!(ask(&services, from, &now, &["--head"]).0, 200);
    assert_eq!(services.again(), [""; 0], "asked, and not yet said yes");
    let state = |body: &str| (body.contains("is told to fetch"), body.contains("in two minutes"));
    assert_eq!(state(&ask(&services, from, &now, &[]).1), (true, false));
    assert_eq!(services.again(), ["80:5e:c0:aa:bb:cc"]);
    assert_eq!(state(&ask(&services, from, &now, &[]).1), (false, true));
    assert_eq!(ask(&services, "127.0.0.13", &now, &[]).0, 404, "another phone");
    assert_eq!(services.again(), [""; 0]);
    let (_, body) = ask(&services, from, &format!("{mac}/status"), &[]);
    for line in
        ["Number: &lt;Ann&gt; &quot;A&quot; (202)", "Passwords: can be fetched", "Registration: unknown"]
    {
        assert!(body.replace("&#34;", "&quot;").contains(line), "{line}: {body}");
    }
    services.stop();
}

#[test]
fn who_asks_for_its_settings_is_told_to_fetch_them() {
    lab::run("menu::who_asks_for_its_settings_is_told_to_fetch_them", |lab| {
        const MAC: &str = "00:15:65:f4:f9:e1";
        let server = lab.host("agent", "192.168.1.35/24");
        let accounts = format!("mac,vendor,model,username,password\n{MAC},yealink,T46U,201,geheim\n");
        let setup = Setup { accounts, config: "[menu]\nenabled = true\n".to_owned() };
        let agent = Agent::start(lab, &server, &setup);
        let phone = lab.phone("phone", MAC, "lan", "192.168.1.100/24");
        let get = |path: &str| {
            phone.run(&["curl", "-sS", "--max-time", "30", &format!("http://192.168.1.35:8480/{path}")])
        };
        get("001565f4f9e1.cfg");
        lab::poll("the phone's first sighting", || {
            agent.device(MAC).filter(|device| device["address"] == "192.168.1.100")
        });
        let before = agent.grants(MAC);
        let socket = phone.udp("192.168.1.100:5060");
        let page = get("menu/again/now");
        assert!(page.contains("is told to fetch"), "{page}");
        let mut buffer = [0; 4096];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let notify = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(
            notify.starts_with("NOTIFY sip:201@192.168.1.100") && notify.contains("check-sync"),
            "{notify}"
        );
        socket.send_to(answer(&buffer[..length], "200 OK").as_bytes(), from).unwrap();
        lab::poll("the answer in the phone's life", || {
            let shown = agent.json(&["device", "show", MAC]);
            shown["timeline"].as_array()?.iter().any(|one| one["step"] == "accepted").then_some(())
        });
        assert_eq!(agent.audit("asked_again")[0]["detail"]["peer"], "192.168.1.100");
        assert_eq!(agent.audit("resync").len(), 1);
        assert_eq!(agent.grants(MAC), before, "no password is armed");
    });
}

#[test]
fn where_the_menu_is_off_there_is_none() {
    let services = Services::start(&[], 64);
    for path in
        ["menu/", "menu/805ec0aabbcc/", "menu/805ec0aabbcc/phonebook.xml", "menu/805ec0aabbcc/directory"]
    {
        assert_eq!(ask(&services, "127.0.0.2", path, &[]), (404, "not found\n".to_owned()), "{path}");
        assert_eq!(ask(&services, "127.0.0.99", path, &[]).0, 404, "{path}");
    }
    services.stop();
}

#[test]
fn a_long_directory_is_cut_where_the_phone_stops_reading() {
    let services = services();
    let contact = |n: u32| Contact {
        name: format!("Ümläut {n:04} {}", "ö".repeat(60)),
        company: String::new(),
        numbers: vec![format!("+4989{n:05}")],
    };
    services.add_contacts(&(0..3_000).map(contact).collect::<Vec<_>>());
    for (from, entry, bytes_max) in
        [("127.0.0.12", "DirectoryEntry", 500_000), ("127.0.0.13", "Contact", 400_000)]
    {
        let (status, body) = ask(&services, from, "menu/phonebook.xml", &[]);
        assert!(status == 200 && body.len() <= bytes_max, "{from}: {status}, {}", body.len());
        let book = roxmltree::Document::parse(&body).unwrap();
        assert!(book.descendants().filter(|node| node.has_tag_name(entry)).count() >= 1_000, "{from}");
    }
    services.stop();
}
