//! The configuration compiled: names and prefixes in tables, templates in parts, addresses parsed. Immutable, shared by all
//! threads, swapped whole; a request finishes on the plan it began with.
use crate::accel::Sendfile;
use crate::access::realip::RealIp;
use crate::access::{self, Check};
use crate::backend::files::mime::{self, Types};
use crate::backend::proxy::head::SetHeader;
use crate::backend::proxy::next::Next;
use crate::backend::proxy::options::Options;
use crate::backend::{Backend, Place};
use crate::body::spool::Spool;
use crate::config::{self, Branch, Config, Content, HeadLimits, HeaderValues, Match};
use crate::exchange::Exchange;
use crate::filter::Filters;
use crate::modules;
use crate::observe::access_log::LogPlan;
use crate::observe::error_log::ErrorLogPlan;
use crate::regex::Regex;
use crate::rewrite::Script;
use crate::route::root::Root;
use crate::route::try_files::TryFiles;
use crate::route::{NameTable, RouteTable};
use crate::upstream::Group;
use crate::upstream::resolve::NameServers;
use crate::variables::Definition;
use crate::variables::browser::Browsers;
use crate::variables::referer::Referers;
use crate::variables::secure_link::SecureLink;
use crate::vars::{Names, Template, Wants};
use buchner_wire::h1::Limits;
use buchner_wire::headers::{HeaderId, is_valid_value};
use buchner_wire::method::Method;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
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
    /// Proxies that are believed where a server says nothing else.
    pub trusted: Option<RealIp>,
    /// Listening addresses.
    pub listeners: Vec<Listener>,
    /// Virtual servers.
    pub servers: Vec<Server>,
    /// Settings that servers and routes refer to.
    pub settings: Vec<Settings>,
    /// Access logs.
    pub logs: Vec<LogPlan>,
    /// Variables that the configuration defines.
    pub variables: Vec<Definition>,
    /// App pools by name.
    pub apps: BTreeMap<String, config::AppPool>,
    /// Groups of upstream servers by name, kept over reloads.
    pub upstreams: HashMap<String, Arc<Group>>,
    /// Where bodies spill to.
    pub spool: Arc<Spool>,
    /// Some route works on for clients that have left.
    pub ignores_abort: bool,
    /// Some route passes early hints on.
    pub early_hints: bool,
    /// What templates want to know of upstreams' answers.
    pub wants: Wants,
}

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
    /// What is done before a route is looked for.
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
    /// The prefix or path it stands for, or its regular expression.
    pub path: String,
    /// Regular expressions are not looked at if it is the longest prefix.
    pub no_regex: bool,
    /// Only for internal redirects.
    pub internal: bool,
    /// What is done before the content answers.
    pub rewrite: Script,
    /// What holds for other methods than some.
    pub limit_except: Option<LimitExcept>,
    /// Files that may stand for the request's path.
    pub try_files: Option<Box<TryFiles>>,
    /// Routes within this one.
    pub nested: Option<Box<RouteTable>>,
    /// What answers.
    pub backend: Backend,
    /// Index of its settings.
    pub settings: u32,
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

/// Settings with their templates compiled.
pub struct Settings {
    raw: config::Settings,
    /// Request headers for upstreams.
    pub set_headers: Vec<SetHeader>,
    /// What proxied routes do differently than by default.
    pub proxy: Option<Box<Options>>,
    /// Where messages about requests go; none: to the log of the process.
    pub error_logs: Vec<ErrorLogPlan>,
    /// When another server is asked.
    pub next: Next,
    /// What becomes of responses.
    pub filters: Filters,
    /// Pages of statuses.
    pub error_pages: BTreeMap<u16, ErrorPage>,
    /// Who may come in.
    pub checks: Vec<Check>,
    /// Media types of files.
    pub types: Arc<Types>,
    /// Where paths lead in the file system.
    pub root: Option<Root>,
    /// Proxies that say who the client is.
    pub real_ip: Option<RealIp>,
    /// What makes a link valid.
    pub secure_link: Option<SecureLink>,
    /// Which referers are valid.
    pub referers: Option<Referers>,
    /// Which browsers are ancient or modern.
    pub browsers: Option<Browsers>,
    /// Who is asked for names of upstreams.
    pub name_servers: Arc<NameServers>,
    /// What X-Sendfile may name; `None` if it is not obeyed.
    pub sendfile: Option<Sendfile>,
}

impl Deref for Settings {
    type Target = config::Settings;
    fn deref(&self) -> &config::Settings {
        &self.raw
    }
}

/// The page of a status.
pub struct ErrorPage {
    /// A URI, `@route`, or the URL of a redirect.
    pub to: Template,
    /// Status of the answer; 0: the page's own, `None`: the one that led to it.
    pub status: Option<u16>,
}

impl Plan {
    /// The addresses that have sockets.
    pub fn bound(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().filter(|listener| !listener.within).map(|listener| listener.address.as_str())
    }

    /// Compiles a configuration. `previous` lends what outlives a reload: upstream health and the spool's count. The error says where and what.
    pub fn compile(config: &Config, previous: Option<&Self>) -> Result<Arc<Self>, String> {
        let defined = config.variable.iter().map(|variable| variable.name.as_str());
        let mut names = Names::new(modules::VARIABLES, defined)?;
        names.bases = config.gateway.bases();
        let upstreams = compile_upstreams(config, previous)?;
        let types: Vec<_> = config.types.iter().map(mime::table).collect();
        let settings = config
            .settings
            .iter()
            .enumerate()
            .map(|(i, raw)| Settings::compile(raw, config, &types, &names).map_err(|e| format!("settings[{i}]: {e}")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut servers = Vec::with_capacity(config.server.len());
        for (i, server) in config.server.iter().enumerate() {
            let compiler = Compiler {
                config,
                settings: &settings,
                upstreams: &upstreams,
                names: &names,
                routes: Vec::new(),
                named: HashMap::new(),
            };
            servers.push(compiler.server(server).map_err(|e| format!("server[{i}]{e}"))?);
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
            .map(|(i, log)| LogPlan::compile(log, &names).map_err(|e| format!("access_log[{i}]: {e}")));
        let variables = config.variable.iter().enumerate().map(|(i, variable)| {
            Definition::compile(&variable.value, &names).map_err(|e| format!("variable[{i}] ${}: {e}", variable.name))
        });
        Ok(Arc::new(Self {
            variables: variables.collect::<Result<_, _>>()?,
            trusted: RealIp::trusted(&config.gateway.trusted_proxies)
                .map_err(|e| format!("gateway.trusted_proxies: {e}"))?,
            gateway: config.gateway.clone(),
            listeners: compile_listeners(config, &names)?,
            servers,
            settings,
            logs: logs.collect::<Result<_, _>>()?,
            apps: config.app.clone(),
            upstreams,
            spool,
            wants: names.wants(),
            early_hints: config.settings.iter().any(|settings| !settings.early_hints.is_empty()),
            ignores_abort: config.settings.iter().any(|settings| settings.proxy_ignore_client_abort),
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

fn compile_listeners(config: &Config, names: &Names) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::with_capacity(config.listen.len());
    for (i, listen) in config.listen.iter().enumerate() {
        if listen.default_server as usize >= config.server.len() {
            return Err(format!("listen[{i}] {}: no server listens here", listen.address));
        }
        let head = listen.limits.clone();
        listeners.push(Listener {
            address: listen.address.clone(),
            within: listen.within.is_some(),
            singles: HashMap::new(),
            proxy_protocol: listen.proxy_protocol,
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
            for name in &server.names {
                listener.names.insert(name, i as u32, names).map_err(|e| format!("server[{i}].names: {e}"))?;
            }
        }
    }
    Ok(listeners)
}

/// Compiles one server: its routes and the blocks of conditions become one list, whose numbers the tables hold.
struct Compiler<'c> {
    config: &'c Config,
    settings: &'c [Settings],
    upstreams: &'c HashMap<String, Arc<Group>>,
    names: &'c Names,
    routes: Vec<Option<Route>>,
    named: HashMap<Box<str>, u32>,
}

impl Compiler<'_> {
    fn server(mut self, server: &config::Server) -> Result<Server, String> {
        self.check_settings(server.settings).map_err(|e| format!(".{e}"))?;
        let mut no_branch = |_: &Branch| Err("a server's conditions choose no content".to_owned());
        let rewrite = Script::compile(&server.rewrite, self.names, &mut no_branch).map_err(|e| format!(".{e}"))?;
        let mut table = RouteTable::default();
        self.level(&server.route, &mut table, false)?;
        let name = server.names.first().map(String::as_str).unwrap_or_default();
        Ok(Server {
            name: name.strip_prefix('.').unwrap_or(if name == "_" { "" } else { name }).to_owned(),
            settings: server.settings,
            rewrite,
            routes: self.routes.into_iter().flatten().collect(),
            table,
            named: self.named,
        })
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
                let regex = Regex::compile(&route.path, route.matches == Match::RegexNocase, self.names);
                table.insert_regex(regex.map_err(|e| format!(".path: {e}"))?, index);
            }
            Match::Prefix if named => {
                self.named.entry(route.path.as_str().into()).or_insert(index);
            }
            matches => {
                table.insert(&route.path, matches, index, matches!(backend, Backend::Proxy(_) | Backend::App(_)));
            }
        }
        let names = self.names;
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
        self.routes[index as usize] = Some(Route {
            path: route.path.clone(),
            no_regex: route.matches == Match::NoRegex,
            internal: internal || route.internal || named,
            rewrite,
            limit_except,
            try_files: TryFiles::compile(&route.try_files, names).map_err(|e| format!(".try_files: {e}"))?,
            nested: (!nested.is_empty()).then(|| Box::new(nested)),
            backend,
            settings: route.settings,
        });
        Ok(())
    }

    /// The block of a condition: a route that no path leads to.
    fn branch(&mut self, branch: &Branch, route: &config::Route) -> Result<u32, String> {
        self.check_settings(branch.settings)?;
        let index = self.reserve();
        let backend = self.backend(branch.content.as_ref().or(route.content.as_ref()), route, branch.settings)?;
        self.routes[index as usize] = Some(Route {
            path: route.path.clone(),
            no_regex: false,
            internal: route.internal,
            rewrite: Script::default(),
            limit_except: None,
            // nginx does not hand try_files down to the block of a condition.
            try_files: None,
            nested: None,
            backend,
            settings: branch.settings,
        });
        Ok(index)
    }

    fn backend(&self, content: Option<&Content>, route: &config::Route, settings: u32) -> Result<Backend, String> {
        let literal = !matches!(route.matches, Match::Regex | Match::RegexNocase) && !route.path.starts_with('@');
        let path = if literal { route.path.as_str() } else { "" };
        match content {
            Some(content) => {
                let place = Place { path, types: &self.settings[settings as usize].types };
                Backend::compile(content, &place, self.config, self.upstreams, self.names)
            }
            None => Ok(Backend::None),
        }
    }
}

impl Settings {
    fn compile(raw: &config::Settings, config: &Config, types: &[mime::Table], names: &Names) -> Result<Self, String> {
        for log in &raw.access_log {
            if *log as usize >= config.access_log.len() {
                return Err(format!("access_log: no access_log[{log}]"));
            }
        }
        let table = match raw.types.map(|index| types.get(index as usize)) {
            Some(None) => return Err(format!("types: no types[{}]", raw.types.unwrap_or_default())),
            table => table.flatten(),
        };
        let mut values =
            table.iter().flat_map(|table| table.values()).map(|value| &**value).chain([&*raw.default_type]);
        if let Some(value) = values.find(|value| !is_valid_value(value.as_bytes())) {
            return Err(format!("types: {value:?} has characters no header may have"));
        }
        Ok(Self {
            types: Arc::new(Types::new(table.cloned(), raw.built_in_types, &raw.default_type)),
            root: raw
                .root
                .as_ref()
                .map(|root| Root::compile(root, names))
                .transpose()
                .map_err(|e| format!("root: {e}"))?,
            set_headers: compile_headers(&raw.set_headers, names).map_err(|e| format!("set_headers: {e}"))?,
            proxy: Options::compile(raw, names)?,
            error_logs: raw
                .error_log
                .iter()
                .map(ErrorLogPlan::compile)
                .collect::<Result<_, _>>()
                .map_err(|e| format!("error_log: {e}"))?,
            next: Next::compile(raw),
            name_servers: NameServers::compile(raw, &config.gateway)?,
            checks: access::compile(raw, names)?,
            secure_link: SecureLink::compile(raw, names)?,
            referers: Referers::compile(&raw.valid_referers, names)?,
            browsers: Browsers::compile(raw)?,
            real_ip: raw.real_ip.as_ref().map(RealIp::compile).transpose().map_err(|e| format!("real_ip.{e}"))?,
            filters: Filters::compile(raw, names)?,
            error_pages: raw
                .error_page
                .iter()
                .map(|(code, page)| {
                    let to = Template::compile(&page.to, names).map_err(|e| format!("error_page.{code}: {e}"))?;
                    Ok((*code, ErrorPage { to, status: page.status }))
                })
                .collect::<Result<_, String>>()?,
            sendfile: raw
                .sendfile_roots
                .as_ref()
                .filter(|_| raw.sendfile_headers)
                .map(|roots| Sendfile::compile(roots, &raw.sendfile_except))
                .transpose()?,
            raw: raw.clone(),
        })
    }
}

fn compile_headers(headers: &BTreeMap<String, HeaderValues>, names: &Names) -> Result<Vec<SetHeader>, String> {
    let compile = |(name, value): (&String, &str)| {
        if !buchner_wire::headers::is_valid_name(name.as_bytes()) {
            return Err(format!("{name:?} is not a header name"));
        }
        if !is_valid_value(value.as_bytes()) {
            return Err(format!("{name}: the value has characters no header may have (CR, LF, NUL)"));
        }
        let id = HeaderId::of(name.as_bytes());
        Ok(SetHeader { id, name: name.as_bytes().into(), value: Template::compile(value, names)? })
    };
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))).map(compile).collect()
}
