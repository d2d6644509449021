//! Whole lives by chance: tens of thousands of them, each checked against the reference after every step. A life that
//! goes wrong is shortened until every step left is needed, and told.
//!
//! `OFFHOOK_FUZZ=1000000` says how many; the usual run takes fewer. The seed of a life is printed with it.

use super::steps::{Dice, Setting, Step};
use super::world::World;
use super::*;

const USUAL_LIVES: u64 = 50_000;
/// So many lives at most are needed to notice a rule that is broken.
const LIVES_WITH_A_BROKEN_RULE_MAX: u64 = 5_000;

/// What went wrong, and after how many steps.
type Wrong = (usize, String);

fn live(setting: Setting, steps: &[Step], story: Option<&mut Vec<String>>) -> Option<Wrong> {
    let mut world = World::new(setting);
    world.story = story.is_some().then(Vec::new);
    let mut wrong = None;
    for (at, step) in steps.iter().enumerate() {
        if let Err(what) = world.step(*step) {
            wrong = Some((at + 1, what));
            break;
        }
    }
    let wrong = wrong.or_else(|| world.finale().err().map(|what| (steps.len(), what)));
    if let (Some(into), Some(told)) = (story, world.story) {
        *into = told;
    }
    wrong
}

/// Leaves out steps, many at once and then one by one, while the same rule is still broken.
fn shorten(setting: Setting, mut steps: Vec<Step>, rule: &str) -> Vec<Step> {
    let mut piece = steps.len().next_power_of_two();
    loop {
        let mut at = 0;
        while at < steps.len() {
            let end = (at + piece).min(steps.len());
            let fewer: Vec<Step> = [&steps[..at], &steps[end..]].concat();
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

/// Lives of these seeds; the first that goes wrong in this way, shortened and told.
fn search(seeds: std::ops::Range<u64>, way: &str) -> Option<String> {
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let (setting, mut steps) = (dice.setting(), dice.life());
        if let Some((used, what)) = live(setting, &steps, None)
            && what.starts_with(way)
        {
            steps.truncate(used);
            let rule = what.get(..2).unwrap_or_default();
            let short = shorten(setting, steps, rule);
            let mut story = Vec::new();
            let wrong = live(setting, &short, Some(&mut story));
            let (_, what) = wrong.unwrap_or((used, what));
            return Some(format!("seed {seed}, {setting:?}\n{what}, after\n  {}", story.join("\n  ")));
        }
    }
    None
}

#[test]
fn no_life_breaks_a_promise() {
    let lives = std::env::var("OFFHOOK_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL_LIVES);
    if let Some(story) = search(0..lives, "") {
        panic!("{story}");
    }
}

/// The lives above are not empty: everything that matters happens in some of them.
#[test]
fn lives_are_full() {
    let mut stories = String::new();
    for seed in 0..2_000 {
        let mut dice = Dice::new(seed);
        let (setting, steps) = (dice.setting(), dice.life());
        let mut story = Vec::new();
        live(setting, &steps, Some(&mut story));
        stories.push_str(&story.join("\n"));
    }
    for (happens, often) in [
        ("Phone: Secret", 2_000),
        ("Rival: Secret", 500),
        ("Phone: Plain", 200),
        ("Refused(Contention)", 500),
        ("Refused(NeverDelivered)", 500),
        ("Refused(Unproven)", 200),
        ("Refused(Locked)", 50),
        ("Refused(Budget)", 20),
        ("Unavailable (decided: Secret", 200),
    ] {
        let count = stories.matches(happens).count();
        assert!(count >= often, "{happens}: {count}");
    }
}

/// With this rule broken, lives go wrong, soon, and in each of these ways.
fn notices(rule: Rule, ways: &[&str]) {
    let _without = without(rule);
    for way in ways {
        let story = search(0..LIVES_WITH_A_BROKEN_RULE_MAX, way);
        let story = story.unwrap_or_else(|| panic!("{way} does not notice that {rule:?} is broken"));
        println!("without {rule:?}: {story}\n");
    }
}

#[test]
fn m01_a_commit_after_the_answer_is_noticed() {
    notices(Rule::CommitBeforeSend, &["S2"]);
}

#[test]
fn m02_a_decision_about_what_was_read_before_is_noticed() {
    notices(Rule::DecideInTransaction, &["S1"]);
}

#[test]
fn m03_a_window_used_up_by_one_fetch_is_noticed() {
    notices(Rule::WindowOutlivesAGet, &["L1"]);
}

#[test]
fn m04_a_commit_that_is_not_on_the_disk_is_noticed() {
    notices(Rule::Synchronous, &["S2"]);
}

#[test]
fn m05_a_window_on_the_wall_clock_is_noticed() {
    notices(Rule::BootClock, &["S3", "L1", "S4"]);
}

#[test]
fn m06_a_binding_lost_at_a_restart_is_noticed() {
    notices(Rule::BindingIsKept, &["S1"]);
}

#[test]
fn m07_a_window_for_everybody_is_noticed() {
    notices(Rule::Binding, &["S1"]);
}

#[test]
fn m08_a_failure_answered_with_a_plain_file_is_noticed() {
    notices(Rule::FailureIsNotPlain, &["S4"]);
}

#[test]
fn m09_a_window_that_outlives_its_boot_is_noticed() {
    notices(Rule::BootEndsWindow, &["S3"]);
}

#[test]
fn m10_a_window_measured_anew_by_the_wall_clock_is_noticed() {
    notices(Rule::MomentIsKept, &["S3", "L1", "S4"]);
}
