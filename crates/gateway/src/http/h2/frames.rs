//! The frames of a client as they come in: floods of what costs the client nothing, and the bytes of each request's head.
use std::collections::VecDeque;

/// A client may send so many frames that bring nothing …
const MOST: u32 = 5_000;
/// … and from then on so many a second.
const PER_SECOND: u64 = 500;
/// What a reset counts: work was begun for it.
const RESET: u32 = 10;
/// Heads whose bytes are kept for requests that are about to be taken.
const HEADS: usize = 512;

/// Frames that were sent or received for something let a client send as many that bring nothing.
pub(super) const CREDIT: u32 = 2;
/// What a request that was served to its end lets it send.
pub(super) const SERVED: u32 = RESET;

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The frames of one connection.
pub(super) struct Frames {
    /// Bytes of the frame that is being read still to come.
    left: usize,
    head: [u8; HEAD],
    have: usize,
    level: u32,
    /// When the level last fell.
    since: u64,
    flood: Option<&'static str>,
    /// Streams and the bytes of their heads, in the order they came.
    heads: VecDeque<(u32, u32)>,
}

impl Frames {
    /// Those of a connection that begins with so many bytes of a preface.
    pub(super) fn new(preface: usize, now: u64) -> Self {
        Self { left: preface, head: [0; HEAD], have: 0, level: 0, since: now, flood: None, heads: VecDeque::new() }
    }

    /// Takes bytes as they were received, at that time in milliseconds.
    pub(super) fn take(&mut self, mut bytes: &[u8], now: u64) {
        let fallen = now.saturating_sub(self.since) * PER_SECOND / 1000;
        if fallen > 0 {
            self.credit(fallen.min(u64::from(u32::MAX)) as u32);
            self.since = now;
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                self.have = 0;
                self.frame();
            }
        }
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, id @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let id = u32::from_be_bytes(id) & 0x7fff_ffff;
        self.left = length as usize;
        let (cost, name) = match kind {
            DATA if length == 0 && flags & END_STREAM == 0 => (1, "empty DATA frames"),
            DATA | GOAWAY => (0, ""),
            HEADERS => {
                self.head_bytes(id, length);
                (u32::from(length == 0 || flags & END_HEADERS == 0), "pieces of HEADERS")
            }
            PRIORITY => (1, "PRIORITY frames"),
            RST_STREAM => (RESET, "RST_STREAM frames"),
            SETTINGS => (1, "SETTINGS frames"),
            PING => (1, "PING frames"),
            WINDOW_UPDATE => (1, "WINDOW_UPDATE frames"),
            CONTINUATION => {
                self.head_bytes(id, length);
                (1, "CONTINUATION frames")
            }
            _ => (1, "frames of unknown types"),
        };
        self.level = self.level.saturating_add(cost);
        if cost > 0 && self.level > MOST {
            self.flood.get_or_insert(name);
        }
    }

    fn head_bytes(&mut self, id: u32, length: u32) {
        let bytes = length.saturating_add(HEAD as u32);
        match self.heads.back_mut() {
            Some((last, sum)) if *last == id => *sum = sum.saturating_add(bytes),
            _ => {
                if self.heads.len() == HEADS {
                    self.heads.pop_front();
                }
                self.heads.push_back((id, bytes));
            }
        }
    }

    /// Bytes of the head of a stream that is taken now, its frames' heads among them.
    pub(super) fn head_of(&mut self, id: u32) -> u64 {
        while let Some((first, bytes)) = self.heads.front().copied() {
            if first > id {
                break;
            }
            self.heads.pop_front();
            if first == id {
                return u64::from(bytes);
            }
        }
        0
    }

    /// What was sent or received lets the client send so many frames more that bring nothing.
    pub(super) fn credit(&mut self, frames: u32) {
        self.level = self.level.saturating_sub(frames);
    }

    /// Of what there were too many.
    pub(super) fn flood(&self) -> Option<&'static str> {
        self.flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_are_counted_wherever_the_pieces_end() {
        let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        all.extend(frame(SETTINGS, 0, 0, &[0; 12]));
        all.extend(frame(HEADERS, 0, 1, &[0; 30]));
        all.extend(frame(CONTINUATION, END_HEADERS, 1, &[0; 5]));
        all.extend(frame(DATA, 1, 1, &[0; 300]));
        all.extend(frame(HEADERS, END_HEADERS, 3, &[0; 2]));
        for size in [1, 2, 7, 9, 10, 100, all.len()] {
            let mut frames = Frames::new(24, 0);
            all.chunks(size).for_each(|piece| frames.take(piece, 0));
            assert_eq!((frames.level, frames.left, frames.have), (3, 0, 0), "{size}");
            assert_eq!((frames.head_of(1), frames.head_of(3), frames.head_of(5)), (53, 11, 0));
        }
    }

    #[test]
    fn what_brings_nothing_is_a_flood_above_a_rate_and_what_was_served_lets_more_in() {
        let kinds: [(u8, u8, &[u8], u32); 8] = [
            (PING, 0, &[0; 8], 1),
            (SETTINGS, 0, &[], 1),
            (PRIORITY, 0, &[0; 5], 1),
            (WINDOW_UPDATE, 0, &[0; 4], 1),
            (RST_STREAM, 0, &[0; 4], RESET),
            (DATA, 0, &[], 1),
            (CONTINUATION, 0, &[0; 1], 1),
            (0x77, 0, &[], 1),
        ];
        for (kind, flags, payload, cost) in kinds {
            let one = frame(kind, flags, 1, payload);
            let mut frames = Frames::new(0, 0);
            for _ in 0..MOST / cost {
                frames.take(&one, 0);
            }
            assert_eq!(frames.flood(), None);
            frames.take(&one, 0);
            assert!(frames.flood().is_some(), "{kind}");
            // As many over ten seconds more are none.
            let mut frames = Frames::new(0, 0);
            for count in 0..u64::from(MOST / cost) * 2 {
                frames.take(&one, count * 2 * u64::from(cost));
            }
            assert_eq!(frames.flood(), None);
            let mut frames = Frames::new(0, 0);
            for _ in 0..MOST * 3 {
                frames.take(&one, 0);
                frames.credit(cost);
            }
            assert_eq!(frames.flood(), None);
        }
        let mut frames = Frames::new(0, 0);
        for _ in 0..MOST * 2 {
            frames.take(&frame(DATA, 0, 1, b"x"), 0);
            frames.take(&frame(DATA, END_STREAM, 1, b""), 0);
            frames.take(&frame(HEADERS, END_HEADERS, 1, b"x"), 0);
        }
        assert_eq!(frames.flood(), None);
        assert!(frames.heads.len() <= HEADS);
    }
}
