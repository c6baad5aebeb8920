//! Rules as they run.

use std::sync::Arc;

use crate::bits::Bits;
use crate::operator::Operator;
use crate::pipeline::{Node, Pipelines};
use crate::prefilter::Prefilter;
use crate::seclang::Location;
use crate::seclang::action::Allow;
use crate::seclang::ctl::{AuditMode, EngineMode};
use crate::seclang::setting::Settings;
use crate::seclang::variable::{Selector, Target, Variable};
use crate::store::Store;
use crate::text::Text;
use crate::tx::Names;

/// What is said about a rule.
#[derive(Debug)]
pub struct RuleInfo {
    /// The `id`.
    pub id: u64,
    /// Where it is written.
    pub at: Location,
    /// The phase, 1 to 5.
    pub phase: u8,
    /// The `severity`, 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// The `rev`.
    pub rev: Option<Arc<str>>,
    /// The `ver`.
    pub ver: Option<Arc<str>>,
    /// The `maturity`, 1 to 9.
    pub maturity: Option<u8>,
    /// The `accuracy`, 1 to 9.
    pub accuracy: Option<u8>,
}

/// How a transaction is cut short.
#[derive(Debug)]
pub enum Effect {
    Pass,
    Deny,
    Drop,
    Allow(Allow),
    Redirect(Text),
}

/// A rule, or a chain of them.
#[derive(Debug)]
pub struct Chain {
    pub info: Arc<RuleInfo>,
    /// The rule's number in sets of rules.
    pub number: u32,
    pub links: Box<[Link]>,
    pub effect: Effect,
    pub status: u16,
    pub log: bool,
    pub audit: bool,
    pub msg: Option<Text>,
    pub data: Option<Text>,
    pub tags: Box<[Text]>,
    /// The index in the phase at which `skipAfter` goes on.
    pub skip_to: Option<u32>,
    /// `skip`: so many rules.
    pub skip: u32,
}

/// One rule of a chain.
#[derive(Debug)]
pub struct Link {
    /// The number of the list of variables; `None`: `SecAction`.
    pub list: Option<u32>,
    pub operator: Option<Operator>,
    pub negated: bool,
    /// The operator's argument, if it has macros.
    pub argument: Option<Text>,
    pub node: Node,
    /// With `multiMatch`: the sequences from the empty one to `node`.
    pub stages: Box<[Node]>,
    pub capture: bool,
    pub quick: Option<Quick>,
    /// The operator's bit in the prefilter.
    pub filter: Option<u16>,
    /// The number of its list and pipeline, if the list is stable: what their values have is found once a phase.
    pub union: Option<u32>,
    pub acts: Box<[Act]>,
}

/// A comparison of numbers, decided without making texts.
#[derive(Debug)]
pub struct Quick {
    pub subject: Subject,
    pub comparison: Comparison,
    pub right: Operand,
}

/// What is compared.
#[derive(Debug)]
pub enum Subject {
    Tx(u16),
    CountTx(u16),
    /// The number of values of the list.
    Count,
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl Comparison {
    /// That of an operator.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Equal,
            "ge" => Self::AtLeast,
            "gt" => Self::Above,
            "le" => Self::AtMost,
            "lt" => Self::Below,
            _ => return None,
        })
    }

    /// Whether it holds.
    pub fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::AtLeast => left >= right,
            Self::Above => left > right,
            Self::AtMost => left <= right,
            Self::Below => left < right,
        }
    }
}

/// A value for `setvar` and comparisons.
#[derive(Debug)]
pub enum Operand {
    Number(i64),
    Tx(u16),
    Text(Text),
}

/// How a variable changes.
#[derive(Debug)]
pub enum Change {
    Set(Operand),
    Add(Operand),
    Subtract(Operand),
    Remove,
}

/// What a match does.
#[derive(Debug)]
pub enum Act {
    SetTx(u16, Change),
    /// A variable whose name has macros, or of another collection than TX.
    Set {
        collection: Variable,
        name: Text,
        change: Change,
    },
    Expire {
        collection: Variable,
        name: Text,
        seconds: Operand,
    },
    SetEnv(Arc<str>, Option<Text>),
    InitCol(Variable, Text),
    Ctl(Setting),
}

/// A setting for the rest of the transaction.
#[derive(Debug)]
pub enum Setting {
    AuditEngine(AuditMode),
    AuditLogParts(String),
    ForceRequestBody(bool),
    RequestBody(bool),
    RequestLimit(u64),
    Processor(String),
    ResponseBody(bool),
    ResponseLimit(u64),
    Engine(EngineMode),
    Remove(Bits),
    /// The number of a [`Removal`].
    RemoveTargets(u32),
}

/// Variables that some rules no longer see.
#[derive(Debug)]
pub struct Removal {
    pub rules: Bits,
    pub targets: Box<[Target]>,
}

/// Some values of a collection.
#[derive(Debug)]
pub struct Source {
    pub variable: Variable,
    pub selector: Selector,
    pub count: bool,
    /// The slot, of a variable of TX that is named.
    pub slot: Option<u16>,
    pub excludes: Box<[Selector]>,
}

/// The variables of a rule.
#[derive(Debug)]
pub struct List {
    pub sources: Box<[Source]>,
    /// The values are the same throughout a phase.
    pub stable: bool,
}

/// All rules, compiled.
#[derive(Debug)]
pub struct Rules {
    pub settings: Settings,
    /// Those of phase 1 first.
    pub phases: [Box<[Chain]>; 5],
    pub lists: Box<[List]>,
    pub removals: Box<[Removal]>,
    pub pipelines: Pipelines,
    pub prefilter: Option<Prefilter>,
    pub names: Names,
    pub store: Option<Arc<dyn Store>>,
}
