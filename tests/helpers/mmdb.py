"""Databases of addresses in the MaxMind format, small ones made by tests."""

from __future__ import annotations

import ipaddress

NONE = -1


class Short(int):
    """A number of 16 bits."""


class Long(int):
    """A number of 64 bits."""


def encoded(value: object) -> bytes:
    """A value of the data section: maps, lists, texts, numbers from 0, true and false."""
    if isinstance(value, bool):
        return bytes([value, 14 - 7])  # the size is the value
    if isinstance(value, int):
        number = value.to_bytes((value.bit_length() + 7) // 8, "big")
        if isinstance(value, Long):
            return bytes([len(number), 9 - 7]) + number
        return bytes([(5 if isinstance(value, Short) else 6) << 5 | len(number)]) + number
    if isinstance(value, str):
        text = value.encode()
        assert len(text) < 29
        return bytes([2 << 5 | len(text)]) + text
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(encoded, value))
    assert isinstance(value, dict)
    return bytes([7 << 5 | len(value)]) + b"".join(encoded(key) + encoded(item) for key, item in value.items())


def database(networks: dict[str, object]) -> bytes:
    """The file that says this of networks; they do not overlap."""
    nodes = [[NONE, NONE]]
    leaves: dict[tuple[int, int], int] = {}
    data = b""
    for network, value in networks.items():
        net = ipaddress.ip_network(network)
        bits = format(int(net.network_address), "0128b")
        length = net.prefixlen + (96 if net.version == 4 else 0)
        node = 0
        for at in range(length - 1):
            branch = int(bits[at])
            if nodes[node][branch] == NONE:
                nodes.append([NONE, NONE])
                nodes[node][branch] = len(nodes) - 1
            node = nodes[node][branch]
        leaves[node, int(bits[length - 1])] = len(data)
        data += encoded(value)
    count = len(nodes)
    tree = b""
    for number, pair in enumerate(nodes):
        for branch, child in enumerate(pair):
            leaf = leaves.get((number, branch))
            record = count + 16 + leaf if leaf is not None else count if child == NONE else child
            tree += record.to_bytes(3, "big")
    about = {
        "binary_format_major_version": Short(2),
        "binary_format_minor_version": Short(0),
        "build_epoch": Long(1),
        "database_type": "Test",
        "description": {},
        "ip_version": Short(6),
        "languages": [],
        "node_count": count,
        "record_size": Short(24),
    }
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encoded(about)
