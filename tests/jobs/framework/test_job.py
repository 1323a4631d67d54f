"""Exit statuses, and the one-line message for a mistake."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from pydantic import BaseModel, ConfigDict, Field

import maepress
from jobs.framework.job import DONE, FAILED, GAVE_WAY, INTERRUPTED, MISTAKE, Job, guard, users_mistake
from jobs.framework.output import Output
from jobs.framework.ray_session import ray_session
from maepress import CommitConflict, LeaseHeld
from model.core.errors import DamagedPayload, MaepressError, WrongModel
from pipeline.execution.actor_errors import raise_in_first_call


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="a path")
    count: int = Field(1, ge=1, description="a count")


def job(run: "object") -> Job[Settings]:
    return Job("sample", "a", "maepress sample x", lambda: Settings, run, ("path",))  # type: ignore[arg-type]


def fail(error: BaseException) -> int:
    raise error


def test_a_job_gets_its_settings_and_its_status_is_the_exit_status() -> None:
    seen: list[tuple[Settings, Output]] = []

    def run(settings: Settings, output: Output) -> int:
        seen.append((settings, output))
        return FAILED

    assert job(run).main(["x", "--count", "3", "--quiet"]) == FAILED
    assert seen == [(Settings(path="x", count=3), Output(as_json=False, quiet=True))]


@pytest.mark.parametrize(
    "argv", [[], ["x", "--count", "0"], ["x", "--colour", "red"], ["x", "y"], ["x", "--config", "absent.yaml"]]
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(lambda settings, output: DONE).main(argv) == MISTAKE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("maepress: ")
    assert captured.err.count("\n") == 1


def test_a_mistake_found_later_is_one_line_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    error = MaepressError("s3://key:secret@bucket\nis not there")
    assert guard(lambda: fail(error)) == MISTAKE
    assert capsys.readouterr().err == "maepress: s3://***@bucket is not there\n"


def test_giving_way_is_a_mistake_of_the_settings_only_where_a_person_starts_the_job() -> None:
    for error in (LeaseHeld("sync x is at work"), CommitConflict("another job added 'a'")):
        assert guard(lambda error=error: fail(error)) == MISTAKE  # type: ignore[misc]  # a default binds it now
        assert guard(lambda error=error: fail(error), scheduled=True) == GAVE_WAY == 75  # type: ignore[misc]
    assert guard(lambda: fail(MaepressError("x")), scheduled=True) == MISTAKE


def test_an_interruption_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(lambda: fail(KeyboardInterrupt())) == INTERRUPTED
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_of_the_program_is_not_reported_as_a_users_mistake() -> None:
    with pytest.raises(ZeroDivisionError):
        guard(lambda: fail(ZeroDivisionError()))


@pytest.mark.parametrize("call", ["line('x' * 9000)", "table('x', [('x' * 100, 1)] * 99)"])
def test_a_closed_pipe_is_not_an_error(call: str) -> None:
    script = "from jobs.framework.output import Output; from jobs.framework.job import guard; import sys\n"
    script += f"sys.exit(guard(lambda: [Output().{call} for _ in range(99)] and 0))"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "$0" | head -c 1; exit ${{PIPESTATUS[0]}}', script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "x", "")


def test_the_mistake_is_found_inside_what_ray_wraps_around_it(local_ray: None) -> None:
    @ray.remote(max_retries=0)
    def task(rows: int) -> int:
        raise DamagedPayload(f"payload {rows} is damaged")

    with pytest.raises(DamagedPayload) as direct:
        ray.get(task.remote(7))
    found = users_mistake(direct.value)
    assert type(found) is DamagedPayload
    assert str(found) == "payload 7 is damaged"

    def stage(batch: dict[str, object]) -> dict[str, object]:
        raise DamagedPayload("payload 8 is damaged")

    with pytest.raises(Exception) as in_data:
        ray.data.range(1).map_batches(stage).materialize()  # type: ignore[arg-type]  # Ray wants all formats in one
    found = users_mistake(in_data.value)
    assert type(found) is DamagedPayload
    assert str(found) == "payload 8 is damaged"
    assert users_mistake(ValueError("x")) is None


def test_the_mistake_is_found_behind_an_actor_that_could_not_be_constructed(local_ray: None) -> None:
    @raise_in_first_call
    class Stage:
        def __init__(self, model: str) -> None:
            raise WrongModel(f"{model} is another model\nModuleNotFoundError: not what happened")

        def __call__(self, batch: dict[str, object]) -> dict[str, object]:
            return batch

    with pytest.raises(Exception) as raised:
        ray.data.range(1).map_batches(Stage, fn_constructor_args=("base",), concurrency=1).materialize()
    found = users_mistake(raised.value)
    assert type(found) is WrongModel
    assert str(found) == "base is another model\nModuleNotFoundError: not what happened"


def test_every_error_of_ours_keeps_its_class_and_its_text_between_processes() -> None:
    for name in maepress.__all__:
        kind = getattr(maepress, name)
        if isinstance(kind, type) and issubclass(kind, MaepressError):
            error = kind("the archive has no image 'a'")
            error.args = ("what a library made of it",)
            copy = pickle.loads(pickle.dumps(error))
            assert type(copy) is kind
            assert str(copy) == "the archive has no image 'a'"


def test_a_session_uses_a_connection_that_exists_and_leaves_it(local_ray: None) -> None:
    with ray_session():
        assert ray.is_initialized()
    assert ray.is_initialized()


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    script = "import sys; from jobs.framework.ray_session import ray_session; from jobs.framework.job import guard\n"
    script += "def go():\n  with ray_session(): return 0\nsys.exit(guard(go))"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "RAY_ADDRESS": "127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == MISTAKE
    assert done.stderr.startswith("maepress: no Ray cluster at RAY_ADDRESS=127.0.0.1:9 (Connection refused)")
    assert done.stderr.count("\n") == 1


def test_json_output_is_only_json(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.table("title", [("a", 1)])
    output.line("text")
    output.result({"rows": 3, "psnr": None})
    assert json.loads(capsys.readouterr().out) == {"rows": 3, "psnr": None}


def test_a_table_is_plain_and_unbroken_when_it_goes_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    long = "s3://bucket/" + "x" * 150
    Output().table("counts", [("images", 1234567), ("where", long), ("psnr", 38.123456), ("none", None)])
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "counts",
        "images 1,234,567",
        f"where {long}",
        "psnr 38.12",
        "none -",
    ]


def test_only_the_unwanted_line_of_native_code_is_dropped() -> None:
    script = (
        "import os, sys, time\nfrom jobs.framework.stderr_filter import without_unwanted_lines\n"
        "with without_unwanted_lines():\n"
        "  os.write(2, b'see ray/issues/53727\\nwanted\\n'); print('python', file=sys.stderr); time.sleep(0.5)\n"
        "os.write(2, b'after\\n'); print('python after', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert sorted(done.stderr.splitlines()) == ["after", "python", "python after", "wanted"]
