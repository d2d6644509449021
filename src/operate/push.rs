//! Telling running phones to fetch again, or to start anew: which of them can be told and how, what became of each, and
//! who came. What it learns it writes down as it learns it, so that a run that is cut off leaves no doubt.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::Failure;
use crate::clock::{Clock, Timestamp};
use crate::device::{Approval, Channel, Device, Identity, Mac, Sighting, Step, Vendor};
use crate::profile::{Catalog, Profile, Told};
use crate::push::decide::{NotSent, Outcome, Way};
use crate::push::server::{News, Order, Pace, Parts, To, push};
use crate::store::{Seen, Store, StoreError};

/// How often the store is asked who came: the agent writes what it saw in batches of about this age.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What phones are told, and by which way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) told: Told,
    pub(crate) way: Way,
    /// For accounts that name no registrar.
    pub(crate) registrar: Option<&'a str>,
}

/// One phone, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) mac: Mac,
    pub(crate) vendor: Option<Vendor>,
    pub(crate) model: Option<String>,
    told: &'static str,
    via: &'static str,
    /// As its profile writes it.
    means: Option<String>,
    /// Where it was sent, or would be.
    to: Option<String>,
    pub(crate) result: Fate,
    /// The code of the answer.
    status: Option<u16>,
    pub(crate) message: String,
    remedy: String,
    sent_at: Option<Timestamp>,
    /// By which service it was seen.
    came_by: Option<Channel>,
    came_after_s: Option<f64>,
    #[serde(skip)]
    answered: bool,
    #[serde(skip)]
    permit: Option<String>,
}

/// What became of a phone, in a stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It would be told.
    Planned,
    /// It cannot be told, or not now; nothing was sent.
    NotSent,
    /// It was told, and did not answer yet.
    Sent,
    /// It said that it will.
    Accepted,
    /// It wants a password first.
    Challenged,
    /// It said that it will not.
    Refused,
    /// It did not answer.
    Silent,
    /// Nobody is there who could.
    Unreachable,
    /// It came.
    Came,
}

/// What shall be told to whom.
pub(crate) struct Round {
    pub(crate) rows: Vec<Row>,
    orders: Vec<Order>,
    told: Told,
    way: Way,
}

impl Round {
    /// Looks at every phone, and sends nothing.
    pub(crate) async fn plan(
        store: &Store,
        catalog: &Catalog,
        devices: &[Arc<Device>],
        wish: Wish<'_>,
    ) -> Result<Self, Failure> {
        let (mut rows, mut orders) = (Vec::new(), Vec::new());
        for device in devices {
            let profile = device.vendor.as_ref().and_then(|vendor| catalog.get(vendor));
            let mut row = Row::new(device, profile.map(AsRef::as_ref), wish);
            match row.order(store, device, profile.map(AsRef::as_ref), wish).await? {
                Ok(order) => orders.push(order),
                Err(Why { message, remedy }) => {
                    (row.result, row.message, row.remedy) = (Fate::NotSent, message, remedy);
                }
            }
            rows.push(row);
        }
        Ok(Self { rows, orders, told: wish.told, way: wish.way })
    }

    /// How many can be told.
    pub(crate) fn due(&self) -> usize {
        self.orders.len()
    }

    /// Tells them, and follows the store until every phone has come, or `wait` has passed since it was told. `say` is
    /// called with every row that has changed.
    pub(crate) async fn carry_out(
        &mut self,
        store: &Store,
        parts: Parts,
        pace: Pace,
        wait: Duration,
        mut say: impl FnMut(&Row),
    ) -> Result<(), StoreError> {
        let clock = parts.clock.clone();
        let mut news = push(parts, std::mem::take(&mut self.orders), pace);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut telling = true;
        while telling || self.awaited(&clock, wait).next().is_some() {
            tokio::select! {
                heard = news.recv(), if telling => match heard {
                    Some((mac, news)) => self.take(store, &clock, mac, news, &mut say).await?,
                    None => telling = false,
                },
                _ = ticks.tick() => self.look(store, &clock, wait, &mut say).await?,
            }
        }
        for row in &mut self.rows {
            row.close(wait);
        }
        Ok(())
    }

    /// Whether every phone did what it was asked to; where nobody waited for it, whether it said that it will.
    pub(crate) fn is_done(&self, wait: Duration) -> bool {
        let enough = |row: &Row| row.result == Fate::Came || (wait.is_zero() && row.result == Fate::Accepted);
        self.rows.iter().all(enough)
    }

    /// Phones that may still come.
    fn awaited<'r>(&'r self, clock: &Clock, wait: Duration) -> impl Iterator<Item = &'r Row> {
        let since = clock.now().minus(wait);
        self.rows.iter().filter(move |row| {
            let is_open = matches!(row.result, Fate::Sent | Fate::Accepted | Fate::Silent);
            is_open && row.sent_at.is_some_and(|sent| sent > since)
        })
    }

    async fn take(
        &mut self,
        store: &Store,
        clock: &Clock,
        mac: Mac,
        news: News,
        say: &mut impl FnMut(&Row),
    ) -> Result<(), StoreError> {
        let (told, way) = (self.told, self.way);
        let Some(row) = self.rows.iter_mut().find(|row| row.mac == mac) else { return Ok(()) };
        match news {
            News::Ready(ready) => {
                row.sent(ready.to.to_string(), ready.at);
                let moment = row.moment(IpAddr::V4(*ready.to.ip()), Step::Sent, ready.at);
                let detail = json!({ "means": row.means, "via": way.as_str(), "to": row.to });
                // Written down before it leaves.
                store.told(&moment, told.as_str(), &detail).await?;
                ready.go();
            }
            News::NotSent(why) => row.not_sent(&why),
            News::Done(outcome) => {
                let has_come = row.result == Fate::Came;
                row.done(&outcome, way);
                let moment = row.moment(row.address(), outcome.step(), clock.now());
                store.note(&[Sighting { outcome: outcome.said(way), ..moment }]).await?;
                if has_come {
                    return Ok(());
                }
            }
        }
        say(row);
        Ok(())
    }

    /// Asks the store who came.
    async fn look(
        &mut self,
        store: &Store,
        clock: &Clock,
        wait: Duration,
        say: &mut impl FnMut(&Row),
    ) -> Result<(), StoreError> {
        let awaited: BTreeSet<Mac> = self.awaited(clock, wait).map(|row| row.mac).collect();
        let (Some(first), Some(last)) = (awaited.first(), awaited.last()) else { return Ok(()) };
        let seen = store.sightings_between(*first, *last).await?;
        let mut moments = Vec::new();
        for seen in seen.iter().filter(|seen| is_coming(seen.channel) && awaited.contains(&seen.mac)) {
            let row = self.rows.iter_mut().find(|row| row.mac == seen.mac);
            let Some(row) = row.filter(|row| row.result != Fate::Came) else {
                continue;
            };
            if row.came(seen) {
                moments.push(row.moment(row.address(), Step::Came, seen.last));
                say(row);
            }
        }
        if moments.is_empty() { Ok(()) } else { store.note(&moments).await }
    }
}

/// Whoever asks for a file, or where files are, has come; whoever renews a lease has not.
pub(super) fn is_coming(channel: Channel) -> bool {
    match channel {
        Channel::Pnp | Channel::Http | Channel::Https | Channel::Tftp => true,
        Channel::Dhcp | Channel::Push | Channel::Scan | Channel::Sip => false,
    }
}

/// Why a phone is not told.
struct Why {
    message: String,
    remedy: String,
}

impl Why {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

impl Row {
    fn new(device: &Device, profile: Option<&Profile>, wish: Wish<'_>) -> Self {
        let permit = profile.and_then(|profile| profile.permit(device.model.as_deref()));
        let means = profile.and_then(|profile| profile.means(wish.told, device.model.as_deref()));
        Self {
            mac: device.mac,
            vendor: device.vendor.clone(),
            model: device.model.clone(),
            told: wish.told.as_str(),
            via: wish.way.as_str(),
            means: means.map(ToString::to_string),
            to: None,
            result: Fate::Planned,
            status: None,
            message: String::new(),
            remedy: String::new(),
            sent_at: None,
            came_by: None,
            came_after_s: None,
            answered: false,
            permit: permit.map(str::to_owned),
        }
    }

    /// What it shall be told, or why it cannot be.
    async fn order(
        &mut self,
        store: &Store,
        device: &Device,
        profile: Option<&Profile>,
        wish: Wish<'_>,
    ) -> Result<Result<Order, Why>, Failure> {
        let mac = device.mac;
        match device.approval {
            Approval::Approved => {}
            state @ (Approval::Pending | Approval::Blocked) => {
                let remedy = format!("offhook device approve {mac} serves it");
                return Ok(Err(Why::new(format!("it is {}", state.as_str()), remedy)));
            }
        }
        let Some(profile) = profile else {
            let remedy = "restart it by hand; offhook profile list shows the vendors that are known";
            return Ok(Err(Why::new("it is of no vendor that has a profile", remedy)));
        };
        let Some(means) = profile.means(wish.told, device.model.as_deref()) else {
            let model = device.model.as_deref().map(|model| format!(" {model}")).unwrap_or_default();
            let message =
                format!("no way is known to {} a {}{model}", wish.told.as_str(), profile.display_name());
            return Ok(Err(Why::new(message, "restart it by hand")));
        };
        let line = device.lines.first();
        let to = match wish.way {
            Way::Phone => {
                let seen = store.sightings(Some(mac)).await?;
                let Some(address) = seen.iter().find_map(|seen| seen.whereabouts()?.parse().ok()) else {
                    let message = "it was never seen: nobody knows where it is";
                    return Ok(Err(Why::new(message, "restart it: it is seen at its boot; or --via pbx")));
                };
                To::Phone(address)
            }
            Way::Pbx => {
                let own = line.and_then(|line| line.account.registrar.as_deref());
                match (line, own.or(wish.registrar)) {
                    (Some(_), Some(registrar)) => To::Registrar(registrar.to_owned()),
                    (None, _) => {
                        let remedy = "offhook account move gives it one; or --via phone";
                        return Ok(Err(Why::new("it has no account that a PBX would know", remedy)));
                    }
                    (Some(_), None) => {
                        let remedy = "set sip.registrar, or --via phone";
                        return Ok(Err(Why::new("no registrar is known for its account", remedy)));
                    }
                }
            }
        };
        self.to = Some(match &to {
            To::Phone(address) => address.to_string(),
            To::Registrar(name) => name.clone(),
        });
        let user = line.map(|line| line.account.username.clone());
        Ok(Ok(Order { mac, to, user, means: means.clone(), url: None }))
    }

    fn sent(&mut self, to: String, at: Timestamp) {
        self.message = format!("sent {} to {to}", self.means.as_deref().unwrap_or_default());
        (self.result, self.to, self.sent_at) = (Fate::Sent, Some(to), Some(at));
    }

    fn not_sent(&mut self, why: &NotSent) {
        self.result = Fate::NotSent;
        (self.message, self.remedy) = (format!("not sent: {}", why.said()), why.remedy().to_owned());
    }

    fn done(&mut self, outcome: &Outcome, way: Way) {
        self.answered = true;
        self.status = outcome.status();
        if self.result == Fate::Came {
            return;
        }
        self.result = match outcome {
            Outcome::Accepted(_) => Fate::Accepted,
            Outcome::Challenged(..) => Fate::Challenged,
            Outcome::Refused(_) => Fate::Refused,
            Outcome::Silent => Fate::Silent,
            Outcome::Unreachable => Fate::Unreachable,
        };
        (self.message, self.remedy) = (outcome.said(way), outcome.remedy(way, self.permit.as_deref()));
    }

    /// Whether this was after it was told.
    fn came(&mut self, seen: &Seen) -> bool {
        let Some(sent) = self.sent_at.filter(|sent| seen.last >= *sent) else { return false };
        let after =
            Duration::from_millis(u64::try_from(seen.last.0 - sent.0).unwrap_or_default()).as_secs_f64();
        self.result = Fate::Came;
        (self.came_by, self.came_after_s, self.remedy) = (Some(seen.channel), Some(after), String::new());
        self.message = format!("came after {after:.1} s by {}: {}", seen.channel.as_str(), seen.outcome);
        true
    }

    /// Nobody waits for it any longer.
    fn close(&mut self, wait: Duration) {
        if self.result == Fate::Accepted && !wait.is_zero() {
            self.message = format!("{}, and did not come within {} s", self.message, wait.as_secs());
            self.remedy = format!(
                "is this its server? offhook device show {} tells its last requests; or restart it",
                self.mac
            );
        }
    }

    /// Where it was sent.
    fn address(&self) -> IpAddr {
        let to = self.to.as_deref().and_then(|to| to.split(':').next()?.parse().ok());
        to.unwrap_or(IpAddr::from([0, 0, 0, 0]))
    }

    fn moment(&self, addr: IpAddr, step: Step, at: Timestamp) -> Sighting {
        let (mac, vendor, model) = (Some(self.mac), self.vendor.clone(), self.model.clone());
        let outcome = match step {
            Step::Sent => format!("told to {}: {}", self.told, self.message),
            _ => self.message.clone(),
        };
        let identity = Identity { mac, vendor, model, firmware: None };
        let detail = serde_json::Value::Null;
        Sighting { identity, addr, channel: Channel::Push, at, step, outcome, detail }
    }

    /// One line for a person, as it happens.
    pub(crate) fn line(&self) -> String {
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("\n  {}", self.remedy) };
        format!("{}  {}{remedy}\n", self.mac, self.message)
    }

    /// Its line of the table.
    pub(crate) fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            self.mac.to_string(),
            or_dash(self.vendor.as_ref().map(ToString::to_string)),
            or_dash(self.model.clone()),
            or_dash(self.to.clone()),
            self.result.as_str().to_owned(),
            or_dash(self.came_after_s.map(|after| format!("{after:.1} s"))),
            if self.message.is_empty() { or_dash(self.means.clone()) } else { self.message.clone() },
        ]
    }
}

impl Fate {
    /// The word for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::NotSent => "not sent",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Challenged => "challenged",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Came => "came",
        }
    }
}
