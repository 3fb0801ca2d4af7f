"""The names that users may rely on: these and no others, and nothing slow is imported before it is asked for."""

import subprocess
import sys
from importlib.metadata import version

import fewshot_km
from fewshot_km.learners.base import GradientLearner
from fewshot_km.models.modulation.modulator import modulate
from fewshot_km.registry import Registry

PUBLIC = """
Cell ConfigError DATASETS DataError Dataset Episode EpisodeSampler FewshotError GradientLearner Grid ImageBank InnerLoop
KernelModulator LEARNERS Learner NETWORKS Network Params PluginError Stream TaskSpec UnknownNameError __version__
build_learner build_network load_dataset load_grid merge modulate register shipped_grids
"""


def test_the_public_names_are_these() -> None:
    assert sorted(fewshot_km.__all__) == PUBLIC.split()


def test_every_public_name_is_there() -> None:
    assert all(getattr(fewshot_km, name) is not None for name in fewshot_km.__all__)
    assert fewshot_km.GradientLearner is GradientLearner
    assert fewshot_km.modulate is modulate
    assert isinstance(fewshot_km.LEARNERS, Registry)
    assert fewshot_km.__version__ == version("fewshot_km")
    assert not hasattr(fewshot_km, "nothing")


def test_grids_and_data_sets_can_be_looked_at_without_torch() -> None:
    code = (
        "import sys, fewshot_km; assert 'pydantic' not in sys.modules;"
        "fewshot_km.load_grid, fewshot_km.load_dataset, fewshot_km.LEARNERS, fewshot_km.__version__;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
