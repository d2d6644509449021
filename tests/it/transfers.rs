//! Files with passwords on the wire: what a transfer that ends early, is repeated, forged or locked leaves behind in the
//! grants of the phone. The numbers are those of the specification's cases.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use offhook::clock::{Clock, Timestamp};
use socket2::SockRef;

use crate::http::{body, connect, connect_stingy, drain, get, header, say};
use crate::lab;
use crate::services::{FILE, PHONE, STRANGER, Services};
use crate::tftp::{ABORT, Client, acknowledgement, request, server};

const OPEN: &str = "open";
const STAGED: &str = "staged";

/// The phone's file with its passwords, and the request for it.
fn first_get(services: &Services) -> String {
    let file = get(services, PHONE, &format!("/{FILE}"), "");
    assert!(file.starts_with("HTTP/1.1 200 OK\r\n") && body(&file).contains("canary-7c1f"), "{file}");
    file
}

/// A connection that has asked for the file, has its first octet, and has no room for the rest.
fn stalled(services: &Services, headers: &str) -> TcpStream {
    let mut stream = connect_stingy(services, PHONE);
    stream.write_all(format!("GET /{FILE} HTTP/1.1\r\n{headers}\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

/// Waits for the reset; how much had come before.
fn reset(stream: &mut TcpStream) -> usize {
    let ended = lab::poll("the reset of the connection", || stream.take_error().unwrap());
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    drain(stream).0
}

#[test]
fn case_13_half_a_download_by_http_leaves_the_window_open() {
    let services = Services::start(&[], 64);
    let mut stream = stalled(&services, "");
    stream.read_exact(&mut [0; 600]).unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!((services.state(), services.releases()), (OPEN, 1));
    let file = first_get(&services);
    assert_eq!(first_get(&services), file);
    assert_eq!((services.state(), services.releases()), (OPEN, 3));
    assert_eq!(services.acknowledged(2), 2, "of the whole downloads only");
    services.stop();
}

#[test]
fn case_14_a_tftp_client_that_falls_silent_leaves_the_window_open() {
    let services = Services::start(&[], 64);
    let phone = Client::at(PHONE);
    phone.send(&request(FILE, "octet", ""), server(&services));
    for block in 1..=3 {
        let (data, from) = phone.receive();
        assert_eq!(data[..4], [0, 3, 0, block]);
        phone.send(&acknowledgement(block.into()), from);
    }
    // Five repetitions of block 4 beside the first, over some seventeen seconds.
    assert_eq!(phone.count_within(Duration::from_secs(20)), 6);
    assert_eq!((services.state(), services.releases(), services.acknowledged(0)), (OPEN, 1, 0));
    assert!(phone.read(server(&services), FILE, "").is_ok());
    assert_eq!((services.releases(), services.acknowledged(1)), (2, 1));
    services.stop();
}

#[test]
fn case_15_a_doubled_acknowledgement_doubles_no_block() {
    let services = Services::start(&[], 64);
    let phone = Client::at(PHONE);
    phone.send(&request(FILE, "octet", ""), server(&services));
    let (mut blocks, mut last) = (0, false);
    while !last {
        let (data, from) = phone.receive();
        blocks += 1;
        assert_eq!(data[..4], [0, 3, 0, blocks], "each block once");
        last = data.len() < 516;
        for _ in 0..2 {
            phone.send(&acknowledgement(blocks.into()), from);
        }
    }
    assert_eq!((services.releases(), services.acknowledged(1)), (1, 1));
    services.stop();
}

#[test]
fn case_16_a_repeated_request_is_the_same_release() {
    let clock = Clock::manual(Timestamp(1_795_000_000_000));
    let services = Services::start_at(&clock, &[], 64);
    let (phone, server) = (Client::at(PHONE), server(&services));
    let ask = request(FILE, "octet", "blksize|1024");
    phone.send(&ask, server);
    let (options, from) = phone.receive();
    assert_eq!(
        (options[1], services.state(), services.releases()),
        (6, STAGED, 0),
        "nothing is released yet"
    );
    phone.send(&acknowledgement(0), from);
    let (first, _) = phone.receive();
    phone.send(&ask, server);
    assert_eq!(phone.receive(), (first.clone(), from), "the current block, from the same port");
    assert_eq!(services.releases(), 1);
    let (mut block, mut data) = (1, first);
    loop {
        phone.send(&acknowledgement(block), from);
        if data.len() < 4 + 1024 {
            break;
        }
        block += 1;
        data = phone.receive().0;
    }
    assert_eq!(services.acknowledged(1), 1);
    phone.send(&ask, server);
    assert_eq!(phone.count_within(Duration::from_millis(300)), 0, "nor is it one after its end");
    clock.advance(Duration::from_secs(10));
    phone.send(&ask, server);
    let (options, other) = phone.receive();
    assert!(options[1] == 6 && other != from, "ten seconds later it is a new one");
    assert_eq!(services.releases(), 1, "until that is acknowledged");
    services.stop();
}

#[test]
fn case_17_without_the_last_acknowledgement_nothing_has_arrived() {
    let services = Services::start(&[], 64);
    let (phone, server) = (Client::at(PHONE), server(&services));
    let ask = request(FILE, "octet", "");
    phone.send(&ask, server);
    let (mut data, from) = phone.receive();
    while data.len() == 516 {
        phone.send(&[&[0, 4], &data[2..4]].concat(), from);
        data = phone.receive().0;
    }
    phone.send(&ask, server);
    assert_eq!(phone.receive(), (data, from), "the last block again");
    assert_eq!((services.state(), services.releases(), services.acknowledged(0)), (OPEN, 1, 0));
    services.stop();
}

#[test]
fn case_18_a_forged_request_opens_nothing() {
    let services = Services::start(&[], 64);
    let forged = ["", "blksize|1428|tsize|0"].map(|options| {
        let client = Client::at(PHONE);
        for _ in 0..5 {
            client.send(&request(FILE, "octet", options), server(&services));
        }
        client
    });
    assert_eq!(forged[0].count_within(Duration::from_secs(6)), 3);
    assert_eq!(forged[1].count_within(Duration::from_millis(10)), 3, "with options, too");
    assert_eq!((services.state(), services.releases()), (STAGED, 0));
    assert!(Client::at(PHONE).read(server(&services), FILE, "").is_ok());
    assert_eq!((services.state(), services.releases()), (OPEN, 1));
    services.stop();
}

#[test]
fn case_19_a_blind_acknowledgement_opens_nothing() {
    let services = Services::start(&[], 64);
    let (phone, blind) = (Client::at(PHONE), Client::at(PHONE));
    phone.send(&request(FILE, "octet", ""), server(&services));
    let (first, from) = phone.receive();
    assert!(!String::from_utf8_lossy(&first).contains("canary"), "the first block holds no password");
    blind.send(&acknowledgement(1), from);
    assert_eq!(blind.receive().0, b"\0\x05\0\x05Unknown transfer ID\0");
    assert_eq!((services.state(), services.releases()), (STAGED, 0));
    services.stop();
}

#[test]
fn asking_only_for_the_size_opens_nothing() {
    let services = Services::start(&[], 64);
    let phone = Client::at(PHONE);
    phone.send(&request(FILE, "octet", "tsize|0"), server(&services));
    let (options, from) = phone.receive();
    let text = String::from_utf8(options[2..].to_vec()).unwrap();
    let size: usize = text.split('\0').skip_while(|word| *word != "tsize").nth(1).unwrap().parse().unwrap();
    phone.send(ABORT, from);
    assert_eq!(phone.count_within(Duration::from_millis(300)), 0);
    assert_eq!((services.state(), services.releases()), (STAGED, 0));
    assert_eq!(
        phone.read(server(&services), FILE, "tsize|0").unwrap().len(),
        size,
        "and it was the right one"
    );
    services.stop();
}

#[test]
fn every_way_to_ask_gives_the_same_passwords() {
    let services = Services::start(&[], 64);
    let file = first_get(&services);
    let with_options = Client::at(PHONE).read(server(&services), FILE, "blksize|1428").unwrap();
    assert_eq!(String::from_utf8(with_options).unwrap(), body(&file));
    let plain = String::from_utf8(Client::at(PHONE).read(server(&services), FILE, "").unwrap()).unwrap();
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(lines(&plain), lines(body(&file)), "but for the lines that say nothing");
    assert_eq!(services.acknowledged(3), 3);
    services.stop();
}

#[test]
fn case_20_head_releases_nothing() {
    let services = Services::start(&[], 64);
    let head = || {
        let head =
            say(&services, PHONE, format!("HEAD /{FILE} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body(&head).is_empty(), "{head}");
        assert_eq!(header(&head, "content-length"), None);
    };
    head();
    assert_eq!((services.state(), services.releases()), (STAGED, 0));
    first_get(&services);
    head();
    assert_eq!((services.state(), services.releases()), (OPEN, 1));
    services.stop();
}

#[test]
fn case_21_a_range_is_the_whole_file() {
    let services = Services::start(&[], 64);
    let file = first_get(&services);
    let part = get(&services, PHONE, &format!("/{FILE}"), "Range: bytes=0-99\r\n");
    assert_eq!(part, file);
    services.stop();
}

#[test]
fn case_22_a_phone_that_has_its_passwords_is_told_so() {
    let services = Services::start(&[], 64);
    let file = first_get(&services);
    let etag = header(&file, "etag").unwrap();
    for known in [etag.to_owned(), format!("W/{etag}"), format!("\"x\", {etag}")] {
        let again = get(&services, PHONE, &format!("/{FILE}"), &format!("If-None-Match: {known}\r\n"));
        assert!(again.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{again}");
    }
    assert_eq!(services.releases(), 1);
    let any = get(&services, PHONE, &format!("/{FILE}"), "If-None-Match: *\r\n");
    assert_eq!(any, file, "who names no tag has nothing");
    assert_eq!(services.releases(), 2);
    services.stop();
}

#[test]
fn case_35_passwords_that_nobody_takes_are_never_left_to_the_kernel() {
    let clock = Clock::manual(Timestamp(1_795_000_000_000));
    let services = Services::start_at(&clock, &[], 64);
    let whole = first_get(&services).len();
    assert_eq!(services.acknowledged(1), 1);
    // One that keeps the connection, one that wants it closed, one that has said all it has to say.
    let mut all: Vec<TcpStream> =
        ["", "Connection: close\r\n", ""].iter().map(|headers| stalled(&services, headers)).collect();
    all[2].shutdown(Shutdown::Write).unwrap();
    clock.advance(Duration::from_secs(121));
    for stream in &mut all {
        // The reader takes nothing until the service has given up.
        let taken = reset(stream);
        assert!(taken < whole, "{taken} of {whole} octets had left");
    }
    assert_eq!((services.state(), services.acknowledged(0)), (OPEN, 0));
    services.stop();
}

#[test]
fn case_46_a_locked_device_gets_no_further_octet() {
    let services = Services::start(&[], 64);
    let whole = first_get(&services).len();
    assert_eq!(services.acknowledged(1), 1);
    let mut stream = stalled(&services, "");
    let phone = Client::at(PHONE);
    phone.send(&request(FILE, "octet", "blksize|64"), server(&services));
    let (_, from) = phone.receive();
    phone.send(&acknowledgement(0), from);
    assert_eq!(phone.receive().0[..4], [0, 3, 0, 1]);
    services.lock();
    assert!(reset(&mut stream) < whole);
    let error = std::iter::repeat_with(|| phone.receive().0).find(|packet| packet[1] != 3).unwrap();
    assert_eq!(error, b"\0\x05\0\x02Access violation\0");
    phone.send(&acknowledgement(1), from);
    assert_eq!(phone.count_within(Duration::from_millis(300)), 0);
    assert_eq!((services.state(), services.acknowledged(0)), ("locked", 0));
    services.stop();
}

#[test]
fn passwords_asked_for_in_one_breath_leave_one_after_the_other() {
    let services = Services::start(&[], 64);
    let mut stream = connect_stingy(&services, PHONE);
    stream.write_all(format!("GET /{FILE} HTTP/1.1\r\n\r\n").repeat(2).as_bytes()).unwrap();
    stream.read_exact(&mut [0; 600]).unwrap();
    // Another connection's request comes later, and is answered.
    first_get(&services);
    assert_eq!(services.releases(), 2, "the second waits until the first has arrived");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!((services.releases(), services.acknowledged(3)), (3, 3));
    services.stop();
}

#[test]
fn case_54_who_asks_for_phones_one_after_the_other_is_not_answered() {
    let services = Services::start(&[], 64);
    let ask = |n: u8| {
        let mut stream = connect(&services, STRANGER);
        stream
            .write_all(format!("GET /805ec00000{n:02x}.cfg HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for n in 0..3 {
        assert!(ask(n).starts_with("HTTP/1.1 404 Not Found\r\n"));
    }
    assert_eq!(ask(3), "");
    let stranger = Client::at(STRANGER);
    stranger
        .send(&request("805ec0000004.cfg", "octet", ""), SocketAddr::from(([127, 0, 0, 1], services.tftp)));
    assert_eq!(stranger.count_within(Duration::from_millis(500)), 0);
    services.stop();
}
