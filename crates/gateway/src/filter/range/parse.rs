//! Range requests (RFC 9110 section 14): which bytes of a representation were asked for.
use crate::exchange::conditions::Dialect;
use std::ops::Range;

/// What a Range header comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// The header does not count: all of it, 200.
    Whole,
    /// These bytes, in the order asked for, never empty: 206.
    Some(Vec<Range<u64>>),
    /// Not one of them is there, or what was asked for is no set of ranges: 416.
    Unsatisfiable,
}

/// The ranges of a representation of `size` bytes that a Range header asks for. What breaks the grammar is unsatisfiable
/// (RFC 9110 section 14.2 leaves the choice, nginx made this one); more than `max` are answered whole, and so is another
/// unit than bytes.
pub fn parse(value: &[u8], size: u64, max: u32, dialect: Dialect) -> Ranges {
    let Some(set) = bytes_unit(value).filter(|set| !set.is_empty() && max > 0) else { return Ranges::Whole };
    match dialect {
        Dialect::Rfc9110 => merged(set, size, max),
        Dialect::Nginx => as_asked(set, size, max),
    }
}

/// Ranges that overlap become one; empty elements of the list do not count. An empty representation is answered whole, for
/// no Content-Range could name its bytes.
fn merged(set: &[u8], size: u64, max: u32) -> Ranges {
    if size == 0 {
        return Ranges::Whole;
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut count = 0;
    for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        count += 1;
        match parse_spec(spec, size) {
            Some(_) if count > max => return Ranges::Whole,
            Some(range) if range.is_empty() => {}
            Some(range) => add(&mut ranges, range),
            None => return Ranges::Unsatisfiable,
        }
    }
    match (count, ranges.is_empty()) {
        (0, _) => Ranges::Whole,
        (_, true) => Ranges::Unsatisfiable,
        _ => Ranges::Some(ranges),
    }
}

/// As nginx does: ranges stay as they are, and together no longer than the whole. Those that are not there do not count.
fn as_asked(set: &[u8], size: u64, max: u32) -> Ranges {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut total = 0u64;
    for spec in set.split(|byte| *byte == b',') {
        match parse_spec(trim_spaces(spec), size).filter(|_| has_bounds(spec)) {
            None => return Ranges::Unsatisfiable,
            // The first byte of nothing: there is nothing else to give.
            Some(range) if range.is_empty() && range.start == 0 => return Ranges::Whole,
            Some(range) if range.is_empty() => {}
            Some(_) if ranges.len() as u64 >= u64::from(max) => return Ranges::Whole,
            Some(range) => {
                total = total.saturating_add(range.end - range.start);
                ranges.push(range);
            }
        }
    }
    match () {
        () if ranges.is_empty() => Ranges::Unsatisfiable,
        () if total > size => Ranges::Whole,
        () => Ranges::Some(ranges),
    }
}

/// nginx takes blanks around a range, not tabs, and no number above 2⁶³ - 1, the largest size of a file.
fn has_bounds(spec: &[u8]) -> bool {
    let numbers = spec.split(|byte| matches!(byte, b' ' | b'-')).filter(|word| !word.is_empty());
    numbers.map(number).all(|number| number.is_some_and(|number| i64::try_from(number).is_ok()))
}

/// The set behind `bytes=`, if that is the unit.
fn bytes_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// `first-last`, `first-` or `-length`, with blanks around `first` and `last`; empty where it lies behind the end or is
/// reversed. `None` breaks the grammar.
fn parse_spec(spec: &[u8], size: u64) -> Option<Range<u64>> {
    let dash = memchr::memchr(b'-', spec)?;
    match (&spec[..dash], &spec[dash + 1..]) {
        (b"", suffix) => Some(size - number(suffix)?.min(size)..size),
        (first, last) => {
            let first = number(trim_spaces(first))?;
            let end = match trim_spaces(last) {
                b"" => size,
                last => number(last)?.saturating_add(1).min(size),
            };
            // One that is not there starts where it says, so that it is told from one at the beginning of nothing.
            Some(first..end.max(first))
        }
    }
}

fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b" ") {
        text = rest;
    }
    while let Some(rest) = text.strip_suffix(b" ") {
        text = rest;
    }
    text
}

/// A decimal number; one that is too large stands for the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// Adds a range; those it overlaps or touches become one with it, in the place of the first (RFC 9110 section 15.3.7.2).
fn add(ranges: &mut Vec<Range<u64>>, mut range: Range<u64>) {
    let mut place = ranges.len();
    let mut at = 0;
    while at < ranges.len() {
        let other = &ranges[at];
        if range.start <= other.end && other.start <= range.end {
            range = range.start.min(other.start)..range.end.max(other.end);
            ranges.remove(at);
            place = place.min(at);
            // The grown range may reach one it passed before.
            at = 0;
        } else {
            at += 1;
        }
    }
    ranges.insert(place.min(ranges.len()), range);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC: Dialect = Dialect::Rfc9110;

    fn some(ranges: &[(u64, u64)]) -> Ranges {
        Ranges::Some(ranges.iter().map(|(start, end)| *start..*end).collect())
    }

    #[test]
    fn the_table_of_ranges() {
        let huge = "bytes=0-99999999999999999999999999";
        let cases = [
            ("bytes=0-0", some(&[(0, 1)])),
            ("bytes=0-", some(&[(0, 100)])),
            ("bytes=-1", some(&[(99, 100)])),
            ("bytes=-1000", some(&[(0, 100)])),
            ("bytes=10-19", some(&[(10, 20)])),
            ("bytes=90-1000", some(&[(90, 100)])),
            (huge, some(&[(0, 100)])),
            ("Bytes=0-1", some(&[(0, 2)])),
            ("bytes=0-1, 50-51 ,-2", some(&[(0, 2), (50, 52), (98, 100)])),
            ("bytes=50-51,0-1", some(&[(50, 52), (0, 2)])),
            ("bytes=,0-1,,", some(&[(0, 2)])),
            ("bytes=200-300,0-1", some(&[(0, 2)])),
            // Overlapping and touching ones become one.
            ("bytes=0-10,5-20", some(&[(0, 21)])),
            ("bytes=0-4,5-9", some(&[(0, 10)])),
            ("bytes=0-4,6-9", some(&[(0, 5), (6, 10)])),
            ("bytes=80-89,0-9,5-85", some(&[(0, 90)])),
            ("bytes=0-0,40-49,20-29,25-45", some(&[(0, 1), (20, 50)])),
            ("bytes=0-,0-,0-", some(&[(0, 100)])),
            ("bytes=100-", Ranges::Unsatisfiable),
            ("bytes=100-200", Ranges::Unsatisfiable),
            ("bytes=99999999999999999999999-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=100-,200-300", Ranges::Unsatisfiable),
            ("bytes=", Ranges::Whole),
            ("bytes = 0-1", Ranges::Whole),
            ("bytes=-", Ranges::Unsatisfiable),
            ("bytes=a-b", Ranges::Unsatisfiable),
            ("bytes=5-1", Ranges::Unsatisfiable),
            ("bytes=5-1,2-3", some(&[(2, 4)])),
            ("bytes=0-1,x", Ranges::Unsatisfiable),
            ("bytes=+1-2", Ranges::Unsatisfiable),
            ("bytes=1 - 2", some(&[(1, 3)])),
            ("bytes=1--2", Ranges::Unsatisfiable),
            ("bytes 0-1", Ranges::Whole),
            ("lines=0-1", Ranges::Whole),
            ("", Ranges::Whole),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(value.as_bytes(), 100, 32, RFC), expected, "{value}");
        }
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        assert_eq!(parse(b"bytes=0-0,2-2,4-4", 100, 3, RFC), some(&[(0, 1), (2, 3), (4, 5)]));
        assert_eq!(parse(b"bytes=0-0,2-2,4-4", 100, 2, RFC), Ranges::Whole);
        assert_eq!(parse(b"bytes=0-0", 100, 0, RFC), Ranges::Whole);
        let many = format!("bytes={}", "0-0,".repeat(5000));
        assert_eq!(parse(many.as_bytes(), 100, 32, RFC), Ranges::Whole);
    }

    #[test]
    fn an_empty_file_is_answered_whole() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"] {
            assert_eq!(parse(value.as_bytes(), 0, 32, RFC), Ranges::Whole, "{value}");
        }
    }

    #[test]
    fn merging_keeps_exactly_the_bytes_asked_for() {
        // All triples of short ranges over a small file, against a bitmap.
        let spans: Vec<_> = (0..6u64).flat_map(|a| (a..6).map(move |b| (a, b))).collect();
        for (a, b) in spans.iter().flat_map(|a| spans.iter().map(move |b| (a, b))) {
            for c in &spans {
                let value = format!("bytes={}-{},{}-{},{}-{}", a.0, a.1, b.0, b.1, c.0, c.1);
                let Ranges::Some(merged) = parse(value.as_bytes(), 6, 3, RFC) else { unreachable!("{value}") };
                let asked: Vec<u64> = (0..6).filter(|x| [a, b, c].iter().any(|s| s.0 <= *x && *x <= s.1)).collect();
                let mut got: Vec<u64> = merged.iter().cloned().flatten().collect();
                got.sort_unstable();
                assert_eq!(got, asked, "{value}");
            }
        }
    }
    #[test]
    fn nginx_has_a_table_of_its_own() {
        let cases = [
            ("bytes=0-10,5-20", some(&[(0, 11), (5, 21)])),
            ("bytes=0-59,40-99", Ranges::Whole),
            ("bytes=5-2,0-1", some(&[(0, 2)])),
            ("bytes=200-,0-1,2-3,4-5", some(&[(0, 2), (2, 4), (4, 6)])),
            ("bytes=0-1,2-3,4-5,6-7", Ranges::Whole),
            ("bytes=0 - 1 , 3-", some(&[(0, 2), (3, 100)])),
            ("bytes=- 5", Ranges::Unsatisfiable),
            ("bytes=\t0-1", Ranges::Unsatisfiable),
            ("bytes=0-1,", Ranges::Unsatisfiable),
            ("bytes=,0-1", Ranges::Unsatisfiable),
            ("bytes=0-9223372036854775807", some(&[(0, 100)])),
            ("bytes=0-9223372036854775808", Ranges::Unsatisfiable),
            ("bytes=-9223372036854775808", Ranges::Unsatisfiable),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(value.as_bytes(), 100, 3, Dialect::Nginx), expected, "{value}");
        }
        for (value, expected) in
            [("bytes=0-", Ranges::Whole), ("bytes=-1", Ranges::Whole), ("bytes=5-", Ranges::Unsatisfiable)]
        {
            assert_eq!(parse(value.as_bytes(), 0, 3, Dialect::Nginx), expected, "{value} of nothing");
        }
    }
}
