//! The firewall for Python: rules, and transactions whose phases are called one by one.
use buchner_waf::{Intervention, Match, MemoryStore, RequestHead, ResponseHead, RuleSource, Transaction, Verdict, Waf};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Collections (IP, SESSION, …) that are kept at a time.
const COLLECTIONS: usize = 10_000;

/// What a transaction is cut short with: what to do (`deny`, `drop`, `redirect`), status, rule, phase, and the URL.
type Outcome<'py> = (&'static str, u16, u64, u8, Option<Bound<'py, PyBytes>>);
type Fields = Vec<(PyBackedBytes, PyBackedBytes)>;

/// Rules, compiled.
#[pyclass(module = "buchner._native", frozen)]
pub struct WafRules(Arc<Waf>);

#[pymethods]
impl WafRules {
    /// Reads files, which have no text, and texts, which have a name. Raises `ValueError` with file and line.
    #[new]
    fn new(py: Python<'_>, sources: Vec<(PathBuf, Option<String>)>) -> PyResult<Self> {
        py.detach(move || {
            let names: Vec<_> = sources.iter().map(|(path, _)| path.to_string_lossy()).collect();
            let source = |((path, text), name)| match text {
                None => RuleSource::File(path),
                Some(text) => RuleSource::Text { name, text, base: Path::new("") },
            };
            let pairs = sources.iter().map(|(path, text)| (path.as_path(), text.as_deref()));
            let read: Vec<_> = pairs.zip(names.iter().map(|name| &**name)).map(source).collect();
            Waf::from_sources(&read, Some(Arc::new(MemoryStore::new(COLLECTIONS))))
        })
        .map(Self)
        .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Begins a transaction.
    fn transaction(&self) -> WafTransaction {
        WafTransaction(Mutex::new(self.0.transaction()))
    }

    /// How many rules there are; a chain counts once.
    fn __len__(&self) -> usize {
        self.0.rule_count()
    }

    /// Directives that were accepted and have no effect: file, line, name.
    fn without_effect(&self) -> Vec<(String, usize, &str)> {
        let found = self.0.without_effect().iter();
        found.map(|(at, name)| (at.file.to_string(), at.line, &**name)).collect()
    }
}

/// The header section of a request: attributes of a Python object.
#[derive(FromPyObject)]
struct Request {
    client: (String, u16),
    server: (String, u16),
    server_name: PyBackedBytes,
    method: PyBackedBytes,
    target: PyBackedBytes,
    protocol: PyBackedBytes,
    headers: Fields,
    id: PyBackedBytes,
    user: PyBackedBytes,
}

/// The header section of a response.
#[derive(FromPyObject)]
struct Response {
    status: u16,
    reason: PyBackedBytes,
    protocol: PyBackedBytes,
    headers: Fields,
}

/// One request and its response.
#[pyclass(module = "buchner._native", frozen)]
pub struct WafTransaction(Mutex<Transaction>);

impl WafTransaction {
    fn lock(&self) -> MutexGuard<'_, Transaction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a phase without the interpreter's lock.
    fn phase<'py>(
        &self,
        py: Python<'py>,
        run: impl FnOnce(&mut Transaction) -> Option<Intervention> + Send,
    ) -> Option<Outcome<'py>> {
        py.detach(|| run(&mut self.lock())).map(|found| outcome(py, found))
    }
}

#[pymethods]
impl WafTransaction {
    /// Phase 1. Raises `ValueError` if an address is none.
    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn request_head<'py>(&self, py: Python<'py>, request: Request) -> PyResult<Option<Outcome<'py>>> {
        let (client, server) = (address(&request.client)?, address(&request.server)?);
        Ok(self.phase(py, |transaction| {
            let headers = borrowed(&request.headers);
            transaction.process_request_head(&RequestHead {
                client,
                server,
                server_name: &request.server_name,
                method: &request.method,
                target: &request.target,
                protocol: &request.protocol,
                headers: &headers,
                unique_id: &request.id,
                user: &request.user,
            })
        }))
    }

    /// Phase 2: the body or its beginning.
    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn request_body<'py>(&self, py: Python<'py>, body: PyBackedBytes) -> Option<Outcome<'py>> {
        self.phase(py, |transaction| transaction.process_request_body(&body))
    }

    /// Phase 3.
    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn response_head<'py>(&self, py: Python<'py>, response: Response) -> Option<Outcome<'py>> {
        self.phase(py, |transaction| {
            let headers = borrowed(&response.headers);
            let (protocol, reason) = (&response.protocol, &response.reason);
            transaction.process_response_head(&ResponseHead {
                status: response.status,
                protocol,
                reason,
                headers: &headers,
            })
        })
    }

    /// Phase 4: the body or its beginning.
    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn response_body<'py>(&self, py: Python<'py>, body: PyBackedBytes) -> Option<Outcome<'py>> {
        self.phase(py, |transaction| transaction.process_response_body(&body))
    }

    /// Phase 5, and saves collections.
    fn finish(&self, py: Python<'_>) {
        py.detach(|| self.lock().process_logging());
    }

    /// Whether rules look at the request's body, and how many bytes of it.
    fn wants_request_body(&self) -> (bool, u64) {
        let transaction = self.lock();
        (transaction.wants_request_body(), transaction.request_body_limit())
    }

    /// Whether rules look at the response's body, and how many bytes of it. Known after phase 3.
    fn wants_response_body(&self) -> (bool, u64) {
        let transaction = self.lock();
        (transaction.wants_response_body(), transaction.response_body_limit())
    }

    /// The number of a variable of TX.
    fn number(&self, name: &str) -> Option<i64> {
        self.lock().tx_number(name)
    }

    /// The matches from the one of this index on.
    #[pyo3(signature = (start=0))]
    fn matches<'py>(&self, py: Python<'py>, start: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.lock().matches().iter().skip(start).map(|found| dict(py, found)).collect()
    }
}

fn borrowed(fields: &Fields) -> Vec<(&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (&**name, &**value)).collect()
}

fn address((host, port): &(String, u16)) -> PyResult<SocketAddr> {
    let ip: IpAddr = host.parse().map_err(|_| PyValueError::new_err(format!("{host:?} is not an IP address")))?;
    Ok(SocketAddr::from((ip, *port)))
}

fn outcome(py: Python<'_>, found: Intervention) -> Outcome<'_> {
    let (kind, url) = match found.verdict {
        Verdict::Deny => ("deny", None),
        Verdict::Drop => ("drop", None),
        Verdict::Redirect(url) => ("redirect", Some(PyBytes::new(py, &url))),
    };
    (kind, found.status, found.rule, found.phase, url)
}

fn dict<'py>(py: Python<'py>, found: &Match) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("rule", found.rule.id)?;
    dict.set_item("file", &*found.rule.at.file)?;
    dict.set_item("line", found.rule.at.line)?;
    dict.set_item("phase", found.rule.phase)?;
    dict.set_item("severity", found.rule.severity)?;
    dict.set_item("message", PyBytes::new(py, &found.message))?;
    dict.set_item("data", PyBytes::new(py, &found.data))?;
    let tags: Vec<_> = found.tags.iter().map(|tag| PyBytes::new(py, tag)).collect();
    dict.set_item("tags", tags)?;
    dict.set_item("variable", PyBytes::new(py, &found.variable))?;
    dict.set_item("value", PyBytes::new(py, &found.value))?;
    dict.set_item("part", found.part.as_ref().map(|part| PyBytes::new(py, part)))?;
    dict.set_item("log", found.log)?;
    dict.set_item("audit", found.audit)?;
    Ok(dict)
}
