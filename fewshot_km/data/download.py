"""Downloads of published data sets: checked, resumable, and never over a file that is already there."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pooch  # type: ignore[import-untyped]  # it ships no types
import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fewshot_km.data.dataset import DATASETS
from fewshot_km.data.files.impostors import HEAD, name_impostor
from fewshot_km.data.remote_files import FETCHABLE, RemoteFile
from fewshot_km.errors import DataError

CHUNK_BYTES = 1 << 16  # small enough that a cut connection loses next to nothing
TIMEOUT_S = (10.0, 30.0)  # to connect, and between two chunks; the whole may take as long as it takes


def fetch(name: str, data_root: Path, fetchable: Mapping[str, Sequence[RemoteFile]] = FETCHABLE) -> list[Path]:
    """Bring the files of data set `name` under `data_root` and return where each lies.

    A file that is there already is left alone; where its checksum is not the published one, stderr says so.
    Raises UnknownNameError, or DataError where the data set cannot be fetched or a download fails.
    """
    if name not in fetchable:
        DATASETS.get(name)
        raise DataError(
            f"there is nothing to fetch for data set '{name}': it comes with the package or from files of your own; "
            f"these can be fetched: {', '.join(sorted(fetchable))}"
        )
    return [_fetch_file(name, file, data_root) for file in fetchable[name]]


def _fetch_file(name: str, file: RemoteFile, data_root: Path) -> Path:
    present = next((place for place in file.places(data_root) if place.exists()), None)
    if present is not None:
        _tell_apart(file, present)
        return present
    target = file.target(data_root)
    part = target.with_name(f"{target.name}.part")
    again = f"run `fewshot-km data fetch {name}` again"
    by_hand = f"or fetch {file.url} by hand and put it at {target}"

    def collect(url: str, output_file: str, _: object) -> None:
        # The part outlives a failure, unlike pooch's temporary file. It is copied there, not renamed: a second process
        # that still writes to the same part can then spoil no file that has passed its check.
        _download(url, part)
        shutil.copyfile(part, output_file)

    pooch.get_logger().setLevel("WARNING")  # its "Downloading ..." line would repeat the progress bar
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(file.url, f"md5:{file.md5}", fname=target.name, path=target.parent, downloader=collect)
    except OSError as error:  # the network's errors and the disk's: requests derives its own from OSError
        kept = part.stat().st_size if part.is_file() else 0
        resume = f"{kept:,} bytes are kept, so {again} to resume" if kept else again
        raise DataError(f"could not fetch {file.url}: {_reason(error)}; {resume}, {by_hand}") from error
    except ValueError as error:  # pooch's word for a wrong checksum; it has removed its own copy
        impostor = _name_impostor(part)
        part.unlink(missing_ok=True)
        what = f"what came from {file.url} {f'is {impostor}: it' if impostor else ''}"
        raise DataError(
            f"{what.strip()} does not have the published MD5 {file.md5} and was deleted; {again}, {by_hand}"
        ) from error
    part.unlink(missing_ok=True)
    return target


def _tell_apart(file: RemoteFile, present: Path) -> None:
    if not present.is_file():
        raise DataError(f"{present} is in the way: it should be a file; move it elsewhere and fetch again")
    found = pooch.file_hash(str(present), alg="md5")
    if found != file.md5:
        impostor = _name_impostor(present)
        if impostor:
            raise DataError(f"{present} is {impostor}, not the data: move it away and fetch again")
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
            f"{present} is left as it is, but it is not the published file (MD5 {found}, published {file.md5}). "
            "The same images in another archive are the same data set; if you did not put it there, "
            "move it away and fetch again."
        )


def _name_impostor(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return name_impostor(content.read(HEAD))


def _download(url: str, part: Path) -> None:
    """Complete `part` from `url`; raises requests' errors or OSError, and keeps what has come so far."""
    have = part.stat().st_size if part.is_file() else 0
    with _request(url, have) as response:
        first, total = _content_range(response)
        beyond = response.status_code == requests.codes.requested_range_not_satisfiable
        if have and beyond and total == have:
            return  # nothing is left to send; whether it is the right file, its checksum tells
        if have and (beyond or (response.status_code == requests.codes.partial_content and first != have)):
            part.unlink()  # the server cannot go on from there: start anew
            _download(url, part)
            return
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:  # a server that knows no ranges sends everything
            length = response.headers.get("Content-Length", "")
            have, total = 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None
        with part.open("ab" if have else "wb") as file, _progress() as progress:
            bar = progress.add_task(part.stem, total=total, completed=have)
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(bar, len(chunk))
    if total is not None and part.stat().st_size < total:
        raise requests.ConnectionError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")


def _request(url: str, start: int) -> requests.Response:
    headers = {"Accept-Encoding": "identity"}  # a range counts bytes of the file, not of a compressed transfer
    if start:
        headers["Range"] = f"bytes={start}-"
    return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Read first byte and file size from 'bytes 10-99/100' or 'bytes */100'; None for what is not said."""
    number = "[0-9]{1,18}"
    match = re.fullmatch(
        rf"bytes (?:({number})-{number}|\*)/(?:({number})|\*)", response.headers.get("Content-Range", "")
    )
    first, total = match.groups() if match else (None, None)
    return int(first) if first else None, int(total) if total else None


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _reason(error: OSError) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server does not answer"
    if isinstance(error, requests.ConnectionError) and error.args:
        error = getattr(error.args[0], "reason", error)  # without the account of attempts around it
    return " ".join(str(error).split())  # one line, whatever the network stack writes
