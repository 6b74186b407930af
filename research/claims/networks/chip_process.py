"""One chip as a process: it waits for values from local sockets and for the declared time of each part, then sends.

It needs the standard library alone, so that many processes start fast. Started by `chips.py`, it reads the work as JSON
from standard input, then the time at which all begin, and writes the times of its outputs as JSON to standard output.
"""

import json
import socket
import sys
import threading
import time
from typing import Any


class Inbox:
    """Values that have arrived, by name, with the time from which each may be used."""

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
        """Returns when a value has arrived and its declared time has come."""
        with self.changed:
            self.changed.wait_for(lambda: name in self.arrived)
        wait(self.arrived[name])


def wait(until: float) -> None:
    """Sleeps until a time of the monotonic clock, which all processes of a machine share."""
    while time.monotonic() < until:
        time.sleep(max(0.0, until - time.monotonic()))


def run(work: dict[str, Any]) -> list[list[float]]:
    """Runs the parts of a chip; the tick and the time of each output.

    Args:
        work: `folder` of the sockets, `chip`, `dt`, `latency`, and `jobs` in order: tick, seconds, names of the values
            to wait for, (name, chip, seconds) of those to send, and True for an output.
    """
    inbox = Inbox(f"{work['folder']}/{work['chip']}")
    print("ready", flush=True)
    outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    port_free = 0.0
    outputs = []
    start = float(sys.stdin.readline())

    for tick, seconds, needs, sends, is_output in work["jobs"]:
        wait(start + tick * work["dt"])
        for name in needs:
            inbox.wait_for(name)

        wait(time.monotonic() + seconds)
        now = time.monotonic()
        for name, target, transfer in sends:
            # a chip sends one value after another
            port_free = max(port_free, now) + transfer
            message = json.dumps([name, port_free + work["latency"]]).encode()
            outbox.sendto(message, f"{work['folder']}/{target}")

        if is_output:
            outputs.append([tick, now - start])

    return outputs


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.stdin.readline()))))
