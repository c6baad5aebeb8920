//! First lines of heads. Fields are written by [`crate::headers::write_header`] and [`crate::headers::Headers::write_to`].
use crate::headers::is_valid_value;
use crate::method::Method;
use crate::target::is_clean;

/// The standard reason phrase of `status` (RFC 9110 section 15, IANA registry), empty for an unknown one.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => error_reason(status),
    }
}

/// The reason phrase of `status` as nginx has it; the standard one where it has none of its own.
pub fn nginx_reason(status: u16) -> &'static str {
    match status {
        302 => "Moved Temporarily",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        416 => "Requested Range Not Satisfiable",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => reason(status),
    }
}

fn error_reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// Writes `HTTP/1.1 status reason\r\n`. An empty or invalid `reason` is replaced by the standard one.
pub fn write_status_line(out: &mut Vec<u8>, status: u16, phrase: &[u8]) {
    if status == 200 && (phrase.is_empty() || phrase == b"OK") {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let status = status.clamp(100, 999);
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    let usable = !phrase.is_empty() && is_valid_value(phrase);
    out.extend_from_slice(if usable { phrase } else { reason(status).as_bytes() });
    out.extend_from_slice(b"\r\n");
}

/// Writes `method target HTTP/1.1\r\n`. A target that is empty or holds white space or control characters writes nothing and
/// returns false.
pub fn write_request_line(out: &mut Vec<u8>, method: &Method, target: &[u8]) -> bool {
    let valid = !target.is_empty() && is_clean(target);
    if valid {
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_line(status: u16, phrase: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_status_line(&mut out, status, phrase);
        out
    }

    #[test]
    fn status_lines() {
        assert_eq!(status_line(200, b""), b"HTTP/1.1 200 OK\r\n");
        assert_eq!(status_line(200, b"Fine"), b"HTTP/1.1 200 Fine\r\n");
        assert_eq!(status_line(404, b""), b"HTTP/1.1 404 Not Found\r\n");
        assert_eq!(status_line(299, b""), b"HTTP/1.1 299 \r\n");
        assert_eq!(status_line(404, b"Gone\r\nSet-Cookie: a=b"), b"HTTP/1.1 404 Not Found\r\n");
        assert_eq!(status_line(7, b""), b"HTTP/1.1 100 Continue\r\n");
    }

    #[test]
    fn request_lines() {
        let mut out = Vec::new();
        assert!(write_request_line(&mut out, &Method::Get, b"/a?b"));
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\n");
        for bad in ["", "/a b", "/a\r\nX: y", "/\0", "/\t"] {
            assert!(!write_request_line(&mut out, &Method::Get, bad.as_bytes()), "{bad:?}");
        }
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\n");
    }
}
