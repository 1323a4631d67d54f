"""The codec: arrays in, bytes out. No Ray, no storage; works in a notebook."""

import os
import sys

if "torch" not in sys.modules:
    # OpenMP's threads, which torch uses, spin for milliseconds after each operator by default: on a machine
    # with other work that takes the cores from those who work. It is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
