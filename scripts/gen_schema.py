"""Builds the schema of gateway.toml from the Rust plan's schema and the Python models.

What people write differs from the resolved plan in a few ways, all of them here: settings stand directly in the root,
in servers and in routes; times and sizes may be strings; backends have short forms; lists of one may be bare.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from buchner.config.model import AppSettings, ProcessSettings

Schema = dict[str, Any]

TITLE = "Configuration of Buchner (gateway.toml)"
KEPT = (
    "AccessLog",
    "ErrorLog",
    "Files",
    "Proxy",
    "Redirect",
    "Respond",
    "Upstream",
    "UpstreamServer",
    "Gateway",
    "Set",
    "Rewrite",
    "Return",
    "RealIp",
    "Replace",
    "CookieFlags",
    "AddHeader",
    "CharsetMap",
    "ErrorPage",
    "SubFilter",
    "Root",
    "Map",
    "Geo",
    "GeoIp",
    "SplitClients",
)
STRING: Schema = {"type": "string"}
STRINGS: Schema = {"type": "array", "items": STRING}
MAXIMA = {"uint16": (1 << 16) - 1, "uint32": (1 << 32) - 1}
UNITS: Schema = {
    "Duration": {
        "description": 'A span of time: seconds, or a string with a unit ("500ms", "30s", "5m", "1h", "1d").',
        "anyOf": [{"type": "string"}, {"type": "number"}],
    },
    "Size": {
        "description": 'A number of bytes, or a string with a unit ("64k", "10m", "1g", powers of 1024).',
        "anyOf": [{"type": "string"}, {"type": "integer"}],
    },
}


def user_schema(plan: Schema) -> Schema:
    """Return the schema of gateway.toml.

    Args:
        plan: the schema of the resolved plan, from `_native.config_schema()`.

    """
    rust = {name: _relaxed(_inlined(body, plan["$defs"])) for name, body in plan["$defs"].items()}
    defs: Schema = copy.deepcopy(UNITS)
    defs.update({name: rust[name] for name in KEPT})
    defs["AppContent"] = rust["App"]
    defs["App"] = _merged(_python(AppSettings), rust["AppPool"])
    defs["Gateway"] = _merged(_python(ProcessSettings), rust["Gateway"])
    settings, limits = rust["Settings"]["properties"], rust["HeadLimits"]["properties"]
    settings["access_log"] = _access_log()
    settings["set_headers"] = _set_headers(settings["set_headers"]["description"])
    settings["error_log"] = _error_log(settings["error_log"]["description"])
    for name in ("add_headers", "add_trailers"):
        settings[name] = _added(settings[name]["description"])
    settings["error_page"] = _pages(settings["error_page"]["description"])
    settings["types"] = {
        "description": "Media types by file extension, before the built-in table (nginx: `types`). Default: none.",
        "type": "object",
        "additionalProperties": STRING,
    }
    settings["root"] = _described(
        settings["root"]["description"] + " A path with variables, or a table. Default: none (nginx: `root`, `alias`).",
        STRING,
        _ref("Root"),
    )
    _shorten(defs)
    defs["Route"] = _route(settings, rust["Route"])
    defs["Server"] = _server(settings, limits, rust["Server"])
    defs["RewriteStep"] = _choice(rust["RewriteOp"])
    defs["RewriteStep"]["properties"]["return"] = _described(
        rust["Return"]["description"] + " A status, the URL of a 302, or a table.",
        {"type": "integer"},
        STRING,
        _ref("Return"),
    )
    _name_variables(defs)
    defs["If"] = _if(settings, rust["If"])
    defs["LimitExcept"] = _limit_except(settings, rust["LimitExcept"])
    defs["Condition"] = _condition(rust["Condition"])
    return {
        "$schema": plan["$schema"],
        "title": TITLE,
        "description": "Settings in the root apply everywhere; servers and routes may override them.",
        "type": "object",
        "properties": {**_root(plan), **settings, **limits},
        "additionalProperties": False,
        "$defs": dict(sorted(defs.items())),
    }


def _relaxed(body: Schema) -> Schema:
    """Turn a Rust type into what people may write: units, no nulls, no index types."""
    out: Schema = {}
    for key, value in body.items():
        if key == "properties":
            out[key] = {name: _relaxed(prop) for name, prop in value.items()}
        elif key == "$ref":
            out[key] = value.replace("/Millis", "/Duration")
        elif key == "type" and isinstance(value, list):
            out[key] = next(kind for kind in value if kind != "null")
        elif key == "anyOf" and {"type": "null"} in value:
            out.update(_relaxed(next(choice for choice in value if choice != {"type": "null"})))
        elif key == "default":
            if value is not None:
                out[key] = value
        elif key == "format":
            out.update({"maximum": MAXIMA[value]} if value in MAXIMA else {})
        elif isinstance(value, dict):
            out[key] = _relaxed(value)
        else:
            out[key] = value
    if "$ref" in out and out["$ref"].endswith("/Duration") and isinstance(out.get("default"), int):
        out["default"] /= 1000
    return out


def _words(body: Schema) -> list[str] | None:
    """Return the words of a Rust enum without data, None for anything else."""
    if "enum" in body:
        return list(body["enum"])
    choices = body.get("oneOf", [])
    return [choice["const"] for choice in choices] if choices and all("const" in choice for choice in choices) else None


def _inlined(value: Any, defs: Schema) -> Any:
    """Put the words of an enum where it is referred to."""
    if isinstance(value, list):
        return [_inlined(item, defs) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: _inlined(item, defs) for key, item in value.items()}
    words = _words(defs.get(str(out.get("$ref", "")).rpartition("/")[2], {}))
    if words:
        del out["$ref"]
        out.update({"type": "string", "enum": words})
    return out


def _choice(body: Schema) -> Schema:
    """Turn a Rust enum with data into a table that has one of its variants as a key."""
    properties = {}
    for choice in body["oneOf"]:
        (name,) = choice["properties"]
        properties[name] = {"description": choice.get("description", ""), **choice["properties"][name]}
    return {
        "description": body["description"],
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _python(model: type[msgspec.Struct]) -> Schema:
    """Return the schema of a Python model, with its units as references and without nulls."""
    body = copy.deepcopy(msgspec.json.schema(model)["$defs"][model.__name__])
    for name, prop in body["properties"].items():
        choices = [choice for choice in prop.pop("anyOf", []) if choice != {"type": "null"}]
        for choice in choices:
            prop.update(choice)
        if prop.get("default", 0) is None:
            del prop["default"]
        unit = prop.get("x-unit")
        if unit:
            reference = {"$ref": "#/$defs/Duration" if unit == "time" else "#/$defs/Size"}
            default = {key: value for key, value in prop.items() if key == "default"}
            body["properties"][name] = {"description": prop["description"], **reference, **default}
    del body["title"]
    return dict(body)


def _merged(first: Schema, second: Schema) -> Schema:
    properties = {**first["properties"], **second["properties"]}
    return {
        "description": first["description"].split("\n")[0],
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _described(description: str, *choices: Schema) -> Schema:
    return {"description": description, **(choices[0] if len(choices) == 1 else {"anyOf": list(choices)})}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _access_log() -> Schema:
    one = [STRING, _ref("AccessLog")]
    return _described(
        "Where requests are logged: a file, `-` for standard output, a table, a list of these, false. Default: none.",
        *one,
        {"type": "array", "items": {"anyOf": one}},
        {"type": "boolean"},
    )


def _error_log(description: str) -> Schema:
    one = [STRING, _ref("ErrorLog")]
    return _described(description, *one, {"type": "array", "items": {"anyOf": one}})


def _set_headers(description: str) -> Schema:
    several = {"type": "array", "items": STRING}
    return {"description": description, "type": "object", "additionalProperties": {"anyOf": [STRING, several]}}


def _added(description: str) -> Schema:
    return _described(
        description,
        {"type": "object", "additionalProperties": STRING},
        {"type": "array", "items": _ref("AddHeader")},
    )


def _pages(description: str) -> Schema:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": {"anyOf": [STRING, _ref("ErrorPage")]},
    }


def _shorten(defs: Schema) -> None:
    """Give upstreams, redirects and answers the forms people write."""
    upstream = defs["Upstream"]["properties"]
    del upstream["server"]
    upstream["servers"] = _described(
        'The servers: `"127.0.0.1:5000 weight=2"`, `"unix:/run/x.sock backup"`, or tables.',
        {"type": "array", "minItems": 1, "items": {"anyOf": [STRING, _ref("UpstreamServer")]}},
    )
    defs["Upstream"]["required"] = ["servers"]
    defs["Redirect"]["required"] = ["to"]
    defs["Redirect"]["properties"]["status"]["default"] = 302
    defs["Redirect"]["properties"]["status"]["description"] += " Default: 302."
    defs["Respond"].pop("required")
    defs["Respond"]["properties"]["status"]["default"] = 200
    defs["Respond"]["properties"]["status"]["description"] += " Default: 200."
    defs["Files"]["required"] = ["root"]
    defs["Files"]["properties"]["root"]["description"] = "Directory, relative to the configuration file."


def _contents() -> Schema:
    return {
        "files": _described('Files of a directory: `"static/"` or a table.', STRING, _ref("Files")),
        "proxy": _described(
            'Another HTTP server: `"http://name/"`, `"http://host:port"`, `"http://unix:/path:/uri"` or a table. '
            "A URI after the server, even `/`, replaces the matched path, as in nginx.",
            STRING,
            _ref("Proxy"),
        ),
        "app": _described(
            "App workers: true for `[app]`, a name of `[apps.NAME]`, or a table.",
            {"type": "boolean"},
            STRING,
            _ref("AppContent"),
        ),
        "redirect": _described("A redirect: a URL (status 302) or a table.", STRING, _ref("Redirect")),
        "empty_gif": {"description": "One transparent pixel: true (nginx: `empty_gif`).", "type": "boolean"},
        "respond": _described(
            "A fixed answer: a status, a text (status 200) or a table.", {"type": "integer"}, STRING, _ref("Respond")
        ),
        "stub_status": _described(
            "Numbers of connections and requests (nginx: `stub_status`). Always true.", {"type": "boolean"}
        ),
    }


def _steps(description: str) -> Schema:
    return {"description": description, "type": "array", "items": _ref("RewriteStep")}


def _name_variables(defs: Schema) -> None:
    """Give the tables of variables the forms people write: what a value belongs to is a key."""
    texts = {"type": "object", "additionalProperties": STRING}
    defs["Map"]["properties"]["values"] = _described(defs["Map"]["properties"]["values"]["description"], texts)
    defs["Map"]["required"] = ["source"]
    networks = defs["Geo"]["properties"]["networks"]["description"]
    defs["Geo"]["properties"]["networks"] = _described(networks, texts)
    defs["GeoIp"]["required"] = ["database", "field"]
    defs["SplitClients"]["properties"]["parts"] = {
        "description": "The parts, each with its value.",
        "type": "array",
        "items": _ref("SplitPart"),
    }
    defs["SplitPart"] = {
        "description": "A part of all requests.",
        "type": "object",
        "properties": {
            "size": _described(
                'Percent of all, with two decimals at most: `"2.5%"`; `"*"` is all that is left, and comes last.',
                STRING,
            ),
            "value": _described("The variable's value.", STRING),
        },
        "required": ["size", "value"],
        "additionalProperties": False,
    }
    defs["SplitClients"]["required"] = ["source", "parts"]


def _route(settings: Schema, rust: Schema) -> Schema:
    own = {name: rust["properties"][name] for name in ("path", "match", "internal")}
    own["rewrite"] = _steps(rust["properties"]["rewrite"]["description"])
    own["try_files"] = rust["properties"]["try_files"]
    own["route"] = {
        "description": rust["properties"]["route"]["description"],
        "type": "array",
        "items": _ref("Route"),
    }
    own["limit_except"] = _described(rust["properties"]["limit_except"]["description"], _ref("LimitExcept"))
    return {
        "description": (
            "A path of a server and what answers there: "
            "one of files, proxy, app, redirect, respond, stub_status, empty_gif."
        ),
        "type": "object",
        "properties": {**own, **_contents(), **copy.deepcopy(settings)},
        "required": ["path"],
        "additionalProperties": False,
    }


def _if(settings: Schema, rust: Schema) -> Schema:
    own = {
        "when": _described(rust["properties"]["when"]["description"], STRING, _ref("Condition")),
        "then": _steps(rust["properties"]["then"]["description"] + " Default: nothing."),
    }
    return {
        "description": "What holds where a condition does: further steps and, within a route, content and settings.",
        "type": "object",
        "properties": {**own, **_contents(), **copy.deepcopy(settings)},
        "required": ["when"],
        "additionalProperties": False,
    }


def _limit_except(settings: Schema, rust: Schema) -> Schema:
    return {
        "description": rust["description"],
        "type": "object",
        "properties": {"methods": rust["properties"]["methods"], **_contents(), **copy.deepcopy(settings)},
        "required": ["methods"],
        "additionalProperties": False,
    }


def _condition(rust: Schema) -> Schema:
    """Return the table form of a condition; the other is a text as in nginx's `if`."""
    inner = [STRING, _ref("Condition")]
    nested = {"type": "array", "items": {"anyOf": inner}}
    test = next(choice["properties"]["file"] for choice in rust["oneOf"] if "file" in choice["properties"])
    return {
        "description": "A condition: `value`, alone or with `equal` or `regex`; `path`; `client`; all, any or not.",
        "type": "object",
        "properties": {
            "value": _described("A text with variables; alone it holds unless it is empty or `0`.", STRING),
            "equal": _described("The text that `value` must be.", STRING),
            "regex": _described("The regular expression (PCRE) that `value` must match.", STRING),
            "ignore_case": {"description": "Without regard to case. Default: false.", "type": "boolean"},
            "path": _described("A file, with variables.", STRING),
            "is": {"description": "What `path` must be.", **test["properties"]["is"]},
            "client": _described(
                "Networks, of which the client's address is in one: addresses, CIDR, `unix`, or `*`.", STRINGS
            ),
            "all": _described("Conditions that all hold.", nested),
            "any": _described("Conditions of which one holds.", nested),
            "not": _described("A condition that does not hold.", *inner),
        },
        "additionalProperties": False,
    }


def _server(settings: Schema, limits: Schema, rust: Schema) -> Schema:
    own = {
        "listen": _described(
            "Addresses: `host:port`, `:port`, `[v6]:port`, `unix:/path`, with options (docs/running.md). Default: "
            "127.0.0.1:8000.",
            STRING,
            STRINGS,
        ),
        "names": _described(rust["properties"]["names"]["description"] + " Default: none.", STRING, STRINGS),
        "default_server": {
            "description": "Answers, on its addresses, names that no server has. Default: the first server does.",
            "type": "boolean",
            "default": False,
        },
        "rewrite": _steps(rust["properties"]["rewrite"]["description"]),
        "route": {
            "description": rust["properties"]["route"]["description"],
            "type": "array",
            "items": _ref("Route"),
        },
    }
    return {
        "description": "A virtual server.",
        "type": "object",
        "properties": {**own, **copy.deepcopy(settings), **copy.deepcopy(limits)},
        "additionalProperties": False,
    }


def _root(plan: Schema) -> Schema:
    def table(description: str, name: str) -> Schema:
        return {"description": description, "type": "object", "additionalProperties": _ref(name)}

    return {
        "app": _described("The app, or its target as a string.", STRING, _ref("App")),
        "apps": table("Further apps by name.", "App"),
        "server": {"description": "Virtual servers.", "type": "array", "items": _ref("Server")},
        "upstream": table(plan["properties"]["upstream"]["description"], "Upstream"),
        "map": table("Variables by name whose value depends on a text (nginx: `map`).", "Map"),
        "geo": table("Variables by name whose value depends on an address (nginx: `geo`).", "Geo"),
        "geoip": table("Variables by name that a database of addresses has the value of.", "GeoIp"),
        "split_clients": table(
            "Variables by name that divide requests into parts (nginx: `split_clients`).", "SplitClients"
        ),
        "gateway": _described("Settings of the process as a whole.", _ref("Gateway")),
    }


def units(schema: Schema) -> dict[str, str]:
    """Return which settings are times and which are sizes; a name means the same everywhere."""
    found: dict[str, str] = {}
    for body in (schema, *schema["$defs"].values()):
        for field, prop in body.get("properties", {}).items():
            reference = prop.get("$ref", "")
            if reference.endswith(("/Duration", "/Size")):
                kind = "time" if reference.endswith("/Duration") else "size"
                if found.setdefault(field, kind) != kind:
                    raise ValueError(f"{field} is a time in one place and a size in another")
    return dict(sorted(found.items()))


def groups(plan: Schema) -> dict[str, tuple[str, ...]]:
    """Return the names of the plan's settings by group."""
    names = {"SETTINGS": "Settings", "HEAD_LIMITS": "HeadLimits", "GATEWAY": "Gateway", "APP_POOL": "AppPool"}
    return {constant: tuple(plan["$defs"][name]["properties"]) for constant, name in names.items()}
