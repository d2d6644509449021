//! The demonstration as a newcomer sees it: it comes up within seconds as an ordinary program on loopback, shows every
//! phone registered and no password, leaves nothing behind, and ends on Ctrl-C.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::OFFHOOK;

/// "Within a few seconds", on a machine that is busy with other tests.
const SECONDS_MAX: Duration = Duration::from_secs(20);

/// Starts the demonstration with a folder of its own for temporary files.
fn start(folder: &tempfile::TempDir, arguments: &[&str]) -> Child {
    let mut command = Command::new(OFFHOOK);
    command.arg("demo").args(arguments).env("TMPDIR", folder.path());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn is_empty(folder: &tempfile::TempDir) -> bool {
    std::fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[test]
fn every_phone_of_the_demonstration_comes_up() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = start(&folder, &["--once", "--json"]).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(started.elapsed() < SECONDS_MAX);
    assert!(!text.contains("change-me"), "a password is shown");
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let phones = shown["phones"].as_array().unwrap();
    assert!(phones.len() >= 4, "{text}");
    for phone in phones {
        assert_eq!(phone["registered"], true, "{phone}");
        assert_eq!(phone["remarks"], serde_json::json!([]), "our own agent deserves no remark: {phone}");
        assert_eq!((&phone["web_password"], &phone["own_url"]), (&true.into(), &true.into()), "{phone}");
        assert!(phone["way"].is_string(), "{phone}");
        let second = &phone["second_life"];
        assert_eq!((&second["life"], &second["registered"]), (&2.into(), &true.into()), "{second}");
        assert_eq!((&second["missing"], &second["lost"]), (&serde_json::json!([]), &serde_json::json!([])));
        let kept: Vec<&str> =
            second["kept"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
        let is_password = |name: &&str| {
            let name = name.to_lowercase();
            ["password", "pswd"].iter().any(|end| name.ends_with(end)) || name.starts_with("user_pass")
        };
        let accounts = second["accounts"].as_array().unwrap();
        assert!(kept.iter().filter(|name| is_password(name)).count() > accounts.len(), "{kept:?}");
        assert!(accounts.iter().all(|account| account["password_kept"] == true), "{second}");
    }
    let accounts = phones.iter().map(|phone| phone["accounts"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(shown["registered"].as_array().unwrap().len(), accounts);
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn the_demonstration_goes_on_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(&folder, &[]);
    let mut out = demo.stdout.take().unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("Press Ctrl-C") {
        let length = out.read(&mut piece).unwrap();
        assert_ne!(length, 0, "it ended by itself:\n{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    assert!(demo.try_wait().unwrap().is_none());
    let pid = nix::unistd::Pid::from_raw(demo.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(demo.wait().unwrap().success());
    assert!(is_empty(&folder), "something is left behind");
}
