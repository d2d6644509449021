//! Pointing running phones here, by the gentlest means that works: which of them may be pointed and how, what became of
//! each, and who came. Every step is written down before it is taken, so that a run that was killed is gone on with.

mod job;
mod row;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use row::{Fate, Row};

use super::Failure;
use super::push::{LOOK_EVERY, is_coming};
use crate::config::AdoptConfig;
use crate::device::{Approval, Channel, Device, Identity, Mac, Step, Vendor, Way};
use crate::profile::{Catalog, Profile, Told};
use crate::provision::{self, Admission, Roots};
use crate::push::decide::Rate;
use crate::push::server::Parts;
use crate::store::{PointRow, PointState, Seen, Store, StoreError};

/// Phones that are pointed at the same time: each waits for itself most of the time.
const TOGETHER_MAX: usize = 32;
/// Moments of a phone's life that are looked at for where DHCP leads it.
const MOMENTS_MAX: i64 = 50;
/// Changes that wait to be shown.
const NEWS_MAX: usize = 64;

/// Who shall be pointed here.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// These, wherever they have been.
    These(BTreeSet<Mac>),
    /// These of whom a scan found, as far as they have not come by themselves.
    Found(BTreeSet<Mac>),
    /// Every phone that a scan found, likewise.
    AllFound,
    /// Those of a run that did not come to its end.
    Left,
}

/// What a run needs.
pub(crate) struct Desk<'a> {
    pub(crate) store: &'a Store,
    pub(crate) catalog: &'a Catalog,
    pub(crate) adopt: &'a AdoptConfig,
    pub(crate) roots: Roots,
    /// Even phones that another server has.
    pub(crate) foreign: bool,
}

/// A phone that may be pointed.
struct Case {
    device: Option<Arc<Device>>,
    profile: Arc<Profile>,
    address: IpAddr,
    /// What is written down of it.
    kept: PointRow,
}

/// A run.
pub(crate) struct Pointing<'a> {
    desk: Desk<'a>,
    pub(crate) rows: Vec<Row>,
    cases: VecDeque<(usize, Case)>,
}

/// How a run is carried out.
pub(crate) struct How {
    pub(crate) parts: Parts,
    pub(crate) rate: Rate,
    /// How long a phone may take to come.
    pub(crate) wait: Duration,
    /// Ends it: who is being visited is taken leave of, and nobody else is begun with.
    pub(crate) cancel: CancellationToken,
}

/// Why a phone is not pointed.
struct Why {
    fate: Fate,
    message: String,
    remedy: String,
}

impl Why {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { fate: Fate::NotSent, message: message.into(), remedy: remedy.into() }
    }
}

impl<'a> Pointing<'a> {
    /// Looks at every phone, and sends nothing.
    pub(crate) async fn plan(desk: Desk<'a>, who: Who) -> Result<Self, Failure> {
        let left: BTreeMap<Mac, PointRow> =
            desk.store.pointing_left().await?.into_iter().map(|row| (row.mac, row)).collect();
        let (macs, is_asked) = match who {
            Who::These(macs) => (macs, true),
            Who::Found(macs) => (macs, false),
            Who::AllFound => {
                let seen = desk.store.sightings(None).await?;
                let found = seen.iter().filter(|seen| seen.channel == Channel::Scan);
                (found.map(|seen| seen.mac).collect(), false)
            }
            Who::Left => (left.keys().copied().collect(), true),
        };
        let (mut rows, mut cases) = (Vec::new(), VecDeque::new());
        for mac in macs {
            let mut row = Row::new(mac);
            match desk.case(&mut row, left.get(&mac), is_asked).await? {
                Ok(case) => cases.push_back((rows.len(), case)),
                Err(why) => row.ends(why.fate, why.message, why.remedy),
            }
            rows.push(row);
        }
        Ok(Self { desk, rows, cases })
    }

    /// How many can be pointed.
    pub(crate) fn due(&self) -> usize {
        self.cases.len()
    }

    /// Points them, and follows the store until every phone has come, or may not be awaited any longer. `say` is called
    /// with every row that has changed.
    pub(crate) async fn carry_out(&mut self, how: How, mut say: impl FnMut(&Row)) -> Result<(), Failure> {
        let queued: Vec<PointRow> = self.cases.iter().map(|(_, case)| case.kept.clone()).collect();
        self.desk.store.keep_pointing(&queued).await?;
        let (news, mut heard) = mpsc::channel(NEWS_MAX);
        let round = Round { desk: &self.desk, ticks: Mutex::new(ticks(how.rate)), news, how: &how };
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running = FuturesUnordered::new();
        let mut awaited: Vec<(usize, PointRow)> = Vec::new();
        loop {
            while running.len() < TOGETHER_MAX
                && !how.cancel.is_cancelled()
                && let Some((at, case)) = self.cases.pop_front()
            {
                let Some(row) = self.rows.get(at).cloned() else { continue };
                let round = &round;
                running.push(async move { (at, round.point(row, case).await) });
            }
            let is_over = awaited.is_empty() || how.cancel.is_cancelled();
            if running.is_empty() && (self.cases.is_empty() || how.cancel.is_cancelled()) && is_over {
                break;
            }
            tokio::select! {
                Some(row) = heard.recv() => say(&row),
                Some((at, done)) = running.next(), if !running.is_empty() => {
                    let (row, kept) = done?;
                    say(&row);
                    if row.result == Fate::Told {
                        awaited.push((at, kept));
                    }
                    if let Some(place) = self.rows.get_mut(at) {
                        *place = row;
                    }
                }
                _ = look.tick(), if !awaited.is_empty() => {
                    let mut still = Vec::new();
                    for (at, kept) in awaited {
                        let Some(row) = self.rows.get_mut(at) else { continue };
                        if round.look(row, &kept).await? {
                            still.push((at, kept));
                        } else {
                            say(row);
                        }
                    }
                    awaited = still;
                }
                () = how.cancel.cancelled(), if !how.cancel.is_cancelled() => {}
            }
        }
        Ok(())
    }

    /// Whether every phone that was meant came, or was here.
    pub(crate) fn is_done(&self, wait: Duration) -> bool {
        let enough = |row: &Row| match row.result {
            Fate::Came | Fate::Here => true,
            Fate::Told => wait.is_zero(),
            Fate::Planned | Fate::NotSent | Fate::Foreign | Fate::Sent | Fate::Refused => false,
        };
        self.rows.iter().all(enough)
    }
}

fn ticks(rate: Rate) -> Interval {
    let mut ticks = tokio::time::interval(rate.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Desk<'_> {
    /// What a phone is pointed with, or why it is not.
    async fn case(
        &self,
        row: &mut Row,
        left: Option<&PointRow>,
        is_asked: bool,
    ) -> Result<Result<Case, Why>, Failure> {
        let mac = row.mac;
        let device = self.store.inventory().device(mac);
        let seen = self.store.sightings(Some(mac)).await?;
        let identity = identity(mac, device.as_deref(), &seen);
        (row.vendor, row.model) = (identity.vendor.clone(), identity.model.clone());
        let asked = seen.iter().any(|seen| is_file(seen.channel));
        let is_ours = device.as_ref().is_some_and(|device| device.approval == Approval::Approved);
        if is_ours && asked && !is_asked {
            let message = "it has come already: nothing was sent";
            return Ok(Err(Why { fate: Fate::Here, ..Why::new(message, "") }));
        }
        let known = provision::is_known(&identity, self.catalog);
        match provision::admission(&identity, device.as_deref(), self.adopt, known) {
            Admission::Serve | Admission::Adopt => {}
            Admission::Pending => {
                let remedy = format!("offhook device approve {mac} serves it");
                return Ok(Err(Why::new("it waits for approval", remedy)));
            }
            Admission::Ignore(reason) => {
                let remedy = format!("offhook device approve {mac} serves it all the same");
                return Ok(Err(Why::new(format!("it is not served: {reason}"), remedy)));
            }
        }
        let foreign = self.foreign || left.is_some_and(|row| row.foreign);
        let is_left_alone = !(foreign || (is_ours && asked));
        if is_left_alone && self.is_led_away(mac).await? {
            let message = "DHCP leads it to another provisioning server: it was left alone";
            let remedy = "offhook device point --foreign MAC points it here all the same";
            return Ok(Err(Why { fate: Fate::Foreign, ..Why::new(message, remedy) }));
        }
        let profile = identity.vendor.as_ref().and_then(|vendor| self.catalog.get(vendor)).cloned();
        let Some(profile) = profile else {
            let message = "it is of no vendor that has a profile";
            return Ok(Err(Why::new(message, "offhook profile list shows the vendors that are known")));
        };
        let model = identity.model.as_deref();
        let has_way = profile.means(Told::Point, model).is_some() || profile.visits(model).next().is_some();
        if !has_way {
            let model = model.map(|model| format!(" {model}")).unwrap_or_default();
            let message = format!("no way is known to point a {}{model} here", profile.display_name());
            let remedy =
                format!("offhook url {} tells what to type at the phone, and where", profile.vendor());
            return Ok(Err(Why::new(message, remedy)));
        }
        let Some(address) = seen.iter().find_map(|seen| seen.whereabouts()?.parse::<IpAddr>().ok()) else {
            let message = "it was never seen: nobody knows where it is";
            return Ok(Err(Why::new(message, "offhook scan finds it")));
        };
        row.address = Some(address);
        let before = self.store.pointing(mac).await?;
        let fresh = PointRow { foreign, ..PointRow::new(mac, foreign) };
        let kept = match (left, before) {
            (Some(left), _) => PointRow { state: PointState::Queued, foreign, ..left.clone() },
            (None, Some(before)) => {
                PointRow { tries: before.tries, wrong: before.wrong, tried: before.tried, ..fresh }
            }
            (None, None) => fresh,
        };
        Ok(Ok(Case { device, profile, address, kept }))
    }

    /// Whether DHCP was last heard to lead it elsewhere.
    async fn is_led_away(&self, mac: Mac) -> Result<bool, StoreError> {
        let moments = self.store.timeline(mac, Some(MOMENTS_MAX)).await?;
        let by_dhcp = moments.iter().rev().find(|moment| moment.stage == Channel::Dhcp);
        Ok(by_dhcp.is_some_and(|moment| moment.step == Step::Misled))
    }
}

/// What the inventory says, else what a scan saw: only of phones that say so themselves, at the address that ARP proved,
/// does a scan write a sighting.
fn identity(mac: Mac, device: Option<&Device>, seen: &[Seen]) -> Identity {
    let found = seen.iter().find(|seen| seen.channel == Channel::Scan);
    let vendor = device.and_then(|device| device.vendor.clone());
    let vendor = vendor.or_else(|| found?.vendor.as_deref().map(Vendor::new));
    let model = device.and_then(|device| device.model.clone()).or_else(|| found?.model.clone());
    Identity { mac: Some(mac), vendor, model, firmware: None }
}

fn is_file(channel: Channel) -> bool {
    matches!(channel, Channel::Http | Channel::Https | Channel::Tftp)
}

/// What the phones of a run share.
struct Round<'r> {
    desk: &'r Desk<'r>,
    /// The next phone is begun with at the next tick.
    ticks: Mutex<Interval>,
    news: mpsc::Sender<Row>,
    how: &'r How,
}

impl Round<'_> {
    /// Whether a phone that was told is awaited still; if not, its row says what became of it.
    async fn look(&self, row: &mut Row, kept: &PointRow) -> Result<bool, Failure> {
        let store = self.desk.store;
        if let Some(seen) = self.came(row).await? {
            row.came(&seen);
            self.arrived(row, kept).await?;
            return Ok(false);
        }
        let since = self.how.parts.clock.now().minus(self.how.wait);
        if row.sent_at.is_some_and(|sent| sent > since) {
            return Ok(true);
        }
        if !self.how.wait.is_zero() {
            let message = format!("{}, and did not come within {} s", row.message, self.how.wait.as_secs());
            let remedy = format!("restart it; offhook device show {} tells its last requests", row.mac);
            row.ends(Fate::Told, message, remedy);
        }
        store.keep_pointing(&[PointRow { state: PointState::Refused, ..kept.clone() }]).await?;
        Ok(false)
    }

    /// Whether it has asked here for something since it was told.
    async fn came(&self, row: &Row) -> Result<Option<Seen>, StoreError> {
        let Some(sent) = row.sent_at else { return Ok(None) };
        let seen = self.desk.store.sightings(Some(row.mac)).await?;
        Ok(seen.into_iter().find(|seen| is_coming(seen.channel) && seen.last >= sent))
    }

    /// Writes down that it came, and how.
    async fn arrived(&self, row: &Row, kept: &PointRow) -> Result<(), Failure> {
        let store = self.desk.store;
        store.note(&[row.moment(Step::Came, self.how.parts.clock.now())]).await?;
        let device = store.inventory().device(row.mac);
        if device.is_some_and(|device| matches!(device.way, None | Some(Way::OneTouchManual))) {
            store.came_in(row.mac, Way::OneTouchAuto).await?;
        }
        store.keep_pointing(&[PointRow { state: PointState::Came, ..kept.clone() }]).await?;
        Ok(())
    }

    async fn tell(&self, row: &Row) {
        // Whoever takes the news is the one that drives this.
        let _ = self.news.send(row.clone()).await;
    }
}
