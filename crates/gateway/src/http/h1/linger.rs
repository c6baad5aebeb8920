//! The end of connections that are closed while something is still under way.
use crate::http::h1::Conn;
use crate::settings::connection::{Lingering, Settings};

/// Bytes read at a time of what nobody wants.
const READ: usize = 64 << 10;

/// Closes in two steps: our side first, then after the client's has ended or its time is up.
pub async fn linger(conn: &Conn, settings: &Settings) {
    if settings.lingering_close == Lingering::Off {
        return;
    }
    conn.io.stream.end();
    let clock = &conn.io.thread().clock;
    let end = clock.now().saturating_add(settings.lingering_time.0);
    loop {
        let left = end.saturating_sub(clock.now()).min(settings.lingering_timeout.0);
        if left == 0 {
            return;
        }
        conn.io.idle(left);
        if conn.skip(READ).await == 0 {
            return;
        }
    }
}
