"""Models on disk: safetensors and JSON, never pickle.

A model is a folder with `model.safetensors` (weights in half precision, integer tables) and
`config.json`. Its fingerprint, 16 hex digits, is a hash of everything that coding depends on; every
payload names its model by it.
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from model.bitstream.probability_tables import SCALES, Tables
from model.core.boundary import reason_of
from model.core.config import CodecConfig
from model.core.errors import MaepressError
from model.network.network import Network

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1
_DTYPES = frozenset({torch.float16, torch.float32, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
"""Types of tensors in a model; numpy, through which the fingerprint is computed, knows all of them."""
BASE = Path(__file__).parent / "weights" / "base"
"""The model that maepress ships."""


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """A model, complete for coding.

    Attributes:
        network: with weights in float32.
        tables: of the entropy coder.
        fingerprint: 16 hex digits that name the model.
    """

    network: Network
    tables: Tables
    fingerprint: str


def serialise(network: Network, notes: dict[str, object] | None = None) -> dict[str, bytes]:
    """The files of a model: name to bytes.

    Args:
        network: with the weights to save, usually the moving average of training.
        notes: information for readers (data, steps, validation); not part of the fingerprint.

    Raises:
        MaepressError: when weights are so large that the integer path could overflow.
    """
    # Compute the tables from the weights as they will be loaded, so that saving a loaded model
    # gives the same model.
    network = copy.deepcopy(network).to("cpu", torch.float16).to(torch.float32)
    if not network.scales.is_exact():
        raise MaepressError("the scale path's weights are too large for exact arithmetic: lower the learning rate")
    tensors = {name: t.detach().to(torch.float16).contiguous() for name, t in network.state_dict().items()}
    tables = Tables(network.prior.tables(), network.hyper_prior.table())
    fingerprint = _fingerprint(network.config, tensors, tables)
    tensors["tables.latent"] = torch.from_numpy(np.concatenate(tables.latent))
    tensors["tables.latent_sizes"] = torch.tensor([t.size for t in tables.latent], dtype=torch.int32)
    tensors["tables.hyper"] = torch.from_numpy(tables.hyper)
    config = {"format": FORMAT, "fingerprint": fingerprint, "config": network.config.to_json(), "notes": notes or {}}
    return {WEIGHTS: save(tensors), CONFIG: (json.dumps(config, indent=1) + "\n").encode()}


def load(folder: str | Path, device: str = "cpu") -> Checkpoint:
    """Load a model from a local folder, or the shipped model for "base".

    Raises:
        MaepressError: when the folder has no intact model of a known format.
    """
    folder = BASE if str(folder) == "base" else Path(folder)
    try:
        return _load(folder, device)
    except (MaepressError, MemoryError):
        raise
    except Exception as e:  # a model may come from others, and its parsers raise anything
        raise MaepressError(f"the model in {folder} is damaged: {reason_of(e)}: restore or train it again") from None


def _load(folder: Path, device: str) -> Checkpoint:
    description, tensors = _read_config(folder / CONFIG), _read_weights(folder / WEIGHTS)
    damaged = f"the model in {folder} is damaged ({{}}): restore or train it again"
    try:
        network = Network(CodecConfig.from_json(description.get("config")))
        tables = _take_tables(tensors, network.config)
        network.load_state_dict({name: t.to(torch.float32) for name, t in tensors.items()})
    except MaepressError as e:
        raise MaepressError(damaged.format(e)) from None
    except RuntimeError as e:  # from load_state_dict, with one line per wrong tensor
        raise MaepressError(damaged.format(" ".join(str(e).split("\n\t")[:2]))) from None
    fingerprint = _fingerprint(network.config, tensors, tables)
    if fingerprint != description.get("fingerprint"):
        raise MaepressError(damaged.format(f"its contents are {fingerprint}, not {description.get('fingerprint')}"))
    if not network.scales.is_exact():
        raise MaepressError(damaged.format("its scale path's weights are too large for exact arithmetic"))
    return Checkpoint(network.requires_grad_(False).eval().to(device), tables, fingerprint)


def _unreadable(path: Path, error: OSError) -> MaepressError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MaepressError(f"{path.parent} is no model: {path.name} is missing (train one with `maepress train`)")
    return MaepressError(f"{path} cannot be read: {error.strerror or error}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text())
    except OSError as e:
        raise _unreadable(path, e) from None
    except (ValueError, RecursionError) as e:  # no JSON, no UTF-8, a number of too many digits, or nested too deeply
        raise MaepressError(f"{path} is damaged ({reason_of(e)}): restore or train the model again") from None
    if not isinstance(description, dict) or "format" not in description:
        raise MaepressError(f"{path} does not describe a maepress model: train one with `maepress train`")
    if description["format"] != FORMAT:
        raise MaepressError(
            f"{path} has format {description['format']}, this maepress reads {FORMAT}: upgrade maepress"
        )
    return description


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
    except OSError as e:
        raise _unreadable(path, e) from None
    except SafetensorError as e:
        raise MaepressError(f"{path} is damaged ({reason_of(e)}): restore or train the model again") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise MaepressError(
                f"{path} is damaged ({name} is of {tensor.dtype}, which no model has): restore or train the model again"
            )
    return tensors


def _take_tables(tensors: dict[str, torch.Tensor], config: CodecConfig) -> Tables:
    """Remove the tables from the tensors and check them.

    Raises:
        MaepressError: when they are missing or not usable.
    """
    try:
        counts, sizes, hyper = (tensors.pop(f"tables.{name}").numpy() for name in ("latent", "latent_sizes", "hyper"))
    except KeyError as e:
        raise MaepressError(f"{e.args[0]} is missing") from None
    if sizes.shape != (SCALES,) or sizes.sum() != counts.size or hyper.shape[1:2] != (config.hyper_channels,):
        raise MaepressError("its tables have impossible sizes")
    tables = Tables(np.split(counts, np.cumsum(sizes)[:-1]), hyper)
    if not tables.are_sound():
        raise MaepressError("its tables are not valid distributions")
    return tables


def _fingerprint(config: CodecConfig, tensors: dict[str, torch.Tensor], tables: Tables) -> str:
    digest = hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    for table in (*tables.latent, tables.hyper):
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()[:16]
