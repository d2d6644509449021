//! Keeps DISCOVERs of probes rare: a file says when the last one of each interface was, for commands and agents alike.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::clock::{Clock, Timestamp};

/// A server may keep an address for a client that was offered one, for about a minute; ten pass between two.
const BETWEEN: Duration = Duration::from_mins(10);

/// Whether a DISCOVER may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now; it is written down.
    Ours,
    /// Not before this time is over.
    In(Duration),
}

impl Turn {
    /// Takes a turn on an interface, if one is due. `data` is the agent's data folder.
    pub fn take(data: &Path, interface: &str, clock: &Clock) -> io::Result<Self> {
        fs::create_dir_all(data)?;
        let path = data.join(format!("dhcp-probe.{interface}"));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        // The folder is the agent's: a link there must not lead a command of root to another file.
        let file = options.custom_flags(libc::O_NOFOLLOW).open(&path)?;
        // A command of root leaves it to the agent's user.
        if let Ok(folder) = fs::metadata(data) {
            let _ = fchown(&file, Some(folder.uid()), Some(folder.gid()));
        }
        let mut file =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if let Some(left) = left(&text, clock) {
            return Ok(Self::In(left));
        }
        let (boot, wall) = (clock.boot(), clock.now());
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {} {}", boot.boot.0.replace(' ', "-"), boot.ms, wall.0)?;
        Ok(Self::Ours)
    }
}

/// How long the last turn still counts: by the boot clock, and after another boot by the wall clock.
fn left(text: &str, clock: &Clock) -> Option<Duration> {
    let mut words = text.split_whitespace();
    let boot = words.next()?;
    let mut number = || words.next()?.parse::<i64>().ok();
    let (ms, wall) = (number()?, Timestamp(number()?));
    let now = clock.boot();
    let passed =
        if now.boot.0.replace(' ', "-") == boot { now.ms - ms } else { clock.now().0.saturating_sub(wall.0) };
    // A clock that was set back does not forbid it for ever.
    let passed = u64::try_from(passed).ok()?;
    BETWEEN.checked_sub(Duration::from_millis(passed)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_agents_folder_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        std::os::unix::fs::symlink(&precious, folder.path().join("dhcp-probe.eth0")).unwrap();
        assert!(Turn::take(folder.path(), "eth0", &Clock::manual(Timestamp(0))).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
    }

    #[test]
    fn a_turn_is_due_every_ten_minutes_on_each_interface() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let take = |interface| Turn::take(&data, interface, &clock).unwrap();
        assert_eq!(take("eth0"), Turn::Ours);
        assert_eq!(take("eth0"), Turn::In(BETWEEN));
        assert_eq!(take("eth1"), Turn::Ours);
        clock.advance(Duration::from_mins(9));
        clock.set_wall(Timestamp(0));
        assert_eq!(take("eth0"), Turn::In(Duration::from_mins(1)), "nobody sets the boot clock");
        clock.advance(Duration::from_mins(1));
        assert_eq!(take("eth0"), Turn::Ours);
        clock.reboot();
        clock.advance(Duration::from_mins(4));
        assert_eq!(take("eth0"), Turn::In(Duration::from_mins(6)));
        clock.set_wall(Timestamp(-1_000_000));
        assert_eq!(take("eth0"), Turn::Ours, "a wall clock that was set back");
    }

    #[test]
    fn a_file_that_says_nothing_forbids_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "x", "boot 1", "boot x y", "\u{0}"] {
            fs::write(folder.path().join("dhcp-probe.eth0"), text).unwrap();
            assert_eq!(Turn::take(folder.path(), "eth0", &Clock::System).unwrap(), Turn::Ours, "{text:?}");
        }
    }
}
