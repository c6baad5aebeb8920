//! Copies of requests (nginx: mirror): a subrequest for each URI, whose answer nobody waits for.
use crate::body::RequestBody;
use crate::body::spool;
use crate::body::spool::Buffered;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::subrequest;

/// Sends the copies that the settings ask for, behind the request's body where that goes along.
pub async fn send(ex: &mut Exchange) -> Result<()> {
    let settings = ex.settings();
    if settings.mirror.is_empty() || !ex.is_main() {
        return Ok(());
    }
    if settings.mirror_request_body && !ex.request.body.is_empty() {
        let memory = settings.buffer_memory.0;
        spool::read(ex, memory).await?;
    }
    for uri in &ex.settings().mirror {
        let body = match &ex.request.body {
            RequestBody::Buffered(buffered) if ex.settings().mirror_request_body => {
                RequestBody::Buffered(copy(buffered))
            }
            _ => RequestBody::Empty,
        };
        let mut child = subrequest::make(ex, uri.as_bytes(), ex.request.method.clone(), body)?;
        tokio::task::spawn_local(async move {
            let response = subrequest::run(&mut child).await;
            subrequest::discard(response).await;
        });
    }
    Ok(())
}

fn copy(body: &Buffered) -> Buffered {
    match body {
        Buffered::Memory(bytes) => Buffered::Memory(bytes.clone()),
        Buffered::File(file) => Buffered::File(file.share()),
    }
}
