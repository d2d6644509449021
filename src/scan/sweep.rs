//! Asks for every address of a plan, evenly, twice where nobody answered, and tells who did. Never sends, never waits,
//! never reads the clock: it says what is to be asked, and is told what was heard.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::plan::{PASSES, Plan, Reach, Span};
use crate::config::SCAN_RATE_MAX;
use crate::device::Mac;

/// What may be caught up after a delay: more would be a burst that a switch drops.
const BURST: Duration = Duration::from_millis(10);
/// How soon nobody is asked again: who answers, has done so by then.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long answers are awaited after the last question: a phone that sleeps on a wireless link wakes within it.
const LAST_WAIT: Duration = Duration::from_millis(300);
/// A host that answers for more addresses than this speaks for others: a router that is a proxy, or an access point for
/// the hosts behind it. Its hardware address says nothing about them.
const ADDRESSES_OF_A_HOST: u32 = 8;
/// Addresses behind one hardware address that are spoken to. Access points have fewer hosts behind them; who answers for
/// more answers for whoever is asked for.
const SPOKEN_TO_MAX: u32 = 256;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask by ARP, on the link of this interface.
    Ask {
        /// The interface's number.
        interface: u32,
        /// Who has it?
        address: Ipv4Addr,
    },
    /// Ask by what a router lets through.
    Knock {
        /// Whom.
        address: Ipv4Addr,
    },
    /// Somebody has this address.
    Found {
        /// On the link of this interface.
        interface: u32,
        /// Where.
        address: Ipv4Addr,
        /// Who.
        mac: Mac,
    },
    /// Another one has it, too.
    Duplicate {
        /// What both claim.
        address: Ipv4Addr,
        /// Who was first.
        first: Mac,
        /// Who came after.
        other: Mac,
    },
    /// This host answers for others. Beyond some hundred of them they are counted, and not spoken to.
    Proxy {
        /// Who.
        mac: Mac,
    },
}

/// An answer by ARP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// On the link of this interface.
    pub interface: u32,
    /// Which address.
    pub address: Ipv4Addr,
    /// Who has it.
    pub mac: Mac,
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep {
    plan: Plan,
    /// The addresses of the plan, and how far one is from the one that is asked next.
    total: u64,
    stride: u64,
    /// By what a number is multiplied to know when it is its turn.
    backwards: u64,
    /// How many were asked, in all passes.
    position: u64,
    interval: Duration,
    /// When the next one may be asked.
    due: Instant,
    /// When this pass began.
    pass_since: Instant,
    /// Who has answered; the second value is whoever contradicted.
    heard: HashMap<Ipv4Addr, (Mac, Option<Mac>)>,
    addresses_of: HashMap<Mac, u32>,
    /// Whom the scan found that this one goes on with, and who has not answered again yet.
    before: BTreeMap<Ipv4Addr, Mac>,
    /// Those of them that are to be asked next, and whether they were asked twice.
    again: VecDeque<Ipv4Addr>,
    asked_twice: bool,
    /// Who is known already, but not by ARP.
    done: HashSet<Ipv4Addr>,
    commands: VecDeque<Command>,
    /// Everybody was asked; the last answers are awaited until then.
    over_at: Option<Instant>,
    has_ended: bool,
}

impl Sweep {
    /// A sweep that goes on at `position`, with whom was found before it.
    pub fn new(
        plan: Plan,
        rate: u32,
        position: u64,
        found: &[(Ipv4Addr, Option<Mac>)],
        now: Instant,
    ) -> Self {
        let total = plan.addresses().max(1);
        let stride = stride(total);
        let mut sweep = Self {
            stride,
            backwards: inverse(stride, total),
            position: position.min(total * PASSES),
            total,
            interval: Duration::from_secs(1) / rate.clamp(1, SCAN_RATE_MAX),
            due: now,
            pass_since: now,
            heard: HashMap::new(),
            addresses_of: HashMap::new(),
            before: BTreeMap::new(),
            again: VecDeque::new(),
            asked_twice: false,
            done: HashSet::new(),
            commands: VecDeque::new(),
            over_at: None,
            has_ended: false,
            plan,
        };
        for (address, mac) in found {
            let Some(mac) = mac else {
                sweep.done.insert(*address);
                continue;
            };
            sweep.before.insert(*address, *mac);
            *sweep.addresses_of.entry(*mac).or_default() += 1;
        }
        sweep.again.extend(sweep.before.keys());
        sweep
    }

    /// Somebody answered.
    pub fn handle(&mut self, answer: Answer) {
        let Answer { interface, address, mac } = answer;
        if !self.asks(interface, address) {
            return;
        }
        match self.heard.get_mut(&address) {
            None => {
                self.heard.insert(address, (mac, None));
                match self.before.remove(&address) {
                    Some(known) if known == mac => return,
                    // Another phone has this address now.
                    Some(_) | None => {}
                }
                let count = self.addresses_of.entry(mac).or_default();
                *count += 1;
                if *count == ADDRESSES_OF_A_HOST + 1 {
                    self.commands.push_back(Command::Proxy { mac });
                }
                if *count <= SPOKEN_TO_MAX {
                    self.commands.push_back(Command::Found { interface, address, mac });
                }
            }
            Some((first, other @ None)) if *first != mac => {
                *other = Some(mac);
                self.commands.push_back(Command::Duplicate { address, first: *first, other: mac });
            }
            Some(_) => {}
        }
    }

    /// What to do next, if anything.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to come again; `None` when it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.has_ended).then(|| self.over_at.unwrap_or(self.due))
    }

    /// Time has gone by.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(at) = self.over_at {
            self.has_ended = now >= at;
            return;
        }
        self.due = self.due.max(now.checked_sub(BURST).unwrap_or(now));
        while self.due <= now && self.over_at.is_none() {
            self.step(now);
        }
    }

    /// How far it has come, for who goes on after it.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where this address was asked for last: a sweep that goes on there asks for it again.
    pub fn position_of(&self, address: Ipv4Addr) -> u64 {
        let (pass, next) = (self.position / self.total, self.position % self.total);
        let place = self.number_of(address) * self.backwards % self.total;
        if place < next { pass * self.total + place } else { pass.saturating_sub(1) * self.total + place }
    }

    /// How many addresses have been asked, in all passes, and how many that will be.
    pub fn progress(&self) -> (u64, u64) {
        let total = self.total * self.passes();
        (self.position.min(total), total)
    }

    /// How many answered by ARP.
    pub fn answered(&self) -> usize {
        self.heard.len() + self.before.len()
    }

    /// Whether somebody has answered there by ARP.
    pub fn has_heard(&self, address: Ipv4Addr) -> bool {
        self.heard.contains_key(&address) || self.before.contains_key(&address)
    }

    /// Where somebody answered the scan that this one goes on with, and nobody answers any more.
    pub fn gone(&self) -> impl Iterator<Item = Ipv4Addr> {
        let is_over = self.has_ended;
        self.before.keys().copied().filter(move |_| is_over)
    }

    /// Behind a router everybody is asked as often as SIP and TCP ask.
    fn passes(&self) -> u64 {
        if self.plan.spans.iter().any(|span| span.reach != Reach::Router) { PASSES } else { 1 }
    }

    /// Goes one address on; who need not be asked costs no time.
    fn step(&mut self, now: Instant) {
        if let Some(address) = self.again.pop_front() {
            let link = self.plan.spans.iter().find(|span| span.contains(address)).and_then(Span::link);
            if let Some(link) = link.filter(|_| self.before.contains_key(&address)) {
                self.commands.push_back(Command::Ask { interface: link.interface, address });
                self.due += self.interval;
            }
            return;
        }
        let (pass, place) = (self.position / self.total, self.position % self.total);
        if pass >= self.passes() {
            if !self.asked_twice {
                self.asked_twice = true;
                self.again.extend(self.before.keys());
                return;
            }
            self.over_at = Some(now + LAST_WAIT);
            return;
        }
        if place == 0 {
            let again = self.pass_since + AGAIN_AFTER;
            if pass > 0 && now < again {
                self.due = again;
                return;
            }
            self.pass_since = now;
        }
        self.position += 1;
        if let Some(command) = self.question(pass, place * self.stride % self.total) {
            self.commands.push_back(command);
            self.due += self.interval;
        }
    }

    /// The number of an address among those of the plan.
    fn number_of(&self, address: Ipv4Addr) -> u64 {
        let mut before = 0;
        for span in &self.plan.spans {
            if span.contains(address) {
                return before + u64::from(u32::from(address) - u32::from(span.first));
            }
            before += span.size();
        }
        0
    }

    fn question(&self, pass: u64, mut number: u64) -> Option<Command> {
        let span = self.plan.spans.iter().find(|span| {
            let here = number < span.size();
            if !here {
                number -= span.size();
            }
            here
        })?;
        let address = Ipv4Addr::from(u32::from(span.first).saturating_add(u32::try_from(number).ok()?));
        let is_known = self.heard.contains_key(&address) || self.done.contains(&address);
        if is_known || self.plan.own.contains(&address) {
            return None;
        }
        match &span.reach {
            Reach::Link(link) => Some(Command::Ask { interface: link.interface, address }),
            Reach::Router => (pass == 0).then_some(Command::Knock { address }),
        }
    }

    fn asks(&self, interface: u32, address: Ipv4Addr) -> bool {
        let is_there = |span: &Span| {
            matches!(&span.reach, Reach::Link(link) if link.interface == interface) && span.contains(address)
        };
        self.plan.spans.iter().any(is_there) && !self.plan.own.contains(&address)
    }
}

/// A step through `total` addresses that meets each once, and no neighbour of the one before: neighbours are often on one
/// switch, and their answers would come by one of its ports.
fn stride(total: u64) -> u64 {
    let golden = total * 618 / 1_000;
    (golden.max(1)..=total).find(|step| divisor(*step, total) == 1).unwrap_or(1)
}

fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { divisor(other, one % other) }
}

/// What undoes a multiplication by `step` modulo `total`, which have no common divisor (Euclid's algorithm, extended).
fn inverse(step: u64, total: u64) -> u64 {
    let (mut rest, mut next) = (i128::from(total), i128::from(step % total));
    let (mut factor, mut next_factor) = (0, 1);
    while next != 0 {
        let times = rest / next;
        (rest, next) = (next, rest - times * next);
        (factor, next_factor) = (next_factor, factor - times * next_factor);
    }
    u64::try_from(factor.rem_euclid(i128::from(total))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::net::arp::Ourselves;
    use crate::scan::plan::Link;

    const LAN: u32 = 2;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    fn mac(last: u8) -> Mac {
        Mac::new([0, 0x15, 0x65, 0, 0, last]).unwrap()
    }

    fn span(first: u8, last: u8, linked: bool) -> Span {
        let ourselves = Ourselves { mac: mac(0), address: address(35) };
        let link = Link { interface: LAN, name: "eth0".to_owned(), ourselves };
        let reach = if linked { Reach::Link(link) } else { Reach::Router };
        Span { first: address(first), last: address(last), reach }
    }

    fn plan(spans: Vec<Span>) -> Plan {
        Plan { spans, own: vec![address(35)] }
    }

    /// A sweep over its whole time: what it says, and at which millisecond.
    struct Run {
        clock: Clock,
        start: Instant,
        sweep: Sweep,
        said: Vec<(u128, Command)>,
    }

    impl Run {
        fn new(plan: Plan, rate: u32) -> Self {
            Self::resumed(plan, rate, 0, &[])
        }

        fn resumed(plan: Plan, rate: u32, position: u64, found: &[(Ipv4Addr, Option<Mac>)]) -> Self {
            let clock = Clock::manual(Timestamp(0));
            let start = clock.instant();
            Self { sweep: Sweep::new(plan, rate, position, found, start), clock, start, said: Vec::new() }
        }

        /// Lets `hosts` answer whenever they are asked, until it is over or so many questions were asked.
        fn until(mut self, questions: usize, hosts: &[(u8, u8)]) -> Self {
            let mut asked = 0;
            while let Some(at) = self.sweep.poll_timeout().filter(|_| asked < questions) {
                self.clock
                    .advance(at.saturating_duration_since(self.clock.instant()) + Duration::from_millis(1));
                let now = self.clock.instant();
                self.sweep.handle_timeout(now);
                while let Some(command) = self.sweep.next_command() {
                    self.said.push((now.duration_since(self.start).as_millis(), command));
                    let Command::Ask { interface, address } = command else { continue };
                    asked += 1;
                    for (_, owner) in hosts.iter().filter(|(last, _)| *last == address.octets()[3]) {
                        self.sweep.handle(Answer { interface, address, mac: mac(*owner) });
                    }
                }
            }
            self
        }

        fn asked(&self) -> Vec<u8> {
            let of = |command: &Command| match command {
                Command::Ask { address, .. } | Command::Knock { address } => Some(address.octets()[3]),
                _ => None,
            };
            self.said.iter().filter_map(|(_, command)| of(command)).collect()
        }

        fn found(&self) -> Vec<u8> {
            let of = |command: &Command| match command {
                Command::Found { address, .. } => Some(address.octets()[3]),
                _ => None,
            };
            let mut found: Vec<u8> = self.said.iter().filter_map(|(_, command)| of(command)).collect();
            found.sort_unstable();
            found
        }
    }

    #[test]
    fn everybody_is_asked_and_who_is_silent_once_more() {
        let run = Run::new(plan(vec![span(1, 254, true)]), 50).until(usize::MAX, &[(7, 7), (200, 200)]);
        assert_eq!(run.found(), [7, 200]);
        let mut asked = run.asked();
        assert_eq!(asked.len(), 253 + 251);
        assert!(!asked.contains(&35), "our own address");
        let neighbours = asked.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 8).count();
        assert_eq!(neighbours, 0, "no burst at the ports of one switch");
        asked.truncate(253);
        asked.sort_unstable();
        assert_eq!(asked, (1..=254).filter(|last| *last != 35).collect::<Vec<_>>());
        assert_eq!(run.sweep.progress(), (508, 508));
        let (last, _) = run.said.last().unwrap();
        assert!((10_000..10_700).contains(last), "504 questions at 50 a second: {last} ms");
    }

    #[test]
    fn the_rate_is_kept_and_a_delay_is_not_caught_up_at_once() {
        let mut run = Run::new(plan(vec![span(1, 250, true)]), 1_000);
        run.clock.advance(Duration::from_mins(1));
        run.sweep.handle_timeout(run.clock.instant());
        let burst = std::iter::from_fn(|| run.sweep.next_command()).count();
        assert!((10..=11).contains(&burst), "{burst}");
        let fast = Run::new(plan(vec![span(1, 250, true)]), 100_000).until(249, &[]);
        let (last, _) = fast.said.last().unwrap();
        assert!((2..6).contains(last), "{last} ms");
    }

    #[test]
    fn nobody_is_asked_again_before_he_could_answer() {
        let run = Run::new(plan(vec![span(1, 10, true)]), 100_000).until(usize::MAX, &[]);
        let (again, _) = run.said[10];
        assert!(again >= 200, "{again} ms");
    }

    #[test]
    fn every_address_has_its_turn_and_is_found_again_there() {
        for count in [1, 2, 3, 10, 61, 254] {
            let run = Run::new(plan(vec![span(1, count, true)]), 1_000).until(usize::MAX, &[]);
            let mut asked = run.asked();
            asked.truncate(asked.len() / 2);
            let sweep =
                Sweep::new(plan(vec![span(1, count, true)]), 1_000, 2 * u64::from(count), &[], run.start);
            let mut last = None;
            for octet in asked {
                let position = sweep.position_of(address(octet));
                assert!(
                    position / u64::from(count) == 1 && last.is_none_or(|last| last < position),
                    "{count}: {octet}"
                );
                last = Some(position);
            }
        }
    }

    #[test]
    fn two_who_claim_one_address_are_told_once() {
        let mut run = Run::new(plan(vec![span(1, 20, true)]), 50).until(usize::MAX, &[(7, 7)]);
        run.said.clear();
        for owner in [8, 8, 9, 7] {
            run.sweep.handle(Answer { interface: LAN, address: address(7), mac: mac(owner) });
        }
        let duplicate = Command::Duplicate { address: address(7), first: mac(7), other: mac(8) };
        assert_eq!(std::iter::from_fn(|| run.sweep.next_command()).collect::<Vec<_>>(), [duplicate]);
    }

    #[test]
    fn who_answers_for_everybody_is_a_proxy() {
        let first = Ipv4Addr::new(10, 9, 0, 0);
        let whole = Span { first, last: Ipv4Addr::new(10, 9, 3, 255), ..span(1, 1, true) };
        let mut sweep = Sweep::new(plan(vec![whole]), 50, 0, &[], Clock::manual(Timestamp(0)).instant());
        for number in 0..1_000 {
            let address = Ipv4Addr::from(u32::from(first) + number);
            sweep.handle(Answer { interface: LAN, address, mac: mac(1) });
        }
        let said: Vec<Command> = std::iter::from_fn(|| sweep.next_command()).collect();
        let found = said.iter().filter(|command| matches!(command, Command::Found { .. })).count();
        let at: Vec<usize> =
            (0..said.len()).filter(|at| said[*at] == Command::Proxy { mac: mac(1) }).collect();
        assert_eq!((found, at, sweep.answered()), (256, vec![8], 1_000));
    }

    #[test]
    fn what_nobody_asked_for_is_not_found() {
        let mut run = Run::new(plan(vec![span(1, 20, true), span(30, 40, false)]), 50);
        for (interface, last) in [(LAN, 21), (LAN, 35), (LAN, 31), (3, 7)] {
            run.sweep.handle(Answer { interface, address: address(last), mac: mac(1) });
        }
        assert_eq!((run.sweep.next_command(), run.sweep.answered()), (None, 0));
    }

    #[test]
    fn behind_a_router_everybody_is_knocked_at_once() {
        let run = Run::new(plan(vec![span(30, 39, false)]), 50).until(usize::MAX, &[]);
        let mut asked = run.asked();
        asked.sort_unstable();
        assert_eq!(asked, [30, 31, 32, 33, 34, 36, 37, 38, 39]);
        assert!(run.said.iter().all(|(_, command)| matches!(command, Command::Knock { .. })));
    }

    #[test]
    fn a_sweep_goes_on_where_another_one_was_killed() {
        let hosts: Vec<(u8, u8)> = [3, 77, 120, 199, 254].map(|last| (last, last)).to_vec();
        for killed_after in [1, 100, 250, 300, 400] {
            let before = Run::new(plan(vec![span(1, 254, true)]), 50).until(killed_after, &hosts);
            let found: Vec<(Ipv4Addr, Option<Mac>)> =
                before.found().into_iter().map(|last| (address(last), Some(mac(last)))).collect();
            let position = before.sweep.position();
            let after =
                Run::resumed(plan(vec![span(1, 254, true)]), 50, position, &found).until(usize::MAX, &hosts);
            let mut both = [before.found(), after.found()].concat();
            both.sort_unstable();
            assert_eq!(both, [3, 77, 120, 199, 254], "killed after {killed_after}");
            let questions = before.asked().len() + after.asked().len();
            assert!(questions < 253 * 2 + hosts.len(), "{questions} questions");
        }
    }

    #[test]
    fn whoever_goes_on_finds_who_came_and_tells_who_went() {
        let known = [(address(3), Some(mac(3))), (address(77), Some(mac(77))), (address(9), Some(mac(9)))];
        // 77 has another address now, and 3 has the address that 9 had.
        let hosts = [(3, 3), (78, 77), (9, 10)];
        for position in [0, 100, 254, 508] {
            let run =
                Run::resumed(plan(vec![span(1, 254, true)]), 50, position, &known).until(usize::MAX, &hosts);
            let moved = if position < 508 { &[9, 78][..] } else { &[9] };
            assert_eq!(run.found(), moved, "from {position}");
            assert_eq!(run.sweep.gone().collect::<Vec<_>>(), [address(77)], "from {position}");
            assert!(!run.said.iter().any(|(_, said)| matches!(said, Command::Duplicate { .. })));
            assert!(run.asked().iter().filter(|last| **last == 77).count() >= 2, "a frame may be lost");
        }
    }
}
