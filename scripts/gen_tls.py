"""What people write of TLS: files, where the plan has what is in them."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

PATH: Schema = {"type": "string", "format": "path"}
FILES: Schema = {"anyOf": [PATH, {"type": "array", "minItems": 1, "items": PATH}]}


def write_upstream(terms: Schema) -> None:
    """Give terms for upstreams the form people write.

    Args:
        terms: the schema of `UpstreamTls` in the plan; changed in place.

    """
    properties = terms["properties"]
    for name in ("ca", "crl"):
        told = properties[name]["description"]
        properties[name] = {"description": "File with " + told[0].lower() + told[1:], **PATH}
    told = properties["certificate"]["description"]
    properties["certificate"] = {"description": told.replace("The certificate", "File with the certificate"), **PATH}
    properties["key"] = {
        "description": "File with the key of that certificate. Default: it is in the certificate's file (nginx: "
        "`proxy_ssl_certificate_key`).",
        **PATH,
    }
    properties["password_file"] = {
        "description": "File with passwords of the key, one a line (nginx: `proxy_ssl_password_file`). Default: none.",
        **PATH,
    }


def write(tls: Schema) -> None:
    """Give a policy the form people write.

    Args:
        tls: the schema of `Tls` in the plan; changed in place.

    """
    properties = tls["properties"]
    tickets = properties.pop("ticket_keys")["description"]
    rest = {name: body for name, body in properties.items() if name != "certificate"}
    for name in ("client_ca", "client_crl"):
        told = rest[name]["description"]
        rest[name] = {"description": "File with " + told[0].lower() + told[1:], **PATH}
    properties.clear()
    properties["certificate"] = {
        "description": "File with the certificate and those that lead to its CA, as PEM; several for several kinds of "
        "keys: each client gets the first that it can check (nginx: `ssl_certificate`).",
        **FILES,
    }
    properties["key"] = {
        "description": "File with the key of the certificate, as PEM; as many as certificates. Default: it is in the "
        "certificate's file (nginx: `ssl_certificate_key`).",
        **FILES,
    }
    properties["acme"] = {
        "description": "Have a certificate for the server's names issued and renewed, as `[acme]` says; a self-signed "
        "one is served until then. Default: false.",
        "type": "boolean",
    }
    properties["password_file"] = {
        "description": "File with passwords of keys, one a line (nginx: `ssl_password_file`). Default: none.",
        **PATH,
    }
    properties["preset"] = {
        "description": "What `protocols`, `ciphers` and `curves` are unless they are written, as Mozilla advises: "
        "`modern` is TLS 1.3 alone, `intermediate` "
        "has TLS 1.2 with forward secrecy and AEAD ciphers beside it. Default: intermediate.",
        "enum": ["modern", "intermediate"],
    }
    properties["ticket_keys"] = {
        "description": tickets.replace("Keys for tickets, base64 of 48 or 80 bytes:", "Files of 48 or 80 bytes:"),
        "type": "array",
        "items": PATH,
    }
    properties.update(rest)
