//! How serious a message is (nginx: the levels of `error_log`).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How serious a message is, the least serious first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LogLevel")]
pub enum Level {
    /// For whoever works on the gateway itself.
    Debug,
    /// Of use when something is looked for.
    Info,
    /// Worth knowing.
    #[default]
    Notice,
    /// Wrong, and dealt with.
    Warn,
    /// Somebody should look at it.
    Error,
    /// Something does not work any more.
    Crit,
    /// It has to be mended at once.
    Alert,
    /// Nothing works.
    Emerg,
}

impl Level {
    /// Its name in a line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Crit => "crit",
            Self::Alert => "alert",
            Self::Emerg => "emerg",
        }
    }

    /// Its number in syslog (RFC 3164 section 4.1.1).
    pub fn severity(self) -> usize {
        7 - self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_their_order_and_have_the_numbers_of_syslog() {
        assert!(Level::Debug < Level::Info && Level::Error < Level::Crit && Level::Alert < Level::Emerg);
        assert_eq!((Level::Debug.severity(), Level::Error.severity(), Level::Emerg.severity()), (7, 3, 0));
    }
}
