"""The files of a model on disk, their limits, and what `config.json` claims; needs no torch.

A model is a folder with two files. What is read here is only what the configuration says of itself;
`model.checkpoint` reads the weights and checks them.
"""

import json
import stat
from pathlib import Path
from typing import Any, Literal

from model.core.boundary import reason_of
from model.core.errors import MaepressError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FILES = (WEIGHTS, CONFIG)
"""File names of a model, in the order in which they are written: a folder with CONFIG is complete."""
MOST_BYTES = {WEIGHTS: 1 << 30, CONFIG: 1 << 20}
"""Largest files of a model; the shipped models have 6.4 MB and 12 kB."""
FORMAT = 1
SHIPPED = {name: Path(__file__).parent.parent / "weights" / name for name in ("base", "base-psnr")}
"""Folders of the models that maepress ships: `base` for what people see, `base-psnr` for the highest PSNR."""
BASE = SHIPPED["base"]
DISTORTION = "distortion"
"""The note that says what a training minimised beside the rate, one of `model.network.loss.DISTORTIONS`."""
MODEL_SETTING = "base (for what people see), base-psnr (for the highest PSNR), or a model's folder"
"""Help text of the setting `model`."""


class UnreadableModel(MaepressError):
    """A file of a model is missing, too large or not in its format; the message names the file."""


def model_folder(folder: str | Path) -> Path:
    """The local folder of a model; the name of a shipped one stands for its folder."""
    return SHIPPED.get(str(folder)) or Path(folder)


def shipped_model(fingerprint: str) -> str | None:
    """The name of the shipped model with a fingerprint; None when there is none."""
    return next((name for name, folder in SHIPPED.items() if claimed_fingerprint(folder) == fingerprint), None)


def claimed_fingerprint(folder: Path) -> str:
    """The fingerprint that a model's configuration claims. Its weights may be others: loading it tells.

    Raises:
        MaepressError: when the folder has no configuration of a model.
    """
    claimed = read_config(folder)["fingerprint"]
    if not isinstance(claimed, str):
        raise UnreadableModel(f"{folder / CONFIG} is damaged (no fingerprint): restore or train the model again")
    return claimed


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` in a folder says: a dict with a known format and at least the key "fingerprint".

    Raises:
        MaepressError: when there is none, or it is not of a known format.
    """
    path = folder / CONFIG
    try:
        check_file(path)
        description = json.loads(path.read_text())
    except OSError as e:
        raise unreadable(path, e) from None
    except (ValueError, RecursionError) as e:  # no JSON, no UTF-8, a number of too many digits, or nested too deeply
        raise UnreadableModel(f"{path} is damaged ({reason_of(e)}): restore or train the model again") from None
    if not isinstance(description, dict) or "format" not in description:
        raise MaepressError(f"{path} does not describe a maepress model: train one with `maepress train`")
    if description["format"] != FORMAT:
        raise MaepressError(
            f"{path} has format {description['format']}, this maepress reads {FORMAT}: upgrade maepress"
        )
    return {"fingerprint": None, **description}


def distortion_of(description: dict[str, Any]) -> Literal["mse", "perceptual"]:
    """What the training of a model minimised beside the rate: "perceptual", or the nearest that is not, "mse".

    Args:
        description: from `read_config`.
    """
    return "perceptual" if noted_distortion(description) == "perceptual" else "mse"


def noted_distortion(description: dict[str, Any]) -> object:
    """What a model says that its training minimised; None when it says nothing.

    A copy of a shipped model that an earlier version stored says nothing; the shipped one does.

    Args:
        description: from `read_config`; its notes may come from anyone.
    """
    said = _note(description, DISTORTION)
    if said is None and (name := shipped_model(str(description["fingerprint"]))) is not None:
        said = _note(read_config(SHIPPED[name]), DISTORTION)
    return said


def _note(description: dict[str, Any], name: str) -> object:
    notes = description.get("notes")
    return notes.get(name) if isinstance(notes, dict) else None


def check_file(path: Path) -> None:
    """Refuse a file of a model that is not a regular one (reading a device may never end), or is too large.

    Raises:
        MaepressError: for these.
        OSError: when the file cannot be looked at.
    """
    facts, most = path.stat(), MOST_BYTES[path.name]
    if not stat.S_ISREG(facts.st_mode):
        raise UnreadableModel(f"{path} is not a regular file: restore or train the model again")
    if facts.st_size > most:
        raise UnreadableModel(f"{path} has {facts.st_size} bytes, more than {most}: it is no file of a maepress model")


def unreadable(path: Path, error: OSError) -> UnreadableModel:
    """The error of a model's file that could not be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnreadableModel(f"{path.parent} is no model: {path.name} is missing (train one with `maepress train`)")
    return UnreadableModel(f"{path} cannot be read: {error.strerror or error}")
