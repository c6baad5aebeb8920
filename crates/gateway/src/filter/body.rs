//! Filters of bodies: a filter says what becomes of each piece, and [`wrap`] puts it between the body and the writer.
use crate::body::{Body, Source};
use crate::error::Result;
use crate::exchange::Response;
use buchner_wire::headers::HeaderId;
use bytes::Bytes;
use std::task::{Context, Poll};

/// Changes a body piece by piece.
pub trait Transform {
    /// Takes a piece and appends what can go on.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()>;

    /// Appends more of what the pieces so far make, until there is none. A filter that makes much of little hands it out here,
    /// so that the client's pace bounds its memory.
    fn more(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    /// Appends what was held back, as the next piece may be long in coming.
    fn flush(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    /// The body has ended: appends the rest.
    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// Puts a filter behind the body of a response. Its length is no longer known; a response without a body stays without one.
pub fn wrap(response: &mut Response, transform: impl Transform + 'static) {
    response.headers.remove(HeaderId::ContentLength);
    response.headers.remove(HeaderId::AcceptRanges);
    put(response, transform, false);
}

/// Puts a filter behind the body of a response that makes a byte of each byte, so that the length stays.
pub fn wrap_measured(response: &mut Response, transform: impl Transform + 'static) {
    put(response, transform, true);
}

fn put(response: &mut Response, transform: impl Transform + 'static, measured: bool) {
    let body = std::mem::replace(&mut response.body, Body::EMPTY);
    response.body = match body.into_source() {
        Ok(source) => Body::Stream(Box::new(Filtered { source, transform, measured, held: false, ended: false })),
        Err(Body::None { .. }) if !measured => Body::None { length: None },
        Err(other) => other,
    };
}

/// Forgets the length of a body, so that it is sent in chunks.
pub fn unmeasured(response: &mut Response) {
    struct Copied;
    impl Transform for Copied {
        fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
            out.extend_from_slice(&chunk);
            Ok(())
        }
    }
    if response.body.length().is_some() {
        let ranges = response.headers.contains(HeaderId::AcceptRanges);
        wrap(response, Copied);
        if ranges {
            response.headers.push(HeaderId::AcceptRanges, b"bytes");
        }
    }
}

struct Filtered<T> {
    source: Box<dyn Source>,
    transform: T,
    /// As many bytes go out as come in.
    measured: bool,
    /// The transform may hold something back.
    held: bool,
    ended: bool,
}

impl<T: Transform> Source for Filtered<T> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let mut out = Vec::new();
        loop {
            self.transform.more(&mut out)?;
            if !out.is_empty() {
                return Poll::Ready(Ok(Some(out.into())));
            }
            match self.source.poll_chunk(cx)? {
                Poll::Ready(Some(chunk)) => {
                    self.held = true;
                    self.transform.push(chunk, &mut out)?;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    self.transform.finish(&mut out)?;
                    return Poll::Ready(Ok((!out.is_empty()).then(|| out.into())));
                }
                Poll::Pending if self.held && self.source.flush_each() => {
                    self.held = false;
                    self.transform.flush(&mut out)?;
                    if out.is_empty() {
                        return Poll::Pending;
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
            if !out.is_empty() {
                return Poll::Ready(Ok(Some(out.into())));
            }
        }
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        self.source.poll_ahead(cx);
    }

    fn length(&self) -> Option<u64> {
        self.source.length().filter(|_| self.measured)
    }

    fn flush_each(&self) -> bool {
        self.source.flush_each()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Part;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Doubles every byte, but keeps the last one until it is told to flush or finish.
    struct Twice(Option<u8>);

    impl Transform for Twice {
        fn push(&mut self, chunk: Bytes, out: &mut Vec<u8>) -> Result<()> {
            for byte in chunk {
                out.extend(self.0.replace(byte).iter().flat_map(|byte| [*byte, *byte]));
            }
            Ok(())
        }

        fn flush(&mut self, out: &mut Vec<u8>) -> Result<()> {
            out.extend(self.0.take().iter().flat_map(|byte| [*byte, *byte]));
            Ok(())
        }

        fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
            self.flush(out)
        }
    }

    /// Gives the pieces it is fed; `None` among them is a moment without any.
    struct Fed(Rc<RefCell<Vec<Option<&'static str>>>>);

    impl Source for Fed {
        fn poll_chunk(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
            let mut pieces = self.0.borrow_mut();
            if pieces.is_empty() {
                return Poll::Ready(Ok(None));
            }
            match pieces.remove(0) {
                Some(piece) => Poll::Ready(Ok(Some(piece.into()))),
                None => Poll::Pending,
            }
        }

        fn length(&self) -> Option<u64> {
            Some(3)
        }
    }

    fn pieces(response: &mut Response) -> Vec<String> {
        let Body::Stream(source) = &mut response.body else { return Vec::new() };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut found = Vec::new();
        loop {
            match source.poll_chunk(&mut cx) {
                Poll::Pending => found.push("pending".to_owned()),
                Poll::Ready(Ok(Some(chunk))) => found.push(String::from_utf8_lossy(&chunk).into_owned()),
                Poll::Ready(_) => return found,
            }
        }
    }

    #[test]
    fn every_kind_of_body_goes_through() {
        let mut response = Response::new(200, Body::Full("abc".into()));
        wrap(&mut response, Twice(None));
        assert_eq!(response.body.length(), None);
        assert_eq!(pieces(&mut response), ["aabb", "cc"]);

        let file = Rc::new(tempfile("0123456789"));
        let parts = vec![Part::Bytes("a".into()), Part::File { file, offset: 2, length: 3 }];
        let mut response = Response::new(200, Body::Parts(parts));
        wrap(&mut response, Twice(None));
        assert_eq!(pieces(&mut response).concat(), "aa223344");

        let mut response = Response::new(200, Body::None { length: Some(7) });
        wrap(&mut response, Twice(None));
        assert!(matches!(response.body, Body::None { length: None }));
    }

    #[test]
    fn what_is_held_back_goes_on_while_nothing_comes() {
        let fed = Rc::new(RefCell::new(vec![Some("ab"), None, None, Some("c")]));
        let mut response = Response::new(200, Body::Stream(Box::new(Fed(fed))));
        wrap(&mut response, Twice(None));
        assert_eq!(pieces(&mut response), ["aa", "bb", "pending", "cc"]);
    }

    fn tempfile(text: &str) -> std::fs::File {
        let path = std::env::temp_dir().join(format!("buchner-filter-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    }
}
