"""Cipher strings choose what OpenSSL chooses of the suites that there are here, in its order."""

from __future__ import annotations

import random
import re
import ssl

import pytest

from buchner.nginx.openssl import ciphers, curves

HERE = set(ciphers("ALL").names)
WORDS = re.findall(
    r"\S+",
    """
    ALL HIGH MEDIUM LOW aNULL eNULL NULL MD5 RC4 3DES DES EXPORT PSK kPSK SRP DSS aDSS kRSA aRSA RSA kDHE DHE EDH kEDH
    kECDHE kEECDH ECDHE EECDH ECDH AECDH ADH aECDSA ECDSA TLSv1.2 TLSv1 TLSv1.0 SSLv3 AES128 AES256 AES AESGCM AESCCM
    AESCCM8 ARIA CAMELLIA CHACHA20 SHA1 SHA SHA256 SHA384 nosuch ECDHE-RSA-AES128-GCM-SHA256 AES128-SHA
    ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-CHACHA20-POLY1305 DHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-SHA
    """,
)
PUBLISHED = [
    "HIGH:!aNULL:!MD5",
    "EECDH+AESGCM:EDH+AESGCM",
    "EECDH+CHACHA20:EECDH+AES128:RSA+AES128:EECDH+AES256:RSA+AES256:EECDH+3DES:RSA+3DES:!MD5",
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256",
    "ALL:!ADH:!EXPORT56:RC4+RSA:+HIGH:+MEDIUM:+LOW:+SSLv2:+EXP",
    "ECDH+AESGCM:ECDH+AES256:ECDH+AES128:!ADH:!AECDH:!MD5:@STRENGTH",
    "DEFAULT:!AES128",
    "DEFAULT@SECLEVEL=1",
    "HIGH:-AES256:AES256",
    "ALL:-AESGCM:AES",
    "FIPS:+AES256",
]


def of_openssl(text: str) -> list[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(text)
    except ssl.SSLError:
        return []
    return [cipher["name"] for cipher in context.get_ciphers() if cipher["name"] in HERE]


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_strings(text: str) -> None:
    assert ciphers(text).names == of_openssl(text)


def test_random_strings() -> None:
    draw = random.Random(1)
    chosen = 0
    for _ in range(1000):
        words = [
            draw.choice(["", "", "", "!", "-", "+"]) + "+".join(draw.choices(WORDS, k=draw.choice([1, 1, 2])))
            for _ in range(draw.randrange(1, 7))
        ]
        if draw.random() < 0.2:
            words.append("@STRENGTH")
        text = draw.choice(":, ").join(words)
        theirs = of_openssl(text)
        assert ciphers(text).names == theirs, text
        chosen += bool(theirs)
    assert chosen > 300


def test_what_is_not_here_is_named() -> None:
    found = ciphers("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:!nosuch:-kRSA")
    assert (found.names, found.missing) == (["ECDHE-RSA-AES128-GCM-SHA256"], ["AES128-SHA"])
    for level in ["@SECLEVEL=3", "@SECLEVEL=6", "@OTHER"]:
        with pytest.raises(ValueError, match=level):
            ciphers(f"HIGH:{level}")
    assert curves("X25519:P-256:prime256v1:secp521r1:?nosuch").names == ["X25519", "prime256v1"]
    assert curves("X448:secp384r1").missing == ["X448"]
    with pytest.raises(ValueError, match="prime256"):
        curves("X25519:prime256")
