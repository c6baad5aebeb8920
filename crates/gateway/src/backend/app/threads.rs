//! An I/O thread's links, and the watch over the requests on them.
use super::link::{Link, Place};
use crate::io::local::Local;
use crate::sys::SharedWords;
use crate::tables::Ids;
use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two looks at the links while requests were handed over ahead of time.
const QUICK: Duration = Duration::from_millis(2);
/// Between two looks otherwise.
const SLOW: Duration = Duration::from_millis(50);

/// What the control thread tells this thread's app pools.
pub enum ThreadCommand {
    /// A slot's socket.
    Add {
        /// What it is to.
        place: Place,
        /// The socket.
        sock: UnixStream,
        /// The claim words of its worker.
        claims: Arc<SharedWords>,
    },
    /// Slots that are not needed any more.
    Drop(Vec<u64>),
}

/// This thread's share of the app pools.
#[derive(Default)]
pub struct ThreadPools {
    links: RefCell<Ids<Rc<Link>>>,
    /// The watch runs.
    started: Cell<bool>,
    /// It looks at the links by itself: there are requests.
    watching: Cell<bool>,
    ahead: Cell<bool>,
    work: Rc<Notify>,
}

impl ThreadPools {
    /// The link to a slot.
    pub fn link(&self, slot: u64) -> Option<Rc<Link>> {
        self.links.borrow().get(&slot).cloned()
    }

    /// A request was handed over: the watch must run, quickly where it was ahead of time.
    pub fn watch(&self, ahead: bool) {
        if !self.watching.replace(true) || (ahead && !self.ahead.get()) {
            self.ahead.set(self.ahead.get() | ahead);
            self.work.notify_one();
        }
    }
}

/// Carries out a command on an I/O thread.
pub fn obey(thread: &Rc<Local>, command: ThreadCommand) {
    match command {
        ThreadCommand::Add { place, sock, claims } => {
            let sock = match sock.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(sock)) {
                Ok(sock) => sock,
                Err(error) => {
                    super::lost(&thread.shared, place.worker, &format!("the gateway cannot use its sockets: {error}"));
                    return;
                }
            };
            let (slot, pool) = (place.slot, place.pool.clone());
            let link = Link::new(place, sock, claims);
            let apps = thread.rooms.get::<ThreadPools>();
            let first = !apps.started.replace(true);
            apps.links.borrow_mut().insert(slot, link.clone());
            if first {
                tokio::task::spawn_local(watch(thread.clone()));
            }
            tokio::task::spawn_local(serve(thread.clone(), link));
            pool.linked(slot);
        }
        ThreadCommand::Drop(slots) => {
            for slot in slots {
                if let Some(link) = thread.rooms.get::<ThreadPools>().links.borrow_mut().remove(&slot) {
                    link.close();
                }
            }
        }
    }
}

async fn serve(thread: Rc<Local>, link: Rc<Link>) {
    link.clone().run(thread.clone()).await;
    thread.rooms.get::<ThreadPools>().links.borrow_mut().retain(|_, other| !Rc::ptr_eq(other, &link));
}

/// Looks after the requests on this thread's links as long as there are any.
async fn watch(thread: Rc<Local>) {
    let apps = thread.rooms.get::<ThreadPools>();
    loop {
        let links: Vec<_> = apps.links.borrow().values().cloned().collect();
        let now = Instant::now();
        let (mut any, mut ahead) = (false, false);
        for link in &links {
            link.sweep(&thread, now);
            any |= link.waiting() > 0;
            ahead |= link.waiting() > 1;
        }
        apps.ahead.set(ahead);
        apps.watching.set(any);
        drop(links);
        if any {
            let pause = if ahead { QUICK } else { SLOW };
            let _ = tokio::time::timeout(pause, apps.work.notified()).await;
        } else {
            apps.work.notified().await;
        }
    }
}
