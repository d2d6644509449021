//! A site of forty hosts on one LAN: phones of many makers, printers, PCs, a PBX and a softphone, each a host with a MAC
//! of its own; what they answer by SIP and HTTP was written for this, and by no code of the product.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lab::{Host, Lab};

/// What a host is, and what it says.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) is_phone: bool,
    /// The first three octets of its MAC.
    maker: &'static str,
    /// What its SIP answer has in User-Agent; silence without it.
    sip: Option<&'static str>,
    /// What its web server answers to paths that begin so; the first counts. No server without any.
    web: Pages,
}

type Pages = &'static [(&'static str, &'static str)];

const fn phone(maker: &'static str, sip: &'static str) -> Kind {
    Kind { is_phone: true, maker, sip: Some(sip), web: &[] }
}

/// A phone that is silent by SIP, and has a web interface.
const fn web_phone(maker: &'static str, web: Pages) -> Kind {
    Kind { is_phone: true, maker, sip: None, web }
}

const fn other(maker: &'static str, sip: Option<&'static str>, web: Pages) -> Kind {
    Kind { is_phone: false, maker, sip, web }
}

const PRINTER: Pages = &[(
    "/",
    "HTTP/1.1 200 OK\r\nServer: HP HTTP Server; HP LaserJet\r\nContent-Length: 44\r\n\r\n\
     <html><title>HP LaserJet 400</title>x</html>",
)];
const ROUTER: Pages = &[(
    "/",
    "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nServer: lighttpd\r\nContent-Length: 0\r\n\r\n",
)];
/// As phones of Yealink are known: by a realm, and by the page that asks for a password.
const REALM: Pages = &[(
    "/",
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"Gigabit Color IP Phone SIP-T38G\", \
     nonce=\"1\"\r\nContent-Length: 0\r\n\r\n",
)];
const LOGIN: Pages = &[
    (
        "/servlet?m=mod_listener&p=login&q=loginForm",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\
         <script>var g_phonetype = \"T46S\";\nvar g_strFirmware = \"66.84.0.125\";</script>",
    ),
    ("/", "HTTP/1.1 200 OK\r\nServer: yealink embed httpd\r\nContent-Length: 0\r\n\r\n"),
];

/// Twenty phones, and twenty hosts that are none.
pub(super) const KINDS: [Kind; 40] = [
    phone("00:15:65", "Yealink SIP-T46U 108.86.0.20"),
    phone("80:5e:c0", "Yealink SIP-T21P 34.72.14.6"),
    phone("00:04:13", "snomD785/10.1.39.11"),
    phone("00:04:13", "snom370/8.7.5.35"),
    phone("00:0b:82", "Grandstream GXP1628 1.0.7.6"),
    phone("c0:74:ad", "Grandstream GXP2200 1.0.3.27"),
    phone("00:0e:08", "Cisco/SPA525G2-7.6.1"),
    phone("00:0e:08", "Linksys/SPA922-6.1.5"),
    phone("00:04:f2", "PolycomVVX-VVX_400-UA/4.1.4.7430_010203040506"),
    phone("00:04:f2", "PolycomSoundPointIP-SPIP_670-UA/4.0.7.2514"),
    phone("00:90:8f", "AUDC-IPPhone/1.2.1_build_6"),
    phone("7c:2f:80", "DX800A/41.175.00.000.000"),
    // Whose address is of no maker that is known: what it says is enough.
    phone("02:00:5e", "Yealink SIP-T46U 108.86.0.20"),
    phone("02:00:5f", "snom370/8.7.5.35"),
    phone("00:15:65", "Yealink SIP-T46U 108.87.0.1"),
    phone("00:15:65", "Yealink SIP-T46U 108.86.0.20"),
    web_phone("00:15:65", REALM),
    web_phone("00:15:65", LOGIN),
    phone("00:0e:08", "Cisco/SPA122-1.3.5(004p)"),
    phone("80:5e:c0", "Yealink SIP-T21P 34.72.14.6"),
    other("00:1b:78", None, PRINTER),
    other("00:1b:78", None, PRINTER),
    other("00:1b:78", None, PRINTER),
    other("00:1b:78", None, PRINTER),
    // A maker of phones makes other things, too.
    other("00:80:f0", None, PRINTER),
    other("00:0e:08", None, ROUTER),
    other("00:15:65", None, &[]),
    other("3c:ec:ef", Some("Asterisk PBX 16.2.1~dfsg-1"), &[]),
    other("3c:37:12", Some("AVM FRITZ!Box 7312 117.05.23 TAL (Jun  1 2012)"), ROUTER),
    other("3c:ec:ef", Some("3CXPhoneSystem 15.5.15502.6 (15502)"), ROUTER),
    other("00:1b:21", Some("MicroSIP/3.21.3"), &[]),
    other("00:1b:21", Some("\u{0}\u{1}\u{2}garbage\r\n"), &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
    other("00:1b:21", None, &[]),
];

/// The hosts, plugged in and answering; they end with the lab.
pub(super) struct Site {
    pub(super) hosts: Vec<Plugged>,
    /// How many questions by SIP came, in all.
    pub(super) asked: Arc<AtomicUsize>,
}

/// One of them.
pub(super) struct Plugged {
    pub(super) kind: Kind,
    pub(super) host: Host,
    pub(super) mac: String,
    pub(super) address: Ipv4Addr,
}

impl Site {
    /// Plugs all of them into `lan`, evenly over the network `first`/`bits`, which the agent has the first address of.
    pub(super) fn plug(lab: &Lab, lan: &str, first: Ipv4Addr, bits: u32) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let room = (1_u32 << (32 - bits)) - 4;
        let hosts = (0_u32..).zip(KINDS).map(|(number, kind)| {
            let address = Ipv4Addr::from(u32::from(first) + 2 + number * room / 40);
            let mac = format!("{}:00:{bits:02x}:{number:02x}", kind.maker);
            let host = lab.phone(&format!("h{number}"), &mac, lan, &format!("{address}/{bits}"));
            kind.answer(&host, kind.sip, &asked);
            Plugged { kind, host, mac, address }
        });
        Self { hosts: hosts.collect(), asked }
    }

    /// The phones' addresses and MACs.
    pub(super) fn phones(&self) -> BTreeMap<String, String> {
        let phones = self.hosts.iter().filter(|host| host.kind.is_phone);
        phones.map(|host| (host.address.to_string(), host.mac.clone())).collect()
    }
}

impl Kind {
    /// Answers on the host from now on.
    pub(super) fn answer(self, host: &Host, sip: Option<&'static str>, asked: &Arc<AtomicUsize>) {
        if let Some(name) = sip {
            let (socket, asked) =
                (host.inside(|| UdpSocket::bind("0.0.0.0:5060").unwrap()), Arc::clone(asked));
            std::thread::spawn(move || sip_server(&socket, name, &asked));
        }
        if !self.web.is_empty() {
            let listener = host.inside(|| TcpListener::bind("0.0.0.0:80").unwrap());
            std::thread::spawn(move || web_server(&listener, self.web));
        }
    }
}

fn sip_server(socket: &UdpSocket, name: &str, asked: &AtomicUsize) {
    let mut buffer = [0; 4_096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with("OPTIONS sip:"), "{text}");
        asked.fetch_add(1, Ordering::Relaxed);
        let copied: String = text
            .lines()
            .filter(|line| {
                ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
            })
            .fold(String::new(), |text, line| text + line + "\r\n");
        let _ = socket.send_to(
            format!("SIP/2.0 200 OK\r\n{copied}User-Agent: {name}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            from,
        );
    }
}

fn web_server(listener: &TcpListener, pages: Pages) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut question = [0; 2_048];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let length = stream.read(&mut question).unwrap_or_default();
        let question = String::from_utf8_lossy(&question[..length]).into_owned();
        assert!(
            !question.to_ascii_lowercase().contains("authorization"),
            "no password is ever sent: {question}"
        );
        let path = question.split(' ').nth(1).unwrap_or_default();
        let page = pages.iter().find(|(begins, _)| path.starts_with(begins));
        let _ = stream.write_all(page.map_or("", |(_, answer)| answer).as_bytes());
    }
}

/// How many neighbours the host's kernel knows, whatever it thinks of them.
pub(super) fn neighbours(host: &Host) -> usize {
    let known = host.ip(&["neigh", "show", "nud", "all"]);
    known.lines().filter(|line| !line.contains("NOARP")).count()
}
