//! What can go wrong with a request: kind, whose side, whether to try again, and the cause in words.
//! [`crate::page`] turns an [`Error`] into a response; nothing else does.
use std::borrow::Cow;
use std::fmt;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client sent something wrong, or left.
    Client,
    /// The upstream or the app failed.
    Upstream,
    /// The gateway could not do its part.
    Gateway,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed; the status says how (400, 414, 431, 501, 505).
    BadRequest(u16),
    /// No head, or no body, in time (408).
    ClientTimeout,
    /// The body is larger than the limit (413).
    BodyTooLarge,
    /// The client closed the connection; nobody is there to answer (499 in the log, as nginx has it).
    ClientGone,
    /// Nothing answers this path (404).
    NotFound,
    /// The file exists and may not be read, or the path is not allowed (403).
    Forbidden,
    /// The method is not allowed here (405).
    MethodNotAllowed,
    /// An `Expect` that is not `100-continue` (417).
    ExpectationFailed,
    /// More than the permitted internal redirects (500).
    RedirectCycle,
    /// No connection to the upstream (502); nothing was sent.
    UpstreamConnect,
    /// The upstream did not accept the connection in time (504); nothing was sent.
    UpstreamConnectTimeout,
    /// The upstream closed or reset the connection before it answered (502).
    UpstreamClosed,
    /// The upstream sent something that is not HTTP (502).
    UpstreamInvalid,
    /// The upstream did not answer in time (504).
    UpstreamTimeout,
    /// Every server of the upstream is down or resting (502).
    NoUpstream,
    /// No worker is there to run the app (503).
    NoWorker,
    /// The queue for the app is full (503 with Retry-After).
    QueueFull,
    /// The request waited too long for a slot (503 with Retry-After).
    QueueTimeout,
    /// No descriptor or memory is left for this request (503 with Retry-After).
    Exhausted,
    /// The app did not answer in time (504).
    AppTimeout,
    /// The worker died while it ran the request (502).
    WorkerDied,
    /// The worker's answer broke the protocol (502).
    WorkerInvalid,
    /// No room to buffer a body (507).
    SpoolFull,
    /// Something inside failed (500).
    Internal,
    /// Close the connection without an answer (nginx's 444); the status is for the log.
    Close(u16),
}

impl Kind {
    /// The status sent to the client.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest(status) | Self::Close(status) => status,
            Self::ClientTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::ClientGone => 499,
            Self::NotFound => 404,
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::ExpectationFailed => 417,
            Self::RedirectCycle | Self::Internal => 500,
            Self::UpstreamConnect
            | Self::UpstreamClosed
            | Self::UpstreamInvalid
            | Self::NoUpstream
            | Self::WorkerDied
            | Self::WorkerInvalid => 502,
            Self::NoWorker | Self::QueueFull | Self::QueueTimeout | Self::Exhausted => 503,
            Self::UpstreamConnectTimeout | Self::UpstreamTimeout | Self::AppTimeout => 504,
            Self::SpoolFull => 507,
        }
    }

    /// Whose fault it is.
    pub fn side(self) -> Side {
        match self {
            Self::BadRequest(_)
            | Self::ClientTimeout
            | Self::BodyTooLarge
            | Self::ClientGone
            | Self::NotFound
            | Self::Forbidden
            | Self::MethodNotAllowed
            | Self::ExpectationFailed => Side::Client,
            Self::UpstreamConnect
            | Self::UpstreamConnectTimeout
            | Self::UpstreamClosed
            | Self::UpstreamInvalid
            | Self::UpstreamTimeout
            | Self::NoUpstream
            | Self::AppTimeout
            | Self::WorkerDied
            | Self::WorkerInvalid => Side::Upstream,
            Self::RedirectCycle
            | Self::NoWorker
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Exhausted
            | Self::SpoolFull
            | Self::Internal
            | Self::Close(_) => Side::Gateway,
        }
    }

    /// Nothing reached the other side, so any method may be tried elsewhere.
    pub fn nothing_sent(self) -> bool {
        matches!(self, Self::UpstreamConnect | Self::UpstreamConnectTimeout)
    }
}

/// A failed request.
#[derive(Debug)]
pub struct Error {
    /// What failed.
    pub kind: Kind,
    /// The cause, in words for the log and for development pages.
    pub cause: Cow<'static, str>,
    /// The connection cannot be used for another request (its framing is lost).
    pub close: bool,
}

/// The result of everything on the request's path.
pub type Result<T> = std::result::Result<T, Error>;

/// How the limit on bodies is raised; ends the cause of a 413.
pub const RAISE_LIMIT: &str =
    ": raise max_body if larger ones are wanted (nginx: client_max_body_size; buchner serve --max-body)";

impl Error {
    /// A failure with its cause.
    pub fn new(kind: Kind, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, cause: cause.into(), close: false }
    }

    /// The same, after which the client's connection is closed.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The client closed its connection.
    pub fn client_gone() -> Self {
        Self::new(Kind::ClientGone, "the client closed the connection").closing()
    }
}

impl From<buchner_wire::h1::H1Error> for Error {
    fn from(error: buchner_wire::h1::H1Error) -> Self {
        let status = error.status;
        Self::new(Kind::BadRequest(status), error.to_string()).closing()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Error {}
