//! `offhook demo`: the real agent on loopback, with a store that is gone afterwards and the example accounts, and a few
//! simulated phones that come up before one's eyes; then they are switched off and on, and come up again although their
//! passwords may leave no more. Two things are not as in `offhook run`, and it says so: the phones'
//! hardware addresses are declared, because loopback has none, and strangers are adopted from the pool.

mod stage;

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::stage::{Part, Stage};
use super::simulate::{Life, live_on_told, verdict};
use super::{Context, Failure, Outcome, output};
use crate::agent::{Addresses, Agent, AgentOptions};
use crate::release::{Evidence, Grant, State};
use crate::simulate::{Memory, PhoneSpec, Report, Step, Target};

/// The agent writes a batch of sightings, and how far passwords have come, well within this time.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether passwords have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exit after the table instead of going on until Ctrl-C
    #[arg(long)]
    once: bool,
}

pub(crate) async fn run(args: Args, context: Context) -> Outcome {
    let mut stop = StopSignals::listen()?;
    let stage = Stage::build().await?;
    let agent = Agent::start(AgentOptions {
        config: stage.config(),
        places: stage.places(),
        store: stage.store.clone(),
        clock: stage.clock.clone(),
        entropy: stage.entropy.clone(),
        observe: false,
        declared_neighbours: Some(stage.neighbours()),
    });
    let agent = agent.await.map_err(|error| {
        Failure::failed(
            "agent",
            error.to_string(),
            "the demonstration needs free ports on 127.0.0.1 and the interface lo",
        )
    })?;
    let played = tokio::select! {
        played = play(&stage, &agent, context.json) => Some(played),
        () = stop.heard() => None,
    };
    let outcome = match played {
        None => Ok(()),
        Some(Err(failure)) => Err(failure),
        Some(Ok(played)) => {
            let _ = tokio::time::timeout(RECORDED_WITHIN, recorded(&stage, &agent)).await;
            show(&stage, &agent, &played, context.json);
            if !args.once {
                say(
                    context.json,
                    "\nThe agent goes on serving them. Press Ctrl-C to stop; nothing of this is kept.\n",
                );
                stop.heard().await;
            }
            verdict(&played.first, context.json).and_then(|()| verdict(&played.second, context.json))
        }
    };
    agent.stop().await;
    outcome
}

/// What became of the cast, phone by phone.
struct Played {
    /// Out of the box.
    first: Vec<Life>,
    /// Switched off and on, when its passwords may leave no more.
    second: Vec<Life>,
}

/// Lets every phone of the cast live two lives, all at once, against the agent.
async fn play(stage: &Stage, agent: &Agent, json: bool) -> Result<Played, Failure> {
    let addresses = agent.addresses();
    let (Some(http), Some(pnp)) = (addresses.http, addresses.pnp) else {
        let message = "the agent of the demonstration has no HTTP or no PnP service";
        return Err(Failure::failed("service", message, "see the lines above for what it lacked"));
    };
    say(json, &stage.opening(http, pnp));
    let mut memories = vec![Memory::default(); stage.cast.len()];
    let first = act(stage, &mut memories, http, pnp, json).await;
    let _ = tokio::time::timeout(RECORDED_WITHIN, arrived(stage)).await;
    for part in &stage.cast {
        stage.store.lock(part.spec.mac, |_| true).await?;
    }
    say(json, stage::INTERVAL);
    let second = act(stage, &mut memories, http, pnp, json).await;
    Ok(Played { first, second })
}

/// One life of every phone.
async fn act(
    stage: &Stage,
    memories: &mut [Memory],
    http: SocketAddr,
    pnp: SocketAddrV4,
    json: bool,
) -> Vec<Life> {
    let width = stage.cast.iter().map(|part| part.name.chars().count()).max().unwrap_or_default();
    let lives = stage.cast.iter().zip(memories).map(|(part, memory)| {
        let against = if part.typed {
            Target::Url(format!("http://{http}/"))
        } else {
            Target::Multicast { group: *pnp.ip(), port: pnp.port() }
        };
        let spec = PhoneSpec { against, ..part.spec.clone() };
        live_on_told(spec, memory, move |step: &Step| {
            let at = step.at.as_secs_f64();
            say(
                json,
                &format!("{at:7.3}  {:<width$}  {:<9}  {}\n", part.name, step.kind.as_str(), step.text),
            );
        })
    });
    futures_util::future::join_all(lives).await
}

/// Waits until the store knows of every password that left that it has arrived.
async fn arrived(stage: &Stage) {
    let is_underway =
        |grant: &Grant| matches!(grant.state, State::Open(_)) && grant.evidence < Evidence::Acked;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while stage.cast.iter().any(|part| {
        let grants = stage.store.inventory().grants(part.spec.mac);
        grants.is_some_and(|grants| grants.grants.iter().any(is_underway))
    }) {
        ticks.tick().await;
    }
}

/// Waits until the agent's store knows how every phone of the cast came in: it writes what it saw in batches.
async fn recorded(stage: &Stage, agent: &Agent) {
    let mut written = agent.written();
    let knows = |part: &Part| {
        stage.store.inventory().device(part.spec.mac).is_some_and(|device| device.way.is_some())
    };
    while !stage.cast.iter().all(knows) {
        if written.changed().await.is_err() {
            return;
        }
    }
}

/// One row of the table at the end.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    /// How it first came in, as the agent recorded it.
    way: Option<&'static str>,
    #[serde(flatten)]
    life: &'a Life,
    /// Switched off and on, when its passwords may leave no more.
    second_life: &'a Life,
}

/// What the demonstration shows at its end, as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    http: Option<SocketAddr>,
    tftp: Option<SocketAddr>,
    registrar: SocketAddr,
    /// Who the registrar has.
    registered: Vec<String>,
    phones: Vec<Row<'a>>,
}

fn show(stage: &Stage, agent: &Agent, played: &Played, json: bool) {
    let rows: Vec<Row<'_>> = stage
        .cast
        .iter()
        .zip(played.first.iter().zip(&played.second))
        .map(|(part, (life, second_life))| {
            let device = stage.store.inventory().device(part.spec.mac);
            let way = device.and_then(|device| device.way).map(crate::device::Way::as_str);
            Row { name: &part.name, way, life, second_life }
        })
        .collect();
    if json {
        let Addresses { http, tftp, .. } = agent.addresses();
        let registered = stage.registrar.registered();
        return output::value(&Shown {
            http,
            tftp,
            registrar: stage.registrar.address(),
            registered,
            phones: rows,
        });
    }
    let heads = [
        "PHONE",
        "MAC",
        "VENDOR",
        "MODEL",
        "CAME IN",
        "FILES",
        "ACCOUNTS",
        "PROTECTED",
        "REGISTERED",
        "SECOND LIFE",
    ];
    let table: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::print(&format!("\n{}", output::table(&heads, &table)));
}

fn cells(row: &Row<'_>) -> Vec<String> {
    let report = &row.life.report;
    let yes = |fact: bool| if fact { "yes" } else { "no" }.to_owned();
    vec![
        row.name.to_owned(),
        report.mac.to_string(),
        report.vendor.as_str().to_owned(),
        report.model.clone(),
        row.way.unwrap_or("-").to_owned(),
        report.files.iter().filter(|file| file.status == 200).count().to_string(),
        report.accounts.iter().map(|account| account.username.as_str()).collect::<Vec<_>>().join(" "),
        yes(report.web_password),
        yes(report.registered),
        second_life(&row.second_life.report),
    ]
}

/// How many parameters the phone kept that its file no longer named, and how it came up with them.
fn second_life(report: &Report) -> String {
    let end = if report.registered { "registered" } else { "not registered" };
    format!("{} kept, {end}", report.kept.len())
}

/// Text for a person; silent where JSON is wanted.
fn say(json: bool, text: &str) {
    if !json {
        output::print(text);
    }
}

/// Ctrl-C, and what a service manager or a test sends.
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::failed(
                    "signal",
                    format!("cannot listen for signals: {error}"),
                    "check the limits of this user",
                )
            })
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
