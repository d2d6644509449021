//! TFTP messages (RFC 1350) and their options (RFC 2347, 2348, 2349, 7440) as bytes and as values.
//! Never decides whether something is served, and never panics on what the network sends.

/// Octets before a DATA packet's payload: opcode and block number.
pub const DATA_HEADER_BYTES: usize = 4;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// What a client may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// It wants to read a file.
    Read(Read),
    /// It wants to write one; nobody may.
    Write,
    /// It has every block up to this number (modulo 65,536).
    Acknowledgement(u16),
    /// It gives up, and why.
    Error(u16),
}

/// A read request (RRQ).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The name as it was sent; `None` when it is not UTF-8, which no file of ours is called.
    pub filename: Option<String>,
    /// How the client wants the bytes.
    pub mode: Mode,
    /// What it would like to negotiate.
    pub options: Options,
}

/// The transfer mode of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The bytes as they are.
    Octet,
    /// Lines in network form; `mail` and what nobody knows are treated alike.
    Other,
}

/// The options of a request that could be understood; `None` where one was not given or makes no sense.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Payload octets of a block, at least 8; above 65,464 it is taken as that (RFC 2348).
    pub blksize: Option<u16>,
    /// Whether the file's size is asked for (RFC 2349).
    pub tsize: bool,
    /// Seconds between retransmissions, 1-255 (RFC 2349).
    pub timeout: Option<u8>,
    /// Blocks before an acknowledgement, at least 1 (RFC 7440).
    pub windowsize: Option<u16>,
}

impl Options {
    /// Whether nothing is negotiated, so that the transfer begins with the first block.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why bytes are not a message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer octets than the opcode needs.
    #[error("the datagram ends before the message does")]
    Short,
    /// An opcode that a client has no reason to send.
    #[error("opcode {0} is not a client's")]
    Opcode(u16),
    /// A request without a file name or without a mode.
    #[error("the request names no file or no mode")]
    Request,
}

/// The error codes that we send (RFC 1350).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// See the text.
    NotDefined = 0,
    /// No such file, or none for this client: it cannot tell which.
    NotFound = 1,
    /// The client is known, and may not.
    AccessViolation = 2,
    /// Not something this server does.
    IllegalOperation = 4,
    /// No transfer of this client at this port.
    UnknownTransfer = 5,
}

impl TryFrom<&[u8]> for Message {
    type Error = Malformed;

    fn try_from(datagram: &[u8]) -> Result<Self, Malformed> {
        let (opcode, rest) = datagram.split_first_chunk().ok_or(Malformed::Short)?;
        let number = || rest.first_chunk().map(|octets| u16::from_be_bytes(*octets)).ok_or(Malformed::Short);
        match u16::from_be_bytes(*opcode) {
            RRQ => read(rest).map(Self::Read),
            WRQ => Ok(Self::Write),
            ACK => number().map(Self::Acknowledgement),
            ERROR => number().map(Self::Error),
            other => Err(Malformed::Opcode(other)),
        }
    }
}

/// `filename 0 mode 0 (option 0 value 0)*`. A missing last zero is forgiven, as is an option without a value.
fn read(rest: &[u8]) -> Result<Read, Malformed> {
    let mut texts = rest.split(|octet| *octet == 0);
    let filename = texts.next().filter(|name| !name.is_empty()).ok_or(Malformed::Request)?;
    let mode = texts.next().filter(|mode| !mode.is_empty()).ok_or(Malformed::Request)?;
    let mut options = Options::default();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        options.take(name, value);
    }
    let mode = if mode.eq_ignore_ascii_case(b"octet") { Mode::Octet } else { Mode::Other };
    Ok(Read { filename: String::from_utf8(filename.to_vec()).ok(), mode, options })
}

impl Options {
    /// The first value of an option counts; one that is unknown or out of bounds is left out, as RFC 2347 has it.
    fn take(&mut self, name: &[u8], value: &[u8]) {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let word = |most: u16| number.map(|n| u16::try_from(n).map_or(most, |n| n.min(most)));
        if name.eq_ignore_ascii_case(b"blksize") {
            self.blksize = self.blksize.or(word(BLKSIZE_MAX).filter(|size| *size >= BLKSIZE_MIN));
        } else if name.eq_ignore_ascii_case(b"tsize") {
            self.tsize = true;
        } else if name.eq_ignore_ascii_case(b"timeout") {
            let seconds = number.and_then(|n| u8::try_from(n).ok()).filter(|seconds| *seconds > 0);
            self.timeout = self.timeout.or(seconds);
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            self.windowsize = self.windowsize.or(word(u16::MAX).filter(|blocks| *blocks > 0));
        }
    }
}

/// RFC 2348: "valid values range between 8 and 65464 octets, inclusive".
const BLKSIZE_MIN: u16 = 8;
const BLKSIZE_MAX: u16 = 65_464;

/// An option acknowledgement. `size` is the file's, where it was asked for.
pub fn option_acknowledgement(agreed: &Options, size: usize) -> Vec<u8> {
    let mut datagram = OACK.to_be_bytes().to_vec();
    let mut option = |name: &str, value: Option<usize>| {
        if let Some(value) = value {
            datagram.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
    };
    option("blksize", agreed.blksize.map(usize::from));
    option("tsize", agreed.tsize.then_some(size));
    option("timeout", agreed.timeout.map(usize::from));
    option("windowsize", agreed.windowsize.map(usize::from));
    datagram
}

/// Appends a DATA packet.
pub fn push_data(datagrams: &mut Vec<u8>, block: u16, payload: &[u8]) {
    datagrams.extend_from_slice(&DATA.to_be_bytes());
    datagrams.extend_from_slice(&block.to_be_bytes());
    datagrams.extend_from_slice(payload);
}

/// An ERROR packet.
pub fn error(code: ErrorCode, text: &str) -> Vec<u8> {
    let mut datagram = ERROR.to_be_bytes().to_vec();
    datagram.extend_from_slice(&(code as u16).to_be_bytes());
    datagram.extend_from_slice(text.as_bytes());
    datagram.push(0);
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Entropy;

    #[expect(clippy::unnecessary_wraps, reason = "the rows compare with what the parser returns")]
    fn request(filename: &str, mode: Mode, options: Options) -> Result<Message, Malformed> {
        Ok(Message::Read(Read { filename: Some(filename.to_owned()), mode, options }))
    }

    fn check(what: &str, datagram: &[u8], expected: &Result<Message, Malformed>) {
        assert_eq!(Message::try_from(datagram), *expected, "{what}");
    }

    #[test]
    fn a_request_is_read_as_phones_write_it() {
        let plain = Options::default();
        check("plain", b"\0\x01a.cfg\0octet\0", &request("a.cfg", Mode::Octet, plain));
        check("mode in any case", b"\0\x01a.cfg\0OcTeT\0", &request("a.cfg", Mode::Octet, plain));
        check("no last zero", b"\0\x01a.cfg\0octet", &request("a.cfg", Mode::Octet, plain));
        check("netascii", b"\0\x01a.cfg\0netascii\0", &request("a.cfg", Mode::Other, plain));
        let all = Options { blksize: Some(1428), tsize: true, timeout: Some(5), windowsize: Some(16) };
        let datagram = b"\0\x01a.cfg\0octet\0BLKSIZE\x001428\0tsize\x000\0Timeout\x005\0windowsize\x0016\0";
        check("all options", datagram, &request("a.cfg", Mode::Octet, all));
        let name = Read { filename: None, mode: Mode::Octet, options: plain };
        check("a name in Latin-1", b"\0\x01gr\xfcn.cfg\0octet\0", &Ok(Message::Read(name)));
        check("writing", b"\0\x02a.cfg\0octet\0", &Ok(Message::Write));
        check("an acknowledgement", &[0, 4, 1, 2], &Ok(Message::Acknowledgement(0x0102)));
        check("an error", b"\0\x05\0\x08no\0", &Ok(Message::Error(8)));
    }

    #[test]
    fn odd_options_are_left_out_and_never_the_request() {
        let of = |options: &[u8]| {
            let datagram = [b"\0\x01a\0octet\0".as_slice(), options].concat();
            match Message::try_from(datagram.as_slice()) {
                Ok(Message::Read(read)) => read.options,
                other => panic!("{other:?}"),
            }
        };
        let none = Options::default();
        assert_eq!(of(b"blksize\x007\0"), none, "under RFC 2348's least");
        assert_eq!(of(b"blksize\x0099999999999\0").blksize, Some(65_464));
        assert_eq!(of(b"blksize\0 512 \0blksize\x001024\0").blksize, Some(512), "the first counts");
        assert_eq!(of(b"blksize\0-1\0timeout\0soon\0windowsize\x000\0"), none);
        assert_eq!(of(b"timeout\x000\0"), none);
        assert_eq!(of(b"timeout\x00256\0"), none);
        assert_eq!(of(b"multicast\0\0blksize"), none, "unknown, and without a value");
        assert!(of(b"\0\0tsize\0\0").tsize);
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        check("nothing", b"", &Err(Malformed::Short));
        check("one octet", b"\0", &Err(Malformed::Short));
        check("half an acknowledgement", b"\0\x04\0", &Err(Malformed::Short));
        check("data from a client", b"\0\x03\0\x01x", &Err(Malformed::Opcode(3)));
        check("no name", b"\0\x01\0octet\0", &Err(Malformed::Request));
        check("no mode", b"\0\x01a.cfg\0", &Err(Malformed::Request));
    }

    #[test]
    fn answers_are_written_as_the_rfc_draws_them() {
        let agreed = Options { blksize: Some(1468), tsize: true, timeout: None, windowsize: Some(4) };
        let expected = b"\0\x06blksize\x001468\0tsize\x00700\0windowsize\x004\0";
        assert_eq!(option_acknowledgement(&agreed, 700), expected);
        assert_eq!(error(ErrorCode::NotFound, "File not found"), b"\0\x05\0\x01File not found\0");
        let mut datagram = Vec::new();
        push_data(&mut datagram, 258, b"abc");
        assert_eq!(datagram, b"\0\x03\x01\x02abc");
    }

    #[test]
    fn a_million_mutated_packets_are_read_without_a_panic() {
        let whole =
            b"\0\x01001565f4f9e1.cfg\0octet\0blksize\x001428\0tsize\x000\0timeout\x005\0windowsize\x0016\0";
        let entropy = Entropy::seeded(20_261_122);
        for _ in 0..31_250 {
            let noise = entropy.bytes::<96>().unwrap();
            for chances in noise.chunks(3) {
                let mut packet = whole.to_vec();
                let [place, value, cut] = [chances[0], chances[1], chances[2]].map(usize::from);
                packet[place % whole.len()] = u8::try_from(value).unwrap();
                packet[(place + value) % whole.len()] ^= u8::try_from(cut).unwrap();
                packet.truncate(if cut % 4 == 0 { value % whole.len() } else { whole.len() });
                let _ = Message::try_from(packet.as_slice());
            }
        }
    }
}
