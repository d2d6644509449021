//! What is agreed with a client: its wishes, our caps, and how far its link can be trusted with large datagrams.
//! Never sends, never waits.

use std::time::Duration;

use super::message::{DATA_HEADER_BYTES, Options};

/// Payload octets of a block where none are negotiated (RFC 1350).
const BLKSIZE_DEFAULT: u16 = 512;

/// The largest block that still is one Ethernet frame by IPv4: 1500 - 20 (IP) - 8 (UDP) - 4 (TFTP). A client behind a
/// router gets no more, whatever it asks: fragments are what firewalls and tunnels lose.
pub const BLKSIZE_ROUTED_MAX: u16 = 1468;

/// On our own link nothing stands between, so a client that asks for more than a frame can put it together and gets
/// it: it is its own wish, and with lockstep acknowledgements the only way to be fast. RFC 2348's most.
pub const BLKSIZE_ON_LINK_MAX: u16 = 65_464;

/// Blocks before an acknowledgement. Above 64 there is nothing to gain on a LAN, and 64 is also the most that the
/// kernel segments with one call.
pub const WINDOWSIZE_MAX: u16 = 64;

/// Octets of one window, whatever the two options say: what one acknowledgement may set free (64 full frames).
/// Without it, 56 octets and one ACK buy 65,535 x 65,464 octets.
pub const WINDOW_BYTES_MAX: usize = 64 * 1472;

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On one of our own links.
    OnLink,
    /// Behind a router.
    Routed,
}

/// How a transfer is going to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// Payload octets of a block.
    pub blksize: u16,
    /// Blocks before an acknowledgement.
    pub windowsize: u16,
    /// The client's own timer, where it told it.
    pub timeout: Option<Duration>,
    /// What the acknowledgement of options says; `None` when none were asked, and so none may be sent.
    pub answer: Option<Options>,
}

/// Grants what was asked, up to the caps. Never grants what was not asked (RFC 2347).
pub fn agree(asked: &Options, reach: Reach) -> Agreement {
    let blksize_max = match reach {
        Reach::OnLink => BLKSIZE_ON_LINK_MAX,
        Reach::Routed => BLKSIZE_ROUTED_MAX,
    };
    let blksize = asked.blksize.map(|size| size.min(blksize_max));
    let windowsize = asked.windowsize.map(|blocks| blocks.min(window_of(blksize)));
    let answer = Options { blksize, windowsize, ..*asked };
    Agreement {
        blksize: blksize.unwrap_or(BLKSIZE_DEFAULT),
        windowsize: windowsize.unwrap_or(1),
        timeout: asked.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        answer: (!asked.is_empty()).then_some(answer),
    }
}

/// How many blocks of this size a window may hold.
fn window_of(blksize: Option<u16>) -> u16 {
    let datagram = usize::from(blksize.unwrap_or(BLKSIZE_DEFAULT)) + DATA_HEADER_BYTES;
    u16::try_from(WINDOW_BYTES_MAX / datagram)
        .map_or(WINDOWSIZE_MAX, |blocks| blocks.clamp(1, WINDOWSIZE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &str, asked: Options, reach: Reach, blksize: u16, windowsize: u16) {
        let agreed = agree(&asked, reach);
        assert_eq!((agreed.blksize, agreed.windowsize), (blksize, windowsize), "{what}");
        assert_eq!(agreed.answer.is_none(), asked.is_empty(), "{what}");
        if let Some(answer) = agreed.answer {
            assert_eq!(answer.blksize.is_some(), asked.blksize.is_some(), "{what}");
            assert_eq!(answer.windowsize.is_some(), asked.windowsize.is_some(), "{what}");
        }
    }

    #[test]
    fn a_client_gets_what_it_asked_up_to_the_caps() {
        let none = Options::default();
        let blksize = |size| Options { blksize: Some(size), ..none };
        let window = |size, blocks| Options { windowsize: Some(blocks), ..blksize(size) };
        check("nothing asked", none, Reach::OnLink, 512, 1);
        check("only the size", Options { tsize: true, ..none }, Reach::OnLink, 512, 1);
        check("a frame", blksize(1428), Reach::Routed, 1428, 1);
        check("the least", blksize(8), Reach::OnLink, 8, 1);
        check("more than a frame, on our link", blksize(8192), Reach::OnLink, 8192, 1);
        check("more than a frame, through a router", blksize(8192), Reach::Routed, 1468, 1);
        check("a window", window(1428, 16), Reach::OnLink, 1428, 16);
        check("a huge window", window(1468, 65_535), Reach::OnLink, 1468, 64);
        check("a huge window of huge blocks", window(65_464, 65_535), Reach::OnLink, 65_464, 1);
        check(
            "a window of default blocks",
            Options { windowsize: Some(100), ..none },
            Reach::OnLink,
            512,
            64,
        );
    }
}
