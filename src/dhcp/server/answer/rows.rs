//! What changes whether and where it is answered: interfaces that come and go, switches and reservations that commands
//! write, other servers that are looked for and found.

use super::{
    Arc, BTreeMap, Done, Duration, Evidence, FOREIGN_EVERY, HashMap, Input, Instant, Ipv4Addr, LeaseRow,
    Moment, Place, Reservation, SERVER_PORT, Server, Sink, Stand, State, StoreError, SwitchState, Switches,
    TOO_MANY, Up, Worker, debug, house, info, io, kept_here, record, stand_of, warn,
};

/// What was found out on the way is written again for so long; then the rows stay behind what is in memory.
const WRITE_TRIES: u32 = 300;
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Worker {
    /// Takes the interfaces as they are now: a pool that no longer fits stands down, and comes back by itself.
    pub(super) fn follow(&mut self) {
        self.table = self.parts.interfaces.current();
        let named = self.table.interfaces().iter();
        let answering = &self.parts.config.dhcp.interfaces;
        let named = named.filter(|interface| answering.contains(&interface.name));
        self.names = named.map(|interface| (interface.index, interface.name.as_str().into())).collect();
        self.searches.retain(|interface, _| self.names.contains_key(interface));
        self.searched.retain(|interface| self.names.contains_key(interface));
        for at in 0..self.houses.len() {
            self.settle(at);
        }
        let in_use: Vec<&str> = self
            .houses
            .iter()
            .filter(|house| house.place().is_some())
            .map(|house| house.pool.interface.as_str())
            .collect();
        self.sinks.retain(|name, _| in_use.contains(&name.as_str()));
    }

    /// Lets a pool begin, go on or stand down.
    fn settle(&mut self, at: usize) {
        let Some(house) = self.houses.get_mut(at) else { return };
        let found = house::find_place(&house.pool, &self.table);
        if found.as_ref().ok() == house.place().as_ref() && house.place().is_some() {
            return;
        }
        let was_served = house.place().is_some();
        let ready = found.and_then(|place| self.is_ready(at, place).map(|()| place));
        let Some(house) = self.houses.get_mut(at) else { return };
        let (name, range) = (house.pool.interface.clone(), house.pool.range);
        match ready {
            Err(why) => {
                let is_news = !matches!(&house.state, State::Down(known) if *known == why);
                if was_served || is_news {
                    warn!("DHCP gives no leases of {range} on {name}: {why}");
                }
                house.epoch += 1;
                house.state = State::Down(why);
            }
            // Not before it is known how the switch stands.
            Ok(_) if self.switches.is_none() => {}
            Ok(place) => {
                house.epoch += 1;
                house.state = State::Opening(place);
                let (epoch, store) = (house.epoch, self.parts.store.clone());
                self.tasks
                    .spawn(async move { Done::Leases { house: at, epoch, rows: store.leases().await } });
            }
        }
    }

    /// Whether nothing stands in the way at this place.
    fn is_ready(&mut self, at: usize, place: Place) -> Result<(), String> {
        let Some(house) = self.houses.get(at) else { return Ok(()) };
        let (name, config) = (house.pool.interface.clone(), &self.parts.config.dhcp);
        if let Evidence::Indistinct { behind } = self.parts.neighbours.evidence(place.interface)
            && house.pool.relay.is_none()
        {
            return Err(format!(
                "every address there answers with {behind}, so nobody can tell which ones are free; run offhook on the \
                 phones' own link"
            ));
        }
        house.settings(place, config, &self.table, self.overheard.get(&place.interface), (&[], false))?;
        if config.dry_run || self.sinks.contains_key(&name) {
            return Ok(());
        }
        let sink = Sink::hold(&name, SERVER_PORT).map_err(|error| held(&error, &name))?;
        self.sinks.insert(name, Arc::new(sink));
        Ok(())
    }

    /// Its leases were read: it begins.
    pub(super) fn open(
        &mut self,
        at: usize,
        epoch: u64,
        rows: Result<Vec<LeaseRow>, StoreError>,
        now: Instant,
    ) {
        let Some(house) = self.houses.get(at) else { return };
        let (State::Opening(place), true) = (&house.state, house.epoch == epoch) else { return };
        let (place, name) = (*place, house.pool.interface.clone());
        let begun = rows.map_err(|error| format!("its leases cannot be read: {error}")).and_then(|rows| {
            let switches = self.switches.clone().unwrap_or_default();
            let overheard = self.overheard.get(&place.interface);
            let known = (self.reservations.as_slice(), switches.foreign(&name).is_some());
            let settings = house.settings(place, &self.parts.config.dhcp, &self.table, overheard, known)?;
            let moment = Moment { wall: self.parts.clock.now(), boot: self.parts.clock.boot() };
            let records = record::records(rows, &name);
            let stand = stand_of(&switches, &name);
            Server::new(settings, &records, stand, &moment, now).map_err(|error| error.to_string())
        });
        let sink = self.sinks.get(&name).cloned();
        let Some(house) = self.houses.get_mut(at) else { return };
        match begun {
            Err(why) => {
                warn!("DHCP gives no leases of {} on {name}: {why}", house.pool.range);
                house.state = State::Down(why);
            }
            Ok(server) => {
                let is_alone = !house.pool.shared && house.pool.relay.is_none();
                // Nothing at all is sent where it is switched off; whoever switches on has them looked for.
                let is_off = matches!(server.stand(), Stand::Off { .. });
                let is_serving = server.stand() == Stand::Serving;
                let is_searched = is_alone
                    && !is_off
                    && !self.parts.config.dhcp.dry_run
                    && !self.searched.contains(&place.interface);
                let words = if is_serving && is_searched {
                    "they are given as soon as no other server was found".to_owned()
                } else {
                    words(server.stand())
                };
                info!("DHCP leases of {} on {name}: {words}", house.pool.range);
                house.state = State::Up(Box::new(Up { server, place, _sink: sink, sweep: None }));
                if is_searched {
                    self.search(place, &name, is_serving, false);
                }
                if is_serving {
                    self.sweep(at);
                }
            }
        }
    }

    /// Reads how the switches stand, and what is kept for whom.
    pub(super) fn read_rows(&mut self) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            let rows = async { Ok((store.dhcp_switches().await?, store.reservations().await?)) };
            Done::Rows(rows.await)
        });
    }

    pub(super) fn know_rows(&mut self, rows: Result<(Switches, Vec<Reservation>), StoreError>, now: Instant) {
        // With an error nobody can have written either.
        let read = rows.inspect_err(|error| debug!("Cannot read the DHCP switches: {error}"));
        let Ok((switches, reservations)) = read else { return };
        if self.reservations != reservations {
            self.reservations = reservations;
            for house in &mut self.houses {
                if let State::Up(up) = &mut house.state {
                    let kept = kept_here(up.server.settings(), &self.reservations);
                    up.server.handle(Input::Reserved(kept), now);
                }
            }
        }
        let is_first = self.switches.is_none();
        let before = self.switches.replace(switches.clone()).unwrap_or_default();
        if is_first {
            return self.follow();
        }
        let names: Vec<(u32, Arc<str>)> =
            self.names.iter().map(|(index, name)| (*index, Arc::clone(name))).collect();
        for (interface, name) in names {
            let word = |switches: &Switches| switches.of(&name).map(|row| (row.state, row.since));
            if word(&before) != word(&switches) {
                let who = switches.of(&name).map(|row| row.who.clone()).unwrap_or_default();
                self.switched(interface, &name, switches.state(&name), &who, now);
            }
        }
    }

    /// Somebody has set the switch of this interface.
    fn switched(&mut self, interface: u32, name: &str, state: SwitchState, who: &str, now: Instant) {
        info!("DHCP on {name} is switched {} by {who}", state.as_str());
        self.gone_off.remove(&interface);
        self.harm.remove(&interface);
        let mut alone = None;
        for up in self.houses.iter_mut().filter_map(|house| house.on(interface)) {
            let settings = up.server.settings();
            match state {
                SwitchState::Off => up.server.handle(Input::SwitchedOff, now),
                // Written by an agent that has withdrawn; the machine of this one may not have heard why.
                SwitchState::Renew => {}
                SwitchState::On if settings.shared || settings.dry_run || settings.relay.is_some() => {
                    up.server.handle(Input::SwitchedOn, now);
                }
                SwitchState::On => alone = Some(up.place),
            }
        }
        if state == SwitchState::Off {
            // Nothing more of it is sent; it begins anew when somebody switches on.
            self.searches.remove(&interface);
        }
        if let Some(place) = alone {
            self.search(place, name, true, true);
        }
        if state == SwitchState::On {
            for at in 0..self.houses.len() {
                if self.houses.get(at).is_some_and(|house| *house.pool.interface == *name) {
                    self.sweep(at);
                }
            }
        }
    }

    /// A machine says that its pool is served, or no longer.
    pub(super) fn stood(&mut self, stand: Stand, interface: u32, name: &Arc<str>, now: Instant) {
        if stand != Stand::Serving {
            self.houses.iter_mut().filter_map(|house| house.on(interface)).for_each(|up| up.sweep = None);
        }
        match stand {
            Stand::Serving => info!("DHCP on {name}: {}", words(stand)),
            Stand::Off { automatic: false } => info!("DHCP on {name}: {}", words(stand)),
            Stand::Yielding { server } => {
                warn!("DHCP on {name}: {}", words(stand));
                // Whom it looked for is found.
                self.searches.remove(&interface);
                self.note_foreign(interface, name, server, now);
                self.write_switch(
                    name,
                    SwitchState::Renew,
                    format!("the DHCP server {server} answers there"),
                );
            }
            Stand::Off { automatic: true } => {
                warn!("DHCP on {name}: {}", words(stand));
                for up in self.houses.iter_mut().filter_map(|house| house.on(interface)) {
                    if !matches!(up.server.stand(), Stand::Off { .. }) {
                        up.server.handle(Input::SwitchedOff, now);
                    }
                }
                self.write_switch(name, SwitchState::Off, TOO_MANY.to_owned());
            }
        }
    }

    pub(super) fn write_switch(&mut self, name: &Arc<str>, state: SwitchState, why: String) {
        let (store, name) = (self.parts.store.clone(), Arc::clone(name));
        self.tasks.spawn(async move {
            let mut again = tokio::time::interval(WRITE_AGAIN_AFTER);
            for _ in 0..WRITE_TRIES {
                again.tick().await;
                match store.set_dhcp_switch(&name, state, &why).await {
                    Ok(()) => break,
                    Err(error) => debug!("Cannot write the DHCP switch of {name} yet: {error}"),
                }
            }
            Done::Written
        });
    }

    /// Writes down, now and then, that another server is heard where there should be none.
    pub(super) fn note_foreign(&mut self, interface: u32, name: &str, server: Ipv4Addr, now: Instant) {
        let noted = self.noted.get(&interface);
        if noted.is_some_and(|at| now.saturating_duration_since(*at) < FOREIGN_EVERY) {
            return;
        }
        self.noted.insert(interface, now);
        let (store, name) = (self.parts.store.clone(), name.to_owned());
        self.tasks.spawn(async move {
            if let Err(error) = store.note_foreign_dhcp(&name, &server.to_string()).await {
                debug!("Cannot write down the DHCP server {server}: {error}");
            }
            Done::Written
        });
    }

    /// Looks again at what stands in the way, and writes down how it goes.
    pub(super) fn look_again(&mut self) {
        let now = self.parts.clock.instant();
        if self.switches.is_none() {
            self.read_rows();
        }
        for at in 0..self.houses.len() {
            self.settle(at);
        }
        self.search_again();
        self.voice.handle_timeout(&self.names, now);
        self.report();
    }

    fn report(&mut self) {
        let names: HashMap<u32, Arc<str>> = self.names.clone();
        for (interface, name) in names {
            let is_searched = self.searches.contains_key(&interface);
            let own = self.houses.iter().filter(|house| *house.pool.interface == *name);
            let pools: Vec<serde_json::Value> = own.map(|house| house.report(is_searched)).collect();
            let counted = self.voice.report(interface, &name);
            let mut report = BTreeMap::from([("pools", serde_json::Value::from(pools))]);
            report.insert("counted", counted);
            let report = serde_json::json!(report);
            if self.reports.get(&interface) == Some(&report) {
                continue;
            }
            self.reports.insert(interface, report.clone());
            let store = self.parts.store.clone();
            self.tasks.spawn(async move {
                if let Err(error) = store.report_dhcp(&name, &report).await {
                    debug!("Cannot write how DHCP on {name} is doing: {error}");
                }
                Done::Written
            });
        }
    }
}

/// Why the port cannot be had.
fn held(error: &io::Error, name: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "a DHCP server runs on this host (ss -lnp '( sport = :67 )' names it); stop it, or set dhcp.mode = \
             \"inform\""
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted: UDP port 67 needs CAP_NET_BIND_SERVICE; use examples/offhook.service".to_owned()
        }
        _ => format!("cannot hold UDP port 67 on {name}: {error}"),
    }
}

fn words(stand: Stand) -> String {
    match stand {
        Stand::Serving => "they are given".to_owned(),
        Stand::Yielding { server } => format!(
            "the DHCP server {server} answers there, so leases are renewed and nobody else is answered; 15 minutes \
             after it has fallen silent: offhook dhcp on INTERFACE"
        ),
        Stand::Off { automatic: true } => {
            "switched off after three alarms in a minute; offhook alarm list shows them".to_owned()
        }
        Stand::Off { automatic: false } => "switched off; offhook dhcp on INTERFACE".to_owned(),
    }
}
