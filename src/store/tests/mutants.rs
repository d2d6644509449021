//! The rules of a release that live in the store, each broken once: the check that holds with the rule fails without
//! it. One thread, because a rule is broken on its thread only.

use std::time::Duration;

use super::releases::{office, phone, request, rival};
use crate::release::{Rule, Verdict, without};
use crate::store::Store;
use crate::store::testing::{Bench, mac};

type Checked = Result<(), String>;

fn that(holds: bool, what: &str) -> Checked {
    holds.then_some(()).ok_or_else(|| what.to_owned())
}

async fn is_served(store: &Store, asker: crate::release::Asker) -> bool {
    let decided = store.release(request(store, mac(1), asker)).await.unwrap();
    matches!(decided.verdict, Verdict::Secret(_))
}

/// What was told is in the database.
async fn told_is_durable() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let decided = store.release(request(&store, mac(1), phone())).await.unwrap();
    let audit = bench.store().await.audit(Some(mac(1)), 100).await.unwrap();
    let intent = audit.iter().any(|row| row.release_id.as_deref() == Some(&decided.release_id));
    that(intent && matches!(decided.verdict, Verdict::Secret(_)), "it leaves, and no row says so")
}

/// Of two processes, the second sees what the first has decided.
async fn one_identity_in_two_processes() -> Checked {
    let bench = Bench::sqlite();
    let (one, two) = (office(&bench).await, bench.store().await);
    let served = (is_served(&one, phone()).await, is_served(&two, rival()).await);
    that(served == (true, false), "two identities were served in one window")
}

/// A commit waits for the disk, whichever connection it is made on.
async fn commits_are_on_the_disk() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let mut write = store.inner.db.begin().await.unwrap();
    let mut read = store.inner.db.reader().acquire().await.unwrap();
    for (name, connection) in [("writer", &mut *write), ("reader", &mut *read)] {
        let (synchronous,): (i64,) =
            sqlx::query_as("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
        let (journal,): (String,) =
            sqlx::query_as("PRAGMA journal_mode").fetch_one(&mut *connection).await.unwrap();
        that(synchronous == 2 && journal == "wal", &format!("{name}: synchronous {synchronous}, {journal}"))?;
    }
    Ok(())
}

/// A window keeps its owner when the process starts anew.
async fn the_binding_survives() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let first = is_served(&store, phone()).await;
    store.close().await;
    let again = bench.store().await;
    again.start_release().await.unwrap();
    let second = is_served(&again, rival()).await;
    that(first && !second, "a restart gave the window to somebody else")
}

/// A window ends when it would have ended, whatever the wall clock says at the start.
async fn the_moment_survives() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let first = is_served(&store, phone()).await;
    store.close().await;
    bench.clock.advance(Duration::from_mins(9));
    bench.clock.set_wall(crate::clock::Timestamp(0));
    let again = bench.store().await;
    again.start_release().await.unwrap();
    let in_time = is_served(&again, phone()).await;
    bench.clock.advance(Duration::from_mins(1));
    let too_late = is_served(&again, phone()).await;
    that(first && in_time && !too_late, "the window has moved")
}

/// A window ends with the boot of its host.
async fn a_boot_ends_it() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let first = is_served(&store, phone()).await;
    store.close().await;
    bench.clock.reboot();
    let again = bench.store().await;
    again.start_release().await.unwrap();
    let second = is_served(&again, phone()).await;
    that(first && !second, "a window outlived its boot")
}

/// A window is as long as the boot clock says.
async fn the_boot_clock_counts() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let first = is_served(&store, phone()).await;
    bench.clock.set_wall(crate::clock::Timestamp(0));
    bench.clock.advance(Duration::from_mins(10));
    let too_late = is_served(&store, phone()).await;
    that(first && !too_late, "the wall clock kept a window open")
}

/// One fetch uses nothing up, and the window belongs to one.
async fn one_phone_as_often_as_it_likes() -> Checked {
    let bench = Bench::sqlite();
    let store = office(&bench).await;
    let phones = is_served(&store, phone()).await && is_served(&store, phone()).await;
    that(phones, "one fetch used the window up")?;
    that(!is_served(&store, rival()).await, "two identities were served in one window")
}

macro_rules! mutants {
    ($($name:ident: $rule:ident => $check:ident;)*) => { $(
        #[tokio::test]
        async fn $name() {
            assert_eq!($check().await, Ok(()));
            let _without = without(Rule::$rule);
            let noticed = $check().await.unwrap_err();
            println!("without {:?}: {noticed}", Rule::$rule);
        }
    )* };
}

mutants! {
    m01_a_commit_after_the_answer_is_noticed: CommitBeforeSend => told_is_durable;
    m02_a_decision_about_what_was_read_before_is_noticed: DecideInTransaction => one_identity_in_two_processes;
    m03_a_window_used_up_by_one_fetch_is_noticed: WindowOutlivesAGet => one_phone_as_often_as_it_likes;
    m04_a_commit_that_is_not_on_the_disk_is_noticed: Synchronous => commits_are_on_the_disk;
    m05_a_window_on_the_wall_clock_is_noticed: BootClock => the_boot_clock_counts;
    m06_a_binding_lost_at_a_restart_is_noticed: BindingIsKept => the_binding_survives;
    m07_a_window_for_everybody_is_noticed: Binding => one_phone_as_often_as_it_likes;
    m09_a_window_that_outlives_its_boot_is_noticed: BootEndsWindow => a_boot_ends_it;
    m10_a_window_measured_anew_by_the_wall_clock_is_noticed: MomentIsKept => the_moment_survives;
}
