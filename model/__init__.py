"""The codec: arrays in, bytes out. No Ray, no storage; works in a notebook."""

import os
import sys

from model.core.cores import limit_threads

if "torch" not in sys.modules:
    limit_threads(os.environ)
