//! A small world around the machine: two phones, up to two hosts with an agent each, a database, and the desk's walk
//! (load, decide, commit, send) in steps between which anything may happen. Each step is told to the reference.

use super::disk::{Disk, Intent};
use super::model::{Approval, Model, Place, Receipt, Told};
use super::steps::{Setting, Step, Storage, Who};
use super::*;
use crate::clock::{BootId, BootInstant};

/// Passwords of a device: two accounts that it may have, its menu and its web password.
pub(super) const PASSWORDS: usize = 4;
pub(super) const IDS: [GrantId; PASSWORDS] = [SIP, SIP2, MENU, WEBUI];
/// The files of a phone: the passwords that each has slots for.
const FILES: [&[usize]; 3] = [&[0, 1, 2], &[3], &[0, 1, 2, 3]];
/// Requests that an agent works on at once.
const FLIGHTS_MAX: usize = 3;

pub(super) fn kind_of(at: usize) -> SecretKind {
    IDS[at].kind
}

pub(super) fn index_of(id: GrantId) -> usize {
    IDS.iter().position(|other| *other == id).unwrap()
}

struct Host {
    boots: u32,
    booted_at: i64,
    /// Its wall clock beside the truth.
    offset: i64,
}

#[derive(Default)]
pub(super) struct Agent {
    is_running: bool,
    pub(super) flights: Vec<Flight>,
    /// When it first saw a window of another boot: device, epoch, moment on the boot clock of this host.
    seen: Vec<(usize, i64, i64)>,
}

/// A request under way.
pub(super) struct Flight {
    pub(super) device: usize,
    who: Who,
    file: usize,
    /// What was loaded when it came, where the decision does not wait for the transaction.
    loaded: Option<Grants>,
    pub(super) release: Option<usize>,
    is_sent: bool,
}

struct Release {
    released: Vec<Released>,
    receipt: Receipt,
}

pub(super) struct World {
    setting: Setting,
    pub(super) policies: Policies,
    at: i64,
    hosts: [Host; 2],
    pub(super) agents: [Agent; 2],
    pub(super) names: [Arc<str>; 2],
    pub(super) disk: Disk,
    pub(super) model: Model,
    releases: Vec<Release>,
    /// What a person reads of a life that went wrong.
    pub(super) story: Option<Vec<String>>,
}

type Checked = Result<(), String>;

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let mut policies = Policies::with_window(10 * MINUTE);
        policies.of_mut(SecretKind::Sip).close_on = setting.close_on;
        for kind in SecretKind::ALL {
            policies.of_mut(kind).releases_max = setting.releases_max;
        }
        if setting.until_acked {
            policies.of_mut(SecretKind::Webui).window = Window::UntilAcked;
        }
        let host = || Host { boots: 1, booted_at: -50_000, offset: 0 };
        let mut world = Self {
            setting,
            policies,
            at: 0,
            hosts: [host(), host()],
            agents: [Agent::default(), Agent::default()],
            names: ["a".into(), if setting.shared { "b".into() } else { "a".into() }],
            disk: Disk::new(),
            model: Model::new(setting),
            releases: Vec::new(),
            story: None,
        };
        for device in 0..2 {
            for (id, version) in world.disk.tables().held(device) {
                world.model.holds(device, index_of(id), true, version);
            }
            let approved = !(setting.pending && device == 0);
            world.settle(0, device, if approved { Approval::Approved } else { Approval::Pending });
        }
        for agent in 0..2 {
            world.start(agent);
        }
        world
    }

    pub(super) fn step(&mut self, step: Step) -> Checked {
        self.tell(|| format!("{step:?}"));
        match step {
            Step::Fetch { agent, device, who, file, whole } => {
                self.fetch(agent, device, who, file, whole)?;
            }
            Step::Ask { agent, device, who, file } => {
                if self.agents[agent].is_running && self.agents[agent].flights.len() < FLIGHTS_MAX {
                    let flight = self.ask(agent, device, who, file)?;
                    self.agents[agent].flights.push(flight);
                }
            }
            Step::Decide { agent, slot } => self.with_flight(agent, slot, Self::decide)?,
            Step::Send { agent, slot } => self.with_flight(agent, slot, Self::send)?,
            Step::Finish { agent, slot, whole } => {
                self.with_flight(agent, slot, |world, agent, flight| {
                    world.finish(agent, flight, whole);
                    Ok(false)
                })?;
            }
            Step::Prove { agent, nth, evidence } => self.prove(agent, nth, evidence),
            Step::Advance(seconds) => self.at += seconds * 1000,
            Step::Wall { host, offset } => {
                self.hosts[host].offset = offset * 1000;
                self.model.clock_is_set();
            }
            Step::Kill { agent } => self.kill(agent),
            Step::Start { agent } => self.start(agent),
            Step::Reboot { host } => {
                self.disk.flush();
                self.reboot(host);
            }
            Step::PowerLoss { host } => {
                // The database of two agents stands beside the first one.
                if host == 0 || !self.setting.shared {
                    self.disk.lose_power();
                }
                self.reboot(host);
            }
            Step::Flush => self.disk.flush(),
            Step::Storage(storage) => self.disk.storage = storage,
            other => self.deed(other),
        }
        self.look_around();
        Ok(())
    }

    /// Whatever has happened: with the storage up again and an agent running, a phone that is entitled and alone gets
    /// its passwords.
    pub(super) fn finale(&mut self) -> Checked {
        self.step(Step::Storage(Storage::Up))?;
        for agent in 0..2 {
            self.agents[agent].flights.clear();
            self.step(Step::Start { agent })?;
            for device in 0..2 {
                self.step(Step::Fetch { agent, device, who: Who::Phone, file: 2, whole: true })?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    /// The second process of an embedded database runs on the same host.
    fn host_of(&self, agent: usize) -> usize {
        if self.setting.shared { agent } else { 0 }
    }

    pub(super) fn now(&self, agent: usize) -> Now {
        let at = self.host_of(agent);
        let host = &self.hosts[at];
        let wall = Timestamp(WALL.0 + self.at + host.offset);
        Now {
            wall: wall.max(self.disk.tables().wall_high),
            boot: BootInstant {
                boot: BootId(format!("{at}/{}", host.boots).into()),
                ms: self.at - host.booted_at,
            },
        }
    }

    pub(super) fn place(&self, agent: usize) -> Place {
        let host = self.host_of(agent);
        let name = if self.setting.shared { agent } else { 0 };
        Place { at: self.at, host, boot: self.hosts[host].boots, name, agent, wall: self.now(agent).wall.0 }
    }

    fn kill(&mut self, agent: usize) {
        self.agents[agent] = Agent::default();
        self.model.forgets(agent);
    }

    /// The host comes back; its agents do when they are started.
    fn reboot(&mut self, host: usize) {
        for agent in 0..2 {
            if self.host_of(agent) == host {
                self.kill(agent);
            }
        }
        self.hosts[host].boots += 1;
        self.hosts[host].booted_at = self.at;
    }

    /// A process starts: it reads back, and closes what another boot opened, before it binds a socket.
    fn start(&mut self, agent: usize) {
        if self.agents[agent].is_running {
            return;
        }
        let now = self.now(agent);
        let (name, alone) = (self.names[agent].clone(), !self.setting.shared);
        let mut grants = self.disk.tables().grants.clone();
        for grants in &mut grants {
            grants.start(&name, alone, &now.boot.boot, &now);
        }
        if !self.disk.commit(&now, |tables| tables.grants = grants) {
            return;
        }
        self.disk.read_back(&now);
        self.agents[agent].is_running = true;
        let place = self.place(agent);
        self.model.started(place);
    }

    /// Running agents see what is written, as they do within 200 ms.
    fn look_around(&mut self) {
        if !self.setting.shared {
            return;
        }
        for agent in 0..2 {
            if !self.agents[agent].is_running {
                continue;
            }
            let (now, place) = (self.now(agent), self.place(agent));
            for (device, grants) in self.disk.tables().grants.iter().enumerate() {
                let open = grants.grants.iter().filter(|grant| grant.opening().is_some());
                for grant in open {
                    let seen = &mut self.agents[agent].seen;
                    if !seen.iter().any(|(at, epoch, _)| (*at, *epoch) == (device, grant.epoch)) {
                        seen.push((device, grant.epoch, now.boot.ms));
                    }
                }
            }
            self.model.sees(place);
        }
    }

    /// The grants as this process sees them.
    pub(super) fn load(&self, agent: usize, device: usize) -> Grants {
        let mut grants = self.disk.tables().grants[device].clone();
        for grant in &mut grants.grants {
            let epoch = grant.epoch;
            if let State::Open(opening) = &mut grant.state {
                let seen = self.agents[agent].seen.iter().find(|(at, of, _)| (*at, *of) == (device, epoch));
                opening.seen_ms = seen.map(|(_, _, ms)| *ms);
            }
        }
        grants
    }
}

/// The desk's walk.
impl World {
    fn fetch(&mut self, agent: usize, device: usize, who: Who, file: usize, whole: bool) -> Checked {
        if !self.agents[agent].is_running {
            return Ok(());
        }
        let mut flight = self.ask(agent, device, who, file)?;
        if self.decide(agent, &mut flight)? && self.send(agent, &mut flight)? {
            self.finish(agent, &mut flight, whole);
        }
        Ok(())
    }

    /// Does the next part of a request; whether it goes on is the part's answer.
    fn with_flight(
        &mut self,
        agent: usize,
        slot: usize,
        part: impl FnOnce(&mut Self, usize, &mut Flight) -> Result<bool, String>,
    ) -> Checked {
        let flights = &mut self.agents[agent].flights;
        if flights.is_empty() {
            return Ok(());
        }
        let mut flight = flights.remove(slot % flights.len());
        if part(self, agent, &mut flight)? {
            self.agents[agent].flights.push(flight);
        }
        Ok(())
    }

    fn wanted(&self, device: usize, file: usize) -> Vec<GrantId> {
        let held = self.disk.tables().held(device);
        let wanted = FILES[file].iter().map(|at| IDS[*at]);
        wanted.filter(|id| held.iter().any(|(other, _)| other == id)).collect()
    }

    fn ask(&mut self, agent: usize, device: usize, who: Who, file: usize) -> Result<Flight, String> {
        let loaded = (!holds(Rule::DecideInTransaction)).then(|| self.load(agent, device));
        let mut flight = Flight { device, who, file, loaded, release: None, is_sent: false };
        if !holds(Rule::CommitBeforeSend) {
            let mut grants = self.load(agent, device);
            if let (Told::Secret(of), released) = self.verdict(agent, &flight, &mut grants) {
                let receipt = self.model.committed(device, who, &[], &Told::Plain, self.place(agent));
                self.tell(|| format!("    sends {of:?}"));
                self.releases.push(Release { released, receipt });
                flight.release = Some(self.releases.len() - 1);
                self.send(agent, &mut flight)?;
                flight.is_sent = false;
            }
        }
        Ok(flight)
    }

    /// Asks the machine.
    fn verdict(&self, agent: usize, flight: &Flight, grants: &mut Grants) -> (Told, Vec<Released>) {
        let (level, key) = match flight.who {
            Who::Phone => (Level::I2, format!("mac {}", flight.device)),
            Who::Rival => (Level::I3, "token".to_owned()),
            Who::Stranger => (Level::I1, format!("mac {}", flight.device)),
        };
        let asker = Asker { level, key };
        let wanted = self.wanted(flight.device, flight.file);
        let ask = Ask {
            wanted: &wanted,
            asker: &asker,
            replaces: self.model.replaces(flight.device),
            policies: &self.policies,
            agent: &self.names[agent],
        };
        match grants.authorise(&ask, &self.now(agent)).0 {
            Verdict::Secret(released) => {
                // Exactly the version that was decided about is opened.
                let of = released.iter().map(|one| (index_of(one.id), one.version)).collect();
                (Told::Secret(of), released)
            }
            Verdict::Plain => (Told::Plain, Vec::new()),
            Verdict::Refuse(why) => (Told::Refused(why), Vec::new()),
        }
    }

    /// Decides in one transaction, and answers when that is durable. Without it nothing leaves but what needs none.
    fn decide(&mut self, agent: usize, flight: &mut Flight) -> Result<bool, String> {
        let device = flight.device;
        // Of a device that is not served, the desk asks nobody; what was decided once is not decided again.
        if self.model.approval(device) != Approval::Approved
            || (flight.release.is_some() && holds(Rule::CommitBeforeSend))
        {
            return Ok(flight.release.is_some());
        }
        let place = self.place(agent);
        let wanted: Vec<usize> = self.wanted(device, flight.file).into_iter().map(index_of).collect();
        let mut grants = flight.loaded.take().unwrap_or_else(|| self.load(agent, device));
        let before = grants.clone();
        let (decided, released) = self.verdict(agent, flight, &mut grants);
        let up = self.disk.storage == Storage::Up;
        let release = self.releases.len();
        let happened = grants != before && {
            let intent = Intent { release, released: released.clone() };
            let now = self.now(agent);
            self.disk.commit(&now, |tables| {
                tables.grants[device] = Disk::strip(grants);
                if !intent.released.is_empty() {
                    Disk::write_intent(tables, intent);
                }
            })
        };
        let is_secret = matches!(decided, Told::Secret(_));
        let told = match is_secret && !up {
            true if holds(Rule::FailureIsNotPlain) => Told::Unavailable,
            true => Told::Plain,
            false => decided.clone(),
        };
        self.tell(|| format!("    {:?}: {told:?} (decided: {decided:?}, committed: {happened})", flight.who));
        self.model.judge(device, flight.who, &wanted, &told, up, place)?;
        if happened {
            let receipt = self.model.committed(device, flight.who, &wanted, &decided, place);
            self.releases.push(Release { released, receipt });
        }
        flight.release = (told == decided && is_secret).then_some(release);
        Ok(flight.release.is_some())
    }

    fn send(&mut self, _: usize, flight: &mut Flight) -> Result<bool, String> {
        let Some(release) = flight.release else { return Ok(true) };
        if !flight.is_sent {
            let Release { released, receipt } = &self.releases[release];
            let is_durable = self.disk.has_intent(release, released);
            self.model.sent(receipt, is_durable)?;
            flight.is_sent = true;
        }
        Ok(true)
    }

    /// The last byte is acknowledged, or the connection breaks after half of them.
    fn finish(&mut self, agent: usize, flight: &mut Flight, whole: bool) {
        if let (Some(release), true, true) = (flight.release, flight.is_sent, whole) {
            self.prove(agent, release, Evidence::Acked);
        }
    }

    fn prove(&mut self, agent: usize, nth: usize, evidence: Evidence) {
        if self.releases.is_empty() || !self.agents[agent].is_running {
            return;
        }
        let nth = nth % self.releases.len();
        let Release { released, receipt } = &self.releases[nth];
        if released.is_empty() {
            return;
        }
        let (now, device) = (self.now(agent), receipt.device);
        let mut grants = self.load(agent, device);
        grants.prove(released, evidence, &self.policies, &now);
        if self.disk.commit(&now, |tables| tables.grants[device] = Disk::strip(grants)) {
            self.model.proven(receipt, evidence);
        }
    }
}
