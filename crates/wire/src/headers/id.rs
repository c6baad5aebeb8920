//! The known field names: an [`HeaderId`] is what the gateway compares instead of bytes.

macro_rules! header_ids {
    ($($variant:ident = $name:literal,)*) => {
        /// A field name the gateway knows, or [`HeaderId::Other`].
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum HeaderId {
            /// A name that isn't listed here; compare its bytes.
            #[default]
            Other = 0,
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl HeaderId {
            /// Every known name; [`HeaderId::Other`] is not among them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as it is written, empty for [`HeaderId::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

header_ids! {
    Host = "Host",
    Connection = "Connection",
    ContentLength = "Content-Length",
    TransferEncoding = "Transfer-Encoding",
    Te = "TE",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    KeepAlive = "Keep-Alive",
    ProxyConnection = "Proxy-Connection",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    Http2Settings = "HTTP2-Settings",
    Expect = "Expect",
    Date = "Date",
    Server = "Server",
    ContentType = "Content-Type",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLocation = "Content-Location",
    ContentDisposition = "Content-Disposition",
    ContentRange = "Content-Range",
    ContentSecurityPolicy = "Content-Security-Policy",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptCharset = "Accept-Charset",
    AcceptRanges = "Accept-Ranges",
    Age = "Age",
    Allow = "Allow",
    AltSvc = "Alt-Svc",
    Authorization = "Authorization",
    WwwAuthenticate = "WWW-Authenticate",
    AuthenticationInfo = "Authentication-Info",
    Cookie = "Cookie",
    SetCookie = "Set-Cookie",
    Range = "Range",
    IfRange = "If-Range",
    IfNoneMatch = "If-None-Match",
    IfModifiedSince = "If-Modified-Since",
    IfMatch = "If-Match",
    IfUnmodifiedSince = "If-Unmodified-Since",
    LastModified = "Last-Modified",
    Etag = "ETag",
    Location = "Location",
    Refresh = "Refresh",
    CacheControl = "Cache-Control",
    Expires = "Expires",
    Pragma = "Pragma",
    Vary = "Vary",
    Via = "Via",
    UserAgent = "User-Agent",
    Referer = "Referer",
    Origin = "Origin",
    AccessControlAllowOrigin = "Access-Control-Allow-Origin",
    MaxForwards = "Max-Forwards",
    RetryAfter = "Retry-After",
    Link = "Link",
    ServerTiming = "Server-Timing",
    StrictTransportSecurity = "Strict-Transport-Security",
    XContentTypeOptions = "X-Content-Type-Options",
    XFrameOptions = "X-Frame-Options",
    Forwarded = "Forwarded",
    XForwardedFor = "X-Forwarded-For",
    XForwardedProto = "X-Forwarded-Proto",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XForwardedPrefix = "X-Forwarded-Prefix",
    XForwardedServer = "X-Forwarded-Server",
    XRealIp = "X-Real-IP",
    XRequestId = "X-Request-ID",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    XAccelRedirect = "X-Accel-Redirect",
    XAccelBuffering = "X-Accel-Buffering",
    XAccelCharset = "X-Accel-Charset",
    XAccelExpires = "X-Accel-Expires",
    XAccelLimitRate = "X-Accel-Limit-Rate",
    XSendfile = "X-Sendfile",
    Proxy = "Proxy",
    EarlyData = "Early-Data",
    Priority = "Priority",
    LastEventId = "Last-Event-ID",
    SecWebsocketKey = "Sec-WebSocket-Key",
    SecWebsocketVersion = "Sec-WebSocket-Version",
    SecWebsocketProtocol = "Sec-WebSocket-Protocol",
    SecWebsocketExtensions = "Sec-WebSocket-Extensions",
    SecWebsocketAccept = "Sec-WebSocket-Accept",
    UpgradeInsecureRequests = "Upgrade-Insecure-Requests",
    SecFetchSite = "Sec-Fetch-Site",
    SecFetchMode = "Sec-Fetch-Mode",
    SecFetchDest = "Sec-Fetch-Dest",
    SecFetchUser = "Sec-Fetch-User",
    Dnt = "DNT",
    XRequestedWith = "X-Requested-With",
    XBuchnerDropped = "X-Buchner-Dropped",
}

/// Slots of the lookup table: a power of two, several times the number of names.
const SLOTS: usize = 512;

/// Open addressing, filled at compile time: a name's slot holds it and its id, or the next free one does. The name is here, too,
/// so that a look-up reads one place.
static TABLE: [(&[u8], HeaderId); SLOTS] = {
    let mut table: [(&[u8], HeaderId); SLOTS] = [(&[], HeaderId::Other); SLOTS];
    let mut at = 0;
    while at < HeaderId::ALL.len() {
        let id = HeaderId::ALL[at];
        let mut slot = hash(id.name().as_bytes());
        while !table[slot].0.is_empty() {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = (id.name().as_bytes(), id);
        at += 1;
    }
    table
};

// The sets in `Headers` are bits of a u128.
const _: () = assert!(HeaderId::ALL.len() < 128);

/// Four bytes and the length tell the names apart well; setting bit 5 folds the case of letters.
const fn hash(name: &[u8]) -> usize {
    let len = name.len();
    let first = (name[0] | 0x20) as usize;
    let middle = (name[len / 2] | 0x20) as usize;
    let late = (name[len * 2 / 3] | 0x20) as usize;
    let last = (name[len - 1] | 0x20) as usize;
    let mixed = len.wrapping_mul(0x9e37)
        ^ first.wrapping_mul(0x85eb)
        ^ middle.wrapping_mul(0xc2b3)
        ^ late.wrapping_mul(0x27d5)
        ^ last.wrapping_mul(0x1657);
    (mixed >> 5) % SLOTS
}

impl HeaderId {
    /// The id of a field name, whatever its case; [`HeaderId::Other`] for an unknown one.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let mut slot = hash(name);
        loop {
            let (known, id) = TABLE[slot];
            if known.is_empty() || (known.len() == name.len() && (known == name || known.eq_ignore_ascii_case(name))) {
                return id;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Meant for the next hop only, so never forwarded (RFC 9110 section 7.6.1; HTTP2-Settings: RFC 7540 section 3.2.1).
    pub const fn is_hop_by_hop(self) -> bool {
        HOP_BY_HOP & self.bit() != 0
    }

    /// The id as a set of one.
    pub(super) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

/// The hop-by-hop fields as a set of bits.
pub(super) const HOP_BY_HOP: u128 = HeaderId::Connection.bit()
    | HeaderId::KeepAlive.bit()
    | HeaderId::ProxyConnection.bit()
    | HeaderId::Te.bit()
    | HeaderId::Trailer.bit()
    | HeaderId::TransferEncoding.bit()
    | HeaderId::Upgrade.bit()
    | HeaderId::Http2Settings.bit();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_with_nothing_added() {
        for &id in HeaderId::ALL {
            let name = id.name();
            assert_eq!(HeaderId::of(name.as_bytes()), id);
            assert_eq!(HeaderId::of(name.to_ascii_uppercase().as_bytes()), id);
            assert_eq!(HeaderId::of(name.to_ascii_lowercase().as_bytes()), id);
            assert_eq!(HeaderId::of(format!("{name}s").as_bytes()), HeaderId::Other);
            assert_eq!(HeaderId::of(name.replace('-', "_").as_bytes()) == id, !name.contains('-'));
        }
    }

    #[test]
    fn unknown_names_are_other() {
        for name in ["", "x", "X-Foo", "Hos", "Hostt", "\u{e9}", "Content-Lengt\u{7f}"] {
            assert_eq!(HeaderId::of(name.as_bytes()), HeaderId::Other, "{name:?}");
        }
        // Bit 5 folds more than letters in the hash, never in the comparison.
        assert_eq!(HeaderId::of(b"Content\x0dLength"), HeaderId::Other);
    }

    #[test]
    fn lookups_end_within_a_few_steps() {
        let mut run = 0;
        for slot in 0..SLOTS * 2 {
            run = if TABLE[slot % SLOTS].0.is_empty() { 0 } else { run + 1 };
            assert!(run <= 6, "a run of {run} taken slots ends at {slot}");
        }
    }
}
