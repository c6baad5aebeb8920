//! From a representation to its response: conditions first, then ranges (RFC 9110 section 13.2.2).
use crate::backend::files::conditional::{self, Validators, Verdict};
use crate::backend::files::range::{self, Ranges};
use crate::backend::files::representation::Representation;
use crate::exchange::Response;
use crate::http::body::{Body, Part};
use buchner_wire::headers::{HeaderId, Headers};
use buchner_wire::method::Method;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

/// What a request for a file comes to.
pub enum Answer {
    /// 200, 206 or 304.
    Response(Response),
    /// 412: a condition of the client does not hold.
    Failed,
    /// 416: no range of the client's lies in the file, which has this many bytes.
    Unsatisfiable(u64),
}

/// The part of a request that matters here.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a Headers,
    /// Ranges it may ask for; 0: its Range header does not count.
    pub max_ranges: u32,
    /// Unix time in seconds.
    pub now: u64,
}

/// Answers with a representation under these fields and validators.
pub fn answer(asked: Asked<'_>, file: &Representation, mut headers: Headers, validators: Validators<'_>) -> Answer {
    match conditional::evaluate(asked.headers, validators) {
        Verdict::Proceed => {}
        Verdict::Failed => return Answer::Failed,
        Verdict::NotModified => {
            // RFC 9110 section 15.4.5: what describes the content stays away.
            headers.retain(|field| {
                let content = [
                    HeaderId::ContentType,
                    HeaderId::ContentEncoding,
                    HeaderId::ContentLanguage,
                    HeaderId::ContentDisposition,
                    HeaderId::AcceptRanges,
                ];
                !content.contains(&field.id)
            });
            let mut response = Response::new(304, Body::None { length: None });
            response.headers = headers;
            return Answer::Response(response);
        }
    }
    let ranges = match asked.headers.get(HeaderId::Range) {
        Some(value)
            if *asked.method == Method::Get && conditional::range_applies(asked.headers, validators, asked.now) =>
        {
            range::parse(value, file.size(), asked.max_ranges)
        }
        _ => Ranges::Whole,
    };
    let (status, body) = match ranges {
        Ranges::Unsatisfiable => return Answer::Unsatisfiable(file.size()),
        Ranges::Whole => (200, file.body()),
        Ranges::Some(ranges) => {
            // Whoever got a part knows that there are parts.
            headers.remove(HeaderId::AcceptRanges);
            match ranges.as_slice() {
                [range] => {
                    headers.set(HeaderId::ContentRange, content_range(range, file.size()).as_bytes());
                    (206, Body::Parts(vec![file.part(range)]))
                }
                ranges => (206, multipart(ranges, file, &mut headers)),
            }
        }
    };
    let mut response = Response::new(status, body);
    response.headers = headers;
    Answer::Response(response)
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// `multipart/byteranges` (RFC 9110 section 14.6): the content's own type moves into the parts.
fn multipart(ranges: &[Range<u64>], file: &Representation, headers: &mut Headers) -> Body {
    let boundary = boundary();
    let content_type = match headers.get(HeaderId::ContentType) {
        Some(value) => format!("Content-Type: {}\r\n", String::from_utf8_lossy(value)),
        None => String::new(),
    };
    let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut lead = "";
    for range in ranges {
        let content_range = content_range(range, file.size());
        let head = format!("{lead}--{boundary}\r\n{content_type}Content-Range: {content_range}\r\n\r\n");
        parts.push(Part::Bytes(head.into()));
        parts.push(file.part(range));
        lead = "\r\n";
    }
    parts.push(Part::Bytes(format!("\r\n--{boundary}--\r\n").into()));
    headers.set(HeaderId::ContentType, format!("multipart/byteranges; boundary={boundary}").as_bytes());
    Body::Parts(parts)
}

/// A line that no file contains, for nobody can guess it.
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::files::precompressed::Coding;
    use crate::backend::files::representation::{EtagPrecision, Traits};
    use crate::backend::files::resolve::{Found, open_itself};
    use crate::backend::files::testing::TempDir;
    use std::os::unix::fs::FileExt;

    fn file(temp: &TempDir, content: &[u8]) -> Representation {
        temp.write("f", content);
        let Ok(Found::File(file, stamp)) = open_itself(temp.path().join("f").as_os_str().as_encoded_bytes()) else {
            unreachable!()
        };
        let traits = Traits {
            content_type: "text/plain",
            etag: Some(EtagPrecision::Nanoseconds),
            ranges: true,
            coding: Some(Coding::Gzip),
            varies: true,
            cache_control: Some("no-cache"),
        };
        Representation::new(file, stamp, traits)
    }

    fn ask(file: &Representation, method: &Method, fields: &[(HeaderId, &str)]) -> Answer {
        let mut headers = Headers::default();
        for (id, value) in fields {
            assert!(headers.push(*id, value.as_bytes()));
        }
        let now = u64::MAX;
        let asked = Asked { method, headers: &headers, max_ranges: 4, now };
        answer(asked, file, file.headers(now), file.validators(now))
    }

    fn content(body: &Body) -> Vec<u8> {
        let part = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::File { file, offset, length } => {
                let mut bytes = vec![0; *length as usize];
                file.read_exact_at(&mut bytes, *offset).unwrap();
                bytes
            }
        };
        match body {
            Body::Full(bytes) => bytes.to_vec(),
            Body::Parts(parts) => parts.iter().flat_map(part).collect(),
            _ => Vec::new(),
        }
    }

    fn get(response: &Response, id: HeaderId) -> String {
        String::from_utf8_lossy(response.headers.get(id).unwrap_or_default()).into_owned()
    }

    /// Ten bytes at the front of a file that is kept in memory, and of one that is not.
    fn sizes() -> [Vec<u8>; 2] {
        [100, 100_000].map(|size| (0..size).map(|i| b'0' + (i % 10) as u8).collect())
    }

    #[test]
    fn whole_and_single_ranges_from_memory_and_from_the_file() {
        for bytes in sizes() {
            let temp = TempDir::new();
            let file = file(&temp, &bytes);
            let Answer::Response(whole) = ask(&file, &Method::Get, &[]) else { unreachable!() };
            assert_eq!((whole.status, content(&whole.body)), (200, bytes.clone()));
            assert_eq!(get(&whole, HeaderId::AcceptRanges), "bytes");
            assert_eq!(get(&whole, HeaderId::ContentEncoding), "gzip");
            let Answer::Response(part) = ask(&file, &Method::Get, &[(HeaderId::Range, "bytes=2-5")]) else {
                unreachable!()
            };
            assert_eq!((part.status, content(&part.body)), (206, b"2345".to_vec()));
            assert_eq!(get(&part, HeaderId::ContentRange), format!("bytes 2-5/{}", bytes.len()));
            assert_eq!(get(&part, HeaderId::Etag), get(&whole, HeaderId::Etag));
            let out = format!("bytes={}-", bytes.len());
            let size = bytes.len() as u64;
            assert!(
                matches!(ask(&file, &Method::Get, &[(HeaderId::Range, &out)]), Answer::Unsatisfiable(s) if s == size)
            );
        }
    }

    #[test]
    fn several_ranges_are_a_multipart_of_the_length_it_has() {
        for bytes in sizes() {
            let temp = TempDir::new();
            let file = file(&temp, &bytes);
            let Answer::Response(response) = ask(&file, &Method::Get, &[(HeaderId::Range, "bytes=5-6,0-1,-1")]) else {
                unreachable!()
            };
            let kind = get(&response, HeaderId::ContentType);
            let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
            let size = bytes.len();
            let part = |range: &str, content: &str| {
                format!(
                    "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/{size}\r\n\r\n{content}\r\n"
                )
            };
            let last = format!("{0}-{0}", size - 1);
            let expected =
                [part("5-6", "56"), part("0-1", "01"), part(&last, "9"), format!("--{boundary}--\r\n")].concat();
            assert_eq!(String::from_utf8(content(&response.body)).unwrap(), expected);
            assert_eq!(response.body.length(), Some(expected.len() as u64));
            assert!(response.headers.get(HeaderId::ContentRange).is_none());
        }
        assert_ne!(boundary(), boundary());
    }

    #[test]
    fn ranges_count_for_get_and_while_if_range_holds() {
        let temp = TempDir::new();
        let file = file(&temp, b"0123456789");
        let status = |method: &Method, fields: &[(HeaderId, &str)]| match ask(&file, method, fields) {
            Answer::Response(response) => response.status,
            Answer::Failed => 412,
            Answer::Unsatisfiable(_) => 416,
        };
        let Answer::Response(whole) = ask(&file, &Method::Get, &[]) else { unreachable!() };
        let (etag, date) = (get(&whole, HeaderId::Etag), get(&whole, HeaderId::LastModified));
        let range = (HeaderId::Range, "bytes=0-0");
        assert_eq!(status(&Method::Get, &[range]), 206);
        assert_eq!(status(&Method::Head, &[range]), 200);
        assert_eq!(status(&Method::Get, &[range, (HeaderId::IfRange, &etag)]), 206);
        assert_eq!(status(&Method::Get, &[range, (HeaderId::IfRange, &date)]), 206);
        assert_eq!(status(&Method::Get, &[range, (HeaderId::IfRange, "\"other\"")]), 200);
        assert_eq!(status(&Method::Get, &[(HeaderId::Range, "bytes=10-"), (HeaderId::IfRange, "\"other\"")]), 200);
        assert_eq!(status(&Method::Get, &[(HeaderId::Range, "bytes=0-0,2-2,4-4,6-6,8-8")]), 200);
        assert_eq!(status(&Method::Get, &[range, (HeaderId::IfNoneMatch, &etag)]), 304);
        assert_eq!(status(&Method::Get, &[range, (HeaderId::IfMatch, "\"other\"")]), 412);
        assert_eq!(status(&Method::Get, &[(HeaderId::Range, "bytes=10-"), (HeaderId::IfMatch, &etag)]), 416);
    }

    #[test]
    fn not_modified_keeps_validators_and_caching() {
        let temp = TempDir::new();
        let file = file(&temp, b"0123456789");
        let Answer::Response(response) = ask(&file, &Method::Get, &[(HeaderId::IfNoneMatch, "*")]) else {
            unreachable!()
        };
        let ids: Vec<_> = response.headers.iter().map(|field| field.id).collect();
        assert_eq!(ids, [HeaderId::LastModified, HeaderId::Etag, HeaderId::Vary, HeaderId::CacheControl]);
        assert!(matches!(response.body, Body::None { length: None }));
    }

    #[test]
    fn a_date_in_the_future_is_not_claimed() {
        let temp = TempDir::new();
        let file = file(&temp, b"x");
        assert!(file.headers(0).get(HeaderId::LastModified).is_none() && file.validators(0).modified.is_none());
        assert!(file.headers(u64::MAX).get(HeaderId::LastModified).is_some());
    }
}
