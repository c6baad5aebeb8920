//! The local time zone: `TZ`, else /etc/localtime, else UTC; looked up once in a process. Logs have its time, as nginx's do.
use crate::clock::{moment, utc};
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use std::sync::OnceLock;

/// A Unix time in seconds as `Sunday, 06-Nov-1994 08:49:37 GMT`.
pub fn long_gmt(unix: u64) -> String {
    utc(unix).strftime("%A, %d-%b-%Y %H:%M:%S GMT").to_string()
}

/// The same in local time.
pub fn long_local(unix: u64) -> String {
    long_in(system(), unix)
}

fn long_in(zone: &TimeZone, unix: u64) -> String {
    in_zone(zone, unix).strftime("%A, %d-%b-%Y %H:%M:%S %Z").to_string()
}

/// A Unix time in seconds as local time.
pub fn local(unix: u64) -> ZonedDateTime {
    in_zone(system(), unix)
}

fn in_zone(zone: &TimeZone, unix: u64) -> ZonedDateTime {
    moment(unix).to_zoned_datetime(zone.clone())
}

fn system() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(TimeZone::system)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules rather than names, so that no database is needed.
    fn at(rule: &str, unix: u64) -> String {
        in_zone(&TimeZone::posix(rule).unwrap(), unix).strftime("%z %:z %H:%M").to_string()
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
        assert_eq!(at("IST-5:30", winter), "+0530 +05:30 17:30");
        assert_eq!(at("<-0330>3:30", winter), "-0330 -03:30 08:30");
        assert_eq!(at("UTC0", winter), "+0000 +00:00 12:00");
        let new_york = "EST5EDT,M3.2.0,M11.1.0";
        // 2026-03-08 07:00 UTC: two in the morning becomes three.
        assert_eq!(at(new_york, 1_772_953_199), "-0500 -05:00 01:59");
        assert_eq!(at(new_york, 1_772_953_200), "-0400 -04:00 03:00");
        // 2026-11-01 06:00 UTC: two in the morning becomes one.
        assert_eq!(at(new_york, 1_793_512_799), "-0400 -04:00 01:59");
        assert_eq!(at(new_york, 1_793_512_800), "-0500 -05:00 01:00");
    }
}
