//! Log lines to syslog: datagrams in the form of RFC 3164 (nginx: `access_log syslog:…`).
use crate::clock::zone;
use crate::observe::hostname;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{SystemTime, UNIX_EPOCH};

/// The port where none is given.
const PORT: u16 = 514;
/// Most characters of a tag.
const MAX_TAG: usize = 32;
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp",
    "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// Where lines go, and what is said of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Syslog {
    server: String,
    facility: usize,
    severity: usize,
    tag: String,
    hostname: bool,
}

impl Syslog {
    /// Reads `server=…,facility=…,tag=…,severity=…,nohostname`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut syslog =
            Self { server: String::new(), facility: 23, severity: 6, tag: "buchner".into(), hostname: true };
        for parameter in text.split(',') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let among = |words: &[&str]| {
                let at = words.iter().position(|word| *word == value);
                at.ok_or_else(|| format!("syslog: unknown {name} {value:?}"))
            };
            match name {
                "server" if syslog.server.is_empty() && !value.is_empty() => value.clone_into(&mut syslog.server),
                "facility" => syslog.facility = among(&FACILITIES)?,
                "severity" => syslog.severity = among(&SEVERITIES)?,
                "tag" if value.len() <= MAX_TAG && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                    value.clone_into(&mut syslog.tag);
                }
                "tag" => {
                    return Err(format!(
                        "syslog: the tag {value:?} has more than {MAX_TAG} characters, or others than letters, digits and _"
                    ));
                }
                "nohostname" => syslog.hostname = false,
                _ => return Err(format!("syslog: unknown parameter {parameter:?}")),
            }
        }
        if syslog.server.is_empty() {
            return Err("syslog: no server is given".into());
        }
        Ok(syslog)
    }

    /// Appends what stands before a message of now.
    fn write_head(&self, unix_seconds: u64, severity: Option<usize>, out: &mut Vec<u8>) {
        let now = zone::local(unix_seconds);
        let priority = self.facility * 8 + severity.unwrap_or(self.severity);
        let _ = write!(out, "<{priority}>{} ", now.strftime("%b %e %H:%M:%S"));
        if self.hostname {
            let _ = write!(out, "{} ", hostname());
        }
        let _ = write!(out, "{}: ", self.tag);
    }
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Sends lines; opens its socket when first needed, and anew after a failure.
pub struct Sender {
    syslog: Syslog,
    socket: Option<Socket>,
}

impl Sender {
    /// A sender.
    pub fn new(syslog: Syslog) -> Self {
        Self { syslog, socket: None }
    }

    /// Sends one line, without its end; `severity`: that of the line where it has one of its own.
    pub fn send(&mut self, line: &[u8], severity: Option<usize>) -> io::Result<()> {
        let mut message = Vec::with_capacity(line.len() + 64);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.syslog.write_head(seconds, severity, &mut message);
        message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.syslog.server)?,
        };
        match &socket {
            Socket::Udp(udp) => udp.send(&message)?,
            Socket::Unix(unix) => unix.send(&message)?,
        };
        self.socket = Some(socket);
        Ok(())
    }
}

fn connect(server: &str) -> io::Result<Socket> {
    if let Some(path) = server.strip_prefix("unix:") {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        return Ok(Socket::Unix(socket));
    }
    let has_port = server.rfind(':').is_some_and(|at| !server[at..].contains(']'));
    let address = if has_port { server.to_owned() } else { format!("{server}:{PORT}") };
    let address = address.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other(format!("{server} has no address")))?;
    let any = if address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(Socket::Udp(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_as_nginx_has_them() {
        let mut out = Vec::new();
        let syslog = Syslog::parse("server=127.0.0.1,facility=local0,severity=debug,tag=web,nohostname").unwrap();
        syslog.write_head(1_000_000_000, None, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "<135>Sep  9 01:46:40 web: ");
    }

    #[test]
    fn a_target_without_a_server_or_with_an_unknown_parameter_is_refused() {
        for text in
            ["", "facility=local0", "server=a,facility=x", "server=a,severity=x", "server=a,tag=a-b", "server=a,x"]
        {
            assert!(Syslog::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_are_datagrams() {
        let inbox = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = inbox.local_addr().unwrap();
        let mut sender = Sender::new(Syslog::parse(&format!("server={server},tag=t")).unwrap());
        sender.send(b"one\n", None).unwrap();
        let mut buffer = [0; 256];
        let n = inbox.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        assert!(text.starts_with("<190>") && text.ends_with(&format!(" {} t: one", hostname())), "{text}");
    }
}
