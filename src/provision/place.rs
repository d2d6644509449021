//! Where the agent is, as DHCP tells it to the phones of one network.

use std::net::Ipv4Addr;

use super::{Root, Roots, listens};
use crate::config::Config;
use crate::profile::DhcpPlace;

impl Roots {
    /// The services as they are configured.
    pub fn of(config: &Config) -> Self {
        Self {
            http: config.http.listen.address(),
            https: config.https.listen.address(),
            tftp: config.tftp.listen.address(),
        }
    }

    /// What DHCP has to say to phones that see this agent at `host`.
    pub fn dhcp_place(self, host: Ipv4Addr, config: &Config) -> DhcpPlace {
        let here = |bound: &std::net::SocketAddr| listens(*bound, host.into());
        let url = |root: Root| root.url(host.into());
        DhcpPlace {
            base_http: self.http.filter(here).map(|bound| url(Root::Http(bound.port()))),
            base_tftp: self.tftp.filter(here).map(|bound| url(Root::Tftp(bound.port()))),
            vlan: config.site.vlan,
            vlan_priority: config.site.vlan_priority,
            registrar: config.sip.registrar.clone(),
            ..DhcpPlace::at(host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_what_listens_there() {
        let host = Ipv4Addr::new(192, 0, 2, 1);
        let config = Config::default();
        let place = Roots::of(&config).dhcp_place(host, &config);
        assert_eq!(place.base_http.as_deref(), Some("http://192.0.2.1:8480/"));
        assert_eq!(place.base_tftp.as_deref(), Some("tftp://192.0.2.1/"));
        let elsewhere = Roots { http: Some(([127, 0, 0, 1], 8480).into()), ..Roots::default() };
        let place = elsewhere.dhcp_place(host, &config);
        assert_eq!((place.base_http, place.base_tftp), (None, None));
    }
}
