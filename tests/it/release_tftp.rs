//! Passwords by TFTP, fetched by clients that we did not write, and asked for by somebody who only forges the phone's
//! address. The numbers are those of the specification's cases.

use crate::lab::{self, Host};
use crate::release::{AT, FILE, MAC, SECRETS, SERVER, Site, get, site};

/// A client and the command that fetches `{file}` into `{to}`.
const CLIENTS: [(&str, &str); 5] = [
    ("curl", "curl -sSf -m 20 --tftp-no-options -o {to} tftp://{server}/{file}"),
    ("curl", "curl -sSf -m 20 --tftp-blksize 1428 -o {to} tftp://{server}/{file}"),
    ("tftp", "tftp -m binary {server} -c get {file} {to}"),
    ("atftp", "atftp --option 'blksize 1428' --option 'tsize 0' -g -r {file} -l {to} {server}"),
    ("busybox", "busybox tftp -g -r {file} -l {to} {server}"),
];

/// What the client was sent, as this host.
fn fetch(site: &Site<'_>, host: &Host, command: &str) -> String {
    let to = site.lab.folder().join("fetched");
    let _ = std::fs::remove_file(&to);
    let words = [("{file}", FILE), ("{to}", to.to_str().unwrap()), ("{server}", SERVER)];
    let command = words.iter().fold(command.to_owned(), |text, (word, value)| text.replace(word, value));
    host.attempt(&["sh", "-c", &command]);
    std::fs::read_to_string(&to).unwrap_or_default()
}

/// The file but for the comment that only fills a first block.
fn without_preamble(file: &str) -> String {
    match (file.find("<!--"), file.find("-->")) {
        (Some(from), Some(to)) => [&file[..from], file[to + 3..].trim_start()].concat(),
        _ => file.to_owned(),
    }
}

#[test]
fn every_client_gets_the_passwords_and_is_known_to_have_them() {
    lab::run("release_tftp::every_client_gets_the_passwords_and_is_known_to_have_them", |lab| {
        site(lab, "", |site| {
            let other = lab.host("other", "192.168.1.50/24");
            let (mut fetched, file) = (0, get(&site.phone).body);
            for (program, command) in CLIENTS {
                if !lab::has(program) {
                    continue;
                }
                let denied = fetch(site, &other, command);
                assert!(!denied.contains("phone-settings"), "{command}: {denied}");
                let got = fetch(site, &site.phone, command);
                assert!(SECRETS.iter().all(|secret| got.contains(secret)), "{command}: {got}");
                assert_eq!(without_preamble(&got), file, "{command}");
                fetched += 1;
                assert_eq!(site.agent.releases(MAC), fetched + 1);
            }
            let acked = usize::try_from(fetched).unwrap() + 1;
            lab::poll("the deliveries", || (site.agent.audit("acked").len() == acked).then_some(()));
            site.agent.unpinned(AT);
        });
    });
}

#[test]
fn case_18_a_request_in_the_phones_name_opens_nothing() {
    lab::run("release_tftp::case_18_a_request_in_the_phones_name_opens_nothing", |lab| {
        site(lab, "", |site| {
            let forger = lab.host("forger", "192.168.1.66/24");
            forger.run(&["sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=8"]);
            forger.ip(&["address", "add", &format!("{AT}/32"), "dev", "eth0"]);
            // The phone has a program at that port, so that its kernel does not answer for it.
            let silent = site.phone.udp("0.0.0.0:4000");
            let heard = site.phone.capture();
            let socket = forger.udp(&format!("{AT}:4000"));
            for options in ["", "blksize\x001428\0"] {
                let request = format!("\0\x01{FILE}\0octet\0{options}");
                socket.send_to(request.as_bytes(), (SERVER, 69)).unwrap();
                let block = heard.expect("the first answer", |packet| packet.target_port == 4000);
                assert!(!SECRETS.iter().any(|secret| block.text().contains(secret)), "{}", block.text());
            }
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("staged", 0));
            assert!(get(&site.phone).is_full(), "the phone can fetch it");
            assert!(heard.count(|packet| packet.target_port == 4000) <= 6);
            drop(silent);
        });
    });
}
