//! The state of connections that are being served: it is large, so a thread lends the same boxes over and over instead of making
//! and moving one per request.
use crate::http::h1::{self, Conn, Served};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// Boxes that are kept.
const KEPT: usize = 64;

/// The spare boxes of one I/O thread.
#[derive(Default)]
pub struct Spare(RefCell<Vec<Server>>);

/// Serves one connection after the other, never two at a time.
struct Server {
    desk: Rc<Desk>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// What goes into and comes out of a server.
#[derive(Default)]
struct Desk {
    next: Cell<Option<Rc<Conn>>>,
    done: Cell<Option<Served>>,
}

impl Server {
    fn new() -> Self {
        let desk = Rc::new(Desk::default());
        let own = desk.clone();
        let work = Box::pin(async move {
            loop {
                let next = std::future::poll_fn(|_| own.next.take().map_or(Poll::Pending, Poll::Ready));
                let conn = next.await;
                let served = h1::busy(&conn).await;
                drop(conn);
                own.done.set(Some(served));
            }
        });
        Self { desk, work }
    }
}

impl Spare {
    /// Serves a connection until it is idle or done.
    pub async fn serve(&self, conn: &Rc<Conn>) -> Served {
        let spare = self.0.borrow_mut().pop();
        // One that is dropped half-way is lost with what it was doing; it never comes back here.
        let mut server = spare.unwrap_or_else(Server::new);
        server.desk.next.set(Some(conn.clone()));
        let served = std::future::poll_fn(|cx| match server.work.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Served::Done),
            Poll::Pending => server.desk.done.take().map_or(Poll::Pending, Poll::Ready),
        });
        let served = served.await;
        let mut spare = self.0.borrow_mut();
        if spare.len() < KEPT {
            spare.push(server);
        }
        served
    }
}
