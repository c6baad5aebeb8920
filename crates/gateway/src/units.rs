//! Times and sizes, as the configuration and responses give them.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A span of time. In gateway.toml: seconds as a number, or a string with a unit (`"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"1d"`). In the resolved document: milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A number of bytes. In gateway.toml: a number, or a string with a unit (`"64k"`, `"10m"`, `"1g"`, powers of 1024). In the resolved document: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Size(pub u64);

/// A number of bytes, with `k`, `m` or `g` behind it.
pub fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'k' | b'K'] => (digits, 10),
        [digits @ .., b'm' | b'M'] => (digits, 20),
        [digits @ .., b'g' | b'G'] => (digits, 30),
        digits => (digits, 0),
    };
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_of_1024_or_none() {
        assert_eq!(
            (size(b"10"), size(b"4k"), size(b"1M"), size(b"k"), size(b"-1")),
            (Some(10), Some(4096), Some(1 << 20), None, None)
        );
    }
}
