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
    /// (RFC 3261 sections 17.2.3 and 8.2.2.2; the last two as far as the phone writes them). Heard on another interface,
    /// or after our address there has changed, it is a new one: the old answer names an address that is no longer ours.
    pub fn new(secret: &[u8; 16], peer: &Peer, subscribe: &Subscribe) -> Self {
        let mut hash = Sha256::new();
        hash.update(secret);
        for end in [peer.phone, peer.ours] {
            hash.update(end.ip().octets());
            hash.update(end.port().to_be_bytes());
        }
        hash.update(peer.interface.to_be_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(call_id: &str, cseq: &str, tag: &str, branch: &str, peer: &Peer) -> Names {
        let message = format!(
            "SUBSCRIBE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:x@y>;tag={tag}\r\n\
             To: <sip:x@y>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\nEvent: ua-profile\r\n\r\n"
        );
        Names::new(&[7; 16], peer, &Subscribe::parse(message.as_bytes()).unwrap())
    }

    fn peer(phone: &str, ours: &str, interface: u32) -> Peer {
        Peer { phone: phone.parse().unwrap(), ours: ours.parse().unwrap(), interface }
    }

    #[test]
    fn the_same_subscribe_gets_the_same_names_and_another_gets_others() {
        let (phone, ours) = ("192.0.2.7:5060", "192.0.2.1:5065");
        let here = peer(phone, ours, 2);
        let first = names("a", "1", "t", "z9hG4bK7", &here);
        assert_eq!(names("a", "1", "t", "z9hG4bK7", &here), first);
        for (what, other) in [
            ("Call-ID", names("b", "1", "t", "z9hG4bK7", &here)),
            ("CSeq", names("a", "2", "t", "z9hG4bK7", &here)),
            ("tag", names("a", "1", "u", "z9hG4bK7", &here)),
            ("branch", names("a", "1", "t", "z9hG4bK8", &here)),
            ("port", names("a", "1", "t", "z9hG4bK7", &peer("192.0.2.7:5061", ours, 2))),
            ("address", names("a", "1", "t", "z9hG4bK7", &peer("192.0.2.8:5060", ours, 2))),
            ("our address", names("a", "1", "t", "z9hG4bK7", &peer(phone, "192.0.2.2:5065", 2))),
            ("interface", names("a", "1", "t", "z9hG4bK7", &peer(phone, ours, 3))),
            ("boundary", names("at", "1", "", "z9hG4bK7", &here)),
        ] {
            assert!(
                other.key != first.key && other.tag != first.tag && other.branch != first.branch,
                "{what}"
            );
        }
    }

    #[test]
    fn only_our_own_branches_are_read() {
        let branch = Branch::new(0x1234);
        assert_eq!(Branch::parse(&branch.to_string()), Some(branch));
        for text in ["z9hG4bK7", "z9hG4bKgggggggggggggggg", "", "0011223344556677"] {
            assert_eq!(Branch::parse(text), None, "{text}");
        }
    }
}
