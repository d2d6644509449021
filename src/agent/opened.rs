//! Every socket of the agent: which could be opened, and why another could not.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Addresses, AgentOptions, OBSERVING, Parts, Service, dhcp, service};
use crate::admin::server::AdminServer;
use crate::config::{Listen, PnpReceive};
use crate::http::server::HttpServer;
use crate::net::interfaces::Table;
use crate::pnp::server::{PnpParts, PnpServer};
use crate::provision::{Desk, Roots};
use crate::register::server::{PORT, RegisterParts, RegisterWatch};
use crate::tftp::server::TftpServer;
use crate::tls::Tls;

/// Every socket that could be opened, and the table of all.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) services: Vec<Service>,
    pub(super) addresses: Addresses,
    pub(super) tls: Option<Tls>,
    pub(super) pnp: Option<PnpServer>,
    pub(super) http: Option<HttpServer>,
    pub(super) https: Option<HttpServer>,
    pub(super) tftp: Option<TftpServer>,
    pub(super) dhcp: Option<dhcp::Dhcp>,
    pub(super) register: Option<RegisterWatch>,
    pub(super) admin: Option<AdminServer>,
}

impl Opened {
    /// PnP comes last, because the port of the files goes into its URLs: without files it has nothing to say.
    pub(super) fn open(parts: &Parts) -> Self {
        let mut opened = Self::default();
        let tls = parts.tls();
        opened.tls = tls.as_ref().and_then(|tls| tls.as_ref().ok()).cloned();
        opened.open_http(parts);
        opened.open_https(parts, tls);
        opened.open_tftp(parts);
        opened.open_pnp(parts);
        opened.services.rotate_right(1);
        opened.open_dhcp(parts);
        opened.open_register(parts);
        opened
    }

    fn open_http(&mut self, parts: &Parts) {
        let config = &parts.options.config.http;
        let Some(address) = self.wanted(parts, "HTTP", config.listen, "tcp", "http.listen") else { return };
        let clock = parts.options.clock.clone();
        let bound =
            HttpServer::bind(address, config.connections_per_address, parts.interfaces.clone(), clock);
        match bound.and_then(|server| Ok((server.local_addr()?, server))) {
            Ok((address, server)) => {
                self.services.push(Service::on("HTTP", format!("{address}/tcp"), "files for phones"));
                self.addresses.http = Some(address);
                self.http = Some(server.offering_authority(self.tls.clone()));
            }
            Err(error) => self.refuse("HTTP", address, "tcp", "http.listen", &error),
        }
    }

    fn open_tftp(&mut self, parts: &Parts) {
        let config = &parts.options.config.tftp;
        let Some(address) = self.wanted(parts, "TFTP", config.listen, "udp", "tftp.listen") else { return };
        let clock = parts.options.clock.clone();
        let bound = TftpServer::bind(address, config.networks.clone(), parts.interfaces.clone(), clock);
        match bound.and_then(|server| Ok((server.local_addr()?, server))) {
            Ok((address, server)) => {
                self.services.push(Service::on("TFTP", format!("{address}/udp"), "files for phones"));
                self.addresses.tftp = Some(address);
                self.tftp = Some(server);
            }
            Err(error) => self.refuse("TFTP", address, "udp", "tftp.listen", &error),
        }
    }

    /// Takes no port: whether phones register is overheard.
    fn open_register(&mut self, parts: &Parts) {
        let options = &parts.options;
        let registrar = options.config.sip.registrar.as_deref().and_then(port_of).unwrap_or(PORT);
        let port = if registrar == PORT { format!("{PORT}/udp") } else { format!("{PORT},{registrar}/udp") };
        if !options.config.sip.watch {
            return self.services.push(Service::off("SIP", port, "sip.watch is false"));
        }
        let opened = RegisterWatch::open(
            RegisterParts {
                interfaces: parts.interfaces.clone(),
                store: options.store.clone(),
                clock: options.clock.clone(),
                sightings: parts.sightings.clone(),
            },
            registrar,
        );
        match opened {
            Ok(watch) => {
                let note = "registrations that pass this host are overheard; nothing is sent";
                self.services.push(Service::on("SIP", port, note));
                self.register = Some(watch);
            }
            Err(error) => {
                self.services.push(Service::off("SIP", port, service::unheard(&error, "sip.watch")));
            }
        }
    }

    fn open_pnp(&mut self, parts: &Parts) {
        let options = &parts.options;
        let config = &options.config.pnp;
        let port = format!("{}:{}/udp", config.group, config.port);
        if !config.enabled {
            return self.services.push(Service::off("PnP", port, "pnp.enabled is false"));
        }
        // Who only observes hands out no URL.
        if self.roots().is_empty() && !options.observe {
            return self.services.push(Service::off(
                "PnP",
                port,
                "there is no service for files to point phones at",
            ));
        }
        let bound = PnpServer::bind(PnpParts {
            config: config.clone(),
            adopt: options.config.adopt.clone(),
            observe: options.observe,
            roots: self.roots(),
            interfaces: parts.interfaces.clone(),
            neighbours: parts.neighbours.clone(),
            store: options.store.clone(),
            catalog: Arc::clone(&parts.catalog),
            clock: options.clock.clone(),
            entropy: options.entropy.clone(),
            sightings: parts.sightings.clone(),
            alarms: parts.alarms.clone(),
        });
        match bound {
            Ok(server) => {
                self.addresses.pnp = Some(server.group());
                let port = format!("{}/udp", server.group());
                self.services.push(Service::on(
                    "PnP",
                    port,
                    pnp_note(&server, &parts.interfaces.current(), options),
                ));
                self.pnp = Some(server);
            }
            Err(error) => self.services.push(Service::off("PnP", port, error.to_string())),
        }
    }

    pub(super) fn roots(&self) -> Roots {
        let Addresses { http, https, tftp, .. } = self.addresses;
        Roots { http, https, tftp }
    }

    /// The address to bind, unless the service is off.
    pub(super) fn wanted(
        &mut self,
        parts: &Parts,
        name: &'static str,
        listen: Listen,
        protocol: &str,
        key: &str,
    ) -> Option<SocketAddr> {
        match listen.address() {
            None => self.services.push(Service::off(name, format!("-/{protocol}"), format!("{key} is off"))),
            Some(address) if parts.options.observe => {
                self.services.push(Service::off(name, format!("{address}/{protocol}"), OBSERVING));
            }
            Some(address) => return Some(address),
        }
        None
    }

    pub(super) fn refuse(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        protocol: &str,
        key: &str,
        error: &io::Error,
    ) {
        let note = service::refused(error, address, protocol, key);
        self.services.push(Service::off(name, format!("{address}/{protocol}"), note));
    }

    pub(super) fn serve(self, desk: Desk, cancel: &CancellationToken) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        if let Some(pnp) = self.pnp {
            serving.spawn(pnp.run(cancel.clone()));
        }
        if let Some(http) = self.http {
            serving.spawn(http.run(desk.clone(), cancel.clone()));
        }
        if let Some(https) = self.https {
            serving.spawn(https.run(desk.clone(), cancel.clone()));
        }
        if let Some(tftp) = self.tftp {
            serving.spawn(tftp.run(desk, cancel.clone()));
        }
        if let Some(dhcp) = self.dhcp {
            dhcp.serve(&mut serving, cancel);
        }
        if let Some(register) = self.register {
            serving.spawn(register.run(cancel.clone()));
        }
        if let Some(admin) = self.admin {
            serving.spawn(admin.run(cancel.clone()));
        }
        serving
    }
}

/// The port in `HOST:PORT`.
fn port_of(registrar: &str) -> Option<u16> {
    registrar.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// Where PnP is heard, and what an administrator should know about it.
fn pnp_note(server: &PnpServer, table: &Table, options: &AgentOptions) -> String {
    let named = |interface: &crate::net::interfaces::Interface| {
        let addresses: Vec<String> =
            interface.addresses.iter().map(|(address, _)| address.to_string()).collect();
        format!("{} ({})", interface.name, addresses.join(", "))
    };
    let heard: Vec<String> = table.interfaces().iter().map(named).collect();
    let mut note = match heard.as_slice() {
        [] => "no usable interface yet; one that comes is joined".to_owned(),
        heard => format!("on {}", heard.join(", ")),
    };
    if options.observe {
        note.push_str("; ");
        note.push_str(OBSERVING);
    } else {
        let _ = write!(note, "; NOTIFYs from port {}", server.reply_port());
    }
    if server.receive() == PnpReceive::Packet {
        note.push_str("; heard by a packet socket");
    }
    if server.is_clamped() {
        service::warn_of_small_buffer("PnP");
    }
    note
}
