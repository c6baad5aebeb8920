//! The TLS handshake of a connection that was accepted: the name it asks for decides on whose terms it is done.
use crate::exchange::Secure;
use crate::http;
use crate::http::port::{Arrival, Port, Security};
use crate::http::service::Service;
use crate::io::stream::Io;
use crate::io::tls::engine::{Engine, Side};
use crate::io::tls::session::Session;
use crate::listen::shaking::{Shaking, Under};
use crate::observe::level::Level;
use crate::plan::{Listener, Plan};
use crate::tls::client::Verdict;
use crate::tls::policy::Policy;
use crate::tls::suites;
use buchner_wire::client_hello::{self, ClientHello};
use bytes::BytesMut;
use rustls::server::UnbufferedServerConnection;
use rustls::{HandshakeKind, ProtocolVersion};
use std::rc::Rc;

/// Bytes read at a time of the client's first message.
const HELLO: usize = 4 << 10;
/// The kind of record that a handshake begins with.
const HANDSHAKE: u8 = 22;
/// A fatal alert: the name is not served here (RFC 6066 section 3).
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// Why there is no session.
enum Failure {
    /// The client left, or let its time pass: nobody has to be told.
    Gone,
    /// What went wrong, for the log.
    Broken(String),
}

/// Serves a connection behind its handshake, or behind none where the listener asks for none.
pub(super) async fn serve(mut io: Io, thread: Rc<Service>, port: Rc<Port>, mut arrival: Arrival) {
    let plan = port.plan(|| thread.plan());
    let listener = port.listener(&plan, arrival.local);
    if listener.tls.is_some() {
        io.deadline(listener.head.header_timeout.0);
        if begins_encrypted(&io).await {
            match encrypt(&mut io, &thread, &plan, listener).await {
                Ok(secure) => arrival.security = Security::Tls(Rc::new(secure)),
                Err(failure) => return tell(&io, &thread, &port, &arrival, &failure),
            }
        } else {
            arrival.security = Security::Missing;
        }
        io.no_deadline();
    }
    drop(plan);
    http::serve(io, thread, port, arrival).await;
}

/// The first byte is that of a handshake. What else there is, its end included, is for whoever reads clear text.
async fn begins_encrypted(io: &Io) -> bool {
    let mut first = [0];
    loop {
        match io.sock().readable_or_ended().await {
            Err(_) | Ok(true) => return matches!(io.sock().peek(&mut first), Ok(1)) && first == [HANDSHAKE],
            Ok(false) if matches!(io.sock().peek(&mut first), Ok(1)) => return first == [HANDSHAKE],
            Ok(false) => io.sock().forget_readiness(),
        }
    }
}

/// Does the handshake: from here on the stream is encrypted.
async fn encrypt(io: &mut Io, thread: &Service, plan: &Plan, listener: &Listener) -> Result<Secure, Failure> {
    let _under = begin(io, thread, plan);
    let (hello, read) = read_hello(io).await?;
    let name = hello.server_name.as_deref().unwrap_or_default();
    let server = listener.names.find(name.as_bytes()).map_or(listener.default_server, |(server, _)| server);
    let Some((policy, config)) = listener.tls.as_ref().and_then(|tls| tls.find(server)) else {
        return Err(Failure::Broken("no server here has a certificate".to_owned()));
    };
    if policy.rejects {
        let _ = io.stream.try_send(UNRECOGNIZED_NAME);
        return Err(Failure::Broken(format!("the name \"{name}\" is refused (reject_handshake)")));
    }
    let connection = UnbufferedServerConnection::new(config.clone()).map_err(|e| Failure::Broken(e.to_string()))?;
    let engine = Engine::new(Side::Server(Box::new(connection)));
    let session = Session::new(thread, io.sock().clone(), engine);
    session.handshake(read).await.map_err(|error| match error.get_ref() {
        Some(cause) => Failure::Broken(cause.to_string()),
        None => Failure::Gone,
    })?;
    let keeps = plan.scope.wants.hello;
    let secure = session.with_engine(|engine| agreed(engine, policy, hello, keeps));
    io.encrypt(session);
    Ok(secure)
}

/// Counts a handshake until it is over.
fn begin(io: &Io, thread: &Service, plan: &Plan) -> Under {
    let gateway = &plan.scope.gateway;
    let most = gateway.max_handshakes.div_ceil(gateway.io_threads.max(1)) as usize;
    let (under, tell) = thread.rooms.get::<Shaking>().begin(io.sock(), most, thread.clock.now());
    if tell {
        let most = gateway.max_handshakes;
        thread.log.warn(&format!(
            "more than {most} TLS handshakes at a time (max_handshakes): those that have lasted longest are given up"
        ));
    }
    under
}

/// Reads the client's first message; the bytes of it are for the session.
async fn read_hello(io: &Io) -> Result<(ClientHello, BytesMut), Failure> {
    let mut read = BytesMut::new();
    loop {
        if io.read(&mut read, HELLO).await.map_err(|_| Failure::Gone)? == 0 {
            return Err(Failure::Gone);
        }
        match client_hello::parse(&read) {
            Ok(Some(hello)) => return Ok((hello, read)),
            Ok(None) => {}
            Err(_) => return Err(Failure::Broken("its first message is no ClientHello of TLS".to_owned())),
        }
    }
}

/// What the two ends agreed on.
fn agreed(engine: &Engine, policy: &Policy, hello: ClientHello, keeps_hello: bool) -> Secure {
    let state = engine.state();
    let chain = state.peer_certificates().unwrap_or_default();
    let verdict = policy.verification.as_ref().map(|verification| (verification, verification.verdict(chain)));
    Secure {
        protocol: if state.protocol_version() == Some(ProtocolVersion::TLSv1_2) { "TLSv1.2" } else { "TLSv1.3" },
        cipher: state.negotiated_cipher_suite().map_or("", |suite| suites::name(suite.suite())),
        group: state.negotiated_key_exchange_group().map_or("", |group| suites::group_name(group.name())),
        alpn: state.alpn_protocol().unwrap_or_default().into(),
        reused: state.handshake_kind() == Some(HandshakeKind::Resumed),
        terms: policy.terms,
        server_name: hello.server_name.as_deref().map(Into::into),
        hello: keeps_hello.then(|| Box::new(hello)),
        self_signed: policy.self_signed,
        certificate: chain.first().map(|own| own.as_ref().into()),
        verify: match &verdict {
            None => Box::default(),
            Some((_, Verdict::None)) => "NONE".into(),
            Some((_, Verdict::Success)) => "SUCCESS".into(),
            Some((_, Verdict::Failed(why))) => format!("FAILED:{why}").into(),
        },
        refused: verdict.and_then(|(verification, verdict)| verification.refusal(&verdict)),
    }
}

/// A handshake that failed is the client's business: it is told on a level that is off unless somebody looks for it.
fn tell(io: &Io, thread: &Service, port: &Port, arrival: &Arrival, failure: &Failure) {
    let cause = match failure {
        Failure::Broken(cause) => cause.as_str(),
        Failure::Gone if io.expired() => "it took longer than header_timeout",
        Failure::Gone => return,
    };
    thread.metrics.bad_heads.add(1);
    let (client, address) = (arrival.peer, &port.address);
    thread.log.say(Level::Info, &format!("TLS handshake failed: {cause}, client: {client}, server: {address}"));
}
