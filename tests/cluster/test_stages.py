"""Which stage runs on which machine, and when GPUs are requested.

The GPUs are pretended; encoders run on cores.
"""

import re
import threading
import time
from pathlib import Path

import pytest
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # made by Cython
from ray.autoscaler.v2.sdk import get_cluster_resource_state

from jobs.framework.job import users_mistake
from pipeline.archive.receipt import Receipt
from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from tests.cluster.conftest import IMAGES
from tests.cluster.recording import encode_folder, nodes_of_stages
from tests.nodes import Nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
WAIT_SECONDS = 20.0


def gpus_asked_for(head: Nodes) -> float:
    """GPUs requested from an autoscaler now, by waiting tasks and actors and by Ray Data."""
    state = get_cluster_resource_state(GcsClient(head.address))
    waiting = sum(each.request.resources_bundle.get("GPU", 0) * each.count for each in state.pending_resource_requests)
    wanted = sum(
        each.request.resources_bundle.get("GPU", 0) * each.count
        for constraint in state.cluster_resource_constraints
        for each in constraint.resource_requests
    )
    return float(waiting + wanted)


def test_encoders_work_where_gpus_are_and_everything_else_where_cores_are(
    head: Nodes, settings: EncodeSettings, records: Path
) -> None:
    cores, gpus = head.add(cpus=2).node_id, {head.add(gpus=1).node_id, head.add(gpus=1).node_id}
    receipts = encode_folder(settings.model_copy(update={"actors": "2:2"}))
    assert sum(receipt.latents for receipt in receipts) == IMAGES
    found = nodes_of_stages(records)
    assert found.pop("encode") <= gpus
    assert found == {"load": {cores}, "compress": {cores}, "write": {cores}}


def test_gpus_are_asked_for_only_while_there_is_work_and_waiting_for_them_ends_nothing(
    head: Nodes, settings: EncodeSettings, records: Path
) -> None:
    head.add(cpus=2)
    assert gpus_asked_for(head) == 0
    receipts: list[Receipt] = []
    job = threading.Thread(target=lambda: receipts.extend(encode_folder(settings)))
    job.start()
    deadline = time.monotonic() + 300
    while gpus_asked_for(head) == 0:
        assert time.monotonic() < deadline and job.is_alive()
        time.sleep(0.2)
    time.sleep(WAIT_SECONDS)
    assert job.is_alive() and not receipts and "encode" not in nodes_of_stages(records)
    assert gpus_asked_for(head) >= 1, "somebody still asks"
    joined = head.add(gpus=1)
    job.join(600)
    assert sum(receipt.latents for receipt in receipts) == IMAGES
    assert nodes_of_stages(records)["encode"] == {joined.node_id}
    deadline = time.monotonic() + 60
    while gpus_asked_for(head) > 0:
        assert time.monotonic() < deadline, "GPUs are still asked for after the last piece"
        time.sleep(0.2)


def test_an_encoder_whose_gpu_torch_cannot_use_says_so_instead_of_working_on_a_core(
    head: Nodes, settings: EncodeSettings
) -> None:
    head.add(cpus=2)
    head.add(gpus=1)
    with pytest.raises(Exception, match="offers a GPU") as failed:
        encode(settings, quiet=True)
    assert re.search(r"offers a GPU that its torch \S+ cannot use: install", str(users_mistake(failed.value)))
