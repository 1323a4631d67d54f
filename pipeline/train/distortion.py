"""Which distortion a training minimises."""

from model.core.model_files import noted_distortion
from model.network.loss import DISTORTIONS
from pipeline.archive.model_store import model_config
from pipeline.train.settings import TrainSettings

NEW = ("scratch", "random")
"""Values of `init` that start from no model."""


def with_distortion(settings: TrainSettings) -> TrainSettings:
    """The settings with the distortion stated: without one, that of the model that the training starts from.

    A model that is adapted by another distortion than its own unlearns what it is for.

    Raises:
        MaepressError: when there is no model at `init`.
    """
    if settings.distortion is not None:
        return settings
    noted = None if settings.init in NEW else noted_distortion(model_config(settings.init))
    return settings.model_copy(update={"distortion": noted if noted in DISTORTIONS else "mse"})
