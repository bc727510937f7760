"""A Jupyter kernel that starts in a tenth of a second: the protocol's messages over pyzmq, `exec`, and nothing else.

Of IPython it knows `%reset -f` as a cell's first line, which begins a new namespace, and loads it for `get_ipython()`.
What cells print is discarded; what `labkit` displays is sent out.
(https://jupyter-client.readthedocs.io/en/stable/messaging.html, version 5.3)
"""

from __future__ import annotations

import builtins
import hashlib
import hmac
import json
import linecache
import os
import sys
import threading
from datetime import UTC, datetime
from itertools import count
from typing import Any

import zmq

import labkit

DELIMITER = b"<IDS|MSG>"
LANGUAGE = {"name": "python", "version": sys.version.split()[0], "mimetype": "text/x-python", "file_extension": ".py"}


class Kernel:
    def __init__(self, connection: dict[str, Any], listening: list[int]) -> None:
        """`listening`: for each of the connection's five ports a descriptor of a socket that already listens there."""
        self.key = connection["key"].encode()
        self.session, self.numbers, self.cells = os.urandom(16).hex(), count(), count(1)
        self.address = f"{connection['transport']}://{connection['ip']}"
        context = zmq.Context()
        self.shell, self.control, self.stdin, self.iopub, self.heart = (
            context.socket(kind) for kind in (zmq.ROUTER, zmq.ROUTER, zmq.ROUTER, zmq.PUB, zmq.REP)
        )
        for socket, name in (
            (self.shell, "shell"),
            (self.control, "control"),
            (self.stdin, "stdin"),
            (self.iopub, "iopub"),
            (self.heart, "hb"),
        ):
            socket.linger = 1000
            socket.setsockopt(zmq.USE_FD, listening[connection[name + "_port"] - 1])
            socket.bind(f"{self.address}-{connection[name + '_port']}")
        self.parent: dict[str, Any] = {}
        self.namespace: dict[str, Any] = {}
        vars(builtins).update(labkit.notebooks_own())
        labkit._display = lambda bundle, metadata=None: self.publish(
            "display_data", {"data": bundle, "metadata": metadata or {}}
        )

    def run(self) -> None:
        threading.Thread(target=lambda: zmq.proxy(self.heart, self.heart), daemon=True).start()
        poller = zmq.Poller()
        poller.register(self.shell, zmq.POLLIN)
        poller.register(self.control, zmq.POLLIN)
        while True:
            try:
                for socket, _ in poller.poll():
                    if not self.answer(socket):
                        return
            except KeyboardInterrupt:
                pass

    def answer(self, socket: zmq.Socket) -> bool:
        """Do what one message asks for. False if it asks the kernel to end."""
        parts = socket.recv_multipart()
        at = parts.index(DELIMITER)
        if not hmac.compare_digest(parts[at + 1], self.sign(parts[at + 2 : at + 6])):
            return True
        self.parent, content = json.loads(parts[at + 2]), json.loads(parts[at + 5])
        kind = self.parent["msg_type"]
        self.publish("status", {"execution_state": "busy"})
        if kind == "kernel_info_request":
            about = {"protocol_version": "5.3", "implementation": "labkit", "implementation_version": "1", "banner": ""}
            reply: dict[str, Any] = {"status": "ok", **about, "language_info": LANGUAGE}
        elif kind == "execute_request":
            reply = self.execute(content["code"])
        else:
            reply = {"status": "ok", "restart": False}
        self.send(socket, kind.replace("_request", "_reply"), reply, parts[:at])
        self.publish("status", {"execution_state": "idle"})
        return kind != "shutdown_request"

    def execute(self, source: str) -> dict[str, Any]:
        number = next(self.cells)
        name = f"<cell {number}>"
        if source.startswith("%reset -f\n"):
            name = f"<preamble {number}>"  # its lines are not the learner's
            source = source.removeprefix("%reset -f")
            self.namespace = {"__name__": "__exercise__"}
            labkit._defined.clear()
            labkit._failed = None
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        error: BaseException | None = None
        try:
            exec(compile(source, name, "exec", dont_inherit=True), self.namespace)
        except BaseException as raised:  # whatever the cell raises; what `exit()` raises too
            labkit._failed = error = raised
        if error is None:
            return {"status": "ok", "execution_count": number, "user_expressions": {}, "payload": []}
        said = {"ename": type(error).__name__, "evalue": "", "traceback": []}
        self.publish("error", said)
        return {"status": "error", "execution_count": number, **said}

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        self.send(self.iopub, kind, content, [kind.encode()])

    def send(self, socket: zmq.Socket, kind: str, content: dict[str, Any], identities: list[bytes]) -> None:
        header = {
            "msg_id": f"{self.session}_{next(self.numbers)}",
            "msg_type": kind,
            "session": self.session,
            "username": "learner",
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, self.parent, {}, content)]
        socket.send_multipart([*identities, DELIMITER, self.sign(parts), *parts])

    def sign(self, parts: list[bytes]) -> bytes:
        return hmac.new(self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        connection = json.load(file)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    Kernel(connection, [int(word) for word in sys.argv[2:]]).run()
