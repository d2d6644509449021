//! Phones: what is known of them, whether they are served, and which of their passwords may leave.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::admin::access::Caller;
use crate::admin::answer::{Answer, Problem};
use crate::admin::ask::{Asked, Filter, Phone, no_cursor, page};
use crate::admin::once::{Begun, Deed};
use crate::admin::{AdminParts, Shared};
use crate::device::{Approval, Device, Mac, Vendor};
use crate::operate::Failure;
use crate::operate::arm::{self, ArmedShown, Chosen, How, Rearmed, Target, Which};
use crate::operate::plan::Planner;
use crate::operate::view::{self, Shown, Summary};
use crate::operate::why::Examiner;
use crate::release::{Mode, Window};
use crate::secret::SecretKind;
use crate::store::Give;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    state: Option<Approval>,
    vendor: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// By MAC.
pub(in crate::admin) async fn list(
    State(shared): State<Shared>,
    Filter(wanted): Filter<Wanted>,
) -> Result<Answer, Problem> {
    let limit = page(wanted.limit)?;
    let after =
        wanted.cursor.as_ref().map(|cursor| cursor.parse::<Mac>().map_err(|_| no_cursor())).transpose()?;
    let vendor = wanted.vendor.as_deref().map(Vendor::new);
    let is_wanted = |device: &Arc<Device>| {
        after.is_none_or(|after| device.mac > after)
            && wanted.state.is_none_or(|state| device.approval == state)
            && (vendor.is_none() || device.vendor == vendor)
    };
    let devices = shared.store().inventory().devices();
    let mut rest = devices.iter().filter(|device| is_wanted(device));
    let page: Vec<&Arc<Device>> = rest.by_ref().take(limit).collect();
    let sightings = match (page.first(), page.last()) {
        (Some(first), Some(last)) => shared.store().sightings_between(first.mac, last.mac).await?,
        (None, _) | (_, None) => Vec::new(),
    };
    let rows = Summary::of(page.iter().copied(), &sightings, &shared.releases());
    let next =
        page.last().filter(|_| rest.next().is_some()).map(|last| ("next", wanted.url(limit, last.mac)));
    Ok(Answer::json(&rows)?.with_links(next.as_slice()))
}

impl Wanted {
    /// The page after this phone.
    fn url(&self, limit: usize, last: Mac) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("cursor", &last.bare());
        query.extend_pairs(self.state.map(|state| ("state", state.as_str())));
        query.extend_pairs(self.vendor.as_ref().map(|vendor| ("vendor", vendor)));
        format!("/api/v1/devices?{}", query.finish())
    }
}

/// Everything that is known of a phone, without its secrets.
pub(in crate::admin) async fn show(
    State(shared): State<Shared>,
    Phone(mac): Phone,
) -> Result<Answer, Problem> {
    shown(&shared, mac).await
}

async fn shown(shared: &Shared, mac: Mac) -> Result<Answer, Problem> {
    let store = shared.store();
    // Before what it is the version of: who changes by it what has changed meanwhile is told so.
    let version = store.version_of(mac);
    let device = view::known(store, mac).await?;
    let sightings = store.sightings(Some(mac)).await?;
    let timeline = store.timeline(mac, None).await?;
    let (release, laid) = (shared.releases().of(&device), shared.fleet().laid(&device));
    let shown = Shown::new(&device, sightings, timeline, &release, laid);
    Ok(Answer::json(&shown)?.of_version(version))
}

/// Which account it gets, as `offhook device approve` takes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Approve {
    account: Option<String>,
    without_account: bool,
}

impl Approve {
    fn give(self) -> Result<Give, Problem> {
        match (self.account, self.without_account) {
            (Some(_), true) => Err(Problem::asked(
                StatusCode::UNPROCESSABLE_ENTITY,
                "account",
                "it gets an account, or none",
                "leave account or without_account away",
            )),
            (Some(name), false) => Ok(Give::Account(name)),
            (None, true) => Ok(Give::Nothing),
            (None, false) => Ok(Give::NextFree),
        }
    }
}

/// Serves a phone that waits, that was blocked, or that will come.
pub(in crate::admin) async fn approve(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<Approve>,
) -> Result<Answer, Problem> {
    let deed = match Deed::begin(&shared, &caller, asked.conditions, Some(mac)).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    if deed.is_due() {
        let outcome = deed.store.approve(mac, &asked.body.give()?).await;
        deed.did(outcome)?;
    }
    deed.answered(shown(&shared, mac).await?).await
}

/// Nothing is said beside the phone in the path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Nothing {}

/// Serves a phone no more; it keeps its accounts.
pub(in crate::admin) async fn block(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<Nothing>,
) -> Result<Answer, Problem> {
    let deed = match Deed::begin(&shared, &caller, asked.conditions, Some(mac)).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    if deed.is_due() {
        // Nothing else is said of a phone that is not there, whatever If-Match says (RFC 9110, 13.2.1).
        view::known(shared.store(), mac).await?;
        let outcome = deed.store.block(mac).await;
        deed.did(outcome)?;
    }
    deed.answered(shown(&shared, mac).await?).await
}

/// Which passwords of a phone; all that its vendor's files hold, where nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Passwords {
    kinds: Vec<SecretKind>,
    /// `NAME` or `NAME@REGISTRAR`
    accounts: Vec<String>,
}

impl From<Passwords> for Which {
    fn from(Passwords { kinds, accounts }: Passwords) -> Self {
        Self { kinds, accounts }
    }
}

/// What may leave once more, when its window opens, for how long, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin) struct Arm {
    kinds: Vec<SecretKind>,
    accounts: Vec<String>,
    mode: When,
    /// `10m`, `2h`; `none` for a web password alone.
    window: Option<Window>,
    reason: Option<String>,
}

/// When the window opens.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum When {
    Now,
    #[default]
    #[serde(alias = "on-contact")]
    OnContact,
}

impl Arm {
    fn how(&self) -> How {
        let mode = match self.mode {
            When::Now => Mode::Now,
            When::OnContact => Mode::OnContact,
        };
        How { mode, window: self.window }
    }
}

/// Lets passwords of a phone leave once more.
pub(in crate::admin) async fn arm(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<Arm>,
) -> Result<Answer, Problem> {
    let how = asked.body.how();
    let Arm { kinds, accounts, reason, .. } = asked.body;
    let (which, why) = (Which { kinds, accounts }, arm::reason(reason.as_deref())?.to_owned());
    let deed = match Deed::begin(&shared, &caller, asked.conditions, Some(mac)).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let releases = shared.releases();
    let target = arm::arming(&releases, shared.store(), mac, &which)?;
    let mut armed = None;
    if deed.is_due() {
        how.check(std::slice::from_ref(&target))?;
        let outcome = how.arm(&deed.store, &target, &why).await;
        armed = deed.did(outcome)?.map(|armed| armed.grants);
    }
    let grants = armed.or_else(|| shared.store().inventory().grants(mac)).unwrap_or_default();
    let now = ArmedShown::new(&grants, &releases, &target);
    let answer = Answer::json(&Rearmed { chosen: Chosen::new(&releases, &target), now })?;
    deed.answered(answer.of_version(shared.store().version_of(mac))).await
}

/// Lets passwords of a phone leave no more.
pub(in crate::admin) async fn lock(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<Passwords>,
) -> Result<Answer, Problem> {
    let which = Which::from(asked.body);
    let deed = match Deed::begin(&shared, &caller, asked.conditions, Some(mac)).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let target = arm::locking(&shared.releases(), shared.store(), mac, &which)?;
    if deed.is_due() {
        let outcome = deed.store.lock(mac, |id| target.chosen.contains(&id)).await;
        deed.did(outcome)?;
    }
    deed.answered(chosen(&shared, &target)?).await
}

/// A phone is said to have its passwords.
pub(in crate::admin) async fn confirm(
    State(shared): State<Shared>,
    caller: Caller,
    Phone(mac): Phone,
    asked: Asked<Passwords>,
) -> Result<Answer, Problem> {
    let which = Which::from(asked.body);
    let deed = match Deed::begin(&shared, &caller, asked.conditions, Some(mac)).await? {
        Begun::Answered(answer) => return Ok(answer),
        Begun::Deed(deed) => deed,
    };
    let target = arm::confirming(&shared.releases(), shared.store(), mac, &which)?;
    if deed.is_due() {
        let outcome = deed.store.confirm(mac, |id| target.chosen.contains(&id)).await;
        deed.did(outcome)?;
    }
    deed.answered(chosen(&shared, &target)?).await
}

fn chosen(shared: &Shared, target: &Target) -> Result<Answer, Failure> {
    let answer = Answer::json(&Chosen::new(&shared.releases(), target))?;
    Ok(answer.of_version(shared.store().version_of(target.device.mac)))
}

/// What would change for a phone at its next fetch.
pub(in crate::admin) async fn plan(
    State(shared): State<Shared>,
    Phone(mac): Phone,
) -> Result<Answer, Problem> {
    let device = view::known(shared.store(), mac).await?;
    let fleet = shared.fleet();
    // For a phone that has fetched nothing yet no text is compared, and any host will do (RFC 5737).
    let plan = Planner::new(&fleet, "192.0.2.1", "http://192.0.2.1:8480/").plan(&device).await?;
    Ok(Answer::json(&plan)?.of_version(shared.store().version_of(mac)))
}

/// Why it does not come up, or that it has; of a phone that is not in the inventory, too.
pub(in crate::admin) async fn why(
    State(shared): State<Shared>,
    Phone(mac): Phone,
) -> Result<Answer, Problem> {
    let AdminParts { config, catalog, clock, .. } = &shared.0.parts;
    let (store, releases, now) = (shared.store(), shared.releases(), clock.now());
    let examiner =
        Examiner { store, catalog, releases: &releases, adopt: &config.adopt, agent_runs: true, now };
    Ok(Answer::json(&examiner.why(mac).await?)?)
}
