//! One I/O thread: its runtime, its listeners, and all that requests on it share without locks.
use crate::backend::files::cache::Cache;
use crate::http::port::Port;
use crate::http::service::Service;
use crate::io::deadlines::SWEEP_MS;
use crate::io::local::Local;
use crate::io::shared::{Shared, Task};
use crate::listen;
use crate::observe::metrics::ThreadMetrics;
use crate::plan::{Plan, PlanRef};
use crate::upstream::pool;
use crate::upstream::resolve::{NameServers, Resolvers};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::LocalOptions;
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
    /// Work of a room.
    Run(Task),
}

/// The state of an I/O thread.
struct Thread {
    service: Rc<Service>,
    ports: RefCell<HashMap<String, Rc<Port>>>,
}

impl Thread {
    fn install(self: &Rc<Self>, plan: &Arc<Plan>, sockets: Vec<(String, listen::Socket)>) {
        self.service.rooms.get::<Resolvers>().keep(|servers| {
            plan.scope.settings.iter().any(|settings| **settings.get::<Arc<NameServers>>() == *servers)
        });
        self.service.shared.log.set_level(plan.scope.gateway.error_level);
        let mut ports = self.ports.borrow_mut();
        let old = self.service.replace(PlanRef::new(plan.clone()));
        ports.retain(|address, port| {
            let stays = plan.bound().any(|bound| bound == address);
            if !stays {
                port.close(old.clone());
                self.service.log.notice(&format!("no longer listening on {}", port.address));
            }
            stays
        });
        drop(old);
        for (index, listener) in plan.listeners.iter().enumerate() {
            if let Some(port) = ports.get(&listener.address) {
                port.set_index(index as u32);
            }
        }
        for (address, socket) in sockets {
            let Some(index) = plan.listeners.iter().position(|listener| listener.address == address) else { continue };
            let port = Port::new(address.clone(), index as u32);
            if let Some(before) = ports.insert(address, port.clone()) {
                before.close(self.service.plan());
            }
            listen::spawn(self.service.clone(), port, socket);
        }
    }

    fn drain(&self, idle_ms: u64) {
        self.service.draining.set(true);
        for port in self.ports.borrow().values() {
            port.close(self.service.plan());
        }
        self.service.clock.tick();
        self.service.deadlines.hurry_idle(self.service.clock.now() + idle_ms);
    }
}

/// Runs an I/O thread until it is drained or its commands end. Returns how many connections were cut then.
pub fn run(
    id: u32,
    shared: &Arc<Shared>,
    plan: Arc<Plan>,
    metrics: Arc<ThreadMetrics>,
    commands: UnboundedReceiver<Command>,
) -> usize {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(e) => {
            shared.log.line(&format!("[error] cannot start I/O thread {id}: {e}"));
            return 0;
        }
    };
    let local = Local::new(id, shared, metrics);
    let thread = Rc::new(Thread { service: Service::new(local, PlanRef::new(plan)), ports: RefCell::default() });
    runtime.block_on(async {
        tokio::task::spawn_local(sweep(thread.service.clone()));
        tokio::task::spawn_local(give_up_idle(thread.service.clone()));
        obey(&thread, commands).await;
        thread.service.log.flush_all();
    });
    thread.service.connections.get()
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
            Command::Run(task) => task(&thread.service),
            Command::Drain { idle_ms, deadline_ms } => {
                thread.drain(idle_ms);
                until = tokio::time::Instant::now() + Duration::from_millis(deadline_ms);
                break;
            }
        }
    }
    while thread.service.connections.get() > 0 && tokio::time::Instant::now() < until {
        // Commands still matter while draining: a worker that dies now has a cause to tell.
        match tokio::time::timeout(Duration::from_millis(20), commands.recv()).await {
            Ok(Some(Command::Run(task))) => task(&thread.service),
            Ok(Some(Command::Drain { deadline_ms, .. })) => {
                until = until.min(tokio::time::Instant::now() + Duration::from_millis(deadline_ms));
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Closes idle connections when another thread needs their descriptors.
async fn give_up_idle(thread: Rc<Service>) {
    loop {
        let most = thread.idle.asked().await;
        thread.clock.tick();
        let now = thread.clock.now();
        thread.deadlines.give_up_idle(now, most);
        thread.idle.publish(thread.deadlines.first_idle(now));
    }
}

async fn sweep(thread: Rc<Service>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(SWEEP_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for count in 0u64.. {
        ticks.tick().await;
        thread.clock.sync();
        thread.deadlines.sweep(thread.clock.now());
        thread.idle.publish(thread.deadlines.first_idle(thread.clock.now()));
        if count % PRUNE_SWEEPS == 0 {
            thread.log.flush(thread.clock.now());
            thread.rooms.get::<RefCell<Cache>>().borrow_mut().sweep(thread.clock.now());
            let plan = thread.plan();
            let alive = |id| plan.upstreams().0.values().any(|group| group.id == id);
            pool::of(&thread).borrow_mut().prune(alive);
        }
    }
}
