//! Small pieces of a body that come one right after the other leave together.
//!
//! PEP 3333 lets a server go on while it sends a block from another thread, which [`crate::guard`] is. The app pays a copy
//! instead of a system call and of waking the gateway, which would then send pieces as small as that.
use buchner_wire::slot::{self, HEADER, Header, Kind};
use std::time::{Duration, Instant};

/// A piece that comes this soon after the one before is one of many.
const RAPID: Duration = Duration::from_micros(100);
/// Larger pieces are sent from where they are.
const MAX_PIECE: usize = 16 << 10;

/// The header of a BODY frame.
pub fn header(length: usize) -> [u8; HEADER] {
    Header { length, kind: Kind::Body, flags: 0 }.to_bytes()
}

/// What is known of the pieces at the end of a buffer of frames that wait for the next ones.
#[derive(Default)]
pub struct Joined {
    /// Where the BODY frame that they are in begins.
    frame: Option<usize>,
    /// When the first of them came, if some of them were not sent yet.
    since: Option<Instant>,
    /// The buffer begins in the middle of a frame.
    pub cut: bool,
    /// Bytes of the body that came so far.
    bytes: usize,
    /// When the last piece came.
    last: Option<Instant>,
}

impl Joined {
    /// Counts a piece of so many bytes. True when it may wait: it is small and one of many.
    pub fn count(&mut self, bytes: usize, now: Instant) -> bool {
        let rapid = self.last.replace(now).is_some_and(|last| now - last < RAPID);
        let many = self.bytes > slot::MAX_CHUNK;
        self.bytes = self.bytes.saturating_add(bytes);
        rapid && many && bytes <= MAX_PIECE
    }

    /// Puts a piece into the frame at the end of `out`. False: it has no room there, `out` must be sent first.
    pub fn join(&mut self, out: &mut Vec<u8>, bytes: &[u8], now: Instant) -> bool {
        let frame = *self.frame.get_or_insert(out.len());
        if out.len() == frame {
            out.extend_from_slice(&header(0));
        }
        if out.len() - frame - HEADER + bytes.len() > slot::MAX_CHUNK {
            return false;
        }
        self.since.get_or_insert(now);
        out.extend_from_slice(bytes);
        true
    }

    /// Ends the frame: its header gets its length.
    pub fn close_frame(&mut self, out: &mut [u8]) {
        if let Some(frame) = self.frame.take() {
            let length = out.len() - frame - HEADER;
            out[frame..frame + HEADER].copy_from_slice(&header(length));
        }
    }

    /// When the first of the pieces that wait came.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Everything was sent.
    pub fn sent(&mut self) {
        *self = Self { bytes: self.bytes, last: self.last, ..Self::default() };
    }
}
