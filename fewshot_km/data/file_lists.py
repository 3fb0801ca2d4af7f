"""Names of the files that a bank's images came from, kept beside the bank and read only where somebody asks."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from fewshot_km.data.storage import cache_root, write_text


def write_file_list(label: str, names: Sequence[str]) -> Path:
    """Keep the names, in the order of the bank's images, in the cache; the same list is kept once."""
    text = json.dumps(list(names), ensure_ascii=True)  # file names may be no text that UTF-8 has
    path = cache_root() / f"{label}-files-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_text(path, text)
    return path


def read_file_list(path: Path | None, count: int) -> list[str] | None:
    """So many names; None where there is no such list."""
    try:
        names = None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) and len(names) == count else None
