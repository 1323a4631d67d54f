"""Ray's tasks start fast: they import no torch."""

import subprocess
import sys


def test_a_task_that_is_no_encoder_imports_no_torch() -> None:
    words = (
        "import sys, pipeline.encode.ray_tasks; "
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'torch'))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
