//! HTTP on the wire, from raw sockets: what phones of every age send, what they get, and what becomes of peers that are
//! slow, silent or many.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::lab;
use crate::services::{FILE, PHONE, STRANGER, Services};

const PATIENCE: Duration = Duration::from_secs(40);

/// A connection from this address.
pub(crate) fn connect(services: &Services, from: IpAddr) -> TcpStream {
    connect_with(services, from, |_| Ok(()))
}

/// A connection whose reader has hardly room for a packet: what it does not read stays with the service.
pub(crate) fn connect_stingy(services: &Services, from: IpAddr) -> TcpStream {
    connect_with(services, from, |socket| socket.set_recv_buffer_size(1))
}

fn connect_with(
    services: &Services,
    from: IpAddr,
    prepare: impl Fn(&Socket) -> std::io::Result<()>,
) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    prepare(&socket).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], services.http)).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// What the service says to these bytes until it closes the connection, without the date.
pub(crate) fn say(services: &Services, from: IpAddr, bytes: &[u8]) -> String {
    let mut stream = connect(services, from);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (before, after) = answer.split_once("\r\ndate: ").expect(&answer);
    format!("{before}{}", &after["Sun, 06 Nov 1994 08:49:37 GMT".len()..])
}

pub(crate) fn get(services: &Services, from: IpAddr, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: pbx\r\n{headers}Connection: close\r\n\r\n");
    say(services, from, request.as_bytes())
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

pub(crate) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split_once("\r\n\r\n").unwrap().0;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_phone_gets_its_file_whatever_way_it_asks() {
    let services = Services::start(&[], 64);
    let file = get(&services, PHONE, &format!("/{FILE}"), "");
    assert!(file.starts_with("HTTP/1.1 200 OK\r\n") && body(&file).contains("canary-7c1f"), "{file}");
    assert_eq!(header(&file, "cache-control"), Some("no-store"));
    assert_eq!(header(&file, "accept-ranges"), Some("none"));
    let requests: [Vec<u8>; 8] = [
        format!("GET /{FILE} HTTP/1.0\r\n\r\n").into(),
        format!("GET http://pbx:8480/{FILE} HTTP/1.1\r\nConnection: close\r\n\r\n").into(),
        format!("GET //{} HTTP/1.1\r\nConnection: close\r\n\r\n", FILE.to_uppercase()).into(),
        format!("GET /provisioning/{FILE}?x=1 HTTP/1.1\r\nConnection: close\r\n\r\n").into(),
        format!("GET /%38{} HTTP/1.1\nConnection: close\n\n", &FILE[1..]).into(),
        format!("GET /{FILE} HTTP/1.1\r\nHost : pbx\r\nConnection: close\r\n\r\n").into(),
        [b"GET /", FILE.as_bytes(), b" HTTP/1.1\r\nUser-Agent: T\xe9l\xe9phone\r\nConnection: close\r\n\r\n"]
            .concat(),
        // Avaya 12x0 phones send this octet in their User-Agent.
        format!("GET /{FILE} HTTP/1.1\r\nUser-Agent: SIP12x0\u{17}/04\r\nConnection: close\r\n\r\n").into(),
    ];
    for request in requests {
        let answer = say(&services, PHONE, &request);
        assert_eq!(body(&answer), body(&file), "{}", String::from_utf8_lossy(&request));
    }
    services.stop();
}

#[test]
fn a_phone_that_drops_undated_answers_gets_none() {
    let services = Services::start(&[("t.rom", b"12345")], 64);
    let avaya = "User-Agent: AVAYA/96x1-IPT-SIP-R7_1_15_0_4 9608G\r\n";
    for path in [FILE, "firmware/yealink/t.rom", "46xxsettings.txt"] {
        // Nothing in the request says that the connection is to end.
        let request = format!("GET /{path} HTTP/1.1\r\nHost: pbx\r\n{avaya}\r\n");
        let answer = say(&services, PHONE, request.as_bytes());
        assert_eq!(header(&answer, "connection"), Some("close"), "{path}: {answer}");
        let dated = header(&answer, "last-modified").unwrap();
        assert!(dated.len() == 29 && dated.ends_with(" GMT"), "{path}: {dated}");
        let length: usize = header(&answer, "content-length").unwrap().parse().unwrap();
        assert_eq!(length, body(&answer).len(), "{path}");
    }
    let other = get(&services, PHONE, FILE, "User-Agent: Yealink SIP-T46U 108.86.0.90\r\n");
    assert_eq!(header(&other, "last-modified"), None);
    services.stop();
}

#[test]
fn everything_that_is_not_for_this_peer_is_the_same_404() {
    let services = Services::start(&[("a.bin", b"firmware")], 64);
    let unknown = get(&services, PHONE, "/no-such-file", "");
    assert!(unknown.starts_with("HTTP/1.1 404 Not Found\r\n"), "{unknown}");
    let own = format!("/{FILE}");
    let others = [
        get(&services, STRANGER, &own, ""),
        get(&services, STRANGER, &own, "Range: bytes=0-1\r\nIf-None-Match: *\r\n"),
        get(&services, PHONE, "/805ec0000000.cfg", ""),
        get(&services, PHONE, "/../../etc/passwd", ""),
        get(&services, PHONE, "/firmware/yealink/%2e%2e/%2e%2e/%2e%2e/offhook.db", ""),
        get(&services, PHONE, "/firmware/yealink/%252e%252e/a.bin", ""),
        get(&services, PHONE, "/a%00.cfg", ""),
        get(&services, STRANGER, &format!("/d/{}/{FILE}", "0".repeat(32)), ""),
        get(&services, PHONE, "/", ""),
    ];
    for other in others {
        assert_eq!(other, unknown);
    }
    services.stop();
}

#[test]
fn methods_conditions_and_parts() {
    let firmware: Vec<u8> = (0..=9).map(|digit| b'0' + digit).collect();
    let services = Services::start(&[("a.bin", &firmware)], 64);
    let own = format!("/{FILE}");
    let file = get(&services, PHONE, &own, "");
    let etag = header(&file, "etag").unwrap();
    let again = get(&services, PHONE, &own, &format!("If-None-Match: {etag}\r\n"));
    assert!(again.starts_with("HTTP/1.1 304 Not Modified\r\n") && body(&again).is_empty(), "{again}");
    assert_eq!(get(&services, PHONE, &own, "Range: bytes=0-9\r\n"), file, "a phone's file is always whole");
    let head = say(&services, PHONE, format!("HEAD {own} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body(&head).is_empty(), "{head}");
    assert_eq!(header(&head, "content-length"), None);

    let part = get(&services, PHONE, "/firmware/yealink/a.bin", "Range: bytes=2-4\r\n");
    assert!(part.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{part}");
    assert_eq!((body(&part), header(&part, "content-range")), ("234", Some("bytes 2-4/10")));
    let none = get(&services, PHONE, "/firmware/yealink/a.bin", "Range: bytes=10-\r\n");
    assert!(none.starts_with("HTTP/1.1 416 "), "{none}");
    let head = say(&services, PHONE, b"HEAD /firmware/yealink/a.bin HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(header(&head, "content-length"), Some("10"));
    let put =
        say(&services, PHONE, b"PUT /a.log HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nlog");
    assert!(put.starts_with("HTTP/1.1 405 ") && header(&put, "allow") == Some("GET, HEAD"), "{put}");
    services.stop();
}

#[test]
fn one_connection_carries_many_requests() {
    let services = Services::start(&[("a.bin", b"firmware")], 64);
    let mut stream = connect(&services, PHONE);
    stream.write_all(&b"GET /firmware/yealink/a.bin HTTP/1.1\r\n\r\n".repeat(50)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("\r\n\r\nfirmware").count(), 50);
    services.stop();
}

/// What comes until the connection ends, and how it ends.
pub(crate) fn drain(stream: &mut TcpStream) -> (usize, Result<(), ErrorKind>) {
    let (mut taken, mut buffer) = (0, vec![0; 65_536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (taken, Ok(())),
            Ok(octets) => taken += octets,
            Err(error) => return (taken, Err(error.kind())),
        }
    }
}

#[test]
fn a_service_that_stops_leaves_no_passwords_to_the_kernel() {
    let services = Services::start(&[], 64);
    let whole = get(&services, PHONE, &format!("/{FILE}"), "").len();
    let mut stream = connect_stingy(&services, PHONE);
    stream.write_all(format!("GET /{FILE} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    services.stop();
    let ended = lab::poll("the end of the connection", || stream.take_error().unwrap());
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    let (taken, _) = drain(&mut stream);
    assert!(taken < whole, "{taken} of {whole} octets had left");
}

#[test]
fn passwords_asked_for_in_one_breath_come_one_after_the_other() {
    let services = Services::start(&[("a.bin", b"firmware")], 64);
    let own = format!("GET /{FILE} HTTP/1.1\r\n\r\n");
    let mut stream = connect(&services, PHONE);
    let all = [&own, "GET /firmware/yealink/a.bin HTTP/1.1\r\n\r\n", &own, &own].concat();
    stream.write_all(all.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!((answers.matches("HTTP/1.1 200 OK").count(), answers.matches("canary-7c1f").count()), (4, 3));
    services.stop();
}

#[test]
fn connections_beyond_the_limit_wait_and_other_addresses_do_not() {
    let services = Services::start(&[("a.bin", b"firmware")], 2);
    let request = b"GET /firmware/yealink/a.bin HTTP/1.1\r\n\r\n";
    let mut idle: Vec<TcpStream> = (0..2).map(|_| connect(&services, STRANGER)).collect();
    for stream in &mut idle {
        stream.write_all(request).unwrap();
        stream.read_exact(&mut [0; 50]).unwrap();
    }
    let mut third = connect(&services, STRANGER);
    third.write_all(request).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(third.read(&mut [0; 50]).is_err(), "it waits for its turn");
    assert!(get(&services, PHONE, "/firmware/yealink/a.bin", "").starts_with("HTTP/1.1 200"));
    // While another waits, a connection that is used again is closed after its answer.
    idle[0].write_all(request).unwrap();
    let mut answer = String::new();
    idle[0].read_to_string(&mut answer).unwrap();
    assert!(answer.contains("connection: close"), "{answer}");
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    third.read_exact(&mut [0; 50]).unwrap();
    services.stop();
}

/// Sends an octet now and then until the service closes the connection; how long that took.
fn dribble(mut stream: TcpStream, octets: &'static [u8]) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    for octet in octets.iter().cycle() {
        let gone = stream.write_all(&[*octet]).is_err();
        if gone || matches!(stream.read(&mut [0; 512]), Ok(0)) || begun.elapsed() > PATIENCE {
            break;
        }
    }
    begun.elapsed()
}

#[test]
fn slow_senders_and_readers_that_stop_are_closed() {
    let services = Services::start(&[("big.rom", &vec![7; 40_000_000])], 64);
    let dribbler = connect(&services, PHONE);
    let dribbler = std::thread::spawn(move || dribble(dribbler, b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    let stalled: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(&services, PHONE);
            stream.write_all(b"GET /firmware/yealink/big.rom HTTP/1.1\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let asked = Instant::now();
    assert!(get(&services, PHONE, &format!("/{FILE}"), "").starts_with("HTTP/1.1 200"), "others are served");

    let mut slow = connect(&services, PHONE);
    slow.write_all(b"GET /firmware/yealink/big.rom HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let (mut taken, mut buffer) = (0u32, vec![0; 1_000_000]);
    loop {
        let octets = slow.read(&mut buffer).unwrap();
        if octets == 0 {
            break;
        }
        taken += u32::try_from(octets).unwrap();
        // As slow as the test's time allows, and slower than the limits of a request.
        let wait = Duration::from_secs(33).mul_f64(f64::from(taken) / 40e6);
        let pause = wait.saturating_sub(asked.elapsed());
        std::thread::park_timeout(pause);
    }
    assert!(taken > 40_000_000 && asked.elapsed() > Duration::from_secs(32), "a slow reader gets everything");

    let took = dribbler.join().unwrap();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(15), "{took:?}");
    for mut stream in stalled {
        // What lies in our own buffer still comes; then the service has reset the connection.
        assert_eq!(drain(&mut stream).1, Err(ErrorKind::ConnectionReset));
    }
    services.stop();
}
