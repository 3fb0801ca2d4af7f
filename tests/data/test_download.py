"""Fetching, against a real HTTP server on this machine that can cut, refuse ranges and lie."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import fewshot_km.data.readers.omniglot  # noqa: F401 - registers the data sets that fetch knows
from fewshot_km.data.dataset import DATASETS
from fewshot_km.data.download import fetch
from fewshot_km.data.remote_files import FETCHABLE, OMNIGLOT_FILES, RemoteFile
from fewshot_km.errors import DataError, UnknownNameError

CONTENT = bytes(range(256)) * 1200 + b"the end"  # several chunks long


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every address. `ranges`: heed Range; `cut`: close the connection after so many bytes."""

    daemon_threads = True
    ranges = True
    cut: int | None = None
    status = 200
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range header of every request

    def file(self, name: str = "images.zip", content: bytes = CONTENT) -> RemoteFile:
        return RemoteFile(f"http://127.0.0.1:{self.server_port}/{name}", hashlib.md5(content).hexdigest(), "made-up")


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        content, total = self.server.content, len(self.server.content)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        if wanted and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = content[start:]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_brings_every_file_whole_and_asks_only_once(server: Server, tmp_path: Path) -> None:
    files = {"toy": (server.file("a.zip"), server.file("b.zip"))}
    first = fetch("toy", tmp_path, files)
    assert first == [tmp_path / "made-up" / "a.zip", tmp_path / "made-up" / "b.zip"]
    assert [p.read_bytes() for p in first] == [CONTENT, CONTENT]
    assert names_in(tmp_path) == ["a.zip", "b.zip"]
    assert fetch("toy", tmp_path, files) == first
    assert len(server.asked) == 2


def test_a_file_at_the_data_root_itself_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(CONTENT)
    assert fetch("toy", tmp_path, {"toy": [server.file()]}) == [tmp_path / "images.zip"]
    assert server.asked == []


def test_resumes_where_the_connection_was_cut(server: Server, tmp_path: Path) -> None:
    server.cut = 200_000
    part = tmp_path / "made-up" / "images.zip.part"
    with pytest.raises(
        DataError, match=r"bytes are kept, so run `fewshot-km data fetch toy` again to resume"
    ) as caught:
        fetch("toy", tmp_path, {"toy": [server.file()]})
    assert server.file().url in str(caught.value)
    assert str(tmp_path / "made-up" / "images.zip") in str(caught.value)
    assert "\n" not in str(caught.value)
    kept = part.stat().st_size
    assert 100_000 < kept <= 200_000
    assert part.read_bytes() == CONTENT[:kept]
    assert names_in(tmp_path) == ["images.zip.part"]

    server.cut = None
    (target,) = fetch("toy", tmp_path, {"toy": [server.file()]})
    assert server.asked == [None, f"bytes={kept}-"]
    assert target.read_bytes() == CONTENT
    assert names_in(tmp_path) == ["images.zip"]


def leave_part(tmp_path: Path, content: bytes) -> Path:
    part = tmp_path / "made-up" / "images.zip.part"
    part.parent.mkdir()
    part.write_bytes(content)
    return part


def test_starts_anew_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:1000])
    server.ranges = False
    (target,) = fetch("toy", tmp_path, {"toy": [server.file()]})
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_is_used_as_it_is(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT)
    (target,) = fetch("toy", tmp_path, {"toy": [server.file()]})
    assert server.asked == [f"bytes={len(CONTENT)}-"]
    assert target.read_bytes() == CONTENT
    assert names_in(tmp_path) == ["images.zip"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT + b"more")
    (target,) = fetch("toy", tmp_path, {"toy": [server.file()]})
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]
    assert target.read_bytes() == CONTENT


def test_a_wrong_part_is_deleted_so_that_the_next_try_starts_anew(server: Server, tmp_path: Path) -> None:
    part = leave_part(tmp_path, b"x" * 1000)
    with pytest.raises(DataError, match=f"does not have the published MD5 {server.file().md5} and was deleted"):
        fetch("toy", tmp_path, {"toy": [server.file()]})
    assert not part.exists()
    assert names_in(tmp_path) == []
    (target,) = fetch("toy", tmp_path, {"toy": [server.file()]})
    assert server.asked == ["bytes=1000-", None]
    assert target.read_bytes() == CONTENT


def test_another_file_than_published_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = b"a captive portal's log-in page"
    with pytest.raises(DataError, match="published MD5"):
        fetch("toy", tmp_path, {"toy": [server.file()]})
    assert names_in(tmp_path) == []


PAGE = b"<!DOCTYPE html><html><title>Sign in to continue</title></html>"


def test_a_web_page_that_comes_instead_is_called_one(server: Server, tmp_path: Path) -> None:
    server.content = PAGE
    with pytest.raises(DataError, match=r"what came from http\S+ is a web page: it does not have the published MD5"):
        fetch("toy", tmp_path, {"toy": [server.file()]})
    assert names_in(tmp_path) == []


def test_a_web_page_in_the_files_place_is_called_one_and_kept(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "images.zip"
    mine.write_bytes(PAGE)
    with pytest.raises(DataError, match=r"images\.zip is a web page, not the data: move it away and fetch again"):
        fetch("toy", tmp_path, {"toy": [server.file()]})
    assert mine.read_bytes() == PAGE
    assert server.asked == []


def test_a_file_where_other_libraries_put_it_is_not_fetched_again(tmp_path: Path) -> None:
    for file in OMNIGLOT_FILES:
        place = tmp_path / "omniglot-py" / file.name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"zipped again")
    assert fetch("omniglot", tmp_path) == [tmp_path / "omniglot-py" / file.name for file in OMNIGLOT_FILES]


def test_a_file_with_another_checksum_is_left_alone_and_spoken_of(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "made-up" / "images.zip"
    mine.parent.mkdir()
    mine.write_bytes(b"zipped again")
    assert fetch("toy", tmp_path, {"toy": [server.file()]}) == [mine]
    assert mine.read_bytes() == b"zipped again"
    assert server.asked == []
    told = capsys.readouterr().err
    assert str(mine) in told
    assert hashlib.md5(b"zipped again").hexdigest() in told
    assert server.file().md5 in told


@pytest.mark.parametrize("status", [404, 500])
def test_says_what_the_server_answered(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(DataError, match=f"the server answers {status}"):
        fetch("toy", tmp_path, {"toy": [server.file()]})
    assert names_in(tmp_path) == []


def test_no_connection_is_one_clear_error(server: Server, tmp_path: Path) -> None:
    file = server.file()
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=f"could not fetch {file.url}: .*by hand and put it at") as caught:
        fetch("toy", tmp_path, {"toy": [file]})
    assert "\n" not in str(caught.value)


def test_a_target_that_cannot_be_written_is_one_clear_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "made-up").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="could not fetch"):
        fetch("toy", tmp_path, {"toy": [server.file()]})


def test_a_folder_in_the_way_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "made-up" / "images.zip").mkdir(parents=True)
    with pytest.raises(DataError, match=r"images\.zip is in the way"):
        fetch("toy", tmp_path, {"toy": [server.file()]})


def test_unknown_names_and_names_without_files(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'omniglot'"):
        fetch("omniglott", tmp_path)
    embedded = DATASETS.temporarily({"embedded": DATASETS.get("omniglot")})
    with (
        embedded,
        pytest.raises(DataError, match=r"nothing to fetch for data set 'embedded'.*omniglot, omniglot-vinyals"),
    ):
        fetch("embedded", tmp_path)


def test_both_protocols_fetch_the_same_published_files() -> None:
    assert FETCHABLE["omniglot"] == FETCHABLE["omniglot-vinyals"]
    published = {
        "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
    }
    assert {f.name: f.md5 for f in FETCHABLE["omniglot"]} == published
    assert all(f.url.startswith("https://raw.githubusercontent.com/brendenlake/") for f in FETCHABLE["omniglot"])
