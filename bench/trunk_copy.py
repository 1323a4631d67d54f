"""A copy of a trunk's newest state with other weights, in a new folder, from which training goes on."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from bench.trunk_files import HISTORY, SETTINGS, newest, replace
from model.core.errors import MaepressError
from model.network.network import Network
from pipeline.train.checkpoint import MOMENTS, STATE


@dataclass(frozen=True, slots=True)
class Copy:
    """What is copied, and where to.

    Attributes:
        trunk: the trunk's folder, which does not change.
        new: the new folder, which does not exist yet.
        state: the trunk's newest state.
        settings: of the trunk.
    """

    trunk: Path
    new: Path
    state: Path
    settings: dict[str, Any]

    @classmethod
    def of(cls, trunk: Path, new: Path) -> "Copy":
        """The newest state of a trunk and its settings.

        Raises:
            MaepressError: when there is no state, or the new folder exists.
        """
        state = newest(trunk)
        if state is None:
            raise MaepressError(f"{trunk} holds no state: start a trunk with `run`")
        if new.exists():
            raise MaepressError(f"{new} exists: give a new folder")
        return cls(trunk, new, state, dict(json.loads((trunk / SETTINGS).read_text())))

    def write(self, weights: Network, average: Network, more: Mapping[str, bytes] | None = None, **changed: str) -> str:
        """Write the folder, whole or not at all. Counters and history are those of the trunk.

        So are the moments, but for those of weights whose shape changed: these begin anew.

        Args:
            weights: in place of the trunk's weights.
            average: in place of their moving average.
            more: further files, by path below the folder.
            changed: settings that differ from the trunk's.

        Returns:
            a line that says from what the folder came, and how to go on.
        """
        settings = self.settings | changed
        partial = self.new.with_name(self.new.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self.state, partial / self.state.name)
        networks = {"weight": weights, "average": average}
        tensors = {
            f"{part}.{name}": value for part, net in networks.items() for name, value in net.state_dict().items()
        }
        before = load_file(self.state / STATE)
        reshaped = {name for name, value in before.items() if value.shape != tensors[name].shape}
        _forget_moments(partial / self.state.name, {name.removeprefix("weight.") for name in reshaped})
        save_file(tensors, partial / self.state.name / STATE)
        for name, data in (more or {}).items():
            replace(partial / name, data)
        if (self.trunk / HISTORY).exists():
            shutil.copy(self.trunk / HISTORY, partial / HISTORY)
        replace(partial / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())
        partial.rename(self.new)
        return f"{self.state.name} -> {self.new}: go on with run {settings['recipe']} {settings['images']} {self.new}"


def _forget_moments(state: Path, names: set[str]) -> None:
    """Leave out the moments of some weights in all ranks' files of a state."""
    for file in sorted(state.glob(MOMENTS.format("*"))) if names else ():
        moments = load_file(file)
        save_file({name: value for name, value in moments.items() if name.partition(".")[2] not in names}, file)
