"""The model card of a model without a README: its configuration and notes in words, never as JSON."""

import json
from pathlib import Path

from markdown_it import MarkdownIt

from pipeline.evaluate.model_card import model_card

NOTES = {
    "images": "s3://photos/a|b_c",
    "validation": {
        "step": 5837, "minutes": 105.0, "loss": 9.2078,
        "bpp/7": 0.1162, "psnr/7": 25.6189, "bpp/20": 0.3763, "psnr/20": None,
    },
    "deep": {"er": {"list": [1, {"x": 2}], "flag": True}},
    "<b>": "`x` \n# not a heading",
}  # fmt: skip


def card(folder: Path, notes: object) -> str:
    config = {"patch_channels": 128, "analysis_blocks": [5, 3]}
    description = {"fingerprint": "80c93cac60fbff9c", "config": config, "notes": notes}
    (folder / "config.json").write_text(json.dumps(description))
    return model_card(folder)


def test_configuration_and_notes_are_tables_in_words(tmp_path: Path) -> None:
    text = card(tmp_path, NOTES)
    assert not any(mark in text for mark in ('{"', '":', "[5"))
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    cells = [cell.split("</td>")[0] for cell in html.split("<td>")[1:]]
    assert cells[cells.index("analysis blocks") + 1] == "5, 3"
    assert cells[cells.index("images") + 1] == "s3://photos/a|b_c"
    assert cells[cells.index("deep, er, list") + 1] == "1, ..." and cells[cells.index("deep, er, flag") + 1] == "yes"
    assert cells[cells.index("step") + 1] == "5,837"
    assert cells[cells.index("7") :] == ["7", "0.1162", "25.619", "20", "0.3763", "\N{EN DASH}"]
    assert html.count("<h1>") == 1 and "<b>" not in html


def test_notes_of_any_shape_make_a_card(tmp_path: Path) -> None:
    many = {"many": {str(n): n for n in range(999)}}
    shapes: list[object] = [None, [], "text", {}, {"validation": [1]}, {"validation": {}}, many]
    for notes in shapes:
        assert card(tmp_path, notes).count("\n") < 120


def test_a_readme_comes_first(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    assert card(tmp_path, NOTES) == "# Mine\n"
