//! Nanoseconds per head, decoded chunk and path: `cargo bench -p buchner-wire`. Without a framework, the fastest of several
//! rounds: what the code costs, not what else the machine does.
use buchner_wire::h1::{BodyDecoder, Decoded, Framing, Limits, parse_request, parse_response};
use buchner_wire::method::Method;
use buchner_wire::path::parse_target;
use bytes::{Bytes, BytesMut};
use std::hint::black_box;
use std::time::Instant;

const REQUEST: &[u8] = b"GET /shop/articles/4711?sort=price&page=2 HTTP/1.1\r\nHost: shop.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: session=eyJfZnJlc2giOmZhbHNlfQ.ZnXH2A\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Mon, 24 Jun 2024 10:00:00 GMT\r\nConnection: keep-alive\r\n\
Content-Type: text/html; charset=utf-8\r\nContent-Length: 65\r\n\r\n";
const ROUNDS: u32 = 400;
const CALLS: u32 = 1000;

fn measure(name: &str, mut call: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(CALLS));
    }
    println!("{name:<40} {:>7.0} ns", best * 1e9);
}

fn main() {
    let limits = Limits::default();
    let mut buf = BytesMut::with_capacity(8192);
    measure(&format!("request head, {} bytes", REQUEST.len()), || {
        buf.reserve(REQUEST.len());
        buf.extend_from_slice(REQUEST);
        black_box(parse_request(&mut buf, &limits, &mut 0).is_ok());
    });
    measure(&format!("response head, {} bytes", RESPONSE.len()), || {
        buf.reserve(RESPONSE.len());
        buf.extend_from_slice(RESPONSE);
        black_box(parse_response(&mut buf, &limits, &mut 0, &Method::Get).is_ok());
    });
    buf.extend_from_slice(REQUEST);
    let head = parse_request(&mut buf, &limits, &mut 0).ok().flatten();
    measure("hop-by-hop fields, none there", || {
        if let Some(mut headers) = black_box(&head).as_ref().map(|head| head.headers.clone()) {
            headers.strip_hop_by_hop();
        }
    });
    let mut out = Vec::with_capacity(4096);
    measure("fields written", || {
        out.clear();
        if let Some(head) = black_box(&head) {
            head.headers.write_to(&mut out);
        }
    });
    for target in ["/shop/articles/4711?sort=price&page=2", "/shop/../a%20rticles//4711?sort=price"] {
        let raw = Bytes::from_static(target.as_bytes());
        measure(&format!("target {target}"), || drop(black_box(parse_target(&Method::Get, &raw, true))));
    }
    measure("chunked body, three chunks of 10 bytes", || {
        buf.extend_from_slice(b"a\r\n0123456789\r\na\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n");
        let mut decoder = BodyDecoder::new(Framing::Chunked, &limits);
        while let Ok(Decoded::Data(bytes)) = decoder.decode(&mut buf, false) {
            black_box(bytes);
        }
    });
}
