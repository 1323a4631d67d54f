"""The report has the numbers and the layout of scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import classification_report

from pipeline.probe.class_report import report

NAMES = ["dress", "hat", "a long name indeed", "shoes"]


@pytest.mark.parametrize("seed", range(5))
def test_the_report_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 60)
    answers = np.where(rng.random(60) < 0.6, truth, rng.integers(0, 4, 60))
    if seed == 4:
        answers[answers == 2] = 1  # a class that is never answered
    expected = classification_report(truth, answers, target_names=NAMES, zero_division=0)
    assert report(truth, answers, NAMES).to_text().split() == expected.split()
    rows = report(truth, answers, NAMES).to_text().splitlines()
    assert len({len(row) for row in rows if row}) == 1


def test_all_right_is_one_and_all_wrong_is_nothing() -> None:
    truth = np.array([0, 1, 2, 3])
    assert report(truth, truth, NAMES).accuracy == 1 == report(truth, truth, NAMES).macro.f1
    wrong = report(truth, truth[::-1], NAMES)
    assert wrong.accuracy == 0 == wrong.weighted.precision and wrong.classes["hat"].support == 1
