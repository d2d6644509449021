//! Secrets at rest, with the built program: what lies on disk and what commands print holds none, a change of keys
//! survives a death at any system call, and nobody reads the agent's memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::agent::{Agent, OFFHOOK, Setup, configure};
use crate::lab;

/// The system calls at which a command dies: each changes what is on disk, or makes it durable. One kind at a time,
/// because strace counts them for each thread.
const DEATHS: [&str; 6] =
    ["fsync", "fdatasync", "rename,renameat,renameat2", "link,linkat", "unlink,unlinkat", "pwrite64"];
/// More calls of one kind than any of these commands has.
const CALLS_MAX: usize = 400;

const PHONES: [&str; 3] = ["80:5e:c0:aa:bb:01", "80:5e:c0:aa:bb:02", "80:5e:c0:aa:bb:03"];

/// Every password is its own, and like nothing else.
fn accounts() -> String {
    let rows = PHONES
        .iter()
        .enumerate()
        .map(|(n, mac)| format!("{mac},yealink,T46U,10{n},canary-sip-{n}-q7,canary-web-{n}-x4,7351928{n}\n"));
    rows.fold("mac,vendor,model,username,password,web_password,menu_password\n".to_owned(), |text, row| {
        text + &row
    })
}

fn offhook(config: &Path, arguments: &[&str]) -> Output {
    Command::new(OFFHOOK).arg("--config").arg(config).args(arguments).output().unwrap()
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(config: &Path, arguments: &[&str]) -> String {
    let output = offhook(config, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", printed(&output));
    printed(&output)
}

/// A folder with a configuration and an inventory of its own.
fn inventory(folder: &Path) -> PathBuf {
    let config = configuration(folder);
    let sheet = folder.join("accounts.csv");
    fs::write(&sheet, accounts()).unwrap();
    done(&config, &["import", &sheet.to_string_lossy()]);
    fs::remove_file(sheet).unwrap();
    config
}

/// The configuration of an inventory in this folder.
fn configuration(folder: &Path) -> PathBuf {
    let config = folder.join("etc/offhook.toml");
    fs::create_dir_all(folder.join("etc")).unwrap();
    fs::write(&config, format!("[agent]\ndata_dir = \"{}\"\n", folder.join("data").display())).unwrap();
    config
}

/// Every secret of the inventory as `reveal` and `url` show it.
fn secrets(config: &Path) -> BTreeSet<String> {
    let mut secrets = BTreeSet::new();
    for mac in PHONES {
        for kind in ["sip", "menu", "webui"] {
            secrets.insert(done(config, &["device", "reveal", mac, "--kind", kind]).trim().to_owned());
        }
        let urls = done(config, &["url", mac]);
        let token = urls.split("/d/").nth(1).expect("a URL of the phone's own").split('/').next().unwrap();
        secrets.insert(token.to_owned());
    }
    assert_eq!(secrets.len(), 4 * PHONES.len());
    secrets
}

/// A key in the forms in which it might slip out.
fn forms(key: &str) -> Vec<Vec<u8>> {
    let raw: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&key[2 * n..2 * n + 2], 16).unwrap()).collect();
    vec![key.as_bytes().to_vec(), key.to_uppercase().into_bytes(), base64(&raw), raw]
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        (0..=three.len()).map(move |n| LETTERS[bits >> (18 - 6 * n) & 63])
    };
    bytes.chunks(3).flat_map(group).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn keys(folder: &Path) -> Vec<String> {
    let key = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().starts_with("offhook.key");
    let texts = files(folder).into_iter().filter(key).map(|file| fs::read_to_string(file).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn no_secret_and_no_key_is_in_a_file_or_on_a_screen() {
    lab::run("keys::no_secret_and_no_key_is_in_a_file_or_on_a_screen", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let agent = Agent::start(lab, &server, &Setup { accounts: accounts(), ..Setup::default() });
        let (folder, backup) = (lab.folder(), lab.folder().join("backup"));
        let config = folder.join("offhook.toml");
        fs::remove_file(folder.join("accounts.csv")).unwrap();
        let secrets = server.inside(|| secrets(&config));
        let backup = backup.to_string_lossy();
        let mut shown = String::new();
        for command in [
            vec!["key", "show"],
            vec!["backup", &backup],
            vec!["key", "rotate"],
            vec!["--json", "key", "rotate"],
            vec!["--json", "key", "show"],
            vec!["--json", "backup", &backup],
            vec!["--json", "device", "list"],
            vec!["--json", "account", "list"],
            vec!["export"],
        ] {
            shown.push_str(&done(&config, &command));
        }
        let refused = offhook(&config, &["restore", &backup]);
        assert_eq!(refused.status.code(), Some(1), "{}", printed(&refused));
        assert!(printed(&refused).contains("stop the agent first"), "{}", printed(&refused));
        assert_eq!(agent.json(&["device", "list"]).as_array().unwrap().len(), PHONES.len());
        assert!(folder.join("data/offhook.db-wal").exists(), "the agent has the database open");
        let mut places: Vec<(String, Vec<u8>)> = disk(folder);
        shown.push_str(&agent.stop());
        shown.push_str(&done(&config, &["restore", &backup]));
        shown.push_str(&done(&config, &["--json", "restore", &backup]));
        places.extend(disk(folder));
        places.push(("what was printed".to_owned(), shown.into_bytes()));

        let keys = keys(folder);
        assert_eq!(keys.len(), 3, "two changes of keys");
        let wanted = secrets.iter().map(|secret| secret.as_bytes().to_vec());
        let wanted: Vec<Vec<u8>> = wanted.chain(keys.iter().flat_map(|key| forms(key))).collect();
        assert!(
            places.iter().any(|(_, bytes)| holds(bytes, b"80:5e:c0:aa:bb:01")),
            "the search finds what is there"
        );
        for (name, bytes) in &places {
            for secret in &wanted {
                assert!(!holds(bytes, secret), "{name} holds {}", String::from_utf8_lossy(secret));
            }
        }
    });
}

/// Every file of the folder but those that are keys.
fn disk(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let is_key = |file: &PathBuf| file.to_string_lossy().contains("offhook.key");
    let files = files(folder).into_iter().filter(|file| !is_key(file));
    files.filter_map(|file| Some((file.display().to_string(), fs::read(file).ok()?))).collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Runs a command on copies of an inventory, and kills each at another step, until it comes to its end. What is left
/// must be one of the `states`, and the command must do then what it did not. Gives how often it was killed.
fn dies_anywhere(pattern: &Path, command: &[&str], states: &[String]) -> usize {
    let mut deaths = 0;
    for kind in DEATHS {
        let mut call = 1;
        while call < CALLS_MAX {
            let folder = tempfile::tempdir().unwrap();
            let config = copy(pattern, folder.path());
            let output = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={kind}")])
                .args(["-e", &format!("inject={kind}:signal=KILL:when={call}")])
                .args([OFFHOOK, "--config"])
                .arg(&config)
                .args(command)
                .output()
                .unwrap();
            let at = format!("{command:?}, killed at {kind} {call}: {}", printed(&output));
            // With the files as they are, whatever they are.
            assert!(states.contains(&exported(&config)), "{at}");
            if output.status.success() {
                break;
            }
            deaths += 1;
            // The first few one by one; of many alike, some.
            call += 1 + call / 8;
            done(&config, command);
            assert_eq!(Some(&exported(&config)), states.last(), "{at}; then again");
            let shown = done(&config, &["key", "show"]);
            assert!(shown.contains("current") && !shown.contains("missing"), "{at}: {shown}");
        }
    }
    println!("{command:?} was killed at each of {deaths} steps");
    deaths
}

/// Another inventory with the same contents.
fn copy(pattern: &Path, folder: &Path) -> PathBuf {
    let ended = Command::new("cp").arg("-a").arg(pattern.join(".")).arg(folder).status().unwrap();
    assert!(ended.success());
    configuration(folder)
}

/// Everything that a person gave to the inventory, passwords too, and a token.
fn exported(config: &Path) -> String {
    done(config, &["export", "--with-secrets"]) + &done(config, &["url", PHONES[0]])
}

#[test]
fn a_change_of_keys_that_dies_anywhere_leaves_what_opens() {
    if !lab::has("strace") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = inventory(folder.path());
    let deaths = dies_anywhere(folder.path(), &["key", "rotate"], &[exported(&config)]);
    assert!(deaths > 10, "{deaths}");
}

#[test]
fn a_restore_that_dies_anywhere_leaves_one_database_or_the_other() {
    if !lab::has("strace") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = inventory(folder.path());
    let (backup, yesterday) = (folder.path().join("backup"), exported(&config));
    let backup = backup.to_string_lossy();
    done(&config, &["backup", &backup]);
    done(&config, &["account", "move", "101", "pool"]);
    let deaths = dies_anywhere(folder.path(), &["restore", &backup], &[exported(&config), yesterday]);
    assert!(deaths > 10, "{deaths}");
}

#[test]
fn a_backup_goes_to_another_host_with_its_key() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (config, new) = (inventory(one.path()), other.path().join("offhook.toml"));
    fs::write(&new, format!("[agent]\ndata_dir = \"{}\"\n", other.path().join("data").display())).unwrap();
    let backup = one.path().join("backup");
    let (backup, key) = (backup.to_string_lossy(), one.path().join("etc/offhook.key"));
    assert!(done(&config, &["backup", &backup]).contains("NOT in it"));
    let refused = offhook(&new, &["restore", &backup]);
    assert_eq!(refused.status.code(), Some(3), "{}", printed(&refused));
    assert!(printed(&refused).contains("key file"), "{}", printed(&refused));
    done(&new, &["restore", &backup, "--key", &key.to_string_lossy()]);
    assert_eq!(secrets(&new), secrets(&config));
    assert!(done(&config, &["backup", "--include-key", &backup]).contains("WARNING"));
    assert!(holds(
        &fs::read(one.path().join("backup")).unwrap(),
        fs::read_to_string(key).unwrap().trim().as_bytes()
    ));
}

#[test]
fn a_key_that_systemd_gives_is_used_and_without_it_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = inventory(folder.path());
    let (key, given) = (folder.path().join("etc/offhook.key"), folder.path().join("credentials"));
    let before = exported(&config);
    fs::create_dir(&given).unwrap();
    fs::rename(&key, given.join("offhook-key")).unwrap();
    let with_key = |arguments: &[&str]| {
        let mut command = Command::new(OFFHOOK);
        command
            .env("CREDENTIALS_DIRECTORY", &given)
            .arg("--config")
            .arg(&config)
            .args(arguments)
            .output()
            .unwrap()
    };
    let shown = with_key(&["export", "--with-secrets"]);
    assert!(shown.status.success() && before.starts_with(&*String::from_utf8_lossy(&shown.stdout)));
    assert!(printed(&with_key(&["key", "show"])).contains("systemd credential"));
    let refused = with_key(&["key", "rotate"]);
    assert_eq!(refused.status.code(), Some(1), "{}", printed(&refused));
    assert!(printed(&refused).contains("systemd-creds encrypt"), "{}", printed(&refused));

    let backup = folder.path().join("backup");
    let backup = backup.to_string_lossy();
    for fine in [vec!["device", "list"], vec!["account", "list"], vec!["export"], vec!["backup", &backup]] {
        done(&config, &fine);
    }
    let reveal = ["device", "reveal", PHONES[0], "--kind", "sip"];
    for missed in [&["run"][..], &reveal, &["key", "rotate"], &["restore", &backup]] {
        let refused = offhook(&config, missed);
        assert_eq!(refused.status.code(), Some(3), "{missed:?}: {}", printed(&refused));
        let words = printed(&refused);
        assert!(words.contains("is missing") && words.contains("start the service"), "{missed:?}: {words}");
    }
    assert!(!key.exists(), "no new key is made");
}

#[test]
fn nobody_reads_the_agents_memory() {
    lab::run("keys::nobody_reads_the_agents_memory", |lab| {
        let server = lab.host("agent", "192.168.1.35/24");
        let quiet = "[tftp]\nlisten = \"off\"\n";
        let config =
            configure(lab.folder(), &server, &Setup { accounts: accounts(), config: quiet.to_owned() });
        // Without capabilities, as a service's user is: what keeps others out must be the process's own doing.
        let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
        let like_it = server.spawn(&[&bare[..], &["sleep", "100"]].concat());
        let agent =
            server.spawn(&[&bare[..], &[OFFHOOK, "--config", &config.to_string_lossy(), "run"]].concat());
        server.await_tcp(8480);
        let look = |id: u32| {
            let file = format!("/proc/{id}/environ");
            server.attempt(&[&bare[..], &["cat", &file]].concat()).0
        };
        lab::poll("a look into another process of this user", || look(like_it.id()).then_some(()));
        assert!(!look(agent.id()));
    });
}
