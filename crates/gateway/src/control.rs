//! The gateway process's control thread: what the supervisor says (docs/control-protocol.md) becomes plans, sockets and commands.
use crate::backend::app;
use crate::config::Config;
use crate::io::challenges::Challenges;
use crate::io::scarcity::Scarcity;
use crate::io::shared::{Post, Shared, Tell};
use crate::listen::Socket;
use crate::observe::log::LogWriter;
use crate::observe::metrics::ThreadMetrics;
use crate::outbox::Outbox;
use crate::plan::Plan;
use crate::reserve::Reserve;
use crate::rooms::SharedRooms;
use crate::thread::{self, Command};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Bytes of the largest control packet.
const PACKET: usize = 256 << 10;
/// Descriptors of one packet (SCM_MAX_FD).
const PACKET_FDS: usize = 253;
/// While draining, a connection without a request gets this long to send one that is still answered.
const IDLE_GRACE_MS: u64 = 2_000;
/// Longest wait for a supervisor to read that the gateway has drained.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Opens the log files again; the descriptor is the new error log, if that is a file.
fn reopen(log: &LogWriter, mut fds: Vec<OwnedFd>) {
    if let Some(error_log) = fds.pop() {
        let _ = rustix::stdio::dup2_stderr(error_log);
    }
    log.reopen();
}

/// Replaces the responses to challenges of certificate authorities.
fn challenges(shared: &Shared, message: &Value) {
    let answers = message["http"].as_object().into_iter().flatten();
    let answers = answers.filter_map(|(token, text)| Some((token.clone(), text.as_str()?.to_owned().into())));
    shared.challenges.replace(answers.collect());
    shared.supervisor.tell(&json!({"op": "challenged", "id": message["id"]}));
}

/// The socket to the supervisor.
pub struct Supervisor {
    socket: Arc<OwnedFd>,
    outbox: Arc<Outbox>,
    reserve: Reserve,
}

impl Supervisor {
    /// Takes the control socket, and starts the thread that sends on it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let (socket, outbox) = (Arc::new(socket), Arc::<Outbox>::default());
        let (theirs, events) = (socket.clone(), outbox.clone());
        std::thread::Builder::new().name("control-out".into()).spawn(move || {
            events.each(|event| rustix::net::send(&theirs, event.to_string().as_bytes(), SendFlags::NOSIGNAL).is_ok());
        })?;
        Ok(Self { socket, outbox, reserve: Reserve::keep() })
    }

    /// The next message and its descriptors; `None` when the supervisor is gone, a reset included: it left something unread.
    fn receive(&self) -> Option<(Value, Vec<OwnedFd>)> {
        loop {
            let packet = self.packet().ok()?;
            if packet.bytes.is_empty() {
                return None;
            }
            let Ok(mut value) = serde_json::from_slice::<Value>(&packet.bytes) else { continue };
            if packet.is_cut {
                value["truncated"] = true.into();
            }
            return Some((value, packet.fds));
        }
    }

    fn packet(&self) -> io::Result<Packet> {
        let mut bytes = vec![0u8; PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = loop {
            // Waited for first: clients must not get at the reserve meanwhile.
            let _ = poll(&mut [PollFd::new(&*self.socket, PollFlags::IN)], None);
            let _open = self.reserve.open();
            match rustix::net::recvmsg(&self.socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        bytes.truncate(message.bytes);
        Ok(Packet { bytes, fds, is_cut: message.flags.contains(ReturnFlags::CTRUNC) })
    }
}

impl Tell for Supervisor {
    // A supervisor that is gone is noticed by the reader.
    fn tell(&self, event: &Value) {
        self.outbox.put(event);
    }
}

/// A packet as it came.
struct Packet {
    /// None at the end.
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// The kernel dropped some of its descriptors.
    is_cut: bool,
}

/// The control thread's own state.
struct Control {
    shared: Arc<Shared>,
    supervisor: Arc<Supervisor>,
    plan: Option<Arc<Plan>>,
    sockets: HashMap<String, Socket>,
    threads: Vec<IoThread>,
}

struct IoThread {
    commands: UnboundedSender<Command>,
    handle: std::thread::JoinHandle<usize>,
}

/// How rooms hand work to a thread.
fn post(commands: &UnboundedSender<Command>) -> Post {
    let commands = commands.clone();
    Arc::new(move |task| commands.send(Command::Run(task)).is_ok())
}

/// Runs the gateway until the supervisor says drain or is gone. Returns when everything is finished.
pub fn run(socket: OwnedFd) -> io::Result<()> {
    let supervisor = Arc::new(Supervisor::new(socket)?);
    let shared = Arc::new(Shared {
        log: LogWriter::start()?,
        metrics: Mutex::default(),
        supervisor: supervisor.clone(),
        challenges: Challenges::default(),
        rooms: SharedRooms::default(),
        scarcity: Scarcity::below(rustix::process::getrlimit(rustix::process::Resource::Nofile).current),
    });
    shared.supervisor.tell(&json!({
        "op": "hello", "protocol": 1, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(),
    }));
    let mut control = Control { shared, supervisor, plan: None, sockets: HashMap::new(), threads: Vec::new() };
    loop {
        let Some((message, fds)) = control.supervisor.receive() else {
            let line =
                "[warn] the supervisor is gone without a word: running requests are finished, then the gateway ends";
            control.shared.log.line(line);
            control.drain(None);
            break;
        };
        if !control.obey(&message, fds) {
            break;
        }
    }
    control.finish();
    Ok(())
}

impl Control {
    /// Carries out one message. False ends the process.
    fn obey(&mut self, message: &Value, mut fds: Vec<OwnedFd>) -> bool {
        match message["op"].as_str().unwrap_or_default() {
            "listen" => self.listen(message["address"].as_str().unwrap_or_default(), fds),
            "plan" => {
                let answer =
                    match fds.pop().ok_or_else(|| "the packet has no document".to_owned()).and_then(|fd| self.plan(fd))
                    {
                        Ok(()) => json!({"op": "ready", "id": message["id"]}),
                        Err(error) => json!({"op": "refused", "id": message["id"], "error": error}),
                    };
                self.shared.supervisor.tell(&answer);
            }
            "reopen" => reopen(&self.shared.log, fds),
            "challenges" => challenges(&self.shared, message),
            "status" => {
                let status = self.status();
                self.shared.supervisor.tell(&json!({"op": "status", "id": message["id"], "status": status}));
            }
            "drain" => {
                self.drain(message["deadline_ms"].as_u64());
                return false;
            }
            op => {
                let shared = self.shared.clone();
                let threads: Vec<_> = self.threads.iter().map(|thread| post(&thread.commands)).collect();
                if !app::control(&shared, &threads, op, message, fds) {
                    shared.log.line(&format!("[warn] unknown control message {op:?}"));
                }
            }
        }
        true
    }

    fn listen(&mut self, address: &str, mut fds: Vec<OwnedFd>) {
        let Some(fd) = fds.pop() else { return };
        match Socket::new(address, fd) {
            Ok(socket) => drop(self.sockets.insert(address.to_owned(), socket)),
            Err(e) => self.shared.log.line(&format!("[error] cannot listen on {address}: {e}")),
        }
    }

    fn plan(&mut self, document: OwnedFd) -> Result<(), String> {
        let supervisor = self.supervisor.clone();
        let _open = supervisor.reserve.open();
        let plan = Plan::compile(&read_config(&File::from(document))?, self.plan.as_deref())?;
        let new: Vec<String> = plan.bound().map(str::to_owned).collect();
        let known = |address: &String| {
            self.sockets.contains_key(address)
                || self.plan.as_ref().is_some_and(|plan| plan.bound().any(|bound| bound == address))
        };
        if let Some(missing) = new.iter().find(|address| !known(address)) {
            return Err(format!("no socket was sent for {missing}"));
        }
        app::pools(&self.shared).configure(&plan.apps);
        while self.threads.len() < plan.scope.gateway.io_threads.max(1) as usize {
            self.start_thread(&plan)?;
        }
        let (done, wait) = mpsc::channel();
        let fresh: Vec<(String, Socket)> = self.sockets.drain().filter(|(address, _)| new.contains(address)).collect();
        for thread in &self.threads {
            let mut sockets = Vec::new();
            for (address, socket) in &fresh {
                sockets.push((address.clone(), socket.try_clone().map_err(|e| format!("{address}: {e}"))?));
            }
            let command = Command::Plan { plan: plan.clone(), sockets, done: done.clone() };
            thread.commands.send(command).map_err(|_| "an I/O thread has ended".to_owned())?;
        }
        for _ in &self.threads {
            wait.recv_timeout(Duration::from_secs(10)).map_err(|_| "an I/O thread does not answer".to_owned())?;
        }
        self.plan = Some(plan);
        crate::sys::give_back_memory();
        Ok(())
    }

    fn start_thread(&mut self, plan: &Arc<Plan>) -> Result<(), String> {
        let id = self.threads.len() as u32;
        let (commands, inbox) = tokio::sync::mpsc::unbounded_channel();
        let metrics = Arc::new(ThreadMetrics::default());
        self.shared.metrics.lock().unwrap_or_else(PoisonError::into_inner).push(metrics.clone());
        let (shared, plan) = (self.shared.clone(), plan.clone());
        let handle = std::thread::Builder::new()
            .name(format!("io-{id}"))
            .spawn(move || thread::run(id, &shared, plan, metrics, inbox))
            .map_err(|e| format!("cannot start I/O thread {id}: {e}"))?;
        self.threads.push(IoThread { commands, handle });
        Ok(())
    }

    fn status(&self) -> Value {
        let metrics = self.shared.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |f: &dyn Fn(&ThreadMetrics) -> u64| metrics.iter().map(|thread| f(thread)).sum::<u64>();
        json!({
            "pid": std::process::id(),
            "io_threads": self.threads.len(),
            "listening": self.plan.as_ref().map(|plan| plan.bound().map(str::to_owned).collect::<Vec<_>>()),
            "connections": sum(&|m| m.connections.get()),
            "accepted": sum(&|m| m.accepted.get()),
            "refused": sum(&|m| m.refused.get()),
            "bad_heads": sum(&|m| m.bad_heads.get()),
            "requests": sum(&ThreadMetrics::requests),
            "responses": {
                "1xx": sum(&|m| m.by_class[0].get()), "2xx": sum(&|m| m.by_class[1].get()), "3xx": sum(&|m| m.by_class[2].get()),
                "4xx": sum(&|m| m.by_class[3].get()), "5xx": sum(&|m| m.by_class[4].get()),
            },
            "spooled_bytes": self.plan.as_ref().map(|plan| plan.scope.spool.used()),
            "pools": app::pools(&self.shared).status(),
        })
    }

    fn drain(&mut self, deadline_ms: Option<u64>) {
        let configured = self.plan.as_ref().map_or(30_000, |plan| plan.scope.gateway.shutdown_timeout.0);
        let deadline_ms = deadline_ms.unwrap_or(configured);
        for thread in &self.threads {
            drain(&thread.commands, deadline_ms);
        }
    }

    /// Ends all threads and tells the supervisor. While they drain, what the supervisor says of workers, logs and its patience still
    /// counts; when it goes meanwhile, what runs is finished all the same.
    fn finish(self) {
        let Self { shared, supervisor, threads, .. } = self;
        let running: Vec<_> = threads.iter().map(|thread| thread.commands.clone()).collect();
        let (listening, told) = (shared.clone(), supervisor.clone());
        let reader = std::thread::Builder::new().name("control".into()).spawn(move || {
            let posts: Vec<_> = running.iter().map(post).collect();
            while let Some((message, fds)) = told.receive() {
                match (message["op"].as_str().unwrap_or_default(), message["deadline_ms"].as_u64()) {
                    ("reopen", _) => reopen(&listening.log, fds),
                    ("challenges", _) => challenges(&listening, &message),
                    ("drain", Some(deadline_ms)) => running.iter().for_each(|thread| drain(thread, deadline_ms)),
                    (op, _) => drop(app::control(&listening, &posts, op, &message, fds)),
                }
            }
        });
        let ended = threads.into_iter().map(|thread| thread.handle.join().unwrap_or(0));
        let cut: usize = ended.sum();
        if cut > 0 {
            let what = if cut == 1 { "1 connection was cut" } else { &format!("{cut} connections were cut") };
            shared.log.line(&format!(
                "[warn] {what}: their responses did not end within the time to drain (shutdown_timeout)"
            ));
        }
        shared.log.sync();
        shared.supervisor.tell(&json!({"op": "drained"}));
        supervisor.outbox.flush(LAST_WORDS);
        drop(reader);
    }
}

/// Tells an I/O thread to finish within so many milliseconds.
fn drain(thread: &UnboundedSender<Command>, deadline_ms: u64) {
    let _ = thread.send(Command::Drain { idle_ms: IDLE_GRACE_MS.min(deadline_ms), deadline_ms });
}

/// Reads the document by position: the supervisor and other gateways share the descriptor's offset.
fn read_config(document: &File) -> Result<Config, String> {
    let read = || {
        let mut text = vec![0; document.metadata()?.len() as usize];
        document.read_exact_at(&mut text, 0).map(|()| text)
    };
    let text = read().map_err(|e| format!("cannot read the document: {e}"))?;
    serde_json::from_slice(&text).map_err(|e| e.to_string())
}
