//! Runs a program for one alarm: no shell, JSON on its standard input, a clean environment, ten seconds. It runs as the
//! agent's user; what it starts goes with it when its time is over.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;

use crate::config::AlarmCommand;

/// How long it may run.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// All of its environment.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// The program that alarms are given to.
pub(super) struct Command {
    program: String,
    arguments: Vec<String>,
    ends_within: Duration,
}

impl Command {
    pub(super) fn new(command: &AlarmCommand) -> Option<Self> {
        let (program, arguments) = command.words()?;
        Some(Self { program: program.to_owned(), arguments: arguments.to_vec(), ends_within: ENDS_WITHIN })
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) async fn run(&self, json: &str) -> Result<(), String> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that what it starts can be ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start it: {error}"))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let ended = tokio::time::timeout(self.ends_within, feed(&mut child, json)).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it ended with {status}")),
            Ok(Err(error)) => Err(format!("cannot run it: {error}")),
            Err(_) => {
                if let Some(group) = group {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                let _ = child.wait().await;
                Err(format!("it was ended after {:?}", self.ends_within))
            }
        }
    }
}

/// A program that does not read its input is no failure.
async fn feed(child: &mut Child, json: &str) -> std::io::Result<std::process::ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        let line = format!("{json}\n");
        let _ = stdin.write_all(line.as_bytes()).await;
    }
    child.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        Command { program: "/bin/sh".to_owned(), arguments, ends_within: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn a_command_gets_the_alarm_and_a_clean_environment() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out").display().to_string();
        shell(&format!("cat > {out}; env >> {out}; pwd >> {out}")).run("{\"id\":7}").await.unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        assert!(text.starts_with("{\"id\":7}\n"), "{text}");
        assert!(!text.contains("CARGO") && !text.contains("HOME"), "{text}");
        assert!(text.contains("\nPATH=/usr/local/sbin:") && text.ends_with("/\n"), "{text}");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_is_not_there_is_told() {
        let error = shell("exit 3").run("{}").await.unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
        let missing = Command { program: "/nonexistent/page".to_owned(), ..shell("") };
        assert!(missing.run("{}").await.unwrap_err().starts_with("cannot start it: "));
        shell("exec 0<&-; exit 0").run(&"x".repeat(1_000_000)).await.unwrap();
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", path.display());
        let slow = Command { ends_within: Duration::from_millis(300), ..shell(&script) };
        assert_eq!(slow.run("{}").await.unwrap_err(), "it was ended after 300ms");
        let pid = Pid::from_raw(std::fs::read_to_string(path).unwrap().trim().parse().unwrap());
        let gone = |pid: Pid| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        // It is sent a signal; init takes it up a little later.
        while !gone(pid) {
            tokio::task::yield_now().await;
        }
    }
}
