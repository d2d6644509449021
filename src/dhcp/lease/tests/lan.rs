//! One server and the shell around it, in memory: whatever it wants probed is probed, whatever it wants written is written.

use super::super::super::message::Message;
use super::*;
use crate::clock::Clock;

pub(super) fn settings() -> Settings {
    Settings {
        interface: super::super::super::fixture::INTERFACE,
        address: OURS,
        table: table(),
        prefix: prefix(),
        first: address(100),
        last: address(199),
        relay: None,
        router: Some(address(250)),
        dns: vec![address(251), Ipv4Addr::new(9, 9, 9, 9)],
        domain: Some("voice.example".to_owned()),
        ntp: vec![address(251)],
        lease: Duration::from_hours(1),
        shared: false,
        serve_all: false,
        dry_run: false,
        answers_per_s: 50,
        reservations: BTreeMap::new(),
        foreign_seen: false,
        foreign_lease: None,
    }
}

/// So many milliseconds after the test began, by every clock.
pub(super) fn moment(ms: i64) -> Moment {
    Moment { wall: Timestamp(ms), boot: BootInstant { boot: BootId("boot".into()), ms } }
}

pub(super) struct Lan {
    pub(super) server: Server,
    start: Instant,
    ms: u64,
    /// Who answers for which address.
    pub(super) hosts: BTreeMap<Ipv4Addr, Mac>,
}

impl Lan {
    pub(super) fn new(settings: Settings) -> Self {
        Self::with(settings, &[], Stand::Serving)
    }

    pub(super) fn with(settings: Settings, records: &[Record], stand: Stand) -> Self {
        let start = Clock::manual(Timestamp(0)).instant();
        let server = Server::new(settings, records, stand, &moment(0), start).unwrap();
        Self { server, start, ms: 0, hosts: BTreeMap::new() }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.ms += ms;
        self.server.handle_timeout(self.now());
    }

    /// Hands this in, and nothing else.
    pub(super) fn hand(&mut self, input: Input<'_>) -> Vec<Command> {
        self.server.handle(input, self.now());
        std::iter::from_fn(|| self.server.next_command()).collect()
    }

    pub(super) fn hand_packet(&mut self, ask: &Ask, who: Who) -> Vec<Command> {
        self.hand(Input::Packet { packet: &ask.packet(), who: &who, values: &values() })
    }

    /// A message comes, and everything is done that follows.
    pub(super) fn ask(&mut self, ask: &Ask, who: Who) -> Vec<Command> {
        self.ask_packet(&ask.packet(), who)
    }

    pub(super) fn ask_packet(&mut self, packet: &Packet, who: Who) -> Vec<Command> {
        let mut done = Vec::new();
        let mut todo = VecDeque::from(self.hand(Input::Packet { packet, who: &who, values: &values() }));
        while let Some(command) = todo.pop_front() {
            match command {
                Command::Probe { address } => {
                    let by = self.hosts.get(&address).copied();
                    todo.extend(self.hand(Input::Probed { address, by }));
                }
                Command::Commit { id, .. } => todo.extend(self.hand(Input::Committed { id })),
                Command::Send(ref reply) => drop(Message::read(&reply.write().bytes).unwrap()),
                Command::WouldSend(_) | Command::Silence { .. } | Command::Stand(_) | Command::Alarm(_) => {}
            }
            done.push(command);
        }
        done
    }

    /// What a message is answered.
    pub(super) fn answer(&mut self, ask: &Ask, who: Who) -> Result<Reply, Why> {
        let commands = self.ask(ask, who);
        let mut answers = commands.iter().filter_map(|command| match command {
            Command::Send(reply) => Some(Ok(reply.clone())),
            Command::Silence { why, .. } => Some(Err(*why)),
            _ => None,
        });
        let answer = answers.next().unwrap_or_else(|| panic!("neither an answer nor silence: {commands:?}"));
        assert_eq!(answers.next(), None, "{commands:?}");
        answer
    }

    /// This phone has this lease.
    pub(super) fn lease(&mut self, mac: Mac, address: Ipv4Addr) {
        let wish = Ask::discover(mac).with(code::REQUESTED_ADDRESS, &address.octets());
        let wish = wish.draft(|draft| draft.secs = 4);
        assert_eq!(self.answer(&wish, PHONE).unwrap().draft.yiaddr, address);
        assert_eq!(self.answer(&Ask::selecting(mac, OURS, address), PHONE).unwrap().draft.kind, Kind::Ack);
    }
}
