//! The configuration compiled: names and prefixes in tables, templates in parts, addresses parsed. Immutable, shared by all
//! threads, swapped whole; a request finishes on the plan it began with.
use crate::backend::Backend;
use crate::backend::files::Files;
use crate::buffers::Spool;
use crate::config::{self, Config, HeadLimits};
use crate::http::forwarded::Networks;
use crate::observe::access_log::LogPlan;
use crate::route::{NameTable, RouteTable};
use crate::upstream::Group;
use crate::vars::Template;
use buchner_wire::h1::Limits;
use buchner_wire::headers::HeaderId;
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// A plan as one I/O thread holds it: counting references stays within the thread.
#[derive(Clone)]
#[allow(clippy::redundant_allocation)] // the outer count is this thread's own
pub struct PlanRef(Rc<Arc<Plan>>);

impl PlanRef {
    /// Takes a share of the plan for this thread.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self(Rc::new(plan))
    }
}

impl Deref for PlanRef {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.0
    }
}

/// The compiled configuration.
pub struct Plan {
    /// Settings of the process.
    pub gateway: config::Gateway,
    /// Networks whose forwarded headers are believed.
    pub trusted: Networks,
    /// Listening addresses.
    pub listeners: Vec<Listener>,
    /// Virtual servers.
    pub servers: Vec<Server>,
    /// Settings that servers and routes refer to.
    pub settings: Vec<Settings>,
    /// Access logs.
    pub logs: Vec<LogPlan>,
    /// App pools by name.
    pub apps: BTreeMap<String, config::AppPool>,
    /// Groups of upstream servers by name, kept over reloads.
    pub upstreams: HashMap<String, Arc<Group>>,
    /// Where bodies spill to.
    pub spool: Arc<Spool>,
}

/// A listening address.
pub struct Listener {
    /// Key of its socket.
    pub address: String,
    /// Server for names nobody has.
    pub default_server: u32,
    /// Names of the servers that listen here.
    pub names: NameTable,
    /// Limits of a head, for the codec.
    pub limits: Limits,
    /// The same and timeouts, as configured.
    pub head: HeadLimits,
}

/// A virtual server.
pub struct Server {
    /// First name, for `$server_name`.
    pub name: String,
    /// Index of its settings.
    pub settings: u32,
    /// Routes.
    pub routes: Vec<Route>,
    /// Finds a route.
    pub table: RouteTable,
}

/// A route.
pub struct Route {
    /// The prefix or path it stands for.
    pub path: String,
    /// Only for internal redirects.
    pub internal: bool,
    /// What answers.
    pub backend: Backend,
    /// Index of its settings.
    pub settings: u32,
}

/// Settings with their templates compiled.
pub struct Settings {
    raw: config::Settings,
    /// Request headers for upstreams.
    pub set_headers: Vec<SetHeader>,
    /// Response headers.
    pub add_headers: Vec<SetHeader>,
    /// Files that X-Sendfile may name, by root.
    pub sendfile: Vec<Files>,
}

impl Deref for Settings {
    type Target = config::Settings;
    fn deref(&self) -> &config::Settings {
        &self.raw
    }
}

/// A header with a value made of variables.
#[derive(Debug)]
pub struct SetHeader {
    /// Its id, `Other` for names not known.
    pub id: HeaderId,
    /// Its name as configured.
    pub name: Box<[u8]>,
    /// Its value; empty: the header is left out.
    pub value: Template,
}

impl Plan {
    /// Compiles a configuration. `previous` lends what outlives a reload: upstream health and the spool's count. The error says where and what.
    pub fn compile(config: &Config, previous: Option<&Self>) -> Result<Arc<Self>, String> {
        let upstreams = compile_upstreams(config, previous)?;
        let settings = config
            .settings
            .iter()
            .enumerate()
            .map(|(i, raw)| Settings::compile(raw, config).map_err(|e| format!("settings[{i}]: {e}")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut servers = Vec::with_capacity(config.server.len());
        for (i, server) in config.server.iter().enumerate() {
            servers.push(Server::compile(server, config, &upstreams).map_err(|e| format!("server[{i}]{e}"))?);
        }
        let spool = match previous {
            Some(plan)
                if plan.gateway.spool_dir == config.gateway.spool_dir
                    && plan.gateway.spool_max == config.gateway.spool_max =>
            {
                plan.spool.clone()
            }
            _ => Spool::new(&config.gateway.spool_dir, config.gateway.spool_max.0),
        };
        let logs = config
            .access_log
            .iter()
            .enumerate()
            .map(|(i, log)| LogPlan::compile(log).map_err(|e| format!("access_log[{i}]: {e}")));
        Ok(Arc::new(Self {
            trusted: Networks::parse(&config.gateway.trusted_proxies)
                .map_err(|e| format!("gateway.trusted_proxies: {e}"))?,
            gateway: config.gateway.clone(),
            listeners: compile_listeners(config)?,
            servers,
            settings,
            logs: logs.collect::<Result<_, _>>()?,
            apps: config.app.clone(),
            upstreams,
            spool,
        }))
    }
}

fn compile_upstreams(config: &Config, previous: Option<&Plan>) -> Result<HashMap<String, Arc<Group>>, String> {
    let mut groups = HashMap::new();
    for (name, upstream) in &config.upstream {
        let kept = previous.and_then(|plan| plan.upstreams.get(name)).filter(|group| group.same_as(upstream));
        let group = match kept {
            Some(group) => group.clone(),
            None => Arc::new(Group::compile(name, upstream).map_err(|e| format!("upstream.{name}: {e}"))?),
        };
        groups.insert(name.clone(), group);
    }
    Ok(groups)
}

fn compile_listeners(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::with_capacity(config.listen.len());
    for (i, listen) in config.listen.iter().enumerate() {
        if listen.default_server as usize >= config.server.len() {
            return Err(format!("listen[{i}] {}: no server listens here", listen.address));
        }
        let head = listen.limits.clone();
        listeners.push(Listener {
            address: listen.address.clone(),
            default_server: listen.default_server,
            names: NameTable::default(),
            limits: Limits {
                max_head: head.max_head.0 as usize,
                max_target: head.max_target.0 as usize,
                max_field: head.max_field.0 as usize,
                max_fields: head.max_fields as usize,
            },
            head,
        });
    }
    for (i, server) in config.server.iter().enumerate() {
        for at in &server.listen {
            let listener =
                listeners.get_mut(*at as usize).ok_or_else(|| format!("server[{i}].listen: no listen[{at}]"))?;
            for name in &server.names {
                listener.names.insert(name, i as u32).map_err(|e| format!("server[{i}].names: {e}"))?;
            }
        }
    }
    Ok(listeners)
}

impl Server {
    fn compile(
        server: &config::Server,
        config: &Config,
        upstreams: &HashMap<String, Arc<Group>>,
    ) -> Result<Self, String> {
        let mut table = RouteTable::default();
        let mut routes = Vec::with_capacity(server.route.len());
        if server.settings as usize >= config.settings.len() {
            return Err(format!(".settings: no settings[{}]", server.settings));
        }
        for (i, route) in server.route.iter().enumerate() {
            if !route.path.starts_with(['/', '@']) {
                return Err(format!(".route[{i}].path: {:?} must start with / (or @ for a named route)", route.path));
            }
            if route.settings as usize >= config.settings.len() {
                return Err(format!(".route[{i}].settings: no settings[{}]", route.settings));
            }
            let backend = Backend::compile(route, config, upstreams).map_err(|e| format!(".route[{i}].{e}"))?;
            table.insert(&route.path, route.exact, i as u32);
            routes.push(Route {
                path: route.path.clone(),
                internal: route.internal || route.path.starts_with('@'),
                backend,
                settings: route.settings,
            });
        }
        let name = server.names.iter().find(|name| *name != "_").cloned().unwrap_or_default();
        Ok(Self { name, settings: server.settings, routes, table })
    }
}

impl Settings {
    fn compile(raw: &config::Settings, config: &Config) -> Result<Self, String> {
        for log in &raw.access_log {
            if *log as usize >= config.access_log.len() {
                return Err(format!("access_log: no access_log[{log}]"));
            }
        }
        Ok(Self {
            set_headers: compile_headers(&raw.set_headers).map_err(|e| format!("set_headers: {e}"))?,
            add_headers: compile_headers(&raw.add_headers).map_err(|e| format!("add_headers: {e}"))?,
            sendfile: raw
                .sendfile_roots
                .iter()
                .map(|root| {
                    Files::named_by_path(root).map_err(|_| format!("sendfile_roots: {root:?} must be an absolute path"))
                })
                .collect::<Result<_, _>>()?,
            raw: raw.clone(),
        })
    }
}

fn compile_headers(headers: &BTreeMap<String, String>) -> Result<Vec<SetHeader>, String> {
    let compile = |(name, value): (&String, &String)| {
        if !buchner_wire::headers::is_valid_name(name.as_bytes()) {
            return Err(format!("{name:?} is not a header name"));
        }
        if !buchner_wire::headers::is_valid_value(value.as_bytes()) {
            return Err(format!("{name}: the value has characters no header may have (CR, LF, NUL)"));
        }
        let id = HeaderId::of(name.as_bytes());
        Ok(SetHeader { id, name: name.as_bytes().into(), value: Template::compile(value)? })
    };
    headers.iter().map(compile).collect()
}
