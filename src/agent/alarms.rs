//! The chore that makes rows of alarms: it takes what was raised, writes it down, says each new one in the log, and
//! hands it to the webhook and to the command. The rows are the truth; what is handed on may be lost.

mod command;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::alarm::Alarms;
use crate::clock::Clock;
use crate::config::AlarmConfig;
use crate::net::limit::Limiter;
use crate::store::{AlarmRow, Store};
use command::Command;
use webhook::Webhook;

/// How soon an alarm is written down.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// New alarms of one look that each get a line in the log; a whole fleet may have the same trouble.
const LINES_MAX: usize = 20;
/// Alarms that a webhook or command gets at once, and one more after each [`SENT_EVERY`].
const SENT_BURST: u32 = 10;
const SENT_EVERY: Duration = Duration::from_secs(1);
/// Alarms that wait for a webhook or command; those that find no place are only counted.
const QUEUED_MAX: usize = 100;
/// After this a failed one is tried once more.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How often the same failure is said.
const FAILURE_EVERY: Duration = Duration::from_mins(1);

/// Runs until cancelled; then writes what is left.
pub(super) async fn keep(
    store: Store,
    alarms: Alarms,
    config: AlarmConfig,
    agent: Arc<str>,
    clock: Clock,
    cancel: CancellationToken,
) {
    let mut sinks = JoinSet::new();
    let outlets = outlets(&config, &agent, &clock, &mut sinks);
    let (mut failing, mut flooded, mut lost) = (Pace::default(), Pace::default(), 0);
    loop {
        let stopping = tokio::select! {
            () = cancel.cancelled() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let (raised, more) = alarms.take();
        lost += more;
        if lost > 0 && flooded.may(clock.instant()) {
            warn!("Too many alarms at once: {lost} were not written down");
            lost = 0;
        }
        if !raised.is_empty() {
            match store.record_alarms(&raised).await {
                Ok(told) => tell(&told, &outlets),
                Err(error) => {
                    if failing.may(clock.instant()) {
                        warn!("Cannot write {} alarms yet: {error}", raised.len());
                    }
                    alarms.put_back(raised);
                }
            }
        }
        if stopping {
            return;
        }
    }
}

fn tell(told: &[AlarmRow], outlets: &[Outlet]) {
    for row in told.iter().take(LINES_MAX) {
        let about = row.mac.map(|mac| format!(" about {mac}")).unwrap_or_default();
        let from = row.peer.as_ref().map(|peer| format!(" from {peer}")).unwrap_or_default();
        let remedy = if row.remedy.is_empty() { String::new() } else { format!("; {}", row.remedy) };
        warn!(
            alarm.id = row.id,
            alarm.kind = row.kind,
            "Alarm ({}){about}{from}: {}{remedy}",
            row.kind,
            row.text
        );
    }
    if told.len() > LINES_MAX {
        warn!("{} more alarms; `offhook alarm list` shows them", told.len() - LINES_MAX);
    }
    for outlet in outlets {
        for row in told {
            outlet.offer(row);
        }
    }
}

/// The way to a webhook or command: a queue that refuses what it has no place for.
struct Outlet {
    queue: mpsc::Sender<AlarmRow>,
    dropped: Arc<AtomicU64>,
}

impl Outlet {
    fn offer(&self, row: &AlarmRow) {
        if self.queue.try_send(row.clone()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn outlets(config: &AlarmConfig, agent: &Arc<str>, clock: &Clock, sinks: &mut JoinSet<()>) -> Vec<Outlet> {
    let webhook = config.webhook.clone().map(|url| Sink::Webhook(Webhook::new(url)));
    let command = Command::new(&config.command).map(Sink::Command);
    let open = |sink: Sink| {
        let (queue, waiting) = mpsc::channel(QUEUED_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        sinks.spawn(pass_on(sink, waiting, Arc::clone(&dropped), Arc::clone(agent), clock.clone()));
        Outlet { queue, dropped }
    };
    webhook.into_iter().chain(command).map(open).collect()
}

/// Where an alarm goes.
enum Sink {
    Webhook(Webhook),
    Command(Command),
}

impl Sink {
    async fn send(&self, json: &str) -> Result<(), String> {
        match self {
            Self::Webhook(webhook) => webhook.send(json).await,
            Self::Command(command) => command.run(json).await,
        }
    }

    /// For the log.
    fn name(&self) -> String {
        match self {
            Self::Webhook(webhook) => format!("webhook {}", webhook.url()),
            Self::Command(command) => format!("command {}", command.program()),
        }
    }
}

/// Passes alarms on, one at a time and not too fast, for as long as there is somebody who offers any.
async fn pass_on(
    sink: Sink,
    mut waiting: mpsc::Receiver<AlarmRow>,
    dropped: Arc<AtomicU64>,
    agent: Arc<str>,
    clock: Clock,
) {
    let mut pace = Limiter::new(SENT_BURST, SENT_EVERY, 1);
    let mut failing = Pace::default();
    while let Some(row) = waiting.recv().await {
        while !pace.allows((), clock.instant()) {
            tokio::time::sleep(SENT_EVERY / 4).await;
        }
        let not_sent = dropped.swap(0, Ordering::Relaxed);
        let json = message(&row, &agent, not_sent);
        let mut sent = sink.send(&json).await;
        if sent.is_err() {
            tokio::time::sleep(AGAIN_AFTER).await;
            sent = sink.send(&json).await;
        }
        if let Err(error) = sent {
            dropped.fetch_add(not_sent + 1, Ordering::Relaxed);
            if failing.may(clock.instant()) {
                warn!("Cannot hand alarm {} to the {}: {error}", row.id, sink.name());
            }
        }
    }
}

/// What a webhook or command gets: the row as `offhook alarm list --json` shows it, which agent, and how many alarms were
/// not handed on since the last one that was.
fn message(row: &AlarmRow, agent: &str, not_sent: u64) -> String {
    let mut message = serde_json::to_value(row).unwrap_or_default();
    if let Some(object) = message.as_object_mut() {
        object.insert("agent".to_owned(), agent.into());
        object.insert("not_sent".to_owned(), not_sent.into());
    }
    message.to_string()
}

/// Lets the same failure be said now and then.
#[derive(Default)]
struct Pace(Option<Instant>);

impl Pace {
    fn may(&mut self, now: Instant) -> bool {
        let may = self.0.is_none_or(|last| now.duration_since(last) >= FAILURE_EVERY);
        if may {
            self.0 = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    pub(super) fn row(id: i64) -> AlarmRow {
        AlarmRow {
            id,
            kind: "clone".to_owned(),
            mac: "001565f4f9e1".parse().ok(),
            peer: Some("192.0.2.7".to_owned()),
            text: "two hosts answer".to_owned(),
            first: Timestamp(0),
            last: Timestamp(0),
            seen: 2,
            done: None,
            remedy: "",
        }
    }

    #[test]
    fn a_message_is_the_row_with_its_agent() {
        let message: serde_json::Value = serde_json::from_str(&message(&row(7), "host", 3)).unwrap();
        assert_eq!((&message["id"], &message["kind"]), (&7.into(), &"clone".into()));
        assert_eq!(
            (&message["mac"], &message["first"]),
            (&"00:15:65:f4:f9:e1".into(), &"1970-01-01T00:00:00.000Z".into())
        );
        assert_eq!((&message["agent"], &message["not_sent"]), (&"host".into(), &3.into()));
    }

    #[test]
    fn a_failure_is_said_once_a_minute() {
        let clock = Clock::manual(Timestamp(0));
        let mut pace = Pace::default();
        assert!(pace.may(clock.instant()) && !pace.may(clock.instant()));
        clock.advance(Duration::from_mins(1));
        assert!(pace.may(clock.instant()));
    }

    #[tokio::test]
    async fn a_burst_is_passed_on_then_one_a_second_and_what_finds_no_place_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        std::fs::write(&out, "").unwrap();
        let toml = format!("command = [\"/bin/sh\", \"-c\", \"cat >> {}\"]", out.display());
        let config: AlarmConfig = toml::from_str(&toml).unwrap();
        let clock = Clock::manual(Timestamp(0));
        let mut sinks = JoinSet::new();
        let outlets = outlets(&config, &"host".into(), &clock, &mut sinks);
        let rows: Vec<AlarmRow> = (0..200).map(row).collect();
        tell(&rows, &outlets);
        let passed_on = async |count: usize| loop {
            let text = std::fs::read_to_string(&out).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let lines: Vec<serde_json::Value> = lines.collect();
            if lines.len() >= count {
                return lines;
            }
            tokio::task::yield_now().await;
        };
        let burst = passed_on(10).await;
        assert_eq!((burst.len(), &burst[9]["id"], &burst[0]["not_sent"]), (10, &9.into(), &100.into()));
        clock.advance(SENT_EVERY);
        let next = passed_on(11).await;
        assert_eq!((next.len(), &next[10]["id"], &next[10]["not_sent"]), (11, &10.into(), &0.into()));
    }

    #[tokio::test]
    async fn what_is_raised_becomes_a_row_and_what_cannot_be_written_waits() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("offhook.db").display());
        let (clock, vault) = (Clock::System, crate::store::Vault::with_key([7; 32]));
        let store = Store::open(&url, vault, clock.clone(), crate::clock::Entropy::System).await.unwrap();
        let alarms = Alarms::default();
        let kind = crate::alarm::AlarmKind::Rival;
        let raise =
            || alarms.raise(crate::alarm::Alarm { kind, mac: None, peer: None, text: "x".to_owned() });
        let stopped = CancellationToken::new();
        stopped.cancel();
        let stop = async |store: &Store| {
            let config = AlarmConfig::default();
            keep(store.clone(), alarms.clone(), config, "host".into(), clock.clone(), stopped.clone()).await;
        };
        raise();
        stop(&store).await;
        assert_eq!(store.alarms(false).await.unwrap().len(), 1, "also the last ones before a stop");
        store.close().await;
        raise();
        stop(&store).await;
        assert_eq!(alarms.take().0.len(), 1);
    }

    #[test]
    fn an_outlet_never_waits() {
        let (queue, _waiting) = mpsc::channel(2);
        let outlet = Outlet { queue, dropped: Arc::default() };
        for id in 0..5 {
            outlet.offer(&row(id));
        }
        assert_eq!(outlet.dropped.load(Ordering::Relaxed), 3);
    }
}
