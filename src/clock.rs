//! Time and randomness: the only readers of the wall clock, the boot clock and the kernel's random source.
//! Everybody else takes them as arguments, so that a test decides what time it is.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// A moment of the wall clock: milliseconds since 1970-01-01 UTC. Shown and stored, never used to measure a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment plus `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment less `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, as every listing prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which boot of a host: what was measured on another boot's clock means nothing on this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BootId(pub Arc<str>);

/// A moment of the boot clock (`CLOCK_BOOTTIME`): it runs while the host sleeps, and nobody can set
/// it. Windows are measured on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootInstant {
    /// Which boot.
    pub boot: BootId,
    /// Milliseconds since it.
    pub ms: i64,
}

/// Where time comes from: the system, or a test's hand.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's own clocks.
    #[default]
    System,
    /// A clock that stands still until it is told to move.
    Manual(Arc<ManualClock>),
}

/// The state of a [`Clock::Manual`].
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    wall_ms: AtomicI64,
    elapsed_ms: AtomicU64,
    boots: AtomicU64,
    booted_ms: AtomicU64,
}

impl Clock {
    /// A clock that stands at `wall` until [`Clock::advance`] moves it.
    pub fn manual(wall: Timestamp) -> Self {
        Self::Manual(Arc::new(ManualClock {
            start: system_instant(),
            wall_ms: AtomicI64::new(wall.0),
            elapsed_ms: AtomicU64::new(0),
            boots: AtomicU64::new(1),
            booted_ms: AtomicU64::new(0),
        }))
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_timestamp(),
            Self::Manual(manual) => Timestamp(manual.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// The monotonic clock, for timers and rate limits.
    pub fn instant(&self) -> Instant {
        match self {
            Self::System => system_instant(),
            Self::Manual(manual) => {
                manual.start + Duration::from_millis(manual.elapsed_ms.load(Ordering::SeqCst))
            }
        }
    }

    /// Whether this is the machine's own time.
    pub fn is_system(&self) -> bool {
        matches!(self, Self::System)
    }

    /// The boot clock, for windows that outlive this process.
    pub fn boot(&self) -> BootInstant {
        match self {
            Self::System => system_boot(),
            Self::Manual(manual) => {
                let boot = manual.boots.load(Ordering::SeqCst);
                let elapsed = manual.elapsed_ms.load(Ordering::SeqCst);
                let ms = elapsed.saturating_sub(manual.booted_ms.load(Ordering::SeqCst));
                BootInstant {
                    boot: BootId(format!("manual boot {boot}").into()),
                    ms: i64::try_from(ms).unwrap_or(i64::MAX),
                }
            }
        }
    }

    /// Sets the wall clock of a manual clock, and no other.
    pub fn set_wall(&self, wall: Timestamp) {
        if let Self::Manual(manual) = self {
            manual.wall_ms.store(wall.0, Ordering::SeqCst);
        }
    }

    /// A manual clock's host boots anew.
    pub fn reboot(&self) {
        if let Self::Manual(manual) = self {
            manual.boots.fetch_add(1, Ordering::SeqCst);
            manual.booted_ms.store(manual.elapsed_ms.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// Moves a manual clock; the system's clock does not obey.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(manual) = self {
            let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            manual.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
            manual.wall_ms.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
fn system_timestamp() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX));
    Timestamp(since_epoch)
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
fn system_instant() -> Instant {
    Instant::now()
}

/// A kernel without a boot clock or a boot id does not exist where this runs (Linux 2.6.39); a boot id of its own for
/// this process then closes every window at its next start, which is the safe side.
fn system_boot() -> BootInstant {
    static BOOT: OnceLock<BootId> = OnceLock::new();
    let boot = BOOT.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let unknown = || format!("unknown boot, process {}", std::process::id());
        BootId(read.map_or_else(|_| unknown(), |id| id.trim().to_owned()).into())
    });
    let ms = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| time.tv_sec().saturating_mul(1000).saturating_add(time.tv_nsec() / 1_000_000));
    BootInstant { boot: boot.clone(), ms }
}

/// Where randomness comes from: the kernel, or a test's seed.
#[derive(Debug, Clone, Default)]
pub enum Entropy {
    /// The kernel's random source.
    #[default]
    System,
    /// A repeatable sequence for tests; never for secrets of a real phone.
    Seeded(Arc<RwLock<u64>>),
}

/// The kernel's random source did not answer; nothing that needs a secret may go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kernel's random source: {0}")]
pub struct EntropyError(#[from] getrandom::Error);

impl Entropy {
    /// A repeatable source.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(RwLock::new(seed)))
    }

    /// Fills an array with random bytes.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the kernel's randomness")]
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], EntropyError> {
        let mut bytes = [0u8; N];
        match self {
            Self::System => getrandom::fill(&mut bytes)?,
            Self::Seeded(state) => {
                let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
                bytes.fill_with(|| splitmix(&mut state));
            }
        }
        Ok(bytes)
    }

    /// `length` characters drawn evenly from `alphabet` (at most 256 characters; by rejection, so without bias).
    pub fn text(&self, alphabet: &str, length: usize) -> Result<String, EntropyError> {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let fair = 256 - 256 % alphabet.len().clamp(1, 256);
        let mut text = String::with_capacity(length);
        while text.chars().count() < length {
            for byte in self.bytes::<32>()? {
                let drawn = usize::from(byte);
                if drawn < fair
                    && text.chars().count() < length
                    && let Some(letter) = alphabet.get(drawn % alphabet.len().max(1))
                {
                    text.push(*letter);
                }
            }
            if alphabet.is_empty() {
                break;
            }
        }
        Ok(text)
    }
}

/// One step of the splitmix64 sequence, as a byte.
fn splitmix(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let before = clock.instant();
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Timestamp(1_700_000_003_000));
        assert_eq!(clock.instant() - before, Duration::from_secs(3));
        assert_eq!(clock.now().to_string(), "2023-11-14T22:13:23.000Z");
    }

    #[test]
    fn a_boot_clock_starts_anew_with_every_boot_and_ignores_the_wall_clock() {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        clock.advance(Duration::from_secs(3));
        let before = clock.boot();
        clock.set_wall(Timestamp(0));
        assert_eq!((clock.boot(), before.ms), (before.clone(), 3000));
        clock.reboot();
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.boot().ms, 1000);
        assert_ne!(clock.boot().boot, before.boot);
        let (first, second) = (Clock::System.boot(), Clock::System.boot());
        assert!(first.boot == second.boot && first.ms > 0 && first.ms <= second.ms);
    }

    #[test]
    fn text_uses_only_its_alphabet() {
        let text = Entropy::seeded(7).text("ab", 40).unwrap();
        assert_eq!(text.len(), 40);
        assert!(text.contains('a') && text.contains('b') && text.chars().all(|c| "ab".contains(c)));
        assert_ne!(Entropy::System.bytes::<16>().unwrap(), Entropy::System.bytes::<16>().unwrap());
    }
}
