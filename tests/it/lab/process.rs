//! A running program of a lab: its lines as they come, and its end with the handle.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// How long the last lines of a program that has ended may take to come out of its pipes.
const PIPE_EMPTIED: std::time::Duration = std::time::Duration::from_secs(1);

/// A program that was started, and the lines it has printed on both outputs.
pub(crate) struct Process {
    child: Child,
    label: String,
    lines: Arc<Lines>,
}

#[derive(Default)]
struct Lines {
    text: Mutex<Vec<String>>,
    more: Condvar,
}

impl Process {
    pub(super) fn start(mut command: Command, label: &str) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        let lines = Arc::<Lines>::default();
        follow(child.stdout.take().expect("piped"), Arc::clone(&lines));
        follow(child.stderr.take().expect("piped"), Arc::clone(&lines));
        Self { child, label: label.to_owned(), lines }
    }

    /// The process id; `nsenter` has become the program by then.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `part` and gives it; fails with everything printed when none comes.
    pub(crate) fn line(&mut self, part: &str) -> String {
        let mut deadline = Instant::now() + PATIENCE;
        let mut is_over = false;
        let mut text = self.lines.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = text.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let ended = self.child.try_wait().ok().flatten();
            // What it printed last may still be in the pipe.
            if ended.is_some() && !is_over {
                (is_over, deadline) = (true, Instant::now() + PIPE_EMPTIED);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{}: no line with '{part}' ({ended:?}); it printed:\n{}",
                self.label,
                text.join("\n")
            );
            let step = left.min(std::time::Duration::from_millis(200));
            text = self.lines.more.wait_timeout(text, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything printed so far.
    pub(crate) fn output(&self) -> String {
        self.lines.text.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

impl Drop for Process {
    /// Asks politely, then not; by the process id.
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + std::time::Duration::from_secs(2);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines until the pipe closes, whatever bytes they are made of.
fn follow(pipe: impl Read + Send + 'static, lines: Arc<Lines>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.text.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            lines.more.notify_all();
        }
    });
}
