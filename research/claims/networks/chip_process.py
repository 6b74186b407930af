"""One chip as a process: it waits for values from local sockets, for the declared time of each part, and sends.

It needs the standard library alone, so that many start at once. Started by `chips.py`: the work as JSON on standard
input, then the time at which all begin; the times at which outputs were ready as JSON on standard output.
"""

import json
import socket
import sys
import threading
import time
from typing import Any


class Inbox:
    """Values as they come, by name: the time from which a value may be used."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.arrived: dict[str, float] = {}
        self.changed = threading.Condition()

        # a thread empties the socket, since a sender waits while its queue is full
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while True:
            name, at = json.loads(self.socket.recv(4096))
            with self.changed:
                self.arrived[name] = at
                self.changed.notify()

    def wait_for(self, name: str) -> None:
        """Returns when a value is there and its declared time has come."""
        with self.changed:
            self.changed.wait_for(lambda: name in self.arrived)
        wait(self.arrived[name])


def wait(until: float) -> None:
    """Sleeps until a time of the monotonic clock, which all processes of a machine share."""
    while (left := until - time.monotonic()) > 0:
        time.sleep(left)


def run(work: dict[str, Any]) -> list[list[float]]:
    """Runs the parts of a chip, and gives a tick and a time for each output.

    Args:
        work: `folder` of the sockets, `chip`, `dt`, `latency`, and `jobs` in order: tick, seconds, names of the values
            to wait for, (name, chip, seconds) of those to send, and whether it is an output.
    """
    inbox = Inbox(f"{work['folder']}/{work['chip']}")
    print("ready", flush=True)
    outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    port = 0.0
    outputs = []
    begin = float(sys.stdin.readline())

    for tick, seconds, needs, sends, is_output in work["jobs"]:
        wait(begin + tick * work["dt"])
        for name in needs:
            inbox.wait_for(name)

        wait(time.monotonic() + seconds)
        now = time.monotonic()
        for name, there, transfer in sends:
            port = max(port, now) + transfer
            message = json.dumps([name, port + work["latency"]]).encode()
            outbox.sendto(message, f"{work['folder']}/{there}")

        if is_output:
            outputs.append([tick, now - begin])

    return outputs


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.stdin.readline()))))
