//! The configuration compiled: names and prefixes in tables, templates in parts, addresses parsed. Immutable, shared by all
//! threads, swapped whole; a request finishes on the plan it began with.
use crate::access::realip::RealIp;
use crate::backend::files::mime::{self, Tables};
use crate::backend::{Backend, Place};
use crate::body::spool::Spool;
use crate::config::{self, Branch, Config, Content, HeadLimits, Match};
use crate::exchange::Exchange;
use crate::limit::zone::Zones;
use crate::modules;
use crate::observe::access_log::{LogCount, LogPlan, Logs};
use crate::pipeline;
use crate::regex::Regex;
use crate::rewrite::Script;
use crate::route::try_files::TryFiles;
use crate::route::{NameTable, NameTables, RouteTable, Routes};
use crate::scope::{self, Compiling, Scope, ScopeRef, Settings};
use crate::settings::http2;
use crate::tls;
use crate::upstream::tls::terms::AllTerms;
use crate::upstream::{Group, Groups};
use crate::vars::Names;
use crate::waf::Rulesets;
use buchner_wire::h1::Limits;
use buchner_wire::method::Method;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// A plan as one I/O thread holds it: counting references stays within the thread.
#[derive(Clone)]
#[allow(clippy::redundant_allocation)] // the outer count is this thread's own
pub struct PlanRef {
    plan: Rc<Arc<Plan>>,
    /// What its requests see of it.
    pub scope: ScopeRef,
}

impl PlanRef {
    /// Takes a share of the plan for this thread.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { scope: ScopeRef::new(plan.scope.clone()), plan: Rc::new(plan) }
    }
}

impl Deref for PlanRef {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.plan
    }
}

/// The compiled configuration.
pub struct Plan {
    /// What requests see of it.
    pub scope: Arc<Scope>,
    /// Proxies that are believed where a server says nothing else.
    pub trusted: Option<RealIp>,
    /// Listening addresses.
    pub listeners: Vec<Listener>,
    /// App pools by name.
    pub apps: BTreeMap<String, config::AppPool>,
    /// Policies of TLS, in the order of the document.
    policies: Vec<Arc<tls::policy::Policy>>,
}

/// What the phases go by: the servers, in the order of [`Scope::servers`].
pub struct Line(pub Vec<Server>);

/// A listening address.
pub struct Listener {
    /// Key of its socket.
    pub address: String,
    /// The socket is that of a listener of all addresses.
    pub within: bool,
    /// Listeners of single addresses whose connections come through this one's socket.
    pub singles: HashMap<SocketAddr, u32>,
    /// A header of the PROXY protocol is ahead of everything on a connection.
    pub proxy_protocol: bool,
    /// Connections are encrypted.
    pub tls: Option<tls::policy::Listener>,
    /// HTTP/2 is taken, whatever its default server says.
    pub http2: bool,
    /// Server for names nobody has.
    pub default_server: u32,
    /// Names of the servers that listen here.
    pub names: Arc<NameTable>,
    /// Limits of a head, for the codec.
    pub limits: Limits,
    /// The same and timeouts, as configured.
    pub head: HeadLimits,
}

/// A virtual server.
pub struct Server {
    /// Rewrite operations of the server.
    pub rewrite: Script,
    /// Routes of all levels, and the blocks of conditions.
    pub routes: Vec<Route>,
    /// Finds a route.
    pub table: RouteTable,
    /// Named routes.
    pub named: HashMap<Box<str>, u32>,
}

/// A route, or the block of a condition within one.
pub struct Route {
    /// Regular expressions are not looked at if it is the longest prefix.
    pub no_regex: bool,
    /// Only for internal redirects.
    pub internal: bool,
    /// Rewrite operations of the route.
    pub rewrite: Script,
    /// Overrides for methods not listed in `limit_except`.
    pub limit_except: Option<LimitExcept>,
    /// Files that may stand for the request's path.
    pub try_files: Option<Box<TryFiles>>,
    /// Routes within this one.
    pub nested: Option<Box<RouteTable>>,
    /// Its content handler.
    pub backend: Backend,
}

impl Routes for [Route] {
    fn no_regex(&self, index: u32) -> bool {
        self[index as usize].no_regex
    }

    fn nested(&self, index: u32) -> Option<&RouteTable> {
        self[index as usize].nested.as_deref()
    }
}

/// Where requests go whose method is none of some.
pub struct LimitExcept {
    methods: Vec<Box<[u8]>>,
    others: u32,
}

impl LimitExcept {
    /// The route of a request that came to `index`.
    pub fn route(&self, ex: &Exchange, index: u32) -> u32 {
        let method = &ex.request.method;
        let listed = |name: &[u8]| self.methods.iter().any(|one| **one == *name);
        let mine = listed(method.as_bytes()) || (*method == Method::Head && listed(b"GET"));
        if mine { index } else { self.others }
    }
}

impl Plan {
    /// The addresses that have sockets.
    pub fn bound(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().filter(|listener| !listener.within).map(|listener| listener.address.as_str())
    }

    /// Groups of upstream servers by name, kept over reloads.
    pub fn upstreams(&self) -> &Groups {
        static NONE: std::sync::LazyLock<Groups> = std::sync::LazyLock::new(Groups::default);
        self.scope.get().unwrap_or(&NONE)
    }

    /// Compiles a configuration. `previous` lends what outlives a reload: upstream health and the spool's count. The error says
    /// where and what.
    pub fn compile(config: &Config, previous: Option<&Self>) -> Result<Arc<Self>, String> {
        let defined = config.variable.iter().map(|variable| variable.name.as_str());
        let mut names = Names::new(&modules::VARIABLES, defined)?;
        names.bases = config.gateway.bases();
        let upstreams = compile_upstreams(config, previous, &names)?;
        let terms = previous.and_then(|plan| plan.scope.get());
        let terms = AllTerms::compile(&config.upstream_tls, &config.system_roots, &names, terms)?;
        let zones = previous.and_then(|plan| plan.scope.get());
        let zones = Zones::compile(&config.limit_req_zone, &config.limit_conn_zone, &names, zones)?;
        let rulesets = Rulesets::new(&config.waf, previous.and_then(|plan| plan.scope.get()));
        let media_types = Tables(config.types.iter().map(mime::table).collect());
        let logs = LogCount(config.access_log.len());
        let tables: &[&(dyn Any + Send + Sync)] =
            &[&media_types, &logs, &upstreams, &terms, &config.app, &zones, &rulesets];
        let cx = Compiling { names: &names, gateway: &config.gateway, tables };
        let settings = compile_settings(config, &cx)?;
        let count = config.server.len();
        let (mut facts, mut servers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (i, server) in config.server.iter().enumerate() {
            let compiler = Compiler { cx: &cx, settings: &settings, routes: Vec::new(), named: HashMap::new() };
            let (fact, server) = compiler.server(server).map_err(|e| format!("server[{i}]{e}"))?;
            facts.push(fact);
            servers.push(server);
        }
        let logs = config.access_log.iter().enumerate();
        let logs = logs.map(|(i, log)| LogPlan::compile(log, &names).map_err(|e| format!("access_log[{i}]: {e}")));
        let logs = Logs(logs.collect::<Result<_, _>>()?);
        let variables = config.variable.iter().enumerate();
        let definitions = variables.map(|(i, variable)| {
            variable.value.compile(&names).map_err(|e| format!("variable[{i}] ${}: {e}", variable.name))
        });
        let definitions = definitions.collect::<Result<_, _>>()?;
        let mut listeners = compile_listeners(config, &names)?;
        let policies = compile_policies(config, previous)?;
        encrypt(config, &settings, &policies, &mut listeners)?;
        let tables = NameTables(listeners.iter().map(|listener| listener.names.clone()).collect());
        let mut kept: Vec<Box<dyn Any + Send + Sync>> =
            vec![Box::new(Line(servers)), Box::new(logs), Box::new(upstreams), Box::new(tables), Box::new(terms)];
        if !zones.is_empty() {
            kept.push(Box::new(zones));
        }
        kept.push(Box::new(rulesets));
        let scope = Scope {
            gateway: config.gateway.clone(),
            servers: facts,
            settings,
            definitions,
            spool: spool(config, previous),
            wants: names.wants(),
            walk: |ex| Box::pin(pipeline::run(ex)),
            kept,
        };
        Ok(Arc::new(Self {
            scope: Arc::new(scope),
            trusted: RealIp::trusted(&config.gateway.trusted_proxies)
                .map_err(|e| format!("gateway.trusted_proxies: {e}"))?,
            listeners,
            apps: config.app.clone(),
            policies,
        }))
    }
}

/// Where bodies spill to; the one of the plan before, if it is the same, has their count.
fn spool(config: &Config, previous: Option<&Plan>) -> Arc<Spool> {
    let same = |plan: &&Plan| {
        let before = &plan.scope.gateway;
        before.spool_dir == config.gateway.spool_dir && before.spool_max == config.gateway.spool_max
    };
    match previous.filter(same) {
        Some(plan) => plan.scope.spool.clone(),
        None => Spool::new(&config.gateway.spool_dir, config.gateway.spool_max.0),
    }
}

fn compile_settings(config: &Config, cx: &Compiling<'_>) -> Result<Vec<Settings>, String> {
    let compile = |(i, raw): (usize, &config::Settings)| {
        let mut settings = Settings::default();
        for (room, part) in modules::ROOMS.iter().zip(&*raw.parts) {
            room.put(&**part, &mut settings);
        }
        for room in modules::ROOMS {
            room.compile(cx, &mut settings).map_err(|e| format!("settings[{i}]: {e}"))?;
        }
        Ok(settings)
    };
    config.settings.iter().enumerate().map(compile).collect()
}

fn compile_upstreams(config: &Config, previous: Option<&Plan>, names: &Names) -> Result<Groups, String> {
    let mut groups = HashMap::new();
    for (name, upstream) in &config.upstream {
        let kept = previous.and_then(|plan| plan.upstreams().0.get(name)).filter(|group| group.same_as(upstream));
        let group = match kept {
            Some(group) => group.clone(),
            None => Arc::new(Group::compile(name, upstream).map_err(|e| format!("upstream.{name}: {e}"))?),
        };
        groups.insert(name.clone(), group);
    }
    Groups::new(groups, names)
}

fn compile_listeners(config: &Config, names: &Names) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::with_capacity(config.listen.len());
    for (i, listen) in config.listen.iter().enumerate() {
        if listen.default_server as usize >= config.server.len() {
            return Err(format!("listen[{i}] {}: no server listens here", listen.address));
        }
        let head = listen.limits.clone();
        if !matches!(head.large_fields_status, 400 | 431 | 494) {
            return Err(format!(
                "listen[{i}].limits.large_fields_status: {} is none of 431, 400 and 494",
                head.large_fields_status
            ));
        }
        listeners.push(Listener {
            address: listen.address.clone(),
            within: listen.within.is_some(),
            singles: HashMap::new(),
            proxy_protocol: listen.proxy_protocol,
            tls: None,
            http2: listen.http2,
            default_server: listen.default_server,
            names: Arc::default(),
            limits: Limits {
                max_head: head.max_head.0 as usize,
                max_target: head.max_target.0 as usize,
                max_field: head.max_field.0 as usize,
                max_fields: head.max_fields as usize,
                bare_lf: head.bare_lf,
            },
            head,
        });
    }
    for (i, listen) in config.listen.iter().enumerate() {
        let Some(within) = listen.within else { continue };
        let address = listen.address.parse().map_err(|_| format!("listen[{i}] {}: not an address", listen.address))?;
        let all = listeners.get_mut(within as usize).filter(|all| !all.within && within as usize != i);
        let all = all.ok_or_else(|| format!("listen[{i}].within: listen[{within}] has no socket"))?;
        all.singles.insert(address, i as u32);
    }
    for (i, server) in config.server.iter().enumerate() {
        for at in &server.listen {
            let listener =
                listeners.get_mut(*at as usize).ok_or_else(|| format!("server[{i}].listen: no listen[{at}]"))?;
            let table = Arc::get_mut(&mut listener.names).ok_or("the names of a listener are in use")?;
            for name in &server.names {
                table.insert(name, i as u32, names).map_err(|e| format!("server[{i}].names: {e}"))?;
            }
        }
    }
    Ok(listeners)
}

/// Compiles the policies of TLS; one that is the same in the plan before is taken from there, nearly always at the same index.
fn compile_policies(config: &Config, previous: Option<&Plan>) -> Result<Vec<Arc<tls::policy::Policy>>, String> {
    let before = previous.map_or(&[][..], |plan| &plan.policies);
    let compile = |(i, raw): (usize, &config::Tls)| {
        if let Some(same) = before.get(i).filter(|policy| policy.is_of(raw)) {
            return Ok(same.clone());
        }
        tls::policy::Policy::compile(raw).map(Arc::new).map_err(|e| format!("tls[{i}]: {e}"))
    };
    config.tls.iter().enumerate().map(compile).collect()
}

/// Gives the listeners that are encrypted the policies of their servers.
fn encrypt(
    config: &Config,
    settings: &[Settings],
    policies: &[Arc<tls::policy::Policy>],
    listeners: &mut [Listener],
) -> Result<(), String> {
    let mut here = vec![Vec::new(); config.listen.len()];
    for (i, server) in config.server.iter().enumerate() {
        let Some(tls) = server.tls else { continue };
        let policy = policies.get(tls as usize).ok_or_else(|| format!("server[{i}].tls: no tls[{tls}]"))?;
        let http2 = settings[server.settings as usize].get::<http2::Settings>().http2;
        for at in &server.listen {
            here[*at as usize].push((i as u32, policy.clone(), http2));
        }
    }
    for ((at, listen), here) in config.listen.iter().enumerate().zip(here).filter(|((_, listen), _)| listen.tls) {
        let servers = here.into_iter().map(|(server, policy, http2)| (server, policy, http2 || listen.http2));
        let bound = tls::policy::Listener::new(&listen.address, listen.default_server, servers);
        listeners[at].tls = Some(bound.map_err(|e| format!("listen[{at}] {}: {e}", listen.address))?);
    }
    Ok(())
}

/// Compiles one server: its routes and the blocks of conditions become one list, whose numbers the tables hold.
struct Compiler<'c> {
    cx: &'c Compiling<'c>,
    settings: &'c [Settings],
    routes: Vec<Option<(scope::Route, Route)>>,
    named: HashMap<Box<str>, u32>,
}

impl Compiler<'_> {
    fn server(mut self, server: &config::Server) -> Result<(scope::Server, Server), String> {
        self.check_settings(server.settings).map_err(|e| format!(".{e}"))?;
        let mut no_branch = |_: &Branch| Err("a server's conditions choose no content".to_owned());
        let rewrite = Script::compile(&server.rewrite, self.cx.names, &mut no_branch).map_err(|e| format!(".{e}"))?;
        let mut table = RouteTable::default();
        self.level(&server.route, &mut table, false)?;
        let name = server.names.first().map(String::as_str).unwrap_or_default();
        let (mut facts, mut routes): (Vec<_>, Vec<_>) = self.routes.into_iter().flatten().unzip();
        // Ten thousand servers with a route each: room for more would be most of what they take.
        facts.shrink_to_fit();
        routes.shrink_to_fit();
        let name = name.strip_prefix('.').unwrap_or(if name == "_" { "" } else { name }).to_owned();
        let facts = scope::Server { name, settings: server.settings, routes: facts };
        Ok((facts, Server { rewrite, routes, table, named: self.named }))
    }

    fn check_settings(&self, index: u32) -> Result<(), String> {
        match self.settings.get(index as usize) {
            Some(_) => Ok(()),
            None => Err(format!("settings: no settings[{index}]")),
        }
    }

    /// The routes of a level; in an internal route all are (nginx hands `internal` down).
    fn level(&mut self, routes: &[config::Route], table: &mut RouteTable, internal: bool) -> Result<(), String> {
        for (i, route) in routes.iter().enumerate() {
            self.route(route, table, internal).map_err(|e| format!(".route[{i}]{e}"))?;
        }
        Ok(())
    }

    /// The number of the next route. Its place is kept while what lies within it takes the numbers behind.
    fn reserve(&mut self) -> u32 {
        self.routes.push(None);
        self.routes.len() as u32 - 1
    }

    fn route(&mut self, route: &config::Route, table: &mut RouteTable, internal: bool) -> Result<(), String> {
        let named = route.path.starts_with('@') && route.matches == Match::Prefix;
        self.check_settings(route.settings).map_err(|e| format!(".{e}"))?;
        let index = self.reserve();
        let backend = self.backend(route.content.as_ref(), route, route.settings).map_err(|e| format!(".{e}"))?;
        match route.matches {
            Match::Regex | Match::RegexNocase => {
                let regex = Regex::compile(&route.path, route.matches == Match::RegexNocase, self.cx.names);
                table.insert_regex(regex.map_err(|e| format!(".path: {e}"))?, index);
            }
            Match::Prefix if named => {
                self.named.entry(route.path.as_str().into()).or_insert(index);
            }
            matches => {
                table.insert(&route.path, matches, index, backend.passes_on());
            }
        }
        let names = self.cx.names;
        let mut branch = |branch: &Branch| self.branch(branch, route);
        let rewrite = Script::compile(&route.rewrite, names, &mut branch).map_err(|e| format!(".{e}"))?;
        let limit_except = match &route.limit_except {
            None => None,
            Some(except) => Some(LimitExcept {
                methods: except.methods.iter().map(|method| method.as_bytes().into()).collect(),
                others: self.branch(&except.location, route).map_err(|e| format!(".limit_except: {e}"))?,
            }),
        };
        let mut nested = RouteTable::default();
        self.level(&route.route, &mut nested, internal || route.internal)?;
        let facts = facts(route, route.settings, &backend);
        self.routes[index as usize] = Some((
            facts,
            Route {
                no_regex: route.matches == Match::NoRegex,
                internal: internal || route.internal || named,
                rewrite,
                limit_except,
                try_files: TryFiles::compile(&route.try_files, names).map_err(|e| format!(".try_files: {e}"))?,
                nested: (!nested.is_empty()).then(|| Box::new(nested)),
                backend,
            },
        ));
        Ok(())
    }

    /// The block of a condition: a route that no path leads to.
    fn branch(&mut self, branch: &Branch, route: &config::Route) -> Result<u32, String> {
        self.check_settings(branch.settings)?;
        let index = self.reserve();
        let backend = self.backend(branch.content.as_ref().or(route.content.as_ref()), route, branch.settings)?;
        let facts = facts(route, branch.settings, &backend);
        self.routes[index as usize] = Some((
            facts,
            Route {
                no_regex: false,
                internal: route.internal,
                rewrite: Script::default(),
                limit_except: None,
                // nginx does not hand try_files down to the block of a condition.
                try_files: None,
                nested: None,
                backend,
            },
        ));
        Ok(index)
    }

    fn backend(&self, content: Option<&Content>, route: &config::Route, settings: u32) -> Result<Backend, String> {
        let literal = !matches!(route.matches, Match::Regex | Match::RegexNocase) && !route.path.starts_with('@');
        let path = if literal { route.path.as_str() } else { "" };
        match content {
            Some(content) => {
                let settings = &self.settings[settings as usize];
                Backend::compile(content, &Place { path, settings, cx: self.cx })
            }
            None => Ok(Backend::None),
        }
    }
}

/// What requests may know of a route.
fn facts(route: &config::Route, settings: u32, backend: &Backend) -> scope::Route {
    scope::Route { path: route.path.clone(), settings, backend: backend.shared() }
}
