//! The table of well-known environ keys. Gateway and worker are of one release, so an entry's number may change.
use crate::headers::HeaderId;

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

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// The number of an environ key that is in the table: for constants (the compiler refuses others).
pub const fn key(name: &str) -> u8 {
    let mut index = 0;
    while !same(KEYS[index].as_bytes(), name.as_bytes()) {
        index += 1;
    }
    index as u8
}

/// Number + 1 of the environ key of each known header, 0 where it has none.
const OF_HEADER: [u8; HeaderId::ALL.len() + 1] = {
    let mut table = [0; HeaderId::ALL.len() + 1];
    let mut at = 0;
    while at < HeaderId::ALL.len() {
        let id = HeaderId::ALL[at];
        let name = id.name().as_bytes();
        let mut index = 0;
        while index < KEYS.len() {
            if is_header(KEYS[index].as_bytes(), name) {
                table[id as usize] = index as u8 + 1;
            }
            index += 1;
        }
        at += 1;
    }
    table
};

/// `key` is `HTTP_` and this name in capitals, `_` for `-`.
const fn is_header(key: &[u8], name: &[u8]) -> bool {
    if key.len() != name.len() + 5 {
        return false;
    }
    let mut at = 0;
    while at < key.len() {
        let byte = if at < 5 { b"HTTP_"[at] } else { name[at - 5].to_ascii_uppercase() };
        if key[at] != if byte == b'-' { b'_' } else { byte } {
            return false;
        }
        at += 1;
    }
    true
}

/// The number of the environ key of a known header.
pub fn key_of_id(id: HeaderId) -> Option<u8> {
    OF_HEADER.get(id as usize)?.checked_sub(1)
}

/// The number of an environ key.
pub fn key_of_name(name: &[u8]) -> Option<u8> {
    find(hash(SEED, name), |key| key == name)
}

/// The number of the environ key of a request header, whatever the case of its name.
pub fn key_of_header(name: &[u8]) -> Option<u8> {
    find(hash(HTTP, name), |key| is_header(key, name))
}
