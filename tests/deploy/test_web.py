"""A network as a web page: its module computes what the integer model computes, and the page says what it cannot do.

The C of the modules is tested with the system's compiler. WebAssembly needs ziglang, node and Chromium; where one is
missing these tests are skipped.
"""

import importlib.util
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from browser import DESKTOP, PHONE, Visit, chromium
from research.deploy.web import HARNESS, WORKER, count_differences, jobs_of, network_job
from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, IntegerModel, export, integer_model, quantize
from spikebridge.deploy.front_ends.arrays import EXACT
from spikebridge.deploy.quantization.lowering import add_integers
from spikebridge.deploy.streaming.activity import VoiceActivity
from spikebridge.deploy.streaming.samples import SampleReader, SampleSteps
from spikebridge.deploy.web import compiler, page
from spikebridge.deploy.web.compiler import compile_module
from spikebridge.deploy.web.inputs import FrontEnd, WebInputs
from spikebridge.deploy.web.modules import Prices, network_module
from spikebridge.deploy.web.page import PageNetwork, page_modules, write_page
from spikebridge.errors import ConfigError, ExportError
from spikebridge.networks.digits import recipe as digits
from spikebridge.neurons import IF
from spikebridge.training.run.config_io import to_plain

pytestmark = pytest.mark.untyped

COMPILER = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang (extra web) is missing")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
PRICES = Prices(2.0, 1.0, "<b>a profile</b>")
SHAPES = {"frames": (1, 16, 16), "events": (2, 16, 16)}
# plays samples as a file; a final answer is its mean logits
PLAYS = """
(async () => {
  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const [run, front] = await Promise.all(page.modules.map((one) => openModule(bytes(one.base64))));
  const network = new Network(page.networks[0], run);
  const player = new Player(page, [network], new FrontEnd(page.front, front));
  player.finish = () => player.finals.push(Array.from(network.mean));
  const chunks = [Float32Array.from(samples)];
  player.play({ kind: "blocks", rate: page.rate, chunks, left: samples.length, closed: true });
  while (!player.ended) player.advance();
  console.log(JSON.stringify(player.finals));
})();
"""
# moves a phone fifty times a second
SHAKES = """
() => { setInterval(() => {
  const [x, alpha] = [9 * Math.sin(performance.now() / 50), 90];
  const motion = { accelerationIncludingGravity: { x, y: 1, z: 9.8 }, rotationRate: { alpha, beta: 0, gamma: 0 } };
  dispatchEvent(new DeviceMotionEvent("devicemotion", motion));
}, 20); }
"""
EVIL = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def networks() -> list[PageNetwork]:
    """The hybrid and its ANN twin, untrained, with a sample."""
    config = digits.Config(hidden=6)
    example = digits.example(config)
    made = []
    for name in ("learned", "ann"):
        torch.manual_seed(0)
        network = digits.build(config)[name].eval()
        inputs = {key: x for key, x in example.items() if key in network.inputs}
        model = integer_model(quantize(network, inputs), inputs)
        integers = model.quantize({key: x.numpy() for key, x in inputs.items()})
        made.append(PageNetwork(f"{name} {EVIL}", EVIL, model, integers, 12, ("<svg></svg>", "")))

    return made


@pytest.fixture(scope="module")
def inputs() -> WebInputs:
    return digits.web(to_plain(digits.Config(hidden=6)), {})


@pytest.fixture(scope="module")
def html(networks: list[PageNetwork], inputs: WebInputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    written = write_page(path, f"Title {EVIL}", networks, inputs, PRICES)
    assert written.num_bytes == path.stat().st_size < 1_000_000

    return path.read_text(encoding="utf-8")


def replace_outputs(model: IntegerModel) -> Any:
    """A model whose outputs are computed by others."""
    return SimpleNamespace(record=replace(model.record, outputs=()))


class SeriesFrontEnd:
    """Passes samples on as frames and events, a block for three ticks; the level of blocks before adds to frames."""

    rate_hz = 8000.0
    num_channels = 1
    block = 160

    def arrays(self, a: Any, x: dict[str, Any], state: Any) -> tuple[dict[str, Any], Any]:
        level = state * 0.5 + a.mean(abs(x["samples"]), 0)
        spread = np.arange(512) / 512
        events = a.where(a.mean(x["samples"], 0) * np.ones((3, 512)) < 0.2 * spread, 0.0, 1.0)
        return {"frames": level * spread[None, ::2], "events": events}, level

    def initial_state(self) -> Any:
        return np.zeros(1)

    def advance(self, samples: Any, state: Any) -> tuple[dict[str, Any], Any]:
        return self.arrays(EXACT, {"samples": EXACT.array(samples)}, state)


def series_inputs(kind: Any) -> WebInputs:
    """The inputs of a page of sound, which has utterances, or of motion, which has windows."""
    front = SeriesFrontEnd()
    activity = VoiceActivity(0.02, hangover=3, shortest=2) if kind == "sound" else None
    return WebInputs(
        kind,
        FrontEnd(front.arrays, {"samples": (160, 1)}, front.initial_state, ticks=3, window=8, activity=activity),
        rate_hz=front.rate_hz,
        channels=("x",),
        answer="answer",
        classes=[str(n) for n in range(10)],
    )


def series_page(kind: Any, networks: list[PageNetwork], folder: Path) -> str:
    """A page of a series of samples."""
    inputs = series_inputs(kind)
    path = folder / f"{kind}.html"
    write_page(path, kind, networks[:1], inputs, PRICES)

    return path.read_text(encoding="utf-8")


def phone_inputs() -> WebInputs:
    """The inputs of a page of motion that reads a phone's sensors."""
    inputs = series_inputs("motion")
    one: Any = inputs.front_end

    def arrays(a: Any, x: dict[str, Any], state: Any) -> tuple[Any, Any]:
        return one.arrays(a, {"samples": x["samples"][:, :1]}, state)

    front = replace(one, arrays=arrays, inputs={"samples": (160, 6)})
    return replace(inputs, front_end=front, channels=list("abcdef"), phone=(0.1,) * 6)


@needs_compiler
def test_a_module_in_c_computes_the_integers_the_mean_and_the_energy(
    networks: list[PageNetwork], tmp_path: Path
) -> None:
    network = networks[0]
    shapes = {name: x.shape[2:] for name, x in network.inputs.items()}
    text = network_module(network.model, shapes, PRICES, "answer", recency=2.0)
    sample = {name: x[:, :1] for name, x in network.inputs.items()}
    expected = network.model.dequantize(network.model.run(sample, 12))["answer"][:, 0].astype(np.float64)

    # each mean weighs the newest logits twice as much as those before
    weights = 2.0 ** np.arange(4)
    mean = (weights[:, None] * expected).sum(0) / weights.sum()
    ports = {port["name"]: port for port in text.description["inputs"]}
    feeds = []
    for name, x in sample.items():
        port = ports[name]
        values = ", ".join(str(int(value)) for value in x.ravel())
        fires = f"t % {port['period']} == 0"
        rows = f"v_{name} + t / {port['period']} * {port['size']}"
        copy = f"memcpy((void *)web_address({port['at']}), {rows}, {port['size']});"
        feeds.append(f"static const {port['type']} v_{name}[] = {{{values}}};")
        feeds.append(f"#define FEED_{name} if ({fires}) {copy}")

    place = text.description["answer"]["at"]
    program = [
        *("#include <stdio.h>", "int main(void) {", "web_start(0);", 'printf("%d ", web_best());'),
        f"for (int t = 0; t < 12; t++) {{ {' '.join(f'FEED_{name}' for name in sample)} web_step(); }}",
        f'const float *mean = web_address({place}); for (int j = 0; j < 10; j++) printf("%.9g ", mean[j]);',
        'printf("%d %.17g\\n", web_best(), web_energy()); return 0; }',
    ]
    (tmp_path / "module.c").write_text("\n".join([text.c, *feeds, *program]))
    subprocess.run([str(COMPILER), "-std=c99", "module.c", "-o", "module", "-lm"], cwd=tmp_path, check=True, timeout=60)
    said = subprocess.run([str(tmp_path / "module")], capture_output=True, text=True, check=True, timeout=60).stdout
    before, *means, best, energy = said.split()

    assert before == "-1"
    assert np.allclose([float(value) for value in means], mean, atol=1e-6)
    assert int(best) == int(np.argmax(mean))
    # four frames through a convolution of 5 x 5, whose windows reach over the border, cost this many products alone
    assert float(energy) > PRICES.mac * 4 * 8 * 6 * 8 * 8


@needs_zig
@needs_node
def test_webassembly_in_node_gives_the_integers_of_the_model(
    networks: list[PageNetwork], inputs: WebInputs, tmp_path: Path
) -> None:
    text = page_modules(networks[:1], inputs, PRICES)["network_0"]
    module = compile_module(text.c)
    for name, given, ticks in jobs_of(networks[0]):
        ticks = min(ticks, 300)
        job = {**network_job(module, text.description, given, ticks), "rounds": 0}
        finish = "measure(job).then((said) => console.log(JSON.stringify(said.outputs)));"
        script = tmp_path / f"{name}.js"
        script.write_text(f"const job = {json.dumps(job)};\n{WORKER}\n{HARNESS}\n{finish}\n")
        said = subprocess.run(["node", str(script)], capture_output=True, text=True, check=True, timeout=60).stdout
        expected = networks[0].model.run(given, ticks)
        assert expected["answer"].any()
        assert count_differences(text.description, json.loads(said), expected) == 0


@needs_zig
@needs_node
@pytest.mark.parametrize("kind", ["sound", "motion"])
def test_a_page_answers_utterances_and_windows_as_a_stream_does(
    kind: str, networks: list[PageNetwork], tmp_path: Path
) -> None:
    # blocks: silence, two words, one of them longer than the window, a click, and a word that the end cuts
    levels = np.repeat([1e-4, 0.3, 1e-4, 0.6, 1e-4, 0.4, 1e-4, 0.9], [12, 3, 6, 9, 6, 1, 7, 3])
    levels *= np.where(np.arange(len(levels)) % 2, 0.2, 1.0)
    samples = np.repeat(levels, 160) * np.random.default_rng(0).uniform(0.5, 1, 160 * len(levels))
    samples = samples.astype(np.float32)
    model = networks[0].model
    inputs = series_inputs(kind)

    def advance(x: dict[str, Any], state: Any, ticks: int) -> tuple[dict[str, Any], Any]:
        state = model.start(1) if state is None else state
        integers = model.quantize({name: one.reshape(len(one), 1, *SHAPES[name]) for name, one in x.items()})
        newest: dict[str, Any] = {}
        for tick in range(ticks):
            given = {name: one[tick] for name, one in integers.items() if tick < len(one)}
            outputs, state = model.step(given, state)
            newest |= {name: y[0] for name, y in model.dequantize(outputs).items()}
        return newest, state

    front: Any = inputs.front_end
    reader = SampleReader(SeriesFrontEnd(), 3, front.window, answer="answer", activity=front.activity)
    steps = SampleSteps(reader, frozenset(SHAPES), advance)
    state = None
    for block in samples.reshape(-1, 160, 1):
        _, state = steps([block], state)
    expected = steps.finish()

    html = series_page(kind, networks, tmp_path)
    data = html.partition('id="data">')[2].partition("</script>")[0]
    script = tmp_path / "page.js"
    script.write_text(f"const page = {data}; const samples = {samples.tolist()};\n{WORKER}\n{PLAYS}")
    said = json.loads(subprocess.run(["node", str(script)], capture_output=True, check=True, timeout=60).stdout)
    shares = np.exp(said) / np.exp(said).sum(1, keepdims=True)

    assert len(said) == len(expected) == (3 if kind == "sound" else 5)
    assert [str(best) for best in shares.argmax(1)] == [one["answer"] for one in expected]
    assert np.allclose(shares.max(1), [one["share"] for one in expected], atol=1e-4)
    assert len(set(shares.max(1).round(4))) > 2


@needs_zig
def test_a_page_answers_a_drawing_and_sends_no_request(html: str, visit: Callable[..., Visit]) -> None:
    seen = visit(html)
    seen.wait("#tick", lambda tick: tick.inner_text() != "")
    seen.wait(".answer output", lambda output: output.inner_text() in list("0123456789"))

    # names from outside are texts
    assert seen.page.title() == f"Title {EVIL}"
    assert seen.page.locator("img").count() == 0
    assert EVIL in seen.text("#answers")
    assert "<b>a profile</b>" in seen.text("#energy-note")

    # by mouse, then by keys: the first stroke wipes the example away
    pad = seen.page.locator("canvas.draw")
    pad.click(position={"x": 40, "y": 40})
    white = "[...document.querySelector('canvas.draw').getContext('2d').getImageData(0, 0, 32, 32).data]"
    drawn = seen.page.evaluate(f"{white}.filter((value, place) => place % 4 === 0 && value > 128).length")
    assert 4 <= drawn <= 40
    pad.press(" ")
    for _ in range(10):
        pad.press("ArrowDown")
    longer = seen.page.evaluate(f"{white}.filter((value, place) => place % 4 === 0 && value > 128).length")
    assert longer > drawn

    seen.page.get_by_role("slider", name="events lost").press("End")
    assert "1.00" in seen.text("#controls")
    seen.page.get_by_role("button", name="Pause").click()
    assert seen.text("#play") == "Play"


@needs_zig
def test_a_page_is_readable_on_a_phone_and_on_a_desk(html: str, visit: Callable[..., Visit]) -> None:
    seen = visit(html, PHONE)
    seen.wait("#tick", lambda tick: tick.inner_text() != "")
    assert seen.unreadable() == []
    seen.page.set_viewport_size(DESKTOP)
    assert seen.unreadable() == []


def wav(rate: int, channels: int = 1, bits: int = 16, encoding: int = 1) -> bytes:
    """Half a second of a tone."""
    samples = (8000 * np.sin(np.arange(rate // 2) / 10)).astype(np.int16).repeat(channels).tobytes()
    size = channels * bits // 8
    form = struct.pack("<HHIIHH", encoding, channels, rate, rate * size, size, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


@needs_zig
def test_a_sound_page_says_what_it_cannot_read(
    networks: list[PageNetwork],
    tmp_path: Path,
    visit: Callable[..., Visit],
) -> None:
    seen = visit(series_page("sound", networks, tmp_path))
    seen.wait("#tick", lambda tick: tick.inner_text() != "")
    cases = {
        "two.wav": (wav(8000, 2), "has 2 channels; the network takes one"),
        "odd.wav": (wav(11111), "has 11,111 Hz; this page takes 8,000 Hz, 16,000 Hz"),
        "law.wav": (wav(8000, 1, 16, 7), "an encoding that this page does not read"),
        "no.wav": (b"no sound", "is no WAV file"),
        "fast.wav": (wav(16000), "resampled from 16,000 Hz to 8,000 Hz"),
        "right.wav": (wav(8000), "The file has ended."),
    }
    for name, (content, words) in cases.items():
        seen.page.get_by_role("button", name="File", exact=True).click()
        file = {"name": name, "mimeType": "audio/wav", "buffer": content}
        seen.page.locator("input[type=file]").set_input_files(file)
        seen.wait("#words", lambda text, words=words: words in text.inner_text())

    # headless Chromium has no microphone
    seen.page.get_by_role("button", name="Microphone", exact=True).click()
    seen.page.get_by_role("button", name="Start the microphone").click()
    seen.wait("#words", lambda text: "choose a WAV file" in text.inner_text())


@needs_zig
def test_a_microphone_is_heard_and_answered(networks: list[PageNetwork], tmp_path: Path, browser: Any) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(48000))
    fakes = [
        "use-fake-ui-for-media-stream",
        "use-fake-device-for-media-stream",
        f"use-file-for-fake-audio-capture={path}",
    ]
    options = ["--no-sandbox", "--disable-gpu", *(f"--{fake}" for fake in fakes)]
    hearing = browser.browser_type.launch(executable_path=chromium(), args=options)
    series_page("sound", networks, tmp_path)
    seen = Visit(hearing.new_page())
    seen.page.goto((tmp_path / "sound.html").as_uri())
    seen.wait("#tick", lambda tick: tick.inner_text() != "")

    seen.page.get_by_role("button", name="Microphone", exact=True).click()
    # the answers of the sample are gone
    assert seen.text(".answer output") == "…"
    seen.page.get_by_role("button", name="Start the microphone").click()
    seen.wait("#words", lambda text: "The microphone is resampled from" in text.inner_text())
    seen.wait(".answer output", lambda output: output.inner_text() in list("0123456789"))
    assert seen.errors == []
    hearing.close()


@needs_zig
def test_the_motion_of_a_phone_is_answered(
    networks: list[PageNetwork], tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    path = tmp_path / "phone.html"
    write_page(path, "phone", networks[:1], phone_inputs(), PRICES)
    seen = visit(path.read_text(encoding="utf-8"), PHONE)
    seen.wait("#tick", lambda tick: tick.inner_text() != "")
    seen.page.get_by_role("button", name="This device's motion").click()
    seen.page.get_by_role("button", name="Start", exact=True).click()
    seen.wait("#words", lambda text: "This device sends no motion" in text.inner_text())
    assert seen.text(".answer output") == "…"

    seen.page.evaluate(SHAKES)
    seen.wait(".answer output", lambda output: output.inner_text() in list("0123456789"))


@needs_zig
def test_a_file_of_numbers_with_holes_is_refused_with_its_line(
    networks: list[PageNetwork],
    tmp_path: Path,
    visit: Callable[..., Visit],
) -> None:
    seen = visit(series_page("motion", networks, tmp_path))
    seen.wait("#tick", lambda tick: tick.inner_text() != "")
    cases = {
        "x\n0.5\n0.5,\n": "line 3: 2 numbers, but the network takes 1",
        "1\nnan\n": "line 2: column 1 holds no number",
        "": "holds no numbers",
        "x\n" + "0.5\n" * 700: "The file has ended.",
    }
    for content, words in cases.items():
        seen.page.get_by_role("button", name="File", exact=True).click()
        file = {"name": "a.csv", "mimeType": "text/csv", "buffer": content.encode()}
        seen.page.locator("input[type=file]").set_input_files(file)
        seen.wait("#words", lambda text, words=words: words in text.inner_text())


@needs_zig
def test_the_command_writes_the_page_of_a_bundle_and_files_for_a_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = digits.Config(hidden=6)
    network = digits.build(config)["ann"].eval()
    inputs = {"frames": digits.example(config)["frames"]}
    bundle = export(
        network, inputs, tmp_path / "b", card={"recipe": "digits", "network": "ann", "config": to_plain(config)}
    )

    assert main(["export", "b", "--target", "web", "--out", "page.html"]) == 2
    assert "spikebridge quantize RUN --bundle" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()

    add_integers(Bundle.open(bundle.path), network, quantize(network, inputs))
    assert main(["export", "b", "--target", "web", "--folder", "--out", "site", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    files = sorted(file.name for file in (tmp_path / "site").iterdir())
    assert files == ["front_end.wasm", "index.html", "network_0.wasm", "page.css", "page.js", "worker.js"]
    assert said["bytes"] == sum(file.stat().st_size for file in (tmp_path / "site").iterdir())
    assert "connect-src &#39;self&#39;" in (tmp_path / "site" / "index.html").read_text()

    assert main(["export", "b", "--target", "web", "--folder", "--out", "site"]) == 2
    assert main(["export", "b", "--folder"]) == 2
    assert "--folder is for --target web" in capsys.readouterr().err


def test_a_network_whose_sample_lacks_an_input_is_refused_with_its_name(
    networks: list[PageNetwork], inputs: WebInputs
) -> None:
    partial = PageNetwork("n", "", networks[0].model, {}, 12, ("", ""))
    with pytest.raises(ExportError, match=r"n: a page runs integers alone, and its sample has no values of 'frames'"):
        page_modules([partial], inputs, PRICES)

    real = PageNetwork("n", "", replace_outputs(networks[0].model), networks[0].inputs, 12, ("", ""))
    with pytest.raises(ExportError, match="'n' computes its outputs in floating point, so a page would have no answer"):
        page_modules([real], inputs, PRICES)


def test_without_a_compiler_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="a web page needs the compiler of ziglang: pip install ziglang"):
        compile_module("int x;")


@needs_zig
def test_a_module_is_compiled_once_and_a_fault_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = '__attribute__((export_name("f"))) int f(void) { return 41; }'
    first = compile_module(c)
    monkeypatch.setattr(compiler.subprocess, "run", lambda *words, **options: pytest.fail("compiled again"))
    assert compile_module(c) == first
    monkeypatch.undo()
    with pytest.raises(ExportError, match=r"refused the C of the network: .*error"):
        compile_module("int f(void) { return unknown; }")


def test_the_policy_allows_no_evaluation_and_no_address(inputs: WebInputs) -> None:
    for in_files in (False, True):
        html = page._html("t", inputs, [], {}, in_files=in_files)
        policy = html.partition('Content-Security-Policy" content="')[2].partition('"')[0]
        assert "default-src &#39;none&#39;" in policy
        assert "unsafe-eval" not in policy.replace("wasm-unsafe-eval", "")
        assert "http" not in policy


@needs_zig
@needs_node
def test_spikes_that_are_an_output_are_counted_since_the_start(tmp_path: Path) -> None:
    network = quantize(IF(v_threshold=2.0), {"signal": torch.ones(8, 1, 2)})
    model = integer_model(network, {"signal": torch.ones(8, 1, 2)})
    given = model.quantize({"signal": np.array([[1.0, 0.0]] * 8, np.float32).reshape(8, 1, 2)})
    text = network_module(model, {"signal": (2,)}, PRICES, None)
    job = {**network_job(compile_module(text.c), text.description, given, 8), "rounds": 0}
    # an input of few channels is a signal over time as the outputs of parts are
    assert [port["name"] for port in text.description["signals"]] == ["signal", "network"]

    finish = "measure(job).then(({ counts }) => console.log(JSON.stringify(counts)));"
    harness = HARNESS.replace("return { outputs,", "return { counts: Array.from(network.outputs[0].counts), outputs,")
    script = tmp_path / "count.js"
    script.write_text(f"const job = {json.dumps(job)};\n{WORKER}\n{harness}\n{finish}\n")
    said = subprocess.run(["node", str(script)], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(said) == [4, 0]
