"""A hub on loopback that speaks the calls used: what is pushed comes back, and every refusal is one line."""

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

from spikebridge import load_pretrained
from spikebridge.cli.main import main
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.digits import recipe as digits
from spikebridge.pretrained.hub import pull, push
from spikebridge.training import Run

# of the client of the client, where it sends a file
pytestmark = pytest.mark.filterwarnings("ignore:Use .content=:DeprecationWarning")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Files by repository, large ones kept apart by their SHA-256 as Git LFS does.

    `answer` is a code for everything, where it is set; `large` are the ends of names that it wants by LFS; `fault` is
    the call of an LFS upload that fails.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.answer: int | None = None
        self.large: tuple[str, ...] = ()
        self.fault = ""
        self.calls: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    def _send(self, code: int, content: Any = b"{}", **headers: str) -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)

        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub = self.server
        if hub.answer is not None:
            self._send(hub.answer)
        elif self.path.startswith("/api/repos/create"):
            given = json.loads(body)
            name = f"{given.get('organization') or 'me'}/{given['name']}"
            hub.repositories.setdefault(name, {})
            self._send(200, {"url": f"{hub.address}/{name}"})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = [("lfs" if name.endswith(hub.large or ("\0",)) else "regular") for name in names]
            files = [
                {"path": name, "uploadMode": mode, "shouldIgnore": False}
                for name, mode in zip(names, modes, strict=True)
            ]

            self._send(200, {"files": files})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            hub.calls.append("batch")
            self._send(200, {"transfer": "basic", "objects": list(map(self._batch, json.loads(body)["objects"]))})
        elif self.path == "/verify":
            hub.calls.append("verify")
            given = json.loads(body)
            stored = hub.objects.get(given["oid"], b"")
            whole = (hashlib.sha256(stored).hexdigest(), len(stored)) == (given["oid"], given["size"])
            self._send(200 if whole else 422)
        elif "/commit/" in self.path:  # a head, then a line a file
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.repositories[name][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.repositories[name][value["path"]] = hub.objects[value["oid"]]

            self._send(
                200, {"commitUrl": f"{hub.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
            )
        else:  # the head of a card is asked about
            self._send(200, {"errors": [], "warnings": []})

    def _batch(self, one: dict[str, Any]) -> dict[str, Any]:
        """The address for an object; none if the server has it already."""
        known = {"oid": one["oid"], "size": one["size"]}
        if self.server.fault == "batch":
            return {**known, "error": {"code": 422, "message": "the quota is used up"}}
        if one["oid"] in self.server.objects:
            return known

        upload = f"{self.server.address}/store/{one['oid']}"
        verify = f"{self.server.address}/verify"

        return {**known, "actions": {"upload": {"href": upload}, "verify": {"href": verify}}}

    def do_PUT(self) -> None:
        hub = self.server
        hub.calls.append("put")
        body = self.rfile.read(int(self.headers["Content-Length"]))

        if hub.fault == "put":
            self._send(500)
        else:
            hub.objects[self.path.rpartition("/")[2]] = body[:-1] if hub.fault == "verify" else body
            self._send(200)

    def do_GET(self) -> None:
        hub = self.server
        path = self.path.split("?")[0]
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = hub.repositories.get(name)

        if hub.answer is not None or files is None:
            self._send(hub.answer or 404, X_Error_Code="RepoNotFound")
        elif "/tree/" in path:
            tree = [
                {"type": "file", "path": n, "size": len(x), "oid": hashlib.sha1(x).hexdigest()}
                for n, x in files.items()
            ]
            self._send(200, tree)
        elif "/xet-write-token/" in path:  # as of a hub that has no Xet
            self._send(404)
        elif parts[0] == "api":
            self._send(200, {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]})
        else:
            content = files["/".join(parts[4:])]
            sha256 = hashlib.sha256(content).hexdigest()
            # a large file is known by its SHA-256, and sent as it is stored
            tag = sha256 if sha256 in hub.objects else hashlib.sha1(content).hexdigest()
            self._send(200, hub.objects.get(sha256, content), ETag=f'"{tag}"', X_Repo_Commit=COMMIT)

    def do_HEAD(self) -> None:
        self.do_GET()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits before it asks again
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def lfs(hub: Hub) -> str:
    """The file that the hub wants by Git LFS."""
    hub.large = (".safetensors",)
    return "runs/learned/seed-0/weights.safetensors"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = digits.Config(networks=("learned",), num_seeds=1, hidden=4, num_train=32)
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = Run.create(folder, "digits", config)
    torch.manual_seed(0)
    run.child("learned/seed-0").save_weights(digits.build(config)["learned"])
    run.save_results({"accuracy": 0.5, "energy nJ": 7.0})
    (folder / "mine.txt").write_text("not for others")

    return folder


def test_what_is_pushed_comes_back_and_loads(hub: Hub, run_folder: Path, tmp_path: Path) -> None:
    assert push(run_folder, "me/first").endswith("/me/first")

    files = hub.repositories["me/first"]
    assert "mine.txt" not in files and "runs/learned/seed-0/weights.safetensors" in files

    card = files["README.md"].decode()
    assert "recipe `digits`" in card and "| accuracy | 0.5 |" in card and "| energy nJ | 7 |" in card

    folder = pull("me/first", tmp_path / "pulled")
    weights = Path("runs/learned/seed-0/weights.safetensors")

    assert (folder / weights).read_bytes() == (run_folder / weights).read_bytes()

    loaded = load_pretrained("hf://me/first")
    known = digits.build(Run.open(run_folder).config_as(digits.Config))["learned"]
    Run.open(run_folder).children()["learned/seed-0"].load_weights(known)

    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), known.parameters(), strict=True))
    with pytest.raises(ConfigError, match="is there already"):
        pull("me/first", tmp_path / "pulled")


def test_a_file_that_was_changed_is_refused(hub: Hub, run_folder: Path, tmp_path: Path) -> None:
    push(run_folder, "me/first")
    files = hub.repositories["me/first"]
    files["config.json"] += b" "

    with pytest.raises(DataError, match=r"config.json is damaged or was changed: its SHA-256"):
        pull("me/first", tmp_path / "pulled")

    listed = json.loads(files["files.json"])
    for name, line in (("../out.txt", "leads out of the folder"), ("gone.txt", "is missing")):
        files["files.json"] = json.dumps({**listed, "sha256": {name: "0"}}).encode()
        with pytest.raises(DataError, match=line):
            pull("me/first", tmp_path / "pulled")

    del files["files.json"]
    with pytest.raises(DataError, match="was not pushed by spikebridge"):
        pull("me/first", tmp_path / "pulled")

    assert list(tmp_path.iterdir()) == []


def test_large_files_go_the_way_of_git_lfs(hub: Hub, run_folder: Path, tmp_path: Path, lfs: str) -> None:
    push(run_folder, "me/first")
    assert hub.calls == ["batch", "put", "verify"]

    weights = (run_folder / lfs).read_bytes()
    assert hub.objects == {hashlib.sha256(weights).hexdigest(): weights}
    assert (pull("me/first", tmp_path / "pulled") / lfs).read_bytes() == weights

    # what the hub has already is not sent again
    push(run_folder, "me/second")
    assert hub.calls[3:] == ["batch"]

    hub.objects[hashlib.sha256(weights).hexdigest()] = weights[:-1] + bytes([weights[-1] ^ 1])
    with pytest.raises(DataError, match=rf"{lfs} is damaged or was changed: its SHA-256"):
        pull("me/first", tmp_path / "damaged")

    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize(
    ("fault", "line"),
    [("batch", "refused it (LFS batch API"), ("put", "answered 500"), ("verify", "answered 422")],
)
def test_an_upload_that_fails_is_one_line(
    fault: str, line: str, hub: Hub, run_folder: Path, lfs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.fault = fault
    assert main(["push", str(run_folder), "me/first"]) == 2

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and line in said[0], said
    assert hub.repositories["me/first"] == {}


@pytest.mark.parametrize(
    ("code", "line"), [(401, "401"), (404, "404"), (500, "the hub answered 500"), (0, "the hub did not answer")]
)
def test_a_hub_that_refuses_is_one_line(
    code: int,
    line: str,
    hub: Hub,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.answer = code or None
    if not code:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    for words in (["push", str(run_folder), "me/first"], ["pull", "me/first", "--out", str(tmp_path / "x")]):
        assert main(words) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and line in said[0], said

    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_pushed_or_named(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="named owner/name, but got 'first'"):
        push(run_folder, "first")

    with pytest.raises(ConfigError, match="neither a run folder nor a bundle"):
        push(tmp_path, "me/first")

    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[hub\]'"):
        pull("me/first", tmp_path / "x")


def test_nothing_stands_on_stderr_but_lines_of_this_program(
    hub: Hub, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run_folder), "me/first"]) == main(["push", str(run_folder), "me/first"]) == 0
    assert main(["pull", "me/first", "--out", str(tmp_path / "pulled")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["metrics.jsonl", "card.json", "runs/learned/seed-0/weights.safetensors", "runs/more"])
def test_no_file_is_pushed_through_a_link_out_of_the_run(
    name: str, hub: Hub, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    (folder / name).unlink(missing_ok=True)
    (tmp_path / "key").write_text("mine")
    (folder / name).symlink_to(tmp_path / "key")

    assert main(["push", str(folder), "me/first"]) == 2
    said = capsys.readouterr().err
    assert "leads out of" in said and said.count("\n") == 1
    assert hub.repositories == {}


@pytest.mark.parametrize("name", ["a\0b", "/etc/hosts", "..", "", "a/../../b", "c:x", "a\\b"])
def test_a_list_of_files_names_no_file_elsewhere(name: str, hub: Hub, run_folder: Path, tmp_path: Path) -> None:
    push(run_folder, "me/first")
    hub.repositories["me/first"]["files.json"] = json.dumps(
        {"format": "spikebridge files", "sha256": {name: "0"}}
    ).encode()
    with pytest.raises(DataError, match="leads out of the folder"):
        pull("me/first", tmp_path / "pulled")
