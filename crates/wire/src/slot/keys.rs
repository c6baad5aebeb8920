//! The table of well-known environ keys. Gateway and worker are of one release, so an entry's number may change.

/// Names with a number of one byte: entry `n` is written as byte `n + 1`.
pub const KEYS: &[&str] = &[
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "RAW_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "HTTP_HOST",
    "HTTP_USER_AGENT",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_ACCEPT_CHARSET",
    "HTTP_COOKIE",
    "HTTP_REFERER",
    "HTTP_ORIGIN",
    "HTTP_AUTHORIZATION",
    "HTTP_CONNECTION",
    "HTTP_UPGRADE",
    "HTTP_UPGRADE_INSECURE_REQUESTS",
    "HTTP_CACHE_CONTROL",
    "HTTP_PRAGMA",
    "HTTP_DNT",
    "HTTP_TE",
    "HTTP_PRIORITY",
    "HTTP_RANGE",
    "HTTP_IF_RANGE",
    "HTTP_IF_MATCH",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_FORWARDED",
    "HTTP_X_REAL_IP",
    "HTTP_X_REQUEST_ID",
    "HTTP_X_REQUESTED_WITH",
    "HTTP_X_CSRF_TOKEN",
    "HTTP_TRACEPARENT",
    "HTTP_TRACESTATE",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_SEC_FETCH_MODE",
    "HTTP_SEC_FETCH_USER",
    "HTTP_SEC_FETCH_DEST",
    "HTTP_SEC_CH_UA",
    "HTTP_SEC_CH_UA_MOBILE",
    "HTTP_SEC_CH_UA_PLATFORM",
    "HTTP_SEC_GPC",
    "HTTP_SEC_WEBSOCKET_KEY",
    "HTTP_SEC_WEBSOCKET_VERSION",
    "HTTP_SEC_WEBSOCKET_PROTOCOL",
    "HTTP_SEC_WEBSOCKET_EXTENSIONS",
    "HTTP_EXPECT",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_VIA",
    "HTTP_DATE",
    "HTTP_FROM",
    "HTTP_KEEP_ALIVE",
    "REMOTE_USER",
    "HTTPS",
    "REQUEST_ID",
];

const BUCKETS: usize = 256;

/// FNV-1a over a name in capitals, `-` as `_`, folded to a bucket.
const fn hash(mut state: u32, name: &[u8]) -> u32 {
    let mut at = 0;
    while at < name.len() {
        let byte = if name[at] == b'-' { b'_' } else { name[at].to_ascii_uppercase() };
        state = (state ^ byte as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    state
}

const SEED: u32 = 0x811c_9dc5;
const HTTP: u32 = hash(SEED, b"HTTP_");

/// Open addressing: number + 1 of the key whose hash leads here, 0 where none does.
const TABLE: [u8; BUCKETS] = {
    let mut table = [0; BUCKETS];
    let mut index = 0;
    while index < KEYS.len() {
        let mut bucket =
            (hash(SEED, KEYS[index].as_bytes()) ^ (hash(SEED, KEYS[index].as_bytes()) >> 16)) as usize % BUCKETS;
        while table[bucket] != 0 {
            bucket = (bucket + 1) % BUCKETS;
        }
        table[bucket] = index as u8 + 1;
        index += 1;
    }
    table
};

fn find(hash: u32, same: impl Fn(&[u8]) -> bool) -> Option<u8> {
    let mut bucket = (hash ^ (hash >> 16)) as usize % BUCKETS;
    while let Some(index) = TABLE[bucket].checked_sub(1) {
        if same(KEYS[usize::from(index)].as_bytes()) {
            return Some(index);
        }
        bucket = (bucket + 1) % BUCKETS;
    }
    None
}

/// The number of an environ key.
pub fn key_of_name(name: &[u8]) -> Option<u8> {
    find(hash(SEED, name), |key| key == name)
}

/// The number of the environ key of a request header, whatever the case of its name.
pub fn key_of_header(name: &[u8]) -> Option<u8> {
    find(hash(HTTP, name), |key| {
        key.strip_prefix(b"HTTP_").is_some_and(|key| {
            key.len() == name.len()
                && key
                    .iter()
                    .zip(name)
                    .all(|(&key, &byte)| key == if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() })
        })
    })
}
