//! The firmware catalog: what one process adds, every other sees; what phones fetch is counted until somebody lets them
//! try again.

use super::*;
use crate::device::Vendor;
use crate::firmware::{Release, ReleaseFile, Version};

fn release(version: &str, file: &str) -> Release {
    let file = ReleaseFile { name: file.to_owned(), size: 3, sha256: format!("{version}{file}") };
    Release {
        vendor: Vendor::new("yealink"),
        version: Version::new(version),
        models: vec!["T46U".to_owned(), "T48*".to_owned()],
        hardware: Some("2".to_owned()),
        minimum: Some(Version::new("108.85")),
        files: vec![file],
    }
}

on_both! {
    async fn what_is_brought_is_seen_by_every_process(bench) {
        let (one, other) = (bench.store().await, bench.store().await);
        let brought = release("108.86.0.90", "T46U.rom");
        one.add_release(&brought).await.unwrap();
        assert!(other.refresh().await.unwrap());
        let stock = other.inventory().stock();
        assert_eq!(*stock.releases[0], brought);
        let again = release("108.86.0.90", "t46u.ROM");
        assert!(matches!(other.add_release(&again).await, Err(StoreError::Conflict(_))));
        other.add_release(&release("108.86.0.95", "T46U.rom")).await.unwrap();
        one.remove_release("Yealink/108.86.0.90/t46u.rom").await.unwrap();
        let missing = one.remove_release("yealink/108.86.0.90/T46U.rom").await;
        assert!(matches!(missing, Err(StoreError::NoRelease(_))));
        other.refresh().await.unwrap();
        assert_eq!(other.inventory().stock(), one.inventory().stock());
        assert_eq!(one.inventory().stock().releases.len(), 1);
        bench.assert_settled(&one).await;
    }

    async fn what_phones_fetched_is_counted_until_they_may_try_again(bench) {
        let (one, other) = (bench.store().await, bench.store().await);
        one.import(&sheet("mac,username\n805e00000001,101\n"), ImportOptions::default()).await.unwrap();
        let release = release("108.86.0.90", "T46U.rom");
        one.add_release(&release).await.unwrap();
        for _ in 0..2 {
            one.count_firmware(mac(1), &release, "108.86.0.20").await.unwrap();
        }
        one.tell_firmware(mac(1), &release, "108.86.0.20").await.unwrap();
        one.count_firmware(mac(2), &release, "108.86.0.20").await.unwrap();
        other.refresh().await.unwrap();
        let stock = other.inventory().stock();
        assert_eq!(stock, one.inventory().stock(), "with the same moments");
        assert!(stock.is_stuck(mac(1), &release, "108.86.0.20"));
        assert!(!stock.is_stuck(mac(1), &release, "108.86.0.45"));
        assert_eq!(stock.tries.len(), 1, "of a phone that is none nothing is counted");
        other.retry_firmware(&[mac(1)]).await.unwrap();
        assert!(matches!(other.retry_firmware(&[mac(2)]).await, Err(StoreError::NoDevice(_))));
        one.refresh().await.unwrap();
        assert!(!one.inventory().stock().is_stuck(mac(1), &release, "108.86.0.20"));
        one.remove(mac(1), false).await.unwrap();
        assert!(one.inventory().stock().tries.is_empty());
        other.refresh().await.unwrap();
        assert!(other.inventory().stock().tries.is_empty());
        bench.assert_settled(&one).await;
    }
}
