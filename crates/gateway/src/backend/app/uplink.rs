//! The body of a request on its way to a slot while the client still sends it: an app may answer before it has read all.
//!
//! A task of its own, so that a client which does not read the answer yet can go on sending.
use super::call::{Call, Waiter};
use super::link::Link;
use crate::body::{Source, next_chunk};
use crate::error::{Error, Kind, Result};
use buchner_wire::slot;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Sends until the body or the answer is complete. Dropping it tells the slot that no more comes.
pub struct Uplink {
    task: Option<JoinHandle<Result<()>>>,
    call: Rc<Call>,
    link: Rc<Link>,
}

impl Uplink {
    /// Begins to send; a client may take `timeout_ms` between two pieces (0: any time).
    pub fn start(source: Box<dyn Source>, waiter: &Waiter, timeout_ms: u64) -> Self {
        let (call, link) = (waiter.call.clone(), waiter.link.clone());
        let task = tokio::task::spawn_local(send(source, call.clone(), link.clone(), timeout_ms));
        Self { task: Some(task), call, link }
    }

    /// Why the body can't be had, once that shows.
    pub fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(task) = &mut self.task else { return Poll::Pending };
        let Poll::Ready(ended) = Pin::new(task).poll(cx) else { return Poll::Pending };
        self.task = None;
        match ended {
            Ok(Err(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.link.end_body(&self.call, slot::Kind::RequestAbort);
    }
}

async fn send(mut source: Box<dyn Source>, call: Rc<Call>, link: Rc<Link>, timeout_ms: u64) -> Result<()> {
    loop {
        let piece = match timeout_ms {
            0 => next_chunk(source.as_mut()).await?,
            _ => tokio::time::timeout(Duration::from_millis(timeout_ms), next_chunk(source.as_mut()))
                .await
                .map_err(|_| late(timeout_ms))??,
        };
        if !call.sending.get() {
            return Ok(());
        }
        let Some(bytes) = piece else {
            link.end_body(&call, slot::Kind::RequestEnd);
            return Ok(());
        };
        link.send_body(&bytes).await;
    }
}

fn late(timeout_ms: u64) -> Error {
    let cause = format!("no more of the body within {timeout_ms} ms (body_timeout)");
    Error::new(Kind::ClientTimeout, cause).closing()
}
