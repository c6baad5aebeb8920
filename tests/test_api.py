"""`Gateway` from Python: how an app object is found again by workers, and starts that fail."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from buchner import AppImportError, Gateway
from buchner.api import target_of
from buchner.supervisor.launch import IN_WORKER


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("shop_of_test")
    monkeypatch.setitem(sys.modules, "shop_of_test", made)
    return made


def test_an_app_is_named_by_the_module_that_holds_it(module: ModuleType) -> None:
    module.app = app = object()  # type: ignore[attr-defined]
    assert target_of(app) == "shop_of_test:app"
    assert target_of(object()) is None


def test_an_app_of_the_program_itself_is_named_by_its_file(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, tmp_path: Path
) -> None:
    module.app = app = object()  # type: ignore[attr-defined]
    (tmp_path / "shop.py").touch()
    module.__file__ = str(tmp_path / "shop.py")
    monkeypatch.delitem(sys.modules, "shop_of_test")
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert target_of(app) == f"{tmp_path}/shop.py:app"


def test_run_does_nothing_inside_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_WORKER, "1")
    assert Gateway(wsgi).run() == 0


def test_a_start_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCHNER_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(AppImportError, match="exit status 3"):
        Gateway("no_such_module:app", workers=1, chdir=str(tmp_path)).start()
