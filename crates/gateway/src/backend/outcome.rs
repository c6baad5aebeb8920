//! What a backend made of a request.
use crate::exchange::Response;

/// What a backend made of a request.
pub enum Outcome {
    /// An answer.
    Respond(Response),
    /// An internal redirect to this URI or named route (fallback, X-Accel-Redirect).
    Redirect(Vec<u8>),
    /// The location phase again, for the path that the backend gave the request (index, X-Accel-Redirect).
    Locate,
}
