//! One phone: the means of its profile one after the other, the gentlest first, until one works. What leaves is written
//! down before it leaves.

use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::super::Failure;
use super::super::push::LOOK_EVERY;
use super::{Case, Fate, Round, Row};
use crate::device::{Device, Step};
use crate::profile::{Means, Stage, Told, Visit};
use crate::provision::Roots;
use crate::push::decide::{Aim, NotSent, Outcome, Rate, Way};
use crate::push::server::{News, Order, Pace, To, push, web};
use crate::push::visit::{Aims, Credential, Next, Refusal, Visitor, Why};
use crate::release::{Evidence, Grant, GrantId};
use crate::secret::{Secret, SecretKind};
use crate::store::{PointRow, PointState};

/// How long the answer to a NOTIFY is awaited, before the phone's web interface is tried: four repetitions.
const NOTIFY_PATIENCE: Duration = Duration::from_secs(8);
/// A phone that took the NOTIFY comes within this, or the next means is tried: some start first.
const COMES_WITHIN: Duration = Duration::from_mins(1);
/// Passwords that a phone is shown within [`TRIES_WITHIN`], whoever runs this how often: phones lock themselves after five.
const TRIES_MAX: u32 = 3;
/// See [`TRIES_MAX`]; every lock that is known is over by then.
const TRIES_WITHIN: Duration = Duration::from_hours(1);

/// What a way came to.
enum Tried {
    /// The phone took it.
    Taken,
    /// It did not; the next way may.
    Refused { message: String, remedy: String },
    /// Nobody else's way helps: the phone is not there, or may be shown no more passwords.
    Ended { message: String, remedy: String },
}

/// Which password a phone's web interface takes.
enum Holds {
    /// One that it is sold with.
    AsSold,
    /// The one that it got from here.
    Own,
    /// It got others from here, and not this one.
    Unknown,
}

impl Round<'_> {
    /// Points one phone; gives its row, and what is written down of it.
    pub(super) async fn point(&self, mut row: Row, mut case: Case) -> Result<(Row, PointRow), Failure> {
        self.ticks.lock().await.tick().await;
        let end = self.try_all(&mut row, &mut case).await?;
        let state = match end {
            Tried::Taken if row.result == Fate::Came => PointState::Came,
            Tried::Taken => {
                if row.result != Fate::Told {
                    let means = row.means.clone().unwrap_or_default();
                    row.ends(Fate::Told, format!("took its URL by {means}"), "");
                }
                PointState::Told
            }
            Tried::Refused { message, remedy } | Tried::Ended { message, remedy } => {
                let fate =
                    if row.sent_at.is_some() || row.step.is_some() { Fate::Refused } else { Fate::NotSent };
                row.ends(fate, message, remedy);
                PointState::Refused
            }
        };
        let kept = PointRow { state, ..case.kept };
        if state == PointState::Came {
            self.arrived(&row, &kept).await?;
        } else {
            let step = if state == PointState::Told { Step::Accepted } else { Step::Declined };
            let moment = row.moment(step, self.how.parts.clock.now());
            self.desk.store.note(&[moment]).await?;
            self.desk.store.keep_pointing(std::slice::from_ref(&kept)).await?;
        }
        Ok((row, kept))
    }

    async fn try_all(&self, row: &mut Row, case: &mut Case) -> Result<Tried, Failure> {
        let place = match web::find(&self.how.parts, row.mac, case.address).await {
            Ok(place) => place,
            Err(why) => return Ok(not_sent(&why)),
        };
        let url = match self.url(row, case, &place)? {
            Ok(url) => url,
            Err(ended) => return Ok(ended),
        };
        let mut refused = Vec::new();
        let (profile, model) = (case.profile.clone(), row.model.clone());
        // Whoever goes on does so with the way at which it stopped.
        let begun_by_web = case.kept.means.as_deref().is_some_and(|means| means.starts_with("web:"));
        if let Some(means) = profile.means(Told::Point, model.as_deref()).filter(|_| !begun_by_web) {
            match self.notify(row, case, means, Some(url.clone())).await? {
                Tried::Refused { message, .. } => refused.push(message),
                end => return Ok(end),
            }
        }
        let mut remedy = String::new();
        for visit in profile.visits(model.as_deref()) {
            if !visit.schemes.iter().any(|scheme| scheme == scheme_of(self.desk.roots, &place, case)) {
                refused.push(format!("its web page takes only {} URLs", visit.schemes.join(", ")));
                continue;
            }
            match self.visit(row, case, visit, &place, &url).await? {
                Tried::Refused { message, remedy: what } => {
                    refused.push(message);
                    remedy = what;
                }
                end => return Ok(end),
            }
        }
        refused.dedup();
        if remedy.is_empty() {
            remedy = format!("offhook url {} tells what to type at the phone, and where", row.mac);
        }
        Ok(Tried::Refused { message: refused.join("; "), remedy })
    }

    /// The URL for the phone, as it reaches us: its own, or for a stranger the shared one, so that it takes an account
    /// out of the pool when it comes and not before.
    fn url(&self, row: &Row, case: &Case, place: &Aim) -> Result<Result<Secret, Tried>, Failure> {
        let ours = place.ours.into();
        let Some(root) = self.desk.roots.for_phone(ours, &case.profile) else {
            let message = format!("no service for files listens on {ours}, where it would look");
            let remedy = "set http.listen, for example to \"0.0.0.0:8480\"".to_owned();
            return Ok(Err(Tried::Ended { message, remedy }));
        };
        let base = match &case.device {
            Some(device) if device.approval == crate::device::Approval::Approved => {
                root.own_url(ours, &self.desk.store.bootstrap_token(device)?)
            }
            _ => root.url(ours),
        };
        let url = case.profile.provisioning_url(&base, row.mac, row.model.as_deref());
        Ok(Ok(Secret::new(url.unwrap_or(base))))
    }

    /// Tells it by a NOTIFY; with a URL it is awaited, because phones say 200 to what they do not follow.
    async fn notify(
        &self,
        row: &mut Row,
        case: &mut Case,
        means: &Means,
        url: Option<Secret>,
    ) -> Result<Tried, Failure> {
        let is_pointed = url.is_some();
        let user = case.device.as_ref().and_then(|device| device.lines.first());
        let order = Order {
            mac: row.mac,
            to: To::Phone(case.address),
            user: user.map(|line| line.account.username.clone()),
            means: means.clone(),
            url: url.map(|url| (url, case.profile.pnp_content_type().to_owned())),
        };
        let pace = Pace { rate: Rate::default(), patience: NOTIFY_PATIENCE };
        let mut news = push(self.how.parts.clone(), vec![order], pace);
        let mut outcome = Outcome::Silent;
        while let Some((_, heard)) = news.recv().await {
            match heard {
                News::Ready(ready) => {
                    self.begins(row, case, &means.to_string(), &ready.to.to_string()).await?;
                    if is_pointed {
                        row.sent_at = Some(ready.at);
                    }
                    ready.go();
                }
                News::NotSent(why) => return Ok(not_sent(&why)),
                News::Done(done) => outcome = done,
            }
        }
        let permit = case.profile.permit(row.model.as_deref());
        if !matches!(outcome, Outcome::Accepted(_)) {
            let (message, remedy) = (outcome.said(Way::Phone), outcome.remedy(Way::Phone, permit));
            return Ok(Tried::Refused { message, remedy });
        }
        if !is_pointed || self.comes(row).await? {
            return Ok(Tried::Taken);
        }
        if self.how.wait <= COMES_WITHIN || case.profile.visits(row.model.as_deref()).next().is_none() {
            row.ends(Fate::Told, outcome.said(Way::Phone), "");
            return Ok(Tried::Taken);
        }
        let message = format!("{}, and did not come", outcome.said(Way::Phone));
        Ok(Tried::Refused { message, remedy: String::new() })
    }

    /// Waits some time for it to come.
    async fn comes(&self, row: &mut Row) -> Result<bool, Failure> {
        let clock = &self.how.parts.clock;
        let until = clock.instant() + COMES_WITHIN.min(self.how.wait);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while clock.instant() < until && !self.how.cancel.is_cancelled() {
            if let Some(seen) = self.came(row).await? {
                row.came(&seen);
                return Ok(true);
            }
            ticks.tick().await;
        }
        Ok(false)
    }

    /// Goes through the web interface, as the profile writes it.
    async fn visit(
        &self,
        row: &mut Row,
        case: &mut Case,
        visit: &Visit,
        place: &Aim,
        url: &Secret,
    ) -> Result<Tried, Failure> {
        let parts = &self.how.parts;
        let random = parts.entropy.text("0123456789abcdef", 16);
        let cnonce = random.map_err(|error| Failure::failed("random", error.to_string(), "say it again"))?;
        let aims = Aims { phone: place.address, url: url.clone(), now_ms: parts.clock.now().0, cnonce };
        let credentials = self.credentials(case, visit)?;
        let (given, wrong_before) = (credentials.len(), case.kept.wrong);
        let is_own = credentials.first().is_some_and(|credential| credential.own);
        let mut visitor = Visitor::new(visit, &aims, credentials);
        self.begins(row, case, &format!("web:{}", visit.name), &format!("{}:80", place.address)).await?;
        let refusal = loop {
            let request = match visitor.next_command() {
                Next::Send(request) => request,
                Next::Over(Ok(())) => break None,
                Next::Over(Err(refusal)) => break Some(refusal),
            };
            row.step = Some(request.step.clone());
            case.kept.step.clone_from(&row.step);
            if let Some(own) = request.proves {
                self.proves(row, case, own).await?;
            }
            if request.stage == Stage::Set && row.sent_at.is_none() {
                row.sent_at = Some(parts.clock.now());
            }
            self.desk.store.keep_pointing(std::slice::from_ref(&case.kept)).await?;
            match web::exchange(parts, row.mac, case.address, &request).await {
                Ok(octets) => visitor.handle(&octets.heard()),
                // Somebody else is there now: not even a logout goes to it.
                Err(why) => return Ok(not_sent(&why)),
            }
            let found = given.saturating_sub(visitor.passwords_left());
            if !is_own {
                case.kept.wrong = wrong_before + u32::try_from(found).unwrap_or_default();
            }
        };
        let Some(refusal) = refusal else {
            (case.kept.tries, case.kept.wrong) = (0, 0);
            return self.then(row, case, visit).await;
        };
        row.sent_at = row.sent_at.filter(|_| refusal.stage > Stage::Set);
        Ok(self.refused(row, case, visit, &refusal))
    }

    /// What the phone is told by SIP when all is set, where that is what makes it look.
    async fn then(&self, row: &mut Row, case: &mut Case, visit: &Visit) -> Result<Tried, Failure> {
        let profile = case.profile.clone();
        let told = visit.then.and_then(|told| profile.means(told, row.model.as_deref()));
        let Some(means) = told else { return Ok(Tried::Taken) };
        match self.notify(row, case, means, None).await? {
            Tried::Refused { message, .. } => {
                let remedy = "restart it";
                row.ends(Fate::Told, format!("took its URL, and looks at its next start: {message}"), remedy);
                Ok(Tried::Taken)
            }
            end => Ok(end),
        }
    }

    /// Written down before something leaves by another means.
    async fn begins(&self, row: &mut Row, case: &mut Case, means: &str, to: &str) -> Result<(), Failure> {
        let now = self.how.parts.clock.now();
        row.means = Some(means.to_owned());
        case.kept.means.clone_from(&row.means);
        (case.kept.state, case.kept.step) = (PointState::Running, None);
        row.ends(Fate::Sent, format!("is told by {means}"), "");
        let detail = json!({ "means": means, "to": to });
        self.desk.store.told(&row.moment(Step::Sent, now), Told::Point.as_str(), &detail).await?;
        self.desk.store.keep_pointing(std::slice::from_ref(&case.kept)).await?;
        self.tell(row).await;
        Ok(())
    }

    /// Written down before a password is proved.
    async fn proves(&self, row: &Row, case: &mut Case, own: bool) -> Result<(), Failure> {
        let now = self.how.parts.clock.now();
        case.kept.tries = tries(case, now.minus(TRIES_WITHIN)) + 1;
        case.kept.tried = Some(now);
        let password = if own { "its own, digested" } else { "as sold" };
        let detail = json!({ "means": row.means, "step": row.step, "password": password });
        Ok(self.desk.store.told(&row.moment(Step::Sent, now), "point_password", &detail).await?)
    }

    /// What may be shown to this phone: to one that never got a password the ones it may be sold with, to another its own,
    /// and to nobody anything else.
    fn credentials(&self, case: &Case, visit: &Visit) -> Result<Vec<Credential>, Failure> {
        let since = self.how.parts.clock.now().minus(TRIES_WITHIN);
        let left = TRIES_MAX.saturating_sub(tries(case, since));
        let left = usize::try_from(left).unwrap_or_default();
        let kind = case.profile.release().kind_of(SecretKind::Webui);
        let password = match case.device.as_deref().map(|device| (device, self.holds(device, kind))) {
            None | Some((_, Holds::AsSold)) => {
                let known_wrong = usize::try_from(case.kept.wrong).unwrap_or_default();
                let factory = visit.factory.iter().skip(known_wrong).take(left);
                let credential = |text: &String| Credential { password: Secret::new(text), own: false };
                return Ok(factory.map(credential).collect());
            }
            Some((device, Holds::Own)) => self.desk.store.reveal(device, kind, None)?,
            Some((_, Holds::Unknown)) => None,
        };
        let password = password.filter(|_| left > 0);
        Ok(password.into_iter().map(|password| Credential { password, own: true }).collect())
    }

    /// Which web password the phone holds, by what has left for it. One that was armed anew and has not come since was
    /// reset to its factory settings.
    fn holds(&self, device: &Device, kind: SecretKind) -> Holds {
        let Some(grants) = self.desk.store.inventory().grants(device.mac) else { return Holds::AsSold };
        let webui = grants.get(GrantId::device(kind));
        let is_awaited = |grant: &Grant| grant.is_armed() && grant.evidence < Evidence::Acked;
        match webui {
            Some(grant) if is_awaited(grant) => Holds::AsSold,
            Some(grant) if grant.delivered.is_some() => Holds::Own,
            _ if grants.grants.iter().all(|grant| grant.delivered.is_none()) => Holds::AsSold,
            _ => Holds::Unknown,
        }
    }

    fn refused(&self, row: &Row, case: &Case, visit: &Visit, refusal: &Refusal) -> Tried {
        let message = format!("{} by web:{}", refusal.said(), visit.name);
        let mac = row.mac;
        let since = self.how.parts.clock.now().minus(TRIES_WITHIN);
        let remedy = match refusal.why {
            Why::Other => return Tried::Refused { message, remedy: String::new() },
            Why::NoPassword if tries(case, since) >= TRIES_MAX => {
                let message = format!("{TRIES_MAX} passwords were tried within the last hour: no more are");
                let remedy = "phones lock themselves; say it again in an hour".to_owned();
                return Tried::Ended { message, remedy };
            }
            Why::WrongPassword | Why::NoPassword => format!(
                "somebody has set a password: reset the phone to its factory settings, then offhook device rearm {mac}; \
                 or type its URL there (offhook url {mac})"
            ),
            Why::Clear => format!("type its URL at the phone: offhook url {mac}"),
            Why::Locked => "wait until its lock is over, or restart it".to_owned(),
            Why::Status(_) | Why::Words | Why::NoAnswer | Why::Unfit(_) => {
                format!("type its URL at the phone: offhook url {mac}")
            }
        };
        Tried::Ended { message, remedy }
    }
}

/// Passwords that were proved since then.
fn tries(case: &Case, since: crate::clock::Timestamp) -> u32 {
    if case.kept.tried.is_some_and(|tried| tried > since) { case.kept.tries } else { 0 }
}

/// The scheme of the URL that the phone would get.
fn scheme_of(roots: Roots, place: &Aim, case: &Case) -> &'static str {
    match roots.for_phone(place.ours.into(), &case.profile) {
        Some(crate::provision::Root::Https(_)) => "https",
        Some(crate::provision::Root::Tftp(_)) => "tftp",
        Some(crate::provision::Root::Http(_)) | None => "http",
    }
}

fn not_sent(why: &NotSent) -> Tried {
    Tried::Ended { message: format!("not sent: {}", why.said()), remedy: why.remedy().to_owned() }
}
