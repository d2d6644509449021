//! ARP as it is on a link: questions and what answers claim, and a wire that asks for many addresses and hears who has
//! them by a packet socket of its own. The kernel's neighbour table learns nothing of what is asked here.

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};
use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::util::MacAddr;
use socket2::{SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frame::{self, step};
use super::sys;
use crate::device::Mac;

/// A question: hardware and protocol type, lengths, operation, four addresses (RFC 826).
const QUESTION_BYTES: usize = 28;
/// The same in an Ethernet frame; the network card adds what is missing to the shortest frame.
const FRAME_BYTES: usize = 14 + QUESTION_BYTES;
/// An answer with what a card or a switch has put behind it.
const FRAME_BYTES_MAX: usize = 128;
/// Questions that are given to the kernel together.
const TOGETHER_MAX: usize = 128;
/// Answers that are taken over together, so that who waits for them is told soon.
const ANSWERS_MAX: usize = 1_024;

/// Who we are on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ourselves {
    /// Our hardware address.
    pub mac: Mac,
    /// Our address.
    pub address: Ipv4Addr,
}

/// What one ARP frame says: this address is at this MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Which address.
    pub address: Ipv4Addr,
    /// Who has it.
    pub owner: Mac,
    /// Which host the frame came from; a host that speaks for itself is its own owner.
    pub sender: Option<Mac>,
    /// An answer to a question, and not a question or an announcement.
    pub is_answer: bool,
}

impl Claim {
    /// `None` for what is no ARP for IPv4 on Ethernet, and for a probe (RFC 5227), which claims nothing.
    pub(super) fn read(frame: &[u8], sender: Option<Mac>) -> Option<Self> {
        let arp = ArpPacket::new(frame)?;
        let fits = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
            && arp.get_protocol_type() == EtherTypes::Ipv4
            && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4);
        let operation = arp.get_operation();
        let known = operation == ArpOperations::Request || operation == ArpOperations::Reply;
        let address = arp.get_sender_proto_addr();
        let owner = Mac::new(arp.get_sender_hw_addr().octets())?;
        (fits && known && !address.is_unspecified()).then_some(Self {
            address,
            owner,
            sender,
            is_answer: operation == ArpOperations::Reply,
        })
    }
}

/// `who has ADDRESS? tell US` (RFC 826).
pub(super) fn question(ourselves: Ourselves, address: Ipv4Addr) -> [u8; QUESTION_BYTES] {
    let mut question = [0; QUESTION_BYTES];
    if let Some(mut arp) = MutableArpPacket::new(&mut question) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperations::Request);
        arp.set_sender_hw_addr(MacAddr::from(ourselves.mac.octets()));
        arp.set_sender_proto_addr(ourselves.address);
        arp.set_target_proto_addr(address);
    }
    question
}

/// A packet socket on one interface's link that asks, and hears the answers that are meant for us.
#[derive(Debug)]
pub struct ArpWire {
    socket: AsyncFd<Socket>,
    ourselves: Ourselves,
}

impl ArpWire {
    /// Opens one. `PermissionDenied` without `CAP_NET_RAW`.
    pub fn open(interface: u32, ourselves: Ourselves) -> io::Result<Self> {
        let (socket, _) = frame::open(Type::RAW, 0, &filter(ourselves.address))?;
        socket.bind(&sys::on_link(interface, EtherTypes::Arp.0, None))?;
        #[expect(deprecated, reason = "sound for a socket that this value owns and never lends out")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, ourselves })
    }

    /// Asks for these addresses, in this order, without waiting: for how many of them. The interface's queue may be full;
    /// the rest is asked for later.
    pub fn ask(&self, addresses: &[Ipv4Addr]) -> io::Result<usize> {
        let mut asked = 0;
        for together in addresses.chunks(TOGETHER_MAX) {
            let sent = match self.send(together) {
                Err(error) if is_full(&error) => 0,
                sent => sent?,
            };
            asked += sent;
            if sent < together.len() {
                break;
            }
        }
        Ok(asked)
    }

    /// Waits for answers, and puts all that are there behind `heard`.
    pub async fn answers(&self, heard: &mut Vec<Claim>) -> io::Result<()> {
        let drain = |socket: &Socket| {
            let (mut buffer, before) = (Vec::with_capacity(FRAME_BYTES_MAX), heard.len());
            while heard.len() - before < ANSWERS_MAX {
                match frame::receive(socket, &mut buffer, FRAME_BYTES_MAX) {
                    Ok(_) => heard.extend(read(&buffer)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && heard.len() > before => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.socket.async_io(Interest::READABLE, drain).await
    }

    fn send(&self, addresses: &[Ipv4Addr]) -> io::Result<usize> {
        let frames: Vec<[u8; FRAME_BYTES]> =
            addresses.iter().map(|address| framed(self.ourselves, *address)).collect();
        let parts: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        // The socket is bound to its link, and the frames name who they are for.
        let nobody: Vec<Option<()>> = vec![None; parts.len()];
        let mut headers = MultiHeaders::<()>::preallocate(parts.len(), None);
        let socket = self.socket.get_ref().as_raw_fd();
        let sent = sendmmsg(socket, &mut headers, &parts, nobody, [], MsgFlags::empty())?;
        Ok(sent.count())
    }
}

/// Whether it is worth trying again a moment later.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}

/// The question as a frame to everybody.
fn framed(ourselves: Ourselves, address: Ipv4Addr) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    if let Some(mut ethernet) = MutableEthernetPacket::new(&mut frame) {
        ethernet.set_destination(MacAddr::broadcast());
        ethernet.set_source(MacAddr::from(ourselves.mac.octets()));
        ethernet.set_ethertype(EtherTypes::Arp);
        ethernet.set_payload(&question(ourselves, address));
    }
    frame
}

/// What a frame claims; `None` for everything but answers.
fn read(frame: &[u8]) -> Option<Claim> {
    let ethernet = EthernetPacket::new(frame)?;
    let sender = Mac::new(ethernet.get_source().octets());
    Claim::read(ethernet.payload(), sender).filter(|claim| claim.is_answer)
}

/// The classic BPF program: ARP answers to this address of ours. It runs on the whole frame, because the socket is raw.
fn filter(ours: Ipv4Addr) -> [SockFilter; 10] {
    use step::{ETHER_TYPE, JUMP_IF_EQUAL, LOAD_HALF, LOAD_WORD};
    const OPERATION: u32 = 14 + 6;
    const TARGET: u32 = 14 + 24;
    let step = SockFilter::new;
    let [kind, another, take, refuse] = frame::ending();
    [
        step(LOAD_WORD, 0, 0, ETHER_TYPE),
        step(JUMP_IF_EQUAL, 0, 7, u32::from(EtherTypes::Arp.0)),
        step(LOAD_HALF, 0, 0, OPERATION),
        step(JUMP_IF_EQUAL, 0, 5, u32::from(ArpOperations::Reply.0)),
        step(LOAD_WORD, 0, 0, TARGET),
        step(JUMP_IF_EQUAL, 0, 3, u32::from(ours)),
        kind,
        another,
        take,
        refuse,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Ourselves {
        let mac = Mac::new([0, 0x15, 0x65, 0, 0, 35]).unwrap();
        Ourselves { mac, address: Ipv4Addr::new(192, 0, 2, 35) }
    }

    #[test]
    fn a_question_reads_as_what_it_is() {
        let wanted = Ipv4Addr::new(192, 0, 2, 7);
        let frame = question(ours(), wanted);
        let said = Claim::read(&frame, Some(ours().mac)).unwrap();
        assert_eq!((said.address, said.owner, said.is_answer), (ours().address, ours().mac, false));
        assert_eq!(ArpPacket::new(&frame).unwrap().get_target_proto_addr(), wanted);
        // As RFC 826 has it, octet by octet.
        assert_eq!(frame[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!((&frame[8..14], &frame[18..24]), (&ours().mac.octets()[..], &[0; 6][..]));
        for cut in 0..QUESTION_BYTES {
            assert_eq!(Claim::read(&frame[..cut], None), None);
        }
    }

    #[test]
    fn a_frame_is_for_everybody_and_only_answers_are_read() {
        let mut frame = framed(ours(), Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!((&frame[..6], &frame[12..14]), (&[0xff; 6][..], &[8, 6][..]));
        assert_eq!(read(&frame), None, "a question claims nothing here");
        frame[21] = 2;
        let claim = read(&frame).unwrap();
        assert_eq!((claim.owner, claim.sender, claim.is_answer), (ours().mac, Some(ours().mac), true));
        for cut in 0..frame.len() {
            assert_eq!(read(&frame[..cut]), None);
        }
    }
}
