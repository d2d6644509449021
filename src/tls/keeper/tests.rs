//! What is kept, issued again and read again, in a folder of its own.

use std::fs;
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::config::HostName;
use crate::net::interfaces::Table;

struct Bench {
    folder: tempfile::TempDir,
    config: HttpsConfig,
    clock: Clock,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    Bench { folder, config: HttpsConfig::default(), clock: Clock::manual(Timestamp(1_800_000_000_000)) }
}

fn names(besides: &[&str]) -> Names {
    let quoted = |name: &&str| serde_json::from_value(serde_json::json!(name)).unwrap();
    let besides: Vec<HostName> = besides.iter().map(quoted).collect();
    Names::of(&Table::default(), "pbx", &besides)
}

impl Bench {
    fn open(&self) -> Result<Tls, TlsError> {
        let options = TlsOptions {
            folder: self.folder.path().join("tls"),
            config: self.config.clone(),
            host: "pbx".to_owned(),
            clock: self.clock.clone(),
            entropy: Entropy::System,
        };
        Tls::open(options, &names(&["192.168.1.35"]))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a certificate and its key of an administrator.
    fn write_own(&self, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(self.path("own.pem"), public_pem(made.cert.der())).unwrap();
        fs::write(self.path("own.key"), private_pem(&made.signing_key)).unwrap();
    }
}

/// A key as OpenSSL writes it.
fn private_pem(key: &rcgen::KeyPair) -> String {
    let lines = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.serialize_der());
    format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n")
}

/// The certificates that are shown, by their octets.
fn shown(tls: &Tls) -> Vec<Vec<u8>> {
    let shown = tls.0.shown();
    shown.certificates.0.iter().map(|one| one.cert[0].to_vec()).collect()
}

#[test]
fn a_second_start_shows_what_the_first_one_made() {
    let bench = bench();
    let first = bench.open().unwrap();
    let again = bench.open().unwrap();
    assert_eq!(shown(&first), shown(&again));
    assert_eq!((shown(&first).len(), first.fingerprint()), (2, again.fingerprint()));
    assert_eq!(fs::read_to_string(bench.path("tls/ca.crt")).unwrap(), first.authority_pem());
    first.acceptor().unwrap();
    for secret in ["authority.pem", "ecdsa.pem", "rsa.pem"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(bench.path("tls").join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    fs::write(bench.path("tls/rsa.pem"), "broken").unwrap();
    let repaired = bench.open().unwrap();
    assert_eq!(shown(&repaired)[0], shown(&first)[0]);
    assert_ne!(shown(&repaired)[1], shown(&first)[1]);
    fs::write(bench.path("tls/authority.pem"), "broken").unwrap();
    let error = bench.open().unwrap_err().to_string();
    assert!(error.contains("authority.pem"), "a broken authority is not replaced by itself: {error}");
}

#[test]
fn another_address_and_the_end_of_its_time_make_a_new_one() {
    let bench = bench();
    let tls = bench.open().unwrap();
    let first = shown(&tls);
    tls.refresh(&names(&["192.168.1.35"]));
    tls.refresh(&names(&[]));
    assert_eq!(shown(&tls), first);
    tls.refresh(&names(&["192.168.1.36"]));
    let moved = shown(&tls);
    assert!(moved.len() == 2 && moved != first);
    tls.refresh(&names(&["192.168.1.36", "pbx.example.com"]));
    assert_eq!(
        shown(&tls),
        moved,
        "the authority may not issue for a name of the public net that it was not made for"
    );
    bench.clock.advance(Duration::from_hours(24 * 300));
    tls.refresh(&names(&["192.168.1.36"]));
    assert!(shown(&tls).len() == 2 && shown(&tls) != moved);
    assert_eq!(shown(&bench.open().unwrap()).len(), 2);
}

#[test]
fn an_administrators_certificate_comes_first_and_a_broken_one_changes_nothing() {
    let mut bench = bench();
    bench.config.certificate = Some(bench.path("own.pem"));
    bench.config.key = Some(bench.path("own.key"));
    let tls = bench.open().unwrap();
    assert_eq!(shown(&tls).len(), 2, "there is none yet");
    assert!(tls.summary().contains("cannot be used"), "{}", tls.summary());
    let refreshed = || {
        tls.refresh(&names(&["192.168.1.35"]));
        shown(&tls)
    };
    bench.write_own("a.lan");
    let first = refreshed();
    assert_eq!(first.len(), 3);
    assert!(tls.summary().contains("own.pem"), "{}", tls.summary());
    fs::write(bench.path("own.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    assert_eq!(refreshed(), first, "a broken certificate");
    fs::remove_file(bench.path("own.pem")).unwrap();
    assert_eq!(refreshed(), first, "a certificate that is gone");
    let key = fs::read(bench.path("own.key")).unwrap();
    bench.write_own("b.lan");
    let new = fs::read(bench.path("own.key")).unwrap();
    fs::write(bench.path("own.key"), key).unwrap();
    assert_eq!(refreshed(), first, "a certificate whose key has not been written yet");
    fs::write(bench.path("own.key"), new).unwrap();
    assert_ne!(refreshed(), first);
}

#[test]
fn phones_are_asked_for_certificates_once_an_authority_is_there() {
    let mut bench = bench();
    bench.config.client_ca = Some(bench.path("roots"));
    let tls = bench.open().unwrap();
    assert!(tls.summary().contains("NO authority"), "{}", tls.summary());
    let vendors = || tls.0.shown().vendors.is_some();
    assert!(!vendors());
    fs::create_dir(bench.path("roots")).unwrap();
    fs::write(bench.path("roots/broken.pem"), "nothing").unwrap();
    let made = rcgen::generate_simple_self_signed(["Vendor Root".to_owned()]).unwrap();
    fs::write(bench.path("roots/vendor.crt"), public_pem(made.cert.der())).unwrap();
    tls.refresh(&names(&[]));
    assert!(vendors());
    assert!(tls.summary().contains("one authority"), "{}", tls.summary());
    let (_, witness) = tls.acceptor().unwrap();
    tls.refresh(&names(&[]));
    assert!(tls.is_current(&witness), "nothing has changed");
    fs::write(bench.path("roots/other.der"), made.cert.der()).unwrap();
    tls.refresh(&names(&[]));
    assert!(tls.summary().contains("2 authorities"), "{}", tls.summary());
    for file in ["vendor.crt", "other.der"] {
        fs::remove_file(bench.path("roots").join(file)).unwrap();
    }
    tls.refresh(&names(&[]));
    assert!(!vendors(), "an authority that was taken away proves nobody any more");
    assert!(!tls.is_current(&witness), "nor in a connection that began before");
}
