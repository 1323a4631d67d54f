"""Classification report: precision, recall, f1 and support of each class, and their averages.

Numbers and layout are those of scikit-learn's `classification_report` (the tests compare them); forty lines of
arithmetic do not justify that dependency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.monitoring.formatting import printable


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one class, or their average, each 0..1; `support` is the number of examples of the class."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of a classifier.

    Attributes:
        classes: scores of each class, by name, in order.
        accuracy: share of correct answers.
        macro: average over classes.
        weighted: average over classes, weighted by support.
    """

    classes: dict[str, Score]
    accuracy: float
    macro: Score
    weighted: Score

    def to_text(self) -> str:
        """The scores as a text table, with two digits."""
        classes = {printable(name): score for name, score in self.classes.items()}  # parts of keys
        width = max(map(len, (*classes, "weighted avg")))
        head = ("precision", "recall", "f1-score", "support")
        lines = [" " * width + " " + "".join(f"{name:>10}" for name in head), ""]

        def line(name: str, score: Score) -> str:
            parts = (score.precision, score.recall, score.f1)
            return f"{name:>{width}} " + "".join(f"{part:>10.2f}" for part in parts) + f"{score.support:>10}"

        lines += [line(name, score) for name, score in classes.items()]
        total = f"{'accuracy':>{width}} {'':>20}{self.accuracy:>10.2f}{self.macro.support:>10}"
        return "\n".join([*lines, "", total, line("macro avg", self.macro), line("weighted avg", self.weighted)])


def report(truth: NDArray[np.int64], answers: NDArray[np.int64], names: Sequence[str]) -> Report:
    """Score a classifier's answers. A class that was never answered, or has no examples, scores 0.

    Args:
        truth: the true class of each example, integers `[N]`, N at least 1.
        answers: the predicted class of each example, integers `[N]`.
        names: names of the classes, by number.
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
