"""Learning curves for TensorBoard, in results/<grid>/tensorboard/<task>/<learner>/seed<k>/."""

from importlib.util import find_spec
from pathlib import Path

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.events.event import Event
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.training.history import IterationDone, Validated


class TensorBoardLog:
    """Writes one cell's scalars; a training that goes on overwrites what was written after its first iteration."""

    def __init__(self, folder: Path, after_iteration: int) -> None:
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder, purge_step=after_iteration + 1)

    def __call__(self, _: Cell, event: Event) -> None:
        """Write the loss and accuracy of a meta-batch's query images, or the mean accuracy of a validation."""
        match event:
            case IterationDone(iteration, loss, accuracy):
                self._writer.add_scalar("train/loss", loss, iteration)
                self._writer.add_scalar("train/accuracy", accuracy, iteration)
            case Validated(rows):
                self._writer.add_scalar("validation/accuracy", rows[-1].val_accuracy, rows[-1].iteration)
                self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def check_tensorboard() -> None:
    """Raise ConfigError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard: it is not installed: pip install 'fewshot_km[tensorboard]'")
