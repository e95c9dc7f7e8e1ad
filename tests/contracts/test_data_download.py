"""Downloads, from a server on this machine: complete and verified, or not there at all."""

import gzip
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from erg.data import available, load, mnist
from erg.data.mnist import Content, download
from erg.errors import UserError
from tests.contracts.commands import erg
from tests.contracts.files import bytes_of, write_idx


class Mirror(ThreadingHTTPServer):
    """Serves `files` by name, and remembers what was asked for. `cut` bytes of a body are never sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.server.cut])

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def mirrors(monkeypatch) -> Iterator[tuple[Mirror, Mirror]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = Mirror(), Mirror()
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def contents(tmp_path) -> dict[str, bytes]:
    """A small set in the layout of MNIST, unpacked."""
    made = {}
    for part, rows in (("train", 12), ("t10k", 4)):
        made[f"{part}-images-idx3-ubyte"] = bytes_of(0, rows, 5, 5)
        made[f"{part}-labels-idx1-ubyte"] = np.arange(rows, dtype=np.uint8)
    return {name: write_idx(tmp_path / "made.idx", array).read_bytes() for name, array in made.items()}


@pytest.fixture
def files(contents) -> dict[str, Content]:
    return {name: Content(len(body), hashlib.sha256(body).hexdigest()) for name, body in contents.items()}


def serve(mirror: Mirror, contents: dict[str, bytes], level: int = 9) -> None:
    mirror.files = {f"{name}.gz": gzip.compress(body, level) for name, body in contents.items()}


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("level", [1, 9])
def test_a_mirror_may_compress_in_its_own_way(tmp_path, mirrors, contents, files, level):
    serve(mirrors[0], contents, level)
    folder = tmp_path / "cache"
    download(folder, mirrors=[mirrors[0].address], files=files)
    assert everything_in(folder) == sorted(f"{name}.gz" for name in contents)
    assert all(gzip.decompress((folder / f"{name}.gz").read_bytes()) == body for name, body in contents.items())


def test_what_is_there_is_not_fetched_again(tmp_path, mirrors, contents, files):
    serve(mirrors[0], contents)
    for _ in range(2):
        download(tmp_path / "cache", mirrors=[mirrors[0].address], files=files)
    assert sorted(mirrors[0].asked) == sorted(mirrors[0].files)


@pytest.mark.parametrize("fault", ["missing", "damaged", "other", "longer", "cut", "gone"])
def test_the_next_mirror_is_tried_when_one_fails(tmp_path, mirrors, contents, files, fault):
    first, second = mirrors
    serve(second, contents)
    serve(first, {} if fault == "missing" else contents)
    if fault == "damaged":
        first.files = {name: body[: len(body) // 2] for name, body in first.files.items()}
    if fault == "other":
        serve(first, {name: body[:-1] + bytes([body[-1] ^ 1]) for name, body in contents.items()})
    if fault == "longer":
        serve(first, {name: body + b"\0" * 10**6 for name, body in contents.items()})
    first.cut = 7 if fault == "cut" else 0
    address = "http://127.0.0.1:1/" if fault == "gone" else first.address
    download(tmp_path / "cache", mirrors=[address, second.address], files=files)
    assert len(second.asked) == 4
    assert all(mnist.read_idx(tmp_path / "cache" / f"{name}.gz").size for name in contents)


def test_a_wrong_checksum_everywhere_leaves_no_file(tmp_path, mirrors, contents, files):
    serve(mirrors[0], contents)
    broken = {name: content._replace(sha256="0" * 64) for name, content in files.items()}
    with pytest.raises(UserError, match="another checksum"):
        download(tmp_path / "cache", mirrors=[mirrors[0].address], files=broken)
    assert everything_in(tmp_path / "cache") == []


@pytest.mark.parametrize("fault", ["cut", "killed"])
def test_an_interrupted_download_leaves_no_file_and_the_next_one_completes(
    tmp_path, mirrors, contents, files, fault, monkeypatch
):
    serve(mirrors[0], contents)
    folder = tmp_path / "cache"
    with monkeypatch.context() as broken:
        if fault == "cut":
            mirrors[0].cut = 7
        else:
            broken.setattr("erg.files.os.fsync", interrupt)
        with pytest.raises(KeyboardInterrupt if fault == "killed" else UserError):
            download(folder, mirrors=[mirrors[0].address], files=files)
    assert everything_in(folder) == []
    mirrors[0].cut = 0
    download(folder, mirrors=[mirrors[0].address], files=files)
    assert len(everything_in(folder)) == 4


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_load_downloads_once_into_the_cache(tmp_path, mirrors, contents, files, monkeypatch):
    serve(mirrors[1], contents)
    monkeypatch.delenv("ERG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", [mirror.address for mirror in mirrors])
    monkeypatch.setattr(mnist, "FILES", files)
    for _ in range(2):
        dataset = load("mnist")
        assert (len(dataset.train), len(dataset.held_out), dataset.shape) == (12, 4, (1, 5, 5))
    assert (len(mirrors[0].asked), len(mirrors[1].asked)) == (4, 4)
    assert mnist.find() == tmp_path / "cache" / "erg" / "mnist"


def test_offline_the_sentence_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("ERG_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mnist, "MIRRORS", ["http://127.0.0.1:1/"])
    with pytest.raises(UserError) as caught:
        load("mnist")
    sentence = str(caught.value)
    assert "set ERG_DATA" in sentence and "--data.path" in sentence and "\n" not in sentence
    assert everything_in(tmp_path) == []


def test_a_folder_that_is_not_there_is_said_before_anything_is_downloaded(tmp_path, mirrors, monkeypatch):
    monkeypatch.setenv("ERG_DATA", str(tmp_path / "tpyo"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(mnist, "MIRRORS", [mirror.address for mirror in mirrors])
    said = f"ERG_DATA is {tmp_path / 'tpyo'}, which is no folder"
    with pytest.raises(UserError, match=re.escape(said)):
        load("mnist")
    assert not mirrors[0].asked and everything_in(tmp_path) == []
    assert said in {entry.name: entry.where for entry in available()}["mnist"]
    assert len(load("digits").train) == 1438
    doctor = erg("doctor")
    assert doctor.code == 1 and f"! {said}; correct it, or unset it\n" in doctor.out


def test_the_public_mirrors_and_checksums_are_well_formed():
    assert len(mnist.MIRRORS) >= 2
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in mnist.MIRRORS)
    assert all(len(bytes.fromhex(content.sha256)) == 32 for content in mnist.FILES.values())
