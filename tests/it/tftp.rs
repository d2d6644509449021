//! TFTP on the wire, from raw sockets: what a phone sees, what a forged or broken peer sees, and the reference peer
//! async-tftp beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use async_tftp::server::TftpServerBuilder;

use crate::services::{FILE, PHONE, STRANGER, Services};

/// Long enough for a loaded machine, where a packet must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client with a socket of its own at one address.
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) fn at(ip: IpAddr) -> Self {
        Self(UdpSocket::bind((ip, 0)).unwrap())
    }

    pub(crate) fn send(&self, packet: &[u8], to: SocketAddr) {
        self.0.send_to(packet, to).unwrap();
    }

    /// The next packet and its sender.
    pub(crate) fn receive(&self) -> (Vec<u8>, SocketAddr) {
        self.receive_within(PATIENCE).expect("an answer")
    }

    pub(crate) fn receive_within(&self, wait: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (len, from) = self.0.recv_from(&mut buffer).ok()?;
        buffer.truncate(len);
        Some((buffer, from))
    }

    /// How many packets come within this time.
    pub(crate) fn count_within(&self, wait: Duration) -> usize {
        let end = Instant::now() + wait;
        let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        std::iter::from_fn(|| self.receive_within(left())).take_while(|_| Instant::now() < end).count()
    }

    /// Reads a whole file in lockstep; the error's text if there is one.
    pub(crate) fn read(&self, server: SocketAddr, name: &str, options: &str) -> Result<Vec<u8>, String> {
        let blksize = options.strip_prefix("blksize|").and_then(|rest| rest.split('|').next());
        let blksize = blksize.map_or(512, |digits| digits.parse().unwrap());
        self.send(&request(name, "octet", options), server);
        let (mut file, mut expected) = (Vec::new(), 1u16);
        loop {
            let (packet, from) = self.receive();
            match packet[1] {
                3 if packet[2..4] == expected.to_be_bytes() => {
                    file.extend_from_slice(&packet[4..]);
                    self.send(&acknowledgement(expected), from);
                    expected = expected.wrapping_add(1);
                    if packet.len() < 4 + blksize {
                        return Ok(file);
                    }
                }
                3 => {}
                5 => return Err(String::from_utf8_lossy(&packet[4..packet.len() - 1]).into_owned()),
                6 => self.send(&acknowledgement(0), from),
                other => panic!("opcode {other}"),
            }
        }
    }
}

/// An RRQ; `|` stands between options and their values.
pub(crate) fn request(name: &str, mode: &str, options: &str) -> Vec<u8> {
    let options = if options.is_empty() { String::new() } else { format!("{options}|") };
    format!("\0\u{1}{name}|{mode}|{options}").replace('|', "\0").into_bytes()
}

pub(crate) fn acknowledgement(block: u16) -> Vec<u8> {
    [&[0, 4], block.to_be_bytes().as_slice()].concat()
}

/// The client's ERROR 8: it does not like the options.
pub(crate) const ABORT: &[u8] = b"\0\x05\0\x08no\0";

pub(crate) fn server(services: &Services) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], services.tftp))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

#[test]
fn a_phone_reads_its_own_file_and_nobody_elses() {
    let services = Services::start(&[("a.bin", b"firmware")], 64);
    let (phone, stranger, server) = (Client::at(PHONE), Client::at(STRANGER), server(&services));
    let file = String::from_utf8(phone.read(server, FILE, "").unwrap()).unwrap();
    assert!(file.contains("canary-7c1f"), "{file}");
    let with_options = phone.read(server, &FILE.to_uppercase(), "blksize|1428").unwrap();
    let with_options = String::from_utf8(with_options).unwrap();
    let says = |file: &str| file.lines().filter(|line| !line.starts_with("# ")).count();
    assert!(with_options.contains("canary-7c1f") && with_options.len() < file.len(), "{with_options}");
    assert_eq!(says(&with_options), says(&file), "the preamble says nothing");
    assert_eq!(phone.read(server, "/Firmware/yealink/A.BIN", ""), Ok(b"firmware".to_vec()));
    let refusals = [
        stranger.read(server, FILE, ""),
        phone.read(server, "805ec0000000.cfg", ""),
        phone.read(server, "no-such-file", "tsize|0"),
        phone.read(server, "../../etc/passwd", ""),
        phone.read(server, "firmware/yealink/../../../offhook.db", ""),
        phone.read(server, "firmware\\yealink\\..\\a.bin", ""),
        phone.read(server, "a\nb.cfg", ""),
    ];
    for refusal in refusals {
        assert_eq!(refusal, Err("File not found".to_owned()));
    }
    services.stop();
}

#[test]
fn a_file_of_more_than_65535_blocks_arrives_whole() {
    let firmware = pattern(512 * 66_000 + 77);
    let services = Services::start(&[("big.rom", &firmware)], 64);
    let read = Client::at(PHONE).read(server(&services), "firmware/yealink/big.rom", "");
    assert!(read.is_ok_and(|read| read == firmware));
    services.stop();
}

#[test]
fn a_window_is_repeated_from_the_block_that_is_missing() {
    let services = Services::start(&[("w.rom", &pattern(20_000))], 64);
    let client = Client::at(PHONE);
    client.send(
        &request("firmware/yealink/w.rom", "octet", "blksize|1000|windowsize|8|tsize|0"),
        server(&services),
    );
    let (options, from) = client.receive();
    assert_eq!(options, b"\0\x06blksize\x001000\0tsize\x0020000\0windowsize\x008\0");
    client.send(&acknowledgement(0), from);
    let numbers = |count: usize| -> Vec<u8> { (0..count).map(|_| client.receive().0[3]).collect() };
    assert_eq!(numbers(8), [1, 2, 3, 4, 5, 6, 7, 8]);
    client.send(&acknowledgement(3), from);
    client.send(&acknowledgement(3), from);
    assert_eq!(numbers(8), [4, 5, 6, 7, 8, 9, 10, 11]);
    client.send(ABORT, from);
    assert_eq!(client.count_within(Duration::from_millis(300)), 0, "an ERROR ends it at once");
    services.stop();
}

#[test]
fn a_forged_request_costs_three_datagrams() {
    let services = Services::start(&[("a.bin", &pattern(5000))], 64);
    let silent = Client::at(PHONE);
    silent.send(&request("firmware/yealink/a.bin", "octet", ""), server(&services));
    silent.receive();
    for _ in 0..20 {
        silent.send(&request("firmware/yealink/a.bin", "octet", ""), server(&services));
    }
    assert_eq!(silent.count_within(Duration::from_secs(3)), 2, "however often the same port asks");
    let later = Client::at(PHONE).read(server(&services), "firmware/yealink/a.bin", "");
    assert_eq!(later, Ok(pattern(5000)), "the phone itself can still fetch it");
    services.stop();
}

#[test]
fn a_foreign_port_gets_error_5_and_disturbs_nothing() {
    let services = Services::start(&[("a.bin", &pattern(1000))], 64);
    let (client, blind) = (Client::at(PHONE), Client::at(PHONE));
    client.send(&request("firmware/yealink/a.bin", "octet", ""), server(&services));
    let (first, from) = client.receive();
    assert_eq!(first[..4], [0, 3, 0, 1]);
    for _ in 0..30 {
        blind.send(&acknowledgement(1), from);
    }
    assert_eq!(blind.receive().0, b"\0\x05\0\x05Unknown transfer ID\0");
    assert!(blind.count_within(Duration::from_millis(300)) < 15, "about ten a second");
    client.send(&acknowledgement(1), from);
    assert_eq!(
        loop {
            if let (data, _) = client.receive()
                && data[3] == 2
            {
                break data.len();
            }
        },
        4 + 488
    );
    services.stop();
}

#[test]
fn the_address_that_was_asked_answers() {
    let services = Services::start(&[("a.bin", b"x")], 64);
    for asked in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9)] {
        let (client, to) = (Client::at(PHONE), SocketAddr::from((asked, services.tftp)));
        client.send(&request("firmware/yealink/a.bin", "octet", ""), to);
        assert_eq!(client.receive().1.ip(), IpAddr::from(asked), "data");
        client.send(&request("no-such-file", "octet", ""), to);
        let error = std::iter::repeat_with(|| client.receive()).find(|(packet, _)| packet[1] == 5);
        assert_eq!(error.unwrap().1.ip(), IpAddr::from(asked), "an error");
    }
    services.stop();
}

#[test]
fn two_hundred_requests_at_once_are_all_served() {
    let firmware = pattern(8192);
    let services = Services::start(&[("a.bin", &firmware)], 64);
    // Each at an address of its own: of one address only a few may be unproven at once, and these clients take turns.
    let clients: Vec<Client> = (0..200).map(|last| Client::at(IpAddr::from([127, 0, 1, last]))).collect();
    for client in &clients {
        client.send(&request("firmware/yealink/a.bin", "octet", "blksize|1428"), server(&services));
    }
    let mut done = 0;
    let mut expected = vec![0u16; clients.len()];
    while done < clients.len() {
        for (client, expected) in clients.iter().zip(&mut expected) {
            if *expected > 6 {
                continue;
            }
            let (packet, from) = client.receive();
            let block = if packet[1] == 6 { 0 } else { u16::from_be_bytes([packet[2], packet[3]]) };
            if block == *expected {
                client.send(&acknowledgement(block), from);
                *expected += 1;
                done += usize::from(*expected > 6);
            }
        }
    }
    services.stop();
}

#[test]
fn a_transfer_under_way_ends_before_the_service() {
    let services = Services::start(&[("a.bin", &pattern(1500))], 64);
    let (client, server) = (Client::at(PHONE), server(&services));
    client.send(&request("firmware/yealink/a.bin", "octet", ""), server);
    let (_, from) = client.receive();
    let stop = std::thread::spawn(move || services.stop());
    for block in 1..=3 {
        client.send(&acknowledgement(block), from);
        if block < 3 {
            assert_eq!(client.receive().0[..4], [0, 3, 0, u8::try_from(block + 1).unwrap()]);
        }
    }
    stop.join().unwrap();
}

/// What a request and a reaction to the first answer lead to.
struct Encounter {
    first: Option<Vec<u8>>,
    /// Packets after our ERROR.
    after_abort: usize,
}

fn encounter(server: SocketAddr, request: &[u8]) -> Encounter {
    let client = Client::at(PHONE);
    client.send(request, server);
    let Some((first, from)) = client.receive_within(Duration::from_millis(700)) else {
        return Encounter { first: None, after_abort: 0 };
    };
    client.send(ABORT, from);
    Encounter { first: Some(first), after_abort: client.count_within(Duration::from_millis(1500)) }
}

/// Why the product has a transfer of its own: the same three packets, sent to async-tftp and to offhook.
#[test]
fn async_tftp_as_reference_peer() {
    let services = Services::start(&[("a.bin", b"one\ntwo\n")], 64);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("firmware/yealink")).unwrap();
    std::fs::write(folder.path().join("firmware/yealink/a.bin"), b"one\ntwo\n").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let reference = runtime
        .block_on(
            TftpServerBuilder::with_dir_ro(folder.path())
                .unwrap()
                .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
                .build(),
        )
        .unwrap();
    let theirs = reference.listen_addr().unwrap();
    let serving = runtime.spawn(reference.serve());
    let ours = server(&services);

    let size_only = request("firmware/yealink/a.bin", "octet", "tsize|0|timeout|1");
    let (their, our) = (encounter(theirs, &size_only), encounter(ours, &size_only));
    let options = b"\0\x06tsize\x008\0timeout\x001\0".to_vec();
    assert_eq!(our.first, Some(options));
    assert!(their.first.is_some() && their.after_abort > 0, "async-tftp goes on after the client's ERROR");
    assert_eq!(our.after_abort, 0, "offhook stops");

    let netascii = request("firmware/yealink/a.bin", "netascii", "");
    let (their, our) = (encounter(theirs, &netascii), encounter(ours, &netascii));
    assert_eq!(their.first.unwrap()[4..], *b"one\ntwo\n", "async-tftp sends bare line feeds as netascii");
    assert_eq!(our.first.unwrap(), b"\0\x05\0\x04Only octet (binary) mode is served\0");

    let latin = b"\0\x01gr\xfcn.cfg\0octet\0";
    let (their, our) = (encounter(theirs, latin), encounter(ours, latin));
    assert_eq!(their.first, None, "async-tftp says nothing to a name that is not UTF-8");
    assert_eq!(our.first.unwrap(), b"\0\x05\0\x01File not found\0");

    serving.abort();
    services.stop();
}
