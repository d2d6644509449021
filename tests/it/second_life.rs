//! `offhook simulate snom`, called twice by an ordinary user: the second time the same phone lives on with what it knows.
//! The server is a script: a file with passwords, then the same without.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use offhook::clock::Entropy;
use offhook::secret::Secret;
use offhook::simulate::registrar::Registrar;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::agent::OFFHOOK;

const PASSWORDS: [&str; 2] = ["sip-hunter2", "web-hunter2"];

/// A user with a home of their own, a registrar, and a server that hands out one file.
struct Scene {
    home: tempfile::TempDir,
    with_passwords: Arc<AtomicBool>,
    url: String,
    _registrar: Registrar,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn set() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let login = [("200".to_owned(), Secret::new(PASSWORDS[0]))];
        let registrar = Registrar::start(([127, 0, 0, 1], 0).into(), login, Entropy::seeded(5));
        let registrar = runtime.block_on(registrar).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/x-{{mac}}.xml", listener.local_addr().unwrap());
        let with_passwords = Arc::new(AtomicBool::new(true));
        let (switch, host) = (Arc::clone(&with_passwords), registrar.address().to_string());
        runtime.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 2048]).await;
                let body = file(&host, switch.load(Ordering::SeqCst));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        let home = tempfile::tempdir().unwrap();
        Self { home, with_passwords, url, _registrar: registrar, _runtime: runtime }
    }

    fn simulate(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(OFFHOOK);
        command.args(["simulate", "snom", "--url", &self.url, "--address", "127.0.0.1"]).args(arguments);
        command.env("HOME", self.home.path()).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command.output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.simulate(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(PASSWORDS.iter().all(|password| !text.contains(password)), "a password is shown: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    fn kept(&self) -> Vec<PathBuf> {
        let folder = self.home.path().join(".local/share/offhook/simulated");
        std::fs::read_dir(folder)
            .map(|files| files.map(|file| file.unwrap().path()).collect())
            .unwrap_or_default()
    }
}

fn file(registrar: &str, with_passwords: bool) -> String {
    let [sip, web] = PASSWORDS;
    let passwords = format!("<user_pass idx=\"1\">{sip}</user_pass><http_pass>{web}</http_pass>");
    format!(
        "<?xml version=\"1.0\"?><settings><phone-settings><user_name idx=\"1\">200</user_name>\
         <user_host idx=\"1\">{registrar}</user_host>{}</phone-settings></settings>",
        if with_passwords { passwords.as_str() } else { "" }
    )
}

#[test]
fn called_twice_it_is_one_phone_that_keeps_its_passwords() {
    let scene = Scene::set();
    let first = scene.json(&[]);
    assert_eq!((&first["life"], &first["registered"]), (&1.into(), &true.into()), "{first}");
    let kept = scene.kept();
    let [file] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(first["kept_in"], file.to_str().unwrap());
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);

    scene.with_passwords.store(false, Ordering::SeqCst);
    let second = scene.json(&[]);
    assert_eq!((&second["mac"], &second["life"]), (&first["mac"], &2.into()), "{second}");
    assert_eq!(second["absent"], serde_json::json!(["http_pass", "user_pass1"]));
    assert_eq!((&second["kept"], &second["registered"]), (&second["absent"], &true.into()));
    let text = String::from_utf8(scene.simulate(&[]).stdout).unwrap();
    assert!(
        text.contains("life 3") && text.contains("absent now: http_pass, user_pass1; the phone keeps"),
        "{text}"
    );

    let stranger = scene.simulate(&["--forget"]);
    assert_eq!(stranger.status.code(), Some(1), "a stranger has no password");
    assert_eq!(scene.kept(), kept);
}

#[test]
fn after_a_factory_reset_it_says_what_is_missing() {
    let scene = Scene::set();
    let keep = scene.home.path().join("phone.json");
    let keep = ["--keep", keep.to_str().unwrap()];
    let first = scene.json(&keep);
    assert_eq!(scene.kept(), Vec::<PathBuf>::new(), "only the file that was named");
    scene.with_passwords.store(false, Ordering::SeqCst);
    let reset = scene.simulate(&[&keep[..], &["--factory-reset"]].concat());
    assert_eq!(reset.status.code(), Some(1));
    let text = String::from_utf8(reset.stdout).unwrap();
    let mac = first["mac"].as_str().unwrap();
    assert!(
        text.contains("missing: user_pass1") && text.contains(&format!("offhook device rearm {mac}")),
        "{text}"
    );
    // The operator lets it leave once more.
    scene.with_passwords.store(true, Ordering::SeqCst);
    let again = scene.json(&keep);
    assert_eq!((&again["life"], &again["registered"]), (&2.into(), &true.into()), "{again}");

    let other = scene.simulate(&[&keep[..], &["--mac", "00:04:13:00:00:01"]].concat());
    assert_eq!(other.status.code(), Some(2), "the memory of another phone");
}
