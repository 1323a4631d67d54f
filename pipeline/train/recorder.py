"""Records of rank 0: TensorBoard logs, a JSON line per validation, the best model so far, lines for the driver."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from model import checkpoint
from model.core.boundary import Fault, attempt
from model.network.loss import Loss
from model.network.network import Network
from pipeline.storage.open import open_store
from pipeline.train.checkpoint import Counters, Unresumable
from pipeline.train.settings import TrainSettings

HISTORY, LOGS = "validation.jsonl", "logs"


class Recorder:
    """Writes to `settings.out`. TensorBoard logs grow live in a folder; a bucket gets them at each validation."""

    def __init__(self, settings: TrainSettings, counters: Counters, board: Any, notes: dict[str, object]) -> None:
        self._settings, self._notes = settings, notes
        self._store = open_store(settings.out)
        folder = self._store.local_path()
        self._upload = folder is None
        if folder is None:
            self._scratch = tempfile.TemporaryDirectory()  # removed with this object
            folder = Path(self._scratch.name)
        self._logs = folder / LOGS
        self._writer = SummaryWriter(str(self._logs))
        self._board = board
        goes_on = counters.step > 0 and self._store.exists(HISTORY)
        lines = self._store.get(HISTORY).decode(errors="replace").splitlines() if goes_on else []
        # A run that died may have got further than the checkpoint from which this one resumes.
        self._lines = [line for number, line in enumerate(lines, 1) if self._step_in(line, number) <= counters.step]

    def _step_in(self, line: str, number: int) -> int:
        """The step of a line of the history."""
        step = attempt(lambda: int(json.loads(line)["step"]))
        if isinstance(step, Fault):
            place = f"{self._settings.out}/{HISTORY}"
            raise Unresumable(f"{place} is damaged in line {number}: remove that line, and the same command goes on")
        return step

    def stepped(self, loss: Loss, rate: float, counters: Counters) -> None:
        """Log a training step."""
        values = {
            "loss": float(loss.total.mean()),
            "bpp": float(loss.bpp.mean()),
            "psnr": float(-10 * torch.log10(loss.mse).mean()),
            "learning_rate": rate,
        }
        for name, value in values.items():
            self._writer.add_scalar(f"train/{name}", value, counters.step)
        self._notify(counters, f"loss {values['loss']:.3f}  {values['bpp']:.3f} bpp  {values['psnr']:.2f} dB")

    def validated(self, metrics: dict[str, float], average: Network, counters: Counters) -> None:
        """Log a validation, and keep the model if it is the best so far."""
        row = {"step": counters.step, "minutes": round(counters.seconds / 60, 2)} | {
            k: round(v, 4) for k, v in metrics.items()
        }
        # A run that is complete already ends with a validation of the step with which it began.
        if self._lines and self._step_in(self._lines[-1], len(self._lines)) == counters.step:
            self._lines.pop()
        self._lines.append(json.dumps(row))
        better = metrics["loss"] < counters.best
        for name, value in metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, counters.step)
        self._writer.flush()
        if better:
            counters.best = metrics["loss"]
            notes = self._notes | {"validation": row}
            for name, data in checkpoint.serialise(average, notes).items():
                self._store.put(name, data)
        self._store.put(HISTORY, ("\n".join(self._lines) + "\n").encode())
        if self._upload:
            for file in self._logs.iterdir():
                self._store.put(f"{LOGS}/{file.name}", file.read_bytes())
        self._notify(counters, f"validation loss {metrics['loss']:.4f}{', the best so far' if better else ''}")

    def _notify(self, counters: Counters, text: str) -> None:
        limit = f" of {self._settings.max_minutes:g}" if self._settings.max_minutes else ""
        self._board.write.remote(f"step {counters.step}, minute {counters.seconds / 60:.1f}{limit}:  {text}")
