//! The reference: what should be so, kept by simple books of its own. It never asks the machine; it is told what was
//! tried, what was committed and what was sent, and says which of it must not have been.
//!
//! * S1: at most one identity in one act of arming.
//! * S2: no byte of a password without a durable intent.
//! * S3: no release starts after its window, or of what was never armed.
//! * S4: no file without a password for a phone that is entitled to it, or is not known to have it.
//! * L1: an entitled phone that is alone gets it.

use super::steps::{Setting, Who};
use super::world::{PASSWORDS, kind_of};
use super::*;

/// Where and when something happens, as nobody in the world can know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// True milliseconds.
    pub(super) at: i64,
    pub(super) host: usize,
    /// Which boot of that host.
    pub(super) boot: u32,
    /// Which agent's name.
    pub(super) name: usize,
    /// Which process.
    pub(super) agent: usize,
    /// Its wall clock, or the highest that was ever written.
    pub(super) wall: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Locked,
    Staged { until: i64 },
    Open { since: i64, host: usize, boot: u32, name: usize, limit: Option<i64> },
}

/// One password of one device.
#[derive(Debug, Clone, Copy)]
struct Book {
    held: bool,
    /// Never armed since the device has it.
    never: bool,
    revoked: bool,
    version: i64,
    /// Changed while nothing could be armed.
    stale: bool,
    phase: Phase,
    /// What the operator wants instead of the policy.
    window: Option<i64>,
    act: usize,
    releases: u32,
    delivered: bool,
}

/// One act of arming.
#[derive(Debug, Clone, Default)]
struct Act {
    bound: Option<Who>,
    served: Vec<Who>,
    /// When each process saw its window first.
    seen: [Option<i64>; 2],
}

/// One release, as far as it concerns the books.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) device: usize,
    pub(super) who: Who,
    /// Which password in which act.
    of: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Approval {
    Pending,
    Approved,
    Blocked,
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Secret(Vec<(usize, i64)>),
    Plain,
    Refused(Refusal),
    Unavailable,
}

pub(super) struct Model {
    setting: Setting,
    books: [[Book; PASSWORDS]; 2],
    approval: [Approval; 2],
    acts: Vec<Act>,
    /// Whether every wall clock has always told the truth.
    honest: bool,
}

type Checked = Result<(), String>;

fn unless(wrong: bool, what: impl FnOnce() -> String) -> Checked {
    if wrong { Err(what()) } else { Ok(()) }
}

impl Book {
    fn new(held: bool, version: i64) -> Self {
        Self {
            held,
            never: true,
            revoked: false,
            version,
            stale: false,
            phase: Phase::Locked,
            window: None,
            act: 0,
            releases: 0,
            delivered: false,
        }
    }
}

impl Model {
    pub(super) fn new(setting: Setting) -> Self {
        let books = [[Book::new(false, 0); PASSWORDS]; 2];
        Self { setting, books, approval: [Approval::Pending; 2], acts: vec![Act::default()], honest: true }
    }

    pub(super) fn approval(&self, device: usize) -> Approval {
        self.approval[device]
    }

    pub(super) fn clock_is_set(&mut self) {
        self.honest = false;
    }

    /// The device has this password now, or has it no more.
    pub(super) fn holds(&mut self, device: usize, password: usize, held: bool, version: i64) {
        self.books[device][password] = Book::new(held, version);
    }

    pub(super) fn changed(&mut self, device: usize, password: usize) {
        let book = &mut self.books[device][password];
        book.version += 1;
        book.stale = true;
    }

    /// A write of the device is through: what is new or changed waits for its phone.
    pub(super) fn settled(&mut self, device: usize, approval: Approval, place: Place) {
        self.approval[device] = approval;
        match approval {
            Approval::Pending => {
                let waits = self.books[device].map(|book| !book.never && book.stale);
                self.armed(device, |password| waits[password], Mode::OnContact, None, place);
            }
            Approval::Blocked => self.locked(device, |_| true),
            Approval::Approved => {
                let waits = self.books[device].map(|book| book.never || book.stale);
                self.armed(device, |password| waits[password], Mode::OnContact, None, place);
            }
        }
    }

    pub(super) fn armed(
        &mut self,
        device: usize,
        chosen: impl Fn(usize) -> bool,
        mode: Mode,
        window: Option<i64>,
        place: Place,
    ) {
        let act = self.acts.len();
        self.acts.push(Act::default());
        for password in 0..PASSWORDS {
            let limit = window.or(self.limit(password));
            let book = &mut self.books[device][password];
            if !book.held || !chosen(password) {
                continue;
            }
            book.phase = match mode {
                Mode::OnContact => Phase::Staged { until: place.wall + 24 * 3_600_000 },
                Mode::Now => Phase::Open {
                    since: place.at,
                    host: place.host,
                    boot: place.boot,
                    name: place.name,
                    limit,
                },
            };
            (book.window, book.act, book.releases) = (window, act, 0);
            (book.never, book.revoked, book.stale) = (false, false, false);
        }
    }

    pub(super) fn locked(&mut self, device: usize, chosen: impl Fn(usize) -> bool) {
        for (password, book) in self.books[device].iter_mut().enumerate() {
            if chosen(password) && book.held && !book.never {
                (book.phase, book.revoked) = (Phase::Locked, true);
            }
        }
    }

    pub(super) fn confirmed(&mut self, device: usize, chosen: impl Fn(usize) -> bool) {
        for (password, book) in self.books[device].iter_mut().enumerate() {
            book.delivered |= chosen(password) && book.held;
        }
    }

    /// An agent starts: windows of another boot of its host are over.
    pub(super) fn started(&mut self, place: Place) {
        let alone = !self.setting.shared;
        for book in self.books.iter_mut().flatten() {
            if let Phase::Open { host, boot, name, .. } = book.phase
                && (alone || name == place.name)
                && (host, boot) != (place.host, place.boot)
            {
                book.phase = Phase::Locked;
            }
        }
    }

    /// A running agent sees every window within a moment.
    pub(super) fn sees(&mut self, place: Place) {
        for book in self.books.iter().flatten() {
            if matches!(book.phase, Phase::Open { .. }) {
                self.acts[book.act].seen[place.agent].get_or_insert(place.at);
            }
        }
    }

    /// An agent that starts has forgotten what it saw.
    pub(super) fn forgets(&mut self, agent: usize) {
        for act in &mut self.acts {
            act.seen[agent] = None;
        }
    }

    fn limit(&self, password: usize) -> Option<i64> {
        (!(kind_of(password) == SecretKind::Webui && self.setting.until_acked)).then_some(600_000)
    }

    pub(super) fn replaces(&self, device: usize) -> bool {
        device == 1 && self.setting.replaces
    }

    /// Whether a release of this password may start here and now, and whether it must, were it asked for by the right
    /// one. The two differ only where a wall clock has lied to another host.
    fn open(&self, device: usize, password: usize, place: Place) -> (bool, bool) {
        let book = &self.books[device][password];
        if !book.held || self.approval[device] != Approval::Approved {
            return (false, false);
        }
        if self.replaces(device) {
            return (!book.revoked, !book.revoked);
        }
        match book.phase {
            Phase::Locked => (false, false),
            Phase::Staged { until } => (until > place.wall, until > place.wall),
            Phase::Open { since, host, boot, limit, .. } => {
                let limit = limit.unwrap_or(i64::MAX);
                let open = place.at - since < limit;
                let trusted = self.honest || !self.setting.shared;
                if host == place.host {
                    let open = open && boot == place.boot;
                    return (open, open && trusted);
                }
                let seen = self.acts[book.act].seen[place.agent].unwrap_or(place.at);
                (if trusted { open } else { place.at - seen < limit }, open && trusted)
            }
        }
    }

    fn is_spent(&self, device: usize, password: usize) -> bool {
        let book = &self.books[device][password];
        matches!(book.phase, Phase::Open { .. }) && book.releases >= self.setting.releases_max
    }

    /// Judges an answer.
    pub(super) fn judge(
        &self,
        device: usize,
        who: Who,
        wanted: &[usize],
        told: &Told,
        storage_is_up: bool,
        place: Place,
    ) -> Checked {
        let replaces = self.replaces(device);
        let bound_to_other = |password: &usize| {
            let bound = self.acts[self.books[device][*password].act].bound;
            !replaces && bound.is_some_and(|bound| bound != who)
        };
        let open = |password: &usize| self.open(device, *password, place);
        let must: Vec<usize> = wanted.iter().copied().filter(|password| open(password).1).collect();
        match told {
            Told::Secret(released) => {
                unless(who == Who::Stranger, || "S1: a password for somebody unproven".to_owned())?;
                for (password, version) in released {
                    unless(!open(password).0, || {
                        format!("S3: password {password} leaves, its window is over")
                    })?;
                    let other = bound_to_other(password);
                    unless(other, || format!("S1: password {password} leaves to a second one"))?;
                    let current = self.books[device][*password].version;
                    let old = *version != current;
                    unless(old, || {
                        format!("S3: version {version} of password {password} leaves, not {current}")
                    })?;
                    let spent = !replaces && self.is_spent(device, *password);
                    unless(spent, || format!("S3: password {password} leaves too often"))?;
                }
                let left_out =
                    must.iter().find(|must| !released.iter().any(|(password, _)| password == *must));
                let is_half = replaces && released.len() < wanted.len();
                unless(left_out.is_some() || is_half, || format!("S4: password {left_out:?} is left out"))
            }
            Told::Plain => {
                unless(!must.is_empty(), || format!("S4: a file without passwords {must:?}, which are due"))?;
                unless(replaces && !wanted.is_empty(), || {
                    "S4: a plain file, which takes passwords away".to_owned()
                })?;
                let unknown =
                    wanted.iter().find(|password| !self.books[device][**password].delivered).copied();
                unless(unknown.is_some(), || {
                    format!("S4: a file without password {unknown:?}, never delivered")
                })
            }
            Told::Refused(_) | Told::Unavailable => {
                let unavailable = *told == Told::Unavailable;
                unless(unavailable && storage_is_up, || "L1: unavailable with its storage up".to_owned())?;
                let alone = who != Who::Stranger && !must.iter().any(bound_to_other);
                let spent =
                    wanted.iter().any(|password| open(password).0 && self.is_spent(device, *password));
                // With a clock that has lied, what is due here may be bound, and over, elsewhere.
                let contended = wanted.iter().any(|password| open(password).0 && bound_to_other(password));
                let revoked = replaces && wanted.iter().any(|password| self.books[device][*password].revoked);
                let excused = unavailable || !alone || contended || (spent && !replaces) || revoked;
                unless(!must.is_empty() && !excused, || format!("L1: {told:?}, though {must:?} are due"))
            }
        }
    }

    /// The answer is committed.
    pub(super) fn committed(
        &mut self,
        device: usize,
        who: Who,
        wanted: &[usize],
        told: &Told,
        place: Place,
    ) -> Receipt {
        let mut receipt = Receipt { device, who, of: Vec::new() };
        match told {
            Told::Secret(released) => {
                for (password, _) in released {
                    let act = self.books[device][*password].act;
                    self.open_act(device, act, who, place);
                    self.books[device][*password].releases += 1;
                    receipt.of.push((*password, act));
                }
            }
            Told::Refused(Refusal::Budget) => {
                for password in wanted.iter().copied() {
                    if self.is_spent(device, password) {
                        self.books[device][password].phase = Phase::Locked;
                    }
                }
            }
            Told::Plain | Told::Refused(_) | Told::Unavailable => {}
        }
        receipt
    }

    fn open_act(&mut self, device: usize, act: usize, who: Who, place: Place) {
        self.acts[act].bound.get_or_insert(who);
        for password in 0..PASSWORDS {
            let policy = self.limit(password);
            let book = &mut self.books[device][password];
            let Phase::Staged { until } = book.phase else { continue };
            if book.act == act && until > place.wall {
                let Place { at: since, host, boot, name, .. } = place;
                book.phase = Phase::Open { since, host, boot, name, limit: book.window.or(policy) };
            }
        }
    }

    /// The first bytes leave.
    pub(super) fn sent(&mut self, receipt: &Receipt, intent_is_durable: bool) -> Checked {
        unless(!intent_is_durable, || "S2: a password leaves before it is durable that it does".to_owned())?;
        if self.replaces(receipt.device) {
            return Ok(());
        }
        for (_, act) in &receipt.of {
            let served = &mut self.acts[*act].served;
            if !served.contains(&receipt.who) {
                served.push(receipt.who);
            }
            unless(served.len() > 1, || format!("S1: {served:?} have both got passwords in one window"))?;
        }
        Ok(())
    }

    /// It is committed how far a release has come.
    pub(super) fn proven(&mut self, receipt: &Receipt, evidence: Evidence) {
        for (password, act) in &receipt.of {
            let close_on =
                if kind_of(*password) == SecretKind::Sip { self.setting.close_on } else { CloseOn::Window };
            let book = &mut self.books[receipt.device][*password];
            if book.act != *act || !book.held {
                continue;
            }
            let arrived = evidence >= Evidence::Acked;
            book.delivered |= arrived;
            let Phase::Open { limit, .. } = book.phase else { continue };
            let ends = match close_on {
                _ if limit.is_none() => arrived,
                CloseOn::Acked => arrived,
                CloseOn::Applied => evidence == Evidence::Applied,
                CloseOn::Window => false,
            };
            if ends {
                book.phase = Phase::Locked;
            }
        }
    }
}
