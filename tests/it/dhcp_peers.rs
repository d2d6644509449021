//! The DHCP servers that LANs have: dnsmasq, Kea and ISC dhcpd, each with the same pool, options and lease time.

use std::path::Path;

use crate::lab::{self, Host, Lab, Process};

/// A server's name as people know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dnsmasq,
    Kea,
    Dhcpd,
}

/// What it gives: /16 networks, addresses from the third octet `third` on, for an hour.
pub(crate) struct Serving {
    /// The first two octets.
    pub(crate) network: [u8; 2],
    /// The third octet of the pool, which has four times 256 addresses.
    pub(crate) third: u8,
    /// Option 66.
    pub(crate) tftp_server: &'static str,
}

/// Option 51 of what they give.
pub(crate) const LEASE_SECONDS: u32 = 3600;

impl Kind {
    /// The program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Kea => "kea-dhcp4",
            Self::Dhcpd => "dhcpd",
        }
    }

    /// Starts it on `eth0` of the host, without a lease, and waits until it serves.
    pub(crate) fn start(self, lab: &Lab, host: &Host, serving: &Serving) -> Process {
        let Serving { network: [a, b], third, tftp_server } = serving;
        let folder = tempfile::tempdir_in(lab.folder()).expect("the lab's folder").keep();
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("the lab's folder can be written");
            path.to_string_lossy().into_owned()
        };
        let (first, last) = (format!("{a}.{b}.{third}.1"), format!("{a}.{b}.{}.254", third + 3));
        let program = unconfined(self.program(), &folder);
        let leases = file("leases", String::new());
        match self {
            Self::Dnsmasq => {
                let mut dnsmasq = host.spawn(&[
                    &program,
                    // It may not become another user here.
                    "--no-daemon",
                    "--conf-file=/dev/null",
                    "--port=0",
                    "--no-ping",
                    "--dhcp-authoritative",
                    "--interface=eth0",
                    &format!("--dhcp-range={first},{last},255.255.0.0,1h"),
                    &format!("--dhcp-option=66,{tftp_server}"),
                    &format!("--dhcp-leasefile={leases}"),
                    &format!("--pid-file={}", folder.join("pid").display()),
                ]);
                dnsmasq.line("DHCP, IP range");
                dnsmasq
            }
            Self::Kea => {
                let config = serde_json::json!({ "Dhcp4": {
                    "interfaces-config": { "interfaces": ["eth0"] },
                    "lease-database": { "type": "memfile", "persist": true, "name": leases, "lfc-interval": 0 },
                    "valid-lifetime": LEASE_SECONDS,
                    "authoritative": true,
                    "subnet4": [{
                        "id": 1,
                        "subnet": format!("{a}.{b}.0.0/16"),
                        "pools": [{ "pool": format!("{first} - {last}") }],
                        "option-data": [
                            { "name": "routers", "data": format!("{a}.{b}.0.1") },
                            { "name": "tftp-server-name", "data": tftp_server },
                        ],
                    }],
                    "loggers": [{
                        "name": "kea-dhcp4", "severity": "INFO", "output_options": [{ "output": "stdout" }],
                    }],
                }});
                let config = file("kea.json", config.to_string());
                let places = folder.to_string_lossy();
                let places = ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"].map(|name| format!("{name}={places}"));
                let mut kea = host.spawn(&["env", &places[0], &places[1], &program, "-c", &config]);
                kea.line("DHCP4_STARTED");
                kea
            }
            Self::Dhcpd => {
                let config = format!(
                    "authoritative; ping-check false; default-lease-time {LEASE_SECONDS}; \
                     max-lease-time {LEASE_SECONDS};\nsubnet {a}.{b}.0.0 netmask 255.255.0.0 {{ range {first} {last}; \
                     option routers {a}.{b}.0.1; option tftp-server-name \"{tftp_server}\"; }}\n"
                );
                let config = file("dhcpd.conf", config);
                let pid = folder.join("pid").to_string_lossy().into_owned();
                let mut dhcpd = host.spawn(&[
                    &program, "-4", "-f", "-d", "-cf", &config, "-lf", &leases, "-pf", &pid, "eth0",
                ]);
                dhcpd.line("Server starting service");
                dhcpd
            }
        }
    }
}

/// `AppArmor` lets the packaged programs of some systems see their own folders only; a copy has no such rule.
pub(crate) fn unconfined(program: &str, folder: &Path) -> String {
    let found = lab::program(program).expect("the caller has asked whether it is there");
    let copy = folder.join(program);
    std::fs::copy(&found, &copy).expect("the lab's folder can be written");
    copy.to_string_lossy().into_owned()
}

/// The hardware address of `eth0`.
pub(crate) fn mac_of(host: &Host) -> [u8; 6] {
    let text = host.ip(&["-o", "link", "show", "dev", "eth0"]);
    octets(text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("an Ethernet"))
}

/// A MAC as octets.
pub(crate) fn octets(text: &str) -> [u8; 6] {
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap_or_else(|_| panic!("{text}"))
}
