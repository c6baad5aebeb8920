"""A gateway process that speaks the control protocol and serves nothing, for tests of the supervisor.

It appends every message it gets to the file after --log as a JSON line. A plan whose
`gateway.spool_dir` is "/" is refused.
SIGUSR1 makes it report slot 0 of the newest worker as stuck.
"""

import json
import os
import signal
import socket
import sys

control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
workers = []


def tell(**message):
    control.send(json.dumps(message).encode())


def record(message):
    with open(sys.argv[sys.argv.index("--log") + 1], "a") as log:
        log.write(json.dumps({**message, "gateway": os.getpid()}) + "\n")


def stuck(_number, _frame):
    tell(op="stuck", worker=workers[-1], pool="app", slot=0, thread_ms=60000, request="GET /slow", request_id="r1")


for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, stuck)
tell(op="hello", protocol=1, version="0", pid=os.getpid())
while True:
    payload, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 253)
    if not payload:
        sys.exit(0)
    message = json.loads(payload)
    op = message["op"]
    if op == "plan":
        plan = json.loads(os.pread(descriptors[0], 1 << 24, 0))
        message["plan"] = plan
    record({**message, "descriptors": len(descriptors)})
    if op == "plan" and plan["gateway"].get("spool_dir") == "/":
        tell(op="refused", id=message["id"], error="no place to spool")
    elif op == "plan":
        tell(op="ready", id=message["id"])
    elif op == "worker":
        workers.append(message["worker"])
    elif op == "retire":
        tell(op="retired", worker=message["worker"])
    elif op == "status":
        tell(op="status", id=message["id"], status={"requests": 7})
    elif op == "drain":
        tell(op="drained")
        sys.exit(0)
    for fd in descriptors:
        os.close(fd)
