//! How long a phone waits for the commit of its release, alone and among many. `OFFHOOK_RELEASES=1,100,10000` with
//! `cargo test --release --lib latency -- --nocapture` measures a fleet; without it a few phones show that it works.

use std::fmt::Write as _;

use super::releases::{phone, request};
use super::*;
use crate::release::Verdict;

fn counts() -> Vec<u32> {
    let wanted = std::env::var("OFFHOOK_RELEASES").unwrap_or_else(|_| "1,20".to_owned());
    wanted.split(',').map(|count| count.trim().parse().unwrap()).collect()
}

on_both! {
    async fn a_fleet_is_released_together(bench) {
        let store = bench.store().await;
        let mut first = 1;
        for phones in counts() {
            let fleet: Vec<_> = (first..first + phones).map(mac).collect();
            first += phones;
            let mut rows = "mac,username,password\n".to_owned();
            for mac in &fleet {
                writeln!(rows, "{mac},p{},geheim", mac.bare()).unwrap();
            }
            store.import(&sheet(&rows), ImportOptions::default()).await.unwrap();
            let begun = Clock::System.instant();
            let waiting: Vec<_> = fleet.into_iter().map(|mac| {
                let (store, request) = (store.clone(), request(&store, mac, phone()));
                tokio::spawn(async move {
                    let asked = Clock::System.instant();
                    // Who is told to come again comes again.
                    let decided = loop {
                        if let Ok(decided) = store.release(request.clone()).await {
                            break decided;
                        }
                    };
                    assert!(matches!(decided.verdict, Verdict::Secret(_)));
                    asked.elapsed()
                })
            }).collect();
            let mut took = Vec::new();
            for one in waiting {
                took.push(one.await.unwrap());
            }
            let all = begun.elapsed();
            took.sort_unstable();
            let at = |percent: usize| took[(took.len() - 1) * percent / 100];
            let database = if bench.url.starts_with("sqlite") { "SQLite" } else { "PostgreSQL" };
            println!(
                "{database}, {phones} at once: all after {all:?}; a phone waits p50 {:?}, p99 {:?}, at most {:?}",
                at(50), at(99), at(100),
            );
        }
    }
}
