"""What Python owns of the configuration: app workers, the process, and the result of loading.

The data plane's settings are Rust structs (``crates/gateway/src/config``). The structs here are written once more
nowhere: ``make gen`` merges their schema with Rust's into ``schema/gateway.schema.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.config.sockets import SocketOptions
    from buchner.config.tls import PolicyFiles
    from buchner.errors import Problem

Seconds = Annotated[float, Meta(ge=0, extra_json_schema={"x-unit": "time"})]
"""A span of time, in seconds here; in gateway.toml a number or a string with a unit."""

Bytes = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "size"})]
"""A number of bytes; in gateway.toml a number or a string with a unit."""

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


def _doc(text: str) -> Meta:
    return Meta(description=text)


class AppSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A WSGI app and the worker processes that run it."""

    target: Annotated[
        str | None,
        _doc("The app, `module:app` or `module:factory()`. Default: found as `flask run` does (app.py, wsgi.py)."),
    ] = None
    workers: Annotated[Positive | None, _doc("Worker processes. Default: one per core the process may use.")] = None
    threads: Annotated[
        Positive | None,
        _doc(
            "Threads of a worker, each serving one request at a time. "
            "Default: 2; 1 where gevent or eventlet has patched the app."
        ),
    ] = None
    preload: Annotated[
        bool, _doc("Import the app once in a parent that workers are forked from, sharing memory. Default: false.")
    ] = False
    user: Annotated[str | None, _doc("User the workers run as. Default: the gateway's.")] = None
    group: Annotated[str | None, _doc("Group the workers run as. Default: the user's own.")] = None
    chdir: Annotated[str | None, _doc("Working directory of the workers. Default: that of the file.")] = None
    pythonpath: Annotated[list[str], _doc("Directories put before `sys.path`. Default: `chdir`.")] = []
    env: Annotated[dict[str, str], _doc("Environment variables of the workers. Default: none added.")] = {}
    max_requests: Annotated[
        Count, _doc("Requests after which a worker is replaced, the new one first. Default: 0, never.")
    ] = 0
    max_age: Annotated[Seconds, _doc("Age at which a worker is replaced. Default: 0, never.")] = 0.0
    max_rss: Annotated[Bytes, _doc("Resident memory at which a worker is replaced. Default: 0, never.")] = 0
    max_detached: Annotated[
        Count, _doc("Long-lived answers (WebSocket, server-sent events) of a worker beside its threads. Default: 1000.")
    ] = 1000
    heartbeat: Annotated[
        Seconds | None,
        _doc(
            "Time after which a worker whose interpreter does not run (it is stopped, or C code holds it) is killed "
            "and replaced; its stacks go to the log. Default: the longest `app_timeout`; 0: never."
        ),
    ] = None
    start_timeout: Annotated[Seconds, _doc("Time a worker has to import the app. Default: 60 s.")] = 60.0
    stop_timeout: Annotated[
        Seconds, _doc("Time a worker that is being replaced has to finish requests; then it is killed. Default: 30 s.")
    ] = 30.0
    static: Annotated[
        bool, _doc("Serve the app's static folders without the app, unless it guards them. Default: true.")
    ] = True
    static_precompressed: Annotated[
        bool,
        _doc("Send `.br`, `.zst` and `.gz` siblings of static files that are not older than the file. Default: false."),
    ] = False


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the process tree, obeyed by the supervisor. In gateway.toml they stand in `[gateway]`."""

    user: Annotated[str | None, _doc("User to become once the addresses are bound (nginx: user). Default: none.")] = (
        None
    )
    group: Annotated[str | None, _doc("Group to become. Default: the user's own.")] = None
    pid_file: Annotated[
        str | None, _doc("File the supervisor's process id is written to (nginx: pid). Default: none.")
    ] = None
    error_log: Annotated[
        str, _doc("File for messages, or `-` for standard error (nginx: error_log). Default: `-`.")
    ] = "-"
    daemon: Annotated[
        bool, _doc("Go to the background once the start has succeeded (nginx: daemon). Default: false.")
    ] = False
    open_files: Annotated[
        Count,
        _doc(
            "Files and connections the gateway process may have open at once (nginx: worker_rlimit_nofile). "
            "Default: 0, as many as are allowed."
        ),
    ] = 0
    shutdown_timeout: Annotated[
        Seconds, _doc("How long a stopping gateway waits for requests to finish. Default: 30 s.")
    ] = 30.0


class CrsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of the firewall: the OWASP Core Rule Set, and what is added to it."""

    path: Annotated[
        str | None,
        _doc("Directory of the Core Rule Set. Default: where `buchner waf install` or a package of the system put it."),
    ] = None
    paranoia: Annotated[
        Annotated[int, Meta(ge=1, le=4)] | None, _doc("Paranoia level, 1 to 4. Default: that of crs-setup.conf, 1.")
    ] = None
    inbound_threshold: Annotated[
        Positive | None,
        _doc("Score from which a request is blocked; a critical finding counts 5. Default: that of crs-setup.conf, 5."),
    ] = None
    outbound_threshold: Annotated[
        Positive | None, _doc("Score from which a response is blocked. Default: that of crs-setup.conf, 4.")
    ] = None
    sampling: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, _doc("Percent of requests that are looked at. Default: 100.")
    ] = None
    before: Annotated[list[str], _doc("Files with rules that come before, such as exclusions. Default: none.")] = []
    after: Annotated[
        list[str], _doc("Files with rules that come after, such as `SecRuleRemoveById`. Default: none.")
    ] = []
    response_bodies: Annotated[
        bool,
        _doc(
            "Bodies of text, HTML, XML and JSON are looked at, up to 512 KiB, and held until then where they may be "
            "blocked. Default: true."
        ),
    ] = True


class AcmeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom certificates are had from, for servers with `acme = true` in their `tls` (RFC 8555)."""

    authority: Annotated[
        str,
        _doc(
            "The certificate authority: letsencrypt, letsencrypt-staging, zerossl, google, or the URL of an ACME "
            "directory. Its terms of service are agreed to. Default: letsencrypt."
        ),
    ] = "letsencrypt"
    email: Annotated[str | None, _doc("Contact of the account; some authorities demand one. Default: none.")] = None
    eab_kid: Annotated[
        str | None, _doc("Key identifier of an external account binding (ZeroSSL, Google). Default: none.")
    ] = None
    eab_key: Annotated[str | None, _doc("Key of that binding, base64url. Default: none.")] = None
    profile: Annotated[
        str | None, _doc("Profile of the authority's, such as `shortlived`. Default: the authority's own choice.")
    ] = None
    roots: Annotated[str | None, _doc("File with roots for the authority's own HTTPS. Default: the public ones.")] = (
        None
    )
    key_type: Annotated[
        Literal["p256", "p384", "rsa2048", "rsa4096"], _doc("Kind of the certificates' keys. Default: p256.")
    ] = "p256"
    challenges: Annotated[
        list[str],
        _doc("Challenges that may be used, best first. Default: http-01, and dns-01 where `dns` is set."),
    ] = []
    dns: Annotated[
        str | None, _doc("Provider for dns-01: hook, rfc2136, or the name of a package's. Default: none.")
    ] = None
    dns_options: Annotated[
        dict[str, str], _doc("Settings of the provider, see docs/certificates.md. Default: none.")
    ] = {}
    directory: Annotated[
        str | None,
        _doc(
            "Directory the certificates are kept in. Default: $BUCHNER_CERTIFICATES, else as docs/certificates.md says."
        ),
    ] = None

    def __repr__(self) -> str:
        """Leave out the keys."""
        return f"AcmeSettings({self.authority!r})"


class KeptCertificates(msgspec.Struct, frozen=True):
    """The certificates that are to be issued and renewed.

    Args:
        directory: Where they are kept.
        settings: Whom they are had from.
        names: What each is for; the first name is what it is called.
    """

    directory: str
    settings: AcmeSettings
    names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, checked and resolved.

    Args:
        plan: what the gateway process takes, the JSON of ``config::Config`` in crates/gateway/src/config.
        app: how to run the workers of each pool in ``plan["app"]``.
        process: settings of the process tree.
        listen: addresses to bind, in the order of ``plan["listen"]``: ``host:port``, ``[v6]:port``, ``unix:/path``.
        sockets: how the sockets of addresses are opened, where that was said.
        encrypted: those of the addresses that have TLS.
        policies: the files of each of ``plan["tls"]``.
        terms: the files of each of ``plan["upstream_tls"]``.
        kept: the certificates that are issued and renewed here.
        standing_in: those of them that there are none of yet, so that a self-signed one is served.
        warnings: what is odd but works.
        files: the files read, the main one first; empty for a dict.
    """

    plan: dict[str, Any]
    app: dict[str, AppSettings]
    process: ProcessSettings
    listen: list[str]
    sockets: dict[str, SocketOptions] = field(default_factory=dict)
    encrypted: frozenset[str] = frozenset()
    policies: list[PolicyFiles] = field(default_factory=list)
    terms: list[PolicyFiles] = field(default_factory=list)
    kept: KeptCertificates | None = None
    standing_in: frozenset[str] = frozenset()
    warnings: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def files_in_plan(self) -> dict[tuple[str, int], PolicyFiles]:
        """Return the files whose contents the plan has, by the table of the plan and the index in it."""
        tables = {"tls": self.policies, "upstream_tls": self.terms}
        return {(table, index): files for table, all_ in tables.items() for index, files in enumerate(all_)}

    def without_plan(self) -> Loaded:
        """Return the same without the plan, which is most of it."""
        return replace(self, plan={})

    def plan_json(self) -> bytes:
        """Return the plan as the gateway process takes it."""
        return msgspec.json.encode(self.plan)
