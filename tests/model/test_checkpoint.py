"""Models on disk: saved and loaded unchanged; errors are one line."""

import json
import os
import re
import resource
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.core.errors import MaepressError
from model.core.model_files import BASE, CONFIG, DISTORTION, SHIPPED, WEIGHTS, distortion_of, read_config
from model.network.network import Network
from tests.conftest import TINY


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small model, to be damaged."""
    for name in (WEIGHTS, CONFIG):
        (tmp_path / name).write_bytes((tiny_model_folder / name).read_bytes())
    return tmp_path


def write(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def complaint(folder: Path) -> str:
    with pytest.raises(MaepressError) as error:
        checkpoint.load(folder)
    message = str(error.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_loaded_model_saves_as_the_same_model(folder: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load(folder)
    again = checkpoint.load(write(checkpoint.serialise(loaded.network), tmp_path / "again"))
    assert again.fingerprint == loaded.fingerprint
    assert re.fullmatch("[0-9a-f]{16}", loaded.fingerprint)
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_notes_do_not_change_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load(folder)
    files = checkpoint.serialise(loaded.network, {"steps": 12})
    assert json.loads(files[CONFIG])["notes"] == {"steps": 12}
    assert checkpoint.load(write(files, tmp_path / "noted")).fingerprint == loaded.fingerprint


def test_a_changed_weight_changes_the_fingerprint(folder: Path) -> None:
    network = checkpoint.load(folder).network
    names = {json.loads(checkpoint.serialise(network)[CONFIG])["fingerprint"]}
    for parameter in (network.analysis.stem.weight, network.scales.mix.bias, network.hyper_prior.mean):
        parameter.view(-1)[0] += 0.25
        names.add(json.loads(checkpoint.serialise(network)[CONFIG])["fingerprint"])
    assert len(names) == 4


def test_another_configuration_changes_the_fingerprint() -> None:
    networks = [Network(TINY), Network(replace(TINY, analysis_blocks=(2, 1)))]
    assert len({json.loads(checkpoint.serialise(n)[CONFIG])["fingerprint"] for n in networks}) == 2


@pytest.mark.parametrize("name", ["analysis.stem.weight", "scales.mix.bias", "tables.latent", "tables.hyper"])
def test_a_changed_tensor_is_noticed(folder: Path, name: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    flat = tensors[name].view(-1)
    flat[0], flat[1] = flat[1].clone() + 1, flat[0].clone() - 1
    save_file(tensors, folder / WEIGHTS)
    assert "damaged" in complaint(folder)


def test_every_kind_of_flipped_byte_is_noticed(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    header = struct.unpack("<Q", data[:8])[0]
    for at in (8 + header, 8 + header + 1001, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 0x40
        (folder / WEIGHTS).write_bytes(changed)
        assert "damaged" in complaint(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in complaint(folder)


def test_a_missing_folder_is_not_a_model(tmp_path: Path) -> None:
    assert "is no model" in complaint(tmp_path / "nowhere")
    (tmp_path / "file").write_text("not a folder")
    assert "is no model" in complaint(tmp_path / "file")


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / WEIGHTS).write_bytes(b""),
        lambda f: (f / WEIGHTS).write_bytes(b"garbage" * 100),
        lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-100]),
        lambda f: (f / CONFIG).write_bytes(b""),
        lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"),
        lambda f: (f / CONFIG).write_text("[1, 2]"),
        lambda f: (f / CONFIG).write_text("{}"),
    ],
)
def test_garbage_is_not_a_model(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder)
    assert re.search("damaged|does not describe a maepress model", complaint(folder))


def test_a_later_format_says_what_to_do(folder: Path) -> None:
    description = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**description, "format": 99}))
    assert "format 99, this maepress reads 1: upgrade maepress" in complaint(folder)


@pytest.mark.parametrize(
    "change", [{"latent_channels": 66}, {"scale_width": -1}, {"hyper_channels": 9}, {"analysis_blocks": [1]}]
)
def test_a_configuration_that_does_not_fit_the_weights_is_noticed(folder: Path, change: dict[str, object]) -> None:
    description = json.loads((folder / CONFIG).read_text())
    description["config"] |= change
    (folder / CONFIG).write_text(json.dumps(description))
    assert "damaged" in complaint(folder)


@pytest.mark.parametrize("name", ["tables.latent", "tables.latent_sizes", "tables.hyper", "means.up1.weight"])
def test_a_missing_tensor_is_noticed(folder: Path, name: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors[name]
    save_file(tensors, folder / WEIGHTS)
    assert name.split(".")[-1] in complaint(folder)


def test_tables_with_wrong_sizes_are_noticed(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["tables.latent_sizes"][3] += 2
    tensors["tables.latent_sizes"][4] -= 2
    save_file(tensors, folder / WEIGHTS)
    assert "not valid distributions" in complaint(folder)


def test_weights_too_large_for_exact_arithmetic_are_not_saved() -> None:
    network = Network(replace(TINY, latent_channels=192, scale_width=80))
    with torch.no_grad():
        network.get_parameter("scales.later.0.join.weight").fill_(1.9)
    with pytest.raises(MaepressError, match="too large for exact arithmetic"):
        checkpoint.serialise(network)


@pytest.mark.parametrize(
    "change",
    [
        {"hyper_width": 4096, "context_width": 4096, "scale_width": 4096, "hyper_channels": 4096},
        {"analysis_blocks": [4096, 4096]},
        {"synthesis_blocks": [1, 4096]},
        {"hyper_width": 4096},
        {"context_width": 4096},
        {"scale_width": 4096},
        {"hyper_channels": 4096},
    ],
)
def test_a_configuration_cannot_claim_more_memory_than_its_weights_have(
    folder: Path, change: dict[str, object]
) -> None:
    description = json.loads((folder / CONFIG).read_text())
    description["config"] |= change
    (folder / CONFIG).write_text(json.dumps(description))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "damaged" in complaint(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "in KiB"


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_files_of_any_size_and_kind_are_refused_unread(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(40 << 30)  # a sparse file
    assert "bytes, more than" in complaint(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "is not a regular file" in complaint(folder)


def test_the_fingerprint_of_a_folder_is_that_of_its_contents(folder: Path) -> None:
    loaded = checkpoint.load(folder).fingerprint
    description = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(description | {"fingerprint": "0" * 16}))
    assert checkpoint.fingerprint_of(folder) == loaded


def test_no_model_is_ever_unpickled() -> None:
    paths = list(Path(checkpoint.__file__).parent.rglob("*.py"))
    assert len(paths) > 40, "all rooms of the codec"
    for path in paths:
        source = path.read_text()
        assert not re.search(r"^\s*(import|from) pickle|torch\.(load|save)\(", source, re.M), path


def test_a_tensor_of_a_type_that_numpy_lacks_is_named(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name].to(torch.bfloat16)}, folder / WEIGHTS)
    assert f"{name} is of torch.bfloat16" in complaint(folder)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"format": ' + "9" * 5000 + "}", '{"a":' * 100_000, "\ufeff{}", "NaN", '{"format": NaN}']
)
def test_json_that_its_parser_cannot_take_is_one_line(folder: Path, text: str) -> None:
    (folder / CONFIG).write_text(text)
    complaint(folder)


@pytest.mark.parametrize("value", [None, [], "x", 1e400, -1, [[1]], {"a": 1}, True, [1, 2, 3]])
def test_a_configuration_of_nonsense_is_one_line(folder: Path, value: object) -> None:
    description = json.loads((folder / CONFIG).read_text())
    for field in description["config"]:
        changed = description | {"config": description["config"] | {field: value}}
        (folder / CONFIG).write_text(json.dumps(changed))
        complaint(folder)


def test_a_model_says_what_its_training_minimised_and_the_shipped_ones_do(tmp_path: Path) -> None:
    network = Network(TINY)
    said = {}
    for note in ("perceptual", "mse", "l2", ["perceptual"], None):
        folder = write(checkpoint.serialise(network, {DISTORTION: note}), tmp_path / "model")
        said[str(note)] = checkpoint.load(folder).distortion
    assert said.pop("perceptual") == "perceptual" and set(said.values()) == {"mse"}
    assert [distortion_of(read_config(SHIPPED[name])) for name in ("base", "base-psnr")] == ["perceptual", "mse"]


def test_a_copy_of_a_shipped_model_without_the_note_is_for_what_the_shipped_one_is() -> None:
    description = read_config(BASE)
    del description["notes"][DISTORTION]
    assert distortion_of(description) == "perceptual"
    assert distortion_of(description | {"fingerprint": "0" * 16}) == "mse"
