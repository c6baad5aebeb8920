//! Time as the request path sees it: read once per turn of the loop, formatted once per second.
use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// All threads count from the same moment, so their times compare.
static START: OnceLock<Instant> = OnceLock::new();

/// One I/O thread's clock. `now` costs a load; `tick` reads the system clock.
pub struct Clock {
    start: Instant,
    now_ms: Cell<u64>,
    unix_ms: Cell<u64>,
    formatted: Cell<u64>,
    http_date: RefCell<[u8; 29]>,
    log_time: RefCell<Vec<u8>>,
}

impl Default for Clock {
    fn default() -> Self {
        let clock = Self {
            start: *START.get_or_init(Instant::now),
            now_ms: Cell::new(0),
            unix_ms: Cell::new(0),
            formatted: Cell::new(0),
            http_date: RefCell::new([b' '; 29]),
            log_time: RefCell::new(Vec::new()),
        };
        clock.tick();
        clock
    }
}

impl Clock {
    /// Reads the system clock; called at the start of every request and every sweep.
    pub fn tick(&self) {
        self.now_ms.set(self.start.elapsed().as_millis() as u64 + 1);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms.set(unix.as_millis() as u64);
    }

    /// Milliseconds on a clock that only goes forward; never 0.
    pub fn now(&self) -> u64 {
        self.now_ms.get()
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms.get()
    }

    /// Appends an IMF-fixdate (RFC 9110 section 5.6.7) of now.
    pub fn http_date(&self, out: &mut Vec<u8>) {
        self.refresh();
        out.extend_from_slice(&*self.http_date.borrow());
    }

    /// Appends the time as the combined log format has it, in UTC: `23/Nov/2026:10:11:12 +0000`.
    pub fn log_time(&self, out: &mut Vec<u8>) {
        self.refresh();
        out.extend_from_slice(&self.log_time.borrow());
    }

    fn refresh(&self) {
        let seconds = self.unix_ms.get() / 1000;
        if self.formatted.replace(seconds) == seconds {
            return;
        }
        *self.http_date.borrow_mut() = http_date(seconds);
        let t = Civil::of(seconds);
        let text = format!(
            "{:02}/{}/{}:{:02}:{:02}:{:02} +0000",
            t.day,
            MONTHS[t.month as usize - 1],
            t.year,
            t.hour,
            t.minute,
            t.second
        );
        *self.log_time.borrow_mut() = text.into_bytes();
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A UTC calendar time.
#[derive(Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1970 and later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 is Sunday.
    pub weekday: u64,
}

impl Civil {
    /// The calendar time of a Unix time in seconds (proleptic Gregorian, days-from-civil inverted).
    pub fn of(unix: u64) -> Self {
        let (days, rest) = (unix / 86_400, unix % 86_400);
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        Self {
            year: yoe + era * 400 + u64::from(month <= 2),
            month,
            day: doy - (153 * mp + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest % 3600 / 60,
            second: rest % 60,
            weekday: (days + 4) % 7,
        }
    }
}

/// The IMF-fixdate of a Unix time in seconds (RFC 9110 section 5.6.7).
pub fn http_date(unix: u64) -> [u8; 29] {
    let t = Civil::of(unix);
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[t.weekday as usize],
        t.day,
        MONTHS[t.month as usize - 1],
        t.year,
        t.hour,
        t.minute,
        t.second
    );
    let mut out = [b' '; 29];
    for (slot, byte) in out.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    out
}

/// The Unix time in seconds of an IMF-fixdate; other forms (RFC 850, asctime) are not sent by today's clients and give `None`.
pub fn parse_http_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.len() != 29 || !text.ends_with(" GMT") || &text[3..5] != ", " {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let month = MONTHS.iter().position(|m| Some(*m) == text.get(8..11))? as u64 + 1;
    let (day, year) = (number(5, 7)?, number(12, 16)?);
    let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
    if year < 1970 || day == 0 || day > 31 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let yoe = y % 400;
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    Some((era * 146_097 + doe - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_rfc_and_leap_days() {
        assert_eq!(&http_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&http_date(1_709_164_800), b"Thu, 29 Feb 2024 00:00:00 GMT");
        assert_eq!(&http_date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn parsing_inverts_formatting() {
        for unix in (0..4_102_444_800).step_by(86_399 * 7) {
            assert_eq!(parse_http_date(&http_date(unix)), Some(unix));
        }
        assert_eq!(parse_http_date(b"Sunday, 06-Nov-94 08:49:37 GMT"), None);
        assert_eq!(parse_http_date(b"Sun, 06 Nov 1994 08:49:37 UTC"), None);
        assert_eq!(parse_http_date("Sun, 06 Növ 1994 08:49:37 GMT".as_bytes()), None);
    }
}
