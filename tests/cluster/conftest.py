"""One head for the whole session, nodes for each test, and images to compress."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from bench.scaling import SECONDS, TRACE
from pipeline.encode.settings import EncodeSettings
from tests.cluster.recording import VARIABLE
from tests.conftest import photo_like
from tests.nodes import Nodes, nodes

IMAGES = 24


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, Path]]:
    """A head that this process is connected to, and the folder of records that all workers know."""
    folder = tmp_path_factory.mktemp("records")
    with nodes(**{VARIABLE: str(folder), TRACE: str(folder), SECONDS: "0.5"}) as made:
        yield made, folder


@pytest.fixture
def head(session: tuple[Nodes, Path]) -> Iterator[Nodes]:
    """A cluster whose only node is the head, which runs no tasks."""
    made, _ = session
    yield made
    made.remove_all()


@pytest.fixture
def records(session: tuple[Nodes, Path]) -> Path:
    """The folder of records, emptied."""
    _, folder = session
    for file in folder.iterdir():
        file.unlink()
    return folder


@pytest.fixture
def settings(tmp_path: Path, tiny_model_folder: Path) -> EncodeSettings:
    """Settings to compress some images with one or two encoders, each with a GPU."""
    source = tmp_path / "source"
    source.mkdir()
    for i in range(IMAGES):
        Image.fromarray(photo_like(256, 256, seed=i)).save(source / f"{i:02d}.png")
    return EncodeSettings(
        source=str(source),
        archive=str(tmp_path / "archive"),
        model=str(tiny_model_folder),
        actors="1:2",
        gpus_per_actor=1,
    )
