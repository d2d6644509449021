//! The release of passwords with a database under it: what is durable, what another process sees, what a failure
//! leaves behind. Numbers are those of the specification's cases.

use std::time::Duration;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::device::{Channel, Mac};
use crate::release::{
    Asker, Evidence, GrantId, Grants, Level, Mode, Policies, Reason, Refusal, Released, State, Subject,
    Verdict,
};
use crate::secret::{Secret, SecretKind};
use crate::store::testing::{Bench, mac, on_both, sheet};
use crate::store::write::Write;
use crate::store::{Decided, Delivery, ImportOptions, ReleaseRequest, Store, StoreError, Terms, Vault};

/// One phone with two lines, and another with one.
const OFFICE: &str = "mac,vendor,model,username,password,line\n\
                      805e00000001,yealink,T46U,101,geheim1,1\n\
                      805e00000001,yealink,T46U,102,geheim2,2\n\
                      805e00000002,yealink,T46U,103,geheim3,1\n";
const WINDOW: Duration = Duration::from_mins(10);

fn policies() -> Policies {
    Policies::with_window(WINDOW)
}

pub(super) async fn office(bench: &Bench) -> Store {
    let store = bench.store().await;
    let plan = store.import(&sheet(OFFICE), ImportOptions::default()).await.unwrap();
    assert!(plan.applied, "{:?}", plan.problems);
    store
}

pub(super) fn phone() -> Asker {
    Asker { level: Level::I2, key: "mac".to_owned() }
}

/// Somebody else who is proven as well.
pub(super) fn rival() -> Asker {
    Asker { level: Level::I3, key: "token".to_owned() }
}

fn ids(store: &Store, mac: Mac) -> Vec<GrantId> {
    store.inventory().grants(mac).unwrap().grants.iter().map(|grant| grant.id).collect()
}

/// What the account of this name is armed under.
fn sip(store: &Store, name: &str) -> GrantId {
    let holdings = store.inventory().accounts();
    GrantId::sip(holdings.iter().find(|holding| holding.account.username == name).unwrap().account.id)
}

/// A request for everything that the phone has.
pub(super) fn request(store: &Store, mac: Mac, asker: Asker) -> ReleaseRequest {
    ReleaseRequest {
        mac,
        wanted: ids(store, mac),
        asker,
        replaces: false,
        policies: policies(),
        file: "805e00000001.cfg".to_owned(),
        channel: Channel::Http,
        peer: "192.168.1.35".parse().unwrap(),
        pinned: true,
    }
}

async fn ask(store: &Store, mac: Mac, asker: Asker) -> Verdict {
    decide(store, mac, asker).await.verdict
}

async fn decide(store: &Store, mac: Mac, asker: Asker) -> Decided {
    store.release(request(store, mac, asker)).await.unwrap()
}

#[track_caller]
fn released(verdict: Verdict) -> Vec<Released> {
    match verdict {
        Verdict::Secret(released) => released,
        other => panic!("{other:?}"),
    }
}

/// The phone has got everything, and its window is over.
async fn deliver(bench: &Bench, store: &Store, mac: Mac) {
    let Decided { verdict, release_id, .. } = decide(store, mac, phone()).await;
    prove(store, mac, &release_id, released(verdict), Evidence::Acked).await;
    bench.clock.advance(WINDOW);
    store.expire().await.unwrap();
    assert_eq!(locked(store, mac, Reason::Delivered), ids(store, mac).len());
}

async fn prove(store: &Store, mac: Mac, release_id: &str, released: Vec<Released>, evidence: Evidence) {
    let release_id = release_id.to_owned();
    let delivery = Delivery { mac, release_id, released, evidence, policies: policies() };
    store.write_deliveries(&[delivery], &[], &[]).await.unwrap();
}

fn grants(store: &Store, mac: Mac) -> std::sync::Arc<Grants> {
    store.inventory().grants(mac).unwrap()
}

fn locked(store: &Store, mac: Mac, reason: Reason) -> usize {
    grants(store, mac).grants.iter().filter(|grant| grant.state == State::Locked(reason)).count()
}

async fn events(store: &Store, event: &str) -> usize {
    store.audit(None, 1_000).await.unwrap().iter().filter(|row| row.event == event).count()
}

/// A process on another host.
async fn on_another_host(bench: &Bench, agent: &str) -> (Store, Clock) {
    let clock = Clock::manual(bench.clock.now());
    // A boot that is none of the bench's.
    (0..100).for_each(|_| clock.reboot());
    let store =
        Store::open(&bench.url, Vault::with_key([7; 32]), clock.clone(), Entropy::System).await.unwrap();
    let terms = Terms { agent: agent.into(), ..Terms::default() };
    (store.under(terms), clock)
}

/// Every write of a release fails, as on a full disk, until it is lifted.
async fn fill_the_disk(bench: &Bench, full: bool) {
    let (begin, end) = if bench.url.starts_with("sqlite") {
        (
            "CREATE TRIGGER full_disk BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
            "DROP TRIGGER full_disk",
        )
    } else {
        (
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk is full'; END $$; \
             CREATE TRIGGER full_disk BEFORE INSERT ON audit EXECUTE FUNCTION full_disk()",
            "DROP TRIGGER full_disk ON audit; DROP FUNCTION full_disk()",
        )
    };
    bench.run_sql(if full { begin } else { end }).await;
}

on_both! {
    async fn case_01_a_release_is_in_the_database_when_it_is_told(bench) {
        let store = office(bench).await;
        let Decided { verdict, release_id, device, .. } = decide(&store, mac(1), phone()).await;
        assert_eq!(released(verdict).len(), ids(&store, mac(1)).len());
        assert_eq!(device, store.inventory().device(mac(1)));
        let other = bench.store().await;
        assert_eq!(other.inventory().grants(mac(1)), store.inventory().grants(mac(1)));
        let audit = other.audit(Some(mac(1)), 100).await.unwrap();
        let row = audit.iter().find(|row| row.event == "released").unwrap();
        assert_eq!((row.release_id.as_deref(), row.epoch), (Some(release_id.as_str()), Some(1)));
        assert_eq!(row.detail["to"], "mac");
        assert_eq!(row.detail["passwords"].as_array().unwrap().len(), ids(&store, mac(1)).len());
        bench.assert_settled(&store).await;
    }

    async fn case_09_two_requests_at_once_are_two_releases_of_one_epoch(bench) {
        let store = office(bench).await;
        let (one, two) = tokio::join!(ask(&store, mac(1), phone()), ask(&store, mac(1), phone()));
        for released in [released(one), released(two)] {
            assert!(released.iter().all(|one| (one.epoch, one.version) == (1, 1)));
        }
        let grants = grants(&store, mac(1));
        assert!(grants.epoch == 1 && grants.grants.iter().all(|grant| grant.releases == 2));
        assert_eq!(events(&store, "released").await, 2);
        bench.assert_settled(&store).await;
    }

    async fn case_10_of_two_in_the_same_moment_one_is_served(bench) {
        let stores = [office(bench).await, bench.store().await];
        for round in 0..20_usize {
            let asks = (0..8).map(|n| {
                let store = stores[(n + round) % 2].clone();
                let asker = if n % 4 < 2 { phone() } else { rival() };
                tokio::spawn(async move { (asker.key.clone(), ask(&store, mac(1), asker).await) })
            });
            let mut served = Vec::new();
            for asked in asks.collect::<Vec<_>>() {
                match asked.await.unwrap() {
                    (who, Verdict::Secret(_)) => served.push(who),
                    (_, verdict) => assert_eq!(verdict, Verdict::Refuse(Refusal::Contention)),
                }
            }
            let first = served[0].clone();
            assert_eq!(served, vec![first; 4], "round {round}");
            stores[0].arm(mac(1), |_| true, Mode::OnContact, None, &policies(), "again").await.unwrap();
        }
        stores[1].refresh().await.unwrap();
        assert!(events(&stores[1], "contention").await >= 20);
        bench.assert_settled(&stores[1]).await;
    }

    async fn case_26_a_new_process_goes_on_with_the_window(bench) {
        let store = office(bench).await;
        let first = released(ask(&store, mac(1), phone()).await);
        bench.clock.advance(Duration::from_mins(3));
        let again = bench.store().await;
        assert_eq!(again.start_release().await.unwrap(), []);
        let now = again.release_now();
        assert!(grants(&again, mac(1)).grants.iter().all(|grant| grant.closes_in(&now) == Some(Duration::from_mins(7))));
        assert_eq!(ask(&again, mac(1), rival()).await, Verdict::Refuse(Refusal::Contention));
        let second = released(ask(&again, mac(1), phone()).await);
        let second: Vec<Released> = second.into_iter().map(|one| Released { again: false, ..one }).collect();
        assert_eq!(second, first);
        bench.clock.advance(Duration::from_mins(7));
        assert_eq!(ask(&again, mac(1), phone()).await, Verdict::Refuse(Refusal::NeverDelivered));
        assert_eq!(locked(&again, mac(1), Reason::Expired), ids(&again, mac(1)).len());
        bench.assert_settled(&again).await;
    }

    async fn case_27_another_boot_interrupts_before_anything_is_served(bench) {
        let store = office(bench).await;
        released(ask(&store, mac(1), phone()).await);
        bench.clock.reboot();
        let again = bench.store().await;
        let interrupted = again.start_release().await.unwrap();
        assert_eq!(interrupted.iter().map(|(mac, _)| *mac).collect::<Vec<_>>(), [mac(1)]);
        assert_eq!(locked(&again, mac(1), Reason::Interrupted), ids(&again, mac(1)).len());
        assert_eq!(events(&again, "interrupted").await, 1);
        assert_eq!(ask(&again, mac(1), phone()).await, Verdict::Refuse(Refusal::NeverDelivered));
        assert!(matches!(ask(&again, mac(2), phone()).await, Verdict::Secret(_)), "what waited waits on");
        again.arm(mac(1), |_| true, Mode::OnContact, None, &policies(), "interrupted").await.unwrap();
        assert!(matches!(ask(&again, mac(1), phone()).await, Verdict::Secret(_)));
        bench.assert_settled(&again).await;
    }

    async fn case_29_on_a_full_disk_nothing_leaves_and_nothing_is_used_up(bench) {
        let store = office(bench).await;
        let before = grants(&store, mac(1));
        fill_the_disk(bench, true).await;
        let failed = store.release(request(&store, mac(1), phone())).await.unwrap_err();
        assert_eq!(failed.code(), "store_unavailable", "{failed}");
        assert!(!failed.to_string().contains("geheim"));
        assert_eq!(grants(&store, mac(1)), before);
        bench.assert_settled(&store).await;
        fill_the_disk(bench, false).await;
        assert!(matches!(ask(&store, mac(1), phone()).await, Verdict::Secret(_)));
        assert_eq!(events(&store, "released").await, 1);
        bench.assert_settled(&store).await;
    }

    async fn case_30_a_database_that_is_held_for_too_long_is_not_waited_for(bench) {
        let (store, other) = (office(bench).await, bench.store().await);
        let held = Write::begin(&other).await.unwrap();
        let clock = Clock::System;
        let asked = clock.instant();
        let failed = store.release(request(&store, mac(1), phone())).await.unwrap_err();
        assert!(clock.instant() - asked < Duration::from_millis(2_500));
        assert_eq!(failed.code(), "store_unavailable", "{failed}");
        drop(held);
        assert!(matches!(ask(&store, mac(1), phone()).await, Verdict::Secret(_)));
        assert_eq!(events(&store, "released").await, 1, "who has gone is not served any more");
        bench.assert_settled(&store).await;
    }

    async fn case_31_a_phone_whose_windows_are_closed_needs_no_database(bench) {
        let store = office(bench).await;
        deliver(bench, &store, mac(1)).await;
        store.close().await;
        let now = store.release_now();
        let (asker, policies, agent) = (phone(), policies(), "offhook".into());
        let wanted = ids(&store, mac(1));
        let ask = crate::release::Ask { wanted: &wanted, asker: &asker, replaces: false, policies: &policies, agent: &agent };
        assert_eq!(Grants::clone(&grants(&store, mac(1))).authorise(&ask, &now), (Verdict::Plain, Vec::new()));
    }

    async fn case_42_arming_one_line_releases_its_password_only(bench) {
        let store = office(bench).await;
        deliver(bench, &store, mac(1)).await;
        let line = sip(&store, "102");
        store.arm(mac(1), |id| id == line, Mode::OnContact, None, &policies(), "").await.unwrap();
        let released = released(ask(&store, mac(1), phone()).await);
        assert_eq!(released.iter().map(|one| (one.id, one.epoch)).collect::<Vec<_>>(), [(line, 2)]);
        bench.assert_settled(&store).await;
    }

    async fn case_43_arming_one_phone_opens_no_other(bench) {
        let store = office(bench).await;
        for last in [1, 2] {
            deliver(bench, &store, mac(last)).await;
        }
        store.arm(mac(1), |_| true, Mode::Now, None, &policies(), "").await.unwrap();
        assert_eq!(ask(&store, mac(2), phone()).await, Verdict::Plain);
        assert!(matches!(ask(&store, mac(1), phone()).await, Verdict::Secret(_)));
        bench.assert_settled(&store).await;
    }

    async fn case_44_a_moved_account_is_released_to_its_new_phone(bench) {
        let store = office(bench).await;
        deliver(bench, &store, mac(2)).await;
        let moved = sip(&store, "101");
        let held = ids(&store, mac(1));
        store.move_account("101", Some((mac(2), None))).await.unwrap();
        assert!(held.contains(&moved) && !ids(&store, mac(1)).contains(&moved));
        let by_old = ReleaseRequest { wanted: held, ..request(&store, mac(1), phone()) };
        let by_old = released(store.release(by_old).await.unwrap().verdict);
        assert!(!by_old.iter().any(|one| one.id == moved), "a request that was prepared before");
        let by_new = released(ask(&store, mac(2), phone()).await);
        assert_eq!(by_new.iter().map(|one| one.id).collect::<Vec<_>>(), [moved]);
        bench.assert_settled(&store).await;
    }

    async fn case_45_a_changed_password_is_armed_anew_and_the_old_one_never_leaves(bench) {
        let (store, other) = (office(bench).await, bench.store().await);
        let line = sip(&store, "101");
        let prepared = request(&store, mac(1), phone());
        let before = store.release(prepared.clone()).await.unwrap();
        other.set_password("101", &Secret::new("geheim9")).await.unwrap();
        let decided = store.release(prepared).await.unwrap();
        let of = |decided: &Decided| {
            let released = released(decided.verdict.clone());
            let one = released.iter().find(|one| one.id == line).unwrap();
            (one.epoch, one.version, one.again)
        };
        assert_eq!((of(&before), of(&decided)), ((1, 1, false), (2, 2, false)));
        let opened = store.reveal(&decided.device.unwrap(), SecretKind::Sip, Some(1)).unwrap().unwrap();
        assert_eq!(opened.expose(), "geheim9", "the body is of the version that was decided about");
        prove(&store, mac(1), &before.release_id, released(before.verdict), Evidence::Acked).await;
        assert_eq!(grants(&store, mac(1)).get(line).unwrap().delivered, None);
        bench.assert_settled(&store).await;
    }

    async fn case_51_two_agents_share_one_window(bench) {
        let store = office(bench).await;
        let everything = ids(&store, mac(1));
        let (first, rest) = everything.split_at(1);
        let ask_for = |store: &Store, wanted: &[GrantId], asker| {
            ReleaseRequest { wanted: wanted.to_vec(), ..request(store, mac(1), asker) }
        };
        released(store.release(ask_for(&store, first, phone())).await.unwrap().verdict);
        let (other, clock) = on_another_host(bench, "other").await;
        bench.clock.advance(Duration::from_mins(5));
        clock.advance(Duration::from_mins(5));
        let by_other = released(other.release(ask_for(&other, rest, phone())).await.unwrap().verdict);
        assert!(by_other.iter().all(|one| one.epoch == 1 && one.again));
        for store in [&store, &other] {
            assert_eq!(ask(store, mac(1), rival()).await, Verdict::Refuse(Refusal::Contention));
        }
        clock.set_wall(Timestamp(0));
        clock.advance(Duration::from_mins(5));
        assert!(!matches!(ask(&other, mac(1), phone()).await, Verdict::Secret(_)), "ten minutes after it first saw it");
    }

    async fn case_52_a_restored_database_releases_nothing(bench) {
        let store = office(bench).await;
        released(ask(&store, mac(1), phone()).await);
        deliver(bench, &store, mac(2)).await;
        store.arm(mac(1), |_| true, Mode::Now, None, &policies(), "").await.unwrap();
        let locked_now = store.lock_restored().await.unwrap();
        assert_eq!(locked_now.iter().map(|(mac, _)| *mac).collect::<Vec<_>>(), [mac(1)]);
        assert_eq!(locked(&store, mac(1), Reason::Restored), ids(&store, mac(1)).len());
        assert_eq!(locked(&store, mac(2), Reason::Delivered), ids(&store, mac(2)).len());
        assert_eq!(ask(&store, mac(1), phone()).await, Verdict::Refuse(Refusal::NeverDelivered));
        bench.assert_settled(&store).await;
    }

    async fn what_one_process_arms_and_locks_counts_in_the_other(bench) {
        let (store, other) = (office(bench).await, bench.store().await);
        released(ask(&store, mac(1), phone()).await);
        other.lock(mac(1), |_| true).await.unwrap();
        assert_eq!(ask(&store, mac(1), phone()).await, Verdict::Refuse(Refusal::NeverDelivered));
        other.arm(mac(1), |_| true, Mode::Now, None, &policies(), "").await.unwrap();
        assert_eq!(released(ask(&store, mac(1), rival()).await)[0].epoch, 2);
        other.block(mac(1)).await.unwrap();
        assert_eq!(ask(&store, mac(1), rival()).await, Verdict::Refuse(Refusal::Unproven));
        assert!(matches!(
            other.arm(mac(1), |_| true, Mode::Now, None, &policies(), "").await,
            Err(StoreError::Conflict(_))
        ));
        store.refresh().await.unwrap();
        bench.assert_settled(&store).await;
    }

    async fn a_new_phone_in_an_old_ones_place_is_not_taken_for_it(bench) {
        let store = office(bench).await;
        deliver(bench, &store, mac(1)).await;
        store.replace(mac(1), mac(9)).await.unwrap();
        let released = released(ask(&store, mac(9), phone()).await);
        assert_eq!(released.len(), ids(&store, mac(9)).len());
        assert!(grants(&store, mac(9)).grants.iter().all(|grant| grant.delivered.is_none()));
        assert_eq!(store.inventory().grants(mac(1)), None);
        bench.assert_settled(&store).await;
    }

    async fn a_phone_that_was_served_before_takes_anothers_place_as_a_new_one(bench) {
        let store = office(bench).await;
        store.move_account("103", None).await.unwrap();
        deliver(bench, &store, mac(2)).await;
        store.replace(mac(1), mac(2)).await.unwrap();
        let released = released(ask(&store, mac(2), phone()).await);
        assert_eq!(released.len(), ids(&store, mac(2)).len(), "its credentials are new ones, too");
        assert!(grants(&store, mac(2)).grants.iter().all(|grant| grant.delivered.is_none()));
        bench.assert_settled(&store).await;
    }

    async fn a_device_that_comes_back_begins_anew(bench) {
        let store = office(bench).await;
        deliver(bench, &store, mac(1)).await;
        store.remove(mac(1), true).await.unwrap();
        assert_eq!(store.inventory().grants(mac(1)), None);
        store.import(&sheet(OFFICE), ImportOptions::default()).await.unwrap();
        let subjects: Vec<Subject> = ids(&store, mac(1)).iter().map(|id| id.subject).collect();
        assert_eq!(subjects.iter().filter(|subject| **subject != Subject::Device).count(), 2);
        assert!(matches!(ask(&store, mac(1), phone()).await, Verdict::Secret(_)));
        bench.assert_settled(&store).await;
    }
}
