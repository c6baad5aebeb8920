//! What the firewall knows of one request, and its judgement on what the client sent.
use crate::body::RequestBody;
use crate::body::spool::Buffered;
use crate::error::{Error, Kind, Result};
use crate::exchange::{Exchange, Response, whole};
use crate::net::peer::Peer;
use crate::page;
use crate::settings::buffering;
use crate::vars;
use crate::waf::config::Mode;
use buchner_waf::{EngineMode, Intervention, RequestHead, Transaction, Verdict, Waf};
use buchner_wire::headers::HeaderId;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

/// Rules that a line of the error log names at most.
const NAMED: usize = 10;
/// What CRS calls the sum of what was found in a request.
pub const SCORE: &str = "blocking_inbound_anomaly_score";
/// The same of a response.
pub const RESPONSE_SCORE: &str = "blocking_outbound_anomaly_score";

/// The firewall of a server or route.
#[derive(Clone)]
pub struct Firewall {
    waf: Arc<Waf>,
    mode: Mode,
}

/// One request that is judged.
pub struct Inspection {
    /// The engine's part.
    pub transaction: RefCell<Transaction>,
    mode: Mode,
    /// The response in hand is the firewall's own, or was judged.
    pub responded: Cell<bool>,
    ended: Cell<bool>,
}

impl Firewall {
    /// A firewall with these rules.
    pub fn new(waf: Arc<Waf>, mode: Mode) -> Self {
        Self { waf, mode }
    }

    fn begin(&self) -> Inspection {
        let mut transaction = self.waf.transaction();
        match self.mode {
            Mode::Detect => transaction.set_engine(EngineMode::DetectionOnly),
            Mode::Block => transaction.set_engine(EngineMode::On),
            Mode::Off | Mode::Rules => {}
        }
        Inspection {
            transaction: RefCell::new(transaction),
            mode: self.mode,
            responded: Cell::new(false),
            ended: Cell::new(false),
        }
    }
}

impl Inspection {
    /// The one of a request, if it is judged.
    pub fn of(ex: &Exchange) -> Option<Rc<Self>> {
        ex.inspection.get()?.clone().downcast().ok()
    }

    /// Whether something may have to be blocked, so that nothing may go on before it was judged.
    pub fn may_block(&self) -> bool {
        match self.mode {
            Mode::Block => true,
            Mode::Rules => self.transaction.borrow().engine() == EngineMode::On,
            Mode::Off | Mode::Detect => false,
        }
    }

    /// The sum of what CRS found, in a request and its response.
    pub fn score(&self) -> i64 {
        let transaction = self.transaction.borrow();
        let score = |name| transaction.tx_number(name).unwrap_or(0);
        score(SCORE) + score(RESPONSE_SCORE)
    }
}

/// Judges what a client sent, once, whatever redirects come of it; the response, if it is refused.
pub async fn check(ex: &mut Exchange) -> Result<Option<Response>> {
    let Some(firewall) = ex.settings().get::<Option<Firewall>>() else { return Ok(None) };
    if !ex.is_main() || ex.local_only || ex.inspection.get().is_some() {
        return Ok(None);
    }
    let inspection = Rc::new(firewall.begin());
    let _ = ex.inspection.set(inspection.clone());
    if let Some(found) = head(ex, &inspection) {
        return refuse(ex, &inspection, &found).map(Some);
    }
    let wanted = inspection.transaction.borrow().wants_request_body();
    let body = if wanted { body(ex, &inspection).await? } else { Bytes::new() };
    let found = inspection.transaction.borrow_mut().process_request_body(&body);
    match found {
        Some(found) => refuse(ex, &inspection, &found).map(Some),
        None => Ok(None),
    }
}

/// Phase 1.
fn head(ex: &Exchange, inspection: &Inspection) -> Option<Intervention> {
    let request = &ex.request;
    let mut id = Vec::with_capacity(32);
    ex.id.write(&mut id);
    let mut headers: Vec<(&[u8], &[u8])> = Vec::with_capacity(request.headers.len() + 2);
    headers.extend(request.headers.iter().map(|header| (header.name, header.value)));
    // These were taken out when the head was read.
    if request.upgrade {
        headers.push((b"Connection", b"upgrade"));
        headers.push((b"Upgrade", &request.upgrade_to));
    }
    if matches!(&request.body, RequestBody::Stream(_)) && !request.headers.contains(HeaderId::ContentLength) {
        headers.push((b"Transfer-Encoding", b"chunked"));
    }
    let head = RequestHead {
        client: address(&ex.client.addr),
        server: address(&ex.client.local),
        server_name: &request.host,
        method: request.method.as_bytes(),
        target: &request.target,
        protocol: vars::protocol(request.version),
        headers: &headers,
        unique_id: &id,
        user: b"",
    };
    inspection.transaction.borrow_mut().process_request_head(&head)
}

fn address(peer: &Peer) -> SocketAddr {
    SocketAddr::new(peer.ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), peer.port())
}

/// The body, or as much of it as rules look at. Where nothing is blocked, a route that streams bodies goes on doing so, and rules see none.
async fn body(ex: &mut Exchange, inspection: &Inspection) -> Result<Bytes> {
    let settings = ex.settings().get::<buffering::Settings>();
    if matches!(ex.request.body, RequestBody::Stream(_)) {
        if !settings.request_buffering && !inspection.may_block() {
            return Ok(Bytes::new());
        }
        let memory = settings.buffer_memory.0;
        whole::read(ex, memory).await?;
    }
    let limit = inspection.transaction.borrow().request_body_limit().saturating_add(1);
    match &ex.request.body {
        RequestBody::Buffered(Buffered::Memory(body)) => Ok(body.slice(..body.len().min(limit as usize))),
        RequestBody::Buffered(Buffered::File(file)) => {
            let mut bytes = vec![0; file.length().min(limit) as usize];
            file.file().read_exact_at(&mut bytes, 0).map_err(|e| Error::new(Kind::Internal, format!("waf: {e}")))?;
            Ok(bytes.into())
        }
        RequestBody::Empty | RequestBody::Stream(_) => Ok(Bytes::new()),
    }
}

/// The response that takes the place of what was found. It says nothing of the rules; the log does.
pub fn refuse(ex: &mut Exchange, inspection: &Inspection, found: &Intervention) -> Result<Response> {
    inspection.responded.set(true);
    ex.failure = Some(format!("the firewall's rule {} in phase {}", found.rule, found.phase));
    block(ex, found)
}

/// The same for a response that is in hand.
pub fn block(ex: &Exchange, found: &Intervention) -> Result<Response> {
    match &found.verdict {
        Verdict::Deny => Ok(page::of_status(ex, found.status)),
        Verdict::Drop => page::of_return(ex, 444),
        Verdict::Redirect(url) => {
            let status = if (300..400).contains(&found.status) { found.status } else { 302 };
            Ok(page::redirect(ex, status, url))
        }
    }
}

/// The end of a request: phase 5, and a line for what was found.
pub fn end(ex: &Exchange) {
    let Some(inspection) = Inspection::of(ex) else { return };
    if inspection.ended.replace(true) {
        return;
    }
    inspection.transaction.borrow_mut().process_logging();
    let score = inspection.score();
    let transaction = inspection.transaction.borrow();
    let matches: Vec<_> = transaction.matches().iter().filter(|found| found.log).collect();
    if matches.is_empty() {
        return;
    }
    let mut line = format!("waf: {}, score {score}", action(&inspection));
    for found in matches.iter().take(NAMED) {
        let part = found.part.as_ref().unwrap_or(&found.value);
        let shown = &part[..part.len().min(80)];
        let _ = write!(
            line,
            "; {} \"{}\" in {} ({:?})",
            found.rule.id,
            String::from_utf8_lossy(&found.message),
            String::from_utf8_lossy(&found.variable),
            String::from_utf8_lossy(shown),
        );
    }
    if matches.len() > NAMED {
        let _ = write!(line, "; and {} more", matches.len() - NAMED);
    }
    ex.log_warn(&line);
}

/// What became of a request, in a word.
pub fn action(inspection: &Inspection) -> &'static str {
    let transaction = inspection.transaction.borrow();
    if transaction.intervention().is_some() {
        "blocked"
    } else if transaction.matches().iter().any(|found| found.log) {
        "detected"
    } else {
        "passed"
    }
}
