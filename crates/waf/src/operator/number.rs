//! Operators on numbers: comparisons, and numbers with check digits.
use super::Captures;
use regex::bytes::Regex;

#[derive(Debug, Clone, Copy)]
pub(super) enum Comparison {
    Equal,
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl Comparison {
    pub(super) fn holds(self, input: &[u8], argument: &[u8]) -> bool {
        let (left, right) = (atoi(input), atoi(argument));
        match self {
            Self::Equal => left == right,
            Self::AtLeast => left >= right,
            Self::Above => left > right,
            Self::AtMost => left <= right,
            Self::Below => left < right,
        }
    }
}

/// `atoi` of C: whitespace, a sign, the digits that follow; 0 if there are none. Beyond 64 bits it stays at the limit
/// (C leaves that undefined).
fn atoi(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0_i64, |number, byte| {
        let digit = i64::from(byte - b'0');
        number.saturating_mul(10).saturating_add(if negative { -digit } else { digit })
    })
}

/// A pattern, and a check of what it found.
#[derive(Debug)]
pub(super) struct Checksum {
    pattern: Regex,
    valid: fn(&[u8]) -> bool,
}

impl Checksum {
    /// Card numbers, by the algorithm of Luhn (ISO/IEC 7812-1, annex B).
    pub(super) fn card(pattern: &str) -> Result<Self, String> {
        Self::new(pattern, luhn)
    }

    /// Social security numbers of the United States.
    pub(super) fn social_security(pattern: &str) -> Result<Self, String> {
        Self::new(pattern, social_security)
    }

    /// Taxpayer numbers of Brazil.
    pub(super) fn cpf(pattern: &str) -> Result<Self, String> {
        Self::new(pattern, cpf)
    }

    fn new(pattern: &str, valid: fn(&[u8]) -> bool) -> Result<Self, String> {
        Ok(Self { pattern: super::pattern::regex(pattern)?, valid })
    }

    pub(super) fn matches<'a>(&self, input: &'a [u8], captures: Option<&mut Captures<'a>>) -> bool {
        let Some(found) = self.pattern.find_iter(input).find(|found| {
            let digits: Vec<u8> =
                found.as_bytes().iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
            (self.valid)(&digits)
        }) else {
            return false;
        };
        if let Some(captures) = captures {
            captures.clear();
            captures.set(0, found.as_bytes());
        }
        true
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(*digit) * if at % 2 == 1 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    !digits.is_empty() && sum % 10 == 0
}

/// Area, group and serial may not be zero, nor the area 666 or beyond 740; digits that are all alike or count up are made up.
fn social_security(digits: &[u8]) -> bool {
    if digits.len() != 9 || digits.windows(2).all(|pair| pair[0] == pair[1]) {
        return false;
    }
    if digits.windows(2).all(|pair| pair[1] == pair[0] + 1) {
        return false;
    }
    let number = |digits: &[u8]| digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    (1..740).contains(&area) && area != 666 && group != 0 && serial != 0
}

fn cpf(digits: &[u8]) -> bool {
    if digits.len() != 11 || digits.windows(2).all(|pair| pair[0] == pair[1]) {
        return false;
    }
    let check = |length: usize| {
        let sum: u32 =
            digits[..length].iter().zip(0..).map(|(digit, at)| u32::from(*digit) * (length as u32 + 1 - at)).sum();
        let rest = sum * 10 % 11 % 10;
        rest == u32::from(digits[length])
    };
    check(9) && check(10)
}
