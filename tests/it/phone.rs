//! A phone of the tests: it says what a snom or Yealink says, on a socket of its own host, and fetches with curl.
//! It shares no code with the product and none with `offhook simulate`.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::lab::{Host, Lab, PATIENCE};

/// Whose phone it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Vendor {
    Snom,
    Yealink,
}

/// A phone on a LAN of the lab.
pub(crate) struct Phone {
    pub(crate) host: Host,
    vendor: Vendor,
    /// Twelve lower-case digits.
    mac: String,
    address: String,
    socket: UdpSocket,
    call: u32,
}

/// A NOTIFY as it came.
pub(crate) struct Notify {
    pub(crate) text: String,
    pub(crate) from: SocketAddr,
    pub(crate) url: String,
}

impl Phone {
    /// Plugs the phone in; `mac` with colons, `address` with its prefix length.
    pub(crate) fn plug(lab: &Lab, name: &str, vendor: Vendor, mac: &str, lan: &str, address: &str) -> Self {
        let host = lab.phone(name, mac, lan, address);
        let socket = host.udp("0.0.0.0:5060");
        let ip = address.split('/').next().expect("an address").to_owned();
        Self { host, vendor, mac: mac.replace(':', ""), address: ip, socket, call: 0 }
    }

    /// With colons, as listings show it.
    pub(crate) fn mac(&self) -> String {
        let pairs: Vec<&str> = (0..6).map(|octet| &self.mac[octet * 2..octet * 2 + 2]).collect();
        pairs.join(":")
    }

    /// The phone has rebooted: its next SUBSCRIBE is a new dialog.
    pub(crate) fn reboot(&mut self) {
        self.call += 1;
    }

    /// The phone gets another address, as after a move or a new lease.
    pub(crate) fn move_to(&mut self, address: &str) {
        self.host.ip(&["address", "flush", "dev", "eth0", "scope", "global"]);
        self.host.ip(&["address", "add", address, "broadcast", "+", "dev", "eth0"]);
        self.host.ip(&["route", "replace", "default", "dev", "eth0"]);
        address.split('/').next().expect("an address").clone_into(&mut self.address);
        self.reboot();
    }

    /// Sends the SUBSCRIBE to the group; the same bytes until the next reboot.
    pub(crate) fn subscribe(&self) {
        self.send(self.subscribe_text().as_bytes(), "224.0.1.75:5060");
    }

    /// Sends bytes from the phone's SIP port.
    pub(crate) fn send(&self, bytes: &[u8], to: &str) {
        self.socket.send_to(bytes, to).unwrap_or_else(|error| panic!("to {to}: {error}"));
    }

    /// The next message; fails when none comes within the lab's patience.
    fn receive(&self) -> (String, SocketAddr) {
        let mut bytes = vec![0; 65_536];
        let (length, from) = self
            .socket
            .recv_from(&mut bytes)
            .unwrap_or_else(|error| panic!("{} hears nothing: {error}", self.mac));
        (String::from_utf8_lossy(&bytes[..length]).into_owned(), from)
    }

    /// The next message must be the 200 to our SUBSCRIBE, which is repeated until then as phones do (RFC 3261: after
    /// 500 ms, doubling to 4 s).
    pub(crate) fn expect_ok(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut wait = Duration::from_millis(500);
        let text = loop {
            self.socket.set_read_timeout(Some(wait)).expect("not zero");
            let mut bytes = vec![0; 65_536];
            if let Ok((length, _)) = self.socket.recv_from(&mut bytes) {
                break String::from_utf8_lossy(&bytes[..length]).into_owned();
            }
            assert!(Instant::now() < deadline, "{} hears nothing", self.mac);
            self.subscribe();
            wait = (wait * 2).min(Duration::from_secs(4));
        };
        self.socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        assert!(text.starts_with("SIP/2.0 200"), "a 200 was due:\n{text}");
    }

    /// The next message must be a NOTIFY with a URL; the 200 may come again before it.
    pub(crate) fn expect_notify(&self) -> Notify {
        let (mut text, mut from) = self.receive();
        while text.starts_with("SIP/2.0 200") {
            (text, from) = self.receive();
        }
        assert!(text.starts_with("NOTIFY "), "a NOTIFY was due:\n{text}");
        let url = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim().to_owned();
        Notify { text, from, url }
    }

    /// 200 and NOTIFY, in whatever order a network gave them, and the NOTIFY answered.
    pub(crate) fn provisioned(&self) -> Notify {
        self.subscribe();
        self.expect_ok();
        let notify = self.expect_notify();
        self.answer(&notify);
        notify
    }

    /// Answers a NOTIFY where it came from.
    pub(crate) fn answer(&self, notify: &Notify) {
        let head = notify.text.split_once("\r\n\r\n").map_or(notify.text.as_str(), |(head, _)| head);
        let kept = head.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            ["via", "from", "to", "call-id", "cseq"].contains(&name.as_str())
        });
        let headers: Vec<&str> = kept.collect();
        let answer = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n"));
        self.send(answer.as_bytes(), &notify.from.to_string());
    }

    /// GETs a URL as the phone does: status and body.
    pub(crate) fn get(&self, url: &str) -> (u16, String) {
        let agent = self.http_user_agent();
        let text = self.host.run(&["curl", "-s", "-m", "20", "-A", &agent, "-w", "\n%{http_code}", url]);
        let (body, status) = text.rsplit_once('\n').expect("curl prints the status last");
        (status.parse().unwrap_or_else(|_| panic!("curl on {url}:\n{text}")), body.to_owned())
    }

    /// Fetches a file by TFTP with curl: the bytes as text, or curl's complaint.
    pub(crate) fn tftp(&self, server: &str, file: &str) -> (bool, String) {
        self.host.attempt(&["curl", "-sS", "-m", "20", &format!("tftp://{server}/{file}")])
    }

    /// The file that holds this phone's settings, as its vendor names it.
    pub(crate) fn file(&self) -> String {
        match self.vendor {
            Vendor::Snom => format!("snomD785-{}.htm", self.mac.to_uppercase()),
            Vendor::Yealink => format!("{}.cfg", self.mac),
        }
    }

    /// Where the settings are, after a NOTIFY named `url`: Yealink appends its file, snom is told the whole.
    pub(crate) fn settings_url(&self, url: &str) -> String {
        match self.vendor {
            Vendor::Snom => url.replace("{mac}", &self.mac.to_uppercase()),
            Vendor::Yealink => format!("{}/{}", url.trim_end_matches('/'), self.file()),
        }
    }

    pub(crate) fn http_user_agent(&self) -> String {
        match self.vendor {
            Vendor::Snom => format!(
                "Mozilla/4.0 (compatible; snomD785-SIP 10.1.169.16 1.1.7-IFX-26.11.12 {})",
                self.mac.to_uppercase()
            ),
            Vendor::Yealink => format!("Yealink SIP-T46U 108.86.0.90 {}", self.mac()),
        }
    }

    fn subscribe_text(&self) -> String {
        let (mac, address, call) = (&self.mac, &self.address, self.call);
        let (event, agent) = match self.vendor {
            Vendor::Snom => (
                "vendor=\"snom\";model=\"snomD785\";version=\"10.1.169.16\"",
                "snomD785/10.1.169.16".to_owned(),
            ),
            Vendor::Yealink => {
                ("vendor=\"Yealink\";model=\"T46U\";version=\"108.86.0.90\"", self.http_user_agent())
            }
        };
        format!(
            "SUBSCRIBE sip:MAC%3a{mac}@224.0.1.75 SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address}:5060;branch=z9hG4bK{mac}{call};rport\r\n\
             From: <sip:MAC%3a{mac}@224.0.1.75>;tag=77aa{call}\r\n\
             To: <sip:MAC%3a{mac}@224.0.1.75>\r\n\
             Call-ID: {mac}-{call}@{address}\r\n\
             CSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:MAC%3a{mac}@{address}:5060>\r\n\
             Max-Forwards: 70\r\n\
             User-Agent: {agent}\r\n\
             Event: ua-profile;profile-type=\"device\";{event}\r\n\
             Expires: 0\r\n\
             Accept: application/url\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }
}
