//! Both ends of an exchange, and the names by which its messages find each other. Nothing here is sent or read.

use std::fmt;
use std::net::SocketAddrV4;

use sha2::{Digest, Sha256};

use super::message::Subscribe;

/// Both ends of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Where the SUBSCRIBE came from; everything goes there and nowhere else, whatever Via and Contact say.
    pub phone: SocketAddrV4,
    /// Our address on the phone's subnet, and the port where answers to a NOTIFY arrive.
    pub ours: SocketAddrV4,
    /// The interface the phone was heard on.
    pub interface: u32,
}

/// The names we give in one dialog. Made from what identifies a SUBSCRIBE and a secret of this process, so that the
/// same SUBSCRIBE gets the same names again even when it has been forgotten, and nobody else can guess them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Identifies the SUBSCRIBE among all others.
    pub key: u128,
    /// Our tag: in To of the 200, in From of the NOTIFY.
    pub tag: Tag,
    /// The branch of the NOTIFY.
    pub branch: Branch,
}

/// Our tag in a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u64);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What names a NOTIFY and its answer: the branch of our Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Branch(u64);

impl Branch {
    /// What every branch begins with (RFC 3261 section 8.1.1.7).
    const COOKIE: &str = "z9hG4bK";

    /// The branch of this number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Reads a branch that we wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::COOKIE).filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", Self::COOKIE, self.0)
    }
}

impl Names {
    /// A retransmission is a SUBSCRIBE from the same source with the same Call-ID, `CSeq`, From tag and branch
    /// (RFC 3261 sections 17.2.3 and 8.2.2.2; the last two as far as the phone writes them).
    pub fn new(secret: &[u8; 16], phone: SocketAddrV4, subscribe: &Subscribe) -> Self {
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(phone.ip().octets());
        hash.update(phone.port().to_be_bytes());
        hash.update(subscribe.cseq().to_be_bytes());
        let texts = [
            subscribe.call_id(),
            subscribe.from_tag().unwrap_or_default(),
            subscribe.branch().unwrap_or_default(),
        ];
        for text in texts {
            // The length keeps "ab" + "c" and "a" + "bc" apart.
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let number = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        let (key, names) = digest.split_at(16);
        let [tag, branch] = split(number(names));
        Self { key: number(key), tag: Tag(tag), branch: Branch(branch) }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
fn split(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}
