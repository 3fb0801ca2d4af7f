"""Pickles as Python 2 wrote them: the standard library's own writer, with Python 2's strings and module names."""

import io
import pickle
import struct
from typing import Any, ClassVar

import numpy as np


class _Python2Pickler(pickle._Pickler):
    """Text and bytes are Python 2's str: BINSTRING, where Python 3 writes BINUNICODE and a call of _codecs.encode."""

    def save_str(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        size = b"U" + struct.pack("<B", len(data)) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(size + data)  # type: ignore[attr-defined]  # the base class sets it
        self.memoize(value)  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[type, Any]] = {**pickle._Pickler.dispatch, str: save_str, bytes: save_str}


def python_2_pickle(value: Any) -> bytes:
    """At protocol 2, cPickle's highest."""
    out = io.BytesIO()
    _Python2Pickler(out, protocol=2).dump(value)
    module = np.zeros(1).__reduce__()[0].__module__  # numpy 2 has moved it
    return out.getvalue().replace(f"c{module}\n".encode(), b"cnumpy.core.multiarray\n")
