//! The numbered cases of the specification (section 12) that the machine alone decides.

use super::*;

/// In the order in which a device keeps them.
const ALL: [GrantId; 3] = [MENU, WEBUI, SIP];

#[test]
fn case_01_the_first_fetch_of_a_new_phone_carries_everything() {
    let mut bench = Bench::staged(&ALL);
    let released = bench.secret(&ALL);
    assert_eq!(ids(&released), ALL);
    assert!(released.iter().all(|one| one.version == 1 && one.epoch == 1 && !one.again));
    assert_eq!(bench.words(), ["open"; 3]);
    assert!(bench.grants.grants.iter().all(|grant| grant.evidence == Evidence::Intent));
}

#[test]
fn case_02_the_same_phone_gets_the_same_again_in_its_window() {
    let mut bench = Bench::staged(&ALL);
    let first = bench.secret(&ALL);
    bench.clock.advance(MINUTE);
    let second = bench.secret(&ALL);
    let again: Vec<Released> = first.into_iter().map(|one| Released { again: true, ..one }).collect();
    assert_eq!(second, again);
}

#[test]
fn case_03_after_the_window_the_passwords_stay() {
    let mut bench = Bench::staged(&ALL);
    let released = bench.secret(&ALL);
    bench.prove(&released, Evidence::Acked);
    bench.clock.advance(Duration::from_secs(601));
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain);
    assert_eq!(bench.words(), ["locked delivered"; 3]);
}

#[test]
fn case_03_but_a_phone_that_is_not_known_to_have_them_gets_nothing() {
    let mut bench = Bench::staged(&ALL);
    let released = bench.secret(&ALL);
    bench.prove(&released, Evidence::Sent);
    bench.clock.advance(Duration::from_secs(601));
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Refuse(Refusal::NeverDelivered));
    assert_eq!(bench.words(), ["locked expired"; 3]);
}

#[test]
fn case_04_a_phone_that_comes_too_late_is_refused_and_said_to_be_never_provisioned() {
    let mut bench = Bench::staged(&ALL);
    bench.clock.advance(25 * HOUR);
    assert_eq!(whats(&bench.expire()), [What::NeverProvisioned]);
    assert_eq!(bench.words(), ["locked expired"; 3]);
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Refuse(Refusal::NeverDelivered));
    bench.arm(&ALL, Mode::Now);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
}

#[test]
fn case_05_nothing_opens_before_the_approval() {
    let mut bench = Bench::pending(&ALL);
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Refuse(Refusal::NeverDelivered));
    assert_eq!(bench.words(), ["locked never"; 3]);
    assert_eq!(whats(&bench.reconcile(APPROVED)), [What::Staged]);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
}

#[test]
fn case_06_armed_now_lasts_its_window_and_no_longer() {
    let mut bench = Bench::delivered(&ALL);
    bench.arm(&ALL, Mode::Now);
    assert_eq!(bench.words(), ["open unbound"; 3]);
    let now = bench.now();
    assert_eq!(bench.grant(SIP).closes_in(&now), Some(10 * MINUTE));
    bench.clock.advance(Duration::from_secs(599));
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
    bench.clock.advance(Duration::from_secs(2));
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain);
}

#[test]
fn case_07_armed_now_and_nobody_comes() {
    let mut bench = Bench::delivered(&ALL);
    bench.arm(&ALL, Mode::Now);
    bench.clock.advance(Duration::from_secs(601));
    assert_eq!(whats(&bench.expire()), [What::Expired]);
    assert_eq!(bench.words(), ["locked expired"; 3]);
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain);
}

#[test]
fn case_08_armed_on_contact_begins_with_the_contact() {
    let mut bench = Bench::delivered(&ALL);
    bench.arm(&ALL, Mode::OnContact);
    bench.clock.advance(20 * HOUR);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
    bench.clock.advance(Duration::from_secs(599));
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain);
}

#[test]
fn case_09_two_requests_of_the_phone_are_one_epoch_and_two_releases() {
    let mut bench = Bench::staged(&ALL);
    let (first, second) = (bench.secret(&ALL), bench.secret(&ALL));
    assert_eq!(first.iter().map(|one| one.epoch).collect::<Vec<_>>(), [1; 3]);
    assert_eq!(second.iter().map(|one| one.epoch).collect::<Vec<_>>(), [1; 3]);
    assert_eq!((bench.grants.epoch, bench.grant(SIP).releases), (1, 2));
}

#[test]
fn case_11_somebody_else_gets_nothing_and_the_phone_does_not_notice() {
    let mut bench = Bench::staged(&ALL);
    bench.secret(&ALL);
    for level in [Level::I0, Level::I1] {
        let stranger = Asker { level, key: "mac 02:00:00:00:00:01".to_owned() };
        assert_eq!(bench.ask(&ALL, &stranger), Verdict::Refuse(Refusal::Unproven));
    }
    assert_eq!(bench.ask(&ALL, &rival()), Verdict::Refuse(Refusal::Contention));
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
    assert_eq!(bench.grant(SIP).releases, 2);
}

#[test]
fn case_12_a_browser_opens_no_window() {
    let mut bench = Bench::staged(&ALL);
    let browser = Asker { level: Level::I0, key: "mac 02:00:00:00:00:01".to_owned() };
    assert_eq!(bench.ask(&ALL, &browser), Verdict::Refuse(Refusal::Unproven));
    assert_eq!(bench.words(), ["staged"; 3]);
}

#[test]
fn case_13_a_broken_transfer_uses_nothing_up() {
    let mut bench = Bench::staged(&ALL);
    let half = bench.secret(&ALL);
    bench.prove(&half, Evidence::Intent);
    assert_eq!(bench.words(), ["open"; 3]);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
}

#[test]
fn case_24_armed_again_is_another_epoch_of_the_same_password() {
    let mut bench = Bench::staged(&ALL);
    let before = bench.secret(&ALL);
    bench.arm(&ALL, Mode::OnContact);
    let after = bench.secret(&ALL);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.version, before.epoch + 1), (after.version, after.epoch));
        assert!(!after.again);
    }
}

#[test]
fn case_25_the_wall_clock_closes_and_keeps_open_nothing() {
    let years = 10 * 365 * 24 * 3_600_000;
    for wall in [WALL.0 + 3_600_000, WALL.0 - 3_600_000, 0, WALL.0 + years, WALL.0 - years] {
        let mut bench = Bench::staged(&ALL);
        let released = bench.secret(&ALL);
        bench.prove(&released, Evidence::Acked);
        bench.clock.set_wall(Timestamp(wall));
        bench.clock.advance(Duration::from_secs(599));
        assert_eq!(ids(&bench.secret(&ALL)), ALL, "at {wall}");
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain, "at {wall}");
    }
}

#[test]
fn case_26_a_new_process_goes_on_with_the_window() {
    let mut bench = Bench::staged(&ALL);
    let released = bench.secret(&ALL);
    bench.prove(&released, Evidence::Acked);
    bench.clock.advance(3 * MINUTE);
    let now = bench.now();
    assert_eq!(bench.grants.start("a", true, &now.boot.boot, &now), []);
    assert_eq!(bench.grant(SIP).closes_in(&now), Some(7 * MINUTE));
    bench.clock.advance(Duration::from_secs(419));
    assert!(bench.secret(&ALL).iter().all(|one| one.again));
    assert_eq!(bench.ask(&ALL, &rival()), Verdict::Refuse(Refusal::Contention));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain);
}

#[test]
fn case_27_another_boot_interrupts_and_arming_again_helps() {
    let mut bench = Bench::staged(&ALL);
    bench.secret(&ALL);
    assert_eq!(whats(&bench.reboot()), [What::Interrupted]);
    assert_eq!(bench.words(), ["locked interrupted"; 3]);
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Refuse(Refusal::NeverDelivered));
    bench.arm(&ALL, Mode::OnContact);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
}

#[test]
fn case_32_a_new_address_is_the_same_phone() {
    // The key of a neighbour is its MAC: nothing of an address is in it, or anywhere else in the machine.
    let mut bench = Bench::staged(&ALL);
    bench.secret(&ALL);
    assert_eq!(bench.grant(SIP).opening().unwrap().bound.as_ref().unwrap().key, phone().key);
    assert!(bench.secret(&ALL).iter().all(|one| one.again));
}

#[test]
fn case_36_a_cloned_mac_is_served_like_the_phone() {
    // The limit that the manual states: who has the phone's MAC on its link is the phone; the desk looks for clones.
    let mut bench = Bench::staged(&ALL);
    let clone = phone();
    assert!(matches!(bench.ask(&ALL, &clone), Verdict::Secret(_)));
    assert_eq!(bench.ask(&ALL, &rival()), Verdict::Refuse(Refusal::Contention));
}

#[test]
fn case_41_two_files_are_one_arming() {
    let two_files = |armed: bool| {
        let mut bench = if armed { Bench::delivered(&[SIP, WEBUI]) } else { Bench::staged(&[SIP, WEBUI]) };
        if armed {
            bench.arm(&[SIP, WEBUI], Mode::OnContact);
        }
        assert_eq!(ids(&bench.secret(&[SIP])), [SIP]);
        assert_eq!(bench.words(), ["open"; 2]);
        bench.clock.advance(Duration::from_secs(590));
        bench
    };
    let mut in_time = two_files(false);
    let released = in_time.secret(&[WEBUI]);
    assert_eq!((released.len(), released[0].epoch, released[0].again), (1, 1, true));
    assert_eq!(in_time.ask(&[WEBUI], &rival()), Verdict::Refuse(Refusal::Contention));
    for (armed, verdict) in [(true, Verdict::Plain), (false, Verdict::Refuse(Refusal::NeverDelivered))] {
        let mut late = two_files(armed);
        late.clock.advance(Duration::from_secs(20));
        assert_eq!(late.ask(&[WEBUI], &phone()), verdict);
        assert_eq!(word(late.grant(WEBUI)), "locked expired");
    }
}

#[test]
fn case_42_arming_one_line_releases_its_password_only() {
    let mut bench = Bench::delivered(&[SIP, SIP2]);
    bench.arm(&[SIP2], Mode::OnContact);
    assert_eq!(ids(&bench.secret(&[SIP, SIP2])), [SIP2]);
}

#[test]
fn case_43_a_shared_account_is_armed_for_one_phone() {
    let (mut x, mut y) = (Bench::delivered(&[SIP]), Bench::delivered(&[SIP]));
    x.arm(&[SIP], Mode::OnContact);
    assert_eq!(y.ask(&[SIP], &phone()), Verdict::Plain);
    assert_eq!(ids(&x.secret(&[SIP])), [SIP]);
}

#[test]
fn case_44_a_moved_account_is_released_to_its_new_phone() {
    let (mut x, mut y) = (Bench::staged(&[SIP, MENU]), Bench::delivered(&[MENU]));
    x.secret(&[SIP, MENU]);
    x.held.retain(|(id, _)| *id != SIP);
    y.held.push((SIP, 1));
    assert_eq!(whats(&x.reconcile(APPROVED)), [What::Gone]);
    assert_eq!(whats(&y.reconcile(APPROVED)), [What::Staged]);
    assert_eq!(ids(&x.secret(&[SIP, MENU])), [MENU]);
    assert_eq!(ids(&y.secret(&[SIP, MENU])), [SIP]);
}

#[test]
fn case_45_a_changed_password_is_armed_anew_and_the_old_one_never_leaves() {
    let mut bench = Bench::staged(&[SIP, MENU]);
    let old = bench.secret(&[SIP, MENU]);
    bench.held = vec![(SIP, 1), (MENU, 2)];
    let news = bench.reconcile(APPROVED);
    assert_eq!(news, [Change { what: What::SecretChanged, ids: vec![MENU], epoch: 2 }]);
    bench.prove(&old, Evidence::Acked);
    assert_eq!(bench.grant(MENU).delivered, None, "what the old window proves says nothing about the new");
    let new = bench.secret(&[SIP, MENU]);
    let (released, kept): (Vec<_>, Vec<_>) = new.iter().partition(|one| one.id == MENU);
    assert_eq!((released[0].version, released[0].epoch, released[0].again), (2, 2, false));
    assert_eq!((kept[0].version, kept[0].epoch, kept[0].again), (1, 1, true));
}

#[test]
fn case_46_locking_ends_the_window() {
    let mut bench = Bench::staged(&ALL);
    bench.secret(&ALL);
    assert_eq!(whats(&bench.lock(&[SIP, MENU])), [What::Revoked]);
    assert_eq!(word(bench.grant(SIP)), "locked revoked");
    assert_eq!(ids(&bench.secret(&ALL)), [WEBUI]);
}

#[test]
fn case_47_a_factory_reset_gets_nothing_back_by_itself() {
    let mut bench = Bench::delivered(&ALL);
    for _ in 0..3 {
        bench.clock.advance(HOUR);
        assert_eq!(bench.ask(&ALL, &phone()), Verdict::Plain);
    }
    bench.arm(&ALL, Mode::OnContact);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
}

#[test]
fn case_48_a_phone_that_loses_what_is_missing_gets_everything_always() {
    let mut bench = Bench::staged(&ALL);
    bench.replaces = true;
    for hours in [0, 1, 1000] {
        bench.clock.advance(hours * HOUR);
        assert_eq!(ids(&bench.secret(&ALL)), ALL);
        let stranger = Asker { level: Level::I0, ..phone() };
        assert_eq!(bench.ask(&ALL, &stranger), Verdict::Refuse(Refusal::Unproven));
    }
    bench.reboot();
    for _ in 0..200 {
        assert_eq!(ids(&bench.secret(&ALL)), ALL);
    }
}

#[test]
fn case_51_two_agents_share_one_window() {
    let mut bench = Bench::staged(&[SIP, WEBUI]);
    bench.secret(&[SIP]);
    let elsewhere = Clock::manual(WALL);
    elsewhere.reboot();
    elsewhere.advance(5 * MINUTE);
    let on_other_host = Now { wall: elsewhere.now(), boot: elsewhere.boot() };
    let other: Arc<str> = "b".into();
    assert_eq!(bench.grants.start(&other, false, &on_other_host.boot.boot, &on_other_host), []);
    let (policies, asker) = (bench.policies, phone());
    let ask = Ask { wanted: &[WEBUI], asker: &asker, replaces: false, policies: &policies, agent: &other };
    let (Verdict::Secret(released), _) = bench.grants.authorise(&ask, &on_other_host) else { panic!() };
    assert_eq!((released[0].id, released[0].epoch, released[0].again), (WEBUI, 1, true));
    let rival = rival();
    let ask = Ask { asker: &rival, ..ask };
    assert_eq!(bench.grants.authorise(&ask, &on_other_host).0, Verdict::Refuse(Refusal::Contention));
}

#[test]
fn case_38_a_certificate_goes_on_where_its_phones_mac_began_and_nobody_follows_a_certificate() {
    let certified = Asker { level: Level::I4, key: "certificate 00:04:13:96:d9:b4".to_owned() };
    let mut bench = Bench::staged(&[SIP]);
    bench.secret(&[SIP]);
    assert!(matches!(bench.ask(&[SIP], &certified), Verdict::Secret(_)));
    assert!(matches!(bench.ask(&[SIP], &phone()), Verdict::Secret(_)), "the window stays the MAC's");
    let mut bench = Bench::staged(&[SIP]);
    assert!(matches!(bench.ask(&[SIP], &certified), Verdict::Secret(_)));
    for other in [phone(), rival()] {
        assert_eq!(bench.ask(&[SIP], &other), Verdict::Refuse(Refusal::Contention), "{other:?}");
    }
    assert!(matches!(bench.ask(&[SIP], &certified), Verdict::Secret(_)));
}

#[test]
fn case_52_a_restored_database_releases_nothing() {
    let mut bench = Bench::staged(&[SIP, MENU]);
    bench.secret(&[SIP]);
    bench.arm(&[MENU], Mode::OnContact);
    let now = bench.now();
    assert_eq!(whats(&bench.grants.restored(&now)), [What::Restored; 2]);
    assert_eq!(bench.words(), ["locked restored"; 2]);
    assert_eq!(bench.grants.restored(&now), []);
    assert_eq!(bench.ask(&[SIP, MENU], &phone()), Verdict::Refuse(Refusal::NeverDelivered));
}

#[test]
fn case_53_the_hundred_and_first_release_locks() {
    let mut bench = Bench::staged(&ALL);
    for _ in 0..100 {
        bench.secret(&ALL);
    }
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Refuse(Refusal::Budget));
    assert_eq!(bench.words(), ["locked budget"; 3]);
    assert_eq!(bench.ask(&ALL, &phone()), Verdict::Refuse(Refusal::NeverDelivered));
    bench.arm(&ALL, Mode::Now);
    assert_eq!(ids(&bench.secret(&ALL)), ALL);
}
