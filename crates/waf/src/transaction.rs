//! The firewall and its transactions.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::record::{Intervention, Match, Verdict};
use crate::request::{self, RequestHead, ResponseHead};
use crate::rule::Rules;
use crate::seclang::action::Allow;
use crate::seclang::ctl::EngineMode;
use crate::seclang::setting::{LimitAction, Settings};
use crate::seclang::source::Source;
use crate::seclang::variable::Variable as V;
use crate::seclang::{LoadError, Location};
use crate::state::State;
use crate::store::Store;
use crate::tx::Tx;
use crate::{act, clock, compile, payload, run};

/// States kept for further transactions.
const SPARE: usize = 64;

/// Rules, ready to judge requests.
#[derive(Debug)]
pub struct Waf {
    rules: Rules,
    without_effect: Vec<(Location, String)>,
    #[allow(clippy::vec_box)] // a state is large, and moves between here and its transaction
    spare: Mutex<Vec<Box<State>>>,
}

/// A file of rules, or their text.
#[derive(Clone, Copy, Debug)]
pub enum RuleSource<'a> {
    /// A file.
    File(&'a Path),
    /// A text.
    Text {
        /// What errors call it.
        name: &'a str,
        /// The rules.
        text: &'a str,
        /// The directory that files named in it are relative to.
        base: &'a Path,
    },
}

impl Waf {
    /// Reads rules from files, in order.
    pub fn from_files(files: &[PathBuf], store: Option<Arc<dyn Store>>) -> Result<Arc<Self>, LoadError> {
        let mut source = Source::default();
        files.iter().try_for_each(|file| source.file(file))?;
        Self::new(source, store)
    }

    /// Reads rules from files and texts, in order.
    pub fn from_sources(sources: &[RuleSource<'_>], store: Option<Arc<dyn Store>>) -> Result<Arc<Self>, LoadError> {
        let mut read = Source::default();
        sources.iter().try_for_each(|source| match source {
            RuleSource::File(path) => read.file(path),
            RuleSource::Text { name, text, base } => read.text(name, text, base),
        })?;
        Self::new(read, store)
    }

    /// Reads rules from a text. `name` stands in errors; files that the text names are relative to `base`.
    pub fn from_str(
        name: &str,
        text: &str,
        base: &Path,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Self>, LoadError> {
        let mut source = Source::default();
        source.text(name, text, base)?;
        Self::new(source, store)
    }

    fn new(mut source: Source, store: Option<Arc<dyn Store>>) -> Result<Arc<Self>, LoadError> {
        let without_effect = std::mem::take(&mut source.without_effect);
        let mut rules = compile::compile(source)?;
        rules.store = store;
        Ok(Arc::new(Self { rules, without_effect, spare: Mutex::default() }))
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.rules.settings
    }

    /// Directives that were accepted and have no effect here, with their position.
    pub fn without_effect(&self) -> &[(Location, String)] {
        &self.without_effect
    }

    /// How many rules there are; a chain counts once.
    pub fn rule_count(&self) -> usize {
        self.rules.phases.iter().map(|phase| phase.len()).sum()
    }

    /// Begins a transaction.
    pub fn transaction(self: &Arc<Self>) -> Transaction {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut state = spare.unwrap_or_default();
        state.begin(&self.rules);
        state.now = clock::now();
        state.begun = Some(Instant::now());
        Transaction { waf: self.clone(), state }
    }
}

/// One request and its response. The phases are called in order; each returns what is to be done, if anything.
#[derive(Debug)]
pub struct Transaction {
    waf: Arc<Waf>,
    state: Box<State>,
}

impl Transaction {
    /// The mode: that of the configuration, unless it was set or a rule changed it.
    pub fn engine(&self) -> EngineMode {
        self.state.mode
    }

    /// Sets the mode, before the first phase.
    pub fn set_engine(&mut self, mode: EngineMode) {
        self.state.mode = mode;
    }

    /// Phase 1: the request's header section.
    pub fn process_request_head(&mut self, head: &RequestHead<'_>) -> Option<Intervention> {
        if self.state.mode == EngineMode::Off {
            return None;
        }
        request::head(&self.waf.rules, &mut self.state, head);
        self.phase(1)
    }

    /// Whether rules look at the request's body: it should be handed over, up to [`Self::request_body_limit`].
    pub fn wants_request_body(&self) -> bool {
        self.state.mode != EngineMode::Off && self.state.request_body
    }

    /// The longest request body, in bytes.
    pub fn request_body_limit(&self) -> u64 {
        self.state.request_limit
    }

    /// Phase 2: the request's body, or its beginning; empty if there is none.
    pub fn process_request_body(&mut self, body: &[u8]) -> Option<Intervention> {
        if self.state.mode == EngineMode::Off {
            return None;
        }
        let mut body = body;
        if body.len() as u64 > self.state.request_limit {
            self.state.set_number(V::InboundDataError, 1);
            let reject = self.waf.rules.settings.request_limit_action == LimitAction::Reject;
            if reject && self.state.mode == EngineMode::On {
                return self.limit(413, 2);
            }
            body = &body[..self.state.request_limit as usize];
        }
        let files = self.state.single(V::ReqbodyProcessor).eq_ignore_ascii_case(b"multipart");
        if !files && body.len() as u64 > self.waf.rules.settings.request_no_files_limit {
            self.state.set_number(V::InboundDataError, 1);
            let reject = self.waf.rules.settings.request_limit_action == LimitAction::Reject;
            if reject && self.state.mode == EngineMode::On {
                return self.limit(413, 2);
            }
            body = &body[..self.waf.rules.settings.request_no_files_limit as usize];
        }
        if self.state.request_body {
            payload::request(&self.waf.rules, &mut self.state, body);
        }
        self.phase(2)
    }

    /// Phase 3: the response's header section.
    pub fn process_response_head(&mut self, head: &ResponseHead<'_>) -> Option<Intervention> {
        if self.state.mode == EngineMode::Off {
            return None;
        }
        if self.state.allow == Some(Allow::Request) {
            self.state.allow = None;
        }
        request::response(&mut self.state, head);
        self.phase(3)
    }

    /// Whether rules look at the response's body, by the configuration and the response's media type.
    pub fn wants_response_body(&self) -> bool {
        let media = self.state.single(V::ResponseContentType);
        let known = |wanted: &String| wanted.as_bytes().eq_ignore_ascii_case(media);
        let types = &self.waf.rules.settings.response_types;
        self.state.mode != EngineMode::Off && self.state.response_body && types.iter().any(known)
    }

    /// The longest response body, in bytes.
    pub fn response_body_limit(&self) -> u64 {
        self.state.response_limit
    }

    /// Phase 4: the response's body, or its beginning.
    pub fn process_response_body(&mut self, body: &[u8]) -> Option<Intervention> {
        if self.state.mode == EngineMode::Off {
            return None;
        }
        let mut body = body;
        if body.len() as u64 > self.state.response_limit {
            self.state.set_number(V::OutboundDataError, 1);
            let reject = self.waf.rules.settings.response_limit_action == LimitAction::Reject;
            if reject && self.state.mode == EngineMode::On {
                return self.limit(500, 4);
            }
            body = &body[..self.state.response_limit as usize];
        }
        if self.wants_response_body() {
            self.state.set(V::ResponseBody, body);
        }
        self.state.set_number(V::ResponseContentLength, body.len() as i64);
        self.phase(4)
    }

    /// Phase 5: after the response; saves collections.
    pub fn process_logging(&mut self) {
        self.state.allow = None;
        let intervention = self.state.intervention.take();
        run::phase(&self.waf.rules, &mut self.state, 5);
        self.state.intervention = intervention;
        act::save(&self.waf.rules, &mut self.state);
    }

    /// The matches so far, in order.
    pub fn matches(&self) -> &[Match] {
        &self.state.matches
    }

    /// The number of a variable of TX, named in lower case; `None` if it is not set. The rules keep scores there.
    pub fn tx_number(&self, name: &str) -> Option<i64> {
        let slot = self.waf.rules.names.find(name.as_bytes())?;
        match self.state.tx.get(usize::from(slot)) {
            None | Some(Tx::Absent) => None,
            Some(value) => Some(value.number(&self.state.memory)),
        }
    }

    /// The intervention, if there was one.
    pub fn intervention(&self) -> Option<&Intervention> {
        self.state.intervention.as_ref()
    }

    fn limit(&mut self, status: u16, phase: u8) -> Option<Intervention> {
        self.state.intervention = Some(Intervention { verdict: Verdict::Deny, status, rule: 0, phase });
        self.state.intervention.clone()
    }

    fn phase(&mut self, number: u8) -> Option<Intervention> {
        if self.state.stopped() {
            return None;
        }
        run::phase(&self.waf.rules, &mut self.state, number);
        if self.state.allow == Some(Allow::Phase) {
            self.state.allow = None;
        }
        self.state.intervention.clone()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let mut spare = self.waf.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.state));
        }
    }
}
