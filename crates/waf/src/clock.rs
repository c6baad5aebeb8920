//! The variables of time. Dates are of UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::memory::ValueId;
use crate::seclang::variable::Variable;
use crate::state::State;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The value of a variable of time; `None` if it is none.
pub fn value(state: &mut State, variable: Variable) -> Option<ValueId> {
    use Variable as V;
    let now = state.now as i64;
    let (days, second) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let number = match variable {
        V::Duration => {
            let Some(begin) = state.begun else { return Some(state.memory.number(0)) };
            begin.elapsed().as_micros() as i64
        }
        V::Time => {
            let text = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
            return Some(state.memory.add(text.as_bytes()));
        }
        V::TimeEpoch => now,
        V::TimeHour => second / 3600,
        V::TimeMin => second / 60 % 60,
        V::TimeSec => second % 60,
        V::TimeWday => (days + 4).rem_euclid(7),
        V::TimeDay => date(days).2,
        V::TimeMon => date(days).1 - 1,
        V::TimeYear => date(days).0,
        _ => return None,
    };
    Some(state.memory.number(number))
}

/// Year, month and day of a number of days since 1970-01-01, by Howard Hinnant's `civil_from_days`.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in
            [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (20_453, (2025, 12, 31)), (-1, (1969, 12, 31))]
        {
            assert_eq!(date(days), expected);
        }
    }
}
