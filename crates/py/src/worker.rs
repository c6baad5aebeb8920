//! `Slots`: the threads of a worker process and what they share.
use crate::conn::{Conn, SlotSet};
use crate::files::FileWrapper;
use crate::guard::Guard;
use crate::input::{Input, internal};
use crate::request;
use buchner_gateway::sys::{SharedWords, owned_fd};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use rustix::event::EventfdFlags;
use rustix::process::Pid;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How new sockets and the order to stop reach a slot's thread.
pub struct Mailbox {
    /// Becomes readable when there is something.
    pub wake: OwnedFd,
    /// Sockets to serve.
    pub conns: Mutex<Vec<Conn>>,
}

/// What the threads share.
pub struct Worker {
    pub app: Py<PyAny>,
    pub base: Py<PyDict>,
    pub logger: Py<PyAny>,
    pub slots: Vec<Mailbox>,
    /// Sees to answers that wait for the next one.
    pub guard: Arc<Guard>,
    pub stopping: AtomicBool,
    pub busy: AtomicUsize,
    pub detached: AtomicUsize,
    /// Slots whose request may have no end, beyond `max_detached`.
    pub kept_slots: AtomicUsize,
    /// The worker's process; another one is a child that the app forked.
    pub pid: Pid,
    pub requests: AtomicU64,
    pub failed: AtomicU64,
    /// Requests for which answers leave before their `close()` is called.
    pub careful_for: AtomicU32,
    /// Response headers of the app, in lower case, that the log has as dropped.
    pub dropped: Mutex<HashSet<String>>,
    /// Answers that may leave their slot at a time.
    pub max_detached: usize,
    max_requests: u64,
    on_recycle: Option<Py<PyAny>>,
    threads: Mutex<usize>,
    ended: Condvar,
}

impl Worker {
    /// True while answers are sent before they are closed.
    pub fn careful(&self) -> bool {
        self.careful_for.load(Ordering::Relaxed) > 0
    }

    /// Takes one of the places for answers that leave their slot.
    pub fn may_detach(&self) -> bool {
        let more = |now| (now < self.max_detached).then_some(now + 1);
        self.detached.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes one of the slots for an answer that may have no end. The last one is not to be had; where no answer may leave its
    /// slot at all, that was meant.
    pub fn may_keep_slot(&self) -> bool {
        let most = if self.max_detached == 0 { self.slots.len() } else { self.slots.len() - 1 };
        let more = |now| (now < most).then_some(now + 1);
        self.kept_slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Starts a thread for a slot; it serves once it is given the slot's sockets.
    pub fn spawn(self: &Arc<Self>, py: Python<'_>, slot: usize) -> PyResult<Sender<Box<SlotSet>>> {
        let (sender, receiver) = channel();
        let thread = SlotThread { worker: self.clone(), slot, receiver: Mutex::new(Some(receiver)) };
        let options = PyDict::new(py);
        options.set_item("target", Py::new(py, thread)?)?;
        options.set_item("name", format!("slot-{slot}"))?;
        options.set_item("daemon", true)?;
        self.count_threads(1);
        let started = start_thread(py, &options);
        if let Err(error) = started {
            self.count_threads(-1);
            return Err(error);
        }
        Ok(sender)
    }

    fn count_threads(&self, change: isize) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        *threads = threads.saturating_add_signed(change);
        self.ended.notify_all();
    }

    /// Counts a request; tells once when it was the last this worker should serve.
    pub fn count(&self, py: Python<'_>) {
        let _ = self.careful_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let served = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if served == self.max_requests {
            if let Some(on_recycle) = &self.on_recycle {
                if let Err(error) = on_recycle.call1(py, (format!("it served max_requests ({served}) requests"),)) {
                    error.write_unraisable(py, None);
                }
            }
        }
    }
}

/// `_thread.start_new_thread` as it was before the app was imported.
static THREAD_START: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Keeps what starts a native thread: gevent and eventlet replace it, and `threading.Thread` with it, by coroutines.
pub fn keep_thread_start(py: Python<'_>) -> PyResult<()> {
    THREAD_START.get_or_try_init(py, || Ok(py.import("_thread")?.getattr("start_new_thread")?.unbind())).map(|_| ())
}

/// Starts a native thread, with the name and the other comforts of `threading.Thread` where that makes one.
fn start_thread(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<()> {
    let now = py.import("_thread")?.getattr("start_new_thread")?;
    match THREAD_START.get(py) {
        Some(native) if !now.is(native) => {
            let target = options.get_item("target")?;
            native.call1(py, (target, ())).map(|_| ())
        }
        _ => {
            let thread = py.import("threading")?.getattr("Thread")?.call((), Some(options))?;
            thread.call_method0("start").map(|_| ())
        }
    }
}

/// The target of a slot's thread.
#[pyclass(module = "buchner._native", frozen)]
struct SlotThread {
    worker: Arc<Worker>,
    slot: usize,
    receiver: Mutex<Option<Receiver<Box<SlotSet>>>>,
}

#[pymethods]
impl SlotThread {
    fn __call__(&self, py: Python<'_>) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let set = receiver.and_then(|receiver| py.detach(move || receiver.recv().ok()));
        if let Some(set) = set {
            request::serve(py, &self.worker, self.slot, set);
        }
        self.worker.count_threads(-1);
    }
}

/// The slot loop of a worker process.
#[pyclass(module = "buchner._native", frozen)]
pub struct Slots {
    worker: Arc<Worker>,
    started: AtomicBool,
}

#[pymethods]
impl Slots {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python class")]
    #[pyo3(signature = (app, threads, *, max_detached=1000, max_requests=0, multiprocess=true, errors=None, on_recycle=None))]
    fn new(
        py: Python<'_>,
        app: Py<PyAny>,
        threads: usize,
        max_detached: usize,
        max_requests: u64,
        multiprocess: bool,
        errors: Option<Bound<'_, PyAny>>,
        on_recycle: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        if threads == 0 {
            return Err(PyValueError::new_err("threads must be at least 1"));
        }
        let errors = errors.map_or_else(|| py.import("sys")?.getattr("stderr"), Ok)?;
        let input = Bound::new(py, Input::inline(b""))?;
        let wrapper = py.get_type::<FileWrapper>();
        let base = crate::environ::base(py, &errors, &input, &wrapper, threads, multiprocess)?;
        let mailbox = |_| {
            let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(std::io::Error::from)?;
            Ok(Mailbox { wake, conns: Mutex::new(Vec::new()) })
        };
        let worker = Worker {
            app,
            base,
            logger: py.import("logging")?.call_method1("getLogger", ("buchner.worker",))?.unbind(),
            slots: (0..threads).map(mailbox).collect::<PyResult<_>>()?,
            guard: Arc::default(),
            stopping: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            kept_slots: AtomicUsize::new(0),
            pid: rustix::process::getpid(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            careful_for: AtomicU32::new(0),
            dropped: Mutex::default(),
            max_detached,
            max_requests,
            on_recycle,
            threads: Mutex::new(0),
            ended: Condvar::new(),
        };
        Ok(Self { worker: Arc::new(worker), started: AtomicBool::new(false) })
    }

    /// Serve one more gateway. Takes over the descriptors, also when it fails.
    fn attach(&self, claim_fd: i32, fds: Vec<i32>, first_slot: usize, io_threads: usize) -> PyResult<()> {
        let claim = owned_fd(claim_fd);
        let socks: Vec<_> = fds.into_iter().map(owned_fd).collect();
        let claims = Arc::new(SharedWords::map(claim?)?);
        let slots = socks.len() / io_threads.max(1);
        if socks.len() != slots * io_threads || first_slot + slots > self.worker.slots.len() {
            return Err(PyValueError::new_err(format!(
                "{} sockets for slots from {first_slot} on and {io_threads} I/O threads, but this worker has {} slots",
                socks.len(),
                self.worker.slots.len()
            )));
        }
        for (index, sock) in socks.into_iter().enumerate() {
            let mailbox = &self.worker.slots[first_slot + index / io_threads];
            let conn = Conn::new(sock?, claims.clone());
            mailbox.conns.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            wake(mailbox);
        }
        Ok(())
    }

    /// Start the threads; once.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if self.started.swap(true, Ordering::AcqRel) {
            return Err(internal("the slots were started already"));
        }
        for slot in 0..self.worker.slots.len() {
            let set = Box::new(SlotSet::default());
            self.worker.spawn(py, slot)?.send(set).map_err(|_| internal("a slot's thread ended at once"))?;
        }
        Ok(())
    }

    /// Let running requests finish, for at most `deadline` seconds. True when all threads have ended.
    fn stop(&self, py: Python<'_>, deadline: f64) -> bool {
        self.worker.stopping.store(true, Ordering::Release);
        self.worker.slots.iter().for_each(wake);
        let limit = Duration::try_from_secs_f64(deadline.clamp(0.0, 1e6)).unwrap_or_default();
        py.detach(|| {
            let until = Instant::now() + limit;
            let mut threads = self.worker.threads.lock().unwrap_or_else(PoisonError::into_inner);
            while *threads > 0 {
                let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
                threads = self.worker.ended.wait_timeout(threads, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            true
        })
    }

    /// Numbers of this worker: slots, busy, detached, requests, failed.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        let worker = &self.worker;
        stats.set_item("slots", worker.slots.len())?;
        stats.set_item("busy", worker.busy.load(Ordering::Relaxed))?;
        stats.set_item("detached", worker.detached.load(Ordering::Relaxed))?;
        stats.set_item("requests", worker.requests.load(Ordering::Relaxed))?;
        stats.set_item("failed", worker.failed.load(Ordering::Relaxed))?;
        Ok(stats)
    }
}

fn wake(mailbox: &Mailbox) {
    let _ = rustix::io::write(&mailbox.wake, &1u64.to_ne_bytes());
}
