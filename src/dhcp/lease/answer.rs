//! What stands in an OFFER, an ACK and a NAK, and where it goes (RFC 2131, sections 4.1 and 4.3.1, table 3).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::Packet;
use super::super::decide;
use super::super::message::{Draft, Kind, Listed, Message, code};
use super::super::reply::{Because, Destination, Reply};
use super::settings::{LEASE_MIN, Settings};
use super::{Guest, Lease, Server};

/// What a NAK tells whoever reads a capture.
const START_ANEW: &[u8] = b"this address is not yours here";

impl Server {
    pub(super) fn offer(&self, packet: &Packet, guest: Guest<'_>, address: Ipv4Addr) -> Reply {
        let options = self.options(&packet.message, guest, self.duration(&packet.message));
        self.reply(Kind::Offer, packet, address, options, Because::Discover)
    }

    /// The lease of this address, and its ACK.
    pub(super) fn ack(
        &self,
        packet: &Packet,
        guest: Guest<'_>,
        address: Ipv4Addr,
        because: Because,
    ) -> (Lease, Reply) {
        let message = &packet.message;
        let duration = self.duration(message);
        let lease = Lease {
            address,
            mac: message.mac,
            client_id: message.options.get(code::CLIENT_ID).map(<[u8]>::to_vec),
            host_name: message.options.text(code::HOST_NAME),
            vendor_class: message.options.text(code::VENDOR_CLASS),
            duration,
        };
        let options = self.options(message, guest, duration);
        let mut reply = self.reply(Kind::Ack, packet, address, options, because);
        reply.draft.ciaddr = message.ciaddr;
        (lease, reply)
    }

    /// An OFFER of nothing: it says that this server is here.
    pub(super) fn presence(&self, packet: &Packet) -> Reply {
        let reply = self.reply(Kind::Offer, packet, Ipv4Addr::UNSPECIFIED, self.named(), Because::Search);
        Reply { to: Destination::Broadcast, ..reply }
    }

    pub(super) fn nak(&self, packet: &Packet, because: Because) -> Reply {
        let none = Ipv4Addr::UNSPECIFIED;
        let reply = self.reply(Kind::Nak, packet, none, echoed(&packet.message, self.named()), because);
        refusal(&reply)
    }

    fn reply(
        &self,
        kind: Kind,
        packet: &Packet,
        address: Ipv4Addr,
        options: Listed,
        because: Because,
    ) -> Reply {
        let message = &packet.message;
        Reply {
            interface: packet.interface,
            from: self.settings.address,
            to: self.destination(packet, address),
            draft: Draft { yiaddr: address, options, ..Draft::answer(kind, message) },
            size_max: message.size_max(),
            because,
        }
    }

    /// RFC 2131, section 4.1: through the relay; else to the address that the client has; else to everybody where it
    /// says that it cannot be reached otherwise; else to the address that it shall have, by its hardware address.
    fn destination(&self, packet: &Packet, address: Ipv4Addr) -> Destination {
        let Message { giaddr, ciaddr, mac, broadcast, kind, .. } = packet.message;
        if !giaddr.is_unspecified() {
            Destination::Relay { address: giaddr, via: packet.sender }
        } else if kind == Kind::Request && !ciaddr.is_unspecified() {
            let router = packet.sender.filter(|_| self.settings.relay.is_some());
            Destination::Client { mac: router.unwrap_or(mac), address: ciaddr }
        } else if broadcast {
            Destination::Broadcast
        } else {
            Destination::Client { mac, address }
        }
    }

    /// As long as the client wants and the configuration allows; in a shared network not longer than the other server's
    /// leases, because some phones take the longest of all.
    fn duration(&self, message: &Message) -> Duration {
        let asked = message.options.number::<u32>(code::LEASE_TIME);
        let asked = asked.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into()));
        let duration = asked.clamp(LEASE_MIN, self.settings.lease);
        let foreign = self.settings.foreign_lease.filter(|_| self.settings.shared);
        foreign.map_or(duration, |foreign| duration.min(foreign))
    }

    /// The lease and the mask always; of the rest what the client asked for, or all of the network's where it does not
    /// say. The more important ones come first: a small client may not take them all.
    fn options(&self, message: &Message, guest: Guest<'_>, duration: Duration) -> Listed {
        let seconds = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let mut options = self.named();
        options.extend([
            (code::LEASE_TIME, seconds.to_be_bytes()),
            (code::SUBNET_MASK, self.settings.mask().octets()),
            (code::RENEWAL_TIME, (seconds / 2).to_be_bytes()),
            // 0.875 of it.
            (code::REBINDING_TIME, (seconds - seconds / 8).to_be_bytes()),
        ]);
        let asked = message.options.asked();
        let is_asked = |(code, _): &&(u8, Vec<u8>)| asked.is_empty() || asked.contains(code);
        options.extend(self.network.iter().filter(is_asked).map(|(code, value)| (*code, value)));
        options.extend(decide::known(message, guest.values));
        echoed(message, options)
    }

    /// As which server it answers, and nothing else yet.
    fn named(&self) -> Listed {
        let mut options = Listed::new();
        options.push(code::SERVER, &self.settings.address.octets());
        options
    }
}

/// What the administrator says about the network; nothing of it is ever made up.
pub(super) fn network(settings: &Settings) -> Vec<(u8, Vec<u8>)> {
    let addresses = |addresses: &[Ipv4Addr]| -> Vec<u8> {
        addresses.iter().flat_map(std::net::Ipv4Addr::octets).collect()
    };
    let domain = settings.domain.as_ref().map(|domain| domain.as_bytes().to_vec());
    [
        (code::ROUTER, addresses(settings.router.as_slice())),
        (code::DNS, addresses(&settings.dns)),
        (code::DOMAIN_NAME, domain.unwrap_or_default()),
        (code::BROADCAST, addresses(&[settings.prefix.last()])),
        (code::NTP, addresses(&settings.ntp)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// The NAK in place of an ACK: to everybody, because the client must not use the address that it has (RFC 2131,
/// section 4.3.2), and a relay is told the same.
pub(super) fn refusal(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    let said = [(code::MESSAGE, START_ANEW)];
    let named = reply.draft.options.get(code::SERVER).map(|server| (code::SERVER, server));
    let kept =
        reply.draft.options.iter().filter(|(code, _)| [code::CLIENT_ID, code::RELAY_AGENT].contains(code));
    reply.draft.options = named.into_iter().chain(said).chain(kept).collect();
    reply.draft.kind = Kind::Nak;
    (reply.draft.yiaddr, reply.draft.ciaddr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
    match reply.to {
        Destination::Relay { .. } => reply.draft.broadcast = true,
        Destination::Client { .. } | Destination::Broadcast => reply.to = Destination::Broadcast,
    }
    reply
}

/// The client's own identifier goes back to it (RFC 6842), and to the relay what it put in (RFC 3046, section 2.2).
fn echoed(message: &Message, mut options: Listed) -> Listed {
    let is_relayed = !message.giaddr.is_unspecified();
    let agent = message.options.get(code::RELAY_AGENT).filter(|_| is_relayed);
    let id = message.options.get(code::CLIENT_ID);
    options.extend(id.map(|id| (code::CLIENT_ID, id)));
    options.extend(agent.map(|agent| (code::RELAY_AGENT, agent)));
    options
}
