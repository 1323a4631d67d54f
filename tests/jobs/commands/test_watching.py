"""A real Prometheus scrapes a real Ray head on which a real encode runs; summaries and log lines of runs."""

import io
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.cli import main
from pipeline.archive.receipt import Rejection
from pipeline.encode.target_settings import TargetSettings
from pipeline.monitoring.log import LOGGER, RunLog
from pipeline.runs.record import RunRecord, latest_records
from pipeline.storage.open import open_store
from tests.conftest import photo_like
from tests.jobs.head import ray_head

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120.0


def prometheus_binary() -> str:
    """Prometheus, from the path or where MAEPRESS_PROMETHEUS says; skips the test where there is none."""
    found = os.environ.get("MAEPRESS_PROMETHEUS") or shutil.which("prometheus")
    if found is None:
        pytest.skip("no prometheus (Debian's package of that name, or its binary named by MAEPRESS_PROMETHEUS)")
    return found


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Run a Prometheus that scrapes a target every second; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: ray, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([prometheus_binary(), *options], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """The series that a query finds."""
    words = urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])
    except OSError:
        return []  # not up yet


def value(url: str, query: str, at_least: float) -> float:
    """The value of a query, as soon as it is large enough."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = ask(url, query)
        if found and float(found[0]["value"][1]) >= at_least:
            return float(found[0]["value"][1])
        assert time.monotonic() < deadline, f"{query} is {found} after {PATIENCE_SECONDS} s"
        time.sleep(1)


def answered(url: str, query: str) -> bool:
    """Whether a query finds anything within a few scrapes: a rate needs two of them."""
    for _ in range(20):
        if ask(url, query):
            return True
        time.sleep(1)
    return False


def dashboard_queries() -> list[str]:
    panels = json.loads((ROOT / "deploy" / "grafana" / "maepress.json").read_text())["panels"]
    return [target["expr"].replace("$session", ".*") for panel in panels for target in panel["targets"]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_prometheus_scrapes_what_an_encode_did_and_the_dashboard_finds_it(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    prometheus_binary()
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(12):
        Image.fromarray(photo_like(80, 96 + n, seed=n)).save(photos / f"{n}.png")
    (photos / "broken.jpg").write_bytes(b"not an image")
    short = Path(tempfile.mkdtemp(prefix="mae-", dir="/tmp"))
    driver = (
        "import sys, time; from jobs.cli import main; import ray\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "status = main(sys.argv[2:])\n"
        "print('done', flush=True); sys.stdin.read(); sys.exit(status)"  # lives on until it was scraped
    )
    words = ["encode", str(photos), str(tmp_path / "archive"), "--model", str(tiny_model_folder), "--actors", "1:1"]
    words += ["--unreadable", "reject"]
    try:
        with ray_head(short) as head, prometheus(head.metrics, tmp_path) as url:
            process = subprocess.Popen(
                [sys.executable, "-c", driver, head.address, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | head.variables(),
            )
            assert process.stdin is not None
            assert value(url, "sum(ray_maepress_objects_total)", 12) == 12
            assert value(url, "sum(ray_maepress_rejected_total{stage='read'})", 1) == 1
            assert value(url, "sum(ray_maepress_planned_objects_total)", 13) == 13
            assert value(url, "sum(ray_maepress_commits_total)", 1) >= 1
            source = sum(path.stat().st_size for path in photos.glob("*.png"))
            assert value(url, "sum(ray_maepress_source_bytes_total)", source) == source
            assert value(url, "sum(ray_maepress_pixels_total)", 1) == sum(80 * (96 + n) for n in range(12))
            for stage in ("load", "analyse", "compress", "write"):
                assert value(url, f"sum(ray_maepress_stage_seconds_count{{stage='{stage}'}})", 1) >= 1
            unknown = [query for query in dashboard_queries() if not answered(url, query)]
            process.stdin.close()
            assert process.wait(60) == 1  # one file was rejected
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert unknown == []


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    text = (ROOT / "pipeline" / "monitoring" / "metrics.py").read_text()
    names = {name for query in dashboard_queries() for name in re.findall(r"ray_maepress_(\w+)", query)}
    assert len(names) > 5
    for name in names:
        plain = re.sub(r"_(total|bucket|sum|count)$", "", name)
        assert f'"{plain}"' in text or f'"maepress_{plain}"' in text, name


def test_every_panel_has_a_description_and_none_overlaps_another() -> None:
    panels = json.loads((ROOT / "deploy" / "grafana" / "maepress.json").read_text())["panels"]
    assert len(panels) > 5
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["description"]
        at = panel["gridPos"]
        mine = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not mine & cells, panel["title"]
        assert all(x < 24 for x, _ in mine)
        cells |= mine


def settings() -> TargetSettings:
    return TargetSettings(quality=12)


def test_a_successful_run_records_its_settings_its_versions_and_its_result(tmp_path: Path) -> None:
    root = open_store(tmp_path)
    with RunRecord(root, "20260101T000000-a", "encode", settings()) as summary:
        summary.done({"latents": 3})
    (found,) = latest_records(root, 5)
    assert (found["run"], found["job"], found["outcome"], found["error"]) == (
        "20260101T000000-a",
        "encode",
        "done",
        None,
    )
    assert found["settings"]["quality"] == 12
    assert found["result"] == {"latents": 3}
    assert set(found["versions"]) >= {"maepress", "ray", "torch"}


def test_a_failed_run_records_its_error_and_raises_it(tmp_path: Path) -> None:
    root = open_store(tmp_path)
    with pytest.raises(ValueError, match="no luck"), RunRecord(root, "20260101T000000-b", "sync", settings()):
        raise ValueError("no luck")
    with pytest.raises(KeyboardInterrupt), RunRecord(root, "20260101T000001-c", "sync", settings()):
        raise KeyboardInterrupt
    interrupted, failed = latest_records(root, 5)
    assert (failed["outcome"], failed["error"]) == ("failed", "ValueError: no luck")
    assert interrupted["outcome"] == "interrupted"


def test_the_latest_runs_come_first_and_other_files_are_ignored(tmp_path: Path) -> None:
    root = open_store(tmp_path)
    for n in range(5):
        with RunRecord(root, f"2026010{n + 1}T000000-x", "encode", settings()) as summary:
            summary.done({})
    (tmp_path / "runs" / "notes.json").write_text("[not JSON")
    assert [run["run"][:8] for run in latest_records(root, 3)] == ["20260105", "20260104"]  # the stranger is the third
    assert latest_records(root, 0) == []


def test_a_log_line_names_run_stage_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(LOGGER, "handlers", [logging.StreamHandler(text)])  # jobs before this may have left theirs
    monkeypatch.setattr(LOGGER, "propagate", False)
    monkeypatch.setattr(LOGGER, "isEnabledFor", lambda level: level >= logging.INFO)
    log = RunLog("run-1")
    log.event("commit", shards=2, rows=30)
    log.rejections([Rejection("a b\n.jpg", "e", "read", "not an image")])
    log.rejections(Rejection(str(n), "e", "fetch", "gone") for n in range(500))
    first, second, *others = text.getvalue().splitlines()
    assert first == "run=run-1 stage=commit shards=2 rows=30"
    assert second == 'run=run-1 stage=read key="a b\\n.jpg" not an image'
    assert len(others) == 100  # 99 more, and a line that says where the rest is


def test_status_shows_the_runs_of_an_archive(
    tmp_path: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos, archive = tmp_path / "photos", tmp_path / "archive"
    photos.mkdir()
    Image.fromarray(photo_like(80, 96)).save(photos / "a.png")
    words = ["encode", str(photos), str(archive), "--model", str(tiny_model_folder), "--executor", "local"]
    assert main(words) == 0
    err = capfd.readouterr().err
    assert re.search(r"INFO run=\d{8}T\d{6}-\d{3}-\w+ stage=commit shards=1 rows=1 ", err)
    assert main([*words, "--quiet"]) == 0
    assert capfd.readouterr().err == ""

    assert main(["status", str(archive), "--runs", "--json"]) == 0
    runs = json.loads(capfd.readouterr().out)["runs"]
    assert [run["outcome"] for run in runs] == ["done", "done"]
    assert [run["result"]["latents"] for run in runs] == [0, 1]
    assert runs[0]["settings"]["source"] == str(photos)
    assert main(["status", str(archive), "--runs"]) == 0
    text = capfd.readouterr().out
    assert "runs" in text
    assert runs[1]["run"] in text
