"""The course of training for TensorBoard: results/<grid>/tensorboard/<task>/<learner>/seed<k>/."""

from importlib.util import find_spec
from pathlib import Path

from fewshot_km.errors import ConfigError
from fewshot_km.training.history import HistoryRow, Progress


class TensorBoardLog:
    """One cell's scalars; a training that goes on overwrites what was written after the iteration it starts from."""

    def __init__(self, folder: Path, after_iteration: int) -> None:
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder, purge_step=after_iteration + 1)

    def trained(self, progress: Progress) -> None:
        """Loss and accuracy of a meta-batch's query images."""
        self._writer.add_scalar("train/loss", progress.loss, progress.iteration)
        self._writer.add_scalar("train/accuracy", progress.accuracy, progress.iteration)

    def validated(self, row: HistoryRow) -> None:
        """Mean accuracy on the validation episodes; what was written so far can be seen from now on."""
        self._writer.add_scalar("validation/accuracy", row.val_accuracy, row.iteration)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def check_tensorboard() -> None:
    """Raise ConfigError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard: it is not installed: pip install 'fewshot_km[tensorboard]'")
