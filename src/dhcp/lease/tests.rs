//! One row for each rule, by its number; whole lives by chance in `property`.

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
    reply.draft.options.iter().map(|(code, _)| *code).collect()
}

fn option(reply: &Reply, code: u8) -> &[u8] {
    let found = reply.draft.options.iter().find(|(other, _)| *other == code);
    found.map_or(&[], |(_, value)| value.as_slice())
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
    let hour = Duration::from_secs(3_600);
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

#[test]
fn d6_who_talks_to_another_server_is_left_alone_and_its_offer_is_over() {
    let mut lan = Lan::new(Settings { shared: true, ..settings() });
    let mut patient = Ask::discover(mac(1));
    patient.draft.secs = 4;
    assert!(lan.answer(&patient, PHONE).is_ok());
    assert_eq!(lan.server.used().0, 1);
    assert_eq!(lan.answer(&Ask::selecting(mac(1), FOREIGN, address(200)), PHONE), Err(Why::ForAnother));
    assert_eq!(lan.server.used().0, 0, "the offer is taken back");
    let broken = Ask::selecting(mac(1), OURS, address(100)).with(code::SERVER, &[1, 2]);
    assert_eq!(lan.answer(&broken, PHONE), Err(Why::Malformed));
}

#[test]
fn d6_a_nak_is_only_about_our_own_record() {
    let check = |what: &str, settings: Settings, ask: Ask, expected: Result<Kind, Why>| {
        let mut lan = Lan::new(settings);
        lan.lease(mac(1), address(100));
        lan.lease(mac(2), address(101));
        lan.pass(10_000);
        let answer = lan.answer(&ask, PHONE);
        assert_eq!(answer.as_ref().map(|reply| reply.draft.kind), expected.as_ref().copied(), "{what}");
        if let Ok(Reply { draft, to, .. }) = answer
            && draft.kind == Kind::Nak
        {
            assert_eq!((to, draft.yiaddr, draft.ciaddr), (Destination::Broadcast, NONE, NONE), "{what}");
            assert_eq!(draft.options.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [54, 56], "{what}");
        }
    };
    let far = Ipv4Addr::new(10, 1, 1, 7);
    let shared = || Settings { shared: true, ..settings() };
    check("its own, restarted", settings(), Ask::reboot(mac(1), address(100)), Ok(Kind::Ack));
    check("its own, renewed", settings(), Ask::renewing(mac(1), address(100)), Ok(Kind::Ack));
    check("its own, rebound", settings(), Ask::rebinding(mac(1), address(100)), Ok(Kind::Ack));
    check("another one's", settings(), Ask::reboot(mac(1), address(101)), Ok(Kind::Nak));
    check("one of the pool", settings(), Ask::reboot(mac(1), address(150)), Ok(Kind::Nak));
    check("one of another network", settings(), Ask::reboot(mac(1), far), Ok(Kind::Nak));
    check("there, beside another server", shared(), Ask::reboot(mac(1), far), Err(Why::Unknown));
    check("beside it, one of ours", shared(), Ask::reboot(mac(1), address(101)), Ok(Kind::Nak));
    check("beside it, one of the rest", shared(), Ask::reboot(mac(1), address(20)), Err(Why::Unknown));
    check("an unknown client", settings(), Ask::reboot(mac(3), address(100)), Err(Why::Unknown));
    check("far away", settings(), Ask::reboot(mac(3), far), Err(Why::Unknown));
    check("renewing another's", settings(), Ask::renewing(mac(3), address(100)), Err(Why::Unknown));
    check("rebinding the foreign one's", settings(), Ask::rebinding(mac(3), address(20)), Err(Why::Unknown));
    check(
        "taking what was not offered",
        settings(),
        Ask::selecting(mac(3), OURS, address(100)),
        Ok(Kind::Nak),
    );
    check("nothing at all", settings(), Ask::new(Kind::Request, mac(1)), Err(Why::Malformed));
}

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn d6_a_nak_goes_to_phones_only() {
    let mut lan = Lan::new(settings());
    assert_eq!(lan.answer(&Ask::selecting(mac(3), OURS, address(100)), PC), Err(Why::NotAPhone));
}

#[test]
fn d8_beside_another_server_only_leases_are_renewed() {
    let answers = [Kind::Offer, Kind::Ack, Kind::Nak].map(Ask::foreign);
    // What a switch hides: another server's OFFER. What it does not: the REQUEST that takes it.
    let taken = Ask::selecting(mac(99), FOREIGN, address(20));
    for foreign in answers.into_iter().chain([taken]) {
        let mut lan = Lan::new(settings());
        lan.lease(mac(1), address(100));
        lan.hand_packet(&Ask::discover(mac(2)), PHONE);
        assert!(lan.answer(&Ask::discover(mac(3)), PHONE).is_ok());
        let said = lan.ask(&foreign, PC);
        let stand = Stand::Yielding { server: FOREIGN };
        let told = [Command::Stand(stand), Command::Alarm(Alarm::Foreign { server: FOREIGN })];
        assert!(told.iter().all(|command| said.contains(command)), "{said:?}");
        assert_eq!(lan.server.stand(), stand);
        lan.pass(3_000);
        assert_eq!(lan.hand(Input::Probed { address: address(101), by: None }), [], "its offer is over");
        let check = |lan: &mut Lan, ask: Ask, expected: Result<Kind, Why>| {
            let answer = lan.answer(&ask, PHONE).map(|reply| reply.draft.kind);
            assert_eq!(answer, expected, "{ask:?}");
        };
        check(&mut lan, Ask::selecting(mac(3), OURS, address(102)), Err(Why::Yielding));
        check(&mut lan, Ask::discover(mac(1)), Err(Why::Yielding));
        check(&mut lan, Ask::inform(address(77)), Err(Why::Yielding));
        check(&mut lan, Ask::reboot(mac(1), address(100)), Err(Why::Yielding));
        check(&mut lan, Ask::reboot(mac(1), address(101)), Err(Why::Yielding));
        check(&mut lan, Ask::renewing(mac(1), address(101)), Err(Why::Yielding));
        check(&mut lan, Ask::renewing(mac(1), address(100)), Ok(Kind::Ack));
        check(&mut lan, Ask::rebinding(mac(1), address(100)), Ok(Kind::Ack));
        lan.pass(2 * 3_600_000);
        check(&mut lan, Ask::renewing(mac(1), address(100)), Err(Why::Yielding));
    }
}

#[test]
fn d8_an_ack_that_was_being_written_does_not_leave_beside_another_server() {
    let mut lan = Lan::new(settings());
    lan.ask(&Ask::discover(mac(1)), PHONE);
    lan.hand_packet(&Ask::selecting(mac(1), OURS, address(100)), PHONE);
    lan.ask(&Ask::foreign(Kind::Offer), PC);
    let why = Why::Yielding;
    assert_eq!(lan.hand(Input::Committed { id: 1 }), [Command::Silence { why, mac: mac(1) }]);
}

#[test]
fn d8_a_person_switches_on_again_after_quarter_of_an_hour_of_silence() {
    let mut lan = Lan::new(settings());
    lan.ask(&Ask::foreign(Kind::Offer), PC);
    let yielding = Stand::Yielding { server: FOREIGN };
    lan.pass(600_000);
    lan.ask(&Ask::foreign(Kind::Ack), PC);
    lan.pass(899_999);
    assert_eq!(lan.hand(Input::SwitchedOn), [Command::Stand(yielding)]);
    assert_eq!(lan.hand(Input::SwitchedOff), [Command::Stand(Stand::Off { automatic: false })]);
    assert_eq!(lan.hand(Input::SwitchedOn), [Command::Stand(yielding)], "no way around it");
    lan.pass(1);
    assert_eq!(lan.hand(Input::SwitchedOn), [Command::Stand(Stand::Serving)]);
    assert!(lan.answer(&Ask::discover(mac(1)), PHONE).is_ok());
    // A start does not shorten it.
    let mut again = Lan::with(settings(), &[], yielding);
    assert_eq!(again.answer(&Ask::discover(mac(1)), PHONE), Err(Why::Yielding));
    assert_eq!(again.hand(Input::SwitchedOn), [Command::Stand(yielding)]);
}

#[test]
fn d8_what_is_not_about_this_network_does_not_stop_it() {
    let check = |what: &str, foreign: Ask, expected: Stand| {
        let mut lan = Lan::new(settings());
        lan.ask(&foreign, PC);
        assert_eq!(lan.server.stand(), expected, "{what}");
    };
    let yielding = |server| Stand::Yielding { server };
    let far = Ipv4Addr::new(10, 64, 0, 2);
    let by = |relay| Ask::foreign(Kind::Offer).draft(|draft| draft.giaddr = relay);
    check("for another network's relay", by(far), Stand::Serving);
    check("through a relay to this network", by(address(250)), yielding(FOREIGN));
    let ours =
        |is_own_hosts| Ask { is_own_hosts, ..Ask::foreign(Kind::Offer).with(code::SERVER, &OURS.octets()) };
    check("our own, back by a bridge", ours(false), Stand::Serving);
    check("a server beside us", ours(true), yielding(OURS));
    let nameless =
        Ask { draft: Ask::foreign(Kind::Offer).with(code::SERVER, &[]).draft, ..Ask::foreign(Kind::Offer) };
    check("one that does not say who it is", nameless, yielding(FOREIGN));
    let mut lan = Lan::new(settings());
    lan.hand(Input::Foreign { server: FOREIGN });
    assert_eq!(lan.server.stand(), yielding(FOREIGN));
}

#[test]
fn d9_others_are_served_where_the_administrator_says_so_and_no_other_server_was_ever_seen() {
    let pc = || Ask::discover(mac(7)).with(code::VENDOR_CLASS, b"MSFT 5.0");
    let mut phones = Lan::new(settings());
    assert_eq!(phones.answer(&Ask::discover(mac(7)), PC), Err(Why::NotAPhone));
    assert_eq!(phones.answer(&pc(), PHONE), Err(Why::Microsoft));
    assert_eq!(phones.answer(&Ask::discover(mac(7)), who(Standing::Unwelcome)), Err(Why::Unwelcome));
    let all = || Settings { serve_all: true, ..settings() };
    let mut lan = Lan::new(all());
    let offer = lan.answer(&pc(), PC).unwrap();
    assert!(!codes(&offer).contains(&66), "nothing about phones");
    assert!(lan.answer(&Ask::selecting(mac(7), OURS, offer.draft.yiaddr), PC).is_ok());
    assert_eq!(lan.answer(&Ask::discover(mac(8)), who(Standing::Blocked)), Err(Why::Blocked));
    let rogue = pc().with(code::VENDOR_SPECIFIC, &[0x5e, 0]);
    assert_eq!(lan.answer(&rogue, PC), Err(Why::RogueDetection));
    lan.pass(10_000);
    lan.ask(&Ask::foreign(Kind::Offer), PC);
    assert!(lan.answer(&Ask::renewing(mac(7), offer.draft.yiaddr), PC).is_ok(), "it keeps what it has");
    lan.pass(1_000_000);
    lan.hand(Input::SwitchedOn);
    assert_eq!(lan.answer(&Ask::discover(mac(9)), PC), Err(Why::NotAPhone));
    let mut seen = Lan::new(Settings { foreign_seen: true, ..all() });
    assert_eq!(seen.answer(&Ask::discover(mac(9)), PC), Err(Why::NotAPhone));
}

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
fn d10_an_address_in_use_is_not_offered_for_an_hour() {
    let mut lan = Lan::new(settings());
    lan.hosts.insert(address(100), mac(500));
    let commands = lan.ask(&Ask::discover(mac(1)), PHONE);
    let (by, hour) = (Some(mac(500)), Duration::from_secs(3_600));
    let quarantined = Change::Quarantined { address: address(100), by, duration: hour };
    assert!(commands.contains(&Command::Commit { id: 1, change: quarantined }), "{commands:?}");
    assert!(commands.contains(&Command::Alarm(Alarm::Conflict { address: address(100), by: mac(500) })));
    let Some(Command::Send(offer)) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(offer.draft.yiaddr, address(101));
    assert_eq!(offer.to, Destination::Client { mac: mac(1), address: address(101) });
    lan.hosts.clear();
    let wish = |mac| Ask::discover(mac).with(code::REQUESTED_ADDRESS, &address(100).octets());
    assert_eq!(lan.answer(&wish(mac(2)), PHONE).unwrap().draft.yiaddr, address(102));
    lan.pass(3_600_000);
    assert_eq!(lan.answer(&wish(mac(3)), PHONE).unwrap().draft.yiaddr, address(100));
}

#[test]
fn d10_a_client_that_answers_for_its_own_address_is_no_conflict() {
    let mut lan = Lan::new(settings());
    lan.hosts.insert(address(100), mac(1));
    assert_eq!(lan.answer(&Ask::discover(mac(1)), PHONE).unwrap().draft.yiaddr, address(100));
}

#[test]
fn d10_after_three_addresses_the_client_asks_again() {
    let mut lan = Lan::new(settings());
    lan.hosts.extend((100..103).map(|last| (address(last), mac(500))));
    assert_eq!(lan.answer(&Ask::discover(mac(1)), PHONE), Err(Why::Conflicts));
    assert_eq!(lan.server.stand(), Stand::Serving, "one host is one sign, however many addresses it has");
    assert_eq!(lan.answer(&Ask::discover(mac(1)), PHONE).unwrap().draft.yiaddr, address(103));
}

#[test]
fn d10_who_has_its_lease_is_answered_without_a_probe() {
    let mut lan = Lan::new(settings());
    lan.lease(mac(1), address(100));
    let probes = |commands: Vec<Command>| {
        commands.iter().filter(|command| matches!(command, Command::Probe { .. })).count()
    };
    for ask in [Ask::discover(mac(1)), Ask::renewing(mac(1), address(100)), Ask::reboot(mac(1), address(100))]
    {
        lan.pass(10_000);
        assert_eq!(probes(lan.ask(&ask, PHONE)), 0, "{ask:?}");
    }
    lan.pass(2 * 3_600_000);
    let commands = lan.ask(&Ask::reboot(mac(1), address(100)), PHONE);
    let [Command::Probe { .. }, Command::Commit { .. }, Command::Send(ack)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((ack.draft.kind, ack.draft.yiaddr), (Kind::Ack, address(100)));
    lan.pass(2 * 3_600_000);
    lan.hosts.insert(address(100), mac(500));
    let nak = lan.answer(&Ask::reboot(mac(1), address(100)), PHONE).unwrap();
    assert_eq!((nak.draft.kind, nak.to), (Kind::Nak, Destination::Broadcast));
}

#[test]
fn d10_a_question_that_comes_again_while_its_address_is_probed_gets_one_answer() {
    let mut lan = Lan::new(settings());
    let mut ask = Ask::discover(mac(1));
    assert_eq!(lan.hand_packet(&ask, PHONE), [Command::Probe { address: address(100) }]);
    ask.draft.xid = 77;
    let again = [Command::Silence { why: Why::Probing, mac: mac(1) }];
    assert_eq!(lan.hand_packet(&ask, PHONE), again);
    assert_eq!(lan.hand_packet(&Ask::selecting(mac(1), OURS, address(100)), PHONE).len(), 1, "a NAK");
    let commands = lan.hand(Input::Probed { address: address(100), by: None });
    let [Command::Send(offer)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((offer.draft.kind, offer.draft.xid), (Kind::Offer, 77));
    assert_eq!(lan.hand(Input::Probed { address: address(100), by: None }), []);
}

#[test]
fn d10_a_probe_whose_result_is_lost_is_forgotten() {
    let mut lan = Lan::new(settings());
    lan.hand_packet(&Ask::discover(mac(1)), PHONE);
    lan.pass(5_000);
    assert_eq!((lan.server.used().0, lan.server.probing.len()), (0, 0));
    assert_eq!(lan.hand(Input::Probed { address: address(100), by: None }), []);
}

#[test]
fn d11_in_a_shared_network_the_other_server_comes_first() {
    let shared = || Settings { shared: true, ..settings() };
    let mut lan = Lan::new(shared());
    let after = |secs| Ask::discover(mac(1)).draft(|draft| draft.secs = secs);
    assert_eq!(lan.answer(&after(0), PHONE), Err(Why::OtherFirst));
    let other = Ask::discover(mac(1)).draft(|draft| draft.xid = 9);
    assert_eq!(lan.answer(&other, PHONE), Err(Why::OtherFirst), "another exchange");
    assert!(lan.answer(&other, PHONE).is_ok(), "the second time");
    let mut lan = Lan::new(shared());
    assert_eq!(lan.answer(&after(3), PHONE), Err(Why::OtherFirst));
    assert!(lan.answer(&after(4).draft(|draft| draft.xid = 10), PHONE).is_ok());
    lan.ask(&Ask::foreign(Kind::Offer), PC);
    assert_eq!(lan.server.stand(), Stand::Serving, "it is meant to be there");
}

#[test]
fn d11_in_a_shared_network_no_lease_is_longer_than_the_other_servers() {
    let time = |shared, foreign: &[u32]| {
        let mut lan =
            Lan::new(Settings { shared, foreign_lease: Some(Duration::from_secs(1_800)), ..settings() });
        for seconds in foreign {
            lan.ask(&Ask::foreign(Kind::Ack).with(code::LEASE_TIME, &seconds.to_be_bytes()), PC);
        }
        if lan.server.stand() != Stand::Serving {
            return None;
        }
        let ask = Ask::discover(mac(1)).draft(|draft| draft.secs = 4);
        lan.answer(&ask, PHONE).ok().map(|offer| seconds(&offer, code::LEASE_TIME))
    };
    assert_eq!(time(true, &[]), Some(1_800));
    assert_eq!(time(true, &[7_200, 600, 900]), Some(600));
    assert_eq!(time(true, &[60]), Some(60));
    assert_eq!(time(false, &[]), Some(3_600));
}

#[test]
fn d12_nothing_about_the_network_is_made_up() {
    let bare = Settings { router: None, dns: Vec::new(), domain: None, ntp: Vec::new(), ..settings() };
    let offer = Lan::new(bare).answer(&Ask::discover(mac(1)), PHONE).unwrap();
    assert_eq!(codes(&offer), [54, 51, 1, 58, 59, 28, 66, 150]);
    let mut lan = Lan::new(settings());
    let offer = lan.answer(&Ask::discover(mac(1)), PHONE).unwrap();
    assert_eq!(codes(&offer), [54, 51, 1, 58, 59, 3, 6, 15, 28, 42, 66, 150]);
    assert_eq!(
        (option(&offer, 3), option(&offer, 6)),
        (&address(250).octets()[..], &[192, 168, 40, 251, 9, 9, 9, 9][..])
    );
    assert_eq!((option(&offer, 15), option(&offer, 28)), (&b"voice.example"[..], &address(255).octets()[..]));
    let offer = lan.answer(&Ask::discover(mac(2)).with(code::ASKED, &[6, 249, 3, 252]), PHONE).unwrap();
    assert_eq!(codes(&offer), [54, 51, 1, 58, 59, 3, 6]);
    let offer = lan.answer(&Ask::new(Kind::Discover, mac(3)), PHONE).unwrap();
    assert_eq!(codes(&offer), [54, 51, 1, 58, 59, 3, 6, 15, 28, 42], "who does not say what it wants");
}

#[test]
fn d13_one_client_gets_two_answers_a_second() {
    let mut lan = Lan::new(settings());
    lan.lease(mac(1), address(100));
    lan.pass(10_000);
    let mut at = |ms| {
        lan.pass(ms);
        lan.answer(&Ask::renewing(mac(1), address(100)), PHONE).is_ok()
    };
    let answers = [0, 0, 0, 0, 0, 500, 499, 1, 1_000, 0].map(&mut at);
    assert_eq!(answers, [true, true, true, true, false, true, false, true, true, true]);
}

#[test]
fn d13_strangers_get_fifty_answers_a_second_and_phones_of_the_inventory_all_they_need() {
    let mut lan = Lan::new(Settings {
        first: Ipv4Addr::new(10, 64, 0, 10),
        last: Ipv4Addr::new(10, 64, 39, 255),
        ..relayed()
    });
    let mut next = 0;
    let mut answered = |lan: &mut Lan, who, count: u32| {
        let asks = (next..next + count).map(|number| Ask::discover(mac(number)).by_relay(RELAY));
        next += count;
        asks.filter(|ask| lan.answer(ask, who).is_ok()).count()
    };
    assert_eq!(answered(&mut lan, STRANGER, 3_000), 2_000, "a burst for 1,000 phones");
    assert_eq!(answered(&mut lan, STRANGER, 100), 0);
    lan.pass(1_000);
    assert_eq!(answered(&mut lan, STRANGER, 100), 50);
    assert_eq!(answered(&mut lan, PHONE, 5_000), 5_000);
}

#[test]
fn d13_the_last_fifth_of_the_pool_is_for_phones_that_are_known() {
    let mut lan = Lan::new(Settings { last: address(109), ..settings() });
    let reserved = BTreeMap::from([(mac(50), address(109))]);
    lan.hand(Input::Reserved(reserved));
    assert_eq!(lan.server.used(), (0, 9));
    let answers: Vec<bool> =
        (0..10).map(|number| lan.answer(&Ask::discover(mac(number)), STRANGER).is_ok()).collect();
    let count = answers.iter().filter(|answered| **answered).count();
    assert_eq!((count, lan.server.used()), (8, (8, 9)), "8 of 9 are 80 percent at least");
    let commands = lan.ask(&Ask::discover(mac(20)), STRANGER);
    assert_eq!(
        commands,
        [Command::Silence { why: Why::Starvation, mac: mac(20) }],
        "the alarm was raised before"
    );
    assert!(lan.answer(&Ask::discover(mac(0)), STRANGER).is_ok(), "it has its address");
    assert!(lan.answer(&Ask::discover(mac(50)), STRANGER).is_ok(), "it has a reservation");
    assert!(lan.answer(&Ask::discover(mac(60)), PHONE).is_ok());
    let commands = lan.ask(&Ask::discover(mac(61)), PHONE);
    assert_eq!(commands, [Command::Alarm(Alarm::Full), Command::Silence { why: Why::Full, mac: mac(61) }]);
    lan.pass(60_000);
    assert_eq!(lan.server.used().0, 0, "offers that nobody took");
}

#[test]
fn d16_three_signs_of_harm_in_a_minute_switch_it_off() {
    let mut lan = Lan::new(settings());
    lan.hosts.extend((100..103).map(|last| (address(last), mac(500 + u32::from(last)))));
    let commands = lan.ask(&Ask::discover(mac(1)), PHONE);
    let off = Stand::Off { automatic: true };
    assert!(
        commands.contains(&Command::Alarm(Alarm::TooMany)) && commands.contains(&Command::Stand(off)),
        "{commands:?}"
    );
    for ask in [Ask::discover(mac(1)), Ask::inform(address(7)), Ask::renewing(mac(1), address(100))] {
        assert_eq!(lan.answer(&ask, PHONE), Err(Why::Off), "{ask:?}");
    }
    lan.hosts.clear();
    assert_eq!(lan.hand(Input::SwitchedOn), [Command::Stand(Stand::Serving)]);
    assert!(lan.answer(&Ask::discover(mac(1)), PHONE).is_ok());
}

#[test]
fn d16_signs_that_are_far_apart_do_not() {
    let mut lan = Lan::new(settings());
    for number in 0..5 {
        let offer = lan.answer(&Ask::discover(mac(number)), PHONE).unwrap();
        lan.answer(&Ask::selecting(mac(number), OURS, offer.draft.yiaddr), PHONE).unwrap();
        lan.ask(&Ask::decline(mac(number), offer.draft.yiaddr), PHONE);
        lan.pass(30_001);
    }
    assert_eq!(lan.server.stand(), Stand::Serving);
}

#[test]
fn d17_a_dry_run_decides_and_neither_sends_probes_nor_writes() {
    let mut lan = Lan::new(Settings { dry_run: true, ..settings() });
    lan.ask(&Ask::foreign(Kind::Offer), PC);
    let commands = lan.ask(&Ask::discover(mac(1)), PHONE);
    let [Command::WouldSend(offer)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((offer.draft.kind, offer.draft.yiaddr), (Kind::Offer, address(100)));
    let commands = lan.ask(&Ask::inform(address(77)), PHONE);
    assert!(matches!(commands[..], [Command::WouldSend(_)]), "{commands:?}");
    let commands = lan.ask(&Ask::selecting(mac(1), FOREIGN, address(20)), PHONE);
    assert_eq!(commands, [Command::Silence { why: Why::ForAnother, mac: mac(1) }]);
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
        duration: Duration::from_secs(600),
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
        duration: Duration::from_secs(600),
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
