"""Where an actor's networks run: on the GPU that Ray gave it, else on its cores."""

import ray
import torch

from model.errors import MaepressError


def own_device() -> str:
    """The device of an actor: "cuda" if it holds a GPU or a part of one, "cpu" if it holds none.

    What torch sees does not decide: Ray 2.60 leaves every GPU of its machine visible to an actor that was given none
    (the variable RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO brings the old behaviour back), and an actor that was given one may
    sit on a machine whose torch cannot use it. The first would take memory from the GPU's owner; the second would press
    at a core's speed for a GPU's price, and nobody would notice.

    Raises:
        MaepressError: for a GPU that torch cannot use.
    """
    if not ray.get_gpu_ids():
        return "cpu"
    if not torch.cuda.is_available():
        raise MaepressError(
            f"a machine of the cluster offers a GPU that its torch {torch.__version__} cannot use: install a build of "
            "torch for its driver there, or give --gpus-per-actor 0"
        )
    return "cuda"
