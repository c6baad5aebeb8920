//! One request from its head to its line in the access log, whatever version it came in.
use crate::error::{Error, Kind};
use crate::exchange::{Exchange, Unsent};
use crate::http::head::Head;
use crate::http::refuse::refuse;
use crate::http::request;
use crate::http::send::{self, Written};
use crate::http::transaction::Transaction;
use crate::observe::access_log;
use crate::observe::level::Level;
use crate::pipeline;
use crate::settings::connection;
use crate::vars::Sent;
use crate::waf;
use buchner_wire::Version;
use buchner_wire::headers::Headers;
use std::cell::Cell;
use std::rc::Rc;

/// Serves a request whose head has been read.
pub(crate) async fn serve_request<T: Transaction>(transaction: &mut T, head: Head) -> T::Next {
    let connection = transaction.connection();
    connection.count();
    let thread = connection.thread().clone();
    thread.metrics.begun.add(1);
    let _writing = thread.metrics.writing.hold();
    let mut ex = match request::exchange(connection, head, |timeout_ms| transaction.body(timeout_ms)) {
        Ok(ex) => ex,
        Err(refusal) => {
            refuse(transaction, &refusal).await;
            return transaction.refused();
        }
    };
    transaction.begun();
    if ex.scope.wants.socket {
        ex.socket = transaction.sock();
    }
    let version = ex.request.version;
    let patience = ex.scope.wants.keep_running.then(Rc::<Cell<bool>>::default);
    ex.patience.clone_from(&patience);
    if version.has_interim() && ex.scope.wants.early_hints {
        ex.interim = transaction.interim();
    }
    let response = tokio::select! {
        biased;
        response = pipeline::run(&mut ex) => Some(response),
        () = left(transaction, version, patience) => None,
    };
    ex.thread.clock.tick();
    let Some(response) = response else {
        log(&ex, Error::client_gone().kind.status(), &Headers::default(), &Written::default(), false);
        return transaction.drop_unsent(false);
    };
    if let Some(why) = response.unsent {
        log(&ex, response.status, &response.headers, &Written::default(), false);
        let reset = ex.settings().get::<connection::Settings>().reset_timedout_connection;
        return transaction.drop_unsent(why == Unsent::Closed && reset);
    }
    let status = response.status;
    let (headers, written, sent) = send::response(transaction, &ex, response).await;
    log(&ex, status, &headers, &written, sent.is_ok());
    if let Err(error) = &sent {
        log_break(&ex, status, error, transaction.expired());
    }
    transaction.done(&ex, &written, sent).await
}

/// A client that leaves while its request is served has nobody left to respond to, so the work for it ends. Where `patience` says
/// so by then, it goes on without the client.
async fn left<T: Transaction>(transaction: &T, version: Version, patience: Option<Rc<Cell<bool>>>) {
    transaction.left(version).await;
    if patience.is_some_and(|patience| patience.get()) {
        std::future::pending::<()>().await;
    }
}

/// The access log's line, and the error log's where something failed.
fn log(ex: &Exchange, status: u16, headers: &Headers, written: &Written, complete: bool) {
    let sent = Sent {
        status,
        body_bytes: written.body,
        bytes: written.total,
        complete,
        headers: Some(headers),
        trailers: Some(&written.trailers),
    };
    ex.thread.metrics.request(status);
    waf::end(ex);
    access_log::write(ex, sent);
    if let Some(cause) = ex.failure.as_ref().filter(|_| status >= 500 || status == 408 || status == 413) {
        ex.log_error(&format!("{status}: {cause}"));
    }
}

/// The error log's line of a response that could not be sent whole.
fn log_break(ex: &Exchange, status: u16, error: &Error, expired: bool) {
    if error.kind != Kind::ClientGone {
        ex.log_error(&format!("{status}: the response broke off: {error}"));
    } else if expired {
        ex.log(Level::Info, &format!("{status}: the client did not take the response in time (send_timeout)"));
    }
}
