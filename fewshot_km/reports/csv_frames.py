"""Data frames as CSV that is safe to open in a spreadsheet."""

import pandas as pd

from fewshot_km.text import csv_field


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV whose texts are as `csv_field` makes them; numbers stay as they are."""
    safe = frame.copy(deep=False)
    for name in frame.columns:
        if not (pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])):
            fields = {text: csv_field(text) for text in frame[name].unique() if isinstance(text, str)}
            safe[name] = frame[name].map(lambda value, fields=fields: fields.get(value, value), na_action="ignore")
    return str(safe.to_csv(index=False, lineterminator="\n"))
