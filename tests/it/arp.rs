//! ARP of the tests' own: frames that no honest host sends, and a farm of phones that answer.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offhook::net::sys::on_link;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Host;

/// The Ethernet type of ARP.
const ARP: u16 = 0x0806;
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A socket that sends whole frames as they are, on `eth0` of the host, and hears all ARP.
pub(crate) fn socket(host: &Host) -> Wire {
    host.inside(|| {
        let protocol = Protocol::from(i32::from(ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("root of the lab");
        let interface = nix::net::if_::if_nametoindex("eth0").expect("every host of the lab has it");
        Wire { socket, interface }
    })
}

/// The wire of one host.
pub(crate) struct Wire {
    socket: Socket,
    interface: u32,
}

impl Wire {
    /// Says that `address` is at `owner`, in a frame that comes from `sender`: an answer that nobody asked for.
    pub(crate) fn claim(&self, sender: &str, owner: &str, address: &str) {
        let (sender, owner) = (octets(sender), octets(owner));
        let address: Ipv4Addr = address.parse().expect("an address");
        self.send(&answer(EVERYBODY, sender, owner, address, EVERYBODY, address));
    }

    fn send(&self, frame: &[u8]) {
        let to = on_link(self.interface, ARP, None);
        self.socket.send_to(frame, &to).expect("the wire takes it");
    }
}

/// Phones that answer ARP for the addresses `first`, `first` + 1, …: each from a MAC of its own. Ends with its handle.
pub(crate) struct Farm {
    over: Arc<AtomicBool>,
}

impl Farm {
    /// Starts to answer on `eth0` of the host, for `count` addresses.
    pub(crate) fn start(host: &Host, first: Ipv4Addr, count: u32) -> Self {
        let wire = socket(host);
        wire.socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout that is not zero");
        let _ = wire.socket.set_recv_buffer_size(16 << 20);
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        std::thread::spawn(move || {
            let mut frame = [0; 128];
            while !ends.load(Ordering::Relaxed) {
                let Ok(length) = std::io::Read::read(&mut &wire.socket, &mut frame) else { continue };
                let Some(question) = frame.get(..length).filter(|frame| frame.len() >= 42) else { continue };
                let at = |from: usize| <[u8; 4]>::try_from(&question[from..from + 4]).unwrap();
                let wanted = Ipv4Addr::from(at(38));
                let number = u32::from(wanted).wrapping_sub(u32::from(first));
                if question[21] == 1 && number < count {
                    let mac = octets(&mac(number));
                    let asker = <[u8; 6]>::try_from(&question[22..28]).unwrap();
                    wire.send(&answer(asker, mac, mac, wanted, asker, at(28).into()));
                }
            }
        });
        Self { over }
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The MAC of the phone of this number.
pub(crate) fn mac(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("00:15:65:{a:02x}:{b:02x}:{c:02x}")
}

fn answer(
    to: [u8; 6],
    from: [u8; 6],
    owner: [u8; 6],
    address: Ipv4Addr,
    asker: [u8; 6],
    asking: Ipv4Addr,
) -> Vec<u8> {
    let parts: [&[u8]; 8] = [
        &to,
        &from,
        &ARP.to_be_bytes(),
        &[0, 1, 8, 0, 6, 4, 0, 2],
        &owner,
        &address.octets(),
        &asker,
        &asking.octets(),
    ];
    parts.concat()
}

fn octets(mac: &str) -> [u8; 6] {
    let octets: Vec<u8> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}
