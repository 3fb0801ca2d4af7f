"""Probe finished cells, as `fewshot-km evaluate` does."""

import sys
from statistics import fmean

import typer

from fewshot_km.cli.output import print_line
from fewshot_km.data import load_dataset
from fewshot_km.data.storage import default_data_root
from fewshot_km.errors import FewshotError, describe_error, message_of
from fewshot_km.experiments.cells.probe_stored import has_images, is_probed, make_images, probe_stored
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.settings.grid import find_grid, load_grid
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.settings.selection import parse_settings, select
from fewshot_km.experiments.store.environment import describe_environment
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.stored_cell import StoredCell
from fewshot_km.text import counted
from fewshot_km.training.devices import choose_device
from fewshot_km.training.ranks import Ranks

FAILED = 1  # exit status: some cells could not be analysed


def evaluate_cells(name: str, options: RunOptions) -> None:
    """Analyse the finished cells of a grid that have no analysis; raises typer.Exit where one could not be."""
    on, root = choose_device(options.device), options.data_root or default_data_root()
    loaded = load_grid(find_grid(name), parse_settings(options.settings))
    store = ResultStore(options.results, loaded.name)
    cells = select(loaded.cells, options.only, None)
    done = [cell for cell in cells if store.state(cell) == "done"]
    waiting = [cell for cell in done if not is_probed(cell, store)]
    without_images = [cell for cell in done if cell not in waiting and not has_images(cell, store)]
    wanted = {str(cell.config.task.dataset): cell.config.task.dataset for cell in [*waiting, *without_images]}
    datasets = {key: load_dataset(of.name, root, of.options) for key, of in wanted.items()}
    environment = describe_environment(on, ranks=1)  # now: a checkout may change meanwhile
    ranks, failed = Ranks(device=on), 0
    with Stop() as stop:
        for cell in [*waiting, *{cell.task: cell for cell in without_images}.values()]:
            dataset = datasets[str(cell.config.task.dataset)]
            try:
                if cell in waiting:
                    print(f"{cell}: {_told(probe_stored(cell, store, dataset, ranks, environment, stop))}", flush=True)
                else:
                    make_images(cell, store, dataset)
                    print(f"{cell.task}: example images written", flush=True)
            except BaseException as error:  # whichever way a learner ends must not cost the cells after it
                if stop.is_asked_for(error):
                    raise
                stop.check()
                failed += 1
                reason = message_of(error) if isinstance(error, FewshotError | OSError) else describe_error(error)
                print_line(f"{cell}: left as it was: {reason}", sys.stderr)
    text = f"{loaded.name}: {counted(len(done), 'finished cell')}"
    if len(cells) > len(done):
        text += f", {len(cells) - len(done)} not finished, which `fewshot-km run` will analyse, too"
    print(text)
    if failed:
        print(f"error: {failed} could not be analysed", file=sys.stderr)
        raise typer.Exit(FAILED)


def _told(stored: StoredCell) -> str:
    assert stored.analysis is not None
    accuracies, available = stored.analysis.open_accuracies, stored.analysis.open_available
    return (
        f"{100 * fmean(accuracies):.2f} % over {len(accuracies)} of {counted(available, 'open episode')}, "
        f"{1000 * stored.record['results']['adaptation_seconds']:.3g} ms to adapt"
    )
