//! What the RFC wants, row by row; the rules of safety in `harm`, whole lives by chance in `property`.

mod duel;
mod harm;
mod lan;
mod property;
mod world;

use super::super::fixture::{
    Ask, FOREIGN, OURS, PC, PHONE, RELAY, STRANGER, address, mac, prefix, table, values,
};
use super::super::message::code;
use super::super::reply::{Because, Destination};
use super::*;
use crate::clock::{BootId, BootInstant, Timestamp};
use crate::net::Prefix;
use lan::{Lan, settings};

fn who(standing: Standing) -> Who {
    Who { standing, ..PHONE }
}

fn codes(reply: &Reply) -> Vec<u8> {
    reply.draft.options.iter().map(|(code, _)| code).collect()
}

fn option(reply: &Reply, code: u8) -> &[u8] {
    reply.draft.options.get(code).unwrap_or_default()
}

fn seconds(reply: &Reply, code: u8) -> u32 {
    u32::from_be_bytes(option(reply, code).try_into().unwrap())
}

#[test]
fn a_phone_gets_a_lease() {
    let mut lan = Lan::new(settings());
    let commands = lan.ask(&Ask::discover(mac(1)), PHONE);
    let [Command::Probe { address: probed }, Command::Send(offer)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((*probed, offer.draft.kind, offer.draft.yiaddr), (address(100), Kind::Offer, address(100)));
    let commands = lan.ask(&Ask::selecting(mac(1), OURS, address(100)), PHONE);
    let [Command::Commit { change: Change::Leased(lease), .. }, Command::Send(ack)] = &commands[..] else {
        panic!("{commands:?}")
    };
    let hour = Duration::from_hours(1);
    assert_eq!((lease.address, lease.mac, lease.duration), (address(100), mac(1), hour));
    assert_eq!(
        (ack.draft.kind, ack.draft.yiaddr, ack.because),
        (Kind::Ack, address(100), Because::Selecting)
    );
    let times = [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME].map(|code| seconds(ack, code));
    assert_eq!(times, [3_600, 1_800, 3_150]);
    assert_eq!(
        (option(ack, code::SERVER), option(ack, code::SUBNET_MASK)),
        (&OURS.octets()[..], &[255, 255, 255, 0][..])
    );
    assert_eq!((ack.to, ack.from), (Destination::Client { mac: mac(1), address: address(100) }, OURS));
    let (_, slot) = lan.server.pool.of(mac(1)).unwrap();
    assert_eq!((slot.state, slot.until), (State::Leased, Some(lan.now() + hour + REST)));
}

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn a_phone_that_waits_for_approval_gets_an_address_and_is_told_nothing() {
    let mut lan = Lan::new(settings());
    let offer = lan.answer(&Ask::discover(mac(1)), who(Standing::Pending)).unwrap();
    assert_eq!(codes(&offer), [54, 51, 1, 58, 59, 3, 6, 15, 28, 42]);
    let offer = lan.answer(&Ask::discover(mac(2)), who(Standing::Welcome)).unwrap();
    assert_eq!(codes(&offer), [54, 51, 1, 58, 59, 3, 6, 15, 28, 42, 66, 150]);
    assert_eq!(lan.answer(&Ask::discover(mac(3)), who(Standing::Blocked)), Err(Why::Blocked));
    assert_eq!(lan.answer(&Ask::discover(mac(3)), Who { is_server: true, ..PHONE }), Err(Why::IsServer));
}

#[test]
fn an_answer_goes_where_its_client_hears_it() {
    let check = |what: &str, settings: Settings, ask: Ask, expected: Destination| {
        let mut lan = Lan::new(settings);
        let reply = lan.answer(&ask, PHONE).unwrap();
        assert_eq!(reply.to, expected, "{what}");
        let flag = reply.draft.kind != Kind::Nak && reply.to != Destination::Broadcast;
        assert!(!flag || !reply.draft.broadcast || !reply.draft.giaddr.is_unspecified(), "{what}");
    };
    let broadcast = |ask: Ask| ask.draft(|draft| draft.broadcast = true);
    let client = Destination::Client { mac: mac(1), address: address(100) };
    check("by its hardware address", settings(), Ask::discover(mac(1)), client);
    check("to everybody", settings(), broadcast(Ask::discover(mac(1))), Destination::Broadcast);
    let relay = Destination::Relay { address: RELAY, via: Some(mac(0x0ffff)) };
    check("by the relay", relayed(), Ask::discover(mac(1)).by_relay(RELAY), relay);
    check("by it, whatever the flag", relayed(), broadcast(Ask::discover(mac(1))).by_relay(RELAY), relay);
    let nak = Ask::selecting(mac(1), OURS, Ipv4Addr::new(10, 64, 0, 20));
    check("a NAK, too", relayed(), nak.clone().by_relay(RELAY), relay);
    check("a NAK here", settings(), nak, Destination::Broadcast);
    let mut lan = Lan::new(relayed());
    let ask = |ask: Ask| ask.by_relay(RELAY);
    let offered = lan.answer(&ask(Ask::discover(mac(1))), PHONE).unwrap().draft.yiaddr;
    lan.answer(&ask(Ask::selecting(mac(1), OURS, offered)), PHONE).unwrap();
    // Past the relay: by whichever router brought it here.
    let mut packet = Ask::renewing(mac(1), offered).packet();
    packet.sender = Some(mac(0x0eeee));
    lan.pass(10_000);
    let commands = lan.ask_packet(&packet, PHONE);
    let Some(Command::Send(ack)) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(ack.to, Destination::Client { mac: mac(0x0eeee), address: offered });
    assert_eq!((ack.draft.ciaddr, ack.draft.yiaddr), (offered, offered));
}

fn relayed() -> Settings {
    Settings {
        relay: Some(RELAY),
        prefix: Prefix::new(RELAY, 16).unwrap(),
        first: Ipv4Addr::new(10, 64, 0, 10),
        last: Ipv4Addr::new(10, 64, 0, 200),
        router: None,
        ..settings()
    }
}

#[test]
fn a_pool_is_for_its_own_network() {
    let check = |what: &str, ask: Ask, here: bool, there: bool| {
        let fits = [settings(), relayed()].map(|settings| Lan::new(settings).server.fits(&ask.packet()));
        assert_eq!(fits, [here, there], "{what}");
    };
    let far = Ipv4Addr::new(10, 64, 0, 20);
    check("here", Ask::discover(mac(1)), true, false);
    check("there", Ask::discover(mac(1)).by_relay(RELAY), false, true);
    check("by another relay", Ask::discover(mac(1)).by_relay(Ipv4Addr::new(10, 65, 0, 2)), false, false);
    check("renewing here", Ask::renewing(mac(1), address(100)), true, false);
    check("renewing there", Ask::renewing(mac(1), far), false, true);
    check("another server here", Ask::foreign(Kind::Offer), true, false);
    check("another server there", Ask::foreign(Kind::Offer).draft(|draft| draft.giaddr = RELAY), false, true);
    let mut packet = Ask::discover(mac(1)).packet();
    packet.interface += 1;
    let mut lan = Lan::new(settings());
    assert_eq!(lan.ask_packet(&packet, PHONE), [Command::Silence { why: Why::NoPool, mac: mac(1) }]);
    assert_eq!(lan.answer(&Ask::discover(mac(1)).by_relay(RELAY), PHONE), Err(Why::Relay));
}

#[test]
fn what_a_client_and_a_relay_want_back_they_get_back() {
    let mut lan = Lan::new(relayed());
    let ask = Ask::discover(mac(1)).with(code::RELAY_AGENT, &[1, 2, 7, 7]).with(code::CLIENT_ID, b"\x01id");
    let offer = lan.answer(&ask.by_relay(RELAY), PHONE).unwrap();
    assert_eq!(codes(&offer).last(), Some(&82));
    assert_eq!((option(&offer, 82), option(&offer, 61)), (&[1, 2, 7, 7][..], &b"\x01id"[..]));
    let mut lan = Lan::new(settings());
    let forged = Ask::discover(mac(1)).with(code::RELAY_AGENT, &[1, 2, 7, 7]);
    assert_eq!(
        option(&lan.answer(&forged, PHONE).unwrap(), 82),
        &[] as &[u8],
        "without a relay it is nobody's"
    );
    let small = Ask::discover(mac(2)).with(code::SIZE_MAX, &576_u16.to_be_bytes());
    assert_eq!(lan.answer(&small, PHONE).unwrap().size_max, 548);
    let large = Ask::discover(mac(3)).with(code::SIZE_MAX, &u16::MAX.to_be_bytes());
    assert_eq!(lan.answer(&large, PHONE).unwrap().size_max, 1_472);
}

#[test]
fn a_lease_is_as_long_as_the_client_wants_and_the_configuration_allows() {
    let check = |asked: u32, expected: u32| {
        let ask = Ask::discover(mac(1)).with(code::LEASE_TIME, &asked.to_be_bytes());
        let offer = Lan::new(settings()).answer(&ask, PHONE).unwrap();
        assert_eq!(seconds(&offer, code::LEASE_TIME), expected, "{asked}");
    };
    check(600, 600);
    check(0, 120);
    check(119, 120);
    check(86_400, 3_600);
    check(u32::MAX, 3_600);
}

#[test]
fn an_address_is_chosen_in_the_order_of_the_rfc() {
    let mut lan = Lan::new(Settings { last: address(103), ..settings() });
    lan.hand(Input::Reserved(BTreeMap::from([(mac(9), address(101)), (mac(8), address(50))])));
    let wish =
        |number, last: u8| Ask::discover(mac(number)).with(code::REQUESTED_ADDRESS, &address(last).octets());
    let offered = |lan: &mut Lan, ask: Ask| lan.answer(&ask, PHONE).map(|offer| offer.draft.yiaddr);
    assert_eq!(offered(&mut lan, wish(9, 103)), Ok(address(101)), "the reserved one");
    assert_eq!(offered(&mut lan, wish(8, 103)), Ok(address(50)), "from outside the range, too");
    assert_eq!(offered(&mut lan, wish(1, 103)), Ok(address(103)), "the one it asks for");
    assert_eq!(
        offered(&mut lan, wish(2, 101)),
        Ok(address(100)),
        "not another's reservation: one never used"
    );
    assert_eq!(offered(&mut lan, wish(3, 1)), Ok(address(102)), "not ours");
    assert_eq!(offered(&mut lan, wish(4, 77)), Err(Why::Full), "nor one outside");
    lan.answer(&Ask::selecting(mac(2), OURS, address(100)), PHONE).unwrap();
    lan.ask(&Ask::release(mac(2), address(100)), PHONE);
    lan.pass(61_000);
    assert_eq!(offered(&mut lan, wish(1, 102)), Ok(address(103)), "the one it was offered last");
    assert_eq!(
        offered(&mut lan, Ask::discover(mac(5))),
        Ok(address(100)),
        "the one that is free the longest"
    );
    assert_eq!(offered(&mut lan, Ask::discover(mac(2))), Ok(address(102)), "its own is another's");
}

#[test]
fn a_reservation_moves_a_phone_when_it_starts_anew_and_another_one_at_its_renewal() {
    let mut lan = Lan::new(settings());
    lan.lease(mac(1), address(100));
    lan.lease(mac(2), address(101));
    lan.hand(Input::Reserved(BTreeMap::from([(mac(1), address(150)), (mac(3), address(101))])));
    lan.pass(10_000);
    let kind = |lan: &mut Lan, ask: Ask| lan.answer(&ask, PHONE).map(|reply| reply.draft.kind);
    assert_eq!(
        kind(&mut lan, Ask::renewing(mac(1), address(100))),
        Ok(Kind::Ack),
        "it may be on the telephone"
    );
    assert_eq!(kind(&mut lan, Ask::reboot(mac(1), address(100))), Ok(Kind::Nak));
    assert_eq!(lan.answer(&Ask::discover(mac(1)), PHONE).unwrap().draft.yiaddr, address(150));
    assert_eq!(
        lan.answer(&Ask::discover(mac(3)), PHONE).unwrap().draft.yiaddr,
        address(102),
        "not while it is leased"
    );
    assert_eq!(kind(&mut lan, Ask::renewing(mac(2), address(101))), Ok(Kind::Nak));
}

#[test]
fn an_ack_leaves_when_its_lease_is_durable() {
    let mut lan = Lan::new(settings());
    lan.ask(&Ask::discover(mac(1)), PHONE);
    let request = Ask::selecting(mac(1), OURS, address(100));
    let commands = lan.hand_packet(&request, PHONE);
    let [Command::Commit { id: 1, .. }] = &commands[..] else { panic!("{commands:?}") };
    let silence = |why| [Command::Silence { why, mac: mac(1) }];
    assert_eq!(lan.hand_packet(&request, PHONE), silence(Why::Writing));
    assert_eq!(lan.hand_packet(&Ask::discover(mac(1)), PHONE), silence(Why::Writing));
    assert_eq!(lan.hand(Input::Failed { id: 1 }), silence(Why::NotWritten));
    lan.pass(1_000);
    let commands = lan.ask(&request, PHONE);
    assert!(matches!(commands[..], [Command::Commit { id: 2, .. }, Command::Send(_)]), "{commands:?}");
    assert_eq!(lan.hand(Input::Committed { id: 2 }), []);
    // A renewal that cannot be written leaves what there was.
    lan.hand_packet(&Ask::renewing(mac(1), address(100)), PHONE);
    assert_eq!(lan.hand(Input::Failed { id: 3 }), silence(Why::NotWritten));
    lan.pass(10_000);
    assert!(lan.answer(&Ask::renewing(mac(1), address(100)), PHONE).is_ok());
}

#[test]
fn who_declines_or_releases_its_address_meanwhile_gets_no_ack() {
    for (ask, state) in [
        (Ask::decline(mac(1), address(100)), State::Quarantined),
        (Ask::release(mac(1), address(100)), State::Free),
    ] {
        let mut lan = Lan::new(settings());
        lan.lease(mac(1), address(100));
        let [Command::Commit { id, .. }] = lan.hand_packet(&Ask::renewing(mac(1), address(100)), PHONE)[..]
        else {
            panic!("{ask:?}")
        };
        lan.hand_packet(&ask, PHONE);
        assert_eq!(lan.hand(Input::Committed { id }), [], "{ask:?}");
        assert_eq!(lan.server.pool.slot(address(100)).map(|slot| slot.state), Some(state), "{ask:?}");
    }
}

#[test]
fn what_a_client_does_not_have_it_cannot_give_back() {
    let mut lan = Lan::new(settings());
    lan.lease(mac(1), address(100));
    let check = |lan: &mut Lan, ask: Ask, expected: Why| {
        assert_eq!(lan.ask(&ask, PHONE), [Command::Silence { why: expected, mac: ask.draft.mac }], "{ask:?}");
    };
    check(&mut lan, Ask::release(mac(2), address(100)), Why::Unknown);
    check(&mut lan, Ask::decline(mac(2), address(100)), Why::Unknown);
    check(&mut lan, Ask::decline(mac(1), address(101)), Why::Unknown);
    check(
        &mut lan,
        Ask::release(mac(1), address(100)).with(code::SERVER, &FOREIGN.octets()),
        Why::ForAnother,
    );
    check(
        &mut lan,
        Ask::decline(mac(1), address(100)).with(code::SERVER, &FOREIGN.octets()),
        Why::ForAnother,
    );
    assert!(lan.server.has_lease(mac(1)));
    let commands = lan.ask(&Ask::decline(mac(1), address(100)), PHONE);
    let alarm = Command::Alarm(Alarm::Declined { address: address(100), mac: mac(1) });
    assert!(matches!(&commands[..], [Command::Commit { .. }, told] if *told == alarm), "{commands:?}");
    check(&mut lan, Ask::decline(mac(1), address(100)), Why::Unknown);
}

#[test]
fn what_is_left_of_a_lease_is_measured_on_the_boot_clock_while_it_can_be() {
    let moment = |wall: i64, boot: &str, ms: i64| Moment {
        wall: Timestamp(wall * 1_000),
        boot: BootInstant { boot: BootId(boot.into()), ms: ms * 1_000 },
    };
    let record = |kept| Record {
        address: address(100),
        mac: Some(mac(1)),
        kept,
        at: Timestamp(1_000_000),
        at_boot: BootInstant { boot: BootId("a".into()), ms: 50_000 },
        duration: Duration::from_mins(10),
    };
    let check = |what: &str, now: Moment, left: u64| {
        assert_eq!(record(Kept::Leased).left(&now), Duration::from_secs(left), "{what}");
        assert_eq!(record(Kept::Released).left(&now), Duration::ZERO, "{what}");
    };
    check("at once", moment(1_000, "a", 50), 600);
    check("later", moment(1_100, "a", 150), 500);
    check("the wall clock was set forward", moment(900_000, "a", 150), 500);
    check("the wall clock was set back", moment(0, "a", 150), 500);
    check("too late", moment(1_700, "a", 650), 0);
    check("another boot", moment(1_100, "b", 5), 500);
    check("another boot whose wall clock is behind", moment(0, "b", 5), 600);
}

#[test]
fn after_a_start_everything_is_as_it_was_written_down() {
    let record = |last, number: Option<u32>, kept, age: i64| Record {
        address: address(last),
        mac: number.map(mac),
        kept,
        at: Timestamp(-age * 1_000),
        at_boot: BootInstant { boot: lan::moment(0).boot.boot, ms: -age * 1_000 },
        duration: Duration::from_mins(10),
    };
    let records = [
        record(100, Some(1), Kept::Leased, 300),
        record(101, Some(2), Kept::Leased, 10_000),
        record(102, Some(3), Kept::Leased, 630),
        record(103, Some(4), Kept::Released, 10),
        record(104, None, Kept::Quarantined, 300),
        record(105, None, Kept::Quarantined, 700),
        record(20, Some(5), Kept::Leased, 1),
    ];
    let mut lan = Lan::with(settings(), &records, Stand::Serving);
    let states: BTreeMap<_, _> =
        lan.server.addresses().map(|(address, mac, state, _)| (address, (mac, state))).collect();
    let expected = [
        (address(100), (Some(mac(1)), State::Leased)),
        (address(101), (Some(mac(2)), State::Free)),
        (address(102), (Some(mac(3)), State::Leased)),
        (address(103), (Some(mac(4)), State::Free)),
        (address(104), (None, State::Quarantined)),
    ];
    assert_eq!(states, BTreeMap::from(expected));
    assert_eq!(
        lan.server.poll_timeout(),
        Some(lan.now() + Duration::from_secs(34)),
        "it rests a little longer"
    );
    assert!(lan.answer(&Ask::renewing(mac(1), address(100)), PHONE).is_ok());
    assert_eq!(lan.answer(&Ask::discover(mac(2)), PHONE).unwrap().draft.yiaddr, address(101));
    assert_eq!(lan.answer(&Ask::renewing(mac(5), address(20)), PHONE), Err(Why::Unknown));
}

#[test]
fn a_pool_that_would_harm_is_refused() {
    let check = |settings: Settings, expected: &str| {
        assert_eq!(settings.check().unwrap_err().to_string(), expected);
    };
    let far = Ipv4Addr::new(10, 1, 1, 1);
    let turned = Settings { first: address(20), last: address(10), ..settings() };
    check(turned, "the pool 192.168.40.20-192.168.40.10 has no address; write the smaller one first");
    let outside = "10.1.1.1 does not lie in the network 192.168.40.1/24; choose an address of that network";
    check(Settings { first: far, last: far, ..settings() }, outside);
    check(Settings { router: Some(far), ..settings() }, outside);
    check(
        Settings { lease: Duration::from_secs(119), ..settings() },
        "a lease of 119 s is too short; write at least 120 s",
    );
    let both = Settings { shared: true, serve_all: true, ..settings() };
    check(
        both,
        "serve_all and shared exclude each other: where another server answers, only phones are served",
    );
    let large =
        Settings { first: Ipv4Addr::new(10, 0, 0, 1), last: Ipv4Addr::new(10, 16, 0, 1), ..settings() };
    check(large, "the pool 10.0.0.1-10.16.0.1 has more than 1048576 addresses; make it smaller");
    let reserve = |list: &[(u32, Ipv4Addr)]| Settings {
        reservations: list.iter().map(|(number, address)| (mac(*number), *address)).collect(),
        ..settings()
    };
    check(
        reserve(&[(1, OURS)]),
        "192.168.40.1 cannot be reserved for 00:04:13:00:00:01: it is another client's, or not a client's at all",
    );
    check(
        reserve(&[(1, address(9)), (2, address(9))]),
        "192.168.40.9 cannot be reserved for 00:04:13:00:00:02: it is another client's, or not a client's at all",
    );
    check(reserve(&[(1, far)]), outside);
    assert_eq!(settings().check(), Ok(()));
}

#[test]
fn addresses_that_nobody_may_have_are_never_given() {
    let everything =
        Settings { first: address(0), last: address(255), answers_per_s: 1_000_000, ..settings() };
    let mut lan = Lan::new(everything);
    let mut given = Vec::new();
    while let Ok(offer) = lan.answer(&Ask::discover(mac(u32::try_from(given.len()).unwrap())), PHONE) {
        given.push(offer.draft.yiaddr);
    }
    let never = [0, 1, 250, 251, 255].map(address);
    assert_eq!(given.len(), 256 - never.len());
    assert!(given.iter().all(|address| !never.contains(address)));
}
