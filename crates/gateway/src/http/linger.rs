//! The end of connections that are closed while something is still under way.
use crate::io::stream::Io;
use crate::settings::connection::{Lingering, Settings};

/// Bytes read at a time of what nobody wants.
const READ: usize = 64 << 10;

/// Closes in two steps: our side first, then after the client's has ended or its time is up.
pub async fn linger(io: &Io, settings: &Settings) {
    if settings.lingering_close == Lingering::Off {
        return;
    }
    io.stream.end();
    let clock = &io.thread().clock;
    let end = clock.now().saturating_add(settings.lingering_time.0);
    let mut buf = io.thread().bufs.take_read();
    loop {
        let left = end.saturating_sub(clock.now()).min(settings.lingering_timeout.0);
        if left == 0 {
            break;
        }
        io.idle(left);
        buf.clear();
        if io.read(&mut buf, READ).await.unwrap_or(0) == 0 {
            break;
        }
    }
    io.thread().bufs.give_read(buf);
}
