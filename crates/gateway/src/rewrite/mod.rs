//! The rewrite phases (nginx: the rewrite module): operations run one after the other and may set variables, replace the
//! path, answer, or choose the block of a condition that held as the place whose settings and content count.
pub mod condition;
pub mod config;
pub mod escape;
pub mod run;

pub use run::{Ran, run};

use crate::regex::Regex;
use crate::vars::{Names, Template, Var};
use condition::Condition;
use config::{Branch, RewriteFlag, RewriteOp};

/// The operations of a level.
#[derive(Default)]
pub struct Script {
    ops: Vec<Op>,
}

enum Op {
    Set(Target, Template),
    Rewrite(Box<Rewrite>),
    Return(Box<Return>),
    Break,
    If(Box<If>),
}

/// What `set` and `auth_request_set` set.
pub(crate) enum Target {
    Slot(u32),
    Args,
    LimitRate,
}

impl Target {
    /// The variable of a name, if a request's course may set it.
    pub(crate) fn find(name: &str, names: &Names) -> Option<Self> {
        match names.find(name) {
            Some(Var::User(index)) => Some(Self::Slot(index)),
            Some(Var::Args) => Some(Self::Args),
            _ if name == "limit_rate" => Some(Self::LimitRate),
            _ => None,
        }
    }
}

struct Rewrite {
    regex: Regex,
    to: Template,
    /// The request's own arguments follow those of `to`.
    keep_args: bool,
    /// `to` has a `?`.
    has_args: bool,
    flag: Option<RewriteFlag>,
}

struct Return {
    status: u16,
    text: Option<Template>,
}

struct If {
    when: Condition,
    then: Vec<Op>,
    route: Option<u32>,
}

impl Script {
    /// Compiles the operations of a level. `branch` makes the route of a condition's block and returns its number.
    pub fn compile(
        ops: &[RewriteOp],
        names: &Names,
        branch: &mut dyn FnMut(&Branch) -> Result<u32, String>,
    ) -> Result<Self, String> {
        Ok(Self { ops: compile(ops, names, branch)? })
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

fn compile(
    ops: &[RewriteOp],
    names: &Names,
    branch: &mut dyn FnMut(&Branch) -> Result<u32, String>,
) -> Result<Vec<Op>, String> {
    let mut compiled = Vec::with_capacity(ops.len());
    for (i, op) in ops.iter().enumerate() {
        compiled.push(compile_op(op, names, branch).map_err(|error| format!("rewrite[{i}].{error}"))?);
    }
    Ok(compiled)
}

fn compile_op(
    op: &RewriteOp,
    names: &Names,
    branch: &mut dyn FnMut(&Branch) -> Result<u32, String>,
) -> Result<Op, String> {
    Ok(match op {
        RewriteOp::Set(set) => {
            let target = Target::find(&set.name, names)
                .ok_or_else(|| format!("set.name: the variable ${} cannot be set", set.name))?;
            Op::Set(target, Template::compile(&set.value, names).map_err(|e| format!("set.value: {e}"))?)
        }
        RewriteOp::Rewrite(rewrite) => Op::Rewrite(Box::new(compile_rewrite(rewrite, names)?)),
        RewriteOp::Return(answer) => {
            if answer.status > 999 || answer.status / 100 == 1 {
                return Err(format!("return.status: {} is not a status", answer.status));
            }
            let text = answer.text.as_deref().map(|text| Template::compile(text, names)).transpose();
            Op::Return(Box::new(Return { status: answer.status, text: text.map_err(|e| format!("return.text: {e}"))? }))
        }
        RewriteOp::Break(_) => Op::Break,
        RewriteOp::If(test) => Op::If(Box::new(If {
            when: Condition::compile(&test.when, names).map_err(|e| format!("if.when: {e}"))?,
            then: compile(&test.then, names, branch).map_err(|e| format!("if.then.{e}"))?,
            route: test.location.as_ref().map(branch).transpose().map_err(|e| format!("if.location.{e}"))?,
        })),
    })
}

fn compile_rewrite(rewrite: &config::Rewrite, names: &Names) -> Result<Rewrite, String> {
    let redirects = ["http://", "https://", "$scheme"].iter().any(|start| rewrite.to.starts_with(start));
    let (to, keep_args) = match rewrite.to.strip_suffix('?') {
        Some(to) => (to, false),
        None => (rewrite.to.as_str(), true),
    };
    let flag = match rewrite.flag {
        None | Some(RewriteFlag::Last | RewriteFlag::Break) if redirects => Some(RewriteFlag::Redirect),
        flag => flag,
    };
    Ok(Rewrite {
        regex: Regex::compile(&rewrite.regex, false, names).map_err(|e| format!("rewrite.regex: {e}"))?,
        to: Template::compile(to, names).map_err(|e| format!("rewrite.to: {e}"))?,
        keep_args,
        has_args: to.contains('?'),
        flag,
    })
}

#[cfg(test)]
mod tests;
