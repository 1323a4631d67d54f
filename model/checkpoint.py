"""Models on disk: safetensors and JSON, never pickle.

A model is a folder with `model.safetensors` (weights in half precision, integer tables) and `config.json`. Its
fingerprint, 16 hex digits, is a hash of everything that coding depends on; it names the model in every payload.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from model.config import CodecConfig
from model.errors import MaepressError
from model.network import Network
from model.tables import Tables

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1
BASE = Path(__file__).parent / "weights" / "base"
"""The model that maepress ships."""


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """A model complete for coding: nothing has to be computed or updated after loading."""

    network: Network
    tables: Tables
    fingerprint: str


def serialise(network: Network, notes: dict[str, object] | None = None) -> dict[str, bytes]:
    """The files of a model: name to bytes.

    Args:
        network: weights to keep, usually the training's moving average.
        notes: facts for people (data, steps, validation); not part of the fingerprint.

    Raises:
        MaepressError: when the integer path could overflow (weights that no training should reach).
    """
    if not network.scales.is_exact():
        raise MaepressError("the scale path's weights are too large for exact arithmetic: lower the learning rate")
    tensors = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in network.state_dict().items()}
    tables = Tables(network.prior.tables(), network.hyper_prior.table())
    fingerprint = _fingerprint(network.config, tensors, tables)
    tensors["tables.latent"] = torch.from_numpy(np.concatenate(tables.latent))
    tensors["tables.latent_sizes"] = torch.tensor([t.size for t in tables.latent], dtype=torch.int32)
    tensors["tables.hyper"] = torch.from_numpy(tables.hyper)
    config = {"format": FORMAT, "fingerprint": fingerprint, "config": network.config.to_json(), "notes": notes or {}}
    return {WEIGHTS: save(tensors), CONFIG: (json.dumps(config, indent=1) + "\n").encode()}


def load(folder: str | Path, device: str = "cpu") -> Checkpoint:
    """A model from a local folder, or the shipped one for "base".

    Raises:
        MaepressError: when there is no readable model of a known format.
    """
    folder = BASE if str(folder) == "base" else Path(folder)
    try:
        description = json.loads((folder / CONFIG).read_text())
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except FileNotFoundError as e:
        raise MaepressError(
            f"{folder} is no model: {Path(e.filename or CONFIG).name} is missing (train one with `maepress train`)"
        ) from None
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as e:
        raise MaepressError(f"the model in {folder} is damaged ({e}): restore or train it again") from None
    if description.get("format") != FORMAT:
        raise MaepressError(
            f"the model in {folder} has format {description.get('format')}, this maepress reads {FORMAT}: upgrade maepress"
        )
    config = CodecConfig.from_json(description["config"])
    counts = np.split(tensors.pop("tables.latent").numpy(), np.cumsum(tensors.pop("tables.latent_sizes").numpy())[:-1])
    tables = Tables(counts, tensors.pop("tables.hyper").numpy())
    network = Network(config)
    try:
        network.load_state_dict({name: t.to(torch.float32) for name, t in tensors.items()})
    except RuntimeError as e:
        raise MaepressError(f"the weights in {folder} do not fit its {CONFIG} ({str(e).splitlines()[0]})") from None
    fingerprint = _fingerprint(config, tensors, tables)
    if fingerprint != description["fingerprint"]:
        raise MaepressError(
            f"the model in {folder} is damaged (its contents are {fingerprint}, not {description['fingerprint']}): restore or train it again"
        )
    return Checkpoint(network.requires_grad_(False).eval().to(device), tables, fingerprint)


def _fingerprint(config: CodecConfig, tensors: dict[str, torch.Tensor], tables: Tables) -> str:
    digest = hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    for table in (*tables.latent, tables.hyper):
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()[:16]
