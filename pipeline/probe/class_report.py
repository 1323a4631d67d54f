"""How well classes were told apart: precision, recall, f1 and support of each, and their averages.

The numbers and the layout are those of scikit-learn's `classification_report` (the tests compare them), which is not
needed for forty lines of arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Score:
    """Of one class, or an average: each 0..1, and how many examples have the class."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a classifier got right.

    Attributes:
        classes: score of each class, by name, in order.
        accuracy: share of right answers: precision, recall and f1 averaged over examples (micro).
        macro: average over classes.
        weighted: average over classes, weighted by support.
    """

    classes: dict[str, Score]
    accuracy: float
    macro: Score
    weighted: Score

    def to_text(self) -> str:
        """A table for people, two digits each."""
        width = max(map(len, (*self.classes, "weighted avg")))
        head = ("precision", "recall", "f1-score", "support")
        lines = [" " * width + " " + "".join(f"{name:>10}" for name in head), ""]

        def line(name: str, score: Score) -> str:
            parts = (score.precision, score.recall, score.f1)
            return f"{name:>{width}} " + "".join(f"{part:>10.2f}" for part in parts) + f"{score.support:>10}"

        lines += [line(name, score) for name, score in self.classes.items()]
        total = f"{'accuracy':>{width}} {'':>20}{self.accuracy:>10.2f}{self.macro.support:>10}"
        return "\n".join([*lines, "", total, line("macro avg", self.macro), line("weighted avg", self.weighted)])


def report(truth: NDArray[np.int64], answers: NDArray[np.int64], names: Sequence[str]) -> Report:
    """The scores of answers, integers `[N]`; a class that was never answered, or that is not there, has 0.

    Args:
        truth: the right class of each example, integers `[N]`, N at least 1.
        answers: what was answered.
        names: of the classes, by number.
    """
    count = len(names)
    right = np.bincount(truth[truth == answers], minlength=count)
    support, answered = np.bincount(truth, minlength=count), np.bincount(answers, minlength=count)
    precision, recall = right / np.maximum(answered, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(answered + support, 1)

    def average(weights: NDArray[np.int64]) -> Score:
        means = [float(np.average(values, weights=weights)) for values in (precision, recall, f1)]
        return Score(means[0], means[1], means[2], int(support.sum()))

    scores = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    classes = {name: Score(*score) for name, score in zip(names, scores, strict=True)}
    return Report(classes, float(right.sum() / len(truth)), average(np.ones(count, np.int64)), average(support))
