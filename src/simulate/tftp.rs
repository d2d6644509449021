//! A phone's TFTP client: read requests in octet mode (RFC 1350) with block size, size and window options (RFC 2348, 2349,
//! 7440). Written for the simulator, and used for nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::fetch::{FILE_BYTES_MAX, Fetched};
use super::url::{Url, shorten};

/// What a phone asks for; as much as fits into an Ethernet frame.
const BLOCK_BYTES: usize = 1428;
/// RFC 1350's own size, where the server knows no options.
const BLOCK_BYTES_PLAIN: usize = 512;
/// Blocks between two acknowledgements.
const WINDOW: u16 = 4;
/// Before the last packet is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(700);
/// How long a repeated last block is still answered.
const DALLY: Duration = Duration::from_secs(3);
/// Then the phone gives up.
const RETRIES_MAX: u32 = 5;

/// Asks for a file from this address. An ERROR is an answer; the error says in words why there is none.
pub(super) async fn get(url: &Url, from: Ipv4Addr) -> Result<Fetched, String> {
    let to = url.resolve().await?;
    let cannot = |error: std::io::Error| format!("cannot talk to {to}: {error}");
    let socket = UdpSocket::bind((from, 0)).await.map_err(cannot)?;
    let mut transfer = Transfer::new(url.path.trim_start_matches('/'));
    let mut server = SocketAddr::from(to);
    let mut settled = false;
    let mut buffer = vec![0; BLOCK_BYTES + 4];
    let mut retries = 0;
    socket.send_to(&transfer.last_sent, server).await.map_err(cannot)?;
    loop {
        let Ok(received) = tokio::time::timeout(RETRY_AFTER, socket.recv_from(&mut buffer)).await else {
            retries += 1;
            if retries > RETRIES_MAX {
                return Err("no answer".to_owned());
            }
            socket.send_to(&transfer.last_sent, server).await.map_err(cannot)?;
            continue;
        };
        let (length, sender) = received.map_err(cannot)?;
        if settled && sender != server {
            let _ = socket.send_to(&error_packet(5, "unknown transfer ID"), sender).await;
            continue;
        }
        if sender.ip() != server.ip() {
            return Err(format!("answered from {}, not from {}", sender.ip(), server.ip()));
        }
        match transfer.hear(buffer.get(..length).unwrap_or_default()) {
            Heard::Nothing => continue,
            Heard::Error(status, detail) => return Ok(Fetched { status, detail, body: Vec::new() }),
            Heard::Broken(reason) => {
                let _ = socket.send_to(&error_packet(4, "not understood"), sender).await;
                return Err(reason.to_owned());
            }
            Heard::More => {}
            Heard::Acknowledge => {
                socket.send_to(&transfer.last_sent, sender).await.map_err(cannot)?;
            }
            Heard::Done => {
                socket.send_to(&transfer.last_sent, sender).await.map_err(cannot)?;
                tokio::spawn(dally(socket, sender, transfer.last_sent));
                return Ok(Fetched { status: 200, detail: String::new(), body: transfer.body });
            }
        }
        (server, settled, retries) = (sender, true, 0);
    }
}

/// Says again that the file is whole, should the server not have heard it (RFC 1350 6).
async fn dally(socket: UdpSocket, server: SocketAddr, acknowledgement: Vec<u8>) {
    let mut packet = [0; 4];
    let answer_repetitions = async {
        while let Ok((_, sender)) = socket.recv_from(&mut packet).await {
            if sender == server && socket.send_to(&acknowledgement, server).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DALLY, answer_repetitions).await;
}

/// What a packet means for the transfer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not ours, or heard before.
    Nothing,
    /// Within a window.
    More,
    /// `last_sent` is to be sent.
    Acknowledge,
    /// `last_sent` is to be sent, and the file is whole.
    Done,
    /// The server says no: status as in a report, and its words.
    Error(u16, String),
    /// It makes no sense.
    Broken(&'static str),
}

/// The reading side of one transfer. Never sends, never waits.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) last_sent: Vec<u8>,
    pub(super) body: Vec<u8>,
    block_bytes: usize,
    window: u16,
    /// The last block that came in order.
    block: u16,
    in_window: u16,
    size: Option<usize>,
    started: bool,
}

impl Transfer {
    /// The request for this file.
    pub(super) fn new(name: &str) -> Self {
        let (block_bytes, window) = (BLOCK_BYTES.to_string(), WINDOW.to_string());
        let mut request = vec![0, 1];
        for text in [name, "octet", "tsize", "0", "blksize", &block_bytes, "windowsize", &window] {
            request.extend(text.bytes().filter(|byte| *byte != 0));
            request.push(0);
        }
        Self {
            last_sent: request,
            body: Vec::new(),
            block_bytes: BLOCK_BYTES_PLAIN,
            window: 1,
            block: 0,
            in_window: 0,
            size: None,
            started: false,
        }
    }

    /// Takes in one packet.
    pub(super) fn hear(&mut self, packet: &[u8]) -> Heard {
        match packet {
            [0, 3, high, low, data @ ..] => self.hear_data(u16::from_be_bytes([*high, *low]), data),
            [0, 5, high, low, text @ ..] => hear_error(u16::from_be_bytes([*high, *low]), text),
            [0, 6, options @ ..] => self.hear_options(options),
            _ => Heard::Broken("a packet that is not TFTP's"),
        }
    }

    fn hear_options(&mut self, options: &[u8]) -> Heard {
        if self.started {
            return if self.body.is_empty() { Heard::Acknowledge } else { Heard::Nothing };
        }
        let mut texts = options.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            let Ok(value) = value.parse::<usize>() else {
                return Heard::Broken("an option that is no number");
            };
            match name.to_ascii_lowercase().as_str() {
                "blksize" if (8..=BLOCK_BYTES).contains(&value) => self.block_bytes = value,
                "windowsize" if (1..=usize::from(WINDOW)).contains(&value) => {
                    self.window = u16::try_from(value).unwrap_or(1);
                }
                "tsize" if value <= FILE_BYTES_MAX => self.size = Some(value),
                "tsize" => return Heard::Broken("a file larger than a phone takes"),
                _ => return Heard::Broken("an option that was not asked for"),
            }
        }
        self.started = true;
        self.acknowledge()
    }

    fn hear_data(&mut self, block: u16, data: &[u8]) -> Heard {
        self.started = true;
        if block != self.block.wrapping_add(1) {
            // A gap within a window: say how far it went (RFC 7440 4). A block heard before is dropped, or the two sides
            // would double every packet from here on.
            let ahead = block.wrapping_sub(self.block);
            return if ahead > 1 && ahead <= self.window { self.acknowledge() } else { Heard::Nothing };
        }
        if data.len() > self.block_bytes {
            return Heard::Broken("a block longer than agreed");
        }
        if self.body.len() + data.len() > FILE_BYTES_MAX {
            return Heard::Broken("a file larger than a phone takes");
        }
        self.block = block;
        self.in_window += 1;
        self.body.extend_from_slice(data);
        let last = data.len() < self.block_bytes;
        if last && self.size.is_some_and(|size| size != self.body.len()) {
            return Heard::Broken("a file that is not as long as tsize says");
        }
        if last {
            self.acknowledge();
            return Heard::Done;
        }
        if self.in_window >= self.window { self.acknowledge() } else { Heard::More }
    }

    fn acknowledge(&mut self) -> Heard {
        let [high, low] = self.block.to_be_bytes();
        self.last_sent = vec![0, 4, high, low];
        self.in_window = 0;
        Heard::Acknowledge
    }
}

fn hear_error(code: u16, text: &[u8]) -> Heard {
    let words =
        String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let status = match code {
        1 => 404,
        2 => 403,
        _ => 500,
    };
    Heard::Error(status, format!("ERROR {code} {}", shorten(&words)))
}

fn error_packet(code: u8, text: &str) -> Vec<u8> {
    let mut packet = vec![0, 5, 0, code];
    packet.extend_from_slice(text.as_bytes());
    packet.push(0);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
        [&[0, 3], block.to_be_bytes().as_slice(), bytes].concat()
    }

    #[test]
    fn the_request_names_what_the_phone_can() {
        let request = Transfer::new("d/x.cfg").last_sent;
        assert_eq!(request, b"\0\x01d/x.cfg\0octet\0tsize\x000\0blksize\x001428\0windowsize\x004\0");
    }

    #[test]
    fn a_server_without_options_is_understood() {
        let mut transfer = Transfer::new("x");
        assert_eq!(transfer.hear(&data(1, &[7; 512])), Heard::Acknowledge);
        assert_eq!(transfer.last_sent, [0, 4, 0, 1]);
        assert_eq!(transfer.hear(&data(1, &[7; 512])), Heard::Nothing);
        assert_eq!(transfer.hear(&data(2, &[8])), Heard::Done);
        assert_eq!((transfer.body.len(), transfer.last_sent.as_slice()), (513, [0, 4, 0, 2].as_slice()));
    }

    #[test]
    fn a_window_is_acknowledged_once_and_a_gap_at_once() {
        let mut transfer = Transfer::new("x");
        assert_eq!(transfer.hear(b"\0\x06blksize\x008\0windowsize\x003\0tsize\x0033\0"), Heard::Acknowledge);
        assert_eq!(transfer.last_sent, [0, 4, 0, 0]);
        assert_eq!(transfer.hear(&data(1, &[1; 8])), Heard::More);
        assert_eq!(transfer.hear(&data(3, &[3; 8])), Heard::Acknowledge);
        assert_eq!(transfer.last_sent, [0, 4, 0, 1]);
        assert_eq!([2, 3].map(|block| transfer.hear(&data(block, &[2; 8]))), [Heard::More, Heard::More]);
        assert_eq!(transfer.hear(&data(4, &[4; 8])), Heard::Acknowledge);
        assert_eq!(transfer.hear(&data(5, &[5])), Heard::Done);
        assert_eq!(transfer.body.len(), 33);
    }

    #[test]
    fn block_numbers_start_again_after_65535() {
        let mut transfer = Transfer::new("x");
        transfer.hear(b"\0\x06blksize\x008\0");
        for block in (1..=70_000u32).map(|block| u16::try_from(block & 0xffff).unwrap()) {
            assert_eq!(transfer.hear(&data(block, &[0; 8])), Heard::Acknowledge);
        }
        assert_eq!(transfer.body.len(), 560_000);
    }

    #[test]
    fn what_a_server_must_not_say_ends_the_transfer() {
        for (packet, expected) in [
            (&b"\0\x05\0\x01File not found\0"[..], Heard::Error(404, "ERROR 1 File not found".to_owned())),
            (b"\0\x05\0\x02", Heard::Error(403, "ERROR 2 ".to_owned())),
            (b"\0\x06blksize\x009000\0", Heard::Broken("an option that was not asked for")),
            (b"\0\x06timeout\x003\0", Heard::Broken("an option that was not asked for")),
            (b"\0\x06tsize\0x\0", Heard::Broken("an option that is no number")),
            (b"\0\x04\0\0", Heard::Broken("a packet that is not TFTP's")),
            (b"", Heard::Broken("a packet that is not TFTP's")),
        ] {
            assert_eq!(Transfer::new("x").hear(packet), expected, "{packet:?}");
        }
        let mut transfer = Transfer::new("x");
        transfer.hear(b"\0\x06tsize\x003\0");
        assert_eq!(
            transfer.hear(&data(1, b"four")),
            Heard::Broken("a file that is not as long as tsize says")
        );
    }
}
