"""Pages of trained networks: equality with the integer model, speed beside native C, sizes, time of the first answer.

    python research/deploy/web.py [--recipes digits signals ...]     # names, shipped weights or run folders

Each network runs its whole sample and 10,000 random steps in node and in headless Chromium, by the page's own worker;
the outputs are compared with those of `IntegerModel.run`, which `run --integers` uses. Front ends are compared with
their exact form in numpy, on noise. The step in WebAssembly (node and Chromium) and that of the same C by `cc -O2` are
timed in turn. A page that has an input without an end (a drawing, a sensor) runs 30 minutes of it as fast as it can;
after every sixth, behind a garbage collection, the memory of its two threads is read. Needs node, Chromium, a C
compiler and the extra `web`; data of the sets.

Writes research/deploy/results/web.json.
"""

import argparse
import base64
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from spikebridge.cli.main import main as spikebridge
from spikebridge.deploy.front_ends.arrays import EXACT
from spikebridge.deploy.web.compiler import compile_module
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.deploy.web.page import PageNetwork, page_modules, write_page
from spikebridge.networks.signals.data.sets import load_series
from spikebridge.recipes.target import resolve_target
from spikebridge.recipes.web import page_prices, run_networks
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "web.json"
QUICK = ("digits", "modulation")  # trained here with the preset quick; the others are shipped
RECIPES = (*QUICK, "signals", "signals_watch", "signals_ecg")
NUM_RANDOM = 10_000
NUM_BLOCKS = 100
ROUNDS = 60  # short ones: the fastest was not interrupted
TIMED = 100  # steps of a round
NUM_OPENINGS = 5  # of a page, again the fastest
CHROMIUM = "/usr/bin/chromium"
STREAM_SECONDS = 1800
NUM_PARTS = 6  # of the stream, after each of which memory is read
FASTER = 1e-4  # time of a page that runs as fast as it can, relative to that of its network
POOL_SECONDS = 60  # of a recording, which is repeated
CHUNK = 100  # blocks of a sensor that are sent at a time; the page queues 500
FRAME_SECONDS = 5
# frames that are shown in a time, and the longest time between two
FRAMES = """
(seconds) => new Promise((done) => {
  const times = [];
  const frame = (now) => {
    times.push(now);
    if (now - times[0] < 1000 * seconds) requestAnimationFrame(frame);
    else done(times);
  };
  requestAnimationFrame(frame);
})
"""
WORKER = (files("spikebridge.deploy.web") / "worker.js").read_text(encoding="utf-8")

# runs in node and in Chromium: the worker's own classes, fed by a test
HARNESS = """
async function measure(job) {
  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const run = (await WebAssembly.instantiate(bytes(job.module), {})).instance.exports;
  if (job.front) {
    const front = new FrontEnd(job.about, run);
    const rows = Object.fromEntries(Object.entries(job.inputs).map(([k, v]) => [k, new Float32Array(bytes(v).buffer)]));
    const outputs = front.outputs.map(() => []);
    for (let block = 0; block < job.blocks; block++) {
      for (const [name, values] of front.inputs) {
        values.set(rows[name].subarray(block * values.length, (block + 1) * values.length));
      }
      run.step();
      front.outputs.forEach((output, k) => outputs[k].push(...output.values));
    }
    return outputs.map((values) => Array.from(values));
  }

  const network = new Network(job.about, run);
  const kinds = { int8_t: Int8Array, uint8_t: Uint8Array, int16_t: Int16Array, int32_t: Int32Array };
  const inputs = Object.entries(job.inputs).map(([k, v]) => [k, new kinds[v.type](bytes(v.base64).buffer)]);
  const outputs = network.outputs.map(() => []);
  const steps = () => {
    for (const [name, rows] of inputs) network.setIntegers(name, rows);
    network.step();
  };
  for (let tick = 0; tick < job.ticks; tick++) {
    steps();
    network.outputs.forEach((port, k) => { if (port.flag[0]) outputs[k].push(...Array.from(port.values, Number)); });
  }
  let best = Infinity;
  for (let round = 0; round < job.rounds; round++) {
    network.start(0);
    const started = performance.now();
    for (let tick = 0; tick < job.timed; tick++) run.step();
    best = Math.min(best, (performance.now() - started) / job.timed);
  }
  return { outputs, microseconds: 1000 * best };
}
"""

TIMER = """
#include <stdio.h>
#include <time.h>
int main(void) {
    double best = 1e30;
    for (int round = 0; round < %d; round++) {
        struct timespec a, b;
        web_start(0);
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int tick = 0; tick < %d; tick++) web_step();
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double taken = ((b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3) / %d;
        if (taken < best) best = taken;
    }
    printf("%%f\\n", best);
    return 0;
}
"""


def main() -> None:
    """Measures one recipe after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="run folders, or recipes with shipped weights")
    parser.add_argument("--data", type=Path, default=None, help="the folder with data sets")
    parser.add_argument("--streams", action="store_true", help="measure frames a second and memory alone")
    options = parser.parse_args()

    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for word in options.recipes:
            run = word
            if word in QUICK:
                run = str(Path(folder) / f"{word}-quick")
                spikebridge(["train", word, "--preset", "quick", "--out", run, "--quiet"])

            networks, inputs = run_networks(resolve_target(run), None, options.data, lambda line: None)
            row = {} if options.streams else measured(networks, inputs, browser, Path(folder))
            row |= streamed(networks, inputs, pool_of(resolve_target(run), inputs, options.data), browser)
            save({"recipe": word, **row})
            print(json.dumps(row), flush=True)
        browser.close()


def save(row: dict[str, Any]) -> None:
    """Writes the figures of a recipe beside those of others; what was not measured again stays."""
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    by_name = {one["recipe"]: one for one in rows}
    by_name[row["recipe"]] = by_name.get(row["recipe"], {}) | row
    results = {"command": "python research/deploy/web.py", "rows": [*by_name.values()]}
    RESULTS.write_text(json.dumps({**results, "environment": describe_environment()}, indent=1) + "\n")


def measured(networks: list[PageNetwork], inputs: WebInputs, browser: Any, folder: Path) -> dict[str, Any]:
    """Differences, times and sizes of the page of some networks."""
    modules = page_modules(networks, inputs, page_prices())
    rows = []
    for number, network in enumerate(networks):
        text = modules[f"network_{number}"]
        module = compile_module(text.c)
        row: dict[str, Any] = {"network": network.name, "module bytes": len(module)}
        for name, given, ticks in jobs_of(network):
            job = network_job(module, text.description, given, ticks)
            expected = network.model.run(given, ticks)
            for engine, said in run_everywhere(job, browser, folder).items():
                row[f"{engine} {name} differ"] = count_differences(text.description, said["outputs"], expected)
                row[f"{engine} us a step"] = round(said["microseconds"], 2)

        row["native us a step"] = native_time(text.c, folder)
        for engine in ("node", "chromium"):
            row[f"{engine} ratio"] = round(row[f"{engine} us a step"] / row["native us a step"], 2)
        rows.append(row)

    page = folder / f"{networks[0].name}-{len(list(folder.iterdir()))}.html"
    written = write_page(page, inputs.title, networks, inputs, page_prices())
    result = {"networks": rows, "page bytes": written.num_bytes, **first_answer(page, browser)}
    if inputs.front_end is not None:
        result["front end differ"] = front_end_differences(modules["front_end"], inputs, browser, folder)

    return result


def jobs_of(network: PageNetwork) -> list[tuple[str, dict[str, Any], int]]:
    """The sample, all streams one after the other for as long as it is, and random steps."""
    chance = np.random.default_rng(0)
    random = {}
    for name, record in network.model.record.inputs.items():
        number = -(-(NUM_RANDOM - record.clock.phase) // record.clock.period)
        shape = (number, 1, *network.inputs[name].shape[2:])
        low, high = (0, 1) if record.grid is None else (record.grid.low, record.grid.high)
        random[name] = chance.integers(low, high + 1, shape)

    sample = {name: x[:, :1] for name, x in network.inputs.items()}
    return [("sample", sample, network.ticks), ("random", random, NUM_RANDOM)]


def network_job(module: bytes, about: dict[str, Any], given: dict[str, Any], ticks: int) -> dict[str, Any]:
    """A job of the harness."""
    kinds = {port["name"]: port["type"] for port in about["inputs"]}
    inputs = {
        name: {
            "type": kinds[name],
            "base64": base64.b64encode(np.ascontiguousarray(x, kinds[name].removesuffix("_t")).tobytes()).decode(),
        }
        for name, x in given.items()
    }
    return {
        "module": base64.b64encode(module).decode(),
        "about": about,
        "inputs": inputs,
        "ticks": ticks,
        "rounds": ROUNDS,
        "timed": TIMED,
    }


def run_everywhere(job: dict[str, Any], browser: Any, folder: Path) -> dict[str, Any]:
    """The answers of node and of Chromium to a job."""
    script = folder / "job.js"
    finish = "measure(job).then((said) => require('fs').writeFileSync(process.argv[2], JSON.stringify(said)));"
    script.write_text(f"const job = {json.dumps(job)};\n{WORKER}\n{HARNESS}\n{finish}\n")
    said = folder / "said.json"
    subprocess.run(["node", str(script), str(said)], check=True)

    page = browser.new_page()
    page.goto("about:blank")
    page.add_script_tag(content=f"{WORKER}\n{HARNESS}\nglobalThis.measure = measure;")
    in_browser = page.evaluate("(job) => measure(job)", job)
    page.close()

    return {"node": json.loads(said.read_text()), "chromium": in_browser}


def count_differences(about: dict[str, Any], said: list[list[int]], expected: dict[str, Any]) -> int:
    """Values that differ, those that are missing included."""
    number = 0
    for port, values in zip(about["outputs"], said, strict=True):
        wanted = expected.get(port["name"], np.zeros(0)).ravel()
        found = np.asarray(values)
        number += abs(len(wanted) - len(found)) + int((wanted[: len(found)] != found[: len(wanted)]).sum())

    return number


def native_time(c: str, folder: Path) -> float:
    """Microseconds of a step of the same C, compiled for this machine."""
    source = folder / "native.c"
    source.write_text("#define _POSIX_C_SOURCE 199309L\n" + c + TIMER % (ROUNDS, TIMED, TIMED))
    command = ["cc", "-std=c99", "-O2", "-ffp-contract=off", "-w", str(source), "-o", str(folder / "native"), "-lm"]
    subprocess.run(command, check=True)
    said = subprocess.run([str(folder / "native")], check=True, capture_output=True, text=True).stdout

    return round(float(said), 2)


def front_end_differences(text: Any, inputs: WebInputs, browser: Any, folder: Path) -> dict[str, int]:
    """Values of a front end on noise that differ from those of its exact form."""
    front: Any = inputs.front_end
    chance = np.random.default_rng(0)
    given = {name: chance.random((NUM_BLOCKS, *shape), np.float32) for name, shape in front.inputs.items()}
    state = front.start()
    expected: dict[str, list[Any]] = {}
    for block in range(NUM_BLOCKS):
        one = {name: EXACT.array(x[block]) for name, x in given.items()}
        outputs, state = front.arrays(EXACT, one, state)
        for name, y in outputs.items():
            expected.setdefault(name, []).append(np.asarray(y, np.float32).ravel())

    job = {
        "front": True,
        "module": base64.b64encode(compile_module(text.c)).decode(),
        "about": text.description,
        "blocks": NUM_BLOCKS,
        "inputs": {name: base64.b64encode(x.tobytes()).decode() for name, x in given.items()},
    }
    wanted = [np.concatenate(values) for values in expected.values()]
    return {
        engine: sum(int((np.asarray(y, np.float32) != w).sum()) for y, w in zip(said, wanted, strict=True))
        for engine, said in run_everywhere(job, browser, folder).items()
    }


def first_answer(page: Path, browser: Any) -> dict[str, Any]:
    """Milliseconds from the opening of a page to the first answer that it shows, and what it asked for."""
    asked: list[str] = []
    times = []
    for _ in range(NUM_OPENINGS):
        tab = browser.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_load_state("load")
        mark = "performance.getEntriesByName('first answer')[0]?.startTime ?? null"
        while (milliseconds := tab.evaluate(mark)) is None:
            tab.wait_for_timeout(20)
        times.append(milliseconds)
        tab.close()

    others = [url for url in asked if url != page.as_uri() and not url.startswith("blob:")]
    return {"first answer ms": round(min(times)), "requests": len(others)}


def pool_of(target: Any, inputs: WebInputs, data: Path | None) -> Any:
    """The start of the series that a network of a sensor was trained on, one behind the other."""
    if inputs.kind not in ("sound", "motion"):
        return np.zeros((0, 1), np.float32)

    series = load_series(target.trained_run().config["dataset"], data)
    return np.asarray(series.samples[: round(POOL_SECONDS * series.rate_hz)], np.float32)


def streamed(networks: list[PageNetwork], inputs: WebInputs, pool: Any, browser: Any) -> dict[str, Any]:
    """Frames a second of a page while it computes, and its memory over half an hour of stream."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        write_page(page, inputs.title, networks, inputs, page_prices())
        tab = browser.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_timeout(500)
        result = shown_frames(tab)
        # that of a page without anything says what the machine was able to
        tab.goto("about:blank")
        result["frames a second, blank page"] = shown_frames(tab)["frames a second"]
        tab.close()

        # recordings with an end repeat, so that they say nothing about a stream
        if inputs.front_end is None:
            return result

        fast = Path(folder) / "fast.html"
        write_page(fast, inputs.title, networks, replace(inputs, slowdown=FASTER), page_prices())
        tab = browser.new_page()
        tab.goto(fast.as_uri())
        tab.wait_for_timeout(500)
        result |= memory_over_a_stream(tab, inputs, pool)
        tab.close()

    return result


def shown_frames(tab: Any) -> dict[str, float]:
    """Frames a second, the time between two of them, and processor time of the page's thread for each."""
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = busy_seconds(session)
    gaps = np.diff(tab.evaluate(FRAMES, FRAME_SECONDS))
    busy = busy_seconds(session) - before
    session.detach()

    return {
        "frames a second": round(1000 / gaps.mean(), 1),
        "ms between frames": round(float(np.median(gaps)), 1),
        "longest ms between frames": round(float(gaps.max()), 1),
        "page's thread ms a frame": round(1000 * busy / len(gaps), 2),
    }


def busy_seconds(session: Any) -> float:
    """Processor time of the tasks of a page's thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def memory_over_a_stream(tab: Any, inputs: WebInputs, pool: Any) -> dict[str, Any]:
    """Kilobytes in use before a stream and after each part of it: of the page's thread, the worker, and its modules."""
    worker = tab.workers[0]
    heaps = HeapReader(tab)
    if inputs.kind != "drawing":
        encoded = base64.b64encode(pool.tobytes()).decode()
        tab.evaluate("(text) => { globalThis.pool = new Float32Array(fromBase64(text).buffer); }", encoded)
        tab.evaluate("() => { stop(); send(streamOf(page.rate)); }")

    rows = [heaps.kilobytes()]
    began = time.perf_counter()
    sent = 0
    for part in range(1, NUM_PARTS + 1):
        while (seconds := worker.evaluate("player.done * player.page.dt")) < STREAM_SECONDS * part / NUM_PARTS:
            sent += 0 if inputs.kind == "drawing" else send_blocks(tab, worker, inputs, sent)
            tab.wait_for_timeout(20)
        rows.append(heaps.kilobytes())

    taken = time.perf_counter() - began
    modules = worker.evaluate(
        "[...player.networks, player.front].map((one) => one.run.memory.buffer.byteLength / 1024)"
    )
    return {
        "stream s": round(seconds),
        "stream took s": round(taken),
        "page heap kB": [row[0] for row in rows],
        "worker heap kB": [row[1] for row in rows],
        "modules kB": round(sum(modules)),
        "memory grew kB": round(sum(rows[-1]) - sum(rows[1])),
    }


def send_blocks(tab: Any, worker: Any, inputs: WebInputs, sent: int) -> int:
    """Sends samples of the pool as a microphone does, if the page has taken most of those before."""
    front: Any = inputs.front_end
    size = int(np.prod(front.inputs["samples"]))
    if worker.evaluate("player.source.left") > CHUNK * size:
        return 0

    send = """([start, number]) => {
      const samples = Float32Array.from({ length: number }, (_, place) => pool[(start + place) % pool.length]);
      worker.postMessage({ samples });
    }"""
    tab.evaluate(send, [sent, CHUNK * size])
    return CHUNK * size


class HeapReader:
    """Reads the heaps of a page's two threads after a garbage collection, by the protocol of Chromium's tools."""

    def __init__(self, tab: Any) -> None:
        self.session = tab.context.new_cdp_session(tab)
        self.tab = tab
        self.replies: dict[int, Any] = {}
        self.number = 0
        workers: list[str] = []
        self.session.on("Target.attachedToTarget", lambda event: workers.append(event["sessionId"]))
        self.session.on("Target.receivedMessageFromTarget", self._receive)
        self.session.send(
            "Target.setAutoAttach", {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False}
        )
        while not workers:
            tab.wait_for_timeout(20)
        self.worker = workers[0]

    def kilobytes(self) -> tuple[float, float]:
        """Kilobytes in use by the page's thread and by the worker, arrays included."""
        # messages on their way are drawn first
        self.tab.wait_for_timeout(200)
        return self._used(self.session.send), self._used(self._send_to_worker)

    def _used(self, send: Any) -> float:
        send("HeapProfiler.collectGarbage")
        usage = send("Runtime.getHeapUsage")
        return round((usage["usedSize"] + usage["backingStorageSize"]) / 1024)

    def _send_to_worker(self, method: str) -> Any:
        self.number += 1
        message = json.dumps({"id": self.number, "method": method})
        self.session.send("Target.sendMessageToTarget", {"sessionId": self.worker, "message": message})
        while self.number not in self.replies:
            self.tab.wait_for_timeout(5)

        return self.replies.pop(self.number)

    def _receive(self, event: Any) -> None:
        reply = json.loads(event["message"])
        if "id" in reply:
            self.replies[reply["id"]] = reply["result"]


if __name__ == "__main__":
    main()
