//! The phones' files by TLS: the built program on a network, with curl and OpenSSL as phones, and certificates that
//! OpenSSL has made. The numbers are those of the specification's cases.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::lab::{self, Host, Lab};
use crate::release::{FILE, Got, MAC, SERVER, Site, curl, curl_with, get, reset, site};
use crate::release_who::behind_a_router;

/// Phones prove themselves by what is in this folder beside the configuration.
const CONFIG: &str = "[https]\nclient_ca = \"roots\"\n";

/// A vendor of phones: its authority, and the certificates that it puts into them.
struct Vendor<'a> {
    lab: &'a Lab,
    host: &'a Host,
    name: &'static str,
}

/// How a phone's certificate is made; usually as a good one is.
struct Make<'a> {
    subject: &'a str,
    key: &'a [&'a str],
    until: &'a str,
    more: &'a [&'a str],
}

const RSA: &[&str] = &["-newkey", "rsa:2048"];
const EC: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const GOOD: Make<'static> = Make {
    subject: "/O=Vendor/CN=000413000001",
    key: RSA,
    until: "20400101000000Z",
    more: &["-extensions", "phone"],
};

impl<'a> Vendor<'a> {
    /// Its authority is `NAME.pem` in the lab's folder.
    fn new(lab: &'a Lab, host: &'a Host, name: &'static str) -> Self {
        let vendor = Self { lab, host, name };
        let folder = lab.folder().display();
        let config = format!(
            "[ca]\ndefault_ca = vendor\n[vendor]\ndatabase = {folder}/{name}.index\nserial = {folder}/{name}.serial\nnew_certs_dir = {folder}\n\
             certificate = {folder}/{name}.pem\nprivate_key = {folder}/{name}.key\ndefault_md = sha256\n\
             policy = all\nunique_subject = no\n[all]\norganizationName = optional\n\
             organizationalUnitName = optional\nlocalityName = optional\nserialNumber = optional\n\
             commonName = optional\n[phone]\nextendedKeyUsage = clientAuth\n"
        );
        lab.file(&format!("{name}.conf"), config);
        lab.file(&format!("{name}.index"), "");
        lab.file(&format!("{name}.serial"), "1000\n");
        let (root, key) = (vendor.file("pem"), vendor.file("key"));
        let subject = format!("/CN={name} Root CA");
        let made = [&["openssl", "req", "-x509", "-nodes", "-days", "3650", "-subj", &subject], EC].concat();
        host.run(&[&made[..], &["-keyout", &key, "-out", &root]].concat());
        vendor
    }

    fn file(&self, extension: &str) -> String {
        self.lab.folder().join(format!("{}.{extension}", self.name)).display().to_string()
    }

    /// A phone's certificate, and curl's options for it.
    fn phone(&self, name: &str, make: &Make<'_>) -> Vec<String> {
        let path =
            |extension: &str| self.lab.folder().join(format!("{name}.{extension}")).display().to_string();
        let (key, request, certificate) = (path("key"), path("csr"), path("crt"));
        let asked = [&["openssl", "req", "-new", "-nodes", "-subj", make.subject], make.key].concat();
        self.host.run(&[&asked[..], &["-keyout", &key, "-out", &request]].concat());
        let issue = ["openssl", "ca", "-batch", "-notext", "-startdate", "20100101000000Z"];
        let config = self.file("conf");
        let files = ["-config", &config, "-in", &request, "-out", &certificate, "-enddate", make.until];
        self.host.run(&[&issue[..], &files, make.more].concat());
        ["--cert", &certificate, "--key", &key].map(str::to_owned).to_vec()
    }

    /// The administrator trusts it; the agent has noticed.
    fn trust(&self, site: &Site<'_>) {
        let roots = self.lab.folder().join("roots");
        std::fs::create_dir_all(&roots).unwrap();
        std::fs::copy(self.file("pem"), roots.join(format!("{}.pem", self.name))).unwrap();
        let count = std::fs::read_dir(&roots).unwrap().count();
        site.agent.log(&format!("by certificates of {count} authorities"));
    }
}

/// GETs the phone's file by TLS, trusting nothing but our authority.
fn get_tls(host: &Host, ca: &str, options: &[String]) -> Got {
    let options: Vec<&str> = options.iter().map(String::as_str).chain(["--cacert", ca]).collect();
    curl(host, &format!("https://{SERVER}:8481/{FILE}"), &options)
}

/// Our authority, as people and phones get it.
fn authority(site: &Site<'_>) -> String {
    let got = curl(&site.phone, &format!("http://{SERVER}:8480/ca.crt"), &[]);
    assert_eq!(
        (got.status, got.header("content-type")),
        (200, Some("application/x-x509-ca-cert")),
        "{got:?}"
    );
    assert_eq!(got.body.matches("BEGIN").count(), 1, "one certificate, and no key: {}", got.body);
    let path = site.lab.file("ca.crt", &got.body);
    path.display().to_string()
}

#[test]
fn case_38_a_certificate_with_its_mac_is_the_phone_wherever_it_is() {
    lab::run("https::case_38_a_certificate_with_its_mac_is_the_phone_wherever_it_is", |lab| {
        site(lab, CONFIG, |site| {
            let vendor = Vendor::new(lab, &site.phone, "vendor");
            vendor.trust(site);
            let (_router, routed) = behind_a_router(site);
            let ca = authority(site);
            let nothing = get_tls(&routed, &ca, &[]);
            assert_eq!((nothing.status, site.agent.state(MAC)), (404, "staged"), "{nothing:?}");

            let rsa = vendor.phone("rsa", &GOOD);
            let first = get_tls(&routed, &ca, &rsa);
            assert!(first.is_full(), "{first:?}");
            // It came by TLS: the URL in its file goes on with it.
            assert!(first.body.contains(&format!("https://{SERVER}:8481/d/")), "{}", first.body);
            let released = site.agent.audit("released");
            assert_eq!(released[0]["detail"]["identity"], 4, "{}", released[0]);
            assert_eq!(released[0]["detail"]["to"], format!("certificate {MAC}"));
            assert_eq!(released[0]["detail"]["channel"], "https");
            assert_eq!(released[0]["detail"]["pinned"], false);
            site.agent.audited("acked");

            let written = [
                "/O=Vendor/CN=00:04:13:00:00:01",
                "/O=Vendor/OU=ipphone/CN=SPA504G-CBT141400UK-000413000001",
                "/O=Vendor/CN=D785/serialNumber=00-04-13-00-00-01",
            ];
            for (number, subject) in written.iter().enumerate() {
                let one = vendor.phone(&format!("ec{number}"), &Make { subject, key: EC, ..GOOD });
                for version in ["1.2", "1.3"] {
                    let only = ["--tls-max", version, "--tlsv1.2"].map(str::to_owned);
                    let got = get_tls(&routed, &ca, &[&one[..], &only].concat());
                    assert!(got.is_full() && got.body == first.body, "{subject} {version}: {got:?}");
                }
            }
            // The window is that of the certificate: a MAC alone does not follow it.
            assert_eq!(get(&site.phone).status, 403);
            site.agent.alarmed("contention");
        });
    });
}

#[test]
fn case_39_a_certificate_of_another_phone_gets_nothing_and_is_an_alarm() {
    lab::run("https::case_39_a_certificate_of_another_phone_gets_nothing_and_is_an_alarm", |lab| {
        site(lab, CONFIG, |site| {
            let vendor = Vendor::new(lab, &site.phone, "vendor");
            vendor.trust(site);
            let ca = authority(site);
            let other = vendor.phone("other", &Make { subject: "/O=Vendor/CN=000413000002", ..GOOD });
            let unknown =
                curl(&site.phone, &format!("https://{SERVER}:8481/no-such-file"), &["--cacert", &ca]);
            // Even at the phone's own address, with its MAC.
            let got = get_tls(&site.phone, &ca, &other);
            assert_eq!((got.status, &got.body), (404, &unknown.body));
            let alarm = site.agent.alarmed("impostor");
            assert_eq!(alarm["mac"], MAC, "{alarm}");
            assert!(alarm["text"].as_str().unwrap().contains("00:04:13:00:00:02"), "{alarm}");
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("staged", 0));
            assert!(get_tls(&site.phone, &ca, &[]).is_full(), "the phone does not notice");
        });
    });
}

#[test]
fn case_40_a_certificate_that_proves_nobody_is_as_good_as_none() {
    lab::run("https::case_40_a_certificate_that_proves_nobody_is_as_good_as_none", |lab| {
        site(lab, CONFIG, |site| {
            let vendor = Vendor::new(lab, &site.phone, "vendor");
            let foreign = Vendor::new(lab, &site.phone, "foreign");
            vendor.trust(site);
            let ca = authority(site);
            let (_router, routed) = behind_a_router(site);
            let generic = "/O=Vendor/L=ciscogeneric/CN=SPA504G";
            let two = "/O=Vendor/OU=000413000001/CN=000413000002";
            let domain = "/O=Vendor/CN=000413000001.example.com";
            let old = "20200101000000Z";
            let worthless = [
                ("generic", vendor.phone("generic", &Make { subject: generic, ..GOOD })),
                ("with two MACs", vendor.phone("two", &Make { subject: two, ..GOOD })),
                ("of a domain", vendor.phone("domain", &Make { subject: domain, ..GOOD })),
                ("of an unknown authority", foreign.phone("foreign-phone", &GOOD)),
                ("X.509 version 1", vendor.phone("v1", &Make { more: &[], ..GOOD })),
                (
                    "signed with SHA-1",
                    vendor.phone("sha1", &Make { more: &["-md", "sha1", "-extensions", "phone"], ..GOOD }),
                ),
                (
                    "RSA with 1024 bits",
                    vendor.phone("small", &Make { key: &["-newkey", "rsa:1024"], ..GOOD }),
                ),
                ("expired", vendor.phone("expired", &Make { until: old, ..GOOD })),
            ];
            // OpenSSL's own opinion of old algorithms is not asked for.
            let lenient = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = any\n\
                           [any]\nCipherString = DEFAULT@SECLEVEL=0\n";
            let lenient = format!("OPENSSL_CONF={}", lab.file("lenient.conf", lenient).display());
            let get_leniently = |host: &Host, options: &[String]| {
                let options: Vec<&str> =
                    options.iter().map(String::as_str).chain(["--cacert", &ca]).collect();
                curl_with(host, &[&lenient], &format!("https://{SERVER}:8481/{FILE}"), &options)
            };
            for (what, certificate) in &worthless {
                for version in ["1.2", "1.3"] {
                    let only = ["--tls-max", version].map(str::to_owned);
                    let got = get_leniently(&routed, &[&certificate[..], &only].concat());
                    assert_eq!(got.status, 404, "{what}, TLS {version}, from elsewhere: {got:?}");
                }
            }
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("staged", 0));
            // On the link its MAC proves it, whatever it shows.
            for (what, certificate) in &worthless[..7] {
                let got = get_leniently(&site.phone, certificate);
                assert!(got.is_full(), "{what}: {got:?}");
            }
            assert!(site.agent.audit("released").iter().all(|row| row["detail"]["identity"] == 2));
            // One whose time is over counts on the link, and the log tells of it.
            site.agent.rearm(MAC);
            lab::poll("the arming", || (site.agent.state(MAC) == "staged").then_some(()));
            assert!(get_tls(&site.phone, &ca, &worthless[7].1).is_full());
            site.agent.log("which has expired");
            assert_eq!(site.agent.audit("released").last().unwrap()["detail"]["identity"], 4);
        });
    });
}

/// What OpenSSL sees of the server's certificate.
fn seen_by_openssl(host: &Host, ca: &str, options: &[&str]) -> String {
    let address = format!("{SERVER}:8481");
    let command = ["openssl", "s_client", "-connect", &address, "-CAfile", ca, "-verify_ip", SERVER];
    host.attempt(&[&command[..], &["-verify_return_error", "-showcerts"], options].concat()).1
}

#[test]
fn old_and_new_phones_are_shown_a_certificate_that_they_understand() {
    lab::run("https::old_and_new_phones_are_shown_a_certificate_that_they_understand", |lab| {
        site(lab, "", |site| {
            site.agent.host().await_tcp(8481);
            let ca = authority(site);
            for (what, options, signed) in [
                ("new", &["-tls1_3"][..], "ECDSA"),
                ("new, RSA only", &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], "RSA-PSS"),
                ("old", &["-tls1_2"], "ECDSA"),
                ("old, RSA only", &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "RSA-PSS"),
                ("old, knows no PSS", &["-tls1_2", "-sigalgs", "RSA+SHA256"], "RSA"),
            ] {
                let seen = seen_by_openssl(&site.phone, &ca, options);
                assert!(seen.contains("Verification: OK"), "{what}: {seen}");
                assert!(seen.contains(&format!("Peer signature type: {signed}\n")), "{what}: {seen}");
                assert!(seen.contains("No client certificate CA names sent"), "{what}: {seen}");
                assert!(
                    !seen.contains("Requested Signature Algorithms"),
                    "nobody is asked for a certificate: {seen}"
                );
            }
            for hopeless in
                [&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], &["-tls1_2", "-cipher", "AES128-SHA"]]
            {
                assert!(seen_by_openssl(&site.phone, &ca, hopeless).contains("alert"));
            }
            site.agent.log("needs HTTP or TFTP");
            assert!(get_tls(&site.phone, &ca, &[]).is_full());
            // By its name as well, and by no other.
            let named = |name: &str| {
                let there = format!("{name}:8481:{SERVER}");
                let url = format!("https://{name}:8481/{FILE}");
                curl(&site.phone, &url, &["--cacert", &ca, "--resolve", &there]).status
            };
            let host = site.agent.host().run(&["hostname"]);
            assert_eq!((named(host.trim()), named("bank.example")), (200, 0));
            // In clear nothing is said on this port.
            assert_eq!(curl(&site.phone, &format!("http://{SERVER}:8481/{FILE}"), &[]).status, 0);
        });
    });
}

#[test]
fn another_address_and_another_certificate_are_seen_without_a_restart() {
    lab::run("https::another_address_and_another_certificate_are_seen_without_a_restart", |lab| {
        let config = "[https]\ncertificate = \"own.pem\"\n";
        site(lab, config, |site| {
            let ca = authority(site);
            site.agent.log("Cannot use the certificate");
            assert!(get_tls(&site.phone, &ca, &[]).is_full(), "until there is one, our own is shown");
            let second = "192.168.1.36";
            site.agent.host().ip(&["address", "add", "192.168.1.36/24", "dev", "eth0"]);
            let url = format!("https://{second}:8481/{FILE}");
            lab::poll("a certificate for the new address", || {
                (curl(&site.phone, &url, &["--cacert", &ca]).status == 200).then_some(())
            });

            let own = |name: &str| {
                let (key, certificate) = (lab.folder().join("k.pem"), lab.folder().join("c.pem"));
                let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
                let subject = format!("/CN={name}");
                let made = ["openssl", "req", "-x509", "-nodes", "-subj", &subject];
                site.phone.run(&[&made[..], RSA, &["-keyout", &key, "-out", &certificate]].concat());
                [&certificate, &key].map(|path| std::fs::read_to_string(path).unwrap()).concat()
            };
            let shown = |name: &str| {
                lab::poll(&format!("the certificate {name}"), || {
                    let seen = seen_by_openssl(&site.phone, &ca, &[]);
                    seen.contains(&format!("CN = {name}\n")).then_some(())
                });
            };
            lab.file("own.pem", own("first.lan"));
            shown("first.lan");
            lab.file("own.pem", "-----BEGIN CERTIFICATE-----\nbroken\n");
            site.agent.log("the one before is in use");
            shown("first.lan");
            lab.file("own.pem", own("second.lan"));
            shown("second.lan");
            let listed = site.agent.json(&["tls", "list"]);
            assert_eq!(listed[1]["role"], "own", "{listed}");
            assert!(listed[1]["subject"].as_str().unwrap().contains("second.lan"), "{listed}");
        });
    });
}

/// A TLS client of the phone that has asked for the file, and has no room for it.
fn stalled_tls(phone: &Host, ca: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), SERVER.try_into().unwrap()).unwrap();
    let stream = phone.inside(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        let server: SocketAddr = format!("{SERVER}:8481").parse().unwrap();
        socket.connect(&server.into()).unwrap();
        socket.set_read_timeout(Some(lab::PATIENCE)).unwrap();
        TcpStream::from(socket)
    });
    let mut tls = StreamOwned::new(client, stream);
    tls.write_all(format!("GET /{FILE} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    tls.flush().unwrap();
    tls
}

#[test]
fn case_46_a_lock_resets_a_transfer_inside_tls_as_well() {
    lab::run("https::case_46_a_lock_resets_a_transfer_inside_tls_as_well", |lab| {
        site(lab, "", |site| {
            let ca = authority(site);
            let whole = get_tls(&site.phone, &ca, &[]);
            assert!(whole.is_full(), "{whole:?}");
            site.agent.audited("acked");
            let mut stalled = stalled_tls(&site.phone, &ca);
            lab::poll("the second release", || (site.agent.releases(MAC) == 2).then_some(()));
            // The kernel has as much of it as the phone has room for.
            lab::poll("the first octets", || stalled.sock.peek(&mut [0]).ok());
            site.agent.offhook(&["device", "lock", MAC]);
            let taken = reset(&mut stalled.sock);
            assert!(taken < whole.body.len(), "{taken} of {} octets", whole.body.len());
            assert_eq!((site.agent.state(MAC), site.agent.audit("acked").len()), ("locked", 1));
        });
    });
}

#[test]
fn who_does_not_finish_a_handshake_is_not_waited_for() {
    lab::run("https::who_does_not_finish_a_handshake_is_not_waited_for", |lab| {
        site(lab, "", |site| {
            let ca = authority(site);
            let connect = || TcpStream::connect(format!("{SERVER}:8481")).unwrap();
            let mut silent: Vec<TcpStream> = site.phone.inside(|| (0..20).map(|_| connect()).collect());
            // The beginning of a record that never ends.
            for stream in silent.iter_mut().skip(10) {
                stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            }
            let begun = Instant::now();
            assert!(get_tls(&site.phone, &ca, &[]).is_full(), "others are served meanwhile");
            for stream in &mut silent {
                stream.set_read_timeout(Some(lab::PATIENCE)).unwrap();
                let ended = stream.read(&mut [0; 64]);
                let is_end = matches!(&ended, Ok(0))
                    || ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
                assert!(is_end, "{ended:?}");
            }
            let took = begun.elapsed();
            assert!((Duration::from_secs(8)..Duration::from_secs(16)).contains(&took), "{took:?}");
            for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], &[0x16, 3, 1, 0xff, 0xff]] {
                let mut stream = site.phone.inside(connect);
                stream.write_all(garbage).unwrap();
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
            assert!(get_tls(&site.phone, &ca, &[]).is_full());
        });
    });
}

#[test]
fn no_key_is_shown_listed_or_saved() {
    lab::run("https::no_key_is_shown_listed_or_saved", |lab| {
        site(lab, "", |site| {
            let ca = authority(site);
            let folder = lab.folder().join("tls");
            let keys: Vec<String> = ["authority.pem", "ecdsa.pem", "rsa.pem"]
                .iter()
                .map(|file| std::fs::read_to_string(folder.join(file)).unwrap())
                .map(|text| text.split_once("PRIVATE KEY-----\n").unwrap().1[..64].to_owned())
                .collect();
            let backup = lab.folder().join("all.backup").display().to_string();
            site.agent.offhook(&["backup", &backup]);
            let shown = [
                site.agent.offhook(&["tls", "list"]),
                site.agent.offhook(&["--json", "tls", "list"]),
                site.agent.offhook(&["tls", "ca"]),
                String::from_utf8_lossy(&std::fs::read(&backup).unwrap()).into_owned(),
                String::from_utf8_lossy(&std::fs::read(lab.folder().join("data/offhook.db")).unwrap())
                    .into_owned(),
            ];
            for (key, text) in keys.iter().flat_map(|key| shown.iter().map(move |text| (key, text))) {
                assert!(!text.contains(key.as_str()) && !text.contains("PRIVATE KEY"));
            }
            assert_eq!(shown[2], std::fs::read_to_string(&ca).unwrap());
            let secure = site.agent.json(&["url", MAC, "--https", "--host", SERVER]);
            assert!(
                secure[0]["url"].as_str().unwrap().starts_with(&format!("https://{SERVER}:8481/d/")),
                "{secure}"
            );
            for key in ["tls/authority.pem", "../tls/rsa.pem", "rsa.pem", "authority.pem"] {
                assert_eq!(
                    curl(&site.phone, &format!("http://{SERVER}:8480/{key}"), &["--path-as-is"]).status,
                    404
                );
            }
            let path: PathBuf = folder.join("ca.crt");
            assert_eq!(std::fs::read_to_string(path).unwrap(), shown[2]);
        });
    });
}
