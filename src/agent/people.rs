//! Opens the people's listener. It is no service for phones: an agent that has nothing else does not run.

use std::sync::Arc;

use super::service::{self, Service};
use super::{Opened, Parts};
use crate::admin::AdminParts;
use crate::admin::server::AdminServer;
use crate::operate::round::Rounds;
use crate::operate::scan::Scanner;

/// Its name in the port table.
const NAME: &str = "REST";
/// The knob that moves it.
const KEY: &str = "admin.listen";

impl Opened {
    pub(super) fn open_admin(&mut self, parts: &Parts, scanner: Scanner, rounds: Rounds) {
        let options = &parts.options;
        let Some(listen) = options.config.admin.listen.address() else {
            return self.services.push(Service::off(NAME, "-/tcp".to_owned(), format!("{KEY} is off")));
        };
        let port = format!("{listen}/tcp");
        if let Some(objection) = AdminServer::objection(listen) {
            return self.services.push(Service::off(NAME, port, objection));
        }
        let admin = AdminParts {
            config: options.config.clone(),
            store: options.store.clone(),
            catalog: Arc::clone(&parts.catalog),
            site: parts.site(),
            interfaces: parts.interfaces.clone(),
            files: options.places.files(),
            clock: options.clock.clone(),
            poke: options.places.socket(),
            places: options.places.clone(),
            scanner,
            rounds,
        };
        let bound = AdminServer::bind(listen, admin);
        match bound.and_then(|server| Ok((server.local_addr()?, server))) {
            Ok((address, server)) => {
                let note = "for programs of people; tokens: offhook token create";
                self.services.push(Service::on(NAME, format!("{address}/tcp"), note));
                self.addresses.admin = Some(address);
                self.admin = Some(server);
            }
            Err(error) => {
                self.services.push(Service::off(NAME, port, service::refused(&error, listen, "tcp", KEY)));
            }
        }
    }
}
