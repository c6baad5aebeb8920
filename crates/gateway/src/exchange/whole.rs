//! Request bodies that are read whole before a backend sees them.
use crate::body::RequestBody;
use crate::body::spool::{buffer, into_file};
use crate::error::Result;
use crate::exchange::Exchange;
use crate::settings::buffering::{self, BodyFile};
use buchner_wire::headers::HeaderId;
use std::path::Path;

/// Reads a request's body whole, as its settings have it: into memory, or into a file.
pub async fn read(ex: &mut Exchange, memory: u64) -> Result<()> {
    if matches!(ex.request.body, RequestBody::Empty) && !ex.request.headers.contains(HeaderId::ContentLength) {
        return Ok(());
    }
    let spool = ex.scope.spool.clone();
    let settings = ex.settings().get::<buffering::Settings>();
    let stays = match settings.request_body_file {
        BodyFile::Off => return buffer(&mut ex.request.body, memory, &spool).await,
        BodyFile::On => true,
        BodyFile::Clean => false,
    };
    // An empty body has a file where the client says that it is one, as in nginx.
    let there = match &ex.request.body {
        RequestBody::Empty => ex.request.headers.contains(HeaderId::ContentLength),
        RequestBody::Stream(_) => true,
        RequestBody::Buffered(_) => false,
    };
    if there {
        let file = spool.create_named(settings.request_body_dir.as_deref().map(Path::new))?;
        into_file(&mut ex.request.body, file, stays).await?;
    }
    Ok(())
}
