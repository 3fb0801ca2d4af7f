"""The commands `fewshot-km data ...`, which fetch, show and check a data set."""

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from fewshot_km.cli.options import DataRoot, DatasetOptions, Plugins, check_out, load_plugins, whole_number
from fewshot_km.cli.output import print_line
from fewshot_km.data import DATASETS, Dataset, load_dataset
from fewshot_km.data.files.names import few
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.data.storage import default_data_root
from fewshot_km.errors import ConfigError, DataError
from fewshot_km.experiments.settings.selection import parse_pairs
from fewshot_km.text import one_line

data_commands = typer.Typer(
    help="Fetch, look at and check a data set.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

COUNT = whole_number(1, 1_000_000)  # classes or images: data sets have fewer of a kind

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set: `fewshot-km datasets` lists them.")]


@data_commands.command("fetch")
def fetch_data(name: Name, data_root: DataRoot = None, plugin: Plugins = None) -> None:
    """Download a data set to the data root; goes on where an earlier download broke off."""
    from fewshot_km.data.download import fetch  # only this command needs its libraries, which import slowly

    load_plugins(plugin)
    DATASETS.get(name)  # raises for an unknown name
    for path in fetch(name, data_root or default_data_root()):
        print_line(path)


@data_commands.command()
def info(name: Name, option: DatasetOptions = None, data_root: DataRoot = None, plugin: Plugins = None) -> None:
    """Print images, sizes, splits and some of their classes, digests, where they are from, and what the cache takes."""
    dataset = _load(name, option, data_root, plugin)
    bank = dataset.bank
    channels, height, width = bank.image_shape
    counts = bank.counts
    per_class = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    lines = [
        ("data set", dataset.name),
        ("images", f"{len(bank.images):,}, {height}x{width}, {channels} channel{'s' if channels > 1 else ''}"),
        ("classes", f"{len(bank.class_names):,}, {per_class} images each"),
        ("digest", dataset.digest),
        ("pixels", bank.digest),
    ]
    for split_name in SPLIT_NAMES:
        split = dataset.splits[split_name]
        rows, views = split.classes.shape
        rotations = f" x {views} rotations" if views > 1 else ""
        lines.append((f"{split_name} classes", f"{rows:,}{rotations}  {split.digest}"))
        lines.append(("", few([bank.class_names[row[0]] for row in split.classes])))
    if dataset.found:
        lines.append(("found", dataset.found))
    if dataset.partial:
        lines.append(("partial", f"{dataset.partial}: every result says so"))
    if bank.path is not None:
        lines.append(("cache", f"{decimal(bank.path.stat().st_size)} in {bank.path}"))
    for key, value in lines:
        print(f"{key:15}{one_line(value)}")


@data_commands.command()
def show(
    name: Name,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf or .svg.")] = Path("sheet.png"),
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    classes: Annotated[
        int, typer.Option(metavar="N", parser=COUNT, help="Classes on the sheet, spread evenly over the split.")
    ] = 20,
    episode: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole_number(0, 2**63), help="Draw this episode of the test stream 0 instead."
        ),
    ] = None,
    ways: Annotated[int, typer.Option(metavar="N", parser=COUNT, help="Classes of the episode.")] = 5,
    shots: Annotated[int, typer.Option(metavar="N", parser=COUNT, help="Support images per class of the episode.")] = 1,
    queries: Annotated[int, typer.Option(metavar="N", parser=COUNT, help="Query images per class of the episode.")] = 5,
    option: DatasetOptions = None,
    data_root: DataRoot = None,
    plugin: Plugins = None,
) -> None:
    """Draw a sheet of a split's classes, or one episode, as a picture."""
    from fewshot_km.data.episodes import TaskSpec  # as above: torch
    from fewshot_km.reports.figures.contact_sheets import class_sheet, episode_sheet  # as above: matplotlib

    if split not in SPLIT_NAMES:
        raise ConfigError(f"--split {split}: allowed: {', '.join(SPLIT_NAMES)}")
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"--out {out}: the name must end in .png, .pdf or .svg")
    check_out(out)
    dataset = _load(name, option, data_root, plugin)
    if episode is None:
        class_sheet(dataset, split, classes, out)
    else:
        episode_sheet(dataset, split, TaskSpec(ways, shots, queries), episode, out)
    print_line(out)


@data_commands.command()
def verify(name: Name, option: DatasetOptions = None, data_root: DataRoot = None, plugin: Plugins = None) -> None:
    """Check that the pixels still have the digest that they were stored under."""
    dataset = _load(name, option, data_root, plugin)
    if not dataset.bank.is_intact():
        raise DataError(f"the cached pixels of '{name}' have changed: delete {dataset.bank.path}, then it is made anew")
    print_line(f"{name}: intact, pixels {dataset.bank.digest}")


def _load(name: str, options: list[str] | None, data_root: Path | None, plugins: list[Path] | None) -> Dataset:
    load_plugins(plugins)
    return load_dataset(name, data_root or default_data_root(), parse_pairs("--option", options or ()))
