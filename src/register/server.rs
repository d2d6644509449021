//! The shell around it: a packet socket beside whoever has the port, and sightings of the phones of the inventory.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::decide::{News, Watch, is_about_registration};
use crate::clock::Clock;
use crate::device::{Channel, Identity, Sighting};
use crate::net::interfaces::Interfaces;
use crate::net::wire::{Frame, Wire};
use crate::provision::Heard;
use crate::store::Store;

/// The usual port of SIP (RFC 3261, 19.1.2).
pub const PORT: u16 = 5060;
/// How often it is looked for registrars that do not answer.
const TICK: Duration = Duration::from_secs(4);
/// How long a socket that only fails is left alone.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// What the service needs from its agent.
pub struct RegisterParts {
    /// The interfaces in use, as they come and go.
    pub interfaces: Interfaces,
    /// The inventory.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Where sightings go, to be written in batches.
    pub sightings: mpsc::Sender<Heard>,
}

/// The service, opened and not yet running.
pub struct RegisterWatch {
    parts: RegisterParts,
    wire: Wire,
}

impl RegisterWatch {
    /// Opens the packet socket for the usual port and the registrar's. `PermissionDenied` without `CAP_NET_RAW`. Must be
    /// called inside the runtime.
    pub fn open(parts: RegisterParts, registrar: u16) -> io::Result<Self> {
        Ok(Self { parts, wire: Wire::open([PORT, registrar])? })
    }

    /// Hears until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.hear()).await;
    }

    async fn hear(self) {
        let Self { parts, wire } = self;
        let mut watch = Watch::default();
        let mut buffer = Vec::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            let frame = tokio::select! {
                frame = wire.recv(&mut buffer) => frame,
                _ = tick.tick() => {
                    for news in watch.handle_timeout(parts.clock.instant()) {
                        parts.record(news);
                    }
                    continue;
                }
            };
            match frame {
                Ok(frame) if is_about_registration(&buffer) => {
                    let phone = parts.phone_behind(&frame);
                    let now = parts.clock.instant();
                    if let Some(news) = watch.hear(&buffer, phone, frame.from, frame.to, now) {
                        parts.record(news);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    debug!("Cannot read from the packet socket for SIP: {error}");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
}

impl RegisterParts {
    /// The phone of the inventory that put a frame on one of our links.
    fn phone_behind(&self, frame: &Frame) -> Option<crate::device::Mac> {
        let table = self.interfaces.current();
        let is_ours = table.interfaces().iter().any(|interface| interface.index == frame.interface);
        let sender = frame.sender.filter(|_| is_ours && !frame.is_own_hosts)?;
        self.store.inventory().device(sender).map(|device| device.mac)
    }

    fn record(&self, news: News) {
        let News { phone, from, step, outcome } = news;
        info!(device.mac = %phone, "{phone}: {outcome}");
        let sighting = Sighting {
            identity: Identity { mac: Some(phone), ..Identity::default() },
            addr: IpAddr::V4(*from.ip()),
            channel: Channel::Sip,
            at: self.clock.now(),
            step,
            outcome,
            detail: serde_json::Value::Null,
        };
        if self.sightings.try_send(Heard { sighting, pending: false }).is_err() {
            debug!("Nobody writes down what phones do");
        }
    }
}
