"""From plain data to the typed `Document`.

msgspec decodes into the generated classes, which takes milliseconds for ten thousand servers but stops at the first
problem. Only when it fails is the data checked against the JSON schema, which finds all problems. Both come from the
same schema, so they agree on what is valid.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import msgspec

from buchner.config import _generated as gen
from buchner.config.suggest import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.exceptions import ValidationError

    from buchner.config.places import Path, Report

_KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
}
_DECODER = msgspec.json.Decoder(gen.Document)


def decode(data: str | dict[str, Any], report: Report) -> gen.Document:
    """Return the typed document.

    Args:
        data: the document as JSON, or as plain Python data.
        report: takes the problems.

    Raises:
        ConfigError: the data does not fit the schema; all problems with their places.

    """
    try:
        return _DECODER.decode(data) if isinstance(data, str) else msgspec.convert(data, gen.Document)
    except msgspec.ValidationError as error:
        plain: dict[str, Any] = msgspec.json.decode(data) if isinstance(data, str) else dict(data)
        explain(plain, report)
        if not report.errors:
            report.error((), str(error))
        report.finish()
        raise


@cache
def schema() -> dict[str, Any]:
    """Return the JSON schema of gateway.toml."""
    text = File(__file__).with_name("gateway.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def explain(data: dict[str, Any], report: Report) -> None:
    """Report all the places where `data` does not fit the schema."""
    import jsonschema  # noqa: PLC0415 - slow to import, and only wrong configurations need it

    validator = jsonschema.Draft202012Validator(schema())
    servers = data.get("server")
    if not isinstance(servers, list):
        servers = []
    rest = {**data, "server": []} if servers else data
    for error in validator.iter_errors(rest):
        _explain_one(error, (), report)
    # jsonschema is slow: servers that are right are not shown to it.
    server = validator.evolve(schema={**schema()["$defs"]["Server"], "$defs": schema()["$defs"]})
    for index, value in enumerate(servers):
        try:
            msgspec.convert(value, gen.Server)
        except msgspec.ValidationError:
            for error in server.iter_errors(value):
                _explain_one(error, ("server", index), report)


def _explain_one(error: ValidationError, parent: Path, report: Report) -> None:
    path = (*parent, *error.relative_path)
    rule, value, rules = error.validator, error.validator_value, error.schema
    if rule == "additionalProperties":
        known: dict[str, Any] = rules["properties"] if isinstance(rules, dict) else {}
        for key in _keys(error.instance):
            if key not in known:
                report.error((*path, key), _unknown(key, known), key=True)
    elif rule == "anyOf":
        _explain_choice(error, path, report)
    elif rule == "required":
        for key in value if isinstance(value, list) else ():
            if key not in _keys(error.instance):
                report.error(path, f'"{key}" is missing')
    else:
        report.error(path, _sentence(error))


def _explain_choice(error: ValidationError, path: Path, report: Report) -> None:
    """Report a value with several forms: what is wrong inside the form it has, or which forms there are."""
    inner = [
        sub
        for sub in error.context or []
        if sub.validator != "type" or len(sub.relative_path) > 0  # the form fits, something in it doesn't
    ]
    for sub in inner:
        _explain_one(sub, path, report)
    if not inner:
        kinds = list(dict.fromkeys(_form(choice) for choice in _choices(error)))
        report.error(path, f"must be {' or '.join(kinds)}, not {_kind(error.instance)}")


def _keys(value: object) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _choices(error: ValidationError) -> list[dict[str, Any]]:
    return error.validator_value if isinstance(error.validator_value, list) else []


def _form(choice: dict[str, Any]) -> str:
    return _KINDS[choice["type"]] if "type" in choice else _KINDS["object"]


def _sentence(error: ValidationError) -> str:
    value = error.validator_value
    match error.validator:
        case "type":
            return f"must be {_KINDS[str(value)]}, not {_kind(error.instance)}"
        case "minimum":
            return f"must be at least {value}, not {error.instance}"
        case "maximum":
            return f"must be at most {value}, not {error.instance}"
        case "minItems":
            return "needs at least one element"
        case _:
            return error.message


def _kind(value: object) -> str:
    names = {
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), type(value).__name__)


def _unknown(key: str, known: dict[str, Any]) -> str:
    homes = list(_homes(key))
    if homes and not hint(key, known):
        return f'"{key}" does not belong here but in {" or ".join(homes)}'
    return f'unknown setting "{key}"{hint(key, known)}'


def _homes(key: str) -> Iterator[str]:
    tables = {
        "App": "[app]",
        "Gateway": "[gateway]",
        "Server": "[[server]]",
        "Route": "[[server.route]]",
        "Upstream": "[upstream.NAME]",
        "Files": "files = {…}",
    }
    if key in schema()["properties"]:
        yield "the top level of the file"
    for name, title in tables.items():
        if key in schema()["$defs"][name]["properties"]:
            yield title
