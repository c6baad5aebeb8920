"""`buchner serve`: an app, without a configuration file."""

from __future__ import annotations

from typing import Any

import click

from buchner.cli import start
from buchner.cli.find import find_app, load_dotenv
from buchner.serving import Serving


def options(command: Any) -> Any:
    """Add the flags that `buchner serve` and `flask gateway run` share."""
    decorators = [
        click.option(
            "-b", "--bind", multiple=True, metavar="ADDRESS", envvar="BUCHNER_BIND",
            help="Address to listen on: host:port, [v6]:port, :port or unix:/path. May be repeated. "
            "[default: 127.0.0.1:8000, or 0.0.0.0:$PORT]",
        ),
        click.option(
            "-w", "--workers", type=click.IntRange(1), envvar=["BUCHNER_WORKERS", "WEB_CONCURRENCY"],
            help="Worker processes. [default: the cores this process may use]",
        ),
        click.option(
            "-t", "--threads", type=click.IntRange(1, 10000), envvar="BUCHNER_THREADS",
            help="Threads of a worker, each serving one request at a time. "
            "[default: 2; 1 if gevent or eventlet patched the app]",
        ),
        click.option("--io-threads", type=click.IntRange(1, 256), envvar="BUCHNER_IO_THREADS",
                     help="I/O threads of the gateway. [default: 1 on up to 4 cores]"),
        click.option("--reload", "watch", is_flag=True, envvar="BUCHNER_RELOAD",
                     help="Reload when a Python file here changes."),
        click.option("--debug", "--development", "development", is_flag=True,
                     envvar=["BUCHNER_DEVELOPMENT", "FLASK_DEBUG"],
                     help="Error pages show causes and tracebacks; FLASK_DEBUG is set for the app."),
        click.option("--log-format", metavar="FORMAT", envvar="BUCHNER_LOG_FORMAT",
                     help='Access log: combined, json, or a format such as \'$remote_addr "$request" $status\'.'),
        click.option("--access-log", metavar="FILE", envvar="BUCHNER_ACCESS_LOG",
                     help="Access log file, - for standard output, off for none. [default: -]"),
        click.option("--error-log", metavar="FILE", envvar="BUCHNER_ERROR_LOG",
                     help="File for messages. [default: standard error]"),
        click.option("--preload", is_flag=True, envvar="BUCHNER_PRELOAD",
                     help="Import the app once and fork the workers: they share its memory."),
        click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", envvar="BUCHNER_TIMEOUT",
                     help="Time the app has to begin an answer; then 504 and the stack in the log. [default: 60]"),
        click.option("--shutdown-timeout", type=click.FloatRange(0), metavar="SECONDS",
                     envvar="BUCHNER_SHUTDOWN_TIMEOUT", help="Time requests have to finish at a stop. [default: 30]"),
        click.option("--start-timeout", type=click.FloatRange(0.1), metavar="SECONDS", envvar="BUCHNER_START_TIMEOUT",
                     help="Time a worker has to import the app. [default: 60]"),
        click.option("--max-requests", type=click.IntRange(0), envvar="BUCHNER_MAX_REQUESTS",
                     help="Requests after which a worker is replaced, the new one first. [default: never]"),
        click.option("--max-age", metavar="TIME", envvar="BUCHNER_MAX_AGE",
                     help='Age at which a worker is replaced, such as "6h". [default: never]'),
        click.option("--max-rss", metavar="SIZE", envvar="BUCHNER_MAX_RSS",
                     help='Resident memory at which a worker is replaced, such as "512m". [default: never]'),
        click.option("--max-body", metavar="SIZE", envvar="BUCHNER_MAX_BODY",
                     help="Largest request body; 0: no limit. [default: 64m, or what a Flask app's "
                     "MAX_CONTENT_LENGTH says]"),
        click.option("--request-buffering/--no-request-buffering", default=None, envvar="BUCHNER_REQUEST_BUFFERING",
                     help="Read request bodies whole before the app gets them. [default: yes]"),
        click.option("--spool-dir", type=click.Path(exists=True, file_okay=False), envvar="BUCHNER_SPOOL_DIR",
                     help="Directory of bodies that do not fit in memory. [default: /var/tmp]"),
        click.option("--spool-max", metavar="SIZE", envvar="BUCHNER_SPOOL_MAX",
                     help="Bytes that all such bodies may take together. [default: 1g]"),
        click.option("--trusted-proxies", metavar="NETWORKS",
                     envvar=["BUCHNER_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"],
                     help="Networks whose X-Forwarded-* are believed, with commas between. [default: none]"),
        click.option("--mount", metavar="PREFIX", envvar="BUCHNER_MOUNT",
                     help="Path the app is served under; becomes SCRIPT_NAME."),
        click.option("--chdir", type=click.Path(exists=True, file_okay=False), envvar="BUCHNER_CHDIR",
                     help="Directory of the app. [default: this one]"),
        click.option("--static/--no-static", default=True, envvar="BUCHNER_STATIC",
                     help="Serve the app's static folders without the app, unless it guards them. [default: yes]"),
        click.option("--static-precompressed", is_flag=True, envvar="BUCHNER_STATIC_PRECOMPRESSED",
                     help="Send .br, .zst and .gz siblings of static files, where they are not older."),
        click.option("--cert", metavar="FILE", type=click.Path(exists=True, dir_okay=False), envvar="BUCHNER_CERT",
                     help="Speak TLS: the certificate and its chain, PEM."),
        click.option("--key", metavar="FILE", type=click.Path(exists=True, dir_okay=False), envvar="BUCHNER_KEY",
                     help="The certificate's key, PEM. [default: it is in the certificate's file]"),
        click.option("--tls", is_flag=True, envvar="BUCHNER_TLS",
                     help="Speak TLS with a certificate for localhost by this machine's own authority."),
        click.option("--domain", "domains", multiple=True, metavar="NAME", envvar="BUCHNER_DOMAIN",
                     help="Have a certificate issued for this name by Let's Encrypt, whose terms you agree to, and "
                     "renewed. May be repeated; --bind has 443 tls and 80 by default, which redirects."),
        click.option("--email", envvar="BUCHNER_EMAIL", help="Contact of the account with the authority."),
        click.option("--authority", metavar="NAME", envvar="BUCHNER_AUTHORITY",
                     help="Another authority: letsencrypt-staging, or the URL of an ACME directory."),
        click.option("--waf", type=click.Choice(["detect", "block"]), envvar="BUCHNER_WAF",
                     help="Judge requests by the OWASP Core Rule Set: log what it finds, or block it. [default: no]"),
        click.option("--crs", metavar="DIR", type=click.Path(exists=True, file_okay=False), envvar="BUCHNER_CRS",
                     help="Directory of the Core Rule Set. [default: that of Debian's modsecurity-crs]"),
        click.option("--user", envvar="BUCHNER_USER", help="User to become once the addresses are bound."),
        click.option("--group", envvar="BUCHNER_GROUP", help="Group to become. [default: the user's own]"),
        click.option("--pid-file", metavar="FILE", envvar="BUCHNER_PID_FILE",
                     help="File the process id is written to."),
    ]  # fmt: skip
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@click.command(epilog="Each flag can be given as an environment variable: BUCHNER_WORKERS=4, BUCHNER_BIND=:80, …")
@click.argument("app", required=False)
@options
@click.pass_context
def serve(ctx: click.Context, /, app: str | None, **flags: Any) -> int:
    """Serve an app. APP is module:name, module:factory() or a file; without it, app.py or wsgi.py here.

    \b
    Examples:
      buchner serve shop:app
      buchner serve "shop:create_app(debug=True)" --workers 4 --threads 8
      buchner serve --reload --debug
      buchner serve shop:app --bind 0.0.0.0:80 --user www-data
      buchner serve shop:app --bind unix:/run/shop.sock --trusted-proxies unix
      buchner serve shop:app --bind :8443 --tls
      buchner serve shop:app --domain example.com --user www-data
    """
    load_dotenv()
    _read_dotenv_flags(ctx, flags)
    return serve_app(find_app(app), flags)


def _read_dotenv_flags(ctx: click.Context, flags: dict[str, Any]) -> None:
    """Take flags from variables that only .env or .flaskenv has set, after click had read the environment."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if name in flags and source is click.core.ParameterSource.DEFAULT:
            raw = parameter.value_from_envvar(ctx)
            if raw is not None:
                flags[name] = parameter.type_cast_value(ctx, raw)


def serve_app(target: str, flags: dict[str, Any]) -> int:
    """Serve until told to stop; returns the exit status."""
    watch = flags.pop("watch")
    trusted = flags.pop("trusted_proxies") or ""
    bind = list(flags.pop("bind"))
    domains = list(flags.pop("domains"))
    serving = Serving(
        target,
        bind,
        domains=domains,
        trusted_proxies=[network.strip() for network in trusted.split(",") if network.strip()],
        **flags,
    )
    if watch and serving.workers is None:
        serving.workers = 1
    return start.run(serving.load, target, watch=watch, remark=serving.trust)
