"""What to serve and how, when there is no configuration file: from flags, the environment or the Python API."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buchner.config import load_dict
from buchner.errors import ConfigError
from buchner.supervisor.listeners import normal, passed_addresses, split

if TYPE_CHECKING:
    from buchner.certificates.authority import Authority
    from buchner.config import Loaded

DEFAULT_BIND = "127.0.0.1:8000"
DOMAIN_BIND = ("0.0.0.0:443 tls", "0.0.0.0:80")


@dataclass
class Serving:
    """One app on some addresses; None leaves a setting at its default (docs of gateway.toml)."""

    target: str
    bind: list[str] = field(default_factory=list)
    """Addresses; when empty 0.0.0.0:$PORT where PORT is set, the sockets systemd passed, or 127.0.0.1:8000."""
    workers: int | None = None
    threads: int | None = None
    preload: bool = False
    timeout: float | None = None
    """Seconds an app has to begin its answer."""
    shutdown_timeout: float | None = None
    start_timeout: float | None = None
    max_requests: int | None = None
    max_age: str | float | None = None
    max_rss: str | int | None = None
    max_body: str | int | None = None
    request_buffering: bool | None = None
    spool_dir: str | None = None
    spool_max: str | int | None = None
    waf: str | None = None
    """`detect` or `block`: what the Core Rule Set finds is logged, or blocked."""
    crs: str | None = None
    """Directory of the Core Rule Set."""
    io_threads: int | None = None
    trusted_proxies: list[str] = field(default_factory=list)
    log_format: str | None = None
    access_log: str | None = None
    """File, `-` for standard output (the default), or `off`."""
    error_log: str | None = None
    user: str | None = None
    group: str | None = None
    pid_file: str | None = None
    mount: str | None = None
    chdir: str | None = None
    development: bool = False
    static: bool = True
    static_precompressed: bool = False
    cert: str | None = None
    """File with a certificate and its chain, PEM: the addresses speak TLS."""
    key: str | None = None
    """File with its key; None: it is in the certificate's file."""
    tls: bool = False
    """The addresses speak TLS with a certificate of this machine's own authority, for development."""
    domains: list[str] = field(default_factory=list)
    """Names to have a certificate issued for: 443 speaks TLS, and 80 redirects there once there is one."""
    email: str | None = None
    """Contact of the account with the certificate authority."""
    authority: str | None = None
    """The authority, see `[acme]`."""
    env: dict[str, str] = field(default_factory=dict)
    origin: str = "command line"
    """What messages call the place these settings come from."""

    def addresses(self) -> list[str]:
        """The addresses to listen on, in full."""
        if self.bind:
            return [normal(text) for text in self.bind]
        if passed := passed_addresses():
            return passed
        port = os.environ.get("PORT", "")
        if port:
            if not port.isdigit():
                raise ConfigError(f'the environment variable PORT is "{port}"; it must be a number')
            return [f"0.0.0.0:{port}"]
        return [DEFAULT_BIND]

    def document(self) -> dict[str, Any]:
        """The same as a gateway.toml would say it."""
        env = dict(self.env)
        if self.development:
            env.setdefault("FLASK_DEBUG", "1")
        app = {
            "target": self.target,
            "workers": self.workers,
            "threads": self.threads,
            "preload": self.preload or None,
            "start_timeout": self.start_timeout,
            "max_requests": self.max_requests,
            "max_age": self.max_age,
            "max_rss": self.max_rss,
            "chdir": self.chdir,
            "static": None if self.static else False,
            "static_precompressed": self.static_precompressed or None,
            "env": env or None,
        }
        gateway = {
            "io_threads": self.io_threads,
            "trusted_proxies": self.trusted_proxies or None,
            "shutdown_timeout": self.shutdown_timeout,
            "development": self.development or None,
            "user": self.user,
            "group": self.group,
            "pid_file": os.path.abspath(self.pid_file) if self.pid_file else None,
            "error_log": self.error_log,
            "spool_dir": self.spool_dir,
            "spool_max": self.spool_max,
        }
        root = {
            "app_timeout": self.timeout,
            "max_body": self.max_body,
            "request_buffering": self.request_buffering,
            "access_log": self._access_log(),
            "waf": self.waf,
            "crs": os.path.abspath(self.crs) if self.crs else None,
        }
        mount = "/" + self.mount.strip("/") if self.mount and self.mount.strip("/") else ""
        route: dict[str, Any] = {"path": f"{mount}/", "app": True}
        if mount:
            route["app"] = {"pool": "app", "mount": mount}
        document = {
            "gateway": _given(gateway),
            "app": _given(app),
            "server": self._for_domains(route) if self.domains else [self._server(route)],
            "acme": _given({"email": self.email, "authority": self.authority}),
            **_given(root),
        }
        return {name: value for name, value in document.items() if value != {}}

    def _server(self, route: dict[str, Any]) -> dict[str, Any]:
        if self.tls and self.cert:
            raise ConfigError("--tls makes a certificate, and --cert names one: give one of the two")
        if self.key and not self.cert:
            raise ConfigError("--key names the key of a certificate: give --cert as well")
        addresses = self.addresses()
        if self.tls:
            live = self._certified(addresses)
            tls = {"certificate": str(live / "fullchain.pem"), "key": str(live / "privkey.pem")}
        elif self.cert:
            tls = _given({"certificate": os.path.abspath(self.cert), "key": self.key and os.path.abspath(self.key)})
        else:
            return {"listen": addresses, "route": [route]}
        return {"listen": [f"{address} tls" for address in addresses], "tls": tls, "route": [route]}

    def _for_domains(self, route: dict[str, Any]) -> list[dict[str, Any]]:
        """A server with certificates that are issued, and one that redirects to it once they are.

        A self-signed certificate is served until then, and nobody is redirected to that.
        """
        if self.tls or self.cert:
            raise ConfigError("--domain has a certificate issued: --tls and --cert do not go with it")
        secure: list[str] = []
        clear: list[str] = []
        for text in self.bind or DOMAIN_BIND:
            address, *options = text.split()
            if options not in ([], ["tls"]):
                raise ConfigError(f'"{text}" is no address of --domain: "443 tls" and "80" are')
            (secure if options else clear).append(normal(address))
        if not secure:
            raise ConfigError('--domain needs an address that speaks TLS: --bind "443 tls" --bind 80')
        tls = {"acme": True}
        listen = [f"{address} tls" for address in secure]
        servers: list[dict[str, Any]] = [{"listen": listen, "names": self.domains, "tls": tls, "route": [route]}]
        if clear:
            port = "" if any(address.endswith(":443") for address in secure) else f":{split(secure[0])[1]}"
            to = {"status": 308, "to": f"https://$host{port}$request_uri"}
            routes = [{"path": "/", "redirect": to}] if _is_issued(self.domains[0]) else [route]
            servers.append({"listen": clear, "names": self.domains, "route": routes})
        return servers

    def _certified(self, addresses: list[str]) -> Path:
        """The directory of a certificate for localhost and the addresses, issued by this machine's own authority."""
        authority = _authority()
        hosts = [split(address)[0] for address in addresses if not address.startswith("unix:")]
        authority.issue(host for host in hosts if host not in ("0.0.0.0", "::"))
        return authority.root_file.parent.parent / "localhost"

    def trust(self) -> str:
        """How clients come to trust a certificate that was made for them; empty if none was."""
        if not self.tls:
            return ""
        root = _authority().root_file
        return f"its certificate is by this machine's own authority: curl --cacert {root}; browsers: buchner cert local"

    def _access_log(self) -> Any:
        if self.access_log == "off":
            return False
        return _given({"path": self.access_log or "-", "format": self.log_format})

    def load(self) -> Loaded:
        """Check and resolve.

        Raises:
            ConfigError: Something cannot be used.
        """
        return load_dict(self.document(), self.origin, os.getcwd())


def _is_issued(domain: str) -> bool:
    from buchner.certificates.names import normalise
    from buchner.certificates.storage import default_directory, file_name

    return (default_directory() / "live" / file_name(normalise(domain)) / "fullchain.pem").exists()


def _authority() -> Authority:
    from buchner.certificates.authority import Authority
    from buchner.certificates.storage import Storage

    return Authority(Storage())


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
