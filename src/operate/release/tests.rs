//! A store with a clock that stands still, and what is said of its phones.

use serde_json::json;

use super::*;
use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::device::Channel;
use crate::release::{Asker, Mode, Released, Verdict};
use crate::store::testing::sheet;
use crate::store::{Delivery, ImportOptions, ReleaseRequest, Vault};

const OFFICE: &str = "mac,vendor,model,username,password,line\n\
                      001565000001,yealink,T46U,101,geheim1,1\n\
                      001565000001,yealink,T46U,102,geheim2,2\n\
                      000413000002,snom,D785,103,geheim3,1\n\
                      02ac3e000003,acme,,104,geheim4,1\n";
/// A vendor whose phones lose what is not in their file, and have a place for SIP passwords only.
const ACME: &str = "schema = 1\ndisplay_name = 'Acme'\n[[file]]\npath = '{mac}.x'\ntemplate = 't'\n\
                    format = 'line'\nsecrets = ['sip']\n";

struct Office {
    store: Store,
    clock: Clock,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let acme = folder.path().join("profiles/acme");
        std::fs::create_dir_all(acme.join("templates")).unwrap();
        std::fs::write(acme.join("profile.toml"), ACME).unwrap();
        std::fs::write(acme.join("templates/t"), "x\n").unwrap();
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let url = format!("sqlite:{}", folder.path().join("offhook.db").display());
        let store =
            Store::open(&url, Vault::with_key([7; 32]), clock.clone(), Entropy::System).await.unwrap();
        assert!(store.import(&sheet(OFFICE), ImportOptions::default()).await.unwrap().applied);
        let mut config = Config::default();
        config.profiles.dir = Some(folder.path().join("profiles"));
        Self { store, clock, config, _folder: folder }
    }

    fn release(&self, mac: Mac) -> Release {
        let device = self.store.inventory().device(mac).unwrap();
        let (catalog, _) = Catalog::load(self.config.profiles.dir.as_deref());
        Releases::new(&self.config, Arc::new(catalog), &self.store).of(&device)
    }

    fn cell(&self, mac: Mac) -> String {
        self.release(mac).short().map(Short::cell).unwrap_or_default()
    }

    /// What is said of the password of this name.
    fn told(&self, mac: Mac, name: &str) -> String {
        let shown = self.release(mac).shown();
        shown.iter().find(|one| one.name() == name).unwrap().lines().join("\n")
    }

    fn json(&self, mac: Mac, name: &str) -> serde_json::Value {
        let shown = self.release(mac).shown();
        serde_json::to_value(shown.iter().find(|one| one.name() == name)).unwrap()
    }

    async fn fetch(&self, mac: Mac) -> Vec<Released> {
        let release = self.release(mac);
        let request = ReleaseRequest {
            mac,
            wanted: release.used().map(|grant| grant.id).collect(),
            asker: Asker { level: Level::I2, key: format!("mac {mac}") },
            replaces: release.replaces(),
            policies: release.policies,
            file: "x".to_owned(),
            channel: Channel::Http,
            peer: "192.0.2.7".parse().unwrap(),
            pinned: true,
        };
        match self.store.release(request).await.unwrap().verdict {
            Verdict::Secret(released) => released,
            other => panic!("{other:?}"),
        }
    }

    async fn acknowledged(&self, mac: Mac, released: Vec<Released>) {
        let delivery = Delivery {
            mac,
            release_id: "1".to_owned(),
            released,
            evidence: Evidence::Acked,
            policies: self.release(mac).policies,
        };
        self.store.write_deliveries(&[delivery], &[], &[]).await.unwrap();
    }
}

fn yealink() -> Mac {
    "001565000001".parse().unwrap()
}

fn snom() -> Mac {
    "000413000002".parse().unwrap()
}

fn acme() -> Mac {
    "02ac3e000003".parse().unwrap()
}

#[tokio::test]
async fn from_the_first_contact_to_the_end_of_the_window() {
    let office = Office::open().await;
    assert_eq!(office.cell(yealink()), "staged");
    let text = office.told(yealink(), "sip 101");
    assert!(
        text.starts_with(
            "staged until 2023-12-14T22:13:20.000Z: leaves with the phone's next request\nsince "
        ),
        "{text}"
    );
    assert!(
        text.contains("arming 1, not asked for; delivery none; version 1, not known to have arrived"),
        "{text}"
    );
    assert!(text.ends_with("window 10 min"), "{text}");

    let released = office.fetch(yealink()).await;
    office.clock.advance(Duration::from_secs(168));
    assert_eq!(office.cell(yealink()), "open 432 s");
    let text = office.told(yealink(), "sip 102");
    let expected = "open, 432 s left: the same phone may fetch it again, mac 00:15:65:00:00:01 (a neighbour with \
                    this MAC)\nsince 2023-11-14T22:13:20.000Z, arming 1, sent once; delivery intent (it may have left); \
                    version 1, not known to have arrived, window 10 min";
    assert_eq!(text, expected);
    assert_eq!(office.told(yealink(), "menu"), "same as webui");

    office.acknowledged(yealink(), released).await;
    assert!(
        office
            .told(yealink(), "webui")
            .contains("delivery acked (the phone acknowledged it); version 1, the phone has 1")
    );
    office.clock.advance(Duration::from_secs(431));
    assert_eq!(office.cell(yealink()), "open 1 s");
    office.clock.advance(Duration::from_secs(1));
    assert_eq!(office.cell(yealink()), "delivered");
    assert!(office.told(yealink(), "sip 101").starts_with("locked (delivered): the phone has it\n"));
    // Nobody has written that down: it is over all the same.
    assert!(office.store.inventory().grants(yealink()).unwrap().is_armed());
}

#[tokio::test]
async fn a_program_reads_stable_words() {
    let office = Office::open().await;
    office.fetch(yealink()).await;
    let sip = office.json(yealink(), "sip 102");
    let expected = json!({
        "password": "sip 102", "kind": "sip", "account": "102", "line": 2, "used": true, "same_as": null,
        "every_time": false, "may_leave": true, "state": "open", "reason": null,
        "why": "the same phone may fetch it again", "since": "2023-11-14T22:13:20.000Z", "until": null,
        "window_s": 600, "closes_in_s": 600,
        "bound": { "to": "mac 00:15:65:00:00:01", "identity": "i2", "proof": "a neighbour with this MAC" },
        "epoch": 1, "releases": 1, "evidence": "intent", "version": 1, "delivered_version": null,
        "applied_version": null,
    });
    assert_eq!(sip, expected);
    let (menu, webui) = (office.json(yealink(), "menu"), office.json(yealink(), "webui"));
    assert_eq!((&menu["same_as"], &menu["used"]), (&"webui".into(), &true.into()));
    assert_eq!((&menu["state"], &menu["releases"]), (&webui["state"], &webui["releases"]), "one parameter");
    let every_time = office.json(acme(), "sip 104");
    assert_eq!(
        (&every_time["every_time"], &every_time["may_leave"], &every_time["why"]),
        (
            &true.into(),
            &true.into(),
            &"password sent with every configuration; protected by the neighbour check".into()
        )
    );
    let unused = office.json(acme(), "menu");
    assert_eq!((&unused["used"], &unused["may_leave"]), (&false.into(), &false.into()));
    assert_eq!(office.told(acme(), "menu"), "not used by this vendor");
}

#[tokio::test]
async fn what_needs_somebody_is_marked() {
    let office = Office::open().await;
    // It fetched, and nothing came back.
    office.fetch(snom()).await;
    office.clock.advance(Duration::from_mins(10));
    assert_eq!(office.cell(snom()), "expired!");
    let text = office.told(snom(), "menu");
    let expected = "locked (expired): its window ended before its arrival was proven; the phone is not known to have \
                    it, and gets no file without it\n";
    assert!(text.starts_with(expected), "{text}");
    office.store.confirm(snom(), |_| true).await.unwrap();
    assert_eq!(office.cell(snom()), "delivered", "typed in by hand");

    office.store.lock(snom(), |_| true).await.unwrap();
    assert_eq!(office.cell(snom()), "locked");
    assert!(
        office
            .told(snom(), "sip 103")
            .starts_with("locked (revoked): an operator locked it; the phone has it\n")
    );

    let release = office.release(yealink());
    let store = &office.store;
    store.arm(yealink(), |_| true, Mode::Now, None, &release.policies, "").await.unwrap();
    assert!(office.told(yealink(), "webui").starts_with("open, 600 s left: leaves to whoever proves"));
    office.clock.reboot();
    assert_eq!(office.cell(yealink()), "interrupted!", "before an agent has started");
    store.start_release().await.unwrap();
    assert_eq!(office.cell(yealink()), "interrupted!");

    assert_eq!(office.cell(acme()), "every time");
    store.lock(acme(), |_| true).await.unwrap();
    assert_eq!(office.cell(acme()), "locked");
    assert!(
        office.told(acme(), "sip 104").contains("an operator locked it; the phone gets no configuration\n")
    );
    store.block(acme()).await.unwrap();
    assert_eq!(office.cell(acme()), "");
    assert_eq!(office.json(acme(), "sip 104")["may_leave"], false);
}

#[test]
fn lengths_are_written_as_people_say_them() {
    for (seconds, text) in [(7_200, "2 h"), (600, "10 min"), (90, "90 s"), (0, "0 s")] {
        assert_eq!(span(Duration::from_secs(seconds)), text);
    }
    assert_eq!(length(Window::UntilAcked), "without a limit in time");
}
