//! What phones do: they are seen, wait, are adopted, and ask with their tokens.

use crate::clock::Timestamp;
use crate::device::{Approval, Channel, Identity, Sighting, Way};
use crate::secret::SecretKind;
use crate::store::testing::{Bench, identity, mac, on_both, pool, sheet, sighting};
use crate::store::{ImportOptions, Token};

on_both! {
    async fn a_stranger_is_adopted_with_the_next_account_and_credentials_of_its_own(bench) {
        let store = bench.store().await;
        assert!(store.adopt(&identity(1), Way::ZeroTouch).await.unwrap().is_none(), "the pool is empty");
        store.import(&pool(2), ImportOptions::default()).await.unwrap();
        let one = store.adopt(&identity(1), Way::ZeroTouch).await.unwrap().unwrap();
        let other = store.adopt(&identity(2), Way::OneTouchManual).await.unwrap().unwrap();
        assert_eq!((one.approval, one.way, one.model.as_deref()), (Approval::Approved, Some(Way::ZeroTouch), Some("T46U")));
        assert_eq!((one.lines[0].account.username.as_str(), other.lines[0].account.username.as_str()), ("1000", "1001"));
        assert_eq!(store.reveal(&one, SecretKind::Sip, Some(1)).unwrap().unwrap().expose(), "geheim0");
        assert_eq!(store.reveal(&one, SecretKind::Sip, Some(2)).unwrap(), None);
        for kind in [SecretKind::Webui, SecretKind::Menu, SecretKind::Prov] {
            let secrets = [&one, &other].map(|device| store.reveal(device, kind, None).unwrap().unwrap());
            assert_ne!(secrets[0], secrets[1]);
        }
        assert!(store.adopt(&identity(3), Way::ZeroTouch).await.unwrap().is_none());
        assert_eq!(store.adopt(&identity(1), Way::ZeroTouch).await.unwrap(), Some(one), "once is enough");
        bench.assert_settled(&store).await;
    }

    async fn a_token_finds_its_device(bench) {
        let store = bench.store().await;
        store.import(&pool(1), ImportOptions::default()).await.unwrap();
        let device = store.adopt(&identity(1), Way::ZeroTouch).await.unwrap().unwrap();
        let bootstrap = store.bootstrap_token(&device).unwrap();
        let steady = store.reveal(&device, SecretKind::Prov, None).unwrap().unwrap();
        let inventory = store.inventory();
        assert_eq!(inventory.by_token(bootstrap.expose()), Some((device.clone(), Token::Bootstrap)));
        assert_eq!(inventory.by_token(steady.expose()), Some((device, Token::Steady)));
        assert_eq!(inventory.by_token(""), None);
        store.remove(mac(1), false).await.unwrap();
        assert_eq!(inventory.by_token(steady.expose()), None);
    }

    async fn a_stranger_waits_and_is_adopted_later(bench) {
        let store = bench.store().await;
        store.import(&pool(1), ImportOptions::default()).await.unwrap();
        store.record(&[sighting(1, Channel::Pnp, 5)], &[identity(1)]).await.unwrap();
        let waiting = store.inventory().device(mac(1)).unwrap();
        assert_eq!((waiting.approval, waiting.way), (Approval::Pending, Some(Way::ZeroTouch)));
        assert_eq!(waiting.last_seen, Some(Timestamp(5)));
        let token = store.bootstrap_token(&waiting).unwrap();
        store.adopt(&identity(1), Way::OneTouchAuto).await.unwrap().unwrap();
        let device = store.inventory().device(mac(1)).unwrap();
        assert_eq!((device.approval, device.way, device.lines.len()), (Approval::Approved, Some(Way::ZeroTouch), 1));
        assert_eq!(store.bootstrap_token(&device).unwrap(), token);
        bench.assert_settled(&store).await;
    }

    async fn sightings_are_kept_once_per_service_and_make_no_generation(bench) {
        let store = bench.store().await;
        store.import(&sheet("mac,username\n805e00000001,101\n"), ImportOptions::default()).await.unwrap();
        store.record(&[sighting(1, Channel::Pnp, 10)], &[]).await.unwrap();
        let learned = store.inventory().device(mac(1)).unwrap();
        assert_eq!((learned.firmware.as_deref(), learned.way), (Some("108.86.0.90"), Some(Way::ZeroTouch)));
        let generation = store.inventory().generation();
        let unknown = Sighting { identity: Identity { mac: Some(mac(1)), ..Identity::default() }, ..sighting(1, Channel::Http, 30) };
        let strange = sighting(9, Channel::Tftp, 40);
        store.record(&[sighting(1, Channel::Pnp, 20), unknown, sighting(1, Channel::Pnp, 15), strange], &[]).await.unwrap();
        assert_eq!(store.inventory().generation(), generation);
        let device = store.inventory().device(mac(1)).unwrap();
        assert_eq!((device.last_seen, device.revision), (Some(Timestamp(30)), learned.revision));
        let seen = store.sightings(Some(mac(1))).await.unwrap();
        let told: Vec<_> = seen.iter().map(|seen| (seen.channel, seen.first.0, seen.last.0, seen.count)).collect();
        assert_eq!(told, [(Channel::Http, 30, 30, 1), (Channel::Pnp, 10, 20, 3)]);
        assert_eq!(store.sightings(None).await.unwrap().len(), 3);
        assert_eq!(store.inventory().device(mac(9)), None);
        bench.assert_settled(&store).await;
    }

    async fn a_sighting_does_not_overwrite_what_the_file_says(bench) {
        let store = bench.store().await;
        let row = "mac,vendor,model,username\n805e00000001,snom,D785,101\n805e00000002,yealink,,102\n805e00000003,snom,,103\n";
        store.import(&sheet(row), ImportOptions::default()).await.unwrap();
        let seen: Vec<_> = (1..=3).map(|last| sighting(last, Channel::Http, 1)).collect();
        store.record(&seen, &[]).await.unwrap();
        let model = |last| store.inventory().device(mac(last)).unwrap().model.clone();
        assert_eq!((model(1).as_deref(), model(2).as_deref(), model(3)), (Some("D785"), Some("T46U"), None));
        bench.assert_settled(&store).await;
    }

    async fn invented_macs_fill_neither_the_list_nor_the_tables(bench) {
        let store = bench.store().await;
        let strangers = |from: u32, to: u32, at: i64| (from..to).map(move |last| sighting(last, Channel::Pnp, at));
        let day: i64 = 24 * 3_600 * 1_000;
        let old = bench.clock.now().0 - 2 * day;
        let first: Vec<_> = strangers(0, 10, old).chain(strangers(10, 1_200, bench.clock.now().0)).collect();
        let identities: Vec<_> = (0..1_200).map(identity).collect();
        store.record(&first, &identities).await.unwrap();
        assert_eq!(store.inventory().count(), (1_000, 1_000));
        // Ten that were not seen for a day make room for ten others, and no more.
        let late: Vec<_> = (2_000..2_020).map(identity).collect();
        store.record(&[], &late).await.unwrap();
        assert_eq!(store.inventory().count(), (1_000, 1_000));
        assert!(store.inventory().device(mac(2_009)).is_some() && store.inventory().device(mac(2_010)).is_none());
        assert!(store.inventory().device(mac(9)).is_none() && store.inventory().device(mac(10)).is_some());
        bench.assert_settled(&store).await;
        for batch in 0_u32..13 {
            let many: Vec<_> = strangers(10_000 + batch * 1_000, 11_000 + batch * 1_000, i64::from(batch)).collect();
            store.record(&many, &[]).await.unwrap();
        }
        let kept = store.sightings(None).await.unwrap().len();
        assert!((11_000..=13_000).contains(&kept), "{kept} rows: a thousand of devices, ten thousand of strangers, slack");
    }
}
