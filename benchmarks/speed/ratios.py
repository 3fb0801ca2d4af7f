"""Tables and a bar chart of what was compared: seconds, and ratios of medians, ours over each peer's."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from arithmetic import MATRIX
from cases import EPISODES, PAPER, PAPER_ITERATIONS, PEERS, SAMPLING, TASKS_DRAWN, TRAINING
from tabulate import tabulate

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

Found = dict[str, Any]
"""What one case gave, as CASE.json has it."""

COLOURS = dict(zip(PEERS["maml"], ("#4477aa", "#66ccee", "#ccbb44", "#ee6677"), strict=True))


def medians(found: Found) -> dict[str, float]:
    """Of the rounds, by contestant."""
    return {name: statistics.median(values) for name, values in found["seconds"].items()}


def fastest_peer(times: dict[str, float], learner: str) -> str:
    """The fastest of the others at this learner (or, for samplers, of all others)."""
    others = [name for name in times if not name.startswith("ours") and name.endswith(learner)]
    return min(others, key=lambda name: times[name])


def to_markdown(cases: dict[str, Found]) -> str:
    """Tables of everything found so far."""
    training = {name: found for name, found in cases.items() if name in TRAINING}
    paper = {name: found for name, found in training.items() if name in PAPER}
    environment = next(iter(cases.values()))["environment"]
    rounds = {len(values) for found in cases.values() for values in found["seconds"].values()}
    parts = [
        "# Speed beside learn2learn, higher, torchmeta and TorchOpt",
        "`FOLDER/bin/python benchmarks/speed/compare.py --out results/speed`, where "
        "`sh benchmarks/speed/peers_env.sh FOLDER` made the environment. "
        f"{environment['device']}, {environment['cores']} cores, torch {environment['libraries']['torch']}, medians of "
        f"{min(rounds)} to {max(rounds)} rounds in turns; smaller is better, ratios below 1 are in our favour.",
        "## Seconds per meta-training iteration, second order",
        "Peer: the fastest of those whose float64 meta-gradient is ours to 1e-9. Ours runs what --backend names.",
        _table(
            ["", "ours runs", "MAML", "peer", "ratio", "ANIL", "peer", "ratio", "KM-MAML", "over our MAML"],
            [_training_row(name, found) for name, found in training.items()],
        ),
        "## Evaluation and sampling",
        _table(
            ["", "unit", "ours", "fastest peer", "ratio"],
            [_other_row(name, found) for name, found in cases.items() if name not in TRAINING],
        ),
        "## The arithmetic floor of MAML",
        f"Operations of convolutions and matrix products over the rate of a {MATRIX}x{MATRIX} matrix product in the "
        "same run.",
        _table(
            ["", "10^9 operations", "10^9/s", "floor, s", "ours over it", "fastest peer over it"],
            [_floor_row(name, found) for name, found in training.items()],
        ),
        "## Peak memory, MB",
        "Ours: of all processes together, libraries counted in each, and with what choosing a backend took.",
        _table(["", "ours", *PEERS["maml"]], [_memory_row(name, found) for name, found in training.items()]),
    ]
    if paper:
        header = ["", "MAML", "ANIL", "KM-MAML", *(f"{it}'s MAML" for it in PEERS["maml"])]
        rows = [_projection_row(name, found) for name, found in paper.items()]
        parts += [f"## Hours for {PAPER_ITERATIONS:,} iterations", _table(header, rows)]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _training_row(name: str, found: Found) -> list[str]:
    times = medians(found)
    row: list[str] = [name, found["about"]["ours maml"]["training"]]
    for learner in ("maml", "anil"):
        peer = fastest_peer(times, learner)
        ours = times[f"ours {learner}"]
        row += [f"{ours:.3f}", f"{times[peer]:.3f} ({peer.split()[0]})", f"**{ours / times[peer]:.2f}x**"]
    return [*row, f"{times['ours km-maml']:.3f}", f"{times['ours km-maml'] / times['ours maml']:.2f}x"]


def _other_row(name: str, found: Found) -> list[str]:
    times = medians(found)
    if name in SAMPLING:
        ours, unit, factor = "ours", "ms per task", 1e3 / TASKS_DRAWN
    else:
        ours, unit, factor = "ours maml", f"s for {EPISODES} episodes", 1.0
    peer = fastest_peer(times, ours.removeprefix("ours").strip())
    return [
        name,
        unit,
        f"{times[ours] * factor:.3g}",
        f"{times[peer] * factor:.3g} ({peer.removesuffix(' maml')})",
        f"**{times[ours] / times[peer]:.2g}x**",
    ]


def _floor_row(name: str, found: Found) -> list[str]:
    times, operations, rate = medians(found), found["operations"]["maml"], found["operations_per_second"]
    floor = operations / rate
    return [
        name,
        f"{operations / 1e9:.1f}",
        f"{rate / 1e9:.0f}",
        f"{floor:.3f}",
        f"{times['ours maml'] / floor:.2f}x",
        f"{times[fastest_peer(times, 'maml')] / floor:.2f}x",
    ]


def _memory_row(name: str, found: Found) -> list[str]:
    return [name, *(f"{found['about'][f'{who} maml']['bytes'] / 1e6:,.0f}" for who in ("ours", *PEERS["maml"]))]


def _projection_row(name: str, found: Found) -> list[str]:
    times = medians(found)
    contestants = ("ours maml", "ours anil", "ours km-maml", *(f"{peer} maml" for peer in PEERS["maml"]))
    return [name, *(f"{times[who] * PAPER_ITERATIONS / 3600:.2f}" for who in contestants)]


def draw_ratios(cases: dict[str, Found], path: Path) -> None:
    """Our time over each peer's, MAML and ANIL, a bar each."""
    labels, values, colours = [], [], []
    for name, found in cases.items():
        times = medians(found)
        if name in SAMPLING:
            continue
        for contestant, seconds in times.items():
            library, _, learner = contestant.partition(" ")
            if library != "ours":
                labels.append(f"{name}, {learner.upper()}")
                values.append(times[f"ours {learner}"] / seconds)
                colours.append(COLOURS[library])
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.19 * len(values)), layout="constrained")
    places = np.arange(len(values))
    axes.barh(places, values, color=colours)
    axes.axvline(1, color="black", linewidth=1)
    shown = [label if i == 0 or labels[i - 1] != label else "" for i, label in enumerate(labels)]
    axes.set_yticks(places, shown, fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("our time / the peer's time (below 1: ours is faster)")
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    axes.legend(handles, COLOURS, loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
