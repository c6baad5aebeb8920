use super::*;
use crate::io::challenges::Challenges;
use crate::io::scarcity::Scarcity;
use crate::io::shared::{Shared, Tell};
use crate::io::stream::Io;
use crate::observe::log::LogWriter;
use crate::rooms::SharedRooms;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use tokio::net::UnixStream;

struct Nobody;

impl Tell for Nobody {
    fn tell(&self, _: &serde_json::Value) {}
}

fn thread() -> Rc<Local> {
    let shared = Shared {
        log: LogWriter::start().unwrap(),
        metrics: Mutex::default(),
        supervisor: Arc::new(Nobody),
        scarcity: Scarcity::below(None),
        challenges: Challenges::default(),
        rooms: SharedRooms::default(),
    };
    Local::new(0, &Arc::new(shared), Arc::default())
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection, and its other end.
fn connection(thread: &Rc<Local>) -> (Io, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (thread.io(Sock::Unix(ours)), theirs)
}

#[tokio::test]
async fn a_streams_deadline_wakes_it_and_leaves_its_connection_and_the_other_streams() {
    let thread = thread();
    let (io, _theirs) = connection(&thread);
    io.deadline(60_000);
    let (late, early) = (Deadline::new(thread.clone()), Deadline::new(thread.clone()));
    let woken = [Arc::<Woken>::default(), Arc::default()];
    let wakers = woken.each_ref().map(|woken| Waker::from(woken.clone()));
    late.set(10_000);
    early.set(1_000);
    assert!(late.poll_expired(&Context::from_waker(&wakers[0])).is_pending());
    assert!(early.poll_expired(&Context::from_waker(&wakers[1])).is_pending());
    assert_eq!(thread.deadlines.sweep(thread.clock.now() + 5_000), 1);
    assert_eq!(woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed)), [0, 1]);
    assert!(early.poll_expired(&Context::from_waker(&wakers[1])).is_ready());
    assert!(late.poll_expired(&Context::from_waker(&wakers[0])).is_pending());
    assert!(!io.expired() && io.write_all(b"x", false).await.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn a_stream_may_be_given_time_again_after_its_deadline() {
    let thread = thread();
    let deadline = Deadline::new(thread.clone());
    let cx = Context::from_waker(Waker::noop());
    deadline.set(1_000);
    thread.deadlines.sweep(thread.clock.now() + 1_000);
    assert!(deadline.poll_expired(&cx).is_ready());
    deadline.set(1_000);
    assert!(deadline.poll_expired(&cx).is_pending());
    deadline.set(0);
    assert_eq!(thread.deadlines.sweep(u64::MAX / 2), 0, "0 is no deadline");
}

#[tokio::test]
async fn a_connections_deadline_shuts_its_socket_down() {
    let thread = thread();
    let (reads, mut theirs) = connection(&thread);
    let (writes, _other) = connection(&thread);
    reads.deadline(1_000);
    writes.write_deadline(1_000);
    assert_eq!(thread.deadlines.sweep(thread.clock.now() + 1_000), 2);
    assert!(reads.expired() && writes.expired());
    let mut buf = bytes::BytesMut::new();
    assert_eq!(reads.read(&mut buf, 16).await.unwrap(), 0);
    reads.write_all(b"late", false).await.unwrap();
    let mut told = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut told).await.unwrap();
    assert_eq!(&told, b"late", "a slow head still gets its response");
    assert!(writes.write_all(b"x", false).await.is_err());
}

#[tokio::test]
async fn only_idle_connections_are_given_up_those_without_a_request_first() {
    let thread = thread();
    let (fresh, _a) = connection(&thread);
    let (idle, _b) = connection(&thread);
    let (busy, _c) = connection(&thread);
    let stream = Deadline::new(thread.clone());
    fresh.fresh(60_000);
    idle.idle(1_000);
    busy.deadline(1_000);
    stream.set(1_000);
    let later = thread.clock.now() + 2 * JUST_MS;
    assert_eq!(thread.deadlines.give_up_idle(later, NONE), 1);
    assert!(fresh.expired() && !idle.expired());
    assert_eq!(thread.deadlines.give_up_idle(later, NONE), 1);
    assert!(idle.expired() && !busy.expired());
    assert_eq!(thread.deadlines.give_up_idle(later, NONE), 0);
}

#[tokio::test]
async fn an_entry_that_was_removed_is_taken_again_without_its_past() {
    let thread = thread();
    let first = Deadline::new(thread.clone());
    first.set(1_000);
    let key = first.key;
    drop(first);
    assert_eq!(thread.deadlines.sweep(u64::MAX / 2), 0);
    let (io, _theirs) = connection(&thread);
    assert!(!io.expired());
    let second = Deadline::new(thread.clone());
    assert!(second.key == key + 1 && second.poll_expired(&Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn the_longest_idle_goes_first_and_one_that_was_just_used_last() {
    let rank = |waits: Waits, ago: u64| waits.rank(100_000 - ago, 100_000);
    let order = [
        (Waits::Fresh, 9000),
        (Waits::Fresh, 2000),
        (Waits::Idle, 60_000),
        (Waits::Idle, 1500),
        (Waits::Fresh, 500),
        (Waits::Fresh, 0),
        (Waits::Idle, 999),
        (Waits::Idle, 0),
    ];
    assert!(order.is_sorted_by_key(|(waits, ago)| rank(*waits, *ago)));
}
