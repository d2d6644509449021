//! A small LAN that knows what must never happen: clients that count their leases themselves, a shell that probes and
//! writes late or never, another server, hosts that took an address by themselves, clocks that are set, starts and boots.

mod judge;

use super::*;
use crate::clock::Clock;

const CLIENTS: usize = 6;
/// A client gives up an exchange after so long.
const PATIENCE_MS: i64 = 60_000;

/// What a life is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) shared: bool,
    pub(super) serve_all: bool,
    pub(super) reserved: bool,
    /// The wall clock is set now and then; otherwise the host boots, after which it may be behind.
    pub(super) wall_is_set: bool,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// It gets a lease in one go, if it can.
    Join {
        client: usize,
        wish: u8,
    },
    Discover {
        client: usize,
        wish: u8,
    },
    Select {
        client: usize,
    },
    Renew {
        client: usize,
        is_broadcast: bool,
    },
    Restart {
        client: usize,
    },
    Release {
        client: usize,
    },
    Decline {
        client: usize,
    },
    /// It asks for an address that it may never have had.
    Stray {
        client: usize,
        last: u8,
        kind: u8,
    },
    Deliver {
        which: u8,
    },
    Lose {
        which: u8,
    },
    Repeat {
        which: u8,
    },
    Probed {
        which: u8,
    },
    Written,
    NotWritten,
    Pass {
        ms: i64,
    },
    Foreign {
        kind: u8,
    },
    Off,
    On,
    Host {
        last: u8,
    },
    Reserve {
        client: usize,
        last: u8,
    },
    /// The agent starts anew; so many of the last writes were durable and are not known to be.
    Start {
        written: u8,
    },
    Boot {
        behind_ms: i64,
    },
    SetWall {
        ms: i64,
    },
}

struct Client {
    mac: Mac,
    who: Who,
    xid: u32,
    offer: Option<Ipv4Addr>,
    /// When its REQUEST went out last.
    asked: Option<i64>,
    /// The address, and until when it believes that it is its own.
    lease: Option<(Ipv4Addr, i64)>,
    last: Option<Ipv4Addr>,
}

pub(super) struct World {
    setting: Setting,
    server: Server,
    start: Instant,
    ms: i64,
    boot: (u32, i64),
    wall_ahead_ms: i64,
    clients: Vec<Client>,
    hosts: Vec<Ipv4Addr>,
    probes: Vec<Ipv4Addr>,
    writes: VecDeque<(u64, Change)>,
    /// On their way, and since when; nothing is on its way for longer than a client waits.
    replies: Vec<(i64, Reply)>,
    /// What is durable.
    records: BTreeMap<Ipv4Addr, (u64, Record)>,
    turns: u64,
    reservations: BTreeMap<Mac, Ipv4Addr>,
    stand: Stand,
    /// The reference's own idea of it.
    foreign_heard: Option<i64>,
    foreign_seen: bool,
    yielding: bool,
    off: bool,
    /// Whose probe found nobody, and until when that counts.
    clean: BTreeMap<Ipv4Addr, (Mac, i64)>,
    /// Clients that said to this server that they take its offer.
    selected: BTreeMap<Mac, i64>,
    pub(super) story: Option<Vec<String>>,
    pub(super) wrong: Option<String>,
}

fn pool_settings(setting: Setting) -> Settings {
    let Setting { shared, serve_all, .. } = setting;
    let serve_all = serve_all && !shared;
    Settings { last: address(104), shared, serve_all, lease: Duration::from_mins(10), ..settings() }
}

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let start = Clock::manual(Timestamp(0)).instant();
        let whos = [PHONE, PHONE, PHONE, STRANGER, who(Standing::Pending), PC];
        let client = |(number, who): (u32, Who)| Client {
            mac: mac(number),
            who,
            xid: 0,
            offer: None,
            asked: None,
            lease: None,
            last: None,
        };
        let clients: Vec<Client> = (0..).zip(whos).map(client).collect();
        assert_eq!(clients.len(), CLIENTS);
        let reservations = BTreeMap::from_iter(setting.reserved.then(|| (mac(0), address(102))));
        let settings = Settings { reservations: reservations.clone(), ..pool_settings(setting) };
        let server = Server::new(settings, &[], Stand::Serving, &moment(0), start).unwrap();
        Self {
            setting,
            server,
            start,
            ms: 0,
            boot: (0, 0),
            wall_ahead_ms: 0,
            clients,
            hosts: Vec::new(),
            probes: Vec::new(),
            writes: VecDeque::new(),
            replies: Vec::new(),
            records: BTreeMap::new(),
            turns: 0,
            reservations,
            stand: Stand::Serving,
            foreign_heard: None,
            foreign_seen: false,
            yielding: false,
            off: false,
            clean: BTreeMap::new(),
            selected: BTreeMap::new(),
            story: None,
            wrong: None,
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        self.tell(|| format!("{step:?}"));
        match step {
            Step::Join { client, wish } => {
                self.step(Step::Discover { client, wish });
                while !self.probes.is_empty() {
                    self.step(Step::Probed { which: 0 });
                }
                self.deliver_newest();
                self.step(Step::Select { client });
                while !self.writes.is_empty() {
                    self.step(Step::Written);
                }
                self.deliver_newest();
            }
            Step::Discover { client, wish } => {
                let mac = self.clients[client].mac;
                let ask = Ask::discover(mac).with(code::REQUESTED_ADDRESS, &address(98 + wish).octets());
                self.abandon(client);
                let secs = u16::from(wish);
                self.say(client, ask.draft(|draft| draft.secs = secs));
            }
            Step::Select { client } => {
                let Some(offer) = self.clients[client].offer else { return };
                self.clients[client].asked = Some(self.ms);
                let mac = self.clients[client].mac;
                self.selected.insert(mac, self.ms);
                self.say(client, Ask::selecting(mac, OURS, offer));
            }
            Step::Renew { client, is_broadcast } => {
                let Some((address, until)) = self.clients[client].lease else { return };
                if self.ms >= until {
                    return;
                }
                self.begin(client);
                let mac = self.clients[client].mac;
                let ask =
                    if is_broadcast { Ask::rebinding(mac, address) } else { Ask::renewing(mac, address) };
                self.say(client, ask);
            }
            Step::Restart { client } => {
                let Some(address) = self.clients[client].last else { return };
                self.begin(client);
                self.say(client, Ask::reboot(self.clients[client].mac, address));
            }
            Step::Release { client } => {
                let Some((address, _)) = self.clients[client].lease.take() else { return };
                self.abandon(client);
                self.say(client, Ask::release(self.clients[client].mac, address));
            }
            Step::Decline { client } => {
                let Some((address, _)) = self.clients[client].lease.take() else { return };
                self.clients[client].last = None;
                self.abandon(client);
                self.say(client, Ask::decline(self.clients[client].mac, address));
            }
            Step::Stray { client, last, kind } => {
                let (mac, address) = (self.clients[client].mac, address(98 + last));
                self.abandon(client);
                let ask = match kind {
                    0 => Ask::reboot(mac, address),
                    1 => Ask::renewing(mac, address),
                    2 => Ask::inform(address).draft(|draft| draft.mac = mac),
                    _ => {
                        self.selected.insert(mac, self.ms);
                        Ask::selecting(mac, OURS, address)
                    }
                };
                self.say(client, ask);
            }
            Step::Deliver { which } => {
                if let Some(reply) = self.take_reply(which) {
                    self.deliver(&reply);
                }
            }
            Step::Lose { which } => drop(self.take_reply(which)),
            Step::Repeat { which } => {
                let at = usize::from(which) % self.replies.len().max(1);
                self.replies.extend(self.replies.get(at).cloned());
            }
            Step::Probed { which } => {
                if self.probes.is_empty() {
                    return;
                }
                let address = self.probes.remove(usize::from(which) % self.probes.len());
                let by = self.hosts.contains(&address).then(|| mac(900 + u32::from(address.octets()[3])));
                if by.is_none()
                    && let Some(mac) = self.server.pool.slot(address).and_then(|slot| slot.mac)
                {
                    self.clean.insert(address, (mac, self.ms + PATIENCE_MS));
                }
                self.hand(Input::Probed { address, by });
            }
            Step::Written => {
                let Some((id, change)) = self.writes.pop_front() else { return };
                self.keep(change);
                self.hand(Input::Committed { id });
            }
            Step::NotWritten => {
                let Some((id, change)) = self.writes.pop_front() else { return };
                // It was kept for its client all the time, and is offered to it again.
                let until = self.ms + PATIENCE_MS;
                self.clean.entry(change.address()).and_modify(|clean| clean.1 = until);
                self.hand(Input::Failed { id });
            }
            Step::Pass { ms } => {
                if ms > PATIENCE_MS {
                    // No frame is on its way for so long.
                    self.replies.clear();
                }
                self.ms += ms;
                self.replies.retain(|(at, _)| self.ms - at <= PATIENCE_MS);
                self.server.handle_timeout(self.now());
            }
            Step::Foreign { kind } => {
                let ask = match kind {
                    0 => Ask::foreign(Kind::Offer),
                    1 => Ask::foreign(Kind::Ack),
                    _ => Ask::selecting(mac(99), FOREIGN, address(20)),
                };
                self.hear_foreign();
                self.hand(Input::Packet { packet: &ask.packet(), who: &PC, values: &values() });
            }
            Step::Off => {
                self.off = true;
                self.hand(Input::SwitchedOff);
            }
            Step::On => {
                let is_recent = self.foreign_heard.is_some_and(|at| self.ms - at < 900_000);
                (self.off, self.yielding) = (false, is_recent && !self.setting.shared);
                self.hand(Input::SwitchedOn);
            }
            Step::Host { last } => {
                let address = address(100 + last);
                match self.hosts.iter().position(|host| *host == address) {
                    Some(at) => drop(self.hosts.remove(at)),
                    None => self.hosts.push(address),
                }
            }
            Step::Reserve { client, last } => {
                let address = address(100 + last);
                self.reservations.retain(|_, other| *other != address);
                self.reservations.insert(self.clients[client].mac, address);
                self.hand(Input::Reserved(self.reservations.clone()));
            }
            Step::Start { written } => self.start_anew(written),
            Step::Boot { behind_ms } => {
                if self.setting.wall_is_set {
                    return;
                }
                self.boot = (self.boot.0 + 1, self.ms);
                self.wall_ahead_ms -= behind_ms;
                self.start_anew(0);
            }
            Step::SetWall { ms } => {
                if self.setting.wall_is_set {
                    self.wall_ahead_ms = ms;
                }
            }
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(u64::try_from(self.ms).unwrap())
    }

    fn moment(&self) -> Moment {
        Moment {
            wall: Timestamp(self.ms + self.wall_ahead_ms),
            boot: BootInstant { boot: BootId(self.boot.0.to_string().into()), ms: self.ms - self.boot.1 },
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!(
                "{:>8.3} s  {}",
                f64::from(i32::try_from(self.ms).unwrap()) / 1_000.0,
                what()
            ));
        }
    }

    fn must(&mut self, holds: bool, rule: &str, what: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(format!("{rule}: {}", what()));
        }
    }

    /// Whatever it asked for, it no longer waits for the answer.
    fn abandon(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.xid += 1;
        (client.offer, client.asked) = (None, None);
    }

    fn begin(&mut self, client: usize) {
        let client = &mut self.clients[client];
        // The same exchange as long as it waits for an answer.
        if client.asked.is_none_or(|at| self.ms - at > PATIENCE_MS) {
            client.xid += 1;
        }
        (client.offer, client.asked) = (None, Some(self.ms));
    }

    fn say(&mut self, client: usize, ask: Ask) {
        let Client { who, xid, .. } = self.clients[client];
        let packet = ask.draft(|draft| draft.xid = xid).packet();
        self.hand(Input::Packet { packet: &packet, who: &who, values: &values() });
    }

    fn hear_foreign(&mut self) {
        self.foreign_heard = Some(self.ms);
        self.foreign_seen = true;
        self.yielding |= !self.setting.shared && !self.off;
    }

    fn keep(&mut self, change: Change) {
        let (address, mac, kept, duration) = match change {
            Change::Leased(lease) => (lease.address, Some(lease.mac), Kept::Leased, lease.duration),
            Change::Released { address, mac } => (address, Some(mac), Kept::Released, Duration::ZERO),
            Change::Quarantined { address, duration, .. } => (address, None, Kept::Quarantined, duration),
        };
        let Moment { wall, boot } = self.moment();
        self.turns += 1;
        let record = Record { address, mac, kept, at: wall, at_boot: boot, duration };
        self.records.insert(address, (self.turns, record));
    }

    fn start_anew(&mut self, written: u8) {
        for _ in 0..written {
            if let Some((_, change)) = self.writes.pop_front() {
                self.keep(change);
            }
        }
        (self.probes, self.writes) = (Vec::new(), VecDeque::new());
        let mut records: Vec<_> = self.records.values().cloned().collect();
        records.sort_by_key(|(turn, _)| *turn);
        let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
        let settings = Settings {
            reservations: self.reservations.clone(),
            foreign_seen: self.foreign_seen,
            ..pool_settings(self.setting)
        };
        // A pool that was off knows nothing of others when it starts; whoever switches it on looks for them first.
        self.yielding &= !self.off;
        self.foreign_heard = self.yielding.then_some(self.ms);
        self.clean.clear();
        self.server = Server::new(settings, &records, self.stand, &self.moment(), self.now()).unwrap();
    }

    fn hand(&mut self, input: Input<'_>) {
        self.server.handle(input, self.now());
        while let Some(command) = self.server.next_command() {
            self.tell(|| format!("    {command:?}").chars().take(220).collect());
            match command {
                Command::Probe { address } => self.probes.push(address),
                Command::Commit { id, change } => self.writes.push_back((id, change)),
                Command::Send(reply) => {
                    self.judge(&reply);
                    self.replies.push((self.ms, reply));
                }
                Command::Stand(stand) => {
                    self.stand = stand;
                    self.off |= stand == Stand::Off { automatic: true };
                }
                Command::WouldSend(_) | Command::Silence { .. } | Command::Alarm(_) => {}
            }
        }
        let (yielding, off) = match self.server.stand() {
            Stand::Serving => (false, false),
            Stand::Yielding { .. } => (true, false),
            Stand::Off { .. } => (self.yielding, true),
        };
        let expected = (self.yielding, self.off);
        self.must((yielding, off) == expected, "P3", || format!("stands {yielding} {off}, not {expected:?}"));
    }

    fn take_reply(&mut self, which: u8) -> Option<Reply> {
        let len = self.replies.len();
        (len > 0).then(|| self.replies.remove(usize::from(which) % len).1)
    }

    fn deliver_newest(&mut self) {
        if let Some((_, reply)) = self.replies.pop() {
            self.deliver(&reply);
        }
    }
}

fn moment(ms: i64) -> Moment {
    Moment { wall: Timestamp(ms), boot: BootInstant { boot: BootId("0".into()), ms } }
}
