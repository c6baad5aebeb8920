//! Copies of requests (nginx: mirror): a subrequest for each URI, whose response nobody waits for.
//!
//! A mirror that hangs must not collect connections and bodies without end. A request whose connection has many copies under
//! way waits a moment for one of them to end (nginx waits for all, for as long as it takes); if none does, the copy is left
//! out, and so are those of the next requests until one ends.
use crate::body::RequestBody;
use crate::body::spool::Buffered;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::exchange::whole;
use crate::kept;
use crate::scope::Room;
use crate::settings::buffering;
use crate::subrequest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Mirrors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// URIs that each request is copied to, in subrequests whose answers are ignored (nginx: `mirror`). Default: none.
    pub mirror: Vec<String>,
    /// The copies have the request's body, which is read whole first (nginx: `mirror_request_body`). Default: true.
    pub mirror_request_body: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mirror: Vec::new(), mirror_request_body: true }
    }
}

kept!(Settings);

impl Room for Settings {
    const TITLE: &'static str = "Mirrors";
}

/// Copies under way for one connection.
const PER_CONNECTION: usize = 8;
/// Copies under way on one I/O thread.
const PER_THREAD: usize = 1024;
/// How long a request waits for a copy of an earlier one to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Milliseconds between two lines of the log about copies left out.
const SILENCE_MS: u64 = 1000;

/// The copies under way on an I/O thread.
#[derive(Default)]
pub struct Mirrors {
    by_connection: RefCell<HashMap<u64, Rc<Copies>>>,
    total: Cell<usize>,
    /// When a copy was last said to be left out.
    told: Cell<u64>,
}

/// The copies under way for a connection.
#[derive(Default)]
struct Copies {
    count: Cell<usize>,
    /// Waiting was in vain, and none has ended since.
    stuck: Cell<bool>,
    ended: Notify,
}

/// One copy; it ends when this is dropped.
struct Permit {
    mirrors: Rc<Mirrors>,
    connection: u64,
    copies: Rc<Copies>,
}

impl Permit {
    /// Waits for room; `None` if there is none.
    async fn acquire(mirrors: &Rc<Mirrors>, connection: u64) -> Option<Self> {
        if mirrors.total.get() >= PER_THREAD {
            return None;
        }
        let copies = mirrors.by_connection.borrow_mut().entry(connection).or_default().clone();
        if copies.count.get() >= PER_CONNECTION && !copies.stuck.get() {
            let room = async {
                while copies.count.get() >= PER_CONNECTION {
                    copies.ended.notified().await;
                }
            };
            let waited = tokio::time::timeout(PATIENCE, room).await;
            copies.stuck.set(waited.is_err());
        }
        if copies.count.get() >= PER_CONNECTION {
            return None;
        }
        copies.count.set(copies.count.get() + 1);
        mirrors.total.set(mirrors.total.get() + 1);
        // The last of the others may have ended meanwhile.
        mirrors.by_connection.borrow_mut().insert(connection, copies.clone());
        Some(Self { mirrors: mirrors.clone(), connection, copies })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mirrors = &self.mirrors;
        mirrors.total.set(mirrors.total.get() - 1);
        self.copies.count.set(self.copies.count.get() - 1);
        self.copies.stuck.set(false);
        self.copies.ended.notify_waiters();
        if self.copies.count.get() == 0 {
            mirrors.by_connection.borrow_mut().remove(&self.connection);
        }
    }
}

/// Sends the copies that the settings ask for, after the request's body if that goes along.
pub async fn send(ex: &mut Exchange) -> Result<()> {
    let settings = ex.settings().get::<Settings>();
    if settings.mirror.is_empty() || !ex.is_main() {
        return Ok(());
    }
    if settings.mirror_request_body && !ex.request.body.is_empty() {
        let memory = ex.settings().get::<buffering::Settings>().buffer_memory.0;
        whole::read(ex, memory).await?;
    }
    for uri in &ex.settings().get::<Settings>().mirror {
        let Some(permit) = Permit::acquire(&ex.thread.rooms.get(), ex.client.connection).await else {
            left_out(ex, uri);
            continue;
        };
        let body = match &ex.request.body {
            RequestBody::Buffered(buffered) if ex.settings().get::<Settings>().mirror_request_body => {
                RequestBody::Buffered(copy(buffered))
            }
            _ => RequestBody::Empty,
        };
        let mut child = subrequest::make(ex, uri.as_bytes(), ex.request.method.clone(), body)?;
        if child.request.query.is_none() {
            child.request.query.clone_from(&ex.request.query);
        }
        tokio::task::spawn_local(async move {
            let response = subrequest::run(&mut child).await;
            subrequest::discard(response).await;
            drop(permit);
        });
    }
    Ok(())
}

fn left_out(ex: &Exchange, uri: &str) {
    let mirrors = ex.thread.rooms.get::<Mirrors>();
    let (now, told) = (ex.thread.clock.now(), &mirrors.told);
    if told.get() == 0 || now.saturating_sub(told.get()) >= SILENCE_MS {
        told.set(now.max(1));
        ex.log_warn(&format!("mirror {uri}: the copies of earlier requests have not ended; this one is left out"));
    }
}

fn copy(body: &Buffered) -> Buffered {
    match body {
        Buffered::Memory(bytes) => Buffered::Memory(bytes.clone()),
        Buffered::File(file) => Buffered::File(file.share()),
    }
}

#[cfg(test)]
mod tests;
