//! A row for every event and guard of sections 3 to 5.

use super::*;

/// A device with one SIP password in a state of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Never,
    Staged,
    Unbound,
    Bound,
    Acked,
    Locked(Reason),
}

const STARTS: [Start; 9] = [
    Start::Never,
    Start::Staged,
    Start::Unbound,
    Start::Bound,
    Start::Acked,
    Start::Locked(Reason::Expired),
    Start::Locked(Reason::Delivered),
    Start::Locked(Reason::Interrupted),
    Start::Locked(Reason::Revoked),
];

fn bench(start: Start) -> Bench {
    let mut bench = if start == Start::Never { Bench::pending(&[SIP]) } else { Bench::staged(&[SIP]) };
    match start {
        Start::Never | Start::Staged => {}
        Start::Unbound => drop(bench.arm(&[SIP], Mode::Now)),
        Start::Bound => drop(bench.secret(&[SIP])),
        Start::Acked => {
            let released = bench.secret(&[SIP]);
            bench.prove(&released, Evidence::Acked);
        }
        Start::Locked(Reason::Delivered) => return Bench::delivered(&[SIP]),
        Start::Locked(Reason::Expired) => {
            bench.secret(&[SIP]);
            bench.clock.advance(10 * MINUTE);
            bench.expire();
        }
        Start::Locked(Reason::Interrupted) => {
            bench.secret(&[SIP]);
            bench.reboot();
        }
        Start::Locked(_) => drop(bench.lock(&[SIP])),
    }
    bench
}

#[track_caller]
fn check(start: Start, event: impl FnOnce(&mut Bench), then: &str) {
    let mut bench = bench(start);
    event(&mut bench);
    assert_eq!(word(bench.grant(SIP)), then, "from {start:?}");
}

#[test]
fn approval_stages_what_was_never_armed() {
    let approve = |bench: &mut Bench| drop(bench.reconcile(APPROVED));
    check(Start::Never, approve, "staged");
    check(Start::Bound, approve, "open");
    check(Start::Locked(Reason::Expired), approve, "locked expired");
    check(Start::Locked(Reason::Revoked), approve, "locked revoked");
}

#[test]
fn a_block_locks_and_another_approval_does_not_arm_again() {
    let block = |bench: &mut Bench| drop(bench.reconcile(Standing::Blocked));
    check(Start::Never, block, "locked never");
    check(Start::Staged, block, "locked revoked");
    check(Start::Unbound, block, "locked revoked");
    check(Start::Acked, block, "locked revoked");
    let and_back = |bench: &mut Bench| {
        bench.reconcile(Standing::Blocked);
        bench.reconcile(APPROVED);
    };
    check(Start::Never, and_back, "staged");
    check(Start::Bound, and_back, "locked revoked");
}

#[test]
fn arming_works_from_every_state_and_begins_another_epoch() {
    for start in STARTS {
        for (mode, then) in [(Mode::OnContact, "staged"), (Mode::Now, "open unbound")] {
            let mut bench = bench(start);
            let before = bench.grant(SIP).clone();
            let changes = bench.arm(&[SIP], mode);
            let after = bench.grant(SIP).clone();
            assert_eq!((whats(&changes), word(&after).as_str()), (vec![What::Armed], then), "from {start:?}");
            assert_eq!((after.epoch, after.releases), (before.epoch + 1, 0));
            assert_eq!((after.evidence, after.delivered), (Evidence::None, before.delivered));
        }
    }
}

#[test]
fn arming_nothing_is_no_epoch() {
    let mut bench = Bench::staged(&[SIP]);
    assert_eq!(bench.arm(&[SIP2], Mode::Now), []);
    assert_eq!(bench.grants.epoch, 1);
}

#[test]
fn a_window_of_the_operator_overrules_the_policy() {
    for mode in [Mode::Now, Mode::OnContact] {
        let mut bench = Bench::delivered(&[SIP, MENU]);
        bench.arm_for(&[SIP, MENU], mode, Some(Window::Of(30 * MINUTE)));
        bench.secret(&[SIP, MENU]);
        bench.clock.advance(Duration::from_secs(30 * 60 - 1));
        assert_eq!(bench.secret(&[SIP]).len(), 1);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.ask(&[SIP], &phone()), Verdict::Plain);
    }
}

#[test]
fn the_policy_counts_when_a_window_opens() {
    let mut bench = Bench::staged(&[SIP]);
    bench.policies.of_mut(SecretKind::Sip).window = Window::Of(MINUTE);
    bench.secret(&[SIP]);
    bench.policies.of_mut(SecretKind::Sip).window = Window::Of(HOUR);
    let now = bench.now();
    assert_eq!(bench.grant(SIP).closes_in(&now), Some(MINUTE));
}

#[test]
fn every_refusal_leaves_everything_as_it_was() {
    let stranger = Asker { level: Level::I1, key: phone().key };
    for (start, asker, why) in [
        (Start::Never, phone(), Refusal::NeverDelivered),
        (Start::Staged, stranger.clone(), Refusal::Unproven),
        (Start::Unbound, stranger.clone(), Refusal::Unproven),
        (Start::Bound, stranger.clone(), Refusal::Unproven),
        (Start::Bound, rival(), Refusal::Contention),
        (Start::Acked, rival(), Refusal::Contention),
        (Start::Locked(Reason::Expired), phone(), Refusal::NeverDelivered),
        (Start::Locked(Reason::Interrupted), phone(), Refusal::NeverDelivered),
        (Start::Locked(Reason::Revoked), phone(), Refusal::NeverDelivered),
    ] {
        let mut bench = bench(start);
        let before = bench.grants.clone();
        assert_eq!(bench.ask(&[SIP], &asker), Verdict::Refuse(why), "from {start:?}");
        assert_eq!(bench.grants, before, "from {start:?}");
    }
}

#[test]
fn every_proven_level_is_served_and_binds() {
    for level in [Level::I2, Level::I3, Level::I4] {
        for start in [Start::Staged, Start::Unbound] {
            let mut bench = bench(start);
            let asker = Asker { level, key: format!("{level:?}") };
            assert!(matches!(bench.ask(&[SIP], &asker), Verdict::Secret(_)));
            let bound = bench.grant(SIP).opening().unwrap().bound.clone().unwrap();
            assert_eq!((bound.key, bound.level), (asker.key, level));
            assert_eq!(bench.ask(&[SIP], &phone()), Verdict::Refuse(Refusal::Contention));
        }
    }
}

#[test]
fn a_file_without_slots_is_plain_for_everybody_in_every_state() {
    for start in STARTS {
        let mut bench = bench(start);
        let before = bench.grants.clone();
        assert_eq!(bench.ask(&[], &Asker { level: Level::I0, key: String::new() }), Verdict::Plain);
        assert_eq!(bench.grants, before);
    }
}

#[test]
fn binding_one_kind_binds_the_whole_epoch_and_no_other() {
    let mut bench = Bench::delivered(&[SIP, MENU, WEBUI]);
    bench.arm(&[SIP, MENU], Mode::Now);
    bench.arm(&[WEBUI], Mode::OnContact);
    bench.secret(&[SIP]);
    assert_eq!(ids(&bench.secret(&[SIP, MENU])).len(), 2);
    assert_eq!(word(bench.grant(WEBUI)), "staged");
    assert!(matches!(bench.ask(&[WEBUI], &rival()), Verdict::Secret(_)), "another epoch, another binding");
    assert_eq!(bench.ask(&[SIP, WEBUI], &phone()), Verdict::Refuse(Refusal::Contention));
    assert_eq!(bench.ask(&[SIP, WEBUI], &rival()), Verdict::Refuse(Refusal::Contention));
    assert_eq!(ids(&bench.secret(&[SIP])), [SIP]);
}

#[test]
fn a_request_for_two_epochs_opens_both() {
    let mut bench = Bench::staged(&[SIP]);
    bench.secret(&[SIP]);
    bench.clock.advance(5 * MINUTE);
    bench.held.push((SIP2, 1));
    bench.reconcile(APPROVED);
    let released = bench.secret(&[SIP, SIP2]);
    assert_eq!(
        released.iter().map(|one| (one.epoch, one.again)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
    bench.clock.advance(5 * MINUTE);
    assert_eq!(ids(&bench.secret(&[SIP, SIP2])), [SIP2], "the first window ended, the second did not");
}

#[test]
fn a_new_password_and_a_changed_one_are_one_act_of_arming() {
    let mut bench = Bench::delivered(&[SIP, MENU]);
    bench.held = vec![(SIP, 2), (SIP2, 1), (MENU, 1)];
    let changes = bench.reconcile(APPROVED);
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|change| change.epoch == 2), "{changes:?}");
    assert_eq!(word(bench.grant(MENU)), "locked delivered");
}

#[test]
fn a_password_changed_before_the_approval_is_the_one_that_is_released() {
    let mut never = Bench::pending(&[SIP]);
    never.held[0].1 = 2;
    assert_eq!(never.reconcile(Standing::Pending), []);
    assert_eq!(whats(&never.reconcile(APPROVED)), [What::Staged]);
    assert_eq!(never.secret(&[SIP])[0].version, 2);
    let mut armed = Bench::pending(&[SIP]);
    armed.arm(&[SIP], Mode::Now);
    armed.held[0].1 = 2;
    assert_eq!(whats(&armed.reconcile(Standing::Pending)), [What::SecretChanged]);
    assert_eq!(armed.reconcile(APPROVED), []);
    assert_eq!(armed.secret(&[SIP])[0].version, 2);
}

#[test]
fn a_password_changed_while_its_device_is_blocked_waits_for_the_approval() {
    let mut bench = Bench::staged(&[SIP]);
    bench.held[0].1 = 2;
    assert_eq!(whats(&bench.reconcile(Standing::Blocked)), [What::Revoked]);
    assert_eq!(whats(&bench.reconcile(APPROVED)), [What::SecretChanged]);
    assert_eq!(bench.secret(&[SIP])[0].version, 2);
}

#[test]
fn reconciling_what_is_in_line_changes_nothing() {
    for start in STARTS {
        let mut bench = bench(start);
        let standing = if start == Start::Never { Standing::Pending } else { APPROVED };
        let before = bench.grants.clone();
        assert_eq!(bench.reconcile(standing), [], "from {start:?}");
        assert_eq!(bench.grants, before);
    }
}

#[test]
fn evidence_counts_in_its_epoch_only_and_only_of_what_left() {
    let mut bench = Bench::staged(&[SIP]);
    let before = bench.grant(SIP);
    let unsent = [Released { id: SIP, epoch: before.epoch, version: 1, again: false }];
    assert_eq!(bench.prove(&unsent, Evidence::Applied), []);
    assert_eq!((bench.grant(SIP).evidence, bench.grant(SIP).delivered), (Evidence::None, None));
    let old = bench.secret(&[SIP]);
    bench.arm(&[SIP], Mode::OnContact);
    bench.secret(&[SIP]);
    bench.prove(&old, Evidence::Applied);
    assert_eq!((bench.grant(SIP).evidence, bench.grant(SIP).delivered), (Evidence::Intent, None));
}

#[test]
fn only_what_is_acknowledged_counts_as_delivered() {
    for (evidence, delivered) in [
        (Evidence::Intent, None),
        (Evidence::Sent, None),
        (Evidence::Acked, Some(1)),
        (Evidence::Applied, Some(1)),
    ] {
        let mut bench = Bench::staged(&[SIP]);
        let released = bench.secret(&[SIP]);
        bench.prove(&released, evidence);
        bench.prove(&released, Evidence::Sent);
        assert_eq!(bench.grant(SIP).delivered, delivered);
        assert_eq!(bench.grant(SIP).evidence, evidence.max(Evidence::Sent), "evidence never goes back");
        assert_eq!(word(bench.grant(SIP)), "open", "the window is what closes");
        bench.clock.advance(10 * MINUTE);
        let (word_then, verdict) = match delivered {
            Some(_) => ("locked delivered", Verdict::Plain),
            None => ("locked expired", Verdict::Refuse(Refusal::NeverDelivered)),
        };
        assert_eq!(bench.ask(&[SIP], &phone()), verdict);
        assert_eq!(word(bench.grant(SIP)), word_then);
    }
}

#[test]
fn a_policy_may_close_on_evidence() {
    for (close_on, evidence, then) in [
        (CloseOn::Acked, Evidence::Sent, "open"),
        (CloseOn::Acked, Evidence::Acked, "locked delivered"),
        (CloseOn::Acked, Evidence::Applied, "locked delivered"),
        (CloseOn::Applied, Evidence::Acked, "open"),
        (CloseOn::Applied, Evidence::Applied, "locked delivered"),
        (CloseOn::Window, Evidence::Applied, "open"),
    ] {
        let mut bench = Bench::staged(&[SIP, MENU]);
        bench.policies.of_mut(SecretKind::Sip).close_on = close_on;
        let released = bench.secret(&[SIP, MENU]);
        bench.prove(&released, evidence);
        assert_eq!((word(bench.grant(SIP)).as_str(), word(bench.grant(MENU)).as_str()), (then, "open"));
    }
}

#[test]
fn a_window_without_limit_lasts_until_it_is_acknowledged_or_the_host_boots() {
    for (acked, then) in [(true, "locked delivered"), (false, "locked interrupted")] {
        let mut bench = Bench::staged(&[SIP]);
        bench.policies.of_mut(SecretKind::Sip).window = Window::UntilAcked;
        let released = bench.secret(&[SIP]);
        bench.clock.advance(1000 * HOUR);
        bench.secret(&[SIP]);
        assert_eq!(bench.ask(&[SIP], &rival()), Verdict::Refuse(Refusal::Contention));
        if acked {
            bench.prove(&released, Evidence::Acked);
        } else {
            bench.reboot();
        }
        assert_eq!(word(bench.grant(SIP)), then);
    }
}

#[test]
fn a_window_whose_length_is_lost_is_over() {
    let mut bench = Bench::staged(&[SIP]);
    bench.secret(&[SIP]);
    bench.grants.grants[0].window = None;
    assert_eq!(whats(&bench.expire()), [What::Expired]);
}

#[test]
fn a_late_acknowledgement_corrects_why_the_window_ended() {
    let late = |end: fn(&mut Bench), then: &str| {
        let mut bench = Bench::staged(&[SIP]);
        let released = bench.secret(&[SIP]);
        end(&mut bench);
        bench.prove(&released, Evidence::Acked);
        assert_eq!((word(bench.grant(SIP)).as_str(), bench.grant(SIP).delivered), (then, Some(1)));
        assert_eq!(bench.ask(&[SIP], &phone()), Verdict::Plain);
    };
    late(
        |bench| {
            bench.clock.advance(10 * MINUTE);
            bench.expire();
        },
        "locked delivered",
    );
    late(|bench| drop(bench.reboot()), "locked interrupted");
    late(|bench| drop(bench.lock(&[SIP])), "locked revoked");
}

#[test]
fn staging_ends_by_the_wall_clock_which_never_goes_back() {
    let mut bench = Bench::staged(&[SIP]);
    bench.clock.set_wall(Timestamp(WALL.0 - 1_000_000_000));
    assert_eq!(bench.expire(), []);
    bench.clock.set_wall(WALL.plus(24 * HOUR));
    assert_eq!(whats(&bench.expire()), [What::NeverProvisioned]);
    let mut bench = Bench::delivered(&[SIP]);
    bench.arm(&[SIP], Mode::OnContact);
    bench.clock.advance(24 * HOUR);
    assert_eq!(whats(&bench.expire()), [What::Expired], "it has this very password");
    assert_eq!(bench.ask(&[SIP], &phone()), Verdict::Plain);
}

#[test]
fn a_boot_ends_what_this_agent_opened_and_in_an_embedded_database_everything() {
    for (by, alone, then) in [
        ("a", true, "locked interrupted"),
        ("a", false, "locked interrupted"),
        ("b", true, "locked interrupted"),
        ("b", false, "open"),
    ] {
        let mut bench = Bench::pending(&[SIP]);
        bench.agent = by.into();
        bench.reconcile(APPROVED);
        bench.secret(&[SIP]);
        bench.clock.reboot();
        let now = bench.now();
        bench.grants.start("a", alone, &now.boot.boot, &now);
        assert_eq!(word(bench.grant(SIP)), then, "opened by {by}, alone: {alone}");
    }
}

#[test]
fn a_boot_leaves_what_waits() {
    let mut bench = Bench::staged(&[SIP]);
    assert_eq!(bench.reboot(), []);
    assert_eq!(ids(&bench.secret(&[SIP])), [SIP]);
}

#[test]
fn anothers_window_ends_by_whatever_clock_says_so_first() {
    let years = 10 * 365 * 24 * HOUR;
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap();
    let opened = |seen_ms| {
        let mut bench = Bench::staged(&[SIP]);
        bench.secret(&[SIP]);
        let State::Open(opening) = &mut bench.grants.grants[0].state else { panic!() };
        opening.seen_ms = seen_ms;
        bench
    };
    let elsewhere = |wall: i64, boot: i64| Now {
        wall: Timestamp(wall),
        boot: crate::clock::BootInstant { boot: crate::clock::BootId("elsewhere".into()), ms: boot },
    };
    for (wall, seen, now, over) in [
        (WALL.0 + ms(9 * MINUTE), Some(0), ms(9 * MINUTE), false),
        (WALL.0 + ms(10 * MINUTE), Some(0), 0, true),
        (WALL.0, Some(5_000), 5_000 + ms(10 * MINUTE), true),
        (WALL.0 - ms(years), Some(5_000), 5_000 + ms(10 * MINUTE), true),
        (WALL.0 - ms(years), Some(5_000), 5_000 + ms(9 * MINUTE), false),
        (WALL.0 + ms(years), None, 0, true),
        (WALL.0, None, ms(years), false),
    ] {
        let changes = opened(seen).grants.expire(&elsewhere(wall, now));
        assert_eq!(!changes.is_empty(), over, "wall {wall}, seen {seen:?}, now {now}");
    }
}

#[test]
fn locking_leaves_what_waits_for_approval() {
    let lock = |bench: &mut Bench| drop(bench.lock(&[SIP]));
    check(Start::Never, lock, "locked never");
    for start in STARTS.into_iter().filter(|start| *start != Start::Never) {
        check(start, lock, "locked revoked");
    }
}

#[test]
fn a_locked_phone_that_loses_what_is_missing_gets_nothing() {
    for start in STARTS.into_iter().filter(|start| *start != Start::Never) {
        let mut bench = bench(start);
        bench.replaces = true;
        bench.lock(&[SIP]);
        assert_eq!(bench.ask(&[SIP], &phone()), Verdict::Refuse(Refusal::Locked), "from {start:?}");
    }
    let mut bench = Bench::staged(&[SIP, MENU]);
    bench.replaces = true;
    bench.secret(&[SIP, MENU]);
    bench.lock(&[SIP]);
    assert_eq!(
        bench.ask(&[SIP, MENU], &phone()),
        Verdict::Refuse(Refusal::Locked),
        "not half of them either"
    );
    bench.arm(&[SIP], Mode::OnContact);
    assert_eq!(bench.secret(&[SIP, MENU]).len(), 2);
}

#[test]
fn what_an_operator_confirms_counts_as_delivered() {
    let mut bench = Bench::staged(&[SIP, MENU]);
    bench.clock.advance(25 * HOUR);
    bench.expire();
    assert_eq!(whats(&bench.grants.confirm(|id| id == SIP)), [What::Confirmed]);
    assert_eq!(bench.ask(&[SIP], &phone()), Verdict::Plain);
    assert_eq!(bench.ask(&[SIP, MENU], &phone()), Verdict::Refuse(Refusal::NeverDelivered));
    assert_eq!(bench.grants.confirm(|id| id == SIP), [], "once is enough");
    let mut staged = Bench::staged(&[SIP]);
    staged.grants.confirm(|_| true);
    assert_eq!(ids(&staged.secret(&[SIP])), [SIP], "what is armed leaves all the same");
}

#[test]
fn a_spent_kind_does_not_spend_the_others() {
    let mut bench = Bench::staged(&[SIP, MENU]);
    bench.policies.of_mut(SecretKind::Sip).releases_max = 2;
    bench.secret(&[SIP, MENU]);
    bench.secret(&[SIP]);
    assert_eq!(bench.ask(&[SIP, MENU], &phone()), Verdict::Refuse(Refusal::Budget));
    assert_eq!(bench.words(), ["open", "locked budget"].map(str::to_owned));
    assert_eq!(ids(&bench.secret(&[SIP, MENU])), [MENU]);
}

#[test]
fn the_rivals_requests_do_not_spend_the_phones_budget() {
    let mut bench = Bench::staged(&[SIP]);
    bench.policies.of_mut(SecretKind::Sip).releases_max = 2;
    bench.secret(&[SIP]);
    for _ in 0..10 {
        assert_eq!(bench.ask(&[SIP], &rival()), Verdict::Refuse(Refusal::Contention));
    }
    bench.secret(&[SIP]);
}

#[test]
fn words_of_reasons_are_read_back() {
    for reason in Reason::ALL {
        assert_eq!(reason.as_str().parse(), Ok(reason));
    }
    assert!("moved".parse::<Reason>().is_err());
}
