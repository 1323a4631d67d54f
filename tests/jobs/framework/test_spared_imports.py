"""Which imports a command's process spares, and that everyone else gets them as usual."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.making import image_file

_COMMANDS = """
import json, sys
from maepress.__main__ import main
commands, names = map(json.loads, sys.argv[1:])
codes = [main(command) for command in commands]
print(json.dumps([codes, [name for name in names if name in sys.modules]]))
"""
_OTHERS = """
from jobs.framework.spared_imports import spare, spare_no_more
import sys
spare()
import torch
assert "torch._prims" not in sys.modules
import pyarrow as pa
exec("pa.scalar(1)", {"__name__": "pipeline.encode", "pa": pa})  # asks for pandas
assert "pandas" not in sys.modules
import pandas, scipy.linalg, numba
assert numba.njit(lambda x: x + 1)(1) == 2
spare_no_more()
assert pa.table(pandas.DataFrame({"a": [1]})).num_rows == 1
assert pa.array(pandas.Series([1, None])).null_count == 1
assert torch._meta_registrations.activate_meta
assert torch.nn.Conv2d(3, 4, 3, device="meta")(torch.empty(1, 3, 9, 9, device="meta")).shape == (1, 4, 7, 7)
assert not hasattr(torch._meta_registrations, "no_such_name")
"""


_OPTIMISERS = """
from jobs.framework.spared_imports import spare, spare_no_more
import sys
spare()
import torch
assert "torch._prims" not in sys.modules
if sys.argv[1] == "after Ray":
    spare_no_more()
layer = torch.nn.Linear(2, 1)
optimiser = torch.optim.AdamW(layer.parameters(), 0.1)
layer(torch.ones(1, 2)).sum().backward()
optimiser.step()
"""


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_small_jobs_import_nothing_that_libraries_alone_ask_for(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(image_file("PNG"))
    source, archive, back = (str(tmp_path / name) for name in ("photos", "archive", "back"))
    here = ["--executor", "local", "--quiet"]
    commands = [
        ["encode", source, archive, "--model", str(tiny_model_folder), *here],
        ["verify", archive, *here],
        ["decode", archive, back, *here],
    ]
    names = ["torch", "numba", "pandas", "scipy.linalg", "torch._prims"]
    codes, imported = json.loads(_run(_COMMANDS, json.dumps(commands), json.dumps(names)).splitlines()[-1])
    assert codes == [0, 0, 0]
    assert imported == ["torch", "numba"]
    assert (Path(back) / "a.png").is_file()


def test_others_import_what_is_spared() -> None:
    _run(_OTHERS)


@pytest.mark.parametrize("when", ["spared", "after Ray"])
def test_optimisers_work_where_imports_are_spared(when: str) -> None:
    _run(_OPTIMISERS, when)
