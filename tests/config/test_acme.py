"""Certificates that are to be issued: what a configuration asks for, and what stands in until they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from buchner.certificates.making import SELF_SIGNED, self_signed
from buchner.certificates.pem import parse_pair
from buchner.certificates.storage import Storage
from buchner.config import load_dict
from buchner.errors import ConfigError
from buchner.serving import Serving

if TYPE_CHECKING:
    from pathlib import Path

    from buchner.config import Loaded


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BUCHNER_CERTIFICATES", str(tmp_path / "certificates"))
    return tmp_path / "certificates"


def site(*names: str, listen: str = "443 tls", **tls: Any) -> dict[str, Any]:
    route = [{"path": "/", "respond": 204}]
    return {"listen": listen, "names": list(names), "tls": {"acme": True, **tls}, "route": route}


def loaded(tmp_path: Path, *servers: dict[str, Any], **acme: Any) -> Loaded:
    return load_dict({"acme": acme, "server": list(servers)}, "test", str(tmp_path))


def test_a_server_asks_for_a_certificate_and_has_a_self_signed_one_at_once(tmp_path: Path, directory: Path) -> None:
    found = loaded(tmp_path, site("shop.test", "WWW.shop.test"), email="a@shop.test", directory="certificates")
    assert found.kept is not None
    assert found.kept.names == (("shop.test", "www.shop.test"),)
    assert (found.kept.directory, found.kept.settings.email) == (str(directory), "a@shop.test")
    assert found.standing_in == {"shop.test"}
    (served,) = found.plan["tls"][0]["certificate"]
    pair = parse_pair(served["chain"].encode(), served["key"].encode())
    assert (pair.issuer, set(pair.names)) == (SELF_SIGNED, {"shop.test", "www.shop.test"})
    assert not directory.exists(), "to check a configuration leaves nothing behind"


def test_the_certificate_that_is_kept_is_served(tmp_path: Path, directory: Path) -> None:
    pair = self_signed(["shop.test"])
    Storage(directory).write("shop.test", pair)
    found = loaded(tmp_path, site("shop.test"))
    assert found.plan["tls"][0]["certificate"][0]["chain"] == pair.chain_pem.decode()
    assert found.standing_in == frozenset()
    assert found.policies[0].paths()[0] == directory / "live" / "shop.test" / "fullchain.pem"
    assert found.policies[0].stamps[0] is not None


def test_servers_of_the_same_names_share_a_certificate(tmp_path: Path) -> None:
    found = loaded(tmp_path, site("shop.test"), site("shop.test", listen="8443 tls"), site("b.test"))
    assert found.kept is not None
    assert found.kept.names == (("shop.test",), ("b.test",))
    assert len(found.plan["tls"]) == 2


def test_a_leading_dot_is_a_wildcard_too(tmp_path: Path) -> None:
    found = loaded(tmp_path, site(".shop.test"), dns="hook", dns_options={"command": "x"})
    assert found.kept is not None
    assert found.kept.names == (("shop.test", "*.shop.test"),)


@pytest.mark.parametrize(
    ("servers", "acme", "message"),
    [
        ([site("")], {}, "server without names"),
        ([site("*.shop.test")], {}, "wildcards take dns-01"),
        ([site("a.test")], {"authority": "nobody"}, '"nobody" is not an ACME authority'),
        ([site("a.test")], {"challenges": ["smoke-01"]}, '"smoke-01" is not a challenge'),
        ([site("a.test")], {"challenges": ["tls-alpn-01"]}, "http-01 and dns-01 are"),
        ([site("a.test")], {"eab_kid": "k"}, "one is missing"),
        ([site("a.test", "b.test"), site("a.test", listen="8443 tls")], {}, "give both the same names"),
        ([site("a.test", certificate="a.pem")], {}, "only one goes"),
    ],
)
def test_what_cannot_be_issued_is_refused(
    tmp_path: Path, servers: list[dict[str, Any]], acme: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, *servers, **acme)
    assert message in str(caught.value)


def test_a_directory_that_others_write_to_is_refused(tmp_path: Path, directory: Path) -> None:
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    with pytest.raises(ConfigError, match="no other may write to it"):
        loaded(tmp_path, site("a.test"))


def test_serve_for_a_domain_has_443_and_80_and_redirects_once_it_is_issued(directory: Path) -> None:
    serving = Serving("shop:app", domains=["shop.test"], email="a@shop.test")
    secure, clear = serving.document()["server"]
    assert (secure["listen"], secure["names"], secure["tls"]) == (["0.0.0.0:443 tls"], ["shop.test"], {"acme": True})
    assert clear["listen"] == ["0.0.0.0:80"]
    assert clear["route"] == secure["route"]
    Storage(directory).write("shop.test", self_signed(["shop.test"]))
    _, clear = serving.document()["server"]
    assert clear["route"][0]["redirect"] == {"status": 308, "to": "https://$host$request_uri"}
    assert serving.document()["acme"] == {"email": "a@shop.test"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"bind": [":80"]}, "needs an address that speaks TLS"),
        ({"bind": ["443 tls http2"]}, "is no address of --domain"),
        ({"tls": True}, "do not go with it"),
    ],
)
def test_flags_that_do_not_go_with_a_domain_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Serving("shop:app", domains=["shop.test"], **more).document()


def test_keys_are_not_shown(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, site("a.test"), eab_kid="k", eab_key="hush", dns="hook", dns_options={"key_secret": "hush"}
    )
    assert found.kept is not None
    assert found.kept.settings.eab_key == "hush"
    assert "hush" not in repr(found.kept)
