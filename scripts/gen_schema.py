"""Builds the schema of gateway.toml from the Rust plan's schema and the Python models.

What people write differs from the resolved plan in a few ways, all of them here: settings stand directly in the root,
in servers and in routes; times and sizes may be strings; backends have short forms; lists of one may be bare.

A setting stands once in it, in `Settings` (every level has those), `HeadLimits` (the root and servers) or `Content`
(routes, conditions, `limit_except`): the levels refer to it there.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import msgspec

import gen_tls
from buchner.config.model import AcmeSettings, AppSettings, CrsSettings, ProcessSettings

Schema = dict[str, Any]

TITLE = "Configuration of Buchner (gateway.toml)"
STRING: Schema = {"type": "string"}
TEXT: Schema = {"type": "string", "format": "text"}
"""A text with variables."""
STRINGS: Schema = {"type": "array", "items": STRING}
_NUMBERS = re.compile(r"u?int\d*|float|double")
"""Formats of numbers; the others are kinds of strings, as crates/gateway/src/kinds.rs lists them."""
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
    defs: Schema = {name: _relaxed(_inlined(body, plan["$defs"])) for name, body in plan["$defs"].items()}
    defs.update(copy.deepcopy(UNITS))
    defs["App"] = _merged(_python(AppSettings), defs["AppPool"])
    defs["Acme"] = _python(AcmeSettings)
    defs["Crs"] = _python(CrsSettings)
    defs["Gateway"] = _merged(_python(ProcessSettings), defs["Gateway"])
    defs["Content"] = _contents(defs["Content"])
    del defs["Settings"]["x-kinds"]
    _write_settings(defs["Settings"]["properties"])
    _shorten(defs)
    gen_tls.write(defs["Tls"])
    gen_tls.write_upstream(defs["UpstreamTls"])
    _name_variables(defs)
    _write_zones(defs)
    defs["RewriteStep"] = _choice(defs["RewriteOp"])
    defs["RewriteStep"]["properties"]["return"] = _described(
        defs["Return"]["description"] + " A status, the URL of a 302, or a table.",
        {"type": "integer"},
        STRING,
        _ref("Return"),
    )
    defs["Condition"] = _condition(defs["Condition"])
    for name, level in (("Route", _route), ("Server", _server), ("If", _if), ("LimitExcept", _limit_except)):
        defs[name] = level(defs, defs[name]["properties"])
    root = {**_root(plan), **_shared(defs, "Settings", "HeadLimits")}
    return {
        "$schema": plan["$schema"],
        "title": TITLE,
        "description": "Settings in the root apply everywhere; servers and routes may override them.",
        "type": "object",
        "properties": root,
        "additionalProperties": False,
        "$defs": _reached(root, defs),
    }


def bases(schema: Schema) -> Schema:
    """Return the same schema with settings that levels share in types that they extend, for classes with bases."""
    schema = copy.deepcopy(schema)
    defs = schema["$defs"]
    for name in ("HeadLimits", "Content"):
        defs[name]["allOf"] = [_ref("Settings")]
    for body in (schema, *defs.values()):
        properties = body.get("properties", {})
        shared = {name: prop["$ref"].split("/")[2] for name, prop in properties.items() if is_shared(prop)}
        if shared:
            body["properties"] = {name: prop for name, prop in properties.items() if name not in shared}
            body["allOf"] = [_ref((set(shared.values()) - {"Settings"}).pop())]
    return schema


def is_shared(prop: Schema) -> bool:
    """Say whether a property of a level refers to a setting that it shares with others."""
    return "/properties/" in prop.get("$ref", "")


def _shared(defs: Schema, *names: str) -> Schema:
    """Return the properties of some types as references to them."""
    return {field: _ref(f"{name}/properties/{field}") for name in names for field in defs[name]["properties"]}


def _reached(root: Schema, defs: Schema) -> Schema:
    """Return those types that something refers to, in the order of their names."""
    found: set[str] = set()
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            name = str(value.get("$ref", "")).removeprefix("#/$defs/").partition("/")[0]
            if name and name not in found:
                found.add(name)
                waiting.append(defs[name])
    return {name: defs[name] for name in sorted(found)}


def _write_settings(settings: Schema) -> None:
    """Give settings the forms people write."""
    settings["access_log"] = _access_log()
    settings["set_headers"] = _set_headers(settings["set_headers"]["description"])
    settings["error_log"] = _error_log(settings["error_log"]["description"])
    for name in ("add_headers", "add_trailers"):
        settings[name] = _added(settings[name]["description"])
    settings["error_page"] = _pages(settings["error_page"]["description"])
    settings["limit"] = _described(settings["limit"]["description"], STRING, STRINGS)
    settings["types"] = {
        "description": "Media types by file extension, before the built-in table (nginx: `types`). Default: none.",
        "type": "object",
        "additionalProperties": STRING,
    }
    settings["upstream_tls"] = _described(
        'Terms of TLS towards upstreams, for `proxy = "https://…"`. Default: they are compared '
        "with the system's CAs and the host of the URL.",
        _ref("UpstreamTls"),
    )
    settings["root"] = _described(
        settings["root"]["description"] + " A path with variables, or a table. Default: none (nginx: `root`, `alias`).",
        STRING,
        _ref("Root"),
    )


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
        elif key in ("default", "format", "x-room"):
            out.update(_kept(key, value))
        else:
            out[key] = _relaxed(value) if isinstance(value, dict) else value
    if "$ref" in out and out["$ref"].endswith("/Duration") and isinstance(out.get("default"), int):
        out["default"] /= 1000
    return out


def _kept(key: str, value: Any) -> Schema:
    """Return what is kept of a keyword that says more than people need to know."""
    if key == "format" and value in MAXIMA:
        return {"maximum": MAXIMA[value]}
    keep = not _NUMBERS.fullmatch(value) if key == "format" else key == "default" and value is not None
    return {key: value} if keep else {}


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
    several = {"type": "array", "items": TEXT}
    return {"description": description, "type": "object", "additionalProperties": {"anyOf": [TEXT, several]}}


def _added(description: str) -> Schema:
    return _described(
        description,
        {"type": "object", "additionalProperties": TEXT},
        {"type": "array", "items": _ref("AddHeader")},
    )


def _pages(description: str) -> Schema:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": {"anyOf": [TEXT, _ref("ErrorPage")]},
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


_SHORT: dict[str, tuple[str, tuple[Schema, ...]]] = {
    "files": ('`"static/"` or a table.', (STRING,)),
    "proxy": (
        '`"http://name/"`, `"https://host:port"`, `"http://unix:/path:/uri"` or a table. '  # noqa: ISC004
        "A URI after the server, even `/`, replaces the matched path, as in nginx.",
        (STRING,),
    ),
    "app": ("true for `[app]`, a name of `[apps.NAME]`, or a table.", ({"type": "boolean"}, STRING)),
    "redirect": ("a URL (status 302) or a table.", (STRING,)),
    "respond": ("a status, a text (status 200) or a table.", ({"type": "integer"}, STRING)),
}
"""Contents that people may write in a shorter form than a table: in words, and the types."""


def _contents(rust: Schema) -> Schema:
    """Return the content handlers of a route, each with the forms people write."""
    properties = {}
    for name, prop in _choice(rust)["properties"].items():
        words, forms = _SHORT.get(name, ("", ()))
        description = prop.pop("description")
        if words:
            description = f"{description.removesuffix('.')}: {words}"
        properties[name] = _described(description, *forms, prop)
    return {"description": "What answers a route.", "type": "object", "properties": properties}


def _write_zones(defs: Schema) -> None:
    """Give the tables of limits the forms people write: a rate is a text."""
    rates = defs["LimitReqZone"]["properties"]
    del rates["period"]
    rates["rate"] = _described("Requests in a span of time: `10r/s`, `5/minute`, `100 per 2 hours`.", STRING)
    defs["LimitReqZone"]["required"] = ["key", "rate"]
    defs["LimitConnZone"]["required"] = ["key"]


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


def _route(defs: Schema, rust: Schema) -> Schema:
    own = {name: rust[name] for name in ("path", "match", "internal")}
    own["rewrite"] = _steps(rust["rewrite"]["description"])
    own["try_files"] = rust["try_files"]
    own["route"] = {
        "description": rust["route"]["description"],
        "type": "array",
        "items": _ref("Route"),
    }
    own["limit_except"] = _described(rust["limit_except"]["description"], _ref("LimitExcept"))
    return {
        "description": (
            f"A path of a server and what answers there: one of {', '.join(defs['Content']['properties'])}."
        ),
        "type": "object",
        "properties": {**own, **_shared(defs, "Content", "Settings")},
        "required": ["path"],
        "additionalProperties": False,
    }


def _if(defs: Schema, rust: Schema) -> Schema:
    own = {
        "when": _described(rust["when"]["description"], STRING, _ref("Condition")),
        "then": _steps(rust["then"]["description"] + " Default: nothing."),
    }
    return {
        "description": "What holds where a condition does: further steps and, within a route, content and settings.",
        "type": "object",
        "properties": {**own, **_shared(defs, "Content", "Settings")},
        "required": ["when"],
        "additionalProperties": False,
    }


def _limit_except(defs: Schema, rust: Schema) -> Schema:
    return {
        "description": defs["LimitExcept"]["description"],
        "type": "object",
        "properties": {"methods": rust["methods"], **_shared(defs, "Content", "Settings")},
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


def _server(defs: Schema, rust: Schema) -> Schema:
    own = {
        "listen": _described(
            "Addresses: `host:port`, `:port`, `[v6]:port`, `unix:/path`, with options (docs/running.md). Default: "
            "127.0.0.1:8000.",
            STRING,
            STRINGS,
        ),
        "names": _described(rust["names"]["description"] + " Default: none.", STRING, STRINGS),
        "default_server": {
            "description": "Answers, on its addresses, names that no server has; else the first does. Default: false.",
            "type": "boolean",
            "default": False,
        },
        "tls": {"description": "TLS on its addresses that have the option `tls`. Default: none.", **_ref("Tls")},
        "rewrite": _steps(rust["rewrite"]["description"]),
        "route": {
            "description": rust["route"]["description"],
            "type": "array",
            "items": _ref("Route"),
        },
    }
    return {
        "description": "A virtual server.",
        "type": "object",
        "properties": {**own, **_shared(defs, "Settings", "HeadLimits")},
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
        "limits": {
            "description": 'Limits by name, for `limit`: `login = "5/minute by address"`; by `address`, `host`, '
            "`path`, `everyone` or a text with variables; `burst 10` at its end for more at once than in its time.",
            "type": "object",
            "additionalProperties": STRING,
        },
        "limit_req_zone": table(plan["properties"]["limit_req_zone"]["description"], "LimitReqZone"),
        "limit_conn_zone": table(plan["properties"]["limit_conn_zone"]["description"], "LimitConnZone"),
        "crs": _described(
            "The rules of the firewall (`waf`): the directory of the OWASP Core Rule Set, or a table.",
            STRING,
            _ref("Crs"),
        ),
        "gateway": _described("Settings of the process as a whole.", _ref("Gateway")),
        "acme": _described("Where certificates of servers with `acme = true` in `tls` come from.", _ref("Acme")),
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
    """Return the names of the plan's settings by group, and those of content handlers."""
    names = {"SETTINGS": "Settings", "HEAD_LIMITS": "HeadLimits", "GATEWAY": "Gateway", "APP_POOL": "AppPool"}
    found = {constant: tuple(plan["$defs"][name]["properties"]) for constant, name in names.items()}
    return {**found, "CONTENTS": tuple(_choice(plan["$defs"]["Content"])["properties"])}


def kinds(plan: Schema) -> Schema:
    """Return what Rust says of each kind of string, by its format: the `title`, and what it `has`."""
    return dict(plan["$defs"]["Settings"]["x-kinds"])


def rooms(plan: Schema) -> dict[str, list[str]]:
    """Return the names of the settings of each room, by its title."""
    settings = plan["$defs"]["Settings"]
    found: dict[str, list[str]] = {title: [] for title in settings["x-rooms"]}
    for name, prop in settings["properties"].items():
        found[prop["x-room"]].append(name)
    return found


def formats(schema: Schema) -> Schema:
    """Return which settings are, or have within them, texts with variables, patterns and paths."""
    settings = schema["$defs"]["Settings"]["properties"]
    found = {name: _format(prop, schema["$defs"]) for name, prop in settings.items()}
    return {name: shape for name, shape in sorted(found.items()) if shape}


def _format(body: Schema, defs: Schema) -> Schema:
    """Return the part of a schema that is about formats: of a text, of items, of values, of fields."""
    if "$ref" in body:
        return _format(defs[body["$ref"].rpartition("/")[2]], defs)
    found: Schema = {}
    for choice in body.get("anyOf", ()):
        found.update(_format(choice, defs))
    if "format" in body:
        found["text"] = body["format"]
    inner = {"items": body.get("items"), "values": body.get("additionalProperties")}
    found.update({key: shape for key, value in inner.items() if value and (shape := _format(value, defs))})
    fields = {name: shape for name, prop in body.get("properties", {}).items() if (shape := _format(prop, defs))}
    return {**found, "fields": fields} if fields else found
