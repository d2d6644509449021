//! What can happen in the small world of the property test, one small step at a time, and how a seed becomes a life.

use super::*;
use crate::clock::Entropy;

/// Who asks for a device's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The phone itself, by its MAC.
    Phone,
    /// Somebody else who is proven as well as the phone is.
    Rival,
    /// Somebody who is not proven at all.
    Stranger,
}

/// How the database takes a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// At once.
    Up,
    /// Not at all: the disk is full, or another process holds it for too long.
    Failing,
    /// It commits, but too late for who waits for it: to them it has failed.
    Late,
}

/// Which passwords of a device an operator means: a bit for each of [`super::world::PASSWORDS`].
pub(super) type Chosen = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A request from its first byte to its last, or to its half.
    Fetch {
        agent: usize,
        device: usize,
        who: Who,
        file: usize,
        whole: bool,
    },
    /// The same in its parts, so that others come between.
    Ask {
        agent: usize,
        device: usize,
        who: Who,
        file: usize,
    },
    Decide {
        agent: usize,
        slot: usize,
    },
    Send {
        agent: usize,
        slot: usize,
    },
    Finish {
        agent: usize,
        slot: usize,
        whole: bool,
    },
    /// Late news about a release of any age.
    Prove {
        agent: usize,
        nth: usize,
        evidence: Evidence,
    },
    /// So many seconds pass.
    Advance(i64),
    /// A host's wall clock is set to so many seconds beside the truth.
    Wall {
        host: usize,
        offset: i64,
    },
    Kill {
        agent: usize,
    },
    Start {
        agent: usize,
    },
    Reboot {
        host: usize,
    },
    PowerLoss {
        host: usize,
    },
    /// The system writes to the disk what it still holds in memory.
    Flush,
    Storage(Storage),
    Arm {
        agent: usize,
        device: usize,
        chosen: Chosen,
        mode: Mode,
        window: Option<u64>,
    },
    Lock {
        agent: usize,
        device: usize,
        chosen: Chosen,
    },
    Confirm {
        agent: usize,
        device: usize,
        chosen: Chosen,
    },
    /// A password gets a new version.
    Change {
        agent: usize,
        device: usize,
        password: usize,
    },
    /// An account goes to the other device.
    Move {
        agent: usize,
        account: usize,
    },
    Block {
        agent: usize,
        device: usize,
    },
    Approve {
        agent: usize,
        device: usize,
    },
    /// The timer that closes what has run out.
    Expire {
        agent: usize,
    },
}

/// What stays the same for a whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// Two hosts with an agent each on one PostgreSQL, or two processes on one embedded database.
    pub(super) shared: bool,
    /// Whether the second phone loses what is missing from its file.
    pub(super) replaces: bool,
    /// What ends the window of a SIP password early.
    pub(super) close_on: CloseOn,
    /// Whether the web password's window has no limit in time.
    pub(super) until_acked: bool,
    pub(super) releases_max: u32,
    /// Whether the first phone waits for approval at first.
    pub(super) pending: bool,
}

/// A source of repeatable choices.
pub(super) struct Dice(Entropy);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Entropy::seeded(seed))
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.bytes::<1>().unwrap()[0]) % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(super) fn setting(&mut self) -> Setting {
        Setting {
            shared: self.once_in(3),
            replaces: self.once_in(3),
            close_on: self.pick(&[CloseOn::Window, CloseOn::Window, CloseOn::Acked, CloseOn::Applied]),
            until_acked: self.once_in(4),
            releases_max: self.pick(&[3, 100, 100]),
            pending: self.once_in(8),
        }
    }

    pub(super) fn life(&mut self) -> Vec<Step> {
        let steps = 4 + self.below(28);
        (0..steps).map(|_| self.step()).collect()
    }

    fn step(&mut self) -> Step {
        match self.below(100) {
            0..24 => self.fetch(),
            24..48 => self.part(),
            48..64 => self.time(),
            64..80 => self.fault(),
            _ => self.deed(),
        }
    }

    fn who(&mut self) -> Who {
        self.pick(&[Who::Phone, Who::Phone, Who::Phone, Who::Rival, Who::Rival, Who::Stranger])
    }

    /// The first device more often than the other, so that lives cross.
    fn device(&mut self) -> usize {
        self.pick(&[0, 0, 1])
    }

    fn fetch(&mut self) -> Step {
        let (agent, device, who) = (self.below(2), self.device(), self.who());
        Step::Fetch { agent, device, who, file: self.below(3), whole: self.coin() }
    }

    fn part(&mut self) -> Step {
        let (agent, slot) = (self.below(2), self.below(3));
        match self.below(8) {
            0..3 => Step::Ask { agent, device: self.device(), who: self.who(), file: self.below(3) },
            3..5 => Step::Decide { agent, slot },
            5 => Step::Send { agent, slot },
            6 => Step::Finish { agent, slot, whole: self.coin() },
            _ => {
                let evidence = self.pick(&[Evidence::Sent, Evidence::Acked, Evidence::Applied]);
                Step::Prove { agent, nth: self.below(8), evidence }
            }
        }
    }

    fn time(&mut self) -> Step {
        const YEARS: i64 = 10 * 365 * 24 * 3_600;
        if self.once_in(3) {
            let offset = self.pick(&[-YEARS, -3_600, -300, 0, 300, 3_600, YEARS]);
            return Step::Wall { host: self.below(2), offset };
        }
        Step::Advance(self.pick(&[1, 30, 60, 290, 310, 599, 600, 3_600, 25 * 3_600]))
    }

    fn fault(&mut self) -> Step {
        let (agent, host) = (self.below(2), self.below(2));
        match self.below(12) {
            0..2 => Step::Kill { agent },
            2..7 => Step::Start { agent },
            7 => Step::Reboot { host },
            8 => Step::PowerLoss { host },
            9 => Step::Flush,
            _ => Step::Storage(self.pick(&[Storage::Up, Storage::Up, Storage::Failing, Storage::Late])),
        }
    }

    fn deed(&mut self) -> Step {
        let (agent, device) = (self.below(2), self.device());
        let chosen = if self.coin() { Chosen::MAX } else { self.pick(&[1, 2, 4, 8, 5, 12]) };
        match self.below(20) {
            0..8 => {
                let mode = self.pick(&[Mode::OnContact, Mode::Now]);
                let window = self.pick(&[None, None, Some(60), Some(3_600)]);
                Step::Arm { agent, device, chosen, mode, window }
            }
            8..10 => Step::Lock { agent, device, chosen },
            10 => Step::Confirm { agent, device, chosen },
            11..13 => Step::Change { agent, device, password: self.below(4) },
            13..15 => Step::Move { agent, account: self.below(2) },
            15 => Step::Block { agent, device },
            16..18 => Step::Approve { agent, device },
            _ => Step::Expire { agent },
        }
    }
}
