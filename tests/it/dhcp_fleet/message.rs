//! DHCP as octets (RFC 2131, 2132), of the tests' and benches' own: no code of the product writes a question or reads an
//! answer here.

use std::net::Ipv4Addr;

/// Option 53.
pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

/// Where the options begin, behind the fixed part and the cookie.
const OPTIONS: usize = 240;
/// BOOTP's size; shorter ones are padded.
const SIZE_MIN: usize = 300;

/// A client's question, as it is written.
#[derive(Clone)]
pub(crate) struct Question(Vec<u8>);

impl Question {
    /// With the broadcast bit, as a client says that has no address yet.
    pub(crate) fn new(kind: u8, mac: [u8; 6], xid: u32) -> Self {
        let mut bytes = vec![0; OPTIONS];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&xid.to_be_bytes());
        bytes[10] = 0x80;
        bytes[28..34].copy_from_slice(&mac);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        Self(bytes).with(53, &[kind])
    }

    /// From a client that has this address and can be answered there.
    pub(crate) fn at(mut self, address: Ipv4Addr) -> Self {
        self.0[10] = 0;
        self.0[12..16].copy_from_slice(&address.octets());
        self
    }

    /// Through a relay, which is answered instead of the client.
    pub(crate) fn through(mut self, relay: Ipv4Addr) -> Self {
        (self.0[3], self.0[10]) = (1, 0);
        self.0[24..28].copy_from_slice(&relay.octets());
        self
    }

    /// With an option, of at most 255 octets.
    pub(crate) fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.0.extend([code, u8::try_from(value.len()).expect("one option")]);
        self.0.extend(value);
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.push(255);
        if self.0.len() < SIZE_MIN {
            self.0.resize(SIZE_MIN, 0);
        }
        self.0
    }
}

/// A server's answer, as it came.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    /// `None` for what is no answer.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() > OPTIONS && bytes[0] == 2 && bytes[236..240] == [99, 130, 83, 99])
            .then_some(Self(bytes))
    }

    pub(crate) fn kind(self) -> u8 {
        self.option(53).and_then(|kind| kind.first().copied()).unwrap_or(0)
    }

    pub(crate) fn xid(self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// The address that the client gets.
    pub(crate) fn yiaddr(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[16], self.0[17], self.0[18], self.0[19])
    }

    pub(crate) fn mac(self) -> [u8; 6] {
        self.0[28..34].try_into().expect("six octets")
    }

    /// All options in their order, as far as they can be read.
    pub(crate) fn options(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = &self.0[OPTIONS..];
        std::iter::from_fn(move || {
            while let [0, behind @ ..] = rest {
                rest = behind;
            }
            let [code, len, behind @ ..] = rest else { return None };
            let (value, behind) = behind.split_at_checked(usize::from(*len)).filter(|_| *code != 255)?;
            rest = behind;
            Some((*code, value))
        })
    }

    pub(crate) fn option(self, wanted: u8) -> Option<&'a [u8]> {
        self.options().find(|(code, _)| *code == wanted).map(|(_, value)| value)
    }

    /// Who answers (option 54).
    pub(crate) fn server(self) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.option(54)?.try_into().ok()?;
        Some(octets.into())
    }
}
