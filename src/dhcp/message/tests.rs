//! What is read from a message, trap by trap, and that nothing which comes from a network can stop the reader.

use super::super::fixture::{Ask, Dice, INTERFACE, OURS, PHONE, address, mac, table, values};
use std::net::SocketAddrV4;

use super::super::{Packet, decide};
use super::*;

/// A message with these octets as its options.
fn raw(options: &[u8]) -> Vec<u8> {
    let mut bytes = Draft::question(Kind::Discover, mac(1), 7).fixed();
    bytes.extend_from_slice(options);
    bytes
}

/// A DISCOVER with these options behind the message type.
fn discover(options: &[u8]) -> Message {
    Message::read(&raw(&[&[53, 1, 1], options, &[255]].concat())).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn two_addresses_in_option_150_are_both_read_and_so_is_what_follows() {
    let message = discover(&[150, 8, 192, 0, 2, 1, 192, 0, 2, 2, 60, 4, b's', b'n', b'o', b'm']);
    let addresses: Vec<Ipv4Addr> = message.options.addresses(code::TFTP_ADDRESSES).collect();
    assert_eq!(addresses, [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
    assert_eq!(message.options.text(code::VENDOR_CLASS).as_deref(), Some("snom"));
}

#[test]
fn an_option_of_a_wrong_length_costs_no_other() {
    let check = |what: &str, option: &[u8]| {
        let message = discover(&[option, &[60, 2, b'o', b'k'], &[50, 4, 192, 0, 2, 7]].concat());
        assert_eq!(message.options.text(60).as_deref(), Some("ok"), "{what}");
        assert_eq!(message.options.address(50), Some(Ipv4Addr::new(192, 0, 2, 7)), "{what}");
        message
    };
    let message = check("a host name that is not UTF-8", &[12, 3, b'a', 0xff, b'b']);
    assert_eq!(message.options.text(code::HOST_NAME).as_deref(), Some("a\u{fffd}b"));
    let message = check("a size of no octets", &[57, 0]);
    assert_eq!((message.options.number::<u16>(code::SIZE_MAX), message.size_max()), (None, 548));
    check("a mask of three octets", &[1, 3, 255, 255, 255]);
    let message = check("an address of five octets", &[54, 5, 192, 0, 2, 1, 9]);
    assert_eq!(message.options.address(code::SERVER), Some(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(message.options.number::<u32>(code::SERVER), None);
    check("half an address", &[54, 2, 192, 0]);
    // In its debug build the library stops at these.
    for code in [80, 81, 94, 152, 153, 154, 155] {
        check("one that the library is strict about", &[code, 1, 0]);
        check("the same, empty", &[code, 0]);
    }
}

#[test]
fn parts_of_an_option_are_joined_wherever_they_stand() {
    let message = discover(&[43, 2, b'h', b't', 60, 1, b'x', 43, 0, 43, 2, b't', b'p']);
    assert_eq!(message.options.get(code::VENDOR_SPECIFIC), Some(&b"http"[..]));
}

#[test]
fn options_that_overflowed_into_file_and_sname_are_read_in_this_order() {
    let overflow = |how: u8| {
        let mut bytes = raw(&[53, 1, 1, 66, 1, b'a', 52, 1, how, 255]);
        bytes[FILE][..7].copy_from_slice(&[66, 1, b'b', 60, 1, b'f', 255]);
        bytes[SNAME][..4].copy_from_slice(&[66, 1, b'c', 255]);
        Message::read(&bytes).unwrap()
    };
    let check = |how, tftp: &[u8], file: &[u8], sname: &[u8]| {
        let message = overflow(how);
        assert_eq!(message.options.get(code::TFTP_SERVER), Some(tftp), "{how}");
        assert_eq!((&message.file[..], &message.sname[..]), (file, sname), "{how}");
    };
    let (file, sname) = (&[66, 1, b'b', 60, 1, b'f', 255][..], &[66, 1, b'c', 255][..]);
    check(0, b"a", file, sname);
    check(1, b"ab", b"", sname);
    check(2, b"ac", file, b"");
    check(3, b"abc", b"", b"");
}

#[test]
fn what_is_no_message_of_an_ethernet_host_is_refused() {
    let check = |what: &str, change: &dyn Fn(&mut Vec<u8>), expected: MessageError| {
        let mut bytes = Ask::discover(mac(1)).draft.write(1_472).bytes;
        change(&mut bytes);
        assert_eq!(Message::read(&bytes), Err(expected), "{what}");
    };
    check("nothing", &|bytes| bytes.clear(), MessageError::Short(0));
    check("almost the fixed part", &|bytes| bytes.truncate(239), MessageError::Short(239));
    check("BOOTP", &|bytes| bytes[COOKIE].fill(0), MessageError::Cookie);
    check("neither question nor answer", &|bytes| bytes[0] = 3, MessageError::Operation(3));
    for hlen in [0, 5, 7, 16, 17, 255] {
        let expected = MessageError::Hardware { htype: 1, hlen };
        check("an address of another length", &|bytes| bytes[2] = hlen, expected);
    }
    check("InfiniBand", &|bytes| bytes[1] = 32, MessageError::Hardware { htype: 32, hlen: 6 });
    check("a group's address", &|bytes| bytes[28] = 1, MessageError::Hardware { htype: 1, hlen: 6 });
    check("no address", &|bytes| bytes[28..34].fill(0), MessageError::Hardware { htype: 1, hlen: 6 });
    check("no options", &|bytes| bytes.truncate(240), MessageError::Kind);
    check("no type", &|bytes| bytes[240] = 12, MessageError::Kind);
    check("a type nobody knows", &|bytes| bytes[242] = 99, MessageError::Kind);
    check(
        "a type of two octets",
        &|bytes| bytes[240..244].copy_from_slice(&[53, 2, 1, 1]),
        MessageError::Kind,
    );
}

#[test]
fn a_message_that_is_cut_off_keeps_what_came_before() {
    let message = Message::read(&raw(&[53, 1, 8, 60, 4, b's', b'n', b'o', b'm', 43, 200, 1, 2])).unwrap();
    assert_eq!((message.kind, message.options.text(60).as_deref()), (Kind::Inform, Some("snom")));
    assert_eq!(message.options.get(43), None);
}

#[test]
fn a_text_is_one_for_people() {
    let text = |value: &[u8]| {
        discover(&[&[60, u8::try_from(value.len()).unwrap()], value].concat()).options.text(60)
    };
    assert_eq!(
        text(b"Cisco Systems, Inc. IP Phone CP-7960G\0").as_deref(),
        Some("Cisco Systems, Inc. IP Phone CP-7960G")
    );
    assert_eq!(text(b" \0\0"), None);
    assert_eq!(text(b"a\nb\x1b[2J").as_deref(), Some("a b [2J"));
    assert_eq!(text(&[b'x'; 255]).map(|text| text.len()), Some(255));
}

/// Values that vendors document, octet by octet.
#[test]
fn documented_values_of_option_43_are_read_and_written_as_they_are() {
    let values = [
        // snom: encapsulated 66 and 67, with the zeros behind them; its VLAN and priority.
        hex(
            "42:0c:68:74:74:70:3a:2f:2f:74:65:73:74:00:43:12:73:6e:6f:6d:2f:73:65:74:74:69:6e:67:73:2e:70:68:70:00",
        ),
        hex("84:04:31:31:34:00:85:02:35:00"),
        // Fanvil: the bare URL.
        hex("687474703a2f2f3139322e3136382e312e3131382f246d61632e636667"),
        // Unify OpenStage, with an end mark of its own.
        hex(
            "01 07 53 69 65 6d 65 6e 73 02 04 00 00 00 65 03 1a 73 64 6c 70 3a 2f 2f 39 33 2e 31 32 32 2e 31 31 34 2e 39 36 3a 31 38 34 34 33 ff",
        ),
    ];
    for value in values {
        let message = discover(&[&[43, u8::try_from(value.len()).unwrap()], &value[..]].concat());
        assert_eq!(message.options.get(code::VENDOR_SPECIFIC), Some(&value[..]));
        assert!(!decide::is_rogue_detection(&message), "{value:?}");
        let draft =
            Draft { options: [(43, &value)].into_iter().collect(), ..Draft::answer(Kind::Ack, &message) };
        let read = Message::read(&draft.write(548).bytes).unwrap();
        assert_eq!(read.options.get(43), Some(&value[..]));
    }
    // What a Fanvil phone asks for when its option 43 is chosen.
    let message = discover(&hex("37 07 01 1c 03 02 04 2b 06"));
    assert_eq!(message.options.asked(), [1, 28, 3, 2, 4, 43, 6]);
}

#[test]
fn a_long_option_is_written_in_parts_and_the_message_padded() {
    let url: Vec<u8> = (0..300_u16).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
    let question = Ask::discover(mac(1)).packet().message;
    let draft = Draft { options: [(66, &url)].into_iter().collect(), ..Draft::answer(Kind::Ack, &question) };
    let Written { bytes, left_out } = draft.write(1_472);
    assert_eq!((&bytes[240..245], bytes[245 + 255], bytes[246 + 255]), (&[53, 1, 5, 66, 255][..], 66, 45));
    assert!(left_out.is_empty());
    assert_eq!(Message::read(&bytes).unwrap().options.get(66), Some(&url[..]));
    let short = Draft::answer(Kind::Ack, &question).write(1_472).bytes;
    assert_eq!((short.len(), short[243], short[299]), (SIZE_MIN, code::END, code::PAD));
}

#[test]
fn what_finds_no_room_is_left_out_and_said_and_what_is_the_relays_always_finds_it() {
    let question = Ask::discover(mac(1)).packet().message;
    let options =
        [(54, vec![1; 4]), (82, vec![2; 100]), (66, vec![3; 150]), (43, vec![4; 120]), (67, vec![5; 20])];
    let draft = Draft { options: options.into_iter().collect(), ..Draft::answer(Kind::Ack, &question) };
    let Written { bytes, left_out } = draft.write(548);
    assert_eq!(left_out, [43]);
    let codes: Vec<u8> = Message::read(&bytes).unwrap().options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [53, 54, 66, 67, 82]);
    let at = 240 + 3 + 6 + 152 + 22;
    assert_eq!((bytes[at], bytes[at + 102]), (82, code::END), "option 82 is the last");
    assert!(bytes.len() <= 548);
}

#[test]
fn how_much_a_client_takes_is_between_what_all_take_and_one_frame() {
    let check = |said: u16, expected: usize| {
        let message = discover(&[&[57, 2], &said.to_be_bytes()[..]].concat());
        assert_eq!(message.size_max(), expected, "{said}");
    };
    check(0, 548);
    check(576, 548);
    check(1_000, 972);
    check(1_500, 1_472);
    check(u16::MAX, 1_472);
}

impl Dice {
    fn octet(&mut self) -> u8 {
        // Lengths and codes that mean something, more often than others.
        const TELLING: [u8; 16] = [0, 1, 2, 3, 4, 6, 17, 43, 52, 53, 54, 55, 82, 127, 254, 255];
        if self.index(2) == 0 { TELLING[self.index(16)] } else { u8::try_from(self.index(256)).unwrap() }
    }

    fn mangle(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.index(6) {
            let at = self.index(bytes.len().max(1));
            match self.index(6) {
                0 => bytes.truncate(at),
                1 => {
                    let more = self.index(300);
                    bytes.extend((0..more).map(|_| self.octet()));
                }
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.insert(at, self.octet()),
                // Where the options stand.
                4 if bytes.len() > FIXED_BYTES => {
                    let at = FIXED_BYTES + self.index(bytes.len() - FIXED_BYTES);
                    bytes[at] = self.octet();
                }
                _ if at < bytes.len() => bytes[at] = self.octet(),
                _ => {}
            }
        }
    }
}

/// Mutated packets of real-looking phones go through reading and the whole decision. What is read can be written and read
/// again; whatever is answered is a message that keeps the rules.
#[test]
fn no_octets_stop_it() {
    let count = std::env::var("OFFHOOK_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let relayed = Ask::discover(mac(4)).by_relay(address(9)).with(82, &[1, 2, 3, 4]).with(61, b"\x01client");
    let offer = Ask::foreign(Kind::Offer).with(66, b"http://192.0.2.1/").with(52, &[3]);
    let discover = Ask::discover(mac(1)).with(60, b"snomD785").with(12, b"phone").with(57, &[5, 220]);
    let bases = [discover, relayed, Ask::inform(address(77)), Ask::reboot(mac(2), address(7)), offer];
    let bases = bases.map(|ask| ask.draft.write(1_472).bytes);
    let scope = decide::Scope { table: &table(), relays: &[address(9)] };
    let (values, mut dice, mut read, mut answered) = (values(), Dice(1), 0, 0);
    for _ in 0..count {
        let mut bytes = bases[dice.index(bases.len())].clone();
        dice.mangle(&mut bytes);
        let Ok(message) = Message::read(&bytes) else { continue };
        read += 1;
        written_again(&message);
        let (from, to) = (SocketAddrV4::new(message.ciaddr, 68), SocketAddrV4::new(OURS, 67));
        let sender = Some(message.mac);
        let packet = Packet { interface: INTERFACE, sender, is_own_hosts: false, from, to, message };
        if let Ok(reply) = decide::inform(&packet, &scope, &PHONE, &values) {
            answered += 1;
            let bytes = reply.write().bytes;
            let ack = Message::read(&bytes).unwrap();
            assert!(bytes.len() <= 1_472 && ack.yiaddr.is_unspecified(), "{packet:?}");
            let is_lean = |code| matches!(code, 53 | 54) || decide::is_for_provisioning(code);
            assert!(ack.options.iter().all(|(code, _)| is_lean(code)), "{packet:?}");
        }
    }
    assert!(read > count / 4 && answered > count / 50, "{read} read and {answered} answered of {count}");
}

/// What was read is what is read again after it was written, as far as it found room.
fn written_again(message: &Message) {
    let framing = [code::MESSAGE_TYPE, code::OVERLOAD, code::PAD, code::END];
    let options = message.options.iter().filter(|(code, _)| !framing.contains(code));
    let draft = Draft {
        secs: message.secs,
        ciaddr: message.ciaddr,
        options: options.collect(),
        ..Draft::answer(message.kind, message)
    };
    let Written { bytes, left_out } = draft.write(SIZE_MAX);
    let again = Message::read(&bytes).unwrap();
    assert_eq!(Message::said(&draft, &left_out), again);
    assert!((SIZE_MIN..=SIZE_MAX).contains(&bytes.len()));
    assert_eq!(
        (again.kind, again.xid, again.mac, again.secs),
        (message.kind, message.xid, message.mac, message.secs)
    );
    assert_eq!(
        (again.ciaddr, again.giaddr, again.broadcast),
        (message.ciaddr, message.giaddr, message.broadcast)
    );
    for (code, value) in message.options.iter().filter(|(code, _)| !framing.contains(code)) {
        let expected = (!left_out.contains(&code)).then_some(value);
        assert_eq!(again.options.get(code), expected, "{code}");
    }
}
