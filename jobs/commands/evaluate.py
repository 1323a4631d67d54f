"""`maepress evaluate`: compare a model with JPEG, WebP, AVIF and JPEG XL on given images, as a report."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.framework.job import DONE, Job
from jobs.framework.output import Cell, Output

if TYPE_CHECKING:
    from pipeline.evaluate.result import Evaluation
    from pipeline.evaluate.settings import EvaluateSettings
    from pipeline.storage.outputs import Outputs


def _outputs() -> "Outputs":
    from pipeline.storage.outputs import Outputs

    files = ("report.html", "report.json", "points.csv", "floors.csv")
    return Outputs("evaluate", files, typical=("report.json", b'{\n "fingerprint"'))


def _settings() -> "type[EvaluateSettings]":
    from pipeline.evaluate.settings import EvaluateSettings

    return EvaluateSettings


def _run(settings: "EvaluateSettings", output: Output) -> int:
    from jobs.web.report.page import render
    from pipeline.archive.apart import require_no_archive
    from pipeline.evaluate.run import evaluate
    from pipeline.monitoring.formatting import counted
    from pipeline.storage.open import open_store, open_target

    require_no_archive(open_store(settings.out), "the output folder")
    outputs = _outputs()
    outputs.require_free(settings.images, open_store(settings.out), overwrite=settings.overwrite)
    out = open_target(settings.out)  # before an hour of work, as it may not be writable
    found = evaluate(settings, notify=output.progress)
    result = found.to_dict()
    outputs.mark(out)
    out.put("report.json", (json.dumps(result, indent=1) + "\n").encode())
    out.put("points.csv", found.points_csv().encode())
    out.put("floors.csv", found.floors_csv().encode())
    out.put("report.html", render(found).encode())  # last: the files that it names exist by then
    output.result({name: value for name, value in result.items() if name != "by_image"})
    output.table(f"model {found.title} on {counted(len(found.measured), 'image')}", _rows(found), _columns(found))
    for line in _remarks(found):
        output.line(f"\n{line}")
    output.line(f"\n{out.url}/report.html, with report.json, points.csv and floors.csv beside it")
    return DONE


def _remarks(found: "Evaluation") -> Iterator[str]:
    from pipeline.evaluate.measurement import OFF_GRID
    from pipeline.monitoring.formatting import counted

    if found.learned_from:
        yield (
            f"{found.learned_from:,} of the {len(found.measured):,} images are among those that the model learned "
            "from,\nby name and size: its figures are better here than on new images"
        )
    if found.off_grid:
        yield (
            f"{counted(found.off_grid, 'image')} in lossy formats measured without the first {OFF_GRID} rows and "
            "columns:\non its own grid, a codec repeats its own rounding, which says nothing about it"
        )


def _columns(found: "Evaluation") -> tuple[str, ...]:
    levels = sorted({floor.floor for floor in found.floors})
    return ("", "BD-rate, SSIMULACRA2", "PSNR", "MS-SSIM", *(f"saved at {level:g} dB" for level in levels))


def _rows(found: "Evaluation") -> list[tuple[Cell, ...]]:
    def signed(rate: float | None) -> str | None:
        return None if rate is None else f"{rate:+.1f} %"

    rows: list[tuple[Cell, ...]] = []
    for name in found.curves:
        delta = found.deltas.get(name)
        saved = [f"{floor.saved:.1%}" for floor in found.floors if floor.codec == name]
        measured = (None,) * 3 if delta is None else (delta.ssimulacra2, delta.of_mean, delta.ms_ssim)
        rows.append((name, *map(signed, measured), *saved))
    return rows


JOB: "Job[EvaluateSettings]" = Job(
    name="evaluate",
    about="Measures rate, fidelity and speed of a model and of JPEG, WebP, AVIF and JPEG XL on the same images. "
    "Writes one self-contained HTML page with plots, bytes saved, and a slider for the best and worst images, and the "
    "numbers as JSON and CSV.",
    example="maepress evaluate photos --out report --model models/photos",
    settings=_settings,
    run=_run,
    extra="archive",
    positionals=("images",),
    metavars={"model": "base|MODEL", "out": "REPORT"},
)
main = JOB.main

if __name__ == "__main__":
    sys.exit(main())
