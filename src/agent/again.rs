//! Somebody at a phone wants it to fetch its settings once more: the phone is told so, as an operator would tell it. It
//! is written down before anything leaves, and no password is armed by it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Parts;
use crate::clock::Clock;
use crate::device::{Channel, Device, Identity, Sighting, Step};
use crate::net::interfaces::Interfaces;
use crate::operate::Failure;
use crate::operate::push::{Fate, Round, Wish};
use crate::profile::{Catalog, Told};
use crate::provision::ProvisionAgain;
use crate::push::decide::{Rate, TIMER_F, Way, aim};
use crate::push::server::{Pace, Parts as PushParts};
use crate::store::Store;

/// Phones that are told at a time; each may take half a minute to say nothing.
const TELLING_MAX: usize = 16;

/// Tells phones whose people asked for it.
#[derive(Clone)]
pub(super) struct Teller {
    store: Store,
    catalog: Arc<Catalog>,
    clock: Clock,
    interfaces: Interfaces,
    push: PushParts,
    registrar: Option<String>,
}

impl Teller {
    pub(super) fn of(parts: &Parts) -> Self {
        let options = &parts.options;
        Self {
            store: options.store.clone(),
            catalog: Arc::clone(&parts.catalog),
            clock: options.clock.clone(),
            interfaces: parts.interfaces.clone(),
            push: PushParts {
                interfaces: parts.interfaces.clone(),
                neighbours: parts.neighbours.clone(),
                clock: options.clock.clone(),
                entropy: options.entropy.clone(),
            },
            registrar: options.config.sip.registrar.clone(),
        }
    }

    /// Carries out wishes until it is cancelled.
    pub(super) async fn run(self, mut wished: mpsc::Receiver<ProvisionAgain>, cancel: CancellationToken) {
        let mut telling = JoinSet::new();
        while let Some(Some(wish)) = cancel.run_until_cancelled(wished.recv()).await {
            if telling.len() >= TELLING_MAX {
                telling.join_next().await;
            }
            let teller = self.clone();
            telling.spawn(async move { teller.carry_out(wish).await });
            while telling.try_join_next().is_some() {}
        }
        telling.shutdown().await;
    }

    async fn carry_out(&self, wish: ProvisionAgain) {
        let mac = wish.mac;
        let Some(device) = self.store.inventory().device(mac) else { return };
        if let Err(error) = self.tell(&device, wish).await {
            warn!(device.mac = %mac, "Cannot tell {mac} to fetch its settings, as somebody at it wants: {}", error.message);
        }
    }

    async fn tell(&self, device: &Arc<Device>, wish: ProvisionAgain) -> Result<(), Failure> {
        let ProvisionAgain { mac, peer, channel } = wish;
        let asked = self.moment(device, wish, channel, Step::Asked, "asked in its menu for its settings");
        self.store.told(&asked, "asked_again", &json!({ "peer": peer.to_string() })).await?;
        // Behind a router it hears only its registrar.
        let is_here = aim(peer, &self.interfaces.current()).is_ok();
        let way = if is_here { Way::Phone } else { Way::Pbx };
        let told = Wish { told: Told::Resync, way, registrar: self.registrar.as_deref() };
        let mut round = Round::plan(&self.store, &self.catalog, std::slice::from_ref(device), told).await?;
        let pace = Pace { rate: Rate::default(), patience: TIMER_F };
        round.carry_out(&self.store, self.push.clone(), pace, Duration::ZERO, |_| {}).await?;
        let Some(row) = round.rows.first() else { return Ok(()) };
        if row.result == Fate::NotSent {
            let outcome = format!("could not be told to fetch its settings: {}", row.message);
            let moment = self.moment(device, wish, Channel::Push, Step::Silent, &outcome);
            self.store.note(&[moment]).await?;
        }
        info!(device.mac = %mac, "Somebody at {mac} asked for its settings: {}", row.message);
        Ok(())
    }

    fn moment(
        &self,
        device: &Device,
        wish: ProvisionAgain,
        channel: Channel,
        step: Step,
        outcome: &str,
    ) -> Sighting {
        let (vendor, model) = (device.vendor.clone(), device.model.clone());
        let identity = Identity { mac: Some(device.mac), vendor, model, firmware: None };
        let (at, detail) = (self.clock.now(), serde_json::Value::Null);
        Sighting { identity, addr: wish.peer, channel, at, step, outcome: outcome.to_owned(), detail }
    }
}
