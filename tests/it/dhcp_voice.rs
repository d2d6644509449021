//! Leases for a voice network that has no DHCP server: a fleet that boots at once, a foreign server that appears, a host
//! that invents phones by the thousand (requirement D8, D13; fault F18).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::agent::{Agent, Setup};
use crate::dhcp_fleet::{Client, Fleet, Flood, Life, Lived, invented_phone, message::OFFER, phones, sheet};
use crate::dhcp_hostile::is_well;
use crate::dhcp_peers::{Kind, Serving, mac_of};
use crate::lab::{self, Host, Lab, PATIENCE};

/// The agent looks for other servers for half a minute before its first lease; phones ask again after 4, 12 and 28 s.
const UNTIL_IT_SERVES: Duration = Duration::from_secs(100);
/// Requirement D8.
const SILENT_WITHIN: Duration = Duration::from_secs(1);
/// A pool of 1,022 addresses.
pub(crate) const CONFIG: &str = "[dhcp]\nmode = \"server\"\ninterfaces = [\"eth0\"]\n\
    [[dhcp.pool]]\ninterface = \"eth0\"\nrange = \"10.20.4.1-10.20.7.254\"\nrouter = \"10.20.0.254\"\ndns = []\n";

/// A voice network whose phones are in the inventory, with an agent that serves by now.
struct Voice<'a> {
    agent: Agent<'a>,
    fleet: Fleet,
    /// Without the first, who has waited until the agent served.
    phones: Vec<Client>,
    first: Lived,
}

impl<'a> Voice<'a> {
    fn new(lab: &Lab, host: &'a Host, count: u32) -> Self {
        let farm = lab.host("farm", "10.20.0.3/16");
        lab.await_cables();
        let mut phones = phones(count + 1);
        let setup = Setup { accounts: sheet(&phones), config: CONFIG.to_owned() };
        let agent = Agent::start(lab, host, &setup);
        let mut fleet = Fleet::on(&farm);
        let first = vec![phones.remove(0)];
        let first = fleet.live(&first, Life::Lease, Duration::ZERO, UNTIL_IT_SERVES).remove(0);
        assert!(first.lease.is_some(), "nobody is served: {}", agent.stop());
        Self { agent, fleet, phones, first }
    }

    /// Everybody of these has an address of its own, and goes on having it.
    fn all_have_leases(&self, lived: &[Lived]) {
        for one in lived {
            assert!(one.lease.is_some() && one.renewed, "{one:?}");
        }
        let all = lived.iter().chain([&self.first]);
        let addresses: BTreeSet<_> = all.filter_map(|one| one.lease).map(|lease| lease.address).collect();
        assert_eq!(addresses.len(), lived.len() + 1, "two phones have the same address");
    }
}

#[test]
fn two_hundred_phones_that_boot_at_once_get_an_address_each() {
    lab::run("dhcp_voice::two_hundred_phones_that_boot_at_once_get_an_address_each", |lab| {
        let host = lab.host("agent", "10.20.0.2/16");
        let mut voice = Voice::new(lab, &host, 200);
        let lived = voice.fleet.live(&voice.phones, Life::Whole, Duration::ZERO, PATIENCE * 2);
        voice.all_have_leases(&lived);
        let resent: u32 = lived.iter().map(|one| one.resent).sum();
        let [half, last] = [0.5, 1.0].map(|share| Lived::quantile(&lived, share));
        println!(
            "200 phones at once: half of them have a lease after {half:?}, all after {last:?}; {resent} asked again"
        );
        for one in &lived {
            let lease = one.lease.unwrap();
            assert!((4..=7).contains(&lease.address.octets()[2]), "{lease:?}");
            let informed = one.from(mac_of(&host)).any(|reply| reply.options.contains_key(&66));
            assert!(informed, "no option 66 for {one:?}");
        }
    });
}

#[test]
fn a_foreign_server_silences_the_agent_within_a_second() {
    lab::run("dhcp_voice::a_foreign_server_silences_the_agent_within_a_second", |lab| {
        if !lab::has("dnsmasq") {
            return;
        }
        let (host, foreign) = (lab.host("agent", "10.20.0.2/16"), lab.host("foreign", "10.20.0.1/16"));
        let mut voice = Voice::new(lab, &host, 50);
        let seen = host.capture();
        let own = mac_of(&host);
        let serving = Serving { network: [10, 20], third: 8, tftp_server: "http://10.20.0.9/" };
        // The phones boot for ten seconds; the foreign server comes when some of them have their leases.
        let (lived, _server) = std::thread::scope(|scope| {
            let (fleet, phones) = (&mut voice.fleet, &voice.phones);
            let booting =
                scope.spawn(|| fleet.live(phones, Life::Whole, Duration::from_secs(10), PATIENCE * 3));
            let of_agent = |packet: &lab::Packet| packet.source_port == 67 && packet.source.octets()[3] == 2;
            seen.expect_count("answers of the agent", 20, of_agent);
            let server = Kind::Dnsmasq.start(lab, &foreign, &serving);
            (booting.join().unwrap(), server)
        });
        voice.all_have_leases(&lived);
        let offers = |wanted: bool| {
            let replies = lived.iter().flat_map(|one| &one.replies).filter(|reply| reply.kind == OFFER);
            replies.filter(move |reply| (reply.sender == own) == wanted).map(|reply| reply.at)
        };
        let first_foreign = offers(false).min().expect("the foreign server offers");
        let last_own = offers(true).max().expect("the agent has offered");
        println!(
            "{} offers of the agent, {} foreign ones; the agent's last came {:?} after the first foreign one",
            offers(true).count(),
            offers(false).count(),
            last_own.checked_duration_since(first_foreign)
        );
        assert!(last_own <= first_foreign + SILENT_WITHIN, "{:?} too late", last_own - first_foreign);
        assert!(offers(false).count() > 10, "most of the phones came after it");
        voice.agent.alarmed("foreign_dhcp");
    });
}

#[test]
fn invented_phones_by_the_thousand_take_nothing_from_the_known() {
    lab::run("dhcp_voice::invented_phones_by_the_thousand_take_nothing_from_the_known", |lab| {
        let (host, attacker) = (lab.host("agent", "10.20.0.2/16"), lab.host("attacker", "10.20.0.66/16"));
        let mut voice = Voice::new(lab, &host, 50);
        let (rate, seconds) = (20_000, 10);
        let flood = Flood::start(&attacker, rate, rate * seconds, invented_phone);
        lab::poll("strangers enough for every address", || (flood.sent() > 3 * 1_022).then_some(()));
        let spread = Duration::from_secs(seconds - 4);
        let lived = voice.fleet.live(&voice.phones, Life::Whole, spread, PATIENCE * 4);
        voice.all_have_leases(&lived);
        let resent: u32 = lived.iter().map(|one| one.resent).sum();
        let [half, last] = [0.5, 1.0].map(|share| Lived::quantile(&lived, share));
        println!(
            "beside {} invented phones: half of 50 have a lease after {half:?}, all after {last:?}; {resent} asked again",
            flood.sent()
        );
        is_well(&mut voice.agent);
    });
}
