"""cluster.yaml and deploy/, checked against the schemas of Ray, AWS and Kubernetes."""

import json
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import botocore.session
import botocore.validate
import jsonschema
import pytest
import yaml

from jobs.commands.submit import JOB as SUBMIT
from jobs.framework.registry import NAMES, load
from tests.deploy_schemas import check, pods

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
MANIFESTS = ("rayjob.yaml", "raycronjob.yaml", "cronjob.yaml")


def manifest(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return document


def cluster() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


def locked_ray() -> str:
    (version,) = re.findall(r"^ray==(.+)$", (ROOT / "requirements.txt").read_text(), re.M)
    return str(version)


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster())
    validate_config(prepared)
    broken = cluster()
    broken["available_node_types"]["gpu"]["resorces"] = {}
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(broken))


@pytest.mark.parametrize("kind", ["head", "cpu", "gpu"])
def test_aws_knows_every_field_of_a_machine(kind: str) -> None:
    ec2 = botocore.session.get_session().get_service_model("ec2")
    request = ec2.operation_model("RunInstances").input_shape
    node = cluster()["available_node_types"][kind]["node_config"]
    report = botocore.validate.ParamValidator().validate(node | {"MinCount": 1, "MaxCount": 1}, request)
    assert not report.has_errors(), report.generate_report()
    assert botocore.validate.ParamValidator().validate({"InstanceTypo": "x"}, request).has_errors()


def test_the_head_runs_no_tasks_and_workers_start_from_zero() -> None:
    config = cluster()
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = {name: kind for name, kind in types.items() if name != config["head_node_type"]}
    assert set(workers) == {"cpu", "gpu"}
    for kind in workers.values():
        assert kind["min_workers"] == 0
        assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert sum(kind["max_workers"] for kind in workers.values()) <= config["max_workers"]


def test_machines_with_gpus_offer_no_core_so_that_only_encoders_fit() -> None:
    assert cluster()["available_node_types"]["gpu"]["resources"] == {"CPU": 0, "GPU": 1}
    for name in ("rayjob.yaml", "raycronjob.yaml"):
        spec = manifest(name)["spec"]
        groups = {g["groupName"]: g for g in spec.get("jobTemplate", spec)["rayClusterSpec"]["workerGroupSpecs"]}
        assert groups["gpu"]["rayStartParams"]["num-cpus"] == "0"
        assert "num-cpus" not in groups["cpu"]["rayStartParams"], "as many as the pod has"


def test_every_cluster_asks_for_a_token() -> None:
    config = cluster()
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        (start,) = [command for command in commands if "ray start" in command]
        assert start.startswith("RAY_AUTH_MODE=token ")
    for name in ("rayjob.yaml", "raycronjob.yaml"):
        spec = manifest(name)["spec"]
        assert spec.get("jobTemplate", spec)["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    (pod,) = pods_of_cronjob()
    variables = {variable["name"]: variable for variable in pod["env"]}
    assert variables["RAY_AUTH_MODE"]["value"] == "token"
    assert "value" not in variables["RAY_AUTH_TOKEN"] and "secretKeyRef" in variables["RAY_AUTH_TOKEN"]["valueFrom"]


def pods_of_cronjob() -> list[dict[str, Any]]:
    """The containers of deploy/cronjob.yaml."""
    containers: list[dict[str, Any]] = manifest("cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    return containers


def test_every_port_of_a_cluster_is_stated() -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    config = cluster()
    for kind in ("head", "worker"):
        (command,) = [command for command in config[f"{kind}_start_ray_commands"] if "ray start" in command]
        flags = dict(part.partition("=")[::2] for part in command.split() if part.startswith("--"))
        assert set(flags) <= known
        # Ray Client's server starts only where that extra is installed, and refuses a port where it is not.
        ports = {option for option in known if option.endswith("port")} - {"--ray-client-server-port"}
        assert len(ports) >= 9
        wanted = ports if kind == "head" else ports - {"--port", "--dashboard-port"}
        assert wanted <= set(flags), "Ray would choose these"
        assert all(value.isdecimal() for name, value in flags.items() if name in ports)
        assert "0.0.0.0" not in command
    (head,) = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in head, "the job server"
    for name in ("rayjob.yaml", "raycronjob.yaml"):
        spec = manifest(name)["spec"]
        (container,) = spec.get("jobTemplate", spec)["rayClusterSpec"]["headGroupSpec"]["template"]["spec"][
            "containers"
        ]
        assert {p["name"]: p["containerPort"] for p in container["ports"]} == {
            "gcs-server": 6379,
            "dashboard": 8265,
            "metrics": 8080,
        }


def test_no_key_and_no_secret_is_in_any_file() -> None:
    files = [ROOT / "cluster.yaml", *(path for path in DEPLOY.rglob("*") if path.is_file())]
    assert {*MANIFESTS, "Dockerfile", "crontab", "iam-head.json"} <= {path.name for path in files}
    for path in files:
        text = path.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|aws_secret|SECRET_ACCESS_KEY|password\s*[:=]", text, re.I), path


def test_policies_allow_workers_only_the_buckets() -> None:
    head, worker = (json.loads((DEPLOY / f"iam-{who}.json").read_text()) for who in ("head", "worker"))
    for policy in (head, worker):
        assert policy["Version"] == "2012-10-17"
        assert all({"Sid", "Effect", "Action", "Resource"} <= set(statement) for statement in policy["Statement"])
    actions = [action for statement in worker["Statement"] for action in statement["Action"]]
    assert actions and all(action.startswith("s3:") for action in actions)
    assert all(statement in head["Statement"] for statement in worker["Statement"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_fits_the_schema_of_its_kind(name: str) -> None:
    check(manifest(name))


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_misspelt_field_would_be_found(name: str) -> None:
    document = manifest(name)
    spec = document["spec"]
    template = spec.get("jobTemplate", spec)
    container = (
        template["spec"]["template"]["spec"]["containers"][0]
        if document["kind"] == "CronJob"
        else template["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    )
    for place, word in ((spec, "shedule"), (container, "imagePullPolicies")):
        place[word] = "x"
        with pytest.raises(jsonschema.ValidationError) as found:
            check(document)
        assert word in found.value.message
        del place[word]


def test_every_image_and_version_is_the_locked_ray() -> None:
    version = locked_ray()
    config = cluster()
    assert {config["docker"]["image"], config["docker"]["head_image"]} == {
        f"rayproject/ray:{version}-py311-gpu",
        f"rayproject/ray:{version}-py311",
    }
    assert f"FROM rayproject/ray:{version}-" in (DEPLOY / "Dockerfile").read_text()
    for name in ("rayjob.yaml", "raycronjob.yaml"):
        spec = manifest(name)["spec"]
        assert spec.get("jobTemplate", spec)["rayClusterSpec"]["rayVersion"] == version


def test_the_scheduled_cluster_is_the_one_of_the_single_job() -> None:
    once, nightly = manifest("rayjob.yaml")["spec"], manifest("raycronjob.yaml")["spec"]["jobTemplate"]
    head = nightly["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    head["containers"][0].pop("volumeMounts")
    head.pop("volumes")
    assert nightly | {"entrypoint": once["entrypoint"]} == once
    assert len(list(pods(once))) == 4


def test_schedules_have_a_time_zone_that_exists() -> None:
    zones = [manifest(name)["spec"]["timeZone"] for name in ("raycronjob.yaml", "cronjob.yaml")]
    (zone,) = re.findall(r"^CRON_TZ=(.+)$", (DEPLOY / "crontab").read_text(), re.M)
    for name in [*zones, zone]:
        ZoneInfo(name)


def commands() -> list[str]:
    """Every maepress command in the files, as typed."""
    crontab = (DEPLOY / "crontab").read_text().splitlines()[-1].split(".venv/bin/")[1]
    (container,) = manifest("cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    once, nightly = manifest("rayjob.yaml")["spec"], manifest("raycronjob.yaml")["spec"]["jobTemplate"]
    comment = re.findall(r"^# +(maepress submit .+)$", (ROOT / "cluster.yaml").read_text(), re.M)
    return [crontab, " ".join(container["command"]), once["entrypoint"], nightly["entrypoint"], *comment]


def test_every_command_in_the_files_parses() -> None:
    assert len(commands()) == 5
    for command in commands():
        _, name, *rest = command.split()
        assert name in NAMES
        load(name).parser().parse(rest)
        if name == "submit":
            inner = rest[rest.index("--") + 1 :]
            load(inner[0]).parser().parse(inner[1:])
    assert SUBMIT.name == "submit"


def test_the_image_copies_files_that_exist() -> None:
    copies = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    assert len(copies) >= 4
    for line in copies:
        *sources, _ = line.split()[2:]
        assert sources and all((ROOT / source).exists() for source in sources), line


def test_the_image_has_every_package_of_ours() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for name in ("maepress", "jobs", "pipeline", "model"):
        assert f" {name} ./{name}\n" in text
