//! Opens the phones' TLS listener and keeps it up to date: certificates for the addresses that this host has now, and what an administrator has written.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::service::Service;
use super::{Opened, Parts};
use crate::config::HostName;
use crate::http::server::HttpServer;
use crate::net::interfaces::Interfaces;
use crate::tls::{Names, Tls, TlsError, TlsOptions};

/// How soon a file that was written is read. Between two of them, a certificate and its key, less than this may pass.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Parts {
    /// Our certificates, if anybody is to see them.
    pub(super) fn tls(&self) -> Option<Result<Tls, TlsError>> {
        let options = &self.options;
        let config = options.config.https.clone();
        config.listen.address().filter(|_| !options.observe)?;
        let host = host();
        let names = names(&self.interfaces, &host, &config.names);
        let (clock, entropy) = (options.clock.clone(), options.entropy.clone());
        let options = TlsOptions { folder: options.places.tls(), config, host, clock, entropy };
        Some(Tls::open(options, &names))
    }
}

impl Opened {
    /// The phones' TLS listener, or why there is none.
    pub(super) fn open_https(&mut self, parts: &Parts, tls: Option<Result<Tls, TlsError>>) {
        let config = &parts.options.config;
        let Some(address) = self.wanted(parts, "HTTPS", config.https.listen, "tcp", "https.listen") else {
            return;
        };
        let port = format!("{address}/tcp");
        let tls = match tls {
            Some(Ok(tls)) => tls,
            Some(Err(error)) => return self.services.push(Service::off("HTTPS", port, no_authority(&error))),
            None => return,
        };
        let (clock, interfaces) = (parts.options.clock.clone(), parts.interfaces.clone());
        let bound = HttpServer::bind(address, config.http.connections_per_address, interfaces, clock);
        match bound.and_then(|server| Ok((server.local_addr()?, server))) {
            Ok((address, server)) => {
                let note = format!("files for phones; {}", tls.summary());
                self.services.push(Service::on("HTTPS", format!("{address}/tcp"), note));
                self.addresses.https = Some(address);
                self.https = Some(server.over_tls(tls));
            }
            Err(error) => self.refuse("HTTPS", address, "tcp", "https.listen", &error),
        }
    }
}

/// Why there is no TLS, and what to do about it.
fn no_authority(error: &TlsError) -> String {
    format!(
        "cannot keep a certificate authority: {error}; make that file readable and its folder writable for this user, or \
         set https.listen to off"
    )
}

/// By which names and addresses this host is asked now.
fn names(interfaces: &Interfaces, host: &str, besides: &[HostName]) -> Names {
    Names::of(&interfaces.current(), host, besides)
}

/// This host's own name.
fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "offhook".to_owned())
}

/// Looks every two seconds, and when the interfaces have changed, until `cancel`.
pub(super) async fn keep(
    tls: Tls,
    mut interfaces: Interfaces,
    besides: Vec<HostName>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = interfaces.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tls.refresh(&names(&interfaces, &host(), &besides));
    }
}
