//! Time as the request path sees it: read once per turn of the loop, formatted once per second.
pub mod zone;

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// All threads count from the same moment, so their times compare.
static START: OnceLock<Instant> = OnceLock::new();

/// One I/O thread's clock. `now` costs a load, `tick` reads the clock that only goes forward, `sync` the wall clock too.
pub struct Clock {
    start: Instant,
    now_ms: Cell<u64>,
    /// What the wall clock was ahead of `now_ms` when it was last looked at.
    unix_offset: Cell<u64>,
    formatted: Cell<u64>,
    http_date: Cell<[u8; 29]>,
    log_time: RefCell<Vec<u8>>,
    iso_time: RefCell<Vec<u8>>,
}

impl Default for Clock {
    fn default() -> Self {
        let clock = Self {
            start: *START.get_or_init(Instant::now),
            now_ms: Cell::new(0),
            unix_offset: Cell::new(0),
            formatted: Cell::new(0),
            http_date: Cell::new([b' '; 29]),
            log_time: RefCell::new(Vec::new()),
            iso_time: RefCell::new(Vec::new()),
        };
        clock.sync();
        clock
    }
}

impl Clock {
    /// Moves `now` on; called at the start of every request.
    pub fn tick(&self) {
        self.now_ms.set(self.start.elapsed().as_millis() as u64 + 1);
    }

    /// Moves `now` on and follows the wall clock where somebody set it; called by every sweep.
    pub fn sync(&self) {
        self.tick();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.unix_offset.set(unix.saturating_sub(self.now_ms.get()));
    }

    /// Milliseconds on a clock that only goes forward; never 0.
    pub fn now(&self) -> u64 {
        self.now_ms.get()
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> u64 {
        self.unix_offset.get() + self.now_ms.get()
    }

    /// The IMF-fixdate (RFC 9110 section 5.6.7) of now.
    pub fn http_date(&self) -> [u8; 29] {
        self.refresh();
        self.http_date.get()
    }

    /// Appends the local time as ISO 8601 has it: `2026-11-23T10:11:12+00:00`.
    pub fn iso_time(&self, out: &mut Vec<u8>) {
        self.refresh();
        out.extend_from_slice(&self.iso_time.borrow());
    }

    /// Appends the local time as the combined log format has it: `23/Nov/2026:10:11:12 +0000`.
    pub fn log_time(&self, out: &mut Vec<u8>) {
        self.refresh();
        out.extend_from_slice(&self.log_time.borrow());
    }

    fn refresh(&self) {
        let seconds = self.unix_ms() / 1000;
        if self.formatted.replace(seconds) == seconds {
            return;
        }
        self.http_date.set(http_date(seconds));
        let now = zone::local(seconds);
        let log = now.strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
        let iso = now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        *self.log_time.borrow_mut() = log.into_bytes();
        *self.iso_time.borrow_mut() = iso.into_bytes();
    }
}

/// The moment of a Unix time in seconds; what is later than the calendar goes is its end.
pub fn moment(unix: u64) -> Timestamp {
    i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok()).unwrap_or(Timestamp::MAX)
}

/// The calendar time of a Unix time in seconds, in UTC.
pub fn utc(unix: u64) -> DateTime {
    tz::Offset::UTC.to_datetime(moment(unix))
}

/// The IMF-fixdate of a Unix time in seconds (RFC 9110 section 5.6.7).
pub fn http_date(unix: u64) -> [u8; 29] {
    let mut out = [b' '; 29];
    let _ = write!(&mut out[..], "{}", utc(unix).strftime("%a, %d %b %Y %H:%M:%S GMT"));
    out
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The Unix time in seconds of an HTTP date (RFC 9110 section 5.6.7): an IMF-fixdate, or one of the two obsolete forms that a
/// recipient must still take. The two-digit years of RFC 850 are 1970 to 2069. The day of the week is not looked at, as in nginx.
pub fn parse_http_date(text: &[u8]) -> Option<u64> {
    let imf = text.len() == 29 && text.get(3..5) == Some(b", ");
    let (day, month, year, time) = if imf && text.ends_with(b" GMT") {
        (&text[5..7], &text[8..11], decimal(&text[12..16])?, &text[17..25])
    } else {
        obsolete(text)?
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let [h0, h1, b':', m0, m1, b':', s0, s1] = *time else { return None };
    let date = Date::new(year as i16, month as i8, decimal(day)? as i8).ok()?;
    let number = |digits: [u8; 2]| decimal(&digits).map(|number| number as i8);
    let time = jiff::civil::Time::new(number([h0, h1])?, number([m0, m1])?, number([s0, s1])?, 0).ok()?;
    tz::Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?.as_second().try_into().ok()
}

/// Day, month, year and time as they stand in a date.
type Words<'a> = (&'a [u8], &'a [u8], u64, &'a [u8]);

/// The words of `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
fn obsolete(text: &[u8]) -> Option<Words<'_>> {
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut word = || words.next();
    let first = word()?;
    if first.ends_with(b",") {
        let mut date = word()?.split(|byte| *byte == b'-');
        let (day, month, year) = (date.next()?, date.next()?, date.next()?);
        let (time, zone) = (word()?, word()?);
        let year = decimal(year).filter(|year| *year < 100)?;
        let full = if year < 70 { 2000 + year } else { 1900 + year };
        return (zone == b"GMT" && date.next().is_none() && word().is_none()).then_some((day, month, full, time));
    }
    let (month, day, time, year) = (word()?, word()?, word()?, decimal(word()?)?);
    word().is_none().then_some((day, month, year, time))
}

/// One to four decimal digits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let valid = matches!(digits.len(), 1..=4) && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
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
    }

    #[test]
    fn the_obsolete_forms_are_read_and_nonsense_is_not() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_http_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(
            parse_http_date(b"Thursday, 01-Jan-69 00:00:00 GMT"),
            parse_http_date(b"Tue, 01 Jan 2069 00:00:00 GMT")
        );
        let nonsense = [
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Növ 1994 08:49:37 GMT",
            "Suö 06 Nov 1994 08:49:37. GMT",
            "Soé, 6 Nov 1994 08:49:37. GMT",
            "Sun, 06 Nov 1994 8:49:37  GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "Sun Nov  6 24:49:37 1994",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun,",
            "",
        ];
        for text in nonsense {
            assert_eq!(parse_http_date(text.as_bytes()), None, "{text}");
        }
    }
}
