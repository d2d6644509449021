//! `[scan]`: when and where phones are looked for by the clock, and how fast.

use std::fmt;
use std::str::FromStr;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::Error;

use super::Span;
use crate::net::Prefix;

/// Questions a second: a small broadcast each, which no LAN notices.
pub const SCAN_RATE: u32 = 50;
/// What a gigabit link carries of the shortest frames together is little more.
pub const SCAN_RATE_MAX: u32 = 1_000_000;
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// `[scan]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScanConfig {
    /// A cron expression of five fields; empty: only on demand.
    pub schedule: Schedule,
    /// Networks; empty: the interfaces' own.
    pub networks: Vec<Prefix>,
    /// Questions a second.
    #[serde(deserialize_with = "rate")]
    pub rate: u32,
    /// When nothing is scanned (`08:00-18:00`, local time); empty: never.
    pub quiet_hours: QuietHours,
    /// How much later than scheduled it begins, at most.
    pub jitter: Span,
}

impl Default for ScanConfig {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            networks: Vec::new(),
            rate: SCAN_RATE,
            quiet_hours: QuietHours::default(),
            jitter: Span(std::time::Duration::from_mins(5)),
        }
    }
}

fn rate<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let rate = u32::deserialize(deserializer)?;
    if (1..=SCAN_RATE_MAX).contains(&rate) {
        return Ok(rate);
    }
    Err(D::Error::custom(format!("'{rate}' is no rate; write 1 to {SCAN_RATE_MAX} questions a second")))
}

/// When something is done: minute, hour, day of the month, month, day of the week. None: never.
#[derive(Clone, Default)]
pub struct Schedule(Option<(String, Crontab)>);

impl Schedule {
    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The next time after this one, both as a clock on the wall shows them. `None` where there is none in four years.
    pub fn after(&self, local: DateTime) -> Option<DateTime> {
        let (_, cron) = self.0.as_ref()?;
        // The expression is of no time zone: what the wall shows is read as if it were UTC, on both sides.
        let shown = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(cron.find_next(shown).ok()?.datetime())
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schedule").field(&self.0.as_ref().map(|(text, _)| text)).finish()
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let has_five = text.split_whitespace().count() == 5;
        let cron = cronexpr::parse_crontab_with(text, options).ok().filter(|_| has_five);
        cron.map(|cron| Self(Some((text.to_owned(), cron)))).ok_or_else(|| {
            format!(
                "'{text}' is no schedule; write minute hour day month weekday: \"30 2 * * *\" is half past two at night"
            )
        })
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A part of the day, in minutes after midnight; it may begin before midnight and end after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuietHours(Option<(u16, u16)>);

impl QuietHours {
    /// Begin and end, where there are quiet hours.
    pub fn minutes(self) -> Option<(u16, u16)> {
        self.0
    }

    /// How many minutes of them are left at this minute of the day; 0 outside.
    pub fn left_at(self, minute: u16) -> u16 {
        let Some((from, to)) = self.0 else { return 0 };
        let (length, since) = ((to + DAY - from) % DAY, (minute + DAY - from) % DAY);
        length.saturating_sub(since)
    }

    /// In how many minutes they begin, at this minute of the day; 0 while they last, `None` where there are none.
    pub fn begin_in(self, minute: u16) -> Option<u16> {
        let begins = |(from, _)| if self.left_at(minute) > 0 { 0 } else { (from + DAY - minute) % DAY };
        self.0.map(begins)
    }
}

impl FromStr for QuietHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let hours = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        hours
            .filter(|(from, to)| from != to)
            .map(|hours| Self(Some(hours)))
            .ok_or_else(|| format!("'{text}' is no part of a day; write \"08:00-18:00\""))
    }
}

impl<'de> Deserialize<'de> for QuietHours {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_five_fields() {
        assert!(
            "".parse::<Schedule>().unwrap().after(DateTime::constant(2026, 11, 23, 0, 0, 0, 0)).is_none()
        );
        for text in ["30 2 * * *", "*/15 * * * 1-5", "0 3 1 * *"] {
            assert!(text.parse::<Schedule>().unwrap().is_some(), "{text}");
        }
        for text in ["30 2 * *", "0 30 2 * * *", "30 2 * * * Europe/Berlin", "61 2 * * *", "at night"] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(error.contains(text) && error.contains("30 2 * * *"), "{error}");
        }
    }

    #[test]
    fn quiet_hours_may_go_over_midnight() {
        let check = |text: &str, minute: u16, left: u16, begin_in: Option<u16>| {
            let hours: QuietHours = text.parse().unwrap();
            assert_eq!(
                (hours.left_at(minute), hours.begin_in(minute)),
                (left, begin_in),
                "{text} at {minute}"
            );
        };
        check("", 600, 0, None);
        check("08:00-18:00", 479, 0, Some(1));
        check("08:00-18:00", 480, 600, Some(0));
        check("08:00-18:00", 1_079, 1, Some(0));
        check("08:00-18:00", 1_080, 0, Some(840));
        check("22:30-06:00", 1_350, 450, Some(0));
        check("22:30-06:00", 30, 330, Some(0));
        check("22:30-06:00", 360, 0, Some(990));
        for text in ["8-18", "08:00", "24:00-01:00", "08:00-08:00", "a:b-c:d"] {
            assert!(text.parse::<QuietHours>().unwrap_err().contains(text), "{text}");
        }
    }
}
