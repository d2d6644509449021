//! Two agents that want to serve one network, whenever they start and whatever the link loses: never both, and one.

use std::net::SocketAddrV4;

use super::super::super::fixture::{INTERFACE, table_at};
use super::super::super::message::Draft;
use super::super::super::probe::{Asker, Survey, candidate};
use super::*;
use crate::clock::Clock;

const STEP: Duration = Duration::from_millis(500);
/// Longer than the later one's search.
const STEPS: u32 = 160;

struct Agent {
    address: Ipv4Addr,
    begins: Instant,
    has_begun: bool,
    survey: Option<Survey>,
    server: Server,
}

impl Agent {
    fn new(last: u8, stand: Stand, begins: Instant, start: Instant) -> Self {
        let address = address(last);
        let settings = Settings { address, table: table_at(address), ..settings() };
        let server = Server::new(settings, &[], stand, &lan::moment(0), start).unwrap();
        Self { address, begins, has_begun: false, survey: None, server }
    }

    fn is_serving(&self) -> bool {
        self.has_begun && self.survey.is_none() && self.server.stand() == Stand::Serving
    }

    /// What leaves as time passes.
    fn wake(&mut self, now: Instant) -> Vec<Packet> {
        if !self.has_begun && now >= self.begins {
            self.has_begun = true;
            let [.., last] = self.address.octets();
            let asker = Asker { interface: INTERFACE, address: self.address, mac: mac(last.into()) };
            let is_candidate = self.server.stand() == Stand::Serving;
            self.survey = Some(Survey::search(asker, is_candidate, last.into(), now));
        }
        let mut sent = Vec::new();
        if let Some(survey) = &mut self.survey {
            survey.handle_timeout(now);
            while let Some(sending) = survey.next_command() {
                sent.push(packet(&sending.draft, sending.from, sending.to));
            }
            if survey.poll_timeout().is_none() {
                let found = survey.responders();
                self.survey = None;
                for one in found {
                    self.server.handle(Input::Foreign { server: one.id }, now);
                }
            }
        }
        sent.extend(self.obey());
        sent
    }

    /// What a frame of the other one leads to.
    fn hear(&mut self, packet: &Packet, now: Instant) -> Vec<Packet> {
        if !self.has_begun {
            return Vec::new();
        }
        if let Some(survey) = &mut self.survey {
            survey.handle(packet);
        }
        if packet.message.from_server {
            self.server.handle(Input::Packet { packet, who: &PC, values: &values() }, now);
        } else if let Some(other) = candidate(packet) {
            let is_candidate = self.survey.is_some() && self.server.stand() == Stand::Serving;
            let searching = is_candidate.then_some(self.address);
            self.server.handle(Input::Rival { packet, other, searching }, now);
        }
        self.obey()
    }

    fn obey(&mut self) -> Vec<Packet> {
        let mut sent = Vec::new();
        while let Some(command) = self.server.next_command() {
            match command {
                Command::Send(reply) => sent.push(packet(&reply.draft, reply.source(), reply.target().1)),
                Command::Stand(Stand::Yielding { .. }) => self.survey = None,
                _ => {}
            }
        }
        sent
    }
}

fn packet(draft: &Draft, from: SocketAddrV4, to: SocketAddrV4) -> Packet {
    let message = Message::read(&draft.write(1_472).bytes).unwrap();
    Packet { interface: INTERFACE, sender: None, is_own_hosts: false, from, to, message }
}

/// Who serves in the end, of the one that starts first and the one that starts `later`; the frame `lost` is.
fn play(lasts: [u8; 2], stands: [Stand; 2], later: Duration, lost: Option<usize>) -> [bool; 2] {
    let start = Clock::manual(Timestamp(0)).instant();
    let mut agents = [(0, start), (1, start + later)]
        .map(|(at, begins): (usize, _)| Agent::new(lasts[at], stands[at], begins, start));
    let mut frames = 0;
    for step in 0..STEPS {
        let now = start + STEP * step;
        let mut air: VecDeque<(usize, Packet)> = VecDeque::new();
        for (at, agent) in agents.iter_mut().enumerate() {
            air.extend(agent.wake(now).into_iter().map(|packet| (1 - at, packet)));
        }
        while let Some((to, packet)) = air.pop_front() {
            frames += 1;
            if lost != Some(frames) {
                let answers = agents[to].hear(&packet, now);
                air.extend(answers.into_iter().map(|packet| (1 - to, packet)));
            }
        }
        let [first, second] = &agents;
        let both = first.is_serving() && second.is_serving();
        assert!(!both, "both serve: {lasts:?} {stands:?} {later:?} later, without frame {lost:?}");
    }
    agents.map(|agent| agent.is_serving())
}

#[test]
fn d7_of_two_agents_that_look_for_others_the_smaller_address_goes_on_and_of_others_the_first() {
    let both = [Stand::Serving; 2];
    for later in 0..120 {
        let later = STEP * later;
        let is_searching = later < Duration::from_secs(26);
        for lost in std::iter::once(None).chain((1..8).map(Some)) {
            let ends = [play([1, 2], both, later, lost), play([2, 1], both, later, lost)];
            for end in ends {
                assert_ne!(end[0], end[1], "one of them serves: {later:?} later, without {lost:?}");
            }
            if lost.is_none() {
                let smaller = [[true, false], [!is_searching, is_searching]];
                assert_eq!(ends, smaller, "{later:?} later");
            }
        }
    }
    assert_eq!(play([1, 1], both, Duration::ZERO, None), [false; 2], "one address twice is nobody's");
}

#[test]
fn d7_who_has_yielded_is_in_nobodys_way() {
    let stands = [Stand::Yielding { server: address(2) }, Stand::Serving];
    for later in [0, 5, 15, 30] {
        let later = Duration::from_secs(later);
        assert_eq!(play([1, 2], stands, later, None), [false, true], "{later:?} later");
    }
}

#[test]
fn d7_another_agents_search_is_answered_as_a_server_would_and_takes_no_address() {
    let rival = |lan: &mut Lan, last, searching| {
        let class = [b"\x07offhook\x04", &address(last).octets()[..]].concat();
        let ask = Ask::discover(mac(9)).with(code::USER_CLASS, &class);
        let packet = ask.packet();
        let other = candidate(&packet).unwrap();
        lan.hand(Input::Rival { packet: &packet, other, searching })
    };
    let mut lan = Lan::new(settings());
    for _ in 0..4 {
        let commands = rival(&mut lan, 0, None);
        let [Command::Send(offer)] = &commands[..] else { panic!("{commands:?}") };
        assert_eq!((offer.draft.kind, offer.because), (Kind::Offer, Because::Search));
        assert_eq!((offer.draft.yiaddr, offer.to), (NONE, Destination::Broadcast));
        assert_eq!(codes(offer), [54]);
    }
    let silent = |why| vec![Command::Silence { why, mac: mac(9) }];
    assert_eq!(rival(&mut lan, 0, None), silent(Why::ClientRate));
    assert_eq!(lan.server.used().0, 0);
    let mut dry = Lan::new(Settings { dry_run: true, ..settings() });
    assert!(matches!(rival(&mut dry, 200, None)[..], [Command::WouldSend(_)]));
    let mut shared = Lan::new(Settings { shared: true, ..settings() });
    assert!(matches!(rival(&mut shared, 0, Some(OURS))[..], [Command::Send(_)]), "it is meant to be there");
    let mut off = Lan::with(settings(), &[], Stand::Off { automatic: false });
    assert_eq!(rival(&mut off, 200, None), silent(Why::Off));
    // A person has just switched on, and it looks for others.
    assert!(matches!(rival(&mut off, 200, Some(OURS))[..], [Command::Send(_)]));
    assert_eq!(rival(&mut off, 0, Some(OURS)), []);
    let yielding = Command::Stand(Stand::Yielding { server: address(0) });
    assert_eq!(off.hand(Input::SwitchedOn), [yielding]);
    let probe = Ask::discover(mac(9)).with(code::USER_CLASS, b"\x07offhook");
    assert_eq!(candidate(&probe.packet()), None, "who only looks wants nothing");
}
