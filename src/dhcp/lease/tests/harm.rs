//! The rules of DHCP safety, a row for each, by its number.

use super::*;

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
            assert_eq!(draft.options.iter().map(|(code, _)| code).collect::<Vec<_>>(), [54, 56], "{what}");
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
fn d7_addresses_in_use_are_known_before_the_first_question() {
    let reservations = BTreeMap::from([(mac(7), address(104))]);
    let mut lan = Lan::new(Settings { reservations, ..settings() });
    lan.lease(mac(1), address(100));
    lan.lease(mac(2), address(101));
    lan.ask(&Ask::release(mac(2), address(101)), PHONE);
    lan.pass(10_000);
    let rest: Vec<Ipv4Addr> = (101..200).map(address).collect();
    assert_eq!(lan.server.to_sweep(), rest, "all but the one that is leased");
    let mut swept = |last, by| lan.hand(Input::Swept { address: address(last), by: Some(mac(by)) }).len();
    assert_eq!([swept(100, 9), swept(101, 2), swept(104, 7)], [0; 3], "whose they are, or were");
    assert_eq!([swept(101, 9), swept(102, 9), swept(103, 9), swept(104, 9)], [1; 4], "written down");
    assert_eq!(lan.server.stand(), Stand::Serving, "nobody was harmed, however many they are");
    assert_eq!(lan.answer(&Ask::discover(mac(2)), PHONE).unwrap().draft.yiaddr, address(105));
    assert_eq!(lan.answer(&Ask::discover(mac(7)), PHONE).unwrap().draft.yiaddr, address(106));
    let large = Settings {
        prefix: Prefix::new(OURS, 16).unwrap(),
        last: Ipv4Addr::new(192, 168, 80, 1),
        ..settings()
    };
    assert_eq!(Lan::new(large).server.to_sweep().len(), SWEPT_MAX);
}

#[test]
fn d10_an_address_in_use_is_not_offered_for_an_hour() {
    let mut lan = Lan::new(settings());
    lan.hosts.insert(address(100), mac(500));
    let commands = lan.ask(&Ask::discover(mac(1)), PHONE);
    let (by, hour) = (Some(mac(500)), Duration::from_hours(1));
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
            Lan::new(Settings { shared, foreign_lease: Some(Duration::from_mins(30)), ..settings() });
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
fn d6_what_a_client_was_only_offered_is_no_record() {
    let mut lan = Lan::new(settings());
    assert!(lan.answer(&Ask::discover(mac(1)), PHONE).is_ok());
    lan.pass(61_000);
    assert_eq!(lan.answer(&Ask::reboot(mac(1), address(100)), PHONE), Err(Why::Unknown));
    assert_eq!(lan.answer(&Ask::discover(mac(1)), PHONE).unwrap().draft.yiaddr, address(100));
}

#[test]
fn d16_three_alarms_in_a_minute_are_too_many_whatever_gives_the_answers() {
    let start = crate::clock::Clock::manual(Timestamp(0)).instant();
    let at = |s| start + Duration::from_secs(s);
    let unseen = |last| Alarm::Unseen { mac: mac(last) };
    let mut harm = Harm::default();
    let told = [harm.raise(unseen(1), at(0)), harm.raise(unseen(1), at(1)), harm.raise(unseen(2), at(59))];
    assert_eq!(told, [Raised::New, Raised::New, Raised::TooMany]);
    let mut harm = Harm::default();
    let told = [0, 30, 60, 90].map(|s| harm.raise(unseen(1), at(s)));
    assert_eq!(told, [Raised::New; 4], "two in a minute");
    let told = [Alarm::Full, Alarm::Full, Alarm::Starvation].map(|alarm| harm.raise(alarm, at(91)));
    assert_eq!(told, [Raised::New, Raised::Again, Raised::New], "nobody else is harmed");
}
