//! An agent that is killed, or whose disk fails, at every call of one release: no password has left that the database does
//! not know of, and the phone's next try succeeds. strace is attached to the running agent and does the harm.
//! `OFFHOOK_RACES`, where it is set, says that every call is tried; else every third.

use std::path::PathBuf;

use crate::attack::has_secret;
use crate::lab::{self, Lab, Process};
use crate::release::{FILE, Got, MAC, SERVER, Site, curl, get, site};

/// What writes files, and what sends.
const CALLS: &str = "write,pwrite64,fdatasync,fsync,ftruncate,sendto,sendmsg,writev,unlink,fcntl";
/// What a full or broken disk makes fail. Not `write`, by which the runtime also wakes its own threads.
const DISK: &str = "pwrite64,fdatasync,fsync,ftruncate";
/// A release makes fewer calls than this on any one thread.
const CALLS_MAX: usize = 200;

/// Whether this machine lets one process look at another's calls.
fn possible(lab: &Lab) -> bool {
    if !lab::has("strace") {
        return false;
    }
    let host = lab.host("tracer", "192.168.99.1/24");
    let (ok, text) = host.attempt(&["strace", "-o", "/dev/null", "-e", "trace=write", "true"]);
    if !ok {
        lab::skip(&format!("strace: {}", text.lines().next().unwrap_or_default()));
    }
    ok
}

/// strace on the running agent, with these arguments; what it sees stands in the file.
fn trace(site: &mut Site<'_>, arguments: &[&str]) -> (Process, PathBuf) {
    let (file, id) = (site.lab.folder().join("strace"), site.agent.process().id().to_string());
    let command = ["strace", "-f", "-p", &id, "-o", file.to_str().unwrap()];
    let mut strace = site.agent.host().spawn(&[&command, arguments].concat());
    strace.line("attached");
    (strace, file)
}

fn patient(site: &Site<'_>) -> Got {
    curl(&site.phone, &format!("http://{SERVER}:8480/{FILE}"), &["-m", "5"])
}

fn step() -> usize {
    if std::env::var_os("OFFHOOK_RACES").is_some() { 1 } else { 3 }
}

#[test]
fn case_01_the_commit_is_on_disk_before_the_first_octet_of_a_password_is_sent() {
    lab::run("crash::case_01_the_commit_is_on_disk_before_the_first_octet_of_a_password_is_sent", |lab| {
        if !possible(lab) {
            return;
        }
        site(lab, "", |site| {
            let calls = format!("trace={CALLS}");
            let (strace, file) = trace(site, &["-s", "100000", "-e", &calls]);
            assert!(get(&site.phone).is_full());
            drop(strace);
            let seen = std::fs::read_to_string(file).unwrap();
            let lines: Vec<&str> = seen.lines().collect();
            let place = |what: &str, from: usize, fits: &dyn Fn(&str) -> bool| {
                let found = lines.iter().skip(from).position(|line| fits(line));
                from + found.unwrap_or_else(|| panic!("no {what} after line {from} of\n{}", short(&seen)))
            };
            let row = place("row", 0, &|line| line.contains("pwrite64(") && line.contains("released"));
            let synced = place("sync", row, &|line| line.contains("sync") && line.ends_with("= 0"));
            let sent = place("password", 0, &|line| has_secret(line.as_bytes()));
            assert!(lines[sent].contains("writev(") || lines[sent].contains("sendto("), "{}", lines[sent]);
            assert!(synced < sent, "line {synced} is not before line {sent} of\n{}", short(&seen));
            assert_eq!(lines.iter().filter(|line| has_secret(line.as_bytes())).count(), 1, "sent once");
        });
    });
}

/// What came of one release under harm: whether passwords arrived without a row, and the phone's next try.
fn judge(site: &Site<'_>, what: &str, got: &Got, rows: usize) {
    let released = site.agent.audit("released").len();
    let leaked = has_secret(got.body.as_bytes());
    assert!(!leaked || released > rows, "{what}: passwords left, and nothing is written down\n{got:?}");
    assert!(
        leaked || got.status != 200,
        "{what}: a file without passwords to a phone that needs them\n{got:?}"
    );
}

#[test]
fn case_28_killed_at_every_call() {
    lab::run("crash::case_28_killed_at_every_call", |lab| {
        if !possible(lab) {
            return;
        }
        site(lab, "", |site| {
            let mut killed = 0;
            let mut quiet = 0;
            for call in (1..CALLS_MAX).step_by(step()) {
                let rows = site.agent.audit("released").len();
                let inject = format!("inject={CALLS}:signal=KILL:when={call}");
                let (strace, file) = trace(site, &["-e", &inject]);
                let got = patient(site);
                drop(strace);
                // A phone hears of the kill before whoever started the agent does.
                let dead = if got.is_full() {
                    site.agent.process().has_ended()
                } else {
                    lab::poll("the agent's end", || site.agent.process().has_ended().then_some(true))
                };
                let last = last_line(&file);
                if dead {
                    killed += 1;
                    quiet = 0;
                    site.agent.kill();
                    judge(site, &format!("killed at call {call} ({last})"), &got, rows);
                    site.agent.begin(&[]);
                } else {
                    quiet += 1;
                    assert!(got.is_full(), "call {call}: {got:?}");
                }
                again(site, call);
                if quiet == 3 {
                    break;
                }
            }
            println!("killed at {killed} calls");
            assert!(killed > 3 && quiet == 3);
            site.agent.offhook(&["audit", "verify"]);
        });
    });
}

#[test]
fn case_28_the_disk_fails_at_every_call() {
    lab::run("crash::case_28_the_disk_fails_at_every_call", |lab| failing(lab, "EIO"));
}

#[test]
fn case_29_the_disk_is_full_at_every_call() {
    lab::run("crash::case_29_the_disk_is_full_at_every_call", |lab| failing(lab, "ENOSPC"));
}

fn failing(lab: &Lab, error: &str) {
    if !possible(lab) {
        return;
    }
    site(lab, "", |site| {
        let (mut failed, mut quiet) = (0, 0);
        for call in (1..CALLS_MAX).step_by(step()) {
            let rows = site.agent.audit("released").len();
            let inject = format!("inject={DISK}:error={error}:when={call}");
            let (strace, file) = trace(site, &["-e", &inject]);
            let got = patient(site);
            drop(strace);
            let harmed = std::fs::read_to_string(&file).unwrap().contains("(INJECTED)");
            judge(site, &format!("{error} at call {call}"), &got, rows);
            again(site, call);
            (failed, quiet) = if harmed { (failed + 1, 0) } else { (failed, quiet + 1) };
            if quiet == 3 {
                break;
            }
        }
        println!("{error} at {failed} calls");
        assert!(failed > 1 && quiet == 3);
        assert!(!site.agent.process().has_ended());
        let said = site.agent.process().output();
        assert!(!said.contains("panicked"), "{said}");
        site.agent.offhook(&["audit", "verify"]);
    });
}

/// The phone tries again, and is served; then its passwords may leave once more.
fn again(site: &Site<'_>, call: usize) {
    lab::poll(&format!("the phone's next try after call {call}"), || {
        Some(patient(site)).filter(Got::is_full)
    });
    site.agent.rearm(MAC);
}

/// The beginning of every line.
fn short(text: &str) -> String {
    text.lines().map(|line| line.chars().take(100).chain(['\n']).collect::<String>()).collect()
}

fn last_line(file: &PathBuf) -> String {
    let seen = std::fs::read_to_string(file).unwrap_or_default();
    seen.lines().rev().find(|line| !line.contains("+++")).unwrap_or_default().chars().take(120).collect()
}
