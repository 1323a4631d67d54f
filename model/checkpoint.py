"""Models on disk: safetensors and JSON, never pickle.

A model is a folder with `model.safetensors` (weights in half precision, integer tables) and
`config.json`. Its fingerprint, 16 hex digits, is a hash of everything that coding depends on; every
payload names its model by it.
"""

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save

from model.bitstream.probability_tables import SCALES, Tables
from model.core.boundary import reason_of
from model.core.config import CodecConfig
from model.core.errors import MaepressError
from model.core.model_files import (
    CONFIG,
    FORMAT,
    WEIGHTS,
    UnreadableModel,
    check_file,
    distortion_of,
    model_folder,
    read_config,
    unreadable,
)
from model.core.reduction import DENOMINATORS, head_shape
from model.network.network import Network

HEAD = "reduced."
"""Beginning of the names of heads in the weights' file; the denominator follows."""
_DTYPES = frozenset({torch.float16, torch.float32, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
"""Types of tensors in a model; numpy, through which the fingerprint is computed, knows all of them."""


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """A model, complete for coding.

    Attributes:
        network: with weights in float32.
        tables: of the entropy coder.
        fingerprint: 16 hex digits that name the model.
        heads: by denominator, the maps for decoding at reduced size, float32
            (`model.core.reduction.head_shape`); no part of what the fingerprint names.
        distortion: what its training minimised beside the rate, by which an encode refines latents:
            "perceptual" or, as for models that do not say, "mse"; likewise.
    """

    network: Network
    tables: Tables
    fingerprint: str
    heads: dict[int, torch.Tensor] = field(default_factory=dict)
    distortion: Literal["mse", "perceptual"] = "mse"


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


def with_heads(weights: bytes, heads: dict[int, torch.Tensor]) -> bytes:
    """The weights' file of a model with other heads for decoding at reduced size; the fingerprint stays.

    Args:
        weights: the file of a sound model.
        heads: by denominator, of the shapes `model.core.reduction.head_shape`.
    """
    tensors = {name: t for name, t in load_bytes(weights).items() if not name.startswith(HEAD)}
    made = {f"{HEAD}{d}": head.detach().to("cpu", torch.float16).contiguous() for d, head in heads.items()}
    return save(tensors | made)


def load(folder: str | Path, device: str = "cpu") -> Checkpoint:
    """Load a model from a local folder, or a shipped one by its name ("base").

    Raises:
        MaepressError: when the folder has no intact model of a known format.
    """
    folder = model_folder(folder)
    try:
        return _load(folder, device)
    except (MaepressError, MemoryError):
        raise
    except Exception as e:  # a model may come from others, and its parsers raise anything
        raise MaepressError(f"the model in {folder} is damaged: {reason_of(e)}: restore or train it again") from None


def fingerprint_of(folder: str | Path) -> str:
    """The fingerprint of what a local model folder holds, whatever its configuration claims; no network is built.

    Raises:
        MaepressError: when the folder has no model whose configuration, weights and tables fit together.
    """
    folder = Path(folder)
    try:
        contents = _read(folder)
    except (MaepressError, MemoryError):
        raise
    except Exception as e:  # as in `load`
        raise MaepressError(f"the model in {folder} is damaged: {reason_of(e)}: restore or train it again") from None
    return contents.fingerprint


@dataclass(frozen=True, eq=False, slots=True)
class _Contents:
    """The files of a model: checked, but for the shapes of most tensors."""

    config: CodecConfig
    tensors: dict[str, torch.Tensor]
    tables: Tables
    heads: dict[int, torch.Tensor]
    fingerprint: str
    claimed: object
    distortion: Literal["mse", "perceptual"]


def _read(folder: Path) -> _Contents:
    description = read_config(folder)
    try:
        config = CodecConfig.from_json(description.get("config"))
        tensors = _read_weights(folder / WEIGHTS, config)
        tables, heads = _take_tables(tensors, config), _take_heads(tensors, config)
    except UnreadableModel:
        raise
    except MaepressError as e:
        raise MaepressError(_damaged(folder, str(e))) from None
    fingerprint = _fingerprint(config, tensors, tables)
    return _Contents(
        config, tensors, tables, heads, fingerprint, description["fingerprint"], distortion_of(description)
    )


def _load(folder: Path, device: str) -> Checkpoint:
    found = _read(folder)
    network = Network(found.config)
    try:
        network.load_state_dict({name: t.to(torch.float32) for name, t in found.tensors.items()})
    except RuntimeError as e:  # with one line per wrong tensor
        raise MaepressError(_damaged(folder, " ".join(str(e).split("\n\t")[:2]))) from None
    if found.fingerprint != found.claimed:
        raise MaepressError(_damaged(folder, f"its contents are {found.fingerprint}, not {found.claimed}"))
    if not network.scales.is_exact():
        raise MaepressError(_damaged(folder, "its scale path's weights are too large for exact arithmetic"))
    heads = {denominator: head.to(device) for denominator, head in found.heads.items()}
    network = network.requires_grad_(False).eval().to(device)
    return Checkpoint(network, found.tables, found.fingerprint, heads, found.distortion)


def _damaged(folder: Path, why: str) -> str:
    return f"the model in {folder} is damaged ({why}): restore or train it again"


def _read_weights(path: Path, config: CodecConfig) -> dict[str, torch.Tensor]:
    try:
        check_file(path)
        with safe_open(path, framework="pt") as file:
            names = frozenset(file.keys())
            for name, shape in _telling_shapes(config).items():
                if name not in names:
                    raise MaepressError(f"{name} is missing")
                if (found := tuple(file.get_slice(name).get_shape())) != shape:
                    raise MaepressError(f"{name} has the shape {found}, its configuration {shape}")
            tensors = {name: file.get_tensor(name) for name in names}
    except OSError as e:
        raise unreadable(path, e) from None
    except SafetensorError as e:
        raise UnreadableModel(f"{path} is damaged ({reason_of(e)}): restore or train the model again") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise UnreadableModel(
                f"{path} is damaged ({name} is of {tensor.dtype}, which no model has): restore or train the model again"
            )
    return tensors


def _telling_shapes(config: CodecConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that bound the size of a network: for each width and depth, one that grows with it.

    They are compared with the file before the network is allocated, so that a small file cannot
    claim a large network: it takes at most some twenty times the memory of these tensors.
    (`load_state_dict` compares all shapes, but needs the network.)
    """
    wide, context, scale = config.hyper_width, config.context_width, config.scale_width
    shapes: dict[str, tuple[int, ...]] = {
        "hyper_analysis.block1.expand.weight": (2 * wide, wide),
        "hyper_analysis.down2.weight": (config.hyper_channels, 4 * wide),
        "means.later.0.block.expand.weight": (2 * context, context),
        "scales.mix.weight": (scale, scale),
    }
    for part, (fine, coarse) in (("analysis", config.analysis_blocks), ("synthesis", config.synthesis_blocks[::-1])):
        for name, count, channels in (
            ("fine", fine, config.patch_channels),
            ("coarse", coarse, config.latent_channels),
        ):
            shapes |= {f"{part}.{name}.{i}.expand.weight": (2 * channels, channels) for i in range(count)}
    return shapes


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


def _take_heads(tensors: dict[str, torch.Tensor], config: CodecConfig) -> dict[int, torch.Tensor]:
    """Remove the heads for reduced decoding from the tensors and check them.

    Raises:
        MaepressError: when they have other shapes than the model's, or are not numbers.
    """
    heads = {}
    for name in [name for name in tensors if name.startswith(HEAD)]:
        head, number = tensors.pop(name), name.removeprefix(HEAD)
        known = {str(d): d for d in DENOMINATORS}
        if number not in known or tuple(head.shape) != head_shape(known[number], config.latent_channels):
            raise MaepressError(f"{name} is not a head of its configuration")
        if not head.is_floating_point() or not bool(head.isfinite().all()):
            raise MaepressError(f"{name} does not hold numbers")
        heads[known[number]] = head.to(torch.float32)
    return heads


def _fingerprint(config: CodecConfig, tensors: dict[str, torch.Tensor], tables: Tables) -> str:
    digest = hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    for table in (*tables.latent, tables.hyper):
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()[:16]
