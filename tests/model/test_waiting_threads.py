"""Threads that wait for work take no processor time."""

import os
import subprocess
import sys
from pathlib import Path

_CHILD = """
import time
import model
import torch

torch.set_num_threads(2)
values, used = torch.ones(1 << 20), 0.0
for _ in range(20):
    values += 1
    before = time.process_time()
    time.sleep(0.01)
    used += time.process_time() - before
print(used / 20)
"""


def test_threads_of_an_operator_do_not_spin_after_it() -> None:
    own = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    words = [sys.executable, "-c", _CHILD]
    done = subprocess.run(words, env=own, capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) < 0.001  # 3 to 4 ms with OpenMP's default


_CODING = """
import os
import sys
import threading
import torch

torch.set_num_threads(2)
torch.ones(1 << 20).exp_()  # starts torch's own threads, which now spin whenever they are used

import numpy as np
from model.codec import Codec
from model.core.picture import Picture
from model.core.target import Target

codec = Codec.load(sys.argv[1])
pictures = [Picture(np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8))]


def code():
    for target in (20, Target(max_bpp=2.0)):
        codec.decompress(codec.compress(pictures, target))


def used():
    "Nanoseconds of processor time of the threads that Python did not start."
    ours = {thread.native_id for thread in threading.enumerate()}
    others = [name for name in os.listdir("/proc/self/task") if int(name) not in ours]
    return sum(int(open(f"/proc/self/task/{name}/schedstat").read().split()[0]) for name in others)


code()
before = used()
for _ in range(10):
    code()
print((used() - before) / 1e9 / 10)
"""


def test_coding_wakes_no_threads_of_torch_in_a_program_that_loaded_torch_first(tiny_model_folder: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    words = [sys.executable, "-c", _CODING, str(tiny_model_folder)]
    done = subprocess.run(words, env=own, capture_output=True, text=True, timeout=300, check=True)
    assert float(done.stdout) < 0.001  # 10 to 30 ms when an operator of the main thread wakes them
