"""The OWASP Core Rule Set: where it is, and the settings it is loaded with."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from buchner.errors import ConfigError

MODES = {"block": "On", "detect": "DetectionOnly", "off": "Off"}
"""The words for `SecRuleEngine`."""

_RECOMMENDED = """\
SecRequestBodyAccess On
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecRequestBodyLimitAction Reject
SecRequestBodyJsonDepthLimit 512
SecArgumentsLimit 1000
SecResponseBodyAccess On
SecResponseBodyMimeTypesClear
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecResponseBodyLimit 524288
SecResponseBodyLimitAction ProcessPartial
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\\+|/)|text/)xml" \\
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+[+])?json" \\
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \\
    "id:200002,phase:2,t:none,log,deny,status:400,severity:2,msg:'The body cannot be read',\\
    logdata:'%{reqbody_error_msg}'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \\
    "id:200003,phase:2,t:none,log,deny,status:400,severity:2,msg:'The multipart body is malformed'"
"""
"""What CRS expects to be set beside it (ModSecurity: modsecurity.conf-recommended)."""

_FALLBACK_SETUP = """\
SecDefaultAction "phase:1,log,auditlog,pass"
SecDefaultAction "phase:2,log,auditlog,pass"
"""


_DEBIAN = Path("/usr/share/modsecurity-crs")
_TOO_OLD = 3


def installed_directory() -> Path:
    """Where `buchner waf install` puts the rules."""
    if os.geteuid() == 0:
        return Path("/var/lib/buchner/crs")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "buchner/crs"


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The files of a Core Rule Set."""

    rules: Path
    """The directory of the rules."""
    setup: Path | None = None
    """crs-setup.conf, or the example of it."""
    before: Path | None = None
    """Exclusions before the rules."""
    after: Path | None = None
    """Exclusions after the rules."""

    @classmethod
    def in_directory(cls, directory: Path) -> Ruleset | None:
        """Look for the rules in a directory, as a release has them; None if it has none."""
        rules = directory / "rules" if (directory / "rules").is_dir() else directory
        if not any(rules.glob("REQUEST-9*.conf")):
            return None
        places = [directory, rules, rules.parent]
        return cls(
            rules,
            _first(places, "crs-setup.conf", "crs-setup.conf.example"),
            _first(places, "REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf"),
            _first(places, "RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf"),
        )

    @classmethod
    def of_debian(cls) -> Ruleset | None:
        """The package modsecurity-crs, whose settings are in /etc."""
        found = cls.in_directory(_DEBIAN)
        if found is None:
            return None
        etc = [Path("/etc/modsecurity/crs")]
        return cls(
            found.rules,
            _first(etc, "crs-setup.conf") or found.setup,
            _first(etc, "REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf"),
            _first(etc, "RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf"),
        )

    def files(self) -> list[Path]:
        """The files of the rules in order, without those that are for exclusions."""
        without = {path.name for path in (self.before, self.after) if path} | {"crs-setup.conf"}
        return [path for path in sorted(self.rules.glob("*.conf")) if path.name not in without]

    @property
    def version(self) -> int:
        """The version, such as 4, by the setup file; 0 if that doesn't say."""
        text = self.setup.read_text(encoding="utf-8", errors="replace") if self.setup else ""
        found = re.search(r"^[^#\n]*setvar:tx\.crs_setup_version=(\d)", text, re.MULTILINE)
        return int(found[1]) if found else 0


def _first(directories: list[Path], *names: str) -> Path | None:
    return next((path for name in names for path in (at / name for at in directories) if path.is_file()), None)


def find(directory: str | os.PathLike[str] | None = None) -> Ruleset:
    """Find the Core Rule Set: in the directory named, in that of BUCHNER_CRS, as installed, as packaged.

    Raises:
        ConfigError: There is none; the message names the command that gets it.
    """
    named = directory or os.environ.get("BUCHNER_CRS")
    if named:
        found = Ruleset.in_directory(Path(named))
        if found is None:
            raise ConfigError(
                f"there is no Core Rule Set in {named}: it has neither rules/REQUEST-9….conf nor REQUEST-9….conf"
            )
        return found
    places = [installed_directory(), *map(Path, ("/etc/crs4", "/usr/local/share/coreruleset"))]
    places.append(Path("/usr/share/mod_modsecurity_crs"))
    there = [*filter(None, map(Ruleset.in_directory, places)), *filter(None, [Ruleset.of_debian()])]
    for found in there:
        if found.version != _TOO_OLD:
            return found
    how = "get it with `buchner waf install URL` (a release of https://github.com/coreruleset/coreruleset)"
    if there:
        raise ConfigError(
            f"the Core Rule Set in {there[0].rules} is version {_TOO_OLD}, which asks DNS block lists and has regular "
            f"expressions whose time has no bound: version 4 is needed; {how}, or name its directory"
        )
    looked = ", ".join(map(str, (*places, _DEBIAN)))
    raise ConfigError(f"there is no Core Rule Set on this machine: {how}, or name its directory. Looked in {looked}")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings of the Core Rule Set; None leaves what its crs-setup.conf says."""

    mode: str = "block"
    paranoia: int | None = None
    """The level of the rules that count towards the score, 1 to 4."""
    inbound_threshold: int | None = None
    """The score of a request from which on it is blocked."""
    outbound_threshold: int | None = None
    """The score of a response from which on it is replaced."""
    sampling: int | None = None
    """The share of requests that is looked at, in percent."""
    before: tuple[Path, ...] = ()
    """Files of rules before the Core Rule Set: exclusions at run time (`ctl:`)."""
    after: tuple[Path, ...] = ()
    """Files after it: exclusions for good (`SecRuleUpdateTargetById`)."""

    def __post_init__(self) -> None:
        """Refuse what no rule understands."""
        if self.mode not in MODES:
            raise ConfigError(f"mode is {self.mode!r}; it is one of {', '.join(MODES)}")
        for name, least, most in (
            ("paranoia", 1, 4), ("sampling", 0, 100), ("inbound_threshold", 1, 10**6), ("outbound_threshold", 1, 10**6),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} is {value}; it is {least} to {most}")

    def text(self) -> str:
        """The settings as rules, which go after crs-setup.conf."""
        sets = {
            # Version 3 calls it paranoia_level.
            "blocking_paranoia_level": self.paranoia,
            "paranoia_level": self.paranoia,
            "inbound_anomaly_score_threshold": self.inbound_threshold,
            "outbound_anomaly_score_threshold": self.outbound_threshold,
            "sampling_percentage": self.sampling,
        }
        wanted = [f"setvar:tx.{name}={value}" for name, value in sets.items() if value is not None]
        if not wanted:
            return ""
        return f'SecAction "id:899999,phase:1,pass,nolog,{",".join(wanted)}"\n'


def sources(ruleset: Ruleset, tuning: Tuning) -> list[tuple[str, str | None]]:
    """The rules in the order the engine reads them: files (path, None) and texts (name, text)."""
    setup: list[tuple[str, str | None]] = [("defaults", _FALLBACK_SETUP)]
    if ruleset.setup:
        setup = [(str(ruleset.setup), None)]
    before = [*([ruleset.before] if ruleset.before else []), *tuning.before]
    after = [*([ruleset.after] if ruleset.after else []), *tuning.after]
    return [
        ("recommended settings", _RECOMMENDED),
        *setup,
        ("settings", tuning.text()),
        *((str(path), None) for path in before),
        *((str(path), None) for path in ruleset.files()),
        *((str(path), None) for path in after),
        ("settings", f"SecRuleEngine {MODES[tuning.mode]}\n"),
    ]
