//! Whole lives of a LAN by chance, each step checked against the reference. A life that goes wrong is shortened until
//! every step left is needed, and told. `OFFHOOK_FUZZ=1000000` lives 50,000.
//!
//! P1 an address is one client's at a time; P2 only phones are answered; P3 beside another server nothing but renewals,
//! and nothing at all when switched off; P4 a NAK is about our own record or offer; P5 only probed addresses are offered;
//! P6 every ACK was written down; P7 and of the pool; P8 no other message leaves, and an INFORM's answer holds nothing of
//! the network.

use super::super::super::fixture::Dice;
use super::super::super::rule::Rule;
use super::world::{Setting, Step, World};
use crate::rule::without;

const USUAL_LIVES: u64 = 4_000;
/// A life here is a whole LAN's, as long as so many of the smallest ones elsewhere.
const LIFE_COSTS: u64 = 20;
/// So many lives at most are needed to notice a rule that is broken.
const LIVES_WITH_A_BROKEN_RULE_MAX: u64 = 4_000;
const STEPS: usize = 120;

impl Dice {
    fn small(&mut self, sides: u64) -> u8 {
        u8::try_from(self.roll(sides)).unwrap()
    }

    fn setting(&mut self) -> Setting {
        let mut one_in = |sides| self.roll(sides) == 0;
        Setting { shared: one_in(4), serve_all: one_in(4), reserved: one_in(3), wall_is_set: one_in(2) }
    }

    fn step(&mut self) -> Step {
        let client = usize::from(self.small(6));
        match self.roll(100) {
            0..6 => Step::Join { client, wish: self.small(9) },
            6..14 => Step::Discover { client, wish: self.small(9) },
            14..26 => Step::Select { client },
            26..32 => Step::Renew { client, is_broadcast: self.roll(2) == 0 },
            32..35 => Step::Restart { client },
            35 => Step::Release { client },
            36 => Step::Decline { client },
            37..40 => Step::Stray { client, last: self.small(9), kind: self.small(4) },
            40..56 => Step::Deliver { which: self.small(64) },
            56 => Step::Lose { which: self.small(64) },
            57 => Step::Repeat { which: self.small(64) },
            58..70 => Step::Probed { which: self.small(64) },
            70..82 => Step::Written,
            82 => Step::NotWritten,
            83..91 => {
                Step::Pass { ms: [500, 4_000, 20_000, 61_000, 300_000, 650_000, 900_000][self.index(7)] }
            }
            91 => Step::Foreign { kind: self.small(3) },
            92 => Step::Off,
            93..95 => Step::On,
            95 => Step::Host { last: self.small(5) },
            96 => Step::Reserve { client, last: self.small(5) },
            97 => Step::Start { written: self.small(4) },
            98 => Step::Boot { behind_ms: [0, 0, 3_600_000][self.index(3)] },
            _ => Step::SetWall { ms: [-3_600_000, 0, 3_600_000, 300_000_000][self.index(4)] },
        }
    }

    /// Most are calm: in a network where another server answers and a person switches, little else happens.
    fn life(&mut self) -> Vec<Step> {
        let is_calm = self.roll(3) != 0;
        let is_left_out = |step: &Step| is_calm && matches!(step, Step::Foreign { .. } | Step::Off);
        (0..STEPS).map(|_| self.step()).filter(|step| !is_left_out(step)).collect()
    }
}

/// After how many steps it went wrong, and what is wrong.
fn live(setting: Setting, steps: &[Step], story: Option<&mut Vec<String>>) -> Option<(usize, String)> {
    let mut world = World::new(setting);
    world.story = story.is_some().then(Vec::new);
    let mut used = 0;
    for step in steps {
        world.step(*step);
        used += 1;
        if world.wrong.is_some() {
            break;
        }
    }
    if let (Some(into), Some(told)) = (story, world.story) {
        *into = told;
    }
    world.wrong.map(|wrong| (used, wrong))
}

/// Leaves out steps, many at once and then one by one, while the same rule is still broken.
fn shorten(setting: Setting, mut steps: Vec<Step>, rule: &str) -> Vec<Step> {
    let mut piece = steps.len().next_power_of_two();
    loop {
        let mut at = 0;
        while at < steps.len() {
            let end = (at + piece).min(steps.len());
            let fewer = [&steps[..at], &steps[end..]].concat();
            match live(setting, &fewer, None) {
                Some((used, what)) if what.starts_with(rule) => {
                    steps = fewer;
                    steps.truncate(used);
                }
                _ => at = end,
            }
        }
        if piece == 1 {
            return steps;
        }
        piece /= 2;
    }
}

/// The first of these lives that goes wrong in this way, shortened and told.
fn search(seeds: std::ops::Range<u64>, way: &str) -> Option<String> {
    for seed in seeds {
        let mut dice = Dice(seed);
        let (setting, mut steps) = (dice.setting(), dice.life());
        if let Some((used, what)) = live(setting, &steps, None)
            && what.starts_with(way)
        {
            steps.truncate(used);
            let short = shorten(setting, steps, what.get(..2).unwrap_or_default());
            let mut story = Vec::new();
            let (_, what) = live(setting, &short, Some(&mut story)).unwrap();
            return Some(format!("seed {seed}, {setting:?}\n{what}, after\n  {}", story.join("\n  ")));
        }
    }
    None
}

#[test]
fn no_life_breaks_a_promise() {
    let lives = std::env::var("OFFHOOK_FUZZ").ok().and_then(|n| n.parse::<u64>().ok());
    let lives = lives.map_or(USUAL_LIVES, |n| n / LIFE_COSTS);
    if let Some(story) = search(0..lives, "") {
        panic!("{story}");
    }
}

/// The lives above are not empty: everything that matters happens in some of them.
#[test]
fn lives_are_full() {
    let mut stories = String::new();
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (setting, steps) = (dice.setting(), dice.life());
        let mut story = Vec::new();
        live(setting, &steps, Some(&mut story));
        stories.push_str(&story.join("\n"));
    }
    for (happens, often) in [
        (" has 192.168.40.10", 400),
        ("kind: Offer", 1_000),
        ("kind: Nak", 100),
        ("Alarm(Conflict", 50),
        ("Alarm(Declined", 20),
        ("Stand(Yielding", 100),
        ("Stand(Off { automatic: true })", 1),
        ("why: Writing", 50),
        ("why: NotWritten", 20),
        ("why: OtherFirst", 50),
        ("why: Starvation", 20),
        ("why: Full", 5),
        ("why: NotAPhone", 100),
        ("why: Unknown", 50),
        ("why: Yielding", 200),
    ] {
        let count = stories.matches(happens).count();
        assert!(count >= often, "{happens}: {count}");
    }
}

/// With this rule broken, lives go wrong, soon, and in this way.
#[test]
fn a_broken_rule_is_noticed() {
    for (rule, way) in [
        (Rule::ProbeFirst, "P5"),
        (Rule::CommitFirst, "P6"),
        (Rule::Yield, "P3"),
        (Rule::PhonesOnly, "P2"),
        (Rule::OwnNakOnly, "P4"),
        (Rule::OneHolder, "P1"),
        (Rule::LeasesAreKept, "P1"),
        (Rule::BootClock, "P1"),
    ] {
        let _without = without(rule);
        let story = search(0..LIVES_WITH_A_BROKEN_RULE_MAX, way);
        let story = story.unwrap_or_else(|| panic!("{way} does not notice that {rule:?} is broken"));
        println!("without {rule:?}: {story}\n");
    }
}
