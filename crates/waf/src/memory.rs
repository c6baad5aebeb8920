//! The values of a transaction: one buffer, and spans in it.

/// The number of a value. Equal numbers are equal texts; the reverse need not hold.
pub type ValueId = u32;

/// No value.
pub const NONE: ValueId = u32::MAX;

/// The empty value.
pub const EMPTY: ValueId = 0;

/// Numbers below this are written once.
const SMALL: i64 = 64;

/// The buffer.
#[derive(Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    numbers: [ValueId; SMALL as usize],
}

impl Default for Memory {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(4096), spans: vec![(0, 0)], numbers: [NONE; SMALL as usize] }
    }
}

impl Memory {
    /// Forgets all values; keeps up to `most` bytes allocated.
    pub fn clear(&mut self, most: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(most);
        self.spans.truncate(1);
        self.spans.shrink_to(most / 8);
        self.numbers = [NONE; SMALL as usize];
    }

    /// Copies a value.
    pub fn add(&mut self, bytes: &[u8]) -> ValueId {
        if bytes.is_empty() {
            return EMPTY;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.span(start, bytes.len())
    }

    /// A part of a value, without copying it.
    pub fn part(&mut self, whole: ValueId, start: usize, length: usize) -> ValueId {
        let (begin, end) = self.spans[whole as usize];
        let start = begin as usize + start;
        if length == 0 || start + length > end as usize { EMPTY } else { self.span(start, length) }
    }

    /// A number in decimal digits.
    pub fn number(&mut self, number: i64) -> ValueId {
        let small = (0..SMALL).contains(&number);
        if small && self.numbers[number as usize] != NONE {
            return self.numbers[number as usize];
        }
        let start = self.bytes.len();
        write_number(&mut self.bytes, number);
        let id = self.span(start, self.bytes.len() - start);
        if small {
            self.numbers[number as usize] = id;
        }
        id
    }

    /// The value.
    pub fn get(&self, id: ValueId) -> &[u8] {
        let (start, end) = self.spans[id as usize];
        &self.bytes[start as usize..end as usize]
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    fn span(&mut self, start: usize, length: usize) -> ValueId {
        self.spans.push((start as u32, (start + length) as u32));
        self.spans.len() as ValueId - 1
    }
}

/// Appends the digits of a number.
pub fn write_number(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// The number at the start of a text, as C's `atoi` reads it.
pub fn read_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -number } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parts_and_numbers_are_read_back() {
        let mut memory = Memory::default();
        let id = memory.add(b"hello");
        let part = memory.part(id, 1, 3);
        assert_eq!((memory.get(id), memory.get(part), memory.get(EMPTY)), (&b"hello"[..], &b"ell"[..], &b""[..]));
        assert_eq!(memory.part(id, 4, 2), EMPTY);
        for number in [0, 7, 63, 64, -12, i64::MIN, i64::MAX] {
            let id = memory.number(number);
            assert_eq!(memory.get(id), number.to_string().as_bytes());
        }
        assert_eq!(memory.number(7), memory.number(7));
    }

    #[test]
    fn numbers_are_read_as_by_atoi() {
        for (text, number) in
            [("12", 12), (" -3x", -3), ("+4", 4), ("", 0), ("abc", 0), ("99999999999999999999", i64::MAX)]
        {
            assert_eq!(read_number(text.as_bytes()), number, "{text}");
        }
    }
}
