//! One I/O thread: its runtime, its listeners, and all that requests on it share without locks.
use crate::clock::Clock;
use crate::control::Shared;
use crate::http::port::Port;
use crate::io::deadlines::{SWEEP_MS, Timeouts};
use crate::io::sock::{Io, Sock};
use crate::listen;
use crate::observe::log::ThreadLog;
use crate::observe::metrics::ThreadMetrics;
use crate::plan::{Plan, PlanRef};
use crate::upstream::pool::Pools;
use crate::upstream::resolve::Resolvers;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// Sweeps between two prunings of upstream connections.
const PRUNE_SWEEPS: u64 = 10;

/// What the control thread tells an I/O thread.
pub enum Command {
    /// A new plan and the sockets it listens on that are new; `done` is told when it is in force.
    Plan {
        /// The plan.
        plan: Arc<Plan>,
        /// Sockets by address.
        sockets: Vec<(String, listen::Socket)>,
        /// Told when accepting.
        done: std::sync::mpsc::Sender<()>,
    },
    /// Stop accepting, finish what runs, then end. Idle connections are closed after `idle_ms`, all by `deadline_ms`.
    Drain {
        /// Grace for idle connections, so that one about to send is still answered.
        idle_ms: u64,
        /// Time for everything.
        deadline_ms: u64,
    },
    /// Something for the app pools of this thread.
    App(crate::backend::app::ThreadCommand),
}

/// The state of an I/O thread.
pub struct Thread {
    /// Its number, from 0.
    pub id: u32,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Its clock.
    pub clock: Clock,
    /// Its deadlines.
    pub timeouts: Timeouts,
    /// Its spare buffers.
    pub bufs: crate::io::bufs::Bufs,
    /// Its spare boxes for connections that are served.
    pub servers: crate::http::h1::busy::Spare,
    /// Its upstream connections.
    pub upstreams: RefCell<Pools>,
    /// Its open files.
    pub files: RefCell<crate::backend::files::cache::Cache>,
    /// Its resolvers.
    pub resolvers: Resolvers,
    /// Its copies of requests.
    pub mirrors: Rc<crate::mirror::Mirrors>,
    /// Its share of the logs.
    pub log: ThreadLog,
    /// Its counters.
    pub metrics: Arc<ThreadMetrics>,
    /// Its share of the app pools.
    pub apps: crate::backend::app::ThreadPools,
    /// The gateway is stopping.
    pub draining: Cell<bool>,
    /// Client connections.
    pub connections: Cell<usize>,
    plan: RefCell<PlanRef>,
    ports: RefCell<HashMap<String, Rc<Port>>>,
}

impl Thread {
    /// The plan in force.
    pub fn plan(&self) -> PlanRef {
        self.plan.borrow().clone()
    }

    /// Registers a socket with this thread.
    pub fn io(self: &Rc<Self>, sock: Sock) -> Io {
        Io::new(self.clone(), sock)
    }

    fn install(self: &Rc<Self>, plan: &Arc<Plan>, sockets: Vec<(String, listen::Socket)>) {
        self.resolvers.keep(|servers| plan.settings.iter().any(|settings| *settings.name_servers == *servers));
        self.shared.log.set_level(plan.gateway.error_level);
        let mut ports = self.ports.borrow_mut();
        for (index, listener) in plan.listeners.iter().enumerate() {
            if let Some(port) = ports.get(&listener.address) {
                port.set_index(index as u32);
            }
        }
        ports.retain(|address, port| {
            let stays = plan.bound().any(|bound| bound == address);
            if !stays {
                port.close();
            }
            stays
        });
        let old = std::mem::replace(&mut *self.plan.borrow_mut(), PlanRef::new(plan.clone()));
        for port in ports.values().filter(|port| !port.open()) {
            self.log.notice(&format!("no longer listening on {}", port.address));
        }
        drop(old);
        for (address, socket) in sockets {
            let Some(index) = plan.listeners.iter().position(|listener| listener.address == address) else { continue };
            let port = Port::new(address.clone(), index as u32);
            if let Some(before) = ports.insert(address, port.clone()) {
                before.close();
            }
            listen::spawn(self.clone(), port, socket);
        }
    }

    fn drain(&self, idle_ms: u64) {
        self.draining.set(true);
        for port in self.ports.borrow().values() {
            port.close();
        }
        self.clock.tick();
        self.timeouts.hurry_idle(self.clock.now() + idle_ms);
    }
}

/// Runs an I/O thread until it is drained or its commands end.
pub fn run(
    id: u32,
    shared: &Arc<Shared>,
    plan: Arc<Plan>,
    metrics: Arc<ThreadMetrics>,
    commands: UnboundedReceiver<Command>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build() {
        Ok(runtime) => runtime,
        Err(e) => {
            shared.log.line(&format!("[error] cannot start I/O thread {id}: {e}"));
            return;
        }
    };
    let thread = Rc::new(Thread {
        id,
        shared: shared.clone(),
        clock: Clock::default(),
        timeouts: Timeouts::default(),
        bufs: crate::io::bufs::Bufs::default(),
        servers: crate::http::h1::busy::Spare::default(),
        upstreams: RefCell::default(),
        files: RefCell::default(),
        resolvers: Resolvers::default(),
        mirrors: Rc::default(),
        log: ThreadLog::new(shared.log.clone()),
        metrics,
        apps: crate::backend::app::ThreadPools::default(),
        draining: Cell::new(false),
        connections: Cell::new(0),
        plan: RefCell::new(PlanRef::new(plan)),
        ports: RefCell::default(),
    });
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::task::spawn_local(sweep(thread.clone()));
        obey(&thread, commands).await;
        thread.log.flush_all();
    });
}

/// Carries out commands until the thread is drained.
async fn obey(thread: &Rc<Thread>, mut commands: UnboundedReceiver<Command>) {
    let mut until = tokio::time::Instant::now();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Plan { plan, sockets, done } => {
                thread.install(&plan, sockets);
                let _ = done.send(());
            }
            Command::App(command) => crate::backend::app::obey(thread, command),
            Command::Drain { idle_ms, deadline_ms } => {
                thread.drain(idle_ms);
                until = tokio::time::Instant::now() + Duration::from_millis(deadline_ms);
                break;
            }
        }
    }
    while thread.connections.get() > 0 && tokio::time::Instant::now() < until {
        // Commands still matter while draining: a worker that dies now has a cause to tell.
        match tokio::time::timeout(Duration::from_millis(20), commands.recv()).await {
            Ok(Some(Command::App(command))) => crate::backend::app::obey(thread, command),
            Ok(Some(Command::Drain { deadline_ms: 0, .. })) => return,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn sweep(thread: Rc<Thread>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(SWEEP_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for count in 0u64.. {
        ticks.tick().await;
        thread.clock.sync();
        thread.timeouts.sweep(thread.clock.now());
        if count % PRUNE_SWEEPS == 0 {
            thread.log.flush(thread.clock.now());
            thread.files.borrow_mut().sweep(thread.clock.now());
            let plan = thread.plan();
            let alive = |id| plan.upstreams.values().any(|group| group.id == id);
            thread.upstreams.borrow_mut().prune(alive);
        }
    }
}
