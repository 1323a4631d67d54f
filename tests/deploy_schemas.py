"""Schemas for the files in `deploy/`.

Kubernetes' own kinds (pods, CronJob) are checked completely, by the schemas in the package `kubernetes-validate`. That
package refuses unknown fields only at the top level; here they are refused everywhere. KubeRay publishes no schemas as
a package, so `RAY_JOB` and `RAY_CRON_JOB` list the fields of its kinds (ray.io/v1, KubeRay 1.7) and refuse all others,
so that a misspelt field is found; the pods inside are checked as Kubernetes' pods.
"""

import functools
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema

Schema = dict[str, Any]
KUBERNETES = "v1.37.0-local"
_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANYTHING: Schema = {"type": "object"}


def _closed(required: tuple[str, ...], **fields: Schema) -> Schema:
    return {"type": "object", "required": list(required), "additionalProperties": False, "properties": fields}


_GROUP = {"rayStartParams": _TEXTS, "template": _ANYTHING, "resources": _TEXTS, "labels": _TEXTS}
_CLUSTER = _closed(
    ("headGroupSpec",),
    rayVersion=_TEXT,
    authOptions=_closed(("mode",), mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=_FLAG,
    suspend=_FLAG,
    autoscalerOptions=_closed(
        (),
        idleTimeoutSeconds=_NUMBER,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
        resources=_ANYTHING,
        image=_TEXT,
        imagePullPolicy=_TEXT,
        env={"type": "array"},
        envFrom={"type": "array"},
    ),
    headGroupSpec=_closed(("template",), **_GROUP, serviceType=_TEXT, enableIngress=_FLAG, headService=_ANYTHING),
    workerGroupSpecs={
        "type": "array",
        "items": _closed(
            ("groupName", "template"),
            **_GROUP,
            groupName=_TEXT,
            replicas=_NUMBER,
            minReplicas=_NUMBER,
            maxReplicas=_NUMBER,
            numOfHosts=_NUMBER,
            idleTimeoutSeconds=_NUMBER,
            suspend=_FLAG,
        ),
    },
)
_JOB = _closed(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=_TEXT,
    rayClusterSpec=_CLUSTER,
    runtimeEnvYAML=_TEXT,
    jobId=_TEXT,
    metadata=_TEXTS,
    backoffLimit=_NUMBER,
    activeDeadlineSeconds=_NUMBER,
    shutdownAfterJobFinishes=_FLAG,
    ttlSecondsAfterFinished=_NUMBER,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=_ANYTHING,
    submitterConfig=_closed((), backoffLimit=_NUMBER),
    suspend=_FLAG,
)


def _kind(name: str, spec: Schema) -> Schema:
    named = _closed(("name",), name={"pattern": "^[a-z][a-z0-9-]{0,46}$"}, namespace=_TEXT, labels=_TEXTS)
    kind = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": name}}
    return _closed(("apiVersion", "kind", "metadata", "spec"), **kind, metadata=named, spec=spec)


RAY_JOB = _kind("RayJob", _JOB)
RAY_CRON_JOB = _kind(
    "RayCronJob",
    _closed(("schedule", "jobTemplate"), schedule=_TEXT, timeZone=_TEXT, suspend=_FLAG, jobTemplate=_JOB),
)


def check(document: Schema) -> None:
    """Check a document against the schema of its kind.

    Raises:
        jsonschema.ValidationError: naming the first field that does not fit.
    """
    match document["kind"]:
        case "RayJob":
            jsonschema.validate(document, RAY_JOB)
            _check_pods(document["spec"])
        case "RayCronJob":
            jsonschema.validate(document, RAY_CRON_JOB)
            _check_pods(document["spec"]["jobTemplate"])
        case _:
            assert document["apiVersion"] == "batch/v1"
            _kubernetes("io.k8s.api.batch.v1.CronJob").validate(document)


@functools.cache
def _kubernetes(name: str) -> jsonschema.Draft202012Validator:
    """Validates one of Kubernetes' objects, and refuses fields that its schema does not name."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / KUBERNETES
    document: Schema = json.loads((folder / "_definitions.json").read_text())
    for definition in document["$defs"].values():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
    return jsonschema.Draft202012Validator(document | {"$ref": f"#/$defs/{name}"})


def pods(job: Schema) -> Iterator[Schema]:
    """The pod templates of a RayJob's spec."""
    cluster = job["rayClusterSpec"]
    yield job["submitterPodTemplate"]
    yield cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["template"]


def _check_pods(job: Schema) -> None:
    for template in pods(job):
        _kubernetes("io.k8s.api.core.v1.PodTemplateSpec").validate(template)
