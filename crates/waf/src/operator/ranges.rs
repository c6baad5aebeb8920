//! Operators that match what breaks a rule of encoding.
use crate::transform::hex_digit;

/// The bytes that `@validateByteRange` permits.
#[derive(Debug)]
pub(super) struct ByteRange {
    permitted: [bool; 256],
}

impl ByteRange {
    /// `1-255`, `10, 13, 32-126`.
    pub(super) fn parse(argument: &str) -> Result<Self, String> {
        let mut permitted = [false; 256];
        let mut any = false;
        for item in argument.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let number = |text: &str| text.trim().parse::<u8>().map_err(|_| format!("{item} is no range within 0-255"));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{item} ends before it begins"));
            }
            permitted[usize::from(first)..=usize::from(last)].fill(true);
            any = true;
        }
        // ModSecurity permits nothing at all then; no rule means that.
        if any { Ok(Self { permitted }) } else { Err("has no range".into()) }
    }

    pub(super) fn refuses(&self, input: &[u8]) -> bool {
        !input.iter().all(|byte| self.permitted[usize::from(*byte)])
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Encoding {
    Utf8,
    Url,
}

impl Encoding {
    pub(super) fn refuses(self, input: &[u8]) -> bool {
        match self {
            Self::Utf8 => std::str::from_utf8(input).is_err(),
            Self::Url => memchr::memchr_iter(b'%', input).any(|at| {
                let digit = |at: usize| input.get(at).copied().and_then(hex_digit).is_some();
                !(digit(at + 1) && digit(at + 2))
            }),
        }
    }
}
