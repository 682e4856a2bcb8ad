"""The mistakes that a lenient reader forgives and the API server does not."""

import pytest

from tests.unit.api.cases import ACCEPTED, Manifest, model, server
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.api.strict import find_mistakes

KINDS = {"TritonModel": TritonModel, "TritonServer": TritonServer}


@pytest.mark.parametrize("manifest", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_object_has_no_mistakes(manifest: Manifest) -> None:
    assert find_mistakes(KINDS[manifest["kind"]], manifest) == ()


@pytest.mark.parametrize(
    ("manifest", "mistake"),
    [
        (
            model(config={"dynamicBatching": {"maxBatchSize": 8}}),
            "spec.config.dynamicBatching.maxBatchSize: unknown field",
        ),
        (
            model(config={"max_batch_size": 8}),
            "spec.config.max_batch_size: unknown field; did you mean maxBatchSize?",
        ),
        (model(config={"maxBatchSize": "8"}), "spec.config.maxBatchSize: must be of type integer"),
        (model(config={"input": [{"dim": [3]}]}), "spec.config.input[0].dim: unknown field; did"),
        (server(gpus=True), "spec.gpus: must be of type integer, not bool"),
        (server(env={"A": "1"}), "spec.env: must be of type array"),
        (server(env=[{"name": "A", "value": 1}]), "spec.env[0].value: must be of type string"),
        (server(podTemplate={"nodeSelector": {"a": True}}), "spec.podTemplate.nodeSelector.a: "),
    ],
)
def test_a_mistake_is_named_with_its_path(manifest: Manifest, mistake: str) -> None:
    (found,) = find_mistakes(KINDS[manifest["kind"]], manifest)

    assert found.startswith(mistake)
