"""A table as Markdown, LaTeX, HTML or CSV."""

import csv
import html
import io

from pylatexenc.latexencode import RULE_DICT, UnicodeToLatexConversionRule, UnicodeToLatexEncoder
from tabulate import tabulate

from fewshot_km.reports.table import Entry, Table
from fewshot_km.text import csv_field, one_line

WIDE = 7  # columns that fit a page of text in its usual size

_TO_LATEX = UnicodeToLatexEncoder(
    conversion_rules=[
        # as LaTeX's oldest font encoding has other letters in their places
        UnicodeToLatexConversionRule(
            RULE_DICT,
            {ord("<"): r"\ensuremath{<}", ord(">"): r"\ensuremath{>}", ord("|"): r"\ensuremath{|}", ord('"'): "''"},
        ),
        "defaults",
    ],
    unknown_char_warning=False,
)


def to_markdown(tables: list[Table]) -> str:
    """The tables one under the other, each with its notes."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    rows = []
    for section in table.sections:
        if section.title:
            rows.append([f"*{_escape_markdown(section.title)}*", *[""] * (len(table.header) - 1)])
        rows += [[_markdown_entry(entry) for entry in row] for row in section.rows]
    alignment = ["left" if place < table.words else "right" for place in range(len(table.header))]
    header = [_escape_markdown(name) for name in table.header]
    body = tabulate(rows, header, "pipe", colalign=alignment, disable_numparse=True)
    notes = "\n".join(f"- {_escape_markdown(note)}" for note in table.notes)
    parts = [f"## {_escape_markdown(table.title)}", *([body] if rows else []), *([notes] if notes else [])]
    return "\n\n".join(parts) + "\n"


def _markdown_entry(entry: Entry) -> str:
    text = _escape_markdown(entry.text)
    return f"**{text}**" if entry.is_bold else text


def _escape_markdown(text: str) -> str:
    text = one_line(text)
    for character in "\\|*`<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def to_latex(tables: list[Table], prefix: str = "") -> str:
    """The tables for a document with \\usepackage{booktabs}, each a `table` with caption, label and footnote.

    The label is tab: and the table's name behind `prefix`. What of the notes is not in the footnote is in comments.
    """
    return "% needs \\usepackage{booktabs}\n\n" + "\n".join(_latex(table, prefix) for table in tables)


def _latex(table: Table, prefix: str) -> str:
    columns = "".join("l" if place < table.words else "r" for place in range(len(table.header)))
    lines = [
        r"\begin{table}",
        r"\centering",
        *([r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if len(columns) > WIDE else []),
        rf"\caption{{{escape_latex(table.caption or table.title)}}}",
        *([rf"\label{{tab:{prefix}{table.name}}}"] if table.name else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape_latex(name) for name in table.header) + r" \\",
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{{escape_latex(section.title)}}}}} \\")
        lines += [" & ".join(_latex_entry(entry) for entry in row) + r" \\" for row in section.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    footnote = table.footnote or " ".join(table.notes)
    lines += [rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {escape_latex(footnote)}}}"]
    lines += [r"\end{table}", ""]
    comments = [f"% {one_line(note)}" for note in table.notes] if table.footnote else []
    return "\n".join([*comments, *lines])


def _latex_entry(entry: Entry) -> str:
    text = escape_latex(entry.text)
    return rf"\textbf{{\boldmath {text}}}" if entry.is_bold else text  # \boldmath: the ± too


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is written here; a question mark for letters that its standard fonts lack."""
    known = "".join(letter if letter < "\u0250" or letter in "−–≤≥…" else "?" for letter in one_line(text))
    return str(_TO_LATEX.unicode_to_latex(known))


def to_csv(tables: list[Table]) -> str:
    """The tables as they are read, without notes; an empty line between them."""
    return "\n".join(_csv(table) for table in tables)


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows([csv_field(entry.text) for entry in row] for row in table.rows)
    return text.getvalue()


def to_html(tables: list[Table]) -> str:
    """The tables as fragments of a page."""
    return "\n".join(html_table(table) for table in tables)


def html_table(table: Table) -> str:
    """One table with its notes; every text is escaped."""
    head = "".join(
        f'<th scope="col"{_align(place, table)}>{_escape_html(name)}</th>' for place, name in enumerate(table.header)
    )
    parts = [f"<table><caption>{_escape_html(table.title)}</caption>", f"<thead><tr>{head}</tr></thead>"]
    for section in table.sections:
        parts.append("<tbody>")
        if section.title:
            title = _escape_html(section.title)
            parts.append(f'<tr><th colspan="{len(table.header)}" scope="rowgroup">{title}</th></tr>')
        for row in section.rows:
            cells = "".join(f"<td{_align(place, table)}>{_html_entry(entry)}</td>" for place, entry in enumerate(row))
            parts.append(f"<tr>{cells}</tr>")
        parts.append("</tbody>")
    notes = "".join(f"<li>{_escape_html(note)}</li>" for note in table.notes)
    parts.append("</table>" + (f"<ul>{notes}</ul>" if notes else ""))
    return "\n".join(parts)


def _escape_html(text: str) -> str:
    return html.escape(one_line(text))


def _align(place: int, table: Table) -> str:
    return "" if place < table.words else ' class="number"'


def _html_entry(entry: Entry) -> str:
    text = _escape_html(entry.text)
    return f"<b>{text}</b>" if entry.is_bold else text
