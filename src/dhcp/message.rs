//! Reads and writes DHCP messages (RFC 2131, 2132, 3396). Never sends, never decides.

mod options;

use std::fmt;
use std::net::Ipv4Addr;

use dhcproto::v4::{HType, Opcode, borrowed};

use self::options::Parts;
pub use self::options::{Listed, Number, Options};
use crate::device::Mac;

/// Options by their numbers in RFC 2132 and the ones it was followed by, as far as they are named in this program.
pub mod code {
    #![expect(missing_docs, reason = "the names are the RFCs' own")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR_SPECIFIC: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const ASKED: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const SIZE_MAX: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const RELAY_AGENT: u8 = 82;
    pub const CAPTIVE_OR_URL: u8 = 114;
    pub const SIP_SERVERS: u8 = 120;
    pub const VENDOR_IDENTIFYING: u8 = 125;
    pub const TFTP_ADDRESSES: u8 = 150;
    pub const PAD: u8 = 0;
    pub const END: u8 = 255;
}

/// The fixed part and the magic cookie.
const FIXED_BYTES: usize = 240;
/// What every client takes without saying so (RFC 2131, section 2: 576 octets with the IP and UDP headers).
const SIZE_TAKEN_BY_ALL: usize = 548;
/// BOOTP's size, which some boot loaders insist on.
const SIZE_MIN: usize = 300;
/// The largest answer, whatever a client says that it takes: one Ethernet frame without fragments.
const SIZE_MAX: usize = 1472;
/// Where `sname` and `file` stand, which options may overflow into (RFC 2132, section 9.3).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const COOKIE: std::ops::Range<usize> = 236..240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const BROADCAST_FLAG: u16 = 0x8000;
/// Options of most messages.
const OPTIONS_USUAL: usize = 16;

/// Why octets are not a message that concerns a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Shorter than the fixed part.
    #[error("{0} octets are no DHCP message")]
    Short(usize),
    /// Plain BOOTP, or something else.
    #[error("there is no DHCP cookie")]
    Cookie,
    /// Neither question nor answer.
    #[error("operation {0} is neither request nor reply")]
    Operation(u8),
    /// Not a hardware address of Ethernet, or one that no host has.
    #[error("hardware type {htype} with {hlen} octets is not the address of an Ethernet host")]
    Hardware {
        /// As written.
        htype: u8,
        /// As written.
        hlen: u8,
    },
    /// Option 53 is missing, or unknown.
    #[error("the message type is missing or unknown")]
    Kind,
}

/// The message type, option 53 (RFC 2132, section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Who has an address for me?
    Discover,
    /// This one.
    Offer,
    /// I take it; or may I go on with it?
    Request,
    /// Somebody else has it.
    Decline,
    /// Yes.
    Ack,
    /// No.
    Nak,
    /// I need it no longer.
    Release,
    /// I have an address and want to know the rest.
    Inform,
    /// Come and renew (RFC 3203).
    ForceRenew,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
        Self::ForceRenew,
    ];

    fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
            Self::ForceRenew => 9,
        }
    }

    /// The RFC's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "DISCOVER",
            Self::Offer => "OFFER",
            Self::Request => "REQUEST",
            Self::Decline => "DECLINE",
            Self::Ack => "ACK",
            Self::Nak => "NAK",
            Self::Release => "RELEASE",
            Self::Inform => "INFORM",
            Self::ForceRenew => "FORCERENEW",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// Whether a server says it (BOOTREPLY).
    pub from_server: bool,
    /// Relays that it went through.
    pub hops: u8,
    /// Which exchange it belongs to.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Whether the client cannot be answered by unicast yet.
    pub broadcast: bool,
    /// The client's address, when it has one.
    pub ciaddr: Ipv4Addr,
    /// The client's address, from the server.
    pub yiaddr: Ipv4Addr,
    /// The next server of the boot.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// Whose exchange it is.
    pub mac: Mac,
    /// The server's name (`sname`), where no options stand in it.
    pub sname: Vec<u8>,
    /// The boot file (`file`), where no options stand in it.
    pub file: Vec<u8>,
    /// Everything else.
    pub options: Options,
}

impl Message {
    /// Reads the payload of one datagram. What is cut off or malformed behind the first good options is left away; a
    /// phone's boot loader is not to be ignored for it.
    pub fn read(bytes: &[u8]) -> Result<Self, MessageError> {
        let fixed = borrowed::Message::new(bytes).map_err(|_| MessageError::Short(bytes.len()))?;
        if bytes.get(COOKIE) != Some(&MAGIC) {
            return Err(MessageError::Cookie);
        }
        let from_server = match fixed.opcode() {
            Opcode::BootRequest => false,
            Opcode::BootReply => true,
            Opcode::Unknown(operation) => return Err(MessageError::Operation(operation)),
        };
        let (htype, hlen) = (fixed.htype(), fixed.hlen());
        // Only now: the library reads as many octets as `hlen` says, past the field and the message.
        let mac = (htype == HType::Eth && hlen == 6)
            .then(|| <[u8; 6]>::try_from(fixed.chaddr()).ok().and_then(Mac::new))
            .flatten()
            .ok_or(MessageError::Hardware { htype: htype.into(), hlen })?;
        let mut parts = Vec::with_capacity(OPTIONS_USUAL);
        parts.extend(Parts(bytes.get(FIXED_BYTES..).unwrap_or_default()));
        // Written in parts it is no number, as any other option.
        let mut overloads = parts.iter().filter(|(code, _)| *code == code::OVERLOAD);
        let overloaded = match (overloads.next(), overloads.next()) {
            (Some((_, [how])), None) => *how,
            _ => 0,
        };
        let mut field = |range, bit: u8| {
            let field = bytes.get(range).unwrap_or_default();
            if overloaded & bit == 0 {
                return until_zero(field).to_vec();
            }
            parts.extend(Parts(field));
            Vec::new()
        };
        // RFC 3396, section 5: `file` comes before `sname`.
        let (file, sname) = (field(FILE, 1), field(SNAME, 2));
        let options = Options::join(parts);
        let kind = options
            .number(code::MESSAGE_TYPE)
            .and_then(|number: u8| Kind::ALL.into_iter().find(|kind| kind.number() == number));
        Ok(Self {
            kind: kind.ok_or(MessageError::Kind)?,
            from_server,
            hops: fixed.hops(),
            xid: fixed.xid(),
            secs: fixed.secs(),
            broadcast: u16::from(fixed.flags()) & BROADCAST_FLAG != 0,
            ciaddr: fixed.ciaddr(),
            yiaddr: fixed.yiaddr(),
            siaddr: fixed.siaddr(),
            giaddr: fixed.giaddr(),
            mac,
            sname,
            file,
            options,
        })
    }

    /// What is read of this draft where these options found no room in it.
    pub fn said(draft: &Draft, left_out: &[u8]) -> Self {
        let kind = [draft.kind.number()];
        let mut written = Vec::with_capacity(OPTIONS_USUAL);
        written.push((code::MESSAGE_TYPE, &kind[..]));
        written.extend(draft.options.iter().filter(|(code, _)| !left_out.contains(code)));
        let options = Options::join(written);
        let Draft { kind, from_server, xid, secs, broadcast, ciaddr, yiaddr, siaddr, giaddr, mac, .. } =
            *draft;
        let (hops, sname, file) = Default::default();
        Self {
            kind,
            from_server,
            hops,
            xid,
            secs,
            broadcast,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            mac,
            sname,
            file,
            options,
        }
    }

    /// How long an answer may be, in octets of UDP payload (option 57 counts the headers, and may lie).
    pub fn size_max(&self) -> usize {
        let said = self.options.number::<u16>(code::SIZE_MAX).map_or(0, usize::from);
        said.saturating_sub(28).clamp(SIZE_TAKEN_BY_ALL, SIZE_MAX)
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|octet| *octet == 0).next().unwrap_or_default()
}

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it says.
    pub kind: Kind,
    /// Whether a server says it.
    pub from_server: bool,
    /// Which exchange it belongs to.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Whether the client cannot be answered by unicast yet.
    pub broadcast: bool,
    /// The client's address, when it has one.
    pub ciaddr: Ipv4Addr,
    /// The client's address, from the server.
    pub yiaddr: Ipv4Addr,
    /// The next server of the boot.
    pub siaddr: Ipv4Addr,
    /// The relay.
    pub giaddr: Ipv4Addr,
    /// Whose exchange it is.
    pub mac: Mac,
    /// Besides the message type, the more important ones first.
    pub options: Listed,
}

/// A message's octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What goes into the datagram.
    pub bytes: Vec<u8>,
    /// Options that found no room, by number.
    pub left_out: Vec<u8>,
}

impl Draft {
    /// A client's question.
    pub fn question(kind: Kind, mac: Mac, xid: u32) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Self {
            kind,
            from_server: false,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: none,
            yiaddr: none,
            siaddr: none,
            giaddr: none,
            mac,
            options: Listed::default(),
        }
    }

    /// A server's answer to this question: the fields that RFC 2131, table 3, has copied.
    pub fn answer(kind: Kind, question: &Message) -> Self {
        Self {
            from_server: true,
            broadcast: question.broadcast,
            giaddr: question.giaddr,
            ..Self::question(kind, question.mac, question.xid)
        }
    }

    /// Writes it, in at most `size_max` octets: the message type first, then the options in their order, each that is
    /// longer than 255 octets in parts, padded to what the oldest boot loaders want. What a relay put in (option 82)
    /// comes last, and room is kept for it (RFC 3046, section 2.1).
    pub fn write(&self, size_max: usize) -> Written {
        let mut bytes = self.fixed();
        let mut left_out = Vec::new();
        let kind = (code::MESSAGE_TYPE, &[self.kind.number()][..]);
        let len = |value: &[u8]| value.len() + 2 * value.len().div_ceil(255).max(1);
        let is_last = |(code, _): &(u8, &[u8])| *code == code::RELAY_AGENT;
        let last = self.options.iter().filter(is_last);
        let mut kept: usize = last.map(|(_, value)| len(value)).sum();
        let room = size_max.clamp(SIZE_MIN, SIZE_MAX) - 1;
        let first = self.options.iter().filter(|option| !is_last(option));
        let last = self.options.iter().filter(is_last);
        for (code, value) in std::iter::once(kind).chain(first).chain(last) {
            if code == code::RELAY_AGENT {
                kept = 0;
            }
            if bytes.len() + len(value) + kept > room {
                left_out.push(code);
                continue;
            }
            if value.is_empty() {
                bytes.extend([code, 0]);
            }
            for part in value.chunks(255) {
                bytes.push(code);
                bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                bytes.extend_from_slice(part);
            }
        }
        bytes.push(code::END);
        if bytes.len() < SIZE_MIN {
            bytes.resize(SIZE_MIN, code::PAD);
        }
        Written { bytes, left_out }
    }

    /// The fixed part and the cookie (RFC 2131, figure 1). The library would write it through a message of its own, octet
    /// by octet; and options that it has no name for with a wrong length beyond 255 octets.
    fn fixed(&self) -> Vec<u8> {
        const ETHERNET: [u8; 2] = [1, 6];
        let operation = if self.from_server { Opcode::BootReply } else { Opcode::BootRequest };
        let flags = if self.broadcast { BROADCAST_FLAG } else { 0 };
        let mut bytes = Vec::with_capacity(SIZE_TAKEN_BY_ALL);
        bytes.push(operation.into());
        bytes.extend(ETHERNET);
        bytes.push(0);
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.mac.octets());
        bytes.resize(COOKIE.start, 0);
        bytes.extend(MAGIC);
        bytes
    }
}

#[cfg(test)]
mod tests;
