"""Pages and pointers are known; no data are taken for one."""

import gzip
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.files.impostors import describe_impostor, name_impostor
from tests.support.made_files import encoded, tarred, zipped

PAGES = [
    b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>",
    b"\xef\xbb\xbf\r\n  <html lang='en'>",
    b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN'><html>",
    b"<!-- saved from --><HTML><HEAD>",
]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("head", PAGES)
def test_a_web_page_is_known_by_its_beginning(head: bytes) -> None:
    assert name_impostor(head + b"x" * 5000) == "a web page"
    said = describe_impostor(head)
    assert said is not None
    assert said.startswith("is a web page, not the data")
    assert "quota" in said


def test_a_git_lfs_pointer_is_known() -> None:
    assert name_impostor(POINTER) == "a Git LFS pointer"
    assert "git lfs pull" in str(describe_impostor(POINTER))


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, images=np.zeros(9))
    return out.getvalue()


DATA = {
    "pickle": pickle.dumps({"<html>": "<!doctype html>"}),
    "text pickle": pickle.dumps({"a": [1, 2]}, 0),
    "zip": zipped({"page.html": PAGES[0]}),
    "tar": tarred({"page.html": PAGES[0]}, ""),
    "gzip": gzip.compress(PAGES[0]),
    "png": encoded(np.zeros((9, 9, 3), np.uint8)),
    "csv": b"filename,label\n<html>.jpg,n01532829\n",
    "npz": npz(),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", DATA)
def test_data_are_not_taken_for_a_page(kind: str) -> None:
    assert describe_impostor(DATA[kind]) is None


@given(st.binary(max_size=2000))
def test_any_bytes_are_answered(head: bytes) -> None:
    assert name_impostor(head) in (None, "a web page", "a Git LFS pointer")
