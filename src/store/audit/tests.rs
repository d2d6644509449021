//! The chain on both databases: every way to tamper with it is named, pruning keeps it whole, two agents make one.

use super::*;
use crate::store::testing::{Bench, mac, on_both, pool};
use crate::store::write::Write;
use crate::store::{ImportOptions, Mark};

/// Writes this many rows in one transaction.
async fn write_rows(store: &Store, count: u32) {
    let mut write = Write::begin(store).await.unwrap();
    for n in 0..count {
        let detail = serde_json::json!({ "n": n });
        if n % 2 == 0 {
            write.audit("even", Some(mac(n)), &detail).await.unwrap();
        } else {
            write.audit_release("odd", mac(n), i64::from(n), Some("r1"), &detail).await.unwrap();
        }
    }
    write.commit().await.unwrap();
}

async fn records_of(store: &Store) -> Vec<Record> {
    store.audit_records(&AuditFilter::default(), 1_000_000).await.unwrap()
}

/// What verification says of the first row that is broken.
async fn broken(store: &Store) -> Option<(i64, Damage)> {
    store.verify_audit(None).await.unwrap().broken.map(|broken| (broken.seq, broken.what))
}

/// A database with twenty rows, tampered with by this SQL: what verification says.
async fn tampered(bench: &Bench, sql: &str) -> Option<(i64, Damage)> {
    let store = bench.store().await;
    write_rows(&store, 20).await;
    assert_eq!(broken(&store).await, None);
    bench.run_sql(sql).await;
    broken(&store).await
}

/// Row `seq` with another event, and with a hash that fits it.
async fn rehash(bench: &Bench, seq: usize) {
    let store = bench.store().await;
    let mut record = records_of(&store).await[seq - 1].clone();
    record.event = "nothing".to_owned();
    let hash = record.computed_hash();
    bench.run_sql(&format!("UPDATE audit SET event = 'nothing', hash = '{hash}' WHERE seq = {seq}")).await;
}

const SWAP_7_AND_12: &str = "UPDATE audit SET seq = -1 WHERE seq = 7; UPDATE audit SET seq = 7 WHERE seq = 12; \
                             UPDATE audit SET seq = 12 WHERE seq = -1";
/// Makes room for a row at 7: numbers are made negative first, because no two rows may share one at any moment.
const SHIFT_FROM_7: &str = "UPDATE audit SET seq = -seq WHERE seq >= 7; UPDATE audit SET seq = 1 - seq WHERE seq < 0; \
                            UPDATE head SET audit_seq = 21";

on_both! {
    async fn what_is_written_follows_and_carries_who_when_and_which(bench) {
        let store = bench.store().await.in_agent("host-a");
        bench.clock.advance(std::time::Duration::from_millis(5));
        write_rows(&store, 300).await;
        store.acting_as("ada").import(&pool(1), ImportOptions::default()).await.unwrap();
        let verified = store.verify_audit(None).await.unwrap();
        assert_eq!((verified.rows, verified.last, verified.unchained, verified.broken), (301, 301, 0, None));
        let rows = store.audit(None, 2).await.unwrap();
        assert_eq!((rows[0].actor.as_str(), rows[0].event.as_str()), ("ada", "imported"));
        let odd = &rows[1];
        assert_eq!((odd.actor.as_str(), odd.agent.as_deref()), ("agent", Some("host-a")));
        assert_eq!((odd.epoch, odd.release_id.as_deref(), odd.boot_ms), (Some(299), Some("r1"), Some(5)));
        assert_eq!(odd.boot.as_deref(), Some("manual boot 1"));
        assert_eq!(odd.hash, records_of(&store).await[299].hash);
    }

    async fn rows_are_found_by_device_event_number_and_time(bench) {
        let store = bench.store().await;
        write_rows(&store, 6).await;
        bench.clock.advance(std::time::Duration::from_mins(1));
        write_rows(&store, 6).await;
        let since = Some(bench.clock.now());
        let seqs = async |filter: AuditFilter, rows_max| -> Vec<i64> {
            store.audit_listing(&filter, rows_max).await.unwrap().iter().map(|row| row.seq).collect()
        };
        let all = AuditFilter::default();
        assert_eq!(seqs(all.clone(), 3).await, [10, 11, 12], "the last ones, in their order");
        assert_eq!(seqs(AuditFilter { after: Some(4), ..all.clone() }, 3).await, [5, 6, 7], "the next ones");
        assert_eq!(seqs(AuditFilter { mac: Some(mac(2)), ..all.clone() }, 9).await, [3, 9]);
        let event = Some("odd".to_owned());
        assert_eq!(seqs(AuditFilter { event, since, ..all.clone() }, 9).await, [8, 10, 12]);
        assert!(seqs(AuditFilter { event: Some("none".to_owned()), ..all }, 9).await.is_empty());
    }

    async fn an_abandoned_write_leaves_no_row(bench) {
        let store = bench.store().await;
        write_rows(&store, 3).await;
        let mut abandoned = Write::begin(&store).await.unwrap();
        abandoned.audit("never", None, &serde_json::json!({})).await.unwrap();
        drop(abandoned);
        write_rows(&store, 3).await;
        assert_eq!((records_of(&store).await.len(), broken(&store).await), (6, None));
    }

    async fn more_rows_than_a_write_keeps_are_one_chain(bench) {
        let store = bench.store().await;
        write_rows(&store, 2_500).await;
        assert_eq!(store.verify_audit(None).await.unwrap().rows, 2_500);
    }

    async fn two_agents_make_one_chain(bench) {
        let stores = [bench.store().await.in_agent("a"), bench.store().await.in_agent("b")];
        let writers = stores.map(|store| tokio::spawn(async move {
            for _ in 0..20 {
                write_rows(&store, 3).await;
            }
        }));
        for writer in writers {
            writer.await.unwrap();
        }
        let store = bench.store().await;
        let verified = store.verify_audit(None).await.unwrap();
        assert_eq!((verified.rows, verified.broken), (120, None));
        let agents: std::collections::BTreeSet<_> = records_of(&store).await.into_iter().map(|row| row.agent).collect();
        assert_eq!(agents.len(), 2);
    }

    async fn a_changed_row_is_found(bench) {
        let found = tampered(bench, "UPDATE audit SET detail = '{\"n\":8}' WHERE seq = 7").await;
        assert_eq!(found, Some((7, Damage::Changed)));
    }

    async fn a_changed_time_is_found(bench) {
        assert_eq!(tampered(bench, "UPDATE audit SET boot_ms = 1 WHERE seq = 1").await, Some((1, Damage::Changed)));
    }

    async fn a_row_that_was_hashed_anew_is_found(bench) {
        assert_eq!(tampered(bench, "").await, None);
        rehash(bench, 7).await;
        assert_eq!(broken(&bench.store().await).await, Some((7, Damage::Changed)));
    }

    async fn a_last_row_that_was_hashed_anew_is_found(bench) {
        assert_eq!(tampered(bench, "").await, None);
        rehash(bench, 20).await;
        assert_eq!(broken(&bench.store().await).await, Some((20, Damage::Changed)));
    }

    async fn a_missing_row_is_found(bench) {
        assert_eq!(tampered(bench, "DELETE FROM audit WHERE seq = 7").await, Some((7, Damage::Missing)));
    }

    async fn a_missing_beginning_is_found(bench) {
        assert_eq!(tampered(bench, "DELETE FROM audit WHERE seq < 7").await, Some((1, Damage::Missing)));
    }

    async fn swapped_rows_are_found(bench) {
        assert_eq!(tampered(bench, SWAP_7_AND_12).await, Some((7, Damage::Reordered)));
    }

    async fn a_row_put_between_others_is_found(bench) {
        let insert = format!("{SHIFT_FROM_7}; INSERT INTO audit (seq, at_ms, actor, event, detail, prev_hash, hash) \
            SELECT 7, at_ms, actor, event, detail, hash, 'ab' FROM audit WHERE seq = 6");
        assert_eq!(tampered(bench, &insert).await, Some((7, Damage::Changed)), "its own hash is none");
    }

    async fn a_row_put_between_others_with_a_hash_that_fits_is_found(bench) {
        assert_eq!(tampered(bench, "").await, None);
        let store = bench.store().await;
        let mut forged = records_of(&store).await[6].clone();
        forged.event = "forged".to_owned();
        let hash = forged.computed_hash();
        bench.run_sql(&format!("{SHIFT_FROM_7}; INSERT INTO audit (seq, at_ms, boot, boot_ms, agent, actor, event, mac, \
            epoch, release_id, detail, prev_hash, hash) SELECT 7, at_ms, boot, boot_ms, agent, actor, 'forged', mac, \
            epoch, release_id, detail, prev_hash, '{hash}' FROM audit WHERE seq = 8")).await;
        assert_eq!(broken(&store).await, Some((7, Damage::Inserted)));
    }

    async fn a_row_without_a_hash_after_the_beginning_is_found(bench) {
        let found = tampered(bench, "UPDATE audit SET hash = NULL, prev_hash = NULL WHERE seq = 7").await;
        assert_eq!(found, Some((7, Damage::Inserted)));
    }

    async fn a_row_after_the_end_is_found(bench) {
        let insert = "INSERT INTO audit (seq, at_ms, actor, event, detail, prev_hash, hash) \
            SELECT 21, at_ms, actor, event, detail, hash, hash FROM audit WHERE seq = 20";
        assert_eq!(tampered(bench, insert).await, Some((21, Damage::Inserted)));
    }

    async fn an_end_that_was_cut_off_is_found(bench) {
        assert_eq!(tampered(bench, "DELETE FROM audit WHERE seq > 17").await, Some((18, Damage::CutOff)));
    }

    async fn a_chain_that_was_removed_is_found(bench) {
        assert_eq!(tampered(bench, "DELETE FROM audit").await, Some((1, Damage::CutOff)));
    }

    async fn an_end_that_was_cut_off_with_the_head_is_found_by_the_mark(bench) {
        let store = bench.store().await;
        write_rows(&store, 20).await;
        let mark = store.mark().await.unwrap();
        bench.run_sql("DELETE FROM audit WHERE seq > 17; UPDATE head SET audit_seq = 17, audit_hash = \
            (SELECT hash FROM audit WHERE seq = 17)").await;
        assert_eq!(broken(&store).await, None, "the database alone cannot tell");
        let verified = store.verify_audit(Some(&mark)).await.unwrap();
        assert!(verified.marked);
        assert_eq!(verified.broken.map(|broken| (broken.seq, broken.what)), Some((18, Damage::CutOff)));
        write_rows(&store, 5).await;
        let verified = store.verify_audit(Some(&mark)).await.unwrap();
        assert_eq!(verified.broken.map(|broken| (broken.seq, broken.what)), Some((20, Damage::Changed)));
        let other = Mark { database: "another".to_owned(), ..mark };
        assert!(!store.verify_audit(Some(&other)).await.unwrap().marked);
    }

    async fn rows_from_before_the_chain_are_its_beginning(bench) {
        let store = bench.store().await;
        let old: Vec<String> = (1..=3).map(|seq| format!("({seq}, 5, 'ada', 'imported', '{{}}')")).collect();
        bench.run_sql(&format!("INSERT INTO audit (seq, at_ms, actor, event, detail) VALUES {}; \
            UPDATE head SET audit_seq = 3, anchor_seq = 3", old.join(", "))).await;
        write_rows(&store, 4).await;
        let verified = store.verify_audit(None).await.unwrap();
        assert_eq!((verified.unchained, verified.after, verified.rows, verified.broken), (3, 3, 4, None));
        bench.run_sql("DELETE FROM audit WHERE seq = 4").await;
        assert_eq!(broken(&store).await, Some((4, Damage::Missing)));
    }

    async fn pruning_takes_the_oldest_and_leaves_a_chain(bench) {
        let store = bench.store().await;
        write_rows(&store, 10).await;
        bench.clock.advance(std::time::Duration::from_mins(1));
        let middle = bench.clock.now();
        write_rows(&store, 10).await;
        assert_eq!(store.prune_audit(middle, 6).await.unwrap(), 6, "no more than it may at once");
        assert_eq!(store.prune_audit(middle, 6).await.unwrap(), 4);
        assert_eq!(store.prune_audit(middle, 6).await.unwrap(), 0);
        let verified = store.verify_audit(None).await.unwrap();
        assert_eq!((verified.after, verified.rows, verified.broken), (10, 12, None), "and two rows say what was done");
        bench.run_sql("DELETE FROM audit WHERE seq = 11").await;
        assert_eq!(broken(&store).await, Some((11, Damage::Missing)));
    }

    async fn pruning_everything_leaves_what_says_so(bench) {
        let store = bench.store().await;
        write_rows(&store, 10).await;
        let mark = store.mark().await.unwrap();
        bench.clock.advance(std::time::Duration::from_mins(1));
        assert_eq!(store.prune_audit(bench.clock.now(), 100).await.unwrap(), 10);
        let verified = store.verify_audit(Some(&mark)).await.unwrap();
        assert_eq!((verified.after, verified.rows, verified.broken), (10, 1, None));
        assert_eq!(store.notice_rollback(&mark).await.unwrap(), None);
        assert_eq!(records_of(&store).await[0].event, "audit_pruned");
    }

    async fn a_long_chain_is_followed_in_pages(bench) {
        // Longer for a measurement.
        let rows = std::env::var("OFFHOOK_AUDIT_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(9_000);
        let clock = crate::clock::Clock::System;
        let store = bench.store().await;
        let began = clock.instant();
        write_rows(&store, rows).await;
        let written = clock.instant();
        assert_eq!(store.verify_audit(None).await.unwrap().rows, i64::from(rows));
        println!("{rows} rows: written in {:?}, verified in {:?}", written - began, clock.instant() - written);
    }
}
