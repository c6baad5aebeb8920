"""Malformed answers of upstreams over HTTP/1, uwsgi, SCGI and FastCGI.

Each is a 502 whose cause the log names, and its connection serves nobody else. What is malformed behind a head that the
client has got already cuts the response.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest

from helpers.cgi import Cgi, record, records
from helpers.gateway import Gateway, hold
from helpers.raw import Raw, Reply
from helpers.upstream import Upstream
from helpers.wait import wait_for

SECONDS = 5.0
"""What a malformed answer may take; `read_timeout` is far beyond."""


KEEPING = ("http", "fastcgi")
"""The languages whose connections serve one request after another."""


class Row(NamedTuple):
    """An answer that is none.

    Args:
        sent: its bytes.
        words: of the cause, in the log.
        held: the upstream leaves the connection open behind it, as the bytes say enough.
    """

    sent: bytes
    words: str
    held: bool = True


def ended(sent: bytes, words: str) -> Row:
    """Return a row that is malformed because the connection ends there."""
    return Row(sent, words, held=False)


def status_line(line: bytes, words: str) -> Row:
    return Row(line + b"\r\nContent-Length: 0\r\n\r\n", words)


def field(line: bytes, words: str) -> Row:
    return Row(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\nabc", words)


MIDDLE = "closed the connection in the middle of its response head"
SILENT = "closed the connection before it answered"
NO_HTTP = "isn't HTTP/1"
VERSION = "doesn't begin with HTTP/1.0 or HTTP/1.1"
DIGITS = "isn't three digits from 100 on"
LENGTH = "Content-Length isn't a decimal number of at most 64 bits"
LENGTHS = "Content-Length is there more than once"
BOTH = "both Content-Length and Transfer-Encoding"
CODING = 'a transfer coding other than "chunked"'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

HTTP = {
    "nothing": ended(b"", SILENT),
    "half a word": ended(b"HTT", MIDDLE),
    "half a status line": ended(b"HTTP/1.1 20", MIDDLE),
    "half a head": ended(b"HTTP/1.1 200 OK\r\nContent-Ty", MIDDLE),
    "a head without its empty line": ended(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", MIDDLE),
    "a text": Row(b"nonsense\r\n\r\n", NO_HTTP),
    "HTML alone": Row(b"<html>hello</html>", NO_HTTP),
    "JSON alone": Row(b'{"status": 200}', NO_HTTP),
    "NULs": Row(bytes(100), NO_HTTP),
    "an empty line first": Row(b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NO_HTTP),
    "a byte order mark": Row(b"\xef\xbb\xbfHTTP/1.1 200 OK\r\n\r\n", NO_HTTP),
    "a request": Row(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_HTTP),
    "lower case": Row(b"http/1.1 200 OK\r\n\r\n", NO_HTTP),
    "ICY": Row(b"ICY 200 OK\r\n\r\n", NO_HTTP),
    "RTSP": Row(b"RTSP/1.0 200 OK\r\n\r\n", NO_HTTP),
    "TLS alert": Row(b"\x15\x03\x01\x00\x02\x02\x28", NO_HTTP),
    "TLS hello": Row(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(100)), NO_HTTP),
    "SSH": Row(b"SSH-2.0-OpenSSH_9.2\r\n", NO_HTTP),
    "SMTP": Row(b"220 mail.test ESMTP\r\n", NO_HTTP),
    "Redis": Row(b"-ERR unknown command 'GET'\r\n", NO_HTTP),
    "MySQL": Row(b"\x4a\x00\x00\x00\x0a8.0.36\x00", NO_HTTP),
    "FastCGI": Row(records(b"Status: 200 OK\r\n\r\n"), NO_HTTP),
    "CGI": Row(b"Status: 200 OK\r\n\r\n", NO_HTTP),
    "HTTP/2 preface": Row(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NO_HTTP),
    "HTTP/2 settings": Row(b"\0\0\0\x04\0\0\0\0\0", NO_HTTP),
    "HTTP/2": status_line(b"HTTP/2 200", VERSION),
    "HTTP/2.0": status_line(b"HTTP/2.0 200 OK", VERSION),
    "HTTP/3": status_line(b"HTTP/3 200 OK", VERSION),
    "HTTP/0.9": status_line(b"HTTP/0.9 200 OK", VERSION),
    "HTTP/1": status_line(b"HTTP/1 200 OK", VERSION),
    "HTTP/11": status_line(b"HTTP/11 200 OK", VERSION),
    "HTTP/1.x": status_line(b"HTTP/1.x 200 OK", VERSION),
    "HTTP/1.10": status_line(b"HTTP/1.10 200 OK", DIGITS),
    "no space": status_line(b"HTTP/1.1200 OK", DIGITS),
    "a tab for a space": status_line(b"HTTP/1.1\t200 OK", DIGITS),
    "two spaces": status_line(b"HTTP/1.1  200 OK", DIGITS),
    "no status": status_line(b"HTTP/1.1 OK", DIGITS),
    "two digits": status_line(b"HTTP/1.1 20", DIGITS),
    "two digits and a reason": status_line(b"HTTP/1.1 20 OK", DIGITS),
    "four digits": status_line(b"HTTP/1.1 2000 OK", "more than three digits"),
    "below 100": status_line(b"HTTP/1.1 099 OK", DIGITS),
    "minus": status_line(b"HTTP/1.1 -20 OK", DIGITS),
    "plus": status_line(b"HTTP/1.1 +20 OK", DIGITS),
    "hexadecimal": status_line(b"HTTP/1.1 0xc8 OK", DIGITS),
    "a letter in the status": status_line(b"HTTP/1.1 2O0 OK", DIGITS),
    "other digits": status_line("HTTP/1.1 ２００ OK".encode(), DIGITS),
    "NUL in the reason": status_line(b"HTTP/1.1 200 O\0K", "reason phrase holds control characters"),
    "escape in the reason": status_line(b"HTTP/1.1 200 \x1b[31m", "reason phrase holds control characters"),
    "CR in the status line": status_line(b"HTTP/1.1 200 O\rK", "CR without LF in the status line"),
    "LF alone": Row(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "ends with LF instead of CR LF"),
    "LF alone in one line": field(b"X-A: b\nContent-Length: 0", "ends with LF instead of CR LF"),
    "LF alone at the end": Row(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", "ends with LF instead of CR LF"),
    "no colon": field(b"nonsense", 'the field line "nonsense" has no colon'),
    "no name": field(b": b", "a field line without a name"),
    "a space in a name": field(b"Bad Name: x", "the field name Bad?Name holds the byte 0x20"),
    "NUL in a name": field(b"X-\0A: x", "the field name X-?A holds the byte 0x00"),
    "a letter beyond ASCII in a name": field("X-Ä: x".encode(), "holds the byte 0xc3"),
    "a folded field": field(b"X-A: b\r\n folded", "obsolete line folding"),
    "a folded field with a tab": field(b"X-A: b\r\n\tfolded", "obsolete line folding"),
    "a folded first field": field(b" X-A: b", "obsolete line folding"),
    "NUL in a value": field(b"X-A: a\0b", "the control character 0x00 in the value of X-A"),
    "a control character in a value": field(b"X-A: a\x01b", "the control character 0x01 in the value of X-A"),
    "DEL in a value": field(b"X-A: a\x7fb", "the control character 0x7f in the value of X-A"),
    "CR in a value": field(b"X-A: a\rSet-Cookie: b", "CR without LF in the value of X-A"),
    "two lengths": field(b"Content-Length: 1\r\nContent-Length: 3", LENGTHS),
    "two lengths that agree": field(b"Content-Length: 3\r\nContent-Length: 3", LENGTHS),
    "two lengths, one with a space before its colon": field(b"Content-Length : 3\r\nContent-Length: 1", LENGTHS),
    "a list of lengths": field(b"Content-Length: 3, 3", LENGTH),
    "two lengths in one": field(b"Content-Length: 1 3", LENGTH),
    "a negative length": field(b"Content-Length: -3", LENGTH),
    "a length with a sign": field(b"Content-Length: +3", LENGTH),
    "a hexadecimal length": field(b"Content-Length: 0x3", LENGTH),
    "a fractional length": field(b"Content-Length: 3.0", LENGTH),
    "an empty length": field(b"Content-Length:", LENGTH),
    "a length in letters": field(b"Content-Length: three", LENGTH),
    "a length beyond 64 bits": field(b"Content-Length: 18446744073709551616", LENGTH),
    "a length with many zeros": field(b"Content-Length: " + b"0" * 30 + b"3", LENGTH),
    "a length and chunked": field(b"Content-Length: 3\r\nTransfer-Encoding: chunked", BOTH),
    "chunked and a length": field(b"Transfer-Encoding: chunked\r\nContent-Length: 3", BOTH),
    "a length and identity": field(b"Content-Length: 3\r\nTransfer-Encoding: identity", BOTH),
    "a space before the colon of chunked": field(b"Content-Length: 3\r\nTransfer-Encoding : chunked", BOTH),
    "two codings": field(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "is there more than once"),
    "chunked twice": field(b"Transfer-Encoding: chunked, chunked", "once, without parameters"),
    "chunked with a parameter": field(b"Transfer-Encoding: chunked;a=b", "once, without parameters"),
    "an empty coding": field(b"Transfer-Encoding:", "once, without parameters"),
    "chunked not last": field(b"Transfer-Encoding: chunked, gzip", "isn't the last transfer coding"),
    "gzip as a coding": field(b"Transfer-Encoding: gzip", CODING),
    "gzip, chunked": field(b"Transfer-Encoding: gzip, chunked", CODING),
    "identity": field(b"Transfer-Encoding: identity", CODING),
    "xchunked": field(b"Transfer-Encoding: xchunked", CODING),
    "chunked in quotes": field(b'Transfer-Encoding: "chunked"', CODING),
    "chunked behind a control character": field(b"Transfer-Encoding: \x0bchunked", "the control character 0x0b"),
    "too many fields": field(b"\r\n".join(b"X-%d: a" % n for n in range(501)), "more fields than the limit of 500"),
    "a long field": field(b"X-A: " + b"a" * 140_000, "the field X-A is longer than the limit of 131072 bytes"),
    "a long reason": status_line(b"HTTP/1.1 200 " + b"a" * 140_000, "is longer than the limit of 131072 bytes"),
    "a long line that does not end": Row(b"HTTP/1.1 200 " + b"a" * 140_000, "longer than the limit of 131072 bytes"),
    "a long head": field(
        b"\r\n".join(b"X-%d: %s" % (n, b"a" * 1000) for n in range(300)), "the head is longer than the limit of 262144"
    ),
    "interim answers alone": ended(CONTINUE, SILENT),
    "very many interim answers": ended(CONTINUE * 20_000, SILENT),
    "very many early hints": ended(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5_000, SILENT),
    "half a head behind an interim answer": ended(CONTINUE + b"HTTP/1.1 200", MIDDLE),
    "a text behind an interim answer": Row(CONTINUE + b"nonsense", NO_HTTP),
    "an interim answer with two lengths": Row(
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", LENGTHS
    ),
    "a protocol nobody asked for": Row(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "switched protocols unasked (101)",
    ),
}

HEADS = {
    "no head": ended(b"", "before it answered"),
    "half a head": ended(b"Status: 200 OK\r\nContent-Type: te", "in the middle of its response head"),
    "half a word of HTTP": ended(b"HTTP", "in the middle of its response head"),
    "SSH": ended(b"SSH-2.0-OpenSSH_9.2\r\n", "in the middle of its response head"),
    "a body alone": ended(b"<html>hello</html>", "in the middle of its response head"),
    "NULs": ended(bytes(100), "in the middle of its response head"),
    "a traceback": Row(b"Traceback (most recent call last):\n  File\n\n", "last? holds the byte 0x20"),
    "a status in letters": Row(b"Status: fine\r\n\r\n", 'Status is "fine", not three digits and a reason'),
    "an empty status": Row(b"Status:\r\n\r\n", 'Status is "", not three digits'),
    "a status of two digits": Row(b"Status: 20\r\n\r\n", 'Status is "20", not three digits'),
    "a status of four digits": Row(b"Status: 2000\r\n\r\n", 'Status is "2000", not three digits'),
    "a status below 100": Row(b"Status: 099 Low\r\n\r\n", 'Status is "099 Low", not three digits'),
    "a status with a sign": Row(b"Status: +20 OK\r\n\r\n", 'Status is "+20 OK", not three digits'),
    "a reason without a space": Row(b"Status: 200OK\r\n\r\n", 'Status is "200OK", not three digits'),
    "two lengths": Row(b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", LENGTHS),
    "two lengths that agree": Row(b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", LENGTHS),
    "a negative length": Row(b"Content-Length: -2\r\n\r\nab", LENGTH),
    "a length beyond 64 bits": Row(b"Content-Length: 99999999999999999999\r\n\r\nab", LENGTH),
    "a transfer coding": Row(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding in a CGI response"),
    "a coding and a length": Row(
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab", "Transfer-Encoding in a CGI response"
    ),
    "a name with a space": Row(b"Bad Name: x\r\n\r\n", "the field name Bad?Name holds the byte 0x20"),
    "a space before a colon": Row(b"Status : 200\r\n\r\n", "white space between the field name Status and its colon"),
    "no colon": Row(b"nonsense\r\n\r\n", 'the field line "nonsense" has no colon'),
    "no name": Row(b": x\r\n\r\n", "a field line without a name"),
    "a folded field": Row(b"X-A: a\r\n b\r\n\r\n", "obsolete line folding"),
    "NUL in a value": Row(b"X-A: a\0b\r\n\r\n", "the control character 0x00 in the value of X-A"),
    "a control character": Row(b"X-A: a\x01b\r\n\r\n", "the control character 0x01 in the value of X-A"),
    "CR in a value": Row(b"X-A: a\rX-B: b\r\n\r\n", "CR without LF in the value of X-A"),
    "ends of lines that differ": Row(b"X-A: a\r\nX-B: b\n\r\n", "some lines of the head end with LF"),
    "too many fields": Row(b"X-A: b\r\n" * 257 + b"\r\n", "more fields than the limit of 256"),
    "a long field": Row(b"X-A: " + b"a" * 300_000 + b"\r\n\r\n", "the field X-A is longer than the limit of 65536"),
    "a long head": Row(b"X-A: %s\r\n" % (b"a" * 60_000) * 5 + b"\r\n", "the head is longer than the limit of 262144"),
    "HTTP/2": Row(b"HTTP/2 200\r\n\r\n", VERSION),
    "a broken status line": Row(b"HTTP/1.1 20 OK\r\n\r\n", DIGITS),
    "a length and chunked of HTTP": field(b"Content-Length: 3\r\nTransfer-Encoding: chunked", BOTH),
    "interim answers alone": ended(b"Status: 100 Continue\r\n\r\n" * 1000, "before it answered"),
    "a protocol nobody asked for": Row(b"Status: 101 Switching Protocols\r\n\r\n", "switched protocols unasked (101)"),
    "two lengths behind an interim answer": Row(
        b"Status: 103\r\n\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", LENGTHS
    ),
    "TLS alert with an empty line": Row(b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n", "has no colon"),
}
"""Heads of uwsgi and SCGI; those of FastCGI come as its output."""

OUTPUT = {what: row for what, row in HEADS.items() if row.held}

NO_REQUEST = "which is not under way"

RECORDS = {
    "nothing": ended(b"", SILENT),
    "HTTP instead of records": Row(b"HTTP/1.1 200 OK\r\n\r\n", "a FastCGI record of version 72, not 1"),
    "TLS alert": Row(b"\x15\x03\x01\x00\x02\x02\x28", "a FastCGI record of version 21, not 1"),
    "SSH": Row(b"SSH-2.0-OpenSSH_9.2\r\n", "a FastCGI record of version 83, not 1"),
    "NULs": Row(bytes(100), "a FastCGI record of version 0, not 1"),
    "another version": Row(b"\x02\x06\x00\x01\x00\x00\x00\x00", "a FastCGI record of version 2, not 1"),
    "another version behind a record": Row(
        record(6, b"Status: 200\r\n") + b"\x02\x06\x00\x01\x00\x00\x00\x00", "a FastCGI record of version 2, not 1"
    ),
    "another request": Row(b"\x01\x06\x00\x02\x00\x00\x00\x00", f"a FastCGI record of request 2, {NO_REQUEST}"),
    "request 0": Row(b"\x01\x06\x00\x00\x00\x00\x00\x00", f"a FastCGI record of request 0, {NO_REQUEST}"),
    "the end of another request": Row(b"\x01\x03\x01\x00\x00\x08\x00\x00" + bytes(8), "request 256, " + NO_REQUEST),
    **{
        f"a record of kind {kind}": Row(record(kind, b"x"), f"a FastCGI record of kind {kind}, which an application")
        for kind in (0, 1, 2, 4, 5, 8, 10, 11, 255)
    },
    "an end of the wrong size": Row(record(3, b"1234"), "a FastCGI END_REQUEST of 4 bytes, not 8"),
    "an empty end": Row(record(3, b""), "a FastCGI END_REQUEST of 0 bytes, not 8"),
    "an end that is too long": Row(record(3, bytes(9)), "a FastCGI END_REQUEST of 9 bytes, not 8"),
    "one request at a time": Row(record(3, b"\0\0\0\0\1\0\0\0"), "FCGI_CANT_MPX_CONN"),
    "overloaded": Row(record(3, b"\0\0\0\0\2\0\0\0"), "it is overloaded (FCGI_OVERLOADED)"),
    "unknown role": Row(record(3, b"\0\0\0\0\3\0\0\0"), "it knows no responders (FCGI_UNKNOWN_ROLE)"),
    "unknown status": Row(record(3, b"\0\0\0\0\4\0\0\0"), "its protocol status is unknown"),
    "an end without a head": Row(record(3, bytes(8)), "ended without a response"),
    "an end behind empty output": Row(records(b""), "ended without a response"),
    "an end behind errors": Row(record(7, b"Primary script unknown") + record(3, bytes(8)), "ended without a response"),
    "an end in the head": Row(record(6, b"Status: 2") + record(3, bytes(8)), "ended without a response"),
    "a body without a head": Row(records(b"<html>hello</html>"), "ended without a response"),
    "an end behind interim answers": Row(records(b"Status: 100 Continue\r\n\r\n" * 1000), "ended without a response"),
    "closed in a header": ended(b"\x01\x06\x00", MIDDLE),
    "closed in a record": ended(record(6, b"Status: 200\r\n\r\n")[:12], "closed the connection"),
    "closed in padding before the head's end": ended(record(6, b"Status: 200\r\n", 7)[:-3], "closed the connection"),
    "closed behind errors": ended(record(7, b"Primary script unknown"), "closed the connection"),
}

ROWS = {
    **{("http", what): row for what, row in HTTP.items()},
    **{(language, what): row for language in ("uwsgi", "scgi") for what, row in HEADS.items()},
    **{
        ("fastcgi", f"output: {what}"): Row(
            record(6, row.sent) if len(row.sent) < 2**16 else records(row.sent), row.words
        )
        for what, row in OUTPUT.items()
    },
    **{("fastcgi", what): row for what, row in RECORDS.items()},
}


class Cut(NamedTuple):
    """A response that breaks behind its head.

    Args:
        begun: what the client gets first; it ends with ``half``.
        rest: what follows.
        words: of the cause, in the log.
        end: how the upstream ends it: ``hold`` (it does not), ``close`` or ``reset``.
    """

    begun: bytes
    rest: bytes
    words: str
    end: str = "hold"


OF_LENGTH = b"Content-Length: 10\r\n\r\nhalf"
OPEN = b"X-A: b\r\n\r\nhalf"
HTTP_OF_LENGTH = b"HTTP/1.1 200 OK\r\n" + OF_LENGTH
HTTP_OPEN = b"HTTP/1.1 200 OK\r\n" + OPEN
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf"
CLOSED = "closed the connection in the middle of its response"
RESET = "reset the connection in the middle of its response"
SIZE = "sent an invalid body: a chunk's size line isn't 1 to 16 hex digits and CR LF"
CHUNK_END = "sent an invalid body: a chunk's data doesn't end with CR LF where its size says"

CHUNKS = {
    "a size that is none": Cut(CHUNKED, b"\r\nzz\r\n", SIZE),
    "a negative size": Cut(CHUNKED, b"\r\n-1\r\n", SIZE),
    "a size with 0x": Cut(CHUNKED, b"\r\n0x4\r\nhalf\r\n", SIZE),
    "an empty size": Cut(CHUNKED, b"\r\n\r\n", SIZE),
    "a size of 17 digits": Cut(CHUNKED, b"\r\n" + b"0" * 16 + b"4\r\nhalf\r\n", SIZE),
    "a size beyond 64 bits": Cut(CHUNKED, b"\r\n1" + b"0" * 16 + b"\r\n", SIZE),
    "a size behind a space": Cut(CHUNKED, b"\r\n 4\r\nhalf\r\n", SIZE),
    "a size that ends with LF": Cut(CHUNKED, b"\r\n4\nhalf\r\n", SIZE),
    "a size that ends with CR": Cut(CHUNKED, b"\r\n4\rhalf\r\n", SIZE),
    "NULs for a size": Cut(CHUNKED, b"\r\n" + bytes(10), SIZE),
    "another response for a size": Cut(CHUNKED, b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", SIZE),
    "an extension without its semicolon": Cut(CHUNKED, b"\r\n4 a=b\r\nhalf\r\n", SIZE),
    "a control character in an extension": Cut(CHUNKED, b"\r\n4;a=\0\r\n", "a control character in a chunk extension"),
    "a long extension": Cut(CHUNKED, b"\r\n4;" + b"a" * 5000, "chunk extensions beyond the limit of 4096 bytes"),
    "more data than the size says": Cut(CHUNKED, b"more\r\n0\r\n\r\n", CHUNK_END),
    "data that ends with LF": Cut(CHUNKED, b"\n0\r\n\r\n", CHUNK_END),
    "data that ends with CR": Cut(CHUNKED, b"\r0\r\n\r\n", CHUNK_END),
    "a trailer that is none": Cut(CHUNKED, b"\r\n0\r\nnonsense\r\n\r\n", 'the field line "nonsense" has no colon'),
    "a folded trailer": Cut(CHUNKED, b"\r\n0\r\nX-A: b\r\n c\r\n\r\n", "obsolete line folding"),
    "a NUL in a trailer": Cut(CHUNKED, b"\r\n0\r\nX-A: \0\r\n\r\n", "the control character 0x00 in the value of X-A"),
    "a trailer that ends with LF": Cut(CHUNKED, b"\r\n0\r\nX-A: b\n\r\n", "ends with LF instead of CR LF"),
    "too many trailers": Cut(CHUNKED, b"\r\n0\r\n" + b"X-A: b\r\n" * 65 + b"\r\n", "more fields than the limit of 64"),
    "closed in a chunk": Cut(CHUNKED, b"\r\nff\r\nmore", CLOSED, "close"),
    "closed behind a chunk": Cut(CHUNKED, b"\r\n", CLOSED, "close"),
    "closed in a size": Cut(CHUNKED, b"\r\n4", CLOSED, "close"),
    "closed in the last chunk": Cut(CHUNKED, b"\r\n0\r\n", CLOSED, "close"),
    "closed in the trailers": Cut(CHUNKED, b"\r\n0\r\nX-A: b\r\n", CLOSED, "close"),
    "reset in a chunk": Cut(CHUNKED, b"", RESET, "reset"),
}

STREAMS = {
    "closed before the length is there": Cut(OF_LENGTH, b"", CLOSED, "close"),
    "closed one byte early": Cut(OF_LENGTH, b"12345", CLOSED, "close"),
    "reset before the length is there": Cut(OF_LENGTH, b"", RESET, "reset"),
    "reset where the connection's end is the body's": Cut(OPEN, b"", RESET, "reset"),
    "a chunk's size that is none": CHUNKS["a size that is none"],
    "closed behind a chunk": CHUNKS["closed behind a chunk"],
}
"""Over uwsgi and SCGI."""

ENDED = record(3, bytes(8))
TRUNCATED = "sent an invalid body: the connection closed before the body was complete"

RECORDED = {
    "an end before the length is there": Cut(record(6, OF_LENGTH), ENDED, TRUNCATED),
    "an end one byte early": Cut(record(6, OF_LENGTH), record(6, b"12345") + ENDED, TRUNCATED),
    "an end in a chunk": Cut(record(6, CHUNKED), ENDED, TRUNCATED),
    "a chunk's size that is none": Cut(record(6, CHUNKED), record(6, b"\r\nzz\r\n"), SIZE),
    "closed before the length is there": Cut(record(6, OF_LENGTH), b"", CLOSED, "close"),
    "closed without an end": Cut(record(6, OPEN), b"", CLOSED, "close"),
    "closed behind the end of the output": Cut(record(6, OPEN), record(6, b""), CLOSED, "close"),
    "closed in a record": Cut(record(6, OPEN), record(6, b"more")[:-2], CLOSED, "close"),
    "closed in a header": Cut(record(6, OPEN), b"\x01\x06\x00", CLOSED, "close"),
    "closed in the end": Cut(record(6, OPEN), ENDED[:-1], CLOSED, "close"),
    "closed in the padding of the end": Cut(record(6, OPEN), record(3, bytes(8), 8)[:-1], CLOSED, "close"),
    "reset": Cut(record(6, OPEN), b"", RESET, "reset"),
    "garbage": Cut(record(6, OPEN), b"garbage!", "sent an invalid body: a FastCGI record of version 103, not 1"),
    "garbage before the length is there": Cut(record(6, OF_LENGTH), b"garbage!", "a FastCGI record of version 103"),
    "HTTP": Cut(record(6, OPEN), b"HTTP/1.1 200 OK\r\n\r\n", "a FastCGI record of version 72, not 1"),
    "another request": Cut(record(6, OPEN), b"\x01\x06\0\x02\0\0\0\0", f"a FastCGI record of request 2, {NO_REQUEST}"),
    "another kind": Cut(record(6, OPEN), record(5, b"more"), "a FastCGI record of kind 5"),
    "an end of the wrong size": Cut(record(6, OPEN), record(3, b"1234"), "a FastCGI END_REQUEST of 4 bytes, not 8"),
    "an end that refuses": Cut(record(6, OPEN), record(3, b"\0\0\0\0\2\0\0\0"), "it is overloaded (FCGI_OVERLOADED)"),
}

CUTS = {
    ("http", "closed before the length is there"): Cut(HTTP_OF_LENGTH, b"", CLOSED, "close"),
    ("http", "closed one byte early"): Cut(HTTP_OF_LENGTH, b"12345", CLOSED, "close"),
    ("http", "reset before the length is there"): Cut(HTTP_OF_LENGTH, b"", RESET, "reset"),
    ("http", "reset where the connection's end is the body's"): Cut(HTTP_OPEN, b"", RESET, "reset"),
    **{("http", what): cut for what, cut in CHUNKS.items()},
    **{(language, what): cut for language in ("uwsgi", "scgi") for what, cut in STREAMS.items()},
    **{("fastcgi", f"behind the head: {what}"): cut for what, cut in RECORDED.items()},
}

RIGHT = b"Content-Length: 5\r\n\r\nright"

SPENT = {
    ("http", "more than the length says"): b"HTTP/1.1 200 OK\r\n" + RIGHT + b"more",
    ("http", "another response behind it"): (b"HTTP/1.1 200 OK\r\n" + RIGHT) * 2,
    ("http", "more behind the last chunk"): CHUNKED.replace(b"4\r\nhalf", b"5\r\nright\r\n0\r\n\r\nmore"),
    ("http", "a connection that is to close"): b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + RIGHT,
    ("http", "HTTP/1.0"): b"HTTP/1.0 200 OK\r\n" + RIGHT,
    ("http", "chunked in HTTP/1.0"): (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n"
    ),
    ("fastcgi", "more than the length says"): records(RIGHT + b"more"),
    ("fastcgi", "a record behind the end"): records(RIGHT) + record(6, b"more"),
    ("fastcgi", "another response behind it"): records(RIGHT) * 2,
    ("fastcgi", "bytes behind the end"): records(RIGHT) + b"\0",
}
"""Right answers, held open, whose connections are good for nothing more."""

FLOODS = {
    ("http", "interim answers"): (b"", CONTINUE),
    ("http", "early hints"): (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    ("fastcgi", "errors"): (b"", record(7, b"error")),
    ("fastcgi", "empty output"): (b"", record(6, b"")),
    ("fastcgi", "empty output behind a head"): (record(6, OPEN), record(6, b"")),
    ("fastcgi", "errors behind a head"): (record(6, OPEN), record(7, b"error" * 100)),
}
"""What comes without an end, behind what comes first."""


Talk = Callable[[socket.socket], bool]
"""Gives one answer; returns whether the connection lives on."""


class Fake:
    """An upstream of one row: the first request gets the answer of `talk`, if there is one, the others right ones."""

    def __init__(self, language: str, port: int, talk: Talk | None) -> None:
        self.language = language
        self.talks = [talk] if talk else []
        self.server: Upstream | Cgi
        if language == "http":
            self.server = Upstream(lambda connection, _: self._answer(connection), port=port)
        else:
            self.server = Cgi(port=port)
            self.server.talk = lambda connection, _: self._answer(connection)

    def _answer(self, connection: socket.socket) -> bool:
        if self.talks:
            return self.talks.pop()(connection)
        head = b"HTTP/1.1 200 OK\r\n" if self.language == "http" else b""
        connection.sendall(records(RIGHT) if self.language == "fastcgi" else head + RIGHT)
        return self.language in KEEPING


class Place(NamedTuple):
    """Where the gateway serves one row, and where it looks for the upstream."""

    gateway: Gateway
    language: str
    path: str
    port: int

    @contextlib.contextmanager
    def upstream(self, talk: Talk | None) -> Iterator[Fake]:
        fake = Fake(self.language, self.port, talk)
        try:
            yield fake
        finally:
            with contextlib.suppress(OSError):
                fake.server.listener.shutdown(socket.SHUT_RDWR)  # or who accepts holds the port
            fake.server.close()

    def get(self) -> Reply:
        with Raw(self.gateway.port, SECONDS) as client:
            client.send(f"GET {self.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return client.reply()

    def told(self, words: str) -> None:
        """Wait for the words, and the upstream they are about, in one error of the log."""

        def lines() -> list[str]:
            errors = (line for line in self.gateway.log.splitlines() if "[error] " in line)
            return [line for line in errors if f"upstream 127.0.0.1:{self.port} " in line]

        try:
            wait_for(lambda: any(words in line for line in lines()), "a line with the words", SECONDS)
        except AssertionError:
            raise AssertionError(f"{words!r} is not in {lines()}") from None

    def serves_on(self, fake: Fake) -> None:
        """Assert that the connection of the first request is closed, and that the next one is served by another."""
        server = fake.server
        assert server.connections == 1
        wait_for(lambda: not server.open, "the gateway closes the connection", SECONDS)
        for connections in (2, 2 if self.language in KEEPING else 3):
            reply = self.get()
            assert (reply.status, reply.body) == (200, b"right")
            assert server.connections == connections


OTHER = ("http", "another request")

Places = dict[tuple[str, str, str], Place]

TABLES: dict[str, Iterable[tuple[str, str]]] = {
    "row": ROWS,
    "cut": CUTS,
    "spent": SPENT,
    "flood": FLOODS,
    "other": [OTHER],
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """One gateway, with a route and a port of its own for each row."""
    rows = [(table, language, what) for table, names in TABLES.items() for language, what in names]
    ports = [hold(0) for _ in rows]
    routes = [
        f'[[server.route]]\npath = "/{port}/"\nproxy = "{language}://127.0.0.1:{port}"\n'
        + ('read_timeout = "1s"\n' if table == "flood" else "")
        for (table, language, _), port in zip(rows, ports, strict=True)
    ]
    toml = "[[server]]\nfastcgi_keep_conn = true\n" + "".join(routes)
    gateway = Gateway(tmp_path_factory.mktemp("malformed"), toml, {})
    yield {row: Place(gateway, row[1], f"/{port}/", port) for row, port in zip(rows, ports, strict=True)}
    gateway.stop()


@pytest.mark.parametrize(("language", "what"), ROWS)
def test_a_malformed_answer_is_a_502_that_names_its_cause(places: Places, language: str, what: str) -> None:
    row, place = ROWS[language, what], places["row", language, what]

    def talk(connection: socket.socket) -> bool:
        connection.sendall(row.sent)
        return row.held

    with place.upstream(talk) as fake:
        began = time.monotonic()
        assert place.get().status == 502
        assert time.monotonic() - began < SECONDS
        place.told(row.words)
        place.serves_on(fake)


@pytest.mark.parametrize(("language", "what"), CUTS)
def test_what_breaks_behind_its_head_is_visibly_cut(places: Places, language: str, what: str) -> None:
    cut, place, read = CUTS[language, what], places["cut", language, what], threading.Event()

    def talk(connection: socket.socket) -> bool:
        connection.sendall(cut.begun)
        assert read.wait(SECONDS)
        connection.sendall(cut.rest)
        if cut.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return cut.end == "hold"

    with place.upstream(talk) as fake, Raw(place.gateway.port, SECONDS) as client:
        client.send(f"GET {place.path} HTTP/1.1\r\nHost: a\r\n\r\n")
        head = client._until(b"\r\n\r\n").decode().lower()
        assert head.startswith("http/1.1 200 ")
        while b"half" not in client.buffer:
            assert client._more()
        read.set()
        name, value = ("content-length", "10") if OF_LENGTH in cut.begun else ("transfer-encoding", "chunked")
        assert f"{name}: {value}\r\n" in head
        with pytest.raises((EOFError, ConnectionResetError)):  # and so the connection is closed
            client._body("GET", 200, {name: value})
        place.told(cut.words)
        place.serves_on(fake)


@pytest.mark.parametrize(("language", "what"), SPENT)
def test_a_right_answer_may_spend_its_connection(places: Places, language: str, what: str) -> None:
    place = places["spent", language, what]

    def talk(connection: socket.socket) -> bool:
        connection.sendall(SPENT[language, what])
        return True

    with place.upstream(talk) as fake:
        reply = place.get()
        assert (reply.status, reply.body) == (200, b"right")
        place.serves_on(fake)


@pytest.mark.parametrize(("language", "what"), FLOODS)
def test_a_flood_ends_and_keeps_nobody_else_waiting(places: Places, language: str, what: str) -> None:
    begin, unit = FLOODS[language, what]
    place, other = places["flood", language, what], places["other", *OTHER]
    block, begun, over = unit * (4_000_000 // len(unit)), threading.Event(), threading.Event()

    def talk(connection: socket.socket) -> bool:
        connection.sendall(begin)
        deadline = time.monotonic() + 3
        while not over.is_set() and time.monotonic() < deadline:
            connection.sendall(block)
            begun.set()
        return False

    with place.upstream(talk), other.upstream(None), Raw(place.gateway.port, SECONDS) as client:
        client.send(f"GET {place.path} HTTP/1.1\r\nHost: a\r\n\r\n")
        assert begun.wait(SECONDS)
        waited = []
        for _ in range(10):
            began = time.monotonic()
            assert other.get().status == 200
            waited.append(time.monotonic() - began)
        if begin:
            over.set()
            with pytest.raises((EOFError, ConnectionResetError)):
                client.reply()
        else:
            assert client.reply().status == 504
            place.told("sent no answer within 1000 ms (read_timeout)")
            over.set()
    assert max(waited) < 1.5


def test_the_table_is_large() -> None:
    assert len(ROWS) + len(CUTS) >= 100
    for table in (ROWS, CUTS):
        assert {language for language, _ in table} == {"http", "uwsgi", "scgi", "fastcgi"}
