//! When another server of the group is asked (nginx: proxy_next_upstream and its _timeout and _tries).
use super::config::{NextUpstream, Settings};
use crate::error::Kind;

/// Failures and answers that lead to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    on: u16,
    /// Milliseconds after which no further server is asked; 0: no limit.
    pub timeout_ms: u64,
    /// Servers asked at most; 0: no limit.
    pub tries: u32,
}

impl Default for Next {
    fn default() -> Self {
        Self::compile(&Settings::default())
    }
}

/// A connection that was not accepted in time, beside those of [`NextUpstream`]: nothing was sent, so it is safe.
const CONNECT_TIMEOUT: u16 = 1 << 15;

impl Next {
    /// Compiles the settings.
    pub fn compile(raw: &Settings) -> Self {
        let on = match &raw.proxy_next_upstream {
            None => bit(NextUpstream::Error) | CONNECT_TIMEOUT,
            Some(list) if list.contains(&NextUpstream::Off) => 0,
            Some(list) => list.iter().fold(0, |on, next| on | bit(*next)),
        };
        let on = if on & bit(NextUpstream::Timeout) == 0 { on } else { on | CONNECT_TIMEOUT };
        Self { on, timeout_ms: raw.proxy_next_upstream_timeout.0, tries: raw.proxy_next_upstream_tries }
    }

    /// A failure leads to another server.
    pub fn after(self, kind: Kind) -> bool {
        let class = match kind {
            Kind::UpstreamConnectTimeout => CONNECT_TIMEOUT,
            Kind::UpstreamConnect | Kind::UpstreamClosed => bit(NextUpstream::Error),
            Kind::UpstreamTimeout => bit(NextUpstream::Timeout),
            Kind::UpstreamInvalid => bit(NextUpstream::InvalidHeader),
            _ => 0,
        };
        self.on & class != 0
    }

    /// An answer of this status leads to another server.
    pub fn after_status(self, status: u16) -> bool {
        let class = match status {
            500 => NextUpstream::Http500,
            502 => NextUpstream::Http502,
            503 => NextUpstream::Http503,
            504 => NextUpstream::Http504,
            403 => NextUpstream::Http403,
            404 => NextUpstream::Http404,
            429 => NextUpstream::Http429,
            _ => return false,
        };
        self.on & bit(class) != 0
    }

    /// Requests that change something may be sent twice.
    pub fn non_idempotent(self) -> bool {
        self.on & bit(NextUpstream::NonIdempotent) != 0
    }
}

fn bit(next: NextUpstream) -> u16 {
    1 << next as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_leads_on_and_nothing_else() {
        let settings = |list: Option<&[NextUpstream]>| {
            let proxy_next_upstream = list.map(<[NextUpstream]>::to_vec);
            Next::compile(&Settings { proxy_next_upstream, ..Settings::default() })
        };
        let next = settings(None);
        assert!(next.after(Kind::UpstreamClosed) && next.after(Kind::UpstreamConnectTimeout));
        assert!(!next.after(Kind::UpstreamTimeout) && !next.after_status(502) && !next.non_idempotent());
        let next = settings(Some(&[NextUpstream::Timeout, NextUpstream::Http404, NextUpstream::NonIdempotent]));
        assert!(next.after(Kind::UpstreamTimeout) && next.after_status(404) && next.non_idempotent());
        assert!(next.after(Kind::UpstreamConnectTimeout) && !next.after(Kind::UpstreamConnect));
        let next = settings(Some(&[NextUpstream::Error, NextUpstream::Off]));
        assert!(!next.after(Kind::UpstreamConnect));
    }
}
