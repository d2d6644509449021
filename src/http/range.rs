//! The Range header (RFC 9110, section 14) for files that may be had in parts. Never decides which those are.

use std::ops::Range;

/// What a Range header asks of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Everything: there is no header, or one that is to be ignored (another unit, several ranges, not understood).
    Whole,
    /// These octets.
    Of(Range<usize>),
    /// Nothing that the body has.
    Unsatisfiable,
}

/// Reads one `bytes=first-last`, `bytes=first-` or `bytes=-count`.
pub fn part(header: Option<&str>, len: usize) -> Part {
    let Some((first, last)) = header.and_then(one_range) else { return Part::Whole };
    let number =
        |text: &str| text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().unwrap_or(usize::MAX));
    match (number(first), number(last)) {
        (Some(_), Some(_)) if first.is_empty() && last.is_empty() => Part::Whole,
        (Some(_), Some(0)) if first.is_empty() => Part::Unsatisfiable,
        (Some(_), Some(count)) if first.is_empty() => satisfiable(len.saturating_sub(count)..len),
        (Some(first), Some(_)) if last.is_empty() => satisfiable(first..len),
        (Some(first), Some(last)) if first <= last => satisfiable(first..last.saturating_add(1).min(len)),
        _ => Part::Whole,
    }
}

fn one_range(header: &str) -> Option<(&str, &str)> {
    let (unit, ranges) = header.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    (unit.trim().eq_ignore_ascii_case("bytes")).then_some((first.trim(), last.trim()))
}

fn satisfiable(range: Range<usize>) -> Part {
    if range.start < range.end { Part::Of(range) } else { Part::Unsatisfiable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, len: usize, expected: &Part) {
        assert_eq!(part(Some(header), len), *expected, "{header} of {len}");
    }

    #[test]
    fn one_range_is_understood_and_all_else_ignored() {
        check("bytes=0-99", 1000, &Part::Of(0..100));
        check("bytes=900-", 1000, &Part::Of(900..1000));
        check("bytes=-100", 1000, &Part::Of(900..1000));
        check("bytes=-5000", 1000, &Part::Of(0..1000));
        check("Bytes = 5 - 5", 1000, &Part::Of(5..6));
        check("bytes=990-2000", 1000, &Part::Of(990..1000));
        check("bytes=0-99999999999999999999999", 1000, &Part::Of(0..1000));
        check("bytes=1000-", 1000, &Part::Unsatisfiable);
        check("bytes=99999999999999999999999-", 1000, &Part::Unsatisfiable);
        check("bytes=-0", 1000, &Part::Unsatisfiable);
        check("bytes=0-", 0, &Part::Unsatisfiable);
        for ignored in
            ["bytes=0-1,5-9", "bytes=9-1", "bytes=a-b", "lines=0-1", "bytes=-", "bytes", "", "bytes=+1-2"]
        {
            check(ignored, 1000, &Part::Whole);
        }
        assert_eq!(part(None, 1000), Part::Whole);
    }
}
