//! Decides what is sent to one client that reads one file. Never sends, never waits, never reads the clock.
//!
//! Two things are settled here that many servers get wrong. An acknowledgement that is repeated by the network or by an
//! impatient client never makes a block leave twice (the "sorcerer's apprentice"): only silence does. And until the
//! client has acknowledged something, its address may be forged, so it costs us three datagrams at most, and a file with
//! passwords is only promised: it is released between the first acknowledgement and what that sets free.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::agree::Agreement;
use super::message::{DATA_HEADER_BYTES, option_acknowledgement, push_data};
use super::patience::{OPENING_DATAGRAMS_MAX, Patience, RETRANSMISSIONS_MAX};

/// After so many of them a client is taken for one that acknowledges every block although it agreed on a window; each
/// would otherwise be answered with a whole window.
const SINGLE_STEPS_MAX: u8 = 3;

/// What happened to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The client has every block up to this one (modulo 65,536).
    Acknowledged(u16),
    /// The client does not want it any more.
    Aborted,
    /// The client sent the same request again, from the same port.
    AskedAgain,
    /// What was promised is not given.
    Withheld,
    /// An operator has locked the device.
    Locked,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Send [`Transfer::options`].
    SendOptions,
    /// Send these blocks: [`Transfer::write`] gives their bytes.
    SendBlocks(Blocks),
    /// The client has acknowledged something, so its address is its own. What was promised is to be released now:
    /// [`Transfer::release`] takes it, and until then nothing is sent and nobody's patience runs out.
    Opened,
    /// Nothing more will be sent.
    Finish(Outcome),
}

/// Consecutive blocks, counted from 1 and never wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The first.
    pub first: u64,
    /// How many, at least one.
    pub count: u16,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The last block was acknowledged.
    Delivered,
    /// The client aborted; asking only for the size ends like this.
    Aborted,
    /// The client fell silent.
    Silent,
    /// What was promised is not given, or is not what was promised.
    Withheld,
    /// An operator has locked the device.
    Locked,
    /// It took longer than a file with passwords may.
    Overdue,
}

/// One file on its way to one client.
#[derive(Debug)]
pub struct Transfer {
    /// The file; of one that is promised, what is sent of it before it is released.
    body: Bytes,
    size: usize,
    is_promised: bool,
    agreement: Agreement,
    state: State,
    patience: Patience,
    /// Blocks that the client has.
    acknowledged: u64,
    /// Blocks that were sent at least once since the client last fell behind.
    sent: u64,
    /// Consecutive acknowledgements of just one more block in the middle of a window.
    single_steps: u8,
    /// The first block of what was sent last, and when; `None` once it was sent again.
    measuring: Option<(u64, Instant)>,
    deadline: Instant,
    /// The end of it, whatever the client does.
    end: Option<Instant>,
    commands: VecDeque<Command>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was acknowledged yet; so many datagrams have been sent.
    Opening(u8),
    /// The first acknowledgement is there, what was promised not yet.
    Releasing,
    /// So many times the present window was sent again.
    Open(u8),
    Ended,
}

impl Transfer {
    /// Begins a transfer: the first command is to send the options, or the first block where none were asked.
    pub fn new(body: Bytes, agreement: Agreement, now: Instant) -> Self {
        Self::begin(body.len(), body, false, agreement, now)
    }

    /// Begins the transfer of a file that will be `size` octets long and is released at [`Command::Opened`]. `head` is
    /// how it begins; where no options were asked, it is the first block.
    pub fn promised(size: usize, head: Bytes, agreement: Agreement, now: Instant) -> Self {
        Self::begin(size, head, true, agreement, now)
    }

    fn begin(size: usize, body: Bytes, is_promised: bool, agreement: Agreement, now: Instant) -> Self {
        let mut transfer = Self {
            body,
            size,
            is_promised,
            agreement,
            state: State::Opening(0),
            patience: Patience::new(agreement.timeout),
            acknowledged: 0,
            sent: 0,
            single_steps: 0,
            measuring: None,
            deadline: now,
            end: None,
            commands: VecDeque::with_capacity(2),
        };
        transfer.send_opening(now);
        transfer
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match (self.state, input) {
            (State::Ended, _) => {}
            (_, Input::Locked) => self.finish(Outcome::Locked),
            _ if self.is_overdue(now) => self.finish(Outcome::Overdue),
            (_, Input::Aborted) => self.finish(Outcome::Aborted),
            (_, Input::Withheld) => self.finish(Outcome::Withheld),
            // What is released answers all of it.
            (State::Releasing, Input::Acknowledged(_) | Input::AskedAgain) => {}
            (State::Opening(_), Input::AskedAgain) => self.send_opening(now),
            (State::Open(_), Input::AskedAgain) => {
                self.measuring = None;
                self.send(Blocks { first: self.acknowledged + 1, count: 1 });
            }
            (State::Opening(_), Input::Acknowledged(block)) => self.open(block, now),
            (State::Open(_), Input::Acknowledged(block)) => self.acknowledge(block, now),
        }
    }

    /// What was promised is here: what the first acknowledgement has set free leaves, unless it is another file. The
    /// client waits from now on; how long the release took is not its fault.
    pub fn release(&mut self, body: Bytes, now: Instant) {
        if self.state != State::Releasing {
            return;
        }
        if body.len() != self.size || !body.starts_with(&self.body) {
            return self.finish(Outcome::Withheld);
        }
        self.body = body;
        self.is_promised = false;
        self.start(now);
    }

    /// Ends the transfer at this time, whatever the client does.
    pub fn limit(&mut self, end: Instant) {
        self.end = Some(end);
    }

    /// The next thing to do, if there is one.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Transfer::handle_timeout`] is due; `None` while a release is awaited, and once the transfer has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = !matches!(self.state, State::Releasing | State::Ended);
        waits.then(|| self.end.map_or(self.deadline, |end| end.min(self.deadline)))
    }

    /// The client was silent for as long as was waited.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state != State::Ended && self.is_overdue(now) {
            return self.finish(Outcome::Overdue);
        }
        if now < self.deadline {
            return;
        }
        match self.state {
            State::Releasing | State::Ended => {}
            State::Opening(datagrams) if datagrams >= OPENING_DATAGRAMS_MAX => self.finish(Outcome::Silent),
            State::Opening(_) => self.send_opening(now),
            State::Open(retransmissions) if retransmissions >= RETRANSMISSIONS_MAX => {
                self.finish(Outcome::Silent);
            }
            State::Open(retransmissions) => {
                self.state = State::Open(retransmissions + 1);
                self.patience.missed();
                self.send_window_again(now);
            }
        }
    }

    /// The acknowledgement of the options that were asked.
    pub fn options(&self) -> Vec<u8> {
        option_acknowledgement(&self.agreement.answer.unwrap_or_default(), self.size)
    }

    /// The length of every DATA packet but the file's last.
    pub fn datagram_bytes(&self) -> usize {
        usize::from(self.agreement.blksize) + DATA_HEADER_BYTES
    }

    /// Appends the DATA packets of these blocks.
    pub fn write(&self, blocks: Blocks, datagrams: &mut Vec<u8>) {
        let blksize = usize::from(self.agreement.blksize);
        for block in blocks.first..blocks.first + u64::from(blocks.count) {
            let start = usize::try_from(block - 1).unwrap_or(usize::MAX).saturating_mul(blksize);
            let rest = self.body.get(start..).unwrap_or_default();
            push_data(datagrams, wrapped(block), rest.get(..blksize).unwrap_or(rest));
        }
    }

    /// Whether everything that a client may cost before its first acknowledgement was sent, and it still said nothing.
    pub fn is_waiting_in_vain(&self) -> bool {
        matches!(self.state, State::Opening(datagrams) if datagrams >= OPENING_DATAGRAMS_MAX)
    }

    /// The size of the file.
    pub fn size(&self) -> usize {
        self.size
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    /// Blocks of the whole file: the last is shorter than the others, and empty where they fit exactly (RFC 1350).
    fn total(&self) -> u64 {
        let blocks = self.size / usize::from(self.agreement.blksize);
        u64::try_from(blocks).unwrap_or(u64::MAX - 1) + 1
    }

    fn send_opening(&mut self, now: Instant) {
        let State::Opening(datagrams) = self.state else { return };
        if datagrams >= OPENING_DATAGRAMS_MAX {
            return;
        }
        self.state = State::Opening(datagrams + 1);
        self.measuring = (datagrams == 0).then_some((self.opening_block(), now));
        self.deadline = now + self.patience.opening_pause(datagrams + 1);
        self.commands.push_back(match self.agreement.answer {
            Some(_) => Command::SendOptions,
            None => Command::SendBlocks(Blocks { first: 1, count: 1 }),
        });
    }

    /// What the first acknowledgement must name: 0 for the options, else the first block.
    fn opening_block(&self) -> u64 {
        u64::from(self.agreement.answer.is_none())
    }

    fn open(&mut self, block: u16, now: Instant) {
        if u64::from(block) != self.opening_block() {
            return;
        }
        self.commands.push_back(Command::Opened);
        self.measure(self.opening_block(), now);
        if self.is_promised {
            self.state = State::Releasing;
        } else {
            self.start(now);
        }
    }

    /// Sends what the first acknowledgement sets free.
    fn start(&mut self, now: Instant) {
        self.state = State::Open(0);
        self.sent = self.opening_block();
        self.advance(self.opening_block(), now);
    }

    /// The block number is read as the nearest one that could be meant: at or after the last acknowledged, and sent.
    /// Everything else is late or repeated, and changes nothing.
    fn acknowledge(&mut self, block: u16, now: Instant) {
        let news = u64::from(block.wrapping_sub(wrapped(self.acknowledged)));
        let block = self.acknowledged + news;
        if news > 0 && block <= self.sent {
            self.state = State::Open(0);
            self.advance(block, now);
        }
    }

    fn measure(&mut self, block: u64, now: Instant) {
        if let Some((measured, left)) = self.measuring
            && measured <= block
        {
            self.patience.measured(now.saturating_duration_since(left));
            self.measuring = None;
        }
    }

    fn advance(&mut self, block: u64, now: Instant) {
        self.measure(block, now);
        let within = block < self.sent;
        self.single_steps = if within && block == self.acknowledged + 1 { self.single_steps + 1 } else { 0 };
        self.acknowledged = block;
        if block >= self.total() && self.sent >= self.total() {
            return self.finish(Outcome::Delivered);
        }
        if within && self.single_steps < SINGLE_STEPS_MAX {
            // RFC 7440: the client misses the block after this one and has thrown away the rest of the window.
            self.sent = block;
        }
        self.single_steps = self.single_steps.min(SINGLE_STEPS_MAX);
        self.send_window(now);
    }

    /// Sends what the window has room for and was not sent yet.
    fn send_window(&mut self, now: Instant) {
        let end = (self.acknowledged + u64::from(self.agreement.windowsize)).min(self.total());
        self.deadline = now + self.patience.pause(0);
        if end > self.sent {
            let blocks = Blocks { first: self.sent + 1, count: count(end - self.sent) };
            self.sent = end;
            self.measuring = Some((blocks.first, now));
            self.send(blocks);
        }
    }

    fn send_window_again(&mut self, now: Instant) {
        let State::Open(retransmissions) = self.state else { return };
        self.measuring = None;
        self.deadline = now + self.patience.pause(retransmissions);
        self.send(Blocks { first: self.acknowledged + 1, count: count(self.sent - self.acknowledged) });
    }

    fn send(&mut self, blocks: Blocks) {
        self.commands.push_back(Command::SendBlocks(blocks));
    }

    fn finish(&mut self, outcome: Outcome) {
        self.state = State::Ended;
        self.commands.retain(|command| *command == Command::Opened);
        self.commands.push_back(Command::Finish(outcome));
    }
}

/// The number on the wire: it rolls over to 0 after 65,535.
fn wrapped(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or_default()
}

fn count(blocks: u64) -> u16 {
    u16::try_from(blocks).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, Entropy, Timestamp};
    use crate::tftp::agree::{Reach, agree};
    use crate::tftp::message::Options;

    fn start() -> Instant {
        Clock::manual(Timestamp(0)).instant()
    }

    fn body(len: usize) -> Bytes {
        (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
    }

    fn options(blksize: u16, windowsize: u16) -> Options {
        Options { blksize: Some(blksize), windowsize: Some(windowsize), ..Options::default() }
    }

    fn transfer(len: usize, options: Options, now: Instant) -> Transfer {
        Transfer::new(body(len), agree(&options, Reach::OnLink), now)
    }

    fn commands(transfer: &mut Transfer) -> Vec<Command> {
        std::iter::from_fn(|| transfer.next_command()).collect()
    }

    fn blocks(first: u64, count: u16) -> Command {
        Command::SendBlocks(Blocks { first, count })
    }

    fn check(what: &str, transfer: &mut Transfer, input: Input, now: Instant, expected: &[Command]) {
        transfer.handle(input, now);
        assert_eq!(commands(transfer), expected, "{what}");
    }

    use Command::{Finish, Opened, SendOptions};
    use Input::{Aborted, Acknowledged, AskedAgain};

    #[test]
    fn a_file_without_options_goes_block_by_block() {
        let now = start();
        let mut t = transfer(1024, Options::default(), now);
        assert_eq!(commands(&mut t), [blocks(1, 1)]);
        check("first", &mut t, Acknowledged(1), now, &[Opened, blocks(2, 1)]);
        check("repeated", &mut t, Acknowledged(1), now, &[]);
        check("from the future", &mut t, Acknowledged(3), now, &[]);
        check("second", &mut t, Acknowledged(2), now, &[blocks(3, 1)]);
        let mut datagrams = Vec::new();
        t.write(Blocks { first: 3, count: 1 }, &mut datagrams);
        assert_eq!(datagrams, [0, 3, 0, 3], "an exact multiple ends with an empty block");
        check("last", &mut t, Acknowledged(3), now, &[Finish(Outcome::Delivered)]);
        check("after the end", &mut t, Acknowledged(3), now, &[]);
        assert_eq!(t.poll_timeout(), None);
    }

    #[test]
    fn options_are_acknowledged_before_the_first_block() {
        let now = start();
        let mut t = transfer(3000, Options { tsize: true, ..options(1024, 2) }, now);
        assert_eq!(commands(&mut t), [SendOptions]);
        assert_eq!(t.options(), b"\0\x06blksize\x001024\0tsize\x003000\0windowsize\x002\0");
        check("a block that was never sent", &mut t, Acknowledged(1), now, &[]);
        check("the options", &mut t, Acknowledged(0), now, &[Opened, blocks(1, 2)]);
        check("the options again", &mut t, Acknowledged(0), now, &[]);
        check("the window", &mut t, Acknowledged(2), now, &[blocks(3, 1)]);
        check("the end", &mut t, Acknowledged(3), now, &[Finish(Outcome::Delivered)]);
    }

    #[test]
    fn an_empty_file_is_one_empty_block() {
        let mut t = transfer(0, Options::default(), start());
        assert_eq!(commands(&mut t), [blocks(1, 1)]);
        check("all", &mut t, Acknowledged(1), start(), &[Opened, Finish(Outcome::Delivered)]);
    }

    #[test]
    fn a_client_that_aborts_gets_nothing_more() {
        let now = start();
        let mut t = transfer(3000, Options { tsize: true, ..Options::default() }, now);
        commands(&mut t);
        check("only the size was wanted", &mut t, Aborted, now, &[Finish(Outcome::Aborted)]);
        assert_eq!(t.poll_timeout(), None);
        check("a late acknowledgement", &mut t, Acknowledged(0), now, &[]);
    }

    #[test]
    fn an_unproven_peer_costs_three_datagrams_whoever_asks_for_more() {
        let mut now = start();
        let mut t = transfer(3000, Options::default(), now);
        let mut sent = commands(&mut t);
        t.handle(AskedAgain, now);
        for _ in 0..10 {
            sent.extend(commands(&mut t));
            now = t.poll_timeout().unwrap_or(now);
            t.handle_timeout(now);
            t.handle(AskedAgain, now);
        }
        assert_eq!(sent, [blocks(1, 1), blocks(1, 1), blocks(1, 1), Finish(Outcome::Silent)]);
    }

    #[test]
    fn a_silent_client_is_asked_five_times() {
        let begun = start();
        let mut t = transfer(3000, Options::default(), begun);
        commands(&mut t);
        t.handle(Acknowledged(1), begun);
        commands(&mut t);
        let mut sent = Vec::new();
        let mut now = begun;
        while let Some(deadline) = t.poll_timeout() {
            t.handle_timeout(now);
            assert_eq!(commands(&mut t), [], "not before its time");
            now = deadline;
            t.handle_timeout(now);
            sent.extend(commands(&mut t));
        }
        assert_eq!(sent.pop(), Some(Finish(Outcome::Silent)));
        assert_eq!(sent, [blocks(2, 1); 5]);
        assert!(now - begun > Duration::from_secs(15), "time for a phone that writes to its flash");
    }

    #[test]
    fn a_repeated_request_repeats_the_current_block_only() {
        let now = start();
        let mut t = transfer(9000, options(1024, 4), now);
        commands(&mut t);
        check("before the first acknowledgement", &mut t, AskedAgain, now, &[SendOptions]);
        check("opened", &mut t, Acknowledged(0), now, &[Opened, blocks(1, 4)]);
        check("in the middle", &mut t, AskedAgain, now, &[blocks(1, 1)]);
        check("and on", &mut t, Acknowledged(4), now, &[blocks(5, 4)]);
    }

    /// What was promised of `body(len)`, with its preamble where no options are asked.
    fn promised(len: usize, options: Options, now: Instant) -> Transfer {
        let head = if options.is_empty() { body(len).slice(..512) } else { Bytes::new() };
        Transfer::promised(len, head, agree(&options, Reach::OnLink), now)
    }

    fn release(what: &str, transfer: &mut Transfer, body: Bytes, now: Instant, expected: &[Command]) {
        transfer.release(body, now);
        assert_eq!(commands(transfer), expected, "{what}");
    }

    fn written(transfer: &Transfer, first: u64, count: u16) -> Vec<u8> {
        let mut datagrams = Vec::new();
        transfer.write(Blocks { first, count }, &mut datagrams);
        datagrams
    }

    #[test]
    fn with_options_nothing_of_a_promise_leaves_before_the_acknowledgement() {
        let now = start();
        let mut t = promised(3000, Options { tsize: true, ..options(1024, 2) }, now);
        assert_eq!(commands(&mut t), [SendOptions]);
        assert_eq!(t.options(), b"\0\x06blksize\x001024\0tsize\x003000\0windowsize\x002\0");
        check("not the acknowledgement", &mut t, Acknowledged(1), now, &[]);
        check("opened", &mut t, Acknowledged(0), now, &[Opened]);
        assert_eq!(t.poll_timeout(), None, "nobody's patience runs out while it is released");
        let later = now + Duration::from_secs(2);
        check("the acknowledgement again", &mut t, Acknowledged(0), later, &[]);
        check("the request again", &mut t, AskedAgain, later, &[]);
        t.handle_timeout(later);
        release("the release", &mut t, body(3000), later, &[blocks(1, 2)]);
        assert_eq!(written(&t, 1, 1)[4..], body(3000)[..1024]);
        assert!(t.poll_timeout().unwrap() > later, "the client's time begins with the first block");
        check("a late acknowledgement", &mut t, Acknowledged(0), later, &[]);
        release("a second release", &mut t, body(3000), later, &[]);
        check("the window", &mut t, Acknowledged(2), later, &[blocks(3, 1)]);
        check("the end", &mut t, Acknowledged(3), later, &[Finish(Outcome::Delivered)]);
    }

    #[test]
    fn without_options_the_first_block_is_the_preamble() {
        let now = start();
        let mut t = promised(1300, Options::default(), now);
        assert_eq!(commands(&mut t), [blocks(1, 1)]);
        assert_eq!(written(&t, 1, 1)[4..], body(1300)[..512]);
        assert_eq!(written(&t, 2, 1).len(), 4, "there is no more of it");
        check("opened", &mut t, Acknowledged(1), now, &[Opened]);
        check("again", &mut t, Acknowledged(1), now, &[]);
        release("the release", &mut t, body(1300), now, &[blocks(2, 1)]);
        assert_eq!(written(&t, 2, 1)[4..], body(1300)[512..1024]);
        check("and on", &mut t, Acknowledged(2), now, &[blocks(3, 1)]);
        check("the end", &mut t, Acknowledged(3), now, &[Finish(Outcome::Delivered)]);
    }

    #[test]
    fn another_file_than_was_promised_is_not_sent() {
        let now = start();
        let other = |mut bytes: Vec<u8>| {
            bytes[511] ^= 1;
            Bytes::from(bytes)
        };
        for (what, body) in [
            ("shorter", body(1299)),
            ("longer", body(1301)),
            ("with another beginning", other(body(1300).to_vec())),
            ("none", Bytes::new()),
        ] {
            let mut t = promised(1300, Options::default(), now);
            commands(&mut t);
            check(what, &mut t, Acknowledged(1), now, &[Opened]);
            release(what, &mut t, body, now, &[Finish(Outcome::Withheld)]);
            check(what, &mut t, Acknowledged(1), now, &[]);
        }
        let mut t = promised(3000, options(1024, 1), now);
        commands(&mut t);
        check("opened", &mut t, Acknowledged(0), now, &[Opened]);
        check("the verdict has changed", &mut t, Input::Withheld, now, &[Finish(Outcome::Withheld)]);
        release("too late", &mut t, body(3000), now, &[]);
    }

    #[test]
    fn asking_only_for_the_size_releases_nothing() {
        let now = start();
        let mut t = promised(3000, Options { tsize: true, ..Options::default() }, now);
        commands(&mut t);
        check("that was all", &mut t, Aborted, now, &[Finish(Outcome::Aborted)]);
        check("a late acknowledgement", &mut t, Acknowledged(0), now, &[]);
    }

    #[test]
    fn a_client_that_aborts_while_it_is_released_gets_nothing() {
        let now = start();
        let mut t = promised(3000, options(1024, 1), now);
        commands(&mut t);
        check("opened", &mut t, Acknowledged(0), now, &[Opened]);
        check("aborted", &mut t, Aborted, now, &[Finish(Outcome::Aborted)]);
        release("too late", &mut t, body(3000), now, &[]);
    }

    #[test]
    fn case_14_a_client_that_falls_silent_after_block_3_is_given_up() {
        let mut now = start();
        let mut t = promised(10_000, Options::default(), now);
        commands(&mut t);
        t.handle(Acknowledged(1), now);
        t.release(body(10_000), now);
        t.handle(Acknowledged(2), now);
        t.handle(Acknowledged(3), now);
        assert_eq!(commands(&mut t), [Opened, blocks(2, 1), blocks(3, 1), blocks(4, 1)]);
        let mut sent = Vec::new();
        while let Some(deadline) = t.poll_timeout() {
            now = deadline;
            t.handle_timeout(now);
            sent.extend(commands(&mut t));
        }
        assert_eq!(sent.pop(), Some(Finish(Outcome::Silent)));
        assert_eq!(sent, [blocks(4, 1); 5]);
    }

    #[test]
    fn case_15_a_repeated_acknowledgement_sends_no_block_twice() {
        let now = start();
        let mut t = promised(5000, Options::default(), now);
        commands(&mut t);
        t.handle(Acknowledged(1), now);
        t.release(body(5000), now);
        assert_eq!(commands(&mut t), [Opened, blocks(2, 1)]);
        check("first", &mut t, Acknowledged(2), now, &[blocks(3, 1)]);
        for _ in 0..100 {
            check("again", &mut t, Acknowledged(2), now, &[]);
            check("of the promise", &mut t, Acknowledged(1), now, &[]);
        }
    }

    #[test]
    fn case_16_a_repeated_request_goes_on_with_the_same_release() {
        let now = start();
        let mut t = promised(5000, options(1024, 1), now);
        commands(&mut t);
        check("promised", &mut t, AskedAgain, now, &[SendOptions]);
        check("opened", &mut t, Acknowledged(0), now, &[Opened]);
        check("while it is released", &mut t, AskedAgain, now, &[]);
        release("once", &mut t, body(5000), now, &[blocks(1, 1)]);
        check("under way", &mut t, AskedAgain, now, &[blocks(1, 1)]);
        check("and on", &mut t, Acknowledged(1), now, &[blocks(2, 1)]);
    }

    #[test]
    fn case_17_without_the_last_acknowledgement_the_last_block_is_sent_again_and_nothing_is_delivered() {
        let mut now = start();
        let mut t = promised(700, Options::default(), now);
        commands(&mut t);
        t.handle(Acknowledged(1), now);
        t.release(body(700), now);
        assert_eq!(commands(&mut t), [Opened, blocks(2, 1)]);
        check("asked again", &mut t, AskedAgain, now, &[blocks(2, 1)]);
        let mut last_sent = now;
        let mut ended = Vec::new();
        while let Some(deadline) = t.poll_timeout() {
            now = deadline;
            t.handle_timeout(now);
            let did = commands(&mut t);
            if did == [blocks(2, 1)] {
                last_sent = now;
            }
            ended = did;
        }
        assert_eq!(ended, [Finish(Outcome::Silent)]);
        assert!(now - last_sent >= Duration::from_secs(10), "a repetition is answered for ten seconds");
    }

    #[test]
    fn case_18_a_forged_request_costs_three_datagrams_and_opens_nothing() {
        for options in [Options::default(), options(1024, 1)] {
            let mut now = start();
            let mut t = promised(3000, options, now);
            let mut sent = commands(&mut t);
            while let Some(deadline) = t.poll_timeout() {
                t.handle(AskedAgain, now);
                now = deadline;
                t.handle_timeout(now);
                sent.extend(commands(&mut t));
            }
            assert_eq!((sent.pop(), sent.len()), (Some(Finish(Outcome::Silent)), 3));
            assert!(!sent.contains(&Opened));
        }
    }

    #[test]
    fn case_46_a_locked_device_gets_nothing_more() {
        let now = start();
        let mut t = promised(5000, options(1024, 2), now);
        commands(&mut t);
        t.handle(Acknowledged(0), now);
        t.release(body(5000), now);
        commands(&mut t);
        t.handle(Acknowledged(2), now);
        check("locked", &mut t, Input::Locked, now, &[Finish(Outcome::Locked)]);
        check("the next window", &mut t, Acknowledged(4), now, &[]);
        assert_eq!(t.poll_timeout(), None);
    }

    #[test]
    fn a_lively_client_has_two_minutes_for_its_passwords() {
        let begun = start();
        let mut t = promised(512 * 1000, Options::default(), begun);
        commands(&mut t);
        t.handle(Acknowledged(1), begun);
        t.release(body(512 * 1000), begun);
        let end = begun + Duration::from_mins(2);
        t.limit(end);
        for block in 2..=119 {
            let now = begun + Duration::from_secs(u64::from(block));
            t.handle(Acknowledged(block), now);
            assert!(commands(&mut t).last() == Some(&blocks(u64::from(block) + 1, 1)));
            assert!(t.poll_timeout().unwrap() <= end);
        }
        let mut other = promised(3000, Options::default(), begun);
        commands(&mut other);
        other.limit(end);
        other.handle_timeout(end);
        assert_eq!(commands(&mut other), [Finish(Outcome::Overdue)], "by the timer");
        check("by an acknowledgement", &mut t, Acknowledged(120), end, &[Finish(Outcome::Overdue)]);
    }

    #[test]
    fn a_gap_in_a_window_is_filled_once() {
        let now = start();
        let mut t = transfer(20_000, options(1024, 8), now);
        commands(&mut t);
        check("opened", &mut t, Acknowledged(0), now, &[Opened, blocks(1, 8)]);
        check("block 4 was lost", &mut t, Acknowledged(3), now, &[blocks(4, 8)]);
        check("and is missed again and again", &mut t, Acknowledged(3), now, &[]);
        check("an acknowledgement overtaken by a later one", &mut t, Acknowledged(2), now, &[]);
        check("then block 9 was lost", &mut t, Acknowledged(8), now, &[blocks(9, 8)]);
        check("the whole window", &mut t, Acknowledged(16), now, &[blocks(17, 4)]);
        let deadline = t.poll_timeout().unwrap();
        t.handle_timeout(deadline);
        assert_eq!(commands(&mut t), [blocks(17, 4)], "silence sends the window again");
    }

    #[test]
    fn a_client_that_acknowledges_every_block_of_a_window_is_not_flooded() {
        let now = start();
        let mut t = transfer(100_000, options(1000, 16), now);
        commands(&mut t);
        t.handle(Acknowledged(0), now);
        let mut sent = 0;
        for block in 1..=101 {
            sent += commands(&mut t)
                .iter()
                .map(|command| if let Command::SendBlocks(blocks) = command { blocks.count } else { 0 })
                .sum::<u16>();
            t.handle(Acknowledged(block), now);
        }
        assert_eq!(commands(&mut t), [Finish(Outcome::Delivered)]);
        assert!(sent < 101 + 4 * 16, "{sent} packets for 101 blocks");
    }

    #[test]
    fn block_numbers_roll_over_to_zero() {
        let now = start();
        let size = 512 * 70_000 + 100;
        let mut t = transfer(size, Options::default(), now);
        let (mut received, mut seen, mut datagrams) = (0, 0u64, Vec::new());
        loop {
            for command in commands(&mut t) {
                match command {
                    Command::SendBlocks(block) => {
                        datagrams.clear();
                        t.write(block, &mut datagrams);
                        seen += 1;
                        assert_eq!(datagrams[2..4], u16::try_from(seen % 65_536).unwrap().to_be_bytes());
                        assert_eq!(datagrams[4], t.body[received]);
                        received += datagrams.len() - 4;
                    }
                    Finish(outcome) => {
                        assert_eq!((outcome, received, seen), (Outcome::Delivered, size, 70_001));
                        return;
                    }
                    Opened | SendOptions => {}
                }
            }
            t.handle(Acknowledged(u16::try_from(seen % 65_536).unwrap()), now);
        }
    }

    /// A network that loses, repeats and reorders, with a client of RFC 7440 at its end; all from one seed.
    struct Network {
        entropy: Entropy,
        loss: u8,
        /// Of acknowledgements, and of everything else.
        repeat: (u8, u8),
        reorder: u8,
        now: Instant,
        /// What arrives when; the number keeps what arrives at the same time apart.
        flying: BTreeMap<(Instant, u32), Flying>,
        launched: u32,
    }

    #[derive(Clone)]
    enum Flying {
        ToClient(Vec<u8>),
        ToServer(u16),
    }

    impl Network {
        fn launch(&mut self, what: &Flying) {
            let [lost, repeated, late] = self.entropy.bytes::<3>().unwrap();
            let repeat = if matches!(what, Flying::ToServer(_)) { self.repeat.0 } else { self.repeat.1 };
            let copies = if lost < self.loss { 0 } else { 1 + u8::from(repeated < repeat) };
            for copy in 0..copies {
                let delay = if late < self.reorder { 900 } else { 300 } + u64::from(copy) * 200;
                self.launched += 1;
                let arrival = (self.now + Duration::from_micros(delay), self.launched);
                self.flying.insert(arrival, what.clone());
            }
        }
    }

    /// Runs a whole transfer; returns how it ended, how long it took and how many DATA packets it needed.
    fn run(len: usize, asked: Options, mut network: Network) -> (Outcome, Duration, u64) {
        let begun = network.now;
        let mut t = transfer(len, asked, begun);
        let window = u64::from(t.agreement.windowsize);
        let (mut file, mut expected, mut in_window, mut sent) = (Vec::new(), 1u64, 0, 0);
        let mut client_speaks = begun + Duration::from_secs(1);
        loop {
            for command in commands(&mut t) {
                match command {
                    SendOptions => network.launch(&Flying::ToClient(t.options())),
                    Command::SendBlocks(blocks) => {
                        for block in blocks.first..blocks.first + u64::from(blocks.count) {
                            let mut datagram = Vec::new();
                            t.write(Blocks { first: block, count: 1 }, &mut datagram);
                            network.launch(&Flying::ToClient(datagram));
                            sent += 1;
                        }
                    }
                    Opened => {}
                    Finish(outcome) => {
                        assert!(outcome != Outcome::Delivered || file == t.body, "the file is what was sent");
                        return (outcome, network.now - begun, sent);
                    }
                }
            }
            let server_speaks = t.poll_timeout().unwrap();
            let arrives = network.flying.first_key_value().map(|(key, _)| *key);
            match arrives.filter(|(at, _)| *at <= server_speaks.min(client_speaks)) {
                None if client_speaks < server_speaks => {
                    network.now = client_speaks;
                    client_speaks += Duration::from_secs(1);
                    network.launch(&Flying::ToServer(u16::try_from((expected - 1) % 65_536).unwrap()));
                }
                None => {
                    network.now = server_speaks;
                    t.handle_timeout(network.now);
                }
                Some(key) => {
                    network.now = key.0;
                    match network.flying.remove(&key).unwrap() {
                        Flying::ToServer(block) => t.handle(Acknowledged(block), network.now),
                        Flying::ToClient(datagram) => {
                            let acknowledges = if datagram[1] == 6 {
                                expected == 1
                            } else if datagram[2..4]
                                == u16::try_from(expected % 65_536).unwrap().to_be_bytes()
                            {
                                file.extend_from_slice(&datagram[4..]);
                                (expected, in_window) = (expected + 1, in_window + 1);
                                in_window == window || datagram.len() < t.datagram_bytes()
                            } else {
                                let number = u16::from_be_bytes([datagram[2], datagram[3]]);
                                let ahead = number.wrapping_sub(u16::try_from(expected % 65_536).unwrap());
                                window == 1 || ahead < 32_768
                            };
                            if acknowledges {
                                in_window = 0;
                                client_speaks = network.now + Duration::from_secs(1);
                                let block = u16::try_from((expected - 1) % 65_536).unwrap();
                                network.launch(&Flying::ToServer(block));
                            }
                        }
                    }
                }
            }
        }
    }

    fn network(seed: u64, loss: u8, repeat: (u8, u8), reorder: u8) -> Network {
        let (entropy, now) = (Entropy::seeded(seed), start());
        Network { entropy, loss, repeat, reorder, now, flying: BTreeMap::new(), launched: 0 }
    }

    #[test]
    fn every_acknowledgement_twice_is_no_block_twice() {
        for windowsize in [1, 4, 16] {
            let (outcome, _, sent) = run(100_000, options(1000, windowsize), network(1, 0, (255, 0), 0));
            assert_eq!((outcome, sent), (Outcome::Delivered, 101), "window {windowsize}");
        }
    }

    #[test]
    fn a_bad_network_delivers_every_byte_soon() {
        for seed in 0..60 {
            for windowsize in [1, 4, 64] {
                // 20 % lost, 5 % repeated, 10 % late.
                let (outcome, took, sent) =
                    run(60_000, options(1000, windowsize), network(seed, 51, (13, 13), 26));
                if outcome == Outcome::Silent {
                    continue;
                }
                assert_eq!(outcome, Outcome::Delivered, "seed {seed}, window {windowsize}");
                assert!(took < Duration::from_mins(1), "seed {seed}, window {windowsize}: {took:?}");
                assert!(sent < 61 * 40, "seed {seed}, window {windowsize}: {sent} packets");
            }
        }
    }

    #[test]
    fn one_percent_of_loss_costs_milliseconds_not_seconds() {
        let mut slowest = Duration::ZERO;
        for seed in 100..120 {
            let (outcome, took, sent) = run(400_000, options(1428, 1), network(seed, 3, (0, 0), 0));
            assert_eq!(outcome, Outcome::Delivered, "seed {seed}");
            assert!(sent < 320, "seed {seed}: {sent} packets for 281 blocks");
            slowest = slowest.max(took);
        }
        assert!(slowest < Duration::from_millis(2500), "{slowest:?}");
    }
}
