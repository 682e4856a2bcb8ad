"""Every sample is accepted, hangs together, and says the same in both of its forms."""

import re
from typing import Any

import pytest

from tests.unit.samples.sample_files import BOTH, FILES, FORMS, Form, config_of, documents
from triton_operator import names
from triton_operator.api.model import TritonModel
from triton_operator.api.server import TritonServer
from triton_operator.repository.config_pbtxt import parse_text, render, to_proto

KINDS = {"TritonModel": TritonModel, "TritonServer": TritonServer}
RFC1123 = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.parts[-3:]))
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
every_pair = pytest.mark.parametrize(("gpu", "cpu"), BOTH, ids=[gpu.sample for gpu, _ in BOTH])


def tensors(config: dict[str, Any], kind: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        each["name"]: (each["data_type"], tuple(int(dim) for dim in each["dims"]))
        for each in config.get(kind, [])
    }


def test_all_models_of_the_guides_are_here() -> None:
    assert {form.sample: set(form.models) for form in FORMS if form.form == "gpu"} == {
        "image-classifier": {"ensemble_model", "preprocessor", "classifier"},
        "resnet50": {"resnet50"},
        "resnet50-pytorch": {"resnet50_pytorch"},
        "yolov8-tensorrt": {"yolov8_tensorrt"},
        "bert-onnx": {"bert_onnx"},
        "pcb-detector": {"pcb_detector"},
        "pcb-pipeline": {"pcb_pipeline", "preprocessing", "detection", "postprocessing"},
    }
    assert {form.sample for form in FORMS if form.form == "cpu"} == {
        "image-classifier",
        "resnet50",
        "pcb-detector",
        "pcb-pipeline",
    }


@every_file
def test_a_sample_holds_no_field_that_the_api_does_not_know(path: Any) -> None:
    for document in documents(path):
        parsed = KINDS[document["kind"]].parse(document)
        assert document["apiVersion"] == names.API_VERSION
        assert parsed.spec.manifest() == document["spec"]
        assert RFC1123.match(document["metadata"]["name"])


@every_form
def test_a_config_is_one_that_triton_reads(form: Form) -> None:
    for model in form.models.values():
        if model.spec.config is not None:
            proto = to_proto(model.spec.config)
            assert parse_text(render(proto)) == proto


@every_form
def test_every_server_that_is_named_comes_with_the_sample(form: Form) -> None:
    shared = {m.spec.server_ref.name for m in form.models.values() if m.spec.server_ref}
    assert shared == set(form.servers)


@every_form
def test_instance_groups_name_only_gpus_that_the_server_has(form: Form) -> None:
    for model in form.models.values():
        own = model.spec.server.gpus if model.spec.server else 1
        shared = model.spec.server_ref
        gpus = form.servers[shared.name].spec.gpus if shared else own
        for group in config_of(model).get("instance_group", []):
            assert all(index < gpus for index in group.get("gpus", []))
            assert group["kind"] == "KIND_CPU" or gpus > 0


@every_form
def test_sources_lie_on_the_claim_of_the_guides_under_the_name_of_the_model(form: Form) -> None:
    for name, model in form.models.items():
        for version in model.spec.versions:
            if version.source is not None:
                prefix = f"pvc://model-storage/{name}/{version.version}/model."
                assert version.source.uri.startswith(prefix)


@every_form
def test_the_steps_of_an_ensemble_agree_in_names_types_and_shapes(form: Form) -> None:
    for model in form.models.values():
        ensemble = config_of(model)
        if "ensemble_scheduling" not in ensemble:
            continue
        known = tensors(ensemble, "input")
        for step in ensemble["ensemble_scheduling"]["step"]:
            member = config_of(form.models[step["model_name"]])
            assert member["max_batch_size"] >= ensemble["max_batch_size"] > 0
            assert form.models[step["model_name"]].server_name == model.server_name
            inputs, outputs = tensors(member, "input"), tensors(member, "output")
            assert set(step["input_map"]) == set(inputs)
            for inner, outer in step["input_map"].items():
                assert known[outer] == inputs[inner]
            assert set(step["output_map"]) <= set(outputs)
            for inner, outer in step["output_map"].items():
                known[outer] = outputs[inner]
        assert tensors(ensemble, "output").items() <= known.items()


@every_pair
def test_both_forms_have_the_same_names_shapes_types_and_scheduling(gpu: Form, cpu: Form) -> None:
    assert set(gpu.models) == set(cpu.models)
    assert set(gpu.servers) == set(cpu.servers)
    for name, model in gpu.models.items():
        mine, other = config_of(model), config_of(cpu.models[name])
        assert model.metadata.name == cpu.models[name].metadata.name
        for config in (mine, other):
            # One group on each of two GPUs is as many instances as one of two on the CPU.
            count = sum(group["count"] for group in config.pop("instance_group", []))
            config["instances"] = count
            config.pop("backend", None)
            if config.get("platform") != "ensemble":
                config.pop("platform", None)
        assert mine == other


@every_pair
def test_cpu_forms_ask_for_no_gpu_and_leave_the_image_to_the_operator(gpu: Form, cpu: Form) -> None:
    specs = [server.spec for server in cpu.servers.values()]
    specs += [m.spec.server for m in cpu.models.values() if m.spec.server is not None]
    assert specs
    assert all(spec.gpus == 0 and spec.image is None for spec in specs)


def settings_of(form: str, sample: str, model: str) -> dict[str, Any]:
    found = next(each for each in FORMS if (each.sample, each.form) == (sample, form))
    return config_of(found.models[model])


def test_the_settings_of_the_guides_are_kept() -> None:
    preprocessor = settings_of("gpu", "image-classifier", "preprocessor")
    assert preprocessor["max_batch_size"] == 4096
    assert preprocessor["dynamic_batching"]["preferred_batch_size"] == [8, 16, 32, 64]

    classifier = settings_of("gpu", "image-classifier", "classifier")
    batching = classifier["dynamic_batching"]
    assert batching["preferred_batch_size"] == [32, 64, 128, 256, 512, 1024]
    assert batching["max_queue_delay_microseconds"] == "100"
    assert [group["gpus"] for group in classifier["instance_group"]] == [[0], [1]]
    assert classifier["input"][0]["format"] == "FORMAT_NCHW"
    assert classifier["response_cache"] == {"enable": True}

    detector = settings_of("gpu", "pcb-detector", "pcb_detector")
    assert detector["max_batch_size"] == 8
    assert detector["dynamic_batching"] == {
        "preferred_batch_size": [4, 8],
        "max_queue_delay_microseconds": "100",
    }

    for form in FORMS:
        if form.sample in ("resnet50-pytorch", "yolov8-tensorrt", "bert-onnx"):
            (model,) = form.models.values()
            server = model.spec.server
            assert server is not None
            assert (server.replicas, server.gpus) == (3, 1)
            assert server.repository.claim_name == "model-storage"
            assert config_of(model)["max_batch_size"] == 16


def test_the_beginners_model_is_nothing_but_a_file_and_a_name() -> None:
    form = next(each for each in FORMS if each.id == "resnet50-gpu")
    assert set(form.models["resnet50"].spec.manifest()) == {"versions"}
