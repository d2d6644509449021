//! Passwords leave once, and to the right phone: the built program on a network, with curl as the phone, as somebody
//! else, and as a browser. The numbers are those of the specification's cases.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::agent::{Agent, Setup};
use crate::http::drain;
use crate::lab::{self, Host, Lab};

/// The agent's address, and the phone: a Snom with one line.
pub(crate) const SERVER: &str = "192.168.1.35";
pub(crate) const MAC: &str = "00:04:13:00:00:01";
pub(crate) const AT: &str = "192.168.1.100";
pub(crate) const FILE: &str = "000413000001.xml";
/// Its passwords, each of which stands nowhere else.
pub(crate) const SECRETS: [&str; 3] = ["kSip-201-canary", "kWeb-201-canary", "70416253"];
pub(crate) const ACCOUNTS: &str = "mac,vendor,model,username,password,web_password,menu_password\n\
     00:04:13:00:00:01,snom,D785,201,kSip-201-canary,kWeb-201-canary,70416253\n";
/// The elements that hold them, and the phone's own URL.
pub(crate) const ELEMENTS: [&str; 4] =
    ["<user_pass", "<http_pass", "<admin_mode_password", "<setting_server"];

/// A network with an agent and the phone on it.
pub(crate) struct Site<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) agent: Agent<'a>,
    pub(crate) phone: Host,
}

/// Runs `proof` beside a running agent with these lines in its configuration.
pub(crate) fn site(lab: &Lab, config: &str, proof: impl FnOnce(&mut Site<'_>)) {
    let server = lab.host("agent", &format!("{SERVER}/24"));
    let config = format!("[sip]\nregistrar = \"192.168.1.20\"\n{config}");
    let agent = Agent::start(lab, &server, &Setup { accounts: ACCOUNTS.to_owned(), config });
    let phone = lab.phone("phone", MAC, "lan", &format!("{AT}/24"));
    proof(&mut Site { lab, agent, phone });
}

/// What curl got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// 0 without an answer.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// GETs the phone's file.
pub(crate) fn get(host: &Host) -> Got {
    curl(host, &format!("http://{SERVER}:8480/{FILE}"), &[])
}

/// What curl gets for a URL.
pub(crate) fn curl(host: &Host, url: &str, options: &[&str]) -> Got {
    curl_with(host, &[], url, options)
}

/// The same with these variables in curl's environment.
pub(crate) fn curl_with(host: &Host, variables: &[&str], url: &str, options: &[&str]) -> Got {
    let curl = ["curl", "-s", "-m", "20", "-D", "-", "-w", "\n%{http_code}"];
    let command = [&["env"], variables, &curl, options, &[url]].concat();
    let (_, text) = host.attempt(&command);
    let (text, status) = text.rsplit_once('\n').expect("curl prints the status last");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or(("", text));
    Got { status: status.parse().expect(text), head: head.to_lowercase(), body: body.to_owned() }
}

impl Got {
    /// All passwords are in it.
    pub(crate) fn is_full(&self) -> bool {
        self.status == 200 && SECRETS.iter().chain(&ELEMENTS).all(|part| self.body.contains(part))
    }

    /// The file, and no parameter of a password in it.
    pub(crate) fn is_plain(&self) -> bool {
        let named = SECRETS.iter().chain(&ELEMENTS).any(|part| self.body.contains(part));
        self.status == 200 && self.body.contains("<user_name idx=\"1\"") && !named
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[test]
fn case_01_02_the_first_fetch_carries_everything_and_the_next_one_the_same() {
    lab::run("release::case_01_02_the_first_fetch_carries_everything_and_the_next_one_the_same", |lab| {
        site(lab, "", |site| {
            assert_eq!(site.agent.state(MAC), "staged");
            let first = get(&site.phone);
            assert!(first.is_full(), "{first:?}");
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("open", 1));
            let again = get(&site.phone);
            assert_eq!((&again.body, again.header("etag")), (&first.body, first.header("etag")));
            let released = site.agent.audit("released");
            assert_eq!(released.len(), 2);
            assert_eq!(released[0]["detail"]["to"], format!("mac {MAC}"));
            assert_eq!(released[0]["detail"]["identity"], 2);
            assert_eq!(released[0]["detail"]["pinned"], true, "{}", released[0]);
            // Each acknowledgement has its row, as soon as its batch is written.
            for one in &released {
                lab::poll("the acknowledgement's row", || {
                    let acked = site.agent.audit("acked");
                    acked.iter().any(|row| row["release_id"] == one["release_id"]).then_some(())
                });
            }
            site.agent.unpinned(AT);
        });
    });
}

#[test]
fn case_05_a_phone_that_waits_for_approval_gets_nothing() {
    lab::run("release::case_05_a_phone_that_waits_for_approval_gets_nothing", |lab| {
        site(lab, "[adopt]\npolicy = \"approve\"\n", |site| {
            let mac = "00:04:13:00:00:02";
            let pending = lab.phone("pending", mac, "lan", "192.168.1.101/24");
            let url = format!("http://{SERVER}:8480/000413000002.xml");
            let got = curl(&pending, &url, &[]);
            let nothing = curl(&pending, &format!("http://{SERVER}:8480/no-such-file"), &[]);
            assert_eq!((got.status, &got.body), (404, &nothing.body));
            lab::poll("the pending phone", || site.agent.device(mac).filter(|one| one["state"] == "pending"));
            assert!(site.agent.grants(mac).iter().all(|(_, state, _)| *state == "locked"));
            assert_eq!(site.agent.audit("released").len(), 0);
        });
    });
}

#[test]
fn case_11_12_somebody_else_and_a_browser_get_a_404_and_consume_nothing() {
    lab::run("release::case_11_12_somebody_else_and_a_browser_get_a_404_and_consume_nothing", |lab| {
        site(lab, "", |site| {
            let browser = lab.host("browser", "192.168.1.50/24");
            let unknown = curl(&browser, &format!("http://{SERVER}:8480/no-such-file"), &[]);
            let firefox = ["-A", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"];
            let denied = curl(&browser, &format!("http://{SERVER}:8480/{FILE}"), &firefox);
            assert_eq!((denied.status, denied.body), (404, unknown.body));
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("staged", 0));

            assert!(get(&site.phone).is_full());
            assert_eq!(get(&browser).status, 404);
            assert!(get(&site.phone).is_full(), "the phone does not notice");
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("open", 2));
            let refused = site.agent.audited("refused");
            assert_eq!(refused["detail"]["peer"], "192.168.1.50", "{refused}");
        });
    });
}

#[test]
fn case_20_21_22_head_range_and_conditions() {
    lab::run("release::case_20_21_22_head_range_and_conditions", |lab| {
        site(lab, "", |site| {
            let url = format!("http://{SERVER}:8480/{FILE}");
            let head = curl(&site.phone, &url, &["-I"]);
            assert_eq!((head.status, head.header("content-length"), head.header("etag")), (200, None, None));
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("staged", 0));

            let full = get(&site.phone);
            let part = curl(&site.phone, &url, &["-r", "0-99"]);
            assert_eq!(
                (part.status, &part.body, part.header("accept-ranges")),
                (200, &full.body, Some("none"))
            );
            assert_eq!(site.agent.releases(MAC), 2);
            let etag = full.header("etag").unwrap().to_owned();
            let condition = format!("If-None-Match: {etag}");
            let known = curl(&site.phone, &url, &["-H", &condition]);
            assert_eq!((known.status, known.body.as_str()), (304, ""));
            assert_eq!(curl(&site.phone, &url, &["-I"]).status, 200);
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("open", 2));
        });
    });
}

/// A connection of the phone that has asked for the file, has its first octet, and has no room for the rest.
pub(crate) fn stalled(phone: &Host) -> TcpStream {
    phone.inside(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let server: SocketAddr = format!("{SERVER}:8480").parse().unwrap();
        socket.connect(&server.into()).unwrap();
        socket.set_read_timeout(Some(lab::PATIENCE)).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(format!("GET /{FILE} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    })
}

/// Waits until the connection is reset; how much of the file had come by then.
pub(crate) fn reset(stream: &mut TcpStream) -> usize {
    let ended = lab::poll("the reset of the connection", || stream.take_error().unwrap());
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    drain(stream).0
}

#[test]
fn case_13_46_an_aborted_transfer_leaves_the_window_open_and_a_lock_resets_one() {
    lab::run("release::case_13_46_an_aborted_transfer_leaves_the_window_open_and_a_lock_resets_one", |lab| {
        site(lab, "", |site| {
            let aborted = stalled(&site.phone);
            SockRef::from(&aborted).set_linger(Some(Duration::ZERO)).unwrap();
            drop(aborted);
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("open", 1));
            let full = get(&site.phone);
            assert!(full.is_full(), "{full:?}");
            site.agent.audited("acked");

            let mut locked = stalled(&site.phone);
            assert!(site.agent.neighbour(AT).contains("PERMANENT"), "pinned while it is on its way");
            site.agent.offhook(&["device", "lock", MAC]);
            assert!(reset(&mut locked) < full.body.len(), "the rest never came");
            site.agent.unpinned(AT);
            assert_eq!((site.agent.state(MAC), site.agent.audit("acked").len()), ("locked", 1));
        });
    });
}
