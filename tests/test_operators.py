"""What operators are given: alert rules, and examples for schedulers. Each name in them exists."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.framework.registry import load
from tests.test_docs import check_command

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def promtool(*words: str) -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run([found, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_rules_and_the_configuration_that_names_them() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(DEPLOY / "prometheus-alerts.yaml"))
    promtool("check", "config", "--syntax-only", str(DEPLOY / "prometheus.yaml"))
    assert yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["rule_files"] == ["prometheus-alerts.yaml"]


def test_every_metric_of_the_alerts_is_one_that_we_export_and_every_alert_says_what_to_do() -> None:
    exported = (ROOT / "pipeline/monitoring/metrics.py").read_text()
    watched = (ROOT / "jobs/web/viewer/watching.py").read_text()
    assert len(RULES) > 5
    for rule in RULES:
        names = re.findall(r"\b((?:ray_)?maepress_\w+)", rule["expr"])
        assert names and rule["annotations"].keys() == {"summary", "description"}
        for name in names:
            plain = re.sub(r"_(total|bucket|sum|count)$", "", name.removeprefix("ray_").removeprefix("maepress_"))
            if name.startswith("ray_"):
                assert f'"{plain}"' in exported or f'"maepress_{plain}"' in exported, name
            else:
                assert f'"maepress_{plain}' in watched, name


def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    # One value per minute; `axb` rises by a from the first value.
    quiet = {"ray_maepress_objects_total": "0+100x120", 'ray_maepress_begun_total{stage="load"}': "0+10x120"}
    quiet |= {"ray_maepress_commits_total": "0+1x120", "ray_maepress_rejected_total": "0+1x120"}
    bad = quiet | {"ray_maepress_commits_total": "5x120", "ray_maepress_rejected_total": "0+20x120"}
    cases: list[tuple[dict[str, str], str, bool]] = [
        (quiet, "MaepressRejectsMany", False),
        (quiet, "MaepressStopsCommitting", False),
        (bad, "MaepressRejectsMany", True),
        (bad, "MaepressStopsCommitting", True),
        ({"maepress_archive_damaged": "0x120"}, "MaepressArchiveDamaged", False),
        ({"maepress_archive_damaged": "2x120"}, "MaepressArchiveDamaged", True),
        ({"maepress_archive_changed_timestamp_seconds": "-400000x120"}, "MaepressNightMissed", True),
    ]
    by_name = {rule["alert"]: rule for rule in RULES}
    tests = []
    for series, alert, fires in cases:
        rule = by_name[alert]
        labels = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        wanted = [{"eval_time": "110m", "alertname": alert, "exp_alerts": [labels] if fires else []}]
        tests.append({"interval": "1m", "input_series": inputs, "alert_rule_test": wanted})
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(DEPLOY / "prometheus-alerts.yaml")], "tests": tests}))
    promtool("test", "rules", str(file))


def commands_in(text: str) -> list[list[str]]:
    """The commands of ours in a program: lists of words, and texts that hold one behind `-- ` or a path."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.List) and node.elts and all(isinstance(e, ast.Constant) for e in node.elts):
            words = [str(e.value) for e in node.elts if isinstance(e, ast.Constant)]
            if words[0].endswith("maepress"):
                found.append(["maepress", *words[1:]])
        if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and isinstance(node.left, ast.Name):
            found.append(["maepress", *shlex.split(re.sub(r"\$\(\(.*\)\)", "1", str(node.right.value)))])
    return found


@pytest.mark.parametrize(("file", "jobs"), [("airflow_dag.py", {"sync", "verify"}), ("dagster_job.py", {"sync"})])
def test_the_examples_for_schedulers_are_programs_whose_commands_parse(file: str, jobs: set[str]) -> None:
    text = (DEPLOY / file).read_text()
    found = commands_in(text)
    assert {words[1] for words in found} == jobs
    for words in found:
        check_command(words)
    if file == "airflow_dag.py":
        submit = shlex.split(re.search(r"maepress (submit [^\"]+)-- \"", text).group(1))  # type: ignore[union-attr]
        load("submit").parser().parse([*submit[1:], "--", "sync", "nightly.yaml"])
