"""The log of a training: metrics.csv and, on request, event files for TensorBoard."""

from __future__ import annotations

import csv
import json
from pathlib import Path

COLUMNS = ("stage", "step", "images", "seconds", "lr", "loss", "val_auc", "val_f1", "terms")
SCALARS = {"loss": "loss", "lr": "learning rate", "val_auc": "validation/AUC", "val_f1": "validation/F1"}


class LogError(RuntimeError):
    """A log that cannot be written; the message says what to install."""


class Log:
    """Rows of a stage in FOLDER/metrics.csv.

    Attributes:
        seconds: what the stage has taken so far.
    """

    def __init__(self, folder: Path | None, stage: str, done: int, tensorboard: bool = False):
        """Open the log; rows after the checkpoint that a resumed training starts from are dropped.

        Args:
            folder: None writes nothing (for the other processes of several).
            stage: of the training.
            done: steps in the checkpoint.
            tensorboard: also write FOLDER/tensorboard/STAGE.

        Raises:
            LogError: TensorBoard is asked for and not installed.
        """
        self.stage, self.seconds = stage, 0.0
        self._stream = self._events = None
        if folder is None:
            return
        file = folder / "metrics.csv"
        rows = [r for r in read_rows(file) if r["stage"] != stage or int(r["step"]) <= done]
        self.seconds = max((float(r["seconds"]) for r in rows if r["stage"] == stage), default=0.0)
        if tensorboard:
            self._events = event_writer()(str(folder / "tensorboard" / stage), purge_step=done + 1 if done else None)
        self._stream = file.open("w", newline="")
        self._writer = csv.DictWriter(self._stream, COLUMNS)
        self._writer.writeheader()
        self._writer.writerows(rows)

    def write(self, row: dict) -> None:
        """Add a step: values of COLUMNS but the first; terms: name -> value."""
        if self._stream is not None:
            self._writer.writerow({"stage": self.stage, **row, "terms": json.dumps(row["terms"])})
            self._stream.flush()
        if self._events is not None:
            scalars = {name: row[key] for key, name in SCALARS.items() if key in row}
            scalars |= {f"terms/{name}": value for name, value in row["terms"].items()}
            for name, value in scalars.items():
                self._events.add_scalar(name, value, row["step"])

    def __enter__(self) -> Log:
        """The log itself."""
        return self

    def __exit__(self, *_) -> None:
        """Close the files."""
        for file in (self._stream, self._events):
            if file is not None:
                file.close()


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv; none where there is no such file."""
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def event_writer() -> type:
    """The class that writes TensorBoard's event files.

    Raises:
        LogError: its package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise LogError(
            f"--tensorboard needs the package tensorboard ({error}): pip install -c constraints.txt -e "
            "'.[tensorboard]', or leave the option out; metrics.csv holds the same numbers"
        ) from error
    return SummaryWriter
