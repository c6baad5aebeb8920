//! Running the operations of a level.
use crate::backend::files::mime::Types;
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::exchange::conditions::IfModifiedSince;
use crate::exchange::{Exchange, Response};
use crate::page;
use crate::rewrite::config::RewriteFlag;
use crate::rewrite::escape::{Escape, escape, unescape_redirect};
use crate::rewrite::{If, Op, Return, Rewrite, Script, Target};
use crate::units::size;
use crate::vars::{Sent, Template, Var, template::Part, write_var};
use buchner_wire::headers::{HeaderId, is_valid_value};
use bytes::Bytes;
use std::sync::Arc;

/// What running a level came to.
pub enum Ran {
    /// The next phase. Whether the path was changed, so that a route must be looked for anew, is in the exchange.
    On,
    /// An answer.
    Respond(Response),
}

/// Where a list of operations ended.
enum Flow {
    End,
    Stop,
    Respond(Response),
}

/// Runs the operations of a server or route.
pub fn run(script: &Script, ex: &mut Exchange) -> Result<Ran> {
    // nginx encodes the groups of a match again where they become values, until a rewrite has replaced the path.
    let mut encode = ex.path_was_encoded();
    Ok(match run_ops(&script.ops, ex, &mut encode)? {
        Flow::End | Flow::Stop => Ran::On,
        Flow::Respond(response) => Ran::Respond(response),
    })
}

fn run_ops(ops: &[Op], ex: &mut Exchange, encode: &mut bool) -> Result<Flow> {
    for op in ops {
        let flow = match op {
            Op::Set(target, value) => {
                let value = Bytes::from(value_of(value, ex, *encode));
                set(ex, target, value);
                continue;
            }
            Op::Rewrite(rewrite) => rewrite.run(ex, encode)?,
            Op::Return(answer) => Flow::Respond(answer.response(ex)?),
            Op::Break => {
                settle(ex);
                Flow::Stop
            }
            Op::If(test) => test.run(ex, encode)?,
        };
        if !matches!(flow, Flow::End) {
            return Ok(flow);
        }
    }
    Ok(Flow::End)
}

/// The value of a template; groups of the match are encoded where that is asked for.
pub(super) fn value_of(template: &Template, ex: &Exchange, encode: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for part in template.parts() {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Var(Var::Capture(n)) if encode => escape(ex.captures.borrow().get(*n), Escape::Args, &mut out),
            Part::Var(var) => write_var(var, ex, Sent::default(), &mut out),
        }
    }
    out
}

/// Sets a variable.
pub(crate) fn set(ex: &mut Exchange, target: &Target, value: Bytes) {
    match target {
        Target::Slot(index) => ex.values.set(*index, value),
        Target::LimitRate => match size(&value) {
            Some(rate) => ex.limit_rate.set(Some(rate)),
            None => ex.log_error(&format!("invalid $limit_rate {:?}", String::from_utf8_lossy(&value))),
        },
        Target::Args => {
            ex.request.query = Some(value);
            ex.as_sent = false;
        }
    }
}

/// The path stays what it was changed to; no route is looked for.
fn settle(ex: &mut Exchange) {
    if ex.path_changed {
        ex.path_changed = false;
        ex.in_location = false;
    }
}

impl If {
    fn run(&self, ex: &mut Exchange, encode: &mut bool) -> Result<Flow> {
        if !self.when.holds(ex, *encode)? {
            return Ok(Flow::End);
        }
        if self.route.is_some() {
            ex.set_route(self.route);
        }
        run_ops(&self.then, ex, encode)
    }
}

impl Rewrite {
    fn run(&self, ex: &mut Exchange, encode: &mut bool) -> Result<Flow> {
        let path = ex.request.path.clone();
        if !self.regex.exec_or_forget(ex, &path)? {
            return Ok(Flow::End);
        }
        *encode = false;
        let status = match self.flag {
            Some(RewriteFlag::Redirect) => 302,
            Some(RewriteFlag::Permanent) => 301,
            _ => return self.replace(ex),
        };
        ex.internal = true;
        ex.as_sent = false;
        let mut to = Vec::with_capacity(128);
        self.write(ex, true, &mut to);
        let mut to = unescape_redirect(&to);
        if let Some(query) = ex.request.query.as_ref().filter(|query| self.keep_args && !query.is_empty()) {
            to.push(if self.has_args { b'&' } else { b'?' });
            to.extend_from_slice(query);
        }
        if !is_valid_value(&to) {
            return Err(Error::new(Kind::BadRequest(400), "the redirect's target has characters no header may have"));
        }
        Ok(Flow::Respond(page::redirect(ex, status, &to)))
    }

    /// Makes the replacement the exchange's path and query.
    fn replace(&self, ex: &mut Exchange) -> Result<Flow> {
        ex.internal = true;
        ex.as_sent = false;
        let stays = self.flag == Some(RewriteFlag::Break);
        ex.path_changed = !stays;
        ex.in_location &= !stays;
        let mut to = Vec::with_capacity(128);
        match self.write(ex, false, &mut to) {
            Some(at) => {
                let mut query = to[at..].to_vec();
                if let Some(own) = ex.request.query.as_ref().filter(|own| self.keep_args && !own.is_empty()) {
                    query.push(b'&');
                    query.extend_from_slice(own);
                }
                to.truncate(at);
                ex.request.query = Some(query.into());
            }
            None if !self.keep_args => ex.request.query = None,
            None => {}
        }
        if to.is_empty() {
            return Err(Error::new(Kind::Internal, "rewrite: the new path is empty"));
        }
        ex.request.path = to.into();
        Ok(match self.flag {
            None => Flow::End,
            Some(_) => Flow::Stop,
        })
    }

    /// Writes the replacement. Returns where its query begins; the `?` is left out, except in a redirect, which keeps
    /// it. Groups of the match are encoded in queries and redirects, if the client encoded anything.
    fn write(&self, ex: &Exchange, redirect: bool, out: &mut Vec<u8>) -> Option<usize> {
        let encode = ex.path_was_encoded();
        let mut query = None;
        for part in self.to.parts() {
            match part {
                Part::Text(text) if redirect => out.extend_from_slice(text),
                Part::Text(text) => {
                    for (i, piece) in text.split(|byte| *byte == b'?').enumerate() {
                        if i > 0 {
                            query = Some(out.len());
                        }
                        out.extend_from_slice(piece);
                    }
                }
                Part::Var(Var::Capture(n)) if encode && (redirect || query.is_some()) => {
                    escape(ex.captures.borrow().get(*n), Escape::Args, out);
                }
                Part::Var(var) => write_var(var, ex, Sent::default(), out),
            }
        }
        query
    }
}

impl Return {
    fn response(&self, ex: &mut Exchange) -> Result<Response> {
        let status = self.status;
        let Some(text) = &self.text else {
            return Ok(match status {
                400.. => page::of_return(ex, status)?,
                301 | 302 | 303 | 307 | 308 => page::redirect(ex, status, b""),
                _ => fixed(ex, status, Vec::new()),
            });
        };
        // On an error page `$status` is the one that led to it.
        let text = text.value(ex, Sent { status: ex.error_status.unwrap_or(status), ..Sent::default() });
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(fixed(ex, status, text));
        }
        if !is_valid_value(&text) {
            return Err(Error::new(Kind::BadRequest(400), "the redirect's target has characters no header may have"));
        }
        Ok(page::redirect(ex, status, &text))
    }
}

/// An answer with a text, whose media type is that of a file of the request's name.
fn fixed(ex: &Exchange, status: u16, text: Vec<u8>) -> Response {
    let mut response = Response::new(status, Body::Full(text.into()));
    let content_type = ex.settings().get::<Arc<Types>>().of(&ex.request.path);
    if status != 204 && !content_type.is_empty() {
        response.headers.push(HeaderId::ContentType, content_type.as_bytes());
    }
    response.conditions = Some(IfModifiedSince::Exact);
    response
}
