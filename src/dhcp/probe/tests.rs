//! Surveys against servers that answer, are late, disagree, or are silent.

use super::*;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 35);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const XID: u32 = u32::MAX;

fn asker() -> Asker {
    Asker { interface: 3, address: OURS, mac: "00:0d:b9:01:02:03".parse().unwrap() }
}

fn phone() -> Mac {
    "00:04:13:01:02:03".parse().unwrap()
}

fn inform() -> Question {
    Question::inform(phone(), Some(b"snomD785".to_vec()), vec![66, 43])
}

/// A server's answer to what was sent, as it comes from the wire.
fn answer(sending: &Sending, from: Ipv4Addr, url: &str) -> Packet {
    let asked = Message::read(&sending.draft.write(usize::MAX).bytes).unwrap();
    let kind = if asked.kind == Kind::Inform { Kind::Ack } else { Kind::Offer };
    let mut draft = Draft::answer(kind, &asked);
    draft.options = [(54, &from.octets()[..]), (66, url.as_bytes())].into_iter().collect();
    Packet {
        interface: 3,
        sender: None,
        is_own_hosts: false,
        from: SocketAddrV4::new(from, 67),
        to: SocketAddrV4::new(OURS, 68),
        message: Message::read(&draft.write(usize::MAX).bytes).unwrap(),
    }
}

/// What is sent until it is over, when each was sent, and when it was over; `hear` answers.
fn play(
    survey: &mut Survey,
    start: Instant,
    mut hear: impl FnMut(&Sending) -> Vec<Packet>,
) -> (Vec<(Duration, Sending)>, Duration) {
    let mut sent = Vec::new();
    let mut now = start;
    while let Some(at) = survey.poll_timeout() {
        now = now.max(at);
        survey.handle_timeout(now);
        while let Some(sending) = survey.next_command() {
            for packet in hear(&sending) {
                survey.handle(&packet);
            }
            sent.push((now - start, sending));
        }
    }
    (sent, now - start)
}

fn start() -> Instant {
    crate::clock::Clock::default().instant()
}

#[test]
fn an_inform_asks_from_our_own_address_and_says_who_we_are() {
    let now = start();
    let mut survey = Survey::new(asker(), vec![inform()], Pace::within(Duration::from_secs(3)), XID, now);
    let (sent, over) =
        play(&mut survey, now, |sending| vec![answer(sending, SERVER, "http://192.0.2.35:8480/")]);
    let [(_, sending)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(sending.from, SocketAddrV4::new(OURS, 68));
    assert_eq!(sending.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
    let message = Message::read(&sending.draft.write(usize::MAX).bytes).unwrap();
    assert_eq!((message.kind, message.ciaddr, message.mac), (Kind::Inform, OURS, phone()));
    assert_eq!((message.giaddr, message.options.asked()), (Ipv4Addr::UNSPECIFIED, &[66, 43][..]));
    assert_eq!(message.options.get(60), Some(&b"snomD785"[..]));
    assert!(is_probe(&message) && message.broadcast, "the phone's hardware address is nobody's");
    assert_eq!(over, Duration::from_secs(1), "the other servers' time");
    let [answer] = survey.answers() else { panic!("{:?}", survey.answers()) };
    assert_eq!((answer.question, answer.by.id), (0, SERVER));
    assert_eq!(answer.options.text(66).as_deref(), Some("http://192.0.2.35:8480/"));
}

#[test]
fn silence_is_asked_three_times_and_then_believed() {
    let now = start();
    let questions = vec![inform(), inform()];
    let mut survey = Survey::new(asker(), questions, Pace::within(Duration::from_secs(3)), XID, now);
    let (sent, over) = play(&mut survey, now, |_| Vec::new());
    let times: Vec<(u64, u32)> = sent
        .iter()
        .map(|(at, sending)| (u64::try_from(at.as_millis()).unwrap(), sending.draft.xid))
        .collect();
    let (a, b) = (XID, 0);
    assert_eq!(times, [(0, a), (125, b), (1000, a), (1125, b), (2000, a), (2125, b)]);
    assert_eq!(over, Duration::from_millis(3125));
    assert!(survey.answers().is_empty());
}

#[test]
fn a_lost_answer_of_a_server_that_is_there_is_asked_for_again() {
    let now = start();
    let questions = vec![inform(), inform()];
    let mut survey = Survey::new(asker(), questions, Pace::within(Duration::from_secs(3)), 7, now);
    let (sent, _) = play(&mut survey, now, |sending| {
        let mut heard = vec![answer(sending, SERVER, "http://a/")];
        // The other server misses the first question, and is only known by the second.
        if sending.draft.xid != 7 || sending.draft.secs > 0 {
            heard.push(answer(sending, OTHER, "http://b/"));
        }
        heard
    });
    assert_eq!(sent.iter().map(|(_, sending)| sending.draft.xid).collect::<Vec<_>>(), [7, 8, 7]);
    assert_eq!(survey.answers().len(), 4, "each of both, once: {:?}", survey.answers());
}

#[test]
fn what_is_no_answer_to_us_is_not_taken() {
    let now = start();
    let mut survey = Survey::new(asker(), vec![inform()], Pace::once(), 7, now);
    play(&mut survey, now, |sending| {
        let right = answer(sending, SERVER, "http://a/");
        let wrong = |change: fn(&mut Message)| {
            let mut packet = right.clone();
            change(&mut packet.message);
            packet
        };
        vec![
            wrong(|message| message.xid = 8),
            wrong(|message| message.mac = "00:04:13:01:02:04".parse().unwrap()),
            wrong(|message| message.kind = Kind::Offer),
            wrong(|message| message.kind = Kind::Nak),
            wrong(|message| message.from_server = false),
        ]
    });
    assert!(survey.answers().is_empty(), "{:?}", survey.answers());
}

#[test]
fn an_answer_that_is_repeated_counts_once_and_one_that_differs_twice() {
    let now = start();
    let mut survey = Survey::new(asker(), vec![inform()], Pace::once(), 7, now);
    play(&mut survey, now, |sending| {
        let flood = (0..40).map(|number| answer(sending, SERVER, &format!("http://{number}/")));
        let twice = answer(sending, SERVER, "http://0/");
        flood.chain([twice]).collect()
    });
    assert_eq!(survey.answers().len(), ANSWERS_MAX);
}

#[test]
fn one_server_alone_is_asked_where_it_is() {
    let now = start();
    let check = |server: Ipv4Addr, to: Ipv4Addr| {
        let survey = Survey::new(asker(), vec![inform()], Pace::once(), 7, now);
        let mut survey = survey.only(Some(server));
        let (sent, _) = play(&mut survey, now, |sending| {
            vec![answer(sending, OTHER, "http://b/"), answer(sending, server, "http://a/")]
        });
        assert_eq!(sent[0].1.to, SocketAddrV4::new(to, 67));
        assert_eq!(survey.responders().iter().map(|by| by.id).collect::<Vec<_>>(), [server]);
    };
    check(SERVER, SERVER);
    check(OURS, Ipv4Addr::BROADCAST);
}

#[test]
fn other_servers_are_looked_for_three_times_as_one_client() {
    let now = start();
    let mut survey = Survey::search(asker(), true, 7, now);
    let (sent, over) = play(&mut survey, now, |_| Vec::new());
    let at: Vec<u64> = sent.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!((at, over.as_secs()), (vec![0, 10, 20], 26));
    let secs: Vec<u16> = sent.iter().map(|(_, sending)| sending.draft.secs).collect();
    assert_eq!(secs, [0, 10, 20], "a server that yields to others answers who has waited");
    for (_, sending) in &sent {
        let message = Message::read(&sending.draft.write(usize::MAX).bytes).unwrap();
        assert_eq!(message.mac.to_string(), "02:6f:66:01:02:03");
        assert!(message.mac.is_locally_administered() && message.broadcast && is_probe(&message));
        assert_eq!((message.kind, message.ciaddr), (Kind::Discover, Ipv4Addr::UNSPECIFIED));
        assert_eq!(sending.from, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68));
    }
    let mut survey = Survey::search(asker(), true, 7, now);
    let (sent, over) = play(&mut survey, now, |sending| vec![answer(sending, SERVER, "http://a/")]);
    assert_eq!((sent.len(), over.as_secs()), (1, 6));
}

#[test]
fn no_question_is_over_at_once() {
    let survey = Survey::new(asker(), Vec::new(), Pace::once(), 7, start());
    assert_eq!(survey.poll_timeout(), None);
}
