"""The report of a small model on a few small images: files, numbers, and the page in a real browser."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser

from jobs.cli import main
from jobs.web.report.plot import Line, svg
from model import checkpoint
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS
from pipeline.evaluate.measurement import OFF_GRID
from pipeline.storage.base import Entry
from pipeline.train.notes import notes_of
from pipeline.train.settings import TrainSettings
from tests.browser import chromium, opened
from tests.conftest import photo_like

pytestmark = pytest.mark.timeout(900)  # a busy machine measures for minutes
EVIL = "<img src=x onerror=alert(1)>.png"
KEYS = [EVIL, "large.png", "plain.jpg"]
CODECS = ["maepress", *(codec.name for codec in BASELINE_CODECS)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(photo_like(168, 176, seed=0)).save(folder / EVIL)
    Image.fromarray(photo_like(400, 420, seed=1)).save(folder / "large.png")
    Image.fromarray(photo_like(176, 168, seed=2)).save(folder / "plain.jpg", quality=97)
    (folder / "broken.png").write_bytes(b"not an image")
    (folder / "film.mov").write_bytes(b"left out")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, photos: Path, tiny_model_folder: Path) -> Path:
    """A model with a name, which has learned from two of the photographs, wherever they lay then."""
    folder = tmp_path_factory.mktemp("model")
    learned = [Entry(f"lay/here/{name}", (photos / name).stat().st_size, "") for name in ("large.png", "plain.jpg")]
    settings = TrainSettings(images=str(photos), out="models/small")
    notes = notes_of(settings, learned, init=None)
    for name, data in checkpoint.serialise(checkpoint.load(tiny_model_folder).network, notes).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, photos: Path, model: Path) -> Path:
    out = tmp_path_factory.mktemp("report") / "new"
    words = [
        "--model",
        str(model),
        "--qualities",
        "4",
        "--workers",
        "1",
        "--max-megapixels",
        "0.1",
        "--exclude",
        "*.mov",
    ]
    assert main(["evaluate", str(photos), "--out", str(out), "--quiet", *words]) == 0
    return out


def test_the_numbers_are_beside_the_page(report: Path, photos: Path) -> None:
    names = ["floors.csv", "maepress.json", "points.csv", "report.html", "report.json"]
    assert sorted(path.name for path in report.iterdir()) == names
    found: dict[str, Any] = json.loads((report / "report.json").read_text())
    assert (found["listed"], found["measured"]) == (4, 3)
    assert found["skipped"] == {"text file": 1}
    assert list(found["curves"]) == CODECS
    assert found["published"] is None
    assert [p["quality"] for p in found["curves"]["maepress"]] == [0, 21, 42, 63]
    large = next(image for image in found["by_image"] if image["key"] == "large.png")
    assert large["cropped"] and large["width"] * large["height"] <= 100_000
    share = large["width"] * large["height"] / (400 * 420)
    assert large["source_bytes"] == pytest.approx((photos / "large.png").stat().st_size * share, rel=1e-3)


def test_bytes_at_a_floor_are_of_files_that_reach_it_or_of_the_source(report: Path) -> None:
    found = json.loads((report / "report.json").read_text())
    assert len(found["floors"]) == 4 * len(CODECS)
    for floor in found["floors"]:
        number = [36.0, 38.0, 40.0, 42.0].index(floor["floor"])
        sizes = [(i["floors"][floor["codec"]][number], i["source_bytes"]) for i in found["by_image"]]
        assert floor["stored"] == sum(source if size is None else min(size, source) for size, source in sizes)
        assert floor["saved"] == pytest.approx(1 - floor["stored"] / floor["source"])
    by_floor = [f["stored"] for f in found["floors"] if f["codec"] == "JPEG 4:2:0"]
    assert by_floor == sorted(by_floor)


def test_images_that_the_model_learned_from_are_counted_and_the_page_warns(report: Path) -> None:
    found = json.loads((report / "report.json").read_text())
    assert (found["name"], found["learned_from"]) == ("small", 2)
    html = (report / "report.html").read_text()
    assert "2 of the 3 images are among those that the model learned from" in html
    assert f"<h1>Model small {found['fingerprint']} on 3 images</h1>" in html


def test_a_source_in_a_lossy_format_is_measured_beside_its_grid_and_the_page_says_so(report: Path) -> None:
    found = json.loads((report / "report.json").read_text())
    images = {image["key"]: image for image in found["by_image"]}
    assert [key for key, image in images.items() if image["off_grid"]] == ["plain.jpg"]
    assert (images["plain.jpg"]["width"], images["plain.jpg"]["height"]) == (168 - OFF_GRID, 176 - OFF_GRID)
    assert not images["plain.jpg"]["cropped"]
    assert (
        "Of 1 image in lossy formats, the first 5 rows and columns are left out" in (report / "report.html").read_text()
    )


def test_the_first_figures_of_the_page_are_by_the_metric_for_eyes(report: Path) -> None:
    html = (report / "report.html").read_text()
    tile = html.split("against JPEG 4:2:0</dt>")[1].split("</div>")[0]
    assert tile.index("bytes at equal SSIMULACRA2") < tile.index("at equal PSNR")
    assert '<p class="lead">At equal SSIMULACRA2 its files are' in html


def test_csv_files_hold_every_point(report: Path) -> None:
    with (report / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["key"] for row in rows} == set(KEYS)
    assert all(float(row["ssimulacra2"]) <= 100 for row in rows)
    assert len(rows) == 3 * (4 + sum(len(codec.qualities) for codec in BASELINE_CODECS))
    with (report / "floors.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3 * 4 * len(CODECS)


def test_the_page_needs_nothing_else_and_holds_no_key_as_markup(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert "<img src=x" not in html and "&lt;img src=x onerror" in html
    for outside in ("http://", "https://", 'src="/', "url("):
        assert outside not in html.split('<div class="card">')[0]
    assert html.count("<svg") == 3 and "SSIMULACRA2 over bits" in html


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(scrollbars=True) as found:
        yield found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_looks_whole_in_a_browser(report: Path, browser: Browser, width: int, scheme: Any) -> None:
    with opened(browser, (report / "report.html").as_uri(), width, scheme) as opened_page:
        page = opened_page.page
        opened_page.wait_for_images()
        assert not opened_page.overflows
        assert page.locator(".plot").count() == 3 and page.locator("details").count() > 0
        for plot in page.locator(".plot").all():
            box = plot.bounding_box()
            assert box is not None and box["width"] > 300
            assert plot.locator(".curve").count() == len(CODECS)
        button = page.locator(".legend button", has_text="AVIF")
        button.click()
        assert page.locator(".curve.c3").first.is_hidden()
        button.click()
        assert page.locator(".curve.c3").first.is_visible()
        for details in page.locator("details").all():
            details.locator("summary").click()
        assert not opened_page.overflows
        assert opened_page.errors == []


def test_tables_that_are_wider_than_a_narrow_page_show_that_they_scroll(report: Path, browser: Browser) -> None:
    with opened(browser, (report / "report.html").as_uri(), 400) as opened_page:
        page = opened_page.page
        for details in page.locator("details").all():
            details.locator("summary").click()
        wide = "e => e.scrollWidth > e.clientWidth"
        boxes = [box for box in page.locator(".scroll:visible").all() if box.evaluate(wide)]
        assert len(boxes) >= 3
        for box in boxes:
            assert box.evaluate("e => e.offsetHeight - e.clientHeight") > 0, "a bar that takes space is always visible"
            assert "gradient" in box.evaluate("e => getComputedStyle(e).backgroundImage")
            box.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
            first = box.locator("tbody td:first-child").first.bounding_box()
            assert first is not None and first["x"] >= 0, "the first column stays"
        assert not opened_page.overflows


@pytest.mark.parametrize("width", [1280, 400])
def test_the_border_moves_and_the_picture_on_the_left_can_be_a_jpeg(report: Path, browser: Browser, width: int) -> None:
    with opened(browser, (report / "report.html").as_uri(), width) as opened_page:
        page = opened_page.page
        assert page.locator(".shown:visible").count() == 1
        page.locator(".pick button").last.click()
        figure = page.locator(".shown.on")
        slider = figure.locator("input[type=range]")
        slider.focus()
        page.keyboard.press("ArrowLeft")
        assert figure.locator(".compare").evaluate("box => box.style.getPropertyValue('--at')") == "49.5%"
        box = figure.locator(".compare").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 20)
        assert slider.input_value() > "700"
        before = figure.locator(".under").get_attribute("src")
        figure.get_by_text("JPEG of equal size").click()
        assert figure.locator(".under").get_attribute("src") != before
        figure.get_by_text("original", exact=True).first.click()
        assert figure.locator(".under").get_attribute("src") == before
        figure.get_by_text("1 : 1").click()
        assert not opened_page.overflows and opened_page.errors == []


def test_one_tiny_image_is_counted_as_one_and_no_jpeg_is_said_to_be_as_small(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo_like(4, 4)).save(tmp_path / "photos" / "tiny.png")
    where = (str(tmp_path / "photos"), "--out", str(tmp_path / "report"))
    assert main(["evaluate", *where, "--model", str(tiny_model_folder), "--qualities", "4", "--workers", "1"]) == 0
    assert " on 1 image\n" in capsys.readouterr().out
    html = (tmp_path / "report" / "report.html").read_text()
    assert "1 images" not in html
    assert "the smallest JPEG takes" in html and "JPEG of that size" not in html


def test_a_plot_draws_what_lies_in_its_range_and_survives_a_single_point() -> None:
    one = svg([Line("a<b", "c0", [(1.0, 30.0), (99.0, 50.0)])], "PSNR", "dB")
    assert one.count("<circle") == 1 and "a&lt;b" in one and "nan" not in one
    assert svg([Line("a", "c0", [])], "PSNR", "dB") == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{empty}", "--out", "{tmp}/out"], "is empty"),
        (["{tmp}/none", "--out", "{tmp}/out"], "does not exist"),
        (["{text}", "--out", "{tmp}/out", "--workers", "1"], "has no image that can be measured"),
        (["{text}", "--out", "{tmp}/out", "--model", "{empty}"], "is no model"),
        (["{text}", "--out", "{tmp}/file/x"], "cannot be written"),
        (["{text}", "--out", "{text}/report"], "lies inside the images"),
        (["{text}"], "--out is missing"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("empty", "text"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "a.txt").write_text("words")
    (tmp_path / "file").write_text("in the way")
    places = {"tmp": tmp_path, "empty": tmp_path / "empty", "text": tmp_path / "text"}
    assert main(["evaluate", "--quiet", *(word.format(**places) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("maepress: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "report.html").exists()
