//! The local time zone: `TZ`, else /etc/localtime, else UTC; looked up once in a process. Logs have its time, as nginx's do.
use crate::clock::{Civil, MONTHS};
use jiff::{Timestamp, tz::TimeZone};
use std::fmt;
use std::sync::OnceLock;

/// Names of the days.
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// How far a clock on the wall is ahead of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    /// Seconds; negative in the west.
    pub seconds: i32,
}

impl Offset {
    /// The calendar time it makes of a Unix time in seconds.
    pub fn civil(self, unix: u64) -> Civil {
        Civil::of(unix.saturating_add_signed(i64::from(self.seconds)))
    }

    fn parts(self) -> (char, u32, u32) {
        let minutes = self.seconds.unsigned_abs() / 60;
        (if self.seconds < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }

    /// With a colon, as ISO 8601 has it: `+05:30`.
    pub fn with_colon(self) -> impl fmt::Display {
        let (sign, hours, minutes) = self.parts();
        format!("{sign}{hours:02}:{minutes:02}")
    }
}

impl fmt::Display for Offset {
    /// As the combined log format has it: `+0530`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, hours, minutes) = self.parts();
        write!(f, "{sign}{hours:02}{minutes:02}")
    }
}

/// A Unix time in seconds as `Sunday, 06-Nov-1994 08:49:37 GMT`.
pub fn long_gmt(unix: u64) -> String {
    long(&Civil::of(unix), "GMT")
}

/// The same in local time.
pub fn long_local(unix: u64) -> String {
    long_in(system(), unix)
}

fn long_in(zone: &TimeZone, unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok()).unwrap_or_default();
    let info = zone.to_offset_info(time);
    long(&Offset { seconds: info.offset().seconds() }.civil(unix), info.abbreviation())
}

fn long(t: &Civil, zone: &str) -> String {
    let (day, month) = (DAYS[t.weekday as usize], MONTHS[t.month as usize - 1]);
    format!("{day}, {:02}-{month}-{} {:02}:{:02}:{:02} {zone}", t.day, t.year, t.hour, t.minute, t.second)
}

fn system() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(TimeZone::system)
}

/// The offset at a Unix time in seconds; it changes with daylight saving time.
pub fn offset(unix: u64) -> Offset {
    offset_in(system(), unix)
}

fn offset_in(zone: &TimeZone, unix: u64) -> Offset {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    Offset { seconds: time.map_or(0, |time| zone.to_offset(time).seconds()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules rather than names, so that no database is needed.
    fn at(rule: &str, unix: u64) -> (String, String, u64, u64) {
        let offset = offset_in(&TimeZone::posix(rule).unwrap(), unix);
        let t = offset.civil(unix);
        (offset.to_string(), offset.with_colon().to_string(), t.hour, t.minute)
    }

    #[test]
    fn long_times_name_the_day_and_the_zone() {
        assert_eq!(long_gmt(784_111_777), "Sunday, 06-Nov-1994 08:49:37 GMT");
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        assert_eq!(long_in(&zone, 784_111_777), "Sunday, 06-Nov-1994 03:49:37 EST");
    }

    #[test]
    fn offsets_have_half_hours_signs_and_daylight_saving_time() {
        let winter = 1_767_268_800; // 2026-01-01 12:00 UTC
        let shown = |plain: &str, colon: &str, hour, minute| (plain.to_owned(), colon.to_owned(), hour, minute);
        assert_eq!(at("IST-5:30", winter), shown("+0530", "+05:30", 17, 30));
        assert_eq!(at("<-0330>3:30", winter), shown("-0330", "-03:30", 8, 30));
        assert_eq!(at("UTC0", winter), shown("+0000", "+00:00", 12, 0));
        let new_york = "EST5EDT,M3.2.0,M11.1.0";
        // 2026-03-08 07:00 UTC: two in the morning becomes three.
        assert_eq!(at(new_york, 1_772_953_199), shown("-0500", "-05:00", 1, 59));
        assert_eq!(at(new_york, 1_772_953_200), shown("-0400", "-04:00", 3, 0));
        // 2026-11-01 06:00 UTC: two in the morning becomes one.
        assert_eq!(at(new_york, 1_793_512_799), shown("-0400", "-04:00", 1, 59));
        assert_eq!(at(new_york, 1_793_512_800), shown("-0500", "-05:00", 1, 0));
    }
}
