"""Rate-distortion curves as a PNG."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator

from pipeline.evaluate.bd_rate import Curve

STYLES = {
    "JPEG 4:2:0": ("#8c8c8c", "-"),
    "WebP m4": ("#c98a2b", "-"),
    "AVIF s6": ("#7a5ba6", "-"),
    "AVIF s6 psnr": ("#7a5ba6", "-."),
    "JPEG XL e7": ("#a65b83", "-"),
    "bmshj2018-hyperprior": ("#5b9bd5", "--"),
    "mbt2018-mean": ("#2f75b5", "--"),
    "cheng2020-anchor": ("#1f4e79", "--"),
    "EVC-S": ("#4f9d69", "--"),
    "VTM": ("#404040", ":"),
}
"""Colour and stroke: solid if measured here, dashed if published."""
OURS = ("#c8102e", "-")
BPP = (0.08, 4.0)
TICKS = (0.1, 0.2, 0.5, 1, 2, 4)


def draw(curves: Mapping[str, Curve], ours: str, title: str, path: Path) -> None:
    """Write a PNG of curves of (bits per pixel, PSNR in dB); `ours` is drawn on top."""
    figure, axes = plt.subplots(figsize=(8.5, 5.6), dpi=150)
    for name, curve in sorted(curves.items(), key=lambda item: item[0] == ours):
        colour, stroke = OURS if name == ours else STYLES[name]
        rates, fidelities = zip(*sorted(curve), strict=True)
        marker = "o" if stroke == "-" else ""
        width = 2.4 if name == ours else 1.3
        axes.plot(rates, fidelities, stroke, color=colour, linewidth=width, label=name, marker=marker, markersize=3.5)
    shown = [fidelity for curve in curves.values() for rate, fidelity in curve if BPP[0] <= rate <= BPP[1]]
    axes.set(xscale="log", xlim=BPP, ylim=(min(shown) - 0.5, max(shown) + 0.5), title=title)
    axes.set(xlabel="bits per pixel, whole file (log scale)", ylabel="PSNR in dB, 8-bit RGB")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    # The best at 34 dB first, so that the legend is in the order of the curves.
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: _rate_near(curves[labels[i]], 34.0))
    axes.legend([handles[i] for i in order], [labels[i] for i in order], frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _rate_near(curve: Curve, fidelity: float) -> float:
    fidelities, rates = zip(*sorted((fidelity, rate) for rate, fidelity in curve), strict=True)
    return float(np.interp(fidelity, fidelities, rates))
