"""Lists of ciphers and curves as OpenSSL writes them, for the suites and groups that there are here.

A cipher string is carried out as OpenSSL does (openssl-ciphers(1)): its words add to a list, take from it or order it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ECDSA, _RSA = ("aECDSA", "ECDSA"), ("aRSA",)
_COMMON = ("ALL", "HIGH", "TLSv1.2", "kECDHE", "kEECDH", "ECDHE", "EECDH", "ECDH")
_AES256 = ("AES", "AES256", "AESGCM", "FIPS")
_AES128 = ("AES", "AES128", "AESGCM", "FIPS")
_CHACHA = ("CHACHA20",)
_SUITES = {
    "ECDHE-ECDSA-AES256-GCM-SHA384": (*_COMMON, *_ECDSA, *_AES256),
    "ECDHE-RSA-AES256-GCM-SHA384": (*_COMMON, *_RSA, *_AES256),
    "ECDHE-ECDSA-CHACHA20-POLY1305": (*_COMMON, *_ECDSA, *_CHACHA),
    "ECDHE-RSA-CHACHA20-POLY1305": (*_COMMON, *_RSA, *_CHACHA),
    "ECDHE-ECDSA-AES128-GCM-SHA256": (*_COMMON, *_ECDSA, *_AES128),
    "ECDHE-RSA-AES128-GCM-SHA256": (*_COMMON, *_RSA, *_AES128),
}
"""The suites of TLS 1.2, in OpenSSL's order, and the words that stand for them."""
TLS13 = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
"""The suites of TLS 1.3, in OpenSSL's order; cipher strings say nothing of them."""
_SEPARATOR = re.compile(r"[:;, ]+")
_LEVEL = re.compile(r"@SECLEVEL=([0-5])")
_HIGHEST_LEVEL = 2
_GROUPS = {
    "x25519": "X25519",
    "prime256v1": "prime256v1",
    "secp256r1": "prime256v1",
    "p-256": "prime256v1",
    "secp384r1": "secp384r1",
    "p-384": "secp384r1",
    "x25519mlkem768": "X25519MLKEM768",
    "secp256r1mlkem768": "SecP256r1MLKEM768",
}
_ELSEWHERE = re.compile(
    r"x448|p-521|secp\d+[kr][12]|sect\d+[kr][12]|prime\d+v\d|brainpoolp\d+[rt]1(tls13)?|ffdhe\d+|mlkem\d+|secp384r1mlkem1024",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a list there is here.

    Args:
        names: what is chosen, best first.
        missing: the words that would choose something elsewhere.
    """

    names: list[str]
    missing: list[str]


@dataclass(slots=True)
class _Entry:
    name: str
    chosen: bool = False


class _List:
    """The suites in an order, of which some are chosen."""

    def __init__(self) -> None:
        self.entries = [_Entry(name) for name in _SUITES]

    def apply(self, sign: str, names: set[str]) -> None:
        """Carry out a word: "" adds, "-" takes away, "!" takes away for good, "+" moves to the end."""
        found = [entry for entry in self.entries if entry.name in names]
        others = [entry for entry in self.entries if entry.name not in names]
        if sign == "!":
            self.entries = others
            return
        moved = [entry for entry in found if entry.chosen == (sign != "")]
        stay = [entry for entry in self.entries if entry not in moved]
        for entry in moved:
            entry.chosen = sign != "-"
        self.entries = [*moved, *stay] if sign == "-" else [*stay, *moved]

    def sort(self) -> None:
        """Put long keys first."""
        self.entries.sort(key=lambda entry: "AES128" in _SUITES[entry.name])


def ciphers(text: str) -> Choice:
    """Choose the suites of a cipher string, those of TLS 1.2.

    Args:
        text: as `ssl_ciphers` has it.

    Raises:
        ValueError: it asks for a security level that is not kept here.

    """
    suites = _List()
    missing: list[str] = []
    if text.startswith("DEFAULT"):
        suites.apply("", set(_SUITES))
        text = text.removeprefix("DEFAULT")
    for word in filter(None, _SEPARATOR.split(text)):
        if word == "@STRENGTH":
            suites.sort()
        elif word.startswith("@"):
            _check_level(word)
        else:
            sign = word[0] if word[0] in "!+-" else ""
            named = _named(word.removeprefix(sign))
            suites.apply(sign, named)
            if not sign and not named:
                missing.append(word)
    return Choice([entry.name for entry in suites.entries if entry.chosen], missing)


def _check_level(word: str) -> None:
    level = _LEVEL.fullmatch(word)
    if level is None:
        raise ValueError(f'"{word}" is not known: @STRENGTH and @SECLEVEL=0 to 5 are')
    if int(level[1]) > _HIGHEST_LEVEL:
        raise ValueError(f'"{word}" is not kept here: keys and ciphers are those of level 2')


def _named(word: str) -> set[str]:
    """Return the suites that a word stands for: `ECDHE+AESGCM` is those that both parts stand for."""
    parts = word.split("+")
    return {name for name, words in _SUITES.items() if all(part == name or part in words for part in parts)}


def curves(text: str) -> Choice:
    """Choose the groups of a list of curves.

    Args:
        text: as `ssl_ecdh_curve` has it; `?` before a name is for one that may be unknown.

    Raises:
        ValueError: a name is nobody's.

    """
    names: list[str] = []
    missing: list[str] = []
    for word in re.split("[:/]", text):
        optional, name = word.startswith(("?", "*?")), word.lstrip("*?")
        found = _GROUPS.get(name.lower())
        if found is not None:
            names += [found] if found not in names else []
        elif optional or _ELSEWHERE.fullmatch(name.lower()):
            missing.append(name)
        else:
            raise ValueError(f'"{word}" is not the name of a curve: {", ".join(dict.fromkeys(_GROUPS.values()))} are')
    return Choice(names, missing)
