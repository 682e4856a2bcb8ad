"""Specs that must be refused, and specs that must be taken.

The unit tests hold pydantic to them, the admission tests a real API server: both judges must
agree, name the same field and say the same.
"""

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

VERSIONS = [{"version": 1, "source": {"uri": "https://models.example/1/model.onnx"}}]
SHARED = {"serverRef": {"name": "vision"}}
LATER = {"timeoutAction": "DELAY", "defaultTimeoutMicroseconds": 1}
ZEROS = {"name": "zeros", "zeroData": True}
STEP = {"modelName": "member", "modelVersion": -1}


def model(name: str = "resnet50", **spec: Any) -> Manifest:
    """A TritonModel that is good but for what ``spec`` changes; None takes a field away."""
    fields = {"versions": VERSIONS} | spec
    return {
        "apiVersion": "triton-operator.io/v1alpha1",
        "kind": "TritonModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {key: value for key, value in fields.items() if value is not None},
    }


def server(name: str = "vision", **spec: Any) -> Manifest:
    """A TritonServer that is good but for what ``spec`` changes."""
    return {
        "apiVersion": "triton-operator.io/v1alpha1",
        "kind": "TritonServer",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


@dataclass(frozen=True)
class Refused:
    """A manifest and what its refusal must say: the path of the field, and words of the mend."""

    name: str
    manifest: Manifest
    path: str
    words: str = ""


def _version(**fields: Any) -> Manifest:
    return model(versions=[{"version": 1, "source": {"uri": "https://x/y"}} | fields])


def _uri(uri: str) -> Manifest:
    return _version(source={"uri": uri})


def _config(**fields: Any) -> Manifest:
    return model(config=fields)


def _args(*args: str) -> Manifest:
    return server(args=list(args))


_OUT = "path inside the model's folder"

REFUSED = (
    Refused(
        "config and its text", model(config={}, configText="backend: 'x'"), "spec", "remove one"
    ),
    Refused("two servers", model(server={}, **SHARED), "spec", "serverRef and server exclude"),
    Refused("slash in the name", model(modelName="a/b"), "spec.modelName"),
    Refused("dots in the name", model(modelName=".."), "spec.modelName"),
    Refused("long name of clients", model(modelName="a" * 64), "spec.modelName"),
    Refused("long name", model("a" * 41, **SHARED), "metadata.name", "at most 40"),
    Refused("long server name", server("a" * 41), "metadata.name", "at most 40"),
    Refused("server name with a dot", server("a.b"), "metadata.name", "no '.'"),
    Refused("own server with a dot", model("a.b"), "metadata.name", "or use serverRef"),
    Refused("no versions", model(versions=None), "spec", "versions must have an entry"),
    Refused("empty versions", model(versions=[]), "spec", "versions must have an entry"),
    Refused("version 0", _version(version=0), "spec.versions[0].version", "1 or more"),
    Refused("version -1", _version(version=-1), "spec.versions[0].version", "1 or more"),
    Refused("huge version", _version(version=2**31), "spec.versions[0].version"),
    Refused("version twice", model(versions=VERSIONS * 2), "spec.versions"),
    Refused(
        "version without files",
        model(versions=[{"version": 1}]),
        "spec.versions[0]",
        "source or files",
    ),
    Refused(
        "version with no files in files",
        model(versions=[{"version": 1, "files": {}}]),
        "spec.versions[0]",
        "source or files",
    ),
    Refused("ftp", _uri("ftp://a/b"), "spec.versions[0].source.uri", "https://<host>/<path>"),
    Refused("no bucket", _uri("s3:///a"), "spec.versions[0].source.uri", "<bucket>/<path>"),
    Refused("no repository", _uri("hf://a"), "spec.versions[0].source.uri", "<owner>/"),
    Refused("hub upwards", _uri("hf://a/b/../c"), "spec.versions[0].source.uri", "'..'"),
    Refused(
        "no name of a Secret",
        _version(source={"uri": "s3://x/y", "secretRef": {"name": "../x"}}),
        "spec.versions[0].source.secretRef.name",
    ),
    Refused("file", _uri("file:///etc/passwd"), "spec.versions[0].source.uri"),
    Refused("no host", _uri("https:///a"), "spec.versions[0].source.uri", "<host>"),
    Refused("no path", _uri("pvc://models"), "spec.versions[0].source.uri", "<claim>/<path>"),
    Refused("uri with a line", _uri("https://a/b\nc"), "spec.versions[0].source.uri", "spaces"),
    Refused("uri with a space", _uri("https://a/b c"), "spec.versions[0].source.uri", "spaces"),
    Refused("uri upwards", _uri("pvc://../other"), "spec.versions[0].source.uri", "'..'"),
    Refused(
        "bad checksum",
        _version(source={"uri": "https://x/y", "sha256": "9F86"}),
        "spec.versions[0].source.sha256",
    ),
    Refused("file upwards", model(files={"../x": ""}), "spec.files", "stay inside"),
    Refused("file at the root", model(files={"/x": ""}), "spec.files", "stay inside"),
    Refused("file without a name", model(files={"a//x": ""}), "spec.files", "stay inside"),
    Refused("file upwards inside", model(files={"a/../../x": ""}), "spec.files", "stay inside"),
    Refused("version file upwards", _version(files={"../x": ""}), "spec.versions[0].files", "stay"),
    Refused("config as a file", model(files={"config.pbtxt": ""}), "spec.files", "configText"),
    Refused("version as a file", model(files={"2/model.py": ""}), "spec.files", "into versions"),
    Refused("version-like file", model(files={"3.tmp/x": ""}), "spec.files", "into versions"),
    Refused(
        "GPU index beyond the server",
        _config(instanceGroup=[{"gpus": [1]}]),
        "spec",
        "config.instanceGroup: gpus names a GPU",
    ),
    Refused(
        "GPU index beyond the own server",
        model(config={"instanceGroup": [{"gpus": [2]}]}, server={"gpus": 2}),
        "spec",
        "raise server.gpus",
    ),
    Refused(
        "GPU without a GPU",
        model(config={"instanceGroup": [{"kind": "KIND_GPU"}]}, server={"gpus": 0}),
        "spec",
        "KIND_CPU",
    ),
    Refused(
        "GPU index of instances on the CPU",
        _config(instanceGroup=[{"kind": "KIND_CPU", "gpus": [0]}]),
        "spec.config.instanceGroup[0]",
        "remove gpus",
    ),
    Refused(
        "GPU index of instances that the model places",
        _config(instanceGroup=[{"kind": "KIND_MODEL", "gpus": [0]}]),
        "spec.config.instanceGroup[0]",
        "remove gpus",
    ),
    Refused(
        "batch above the largest",
        _config(maxBatchSize=8, dynamicBatching={"preferredBatchSize": [4, 9]}),
        "spec.config",
        "dynamicBatching.preferredBatchSize has a size above maxBatchSize",
    ),
    Refused(
        "batch of a model that does not batch",
        _config(dynamicBatching={"preferredBatchSize": [1]}),
        "spec.config",
        "raise maxBatchSize",
    ),
    Refused(
        "batch of sequences above the largest",
        _config(maxBatchSize=8, sequenceBatching={"oldest": {"preferredBatchSize": [9]}}),
        "spec.config",
        "sequenceBatching.oldest.preferredBatchSize has a size above",
    ),
    *(
        Refused(
            f"batch of {size}",
            _config(maxBatchSize=8, dynamicBatching={"preferredBatchSize": [size]}),
            "spec.config.dynamicBatching.preferredBatchSize[0]",
        )
        for size in (0, -1)
    ),
    *(
        Refused(
            f"default level {level} of 2",
            _config(dynamicBatching={"priorityLevels": 2, "defaultPriorityLevel": level}),
            "spec.config.dynamicBatching",
            "set it to that of requests",
        )
        for level in (0, 3)
    ),
    Refused(
        "no default level",
        _config(dynamicBatching={"priorityLevels": 2}),
        "spec.config.dynamicBatching",
        "defaultPriorityLevel must be",
    ),
    *(
        Refused(
            f"policy of level {level} of 2",
            _config(
                dynamicBatching={
                    "priorityLevels": 2,
                    "defaultPriorityLevel": 1,
                    "priorityQueuePolicy": {str(level): {}},
                }
            ),
            "spec.config.dynamicBatching",
            "priorityQueuePolicy names a level that is not there",
        )
        for level in (0, 3)
    ),
    Refused(
        "order and levels",
        _config(
            dynamicBatching={
                "preserveOrdering": True,
                "priorityLevels": 2,
                "defaultPriorityLevel": 1,
            }
        ),
        "spec.config.dynamicBatching",
        "remove preserveOrdering",
    ),
    *(
        Refused(
            f"order and delay {policies}",
            _config(dynamicBatching={"preserveOrdering": True, **policies}),
            "spec.config.dynamicBatching",
            "remove preserveOrdering, or REJECT",
        )
        for policies in ({"defaultQueuePolicy": LATER}, {"priorityQueuePolicy": {"1": LATER}})
    ),
    *(
        Refused(
            f"initial state {change}",
            _config(sequenceBatching={"state": [{"initialState": [change]}]}),
            "spec.config.sequenceBatching.state[0].initialState[0]",
            words,
        )
        for change, words in (
            ({"zeroData": True}, "name this initial state"),
            ({"name": "x"}, "set one"),
        )
    ),
    Refused(
        "initial states",
        _config(sequenceBatching={"state": [{"initialState": [ZEROS, ZEROS]}]}),
        "spec.config.sequenceBatching.state[0].initialState",
    ),
    Refused(
        "control input without a name",
        _config(sequenceBatching={"controlInput": [{}]}),
        "spec.config.sequenceBatching.controlInput[0]",
        "name the input",
    ),
    *(
        Refused(
            f"control {control}",
            _config(sequenceBatching={"controlInput": [{"name": "x", "control": [control]}]}),
            "spec.config.sequenceBatching.controlInput[0].control[0]",
            words,
        )
        for control, words in (
            ({}, "must have two entries"),
            ({"kind": "CONTROL_SEQUENCE_END", "boolFalseTrue": [True]}, "must have two entries"),
            ({"int32FalseTrue": [0, 1], "fp32FalseTrue": [0, 1]}, "and the others none"),
            ({"kind": "CONTROL_SEQUENCE_CORRID"}, "needs a dataType"),
            ({"kind": "CONTROL_SEQUENCE_CORRID", "dataType": "TYPE_FP32"}, "needs a dataType"),
            (
                {
                    "kind": "CONTROL_SEQUENCE_CORRID",
                    "dataType": "TYPE_INT64",
                    "int32FalseTrue": [0, 1],
                },
                "remove them",
            ),
        )
    ),
    *(
        Refused(
            f"slot utilization {share}",
            _config(sequenceBatching={"direct": {"minimumSlotUtilization": share}}),
            "spec.config.sequenceBatching.direct.minimumSlotUtilization",
        )
        for share in (-0.5, 1.5)
    ),
    *(
        Refused(
            f"dimension {size} of {tensors}",
            _config(**{tensors: [{"name": "x", "dims": [3, size]}]}),
            f"spec.config.{tensors}[0].dims",
            "or -1 for any size",
        )
        for tensors in ("input", "output")
        for size in (0, -2)
    ),
    Refused(
        "dimension of a reshape",
        _config(input=[{"name": "x", "dims": [1], "reshape": {"shape": [0]}}]),
        "spec.config.input[0].reshape.shape",
        "1 or more",
    ),
    Refused(
        "any size of an initial state",
        _config(sequenceBatching={"state": [{"initialState": [{**ZEROS, "dims": [-1]}]}]}),
        "spec.config.sequenceBatching.state[0].initialState[0].dims[0]",
    ),
    Refused(
        "any size of a warm-up tensor",
        _config(modelWarmup=[{"inputs": {"x": {"zeroData": True, "dims": [-1]}}}]),
        "dims[0]",
    ),
    Refused(
        "warm-up tensor of nothing",
        _config(modelWarmup=[{"inputs": {"x": {"dataType": "TYPE_FP32", "dims": [1]}}}]),
        "spec.config.modelWarmup[0].inputs",
        "set one",
    ),
    Refused(
        "batch input of no input",
        _config(batchInput=[{"targetName": ["n"], "dataType": "TYPE_INT32"}]),
        "spec.config.batchInput[0]",
        "name one input",
    ),
    Refused(
        "batch input of two inputs",
        _config(
            batchInput=[{"targetName": ["n"], "dataType": "TYPE_INT32", "sourceInput": ["x", "y"]}]
        ),
        "spec.config.batchInput[0]",
        "exactly one entry",
    ),
    *(
        Refused(
            f"batch input with {kind}",
            _config(batchInput=[{"targetName": ["n"], "sourceInput": ["x"], **kind}]),
            "spec.config.batchInput[0]",
            "TYPE_INT32 or TYPE_FP32",
        )
        for kind in ({"dataType": "TYPE_INT64"}, {})
    ),
    Refused(
        "batch output of nothing",
        _config(batchOutput=[{"sourceInput": ["x"]}]),
        "spec.config.batchOutput[0]",
        "targetName must have an entry",
    ),
    Refused(
        "batch output like no input",
        _config(batchOutput=[{"targetName": ["y"], "sourceInput": []}]),
        "spec.config.batchOutput[0]",
        "exactly one entry",
    ),
    *(
        Refused(
            f"metric tag {tag}",
            _config(metricTags={tag: "x"}),
            "spec.config.metricTags",
            "rename the tag",
        )
        for tag in ("a-b", "a b", "a:b", "_a", "é")
    ),
    Refused(
        "cached stream",
        _config(responseCache={"enable": True}, modelTransactionPolicy={"decoupled": True}),
        "spec.config",
        "remove responseCache",
    ),
    Refused(
        "newest versions, but how many",
        _config(versionPolicy={"latest": {}}),
        "spec.config.versionPolicy.latest",
        "numVersions must be 1 or more",
    ),
    Refused(
        "no newest versions",
        _config(versionPolicy={"latest": {"numVersions": 0}}),
        "spec.config.versionPolicy.latest.numVersions",
    ),
    *(
        Refused(
            f"versions {versions} of 1",
            _config(versionPolicy={"specific": {"versions": versions}}),
            "spec",
            "none of its versions is among spec.versions",
        )
        for versions in ([], [2], [0, -1])
    ),
    Refused(
        "ensemble without its platform",
        _config(ensembleScheduling={"step": [STEP]}),
        "spec.config",
        "set both or neither",
    ),
    Refused(
        "ensemble of another platform",
        _config(ensembleScheduling={"step": [STEP]}, platform="onnxruntime_onnx"),
        "spec.config",
        "belong together",
    ),
    Refused("ensemble of nothing", _config(platform="ensemble"), "spec.config", "set both"),
    *(
        Refused(
            f"ensemble with {field}",
            _config(platform="ensemble", ensembleScheduling={"step": [STEP]}, **{field: value}),
            "spec.config",
            "an ensemble runs nothing itself",
        )
        for field, value in {
            "backend": "python",
            "instanceGroup": [{"count": 1}],
            "modelWarmup": [{"name": "w"}],
            "optimization": {},
        }.items()
    ),
    *(
        Refused(
            f"ensemble without steps: {steps}",
            _config(platform="ensemble", ensembleScheduling=steps),
            "spec.config.ensembleScheduling",
            "step must have an entry",
        )
        for steps in ({}, {"step": []})
    ),
    *(
        Refused(
            f"step with {change}",
            _config(platform="ensemble", ensembleScheduling={"step": [STEP, {**STEP, **change}]}),
            "spec.config.ensembleScheduling.step[1]",
            words,
        )
        for change, words in (
            ({"modelVersion": 0}, "set it to -1"),
            ({"modelVersion": -2}, "modelVersion must be -1"),
            ({"modelName": ""}, "name the member"),
        )
    ),
    Refused(
        "step of no version",
        _config(platform="ensemble", ensembleScheduling={"step": [{"modelName": "m"}]}),
        "spec.config.ensembleScheduling.step[0]",
        "modelVersion must be -1",
    ),
    Refused("type of a tensor", _config(input=[{"dataType": "FP32"}]), "spec.config.input[0]"),
    Refused("text for a number", _config(maxBatchSize="many"), "spec.config.maxBatchSize"),
    Refused(
        "two schedulers",
        _config(dynamicBatching={}, sequenceBatching={}),
        "spec.config",
        "exclude each other",
    ),
    Refused(
        "two version policies",
        _config(versionPolicy={"latest": {"numVersions": 1}, "all": {}}),
        "spec.config.versionPolicy",
        "exclude each other",
    ),
    Refused(
        "two strategies",
        _config(sequenceBatching={"direct": {}, "oldest": {}}),
        "spec.config.sequenceBatching",
        "direct and oldest",
    ),
    Refused(
        "two initial states",
        _config(sequenceBatching={"state": [{"initialState": [{**ZEROS, "dataFile": "x"}]}]}),
        "spec.config.sequenceBatching.state[0].initialState[0]",
        "zeroData and dataFile",
    ),
    Refused(
        "two kinds of warm-up data",
        _config(modelWarmup=[{"inputs": {"x": {"zeroData": True, "randomData": False}}}]),
        "spec.config.modelWarmup[0].inputs",
        "exclude each other",
    ),
    Refused(
        "a word as priority",
        _config(dynamicBatching={"priorityQueuePolicy": {"high": {}}}),
        "spec.config.dynamicBatching.priorityQueuePolicy",
    ),
    Refused(
        "model file upwards",
        _config(defaultModelFilename="../../x"),
        "spec.config.defaultModelFilename",
        _OUT,
    ),
    Refused(
        "model file at the root",
        _config(defaultModelFilename="/x"),
        "spec.config.defaultModelFilename",
        _OUT,
    ),
    Refused(
        "model file by capability",
        _config(ccModelFilenames={"sm80": "a/.."}),
        "spec.config.ccModelFilenames",
        _OUT,
    ),
    Refused(
        "label file",
        _config(output=[{"labelFilename": "../labels"}]),
        "spec.config.output[0].labelFilename",
        _OUT,
    ),
    Refused(
        "operations",
        _config(modelOperations={"opLibraryFilename": ["/lib/x.so"]}),
        "spec.config.modelOperations.opLibraryFilename[0]",
        _OUT,
    ),
    Refused(
        "warm-up file",
        _config(modelWarmup=[{"inputs": {"x": {"inputDataFile": ".."}}}]),
        "inputDataFile",
        _OUT,
    ),
    Refused(
        "forged hash",
        _config(parameters={"triton_operator_hash": {"stringValue": "x"}}),
        "spec.config.parameters",
        "set by the operator",
    ),
    Refused(
        "execution environment",
        _config(parameters={"EXECUTION_ENV_PATH": {"stringValue": "/opt/env.tar.gz"}}),
        "spec.config.parameters",
        "$$TRITON_MODEL_DIRECTORY",
    ),
    Refused(
        "execution environment upwards",
        _config(
            parameters={
                "EXECUTION_ENV_PATH": {"stringValue": "$$TRITON_MODEL_DIRECTORY/../x.tar.gz"}
            }
        ),
        "spec.config.parameters",
        "$$TRITON_MODEL_DIRECTORY",
    ),
    Refused(
        "fixed and scaled", server(replicas=1, autoscaling={"maxReplicas": 2}), "spec", "replicas"
    ),
    Refused(
        "fixed and scaled own server",
        model(server={"replicas": 1, "autoscaling": {"maxReplicas": 2}}),
        "spec.server",
        "remove replicas",
    ),
    Refused(
        "scale to nothing",
        server(autoscaling={"minReplicas": 0, "maxReplicas": 2}),
        "spec.autoscaling.minReplicas",
        "nothing would start the server again",
    ),
    Refused(
        "minimum above maximum",
        server(autoscaling={"minReplicas": 3, "maxReplicas": 2}),
        "spec.autoscaling",
        "lower one or raise",
    ),
    Refused("no maximum", server(autoscaling={}), "spec.autoscaling.maxReplicas"),
    Refused(
        "every request may be late",
        server(autoscaling={"maxReplicas": 2, "tail": 5}),
        "spec.autoscaling.tail",
    ),
    Refused(
        "window longer than the longest",
        server(autoscaling={"maxReplicas": 2, "scaleDown": {"longestWindowSeconds": 60}}),
        "spec.autoscaling.scaleDown",
        "lower it or raise longestWindowSeconds",
    ),
    Refused(
        "no step downwards",
        server(autoscaling={"maxReplicas": 2, "scaleDown": {"maxPercent": 0}}),
        "spec.autoscaling.scaleDown.maxPercent",
    ),
    Refused(
        "no step upwards",
        server(autoscaling={"maxReplicas": 2, "scaleUp": {"maxPods": 0}}),
        "spec.autoscaling.scaleUp.maxPods",
    ),
    Refused("too many GPUs", server(gpus=17), "spec.gpus"),
    Refused("GPU resource", server(gpuResourceName="gpu"), "spec.gpuResourceName"),
    Refused("bad quantity", server(resources={"limits": {"cpu": "much"}}), "spec.resources.limits"),
    Refused(
        "GPU as a resource",
        server(resources={"limits": {"nvidia.com/gpu": 1}}),
        "spec",
        "gpuResourceName",
    ),
    Refused(
        "MIG as a resource",
        server(resources={"requests": {"nvidia.com/mig-1g.5gb": 1}}),
        "spec",
        "gpuResourceName",
    ),
    Refused(
        "own GPU resource",
        server(gpuResourceName="amd.com/gpu", resources={"limits": {"amd.com/gpu": 1}}),
        "spec",
        "gpuResourceName",
    ),
    Refused(
        "claim and size",
        server(repository={"claimName": "models", "size": "5Gi"}),
        "spec.repository",
        "remove claimName",
    ),
    Refused(
        "claim for one pod",
        server(repository={"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]}),
        "spec.repository.accessModes[1]",
    ),
    *(
        Refused(
            f"{name} {value}",
            server(repository={"sync": {"env": [{"name": name, "value": value}]}}),
            "spec.repository.sync.env[0]",
            "letters, digits and '-'",
        )
        for name, value in (
            ("AWS_REGION", "x@evil.example/"),
            ("AWS_REGION", ""),
            ("AZURE_STORAGE_ACCOUNT_NAME", "evil.example/"),
        )
    ),
    Refused(
        "bandwidth of nothing",
        server(repository={"sync": {"bandwidthLimit": "0"}}),
        "spec.repository.sync.bandwidthLimit",
    ),
    Refused("size of no kind", server(repository={"size": "large"}), "spec.repository.size"),
    Refused("no such way of updating", server(modelUpdates="Poll"), "spec.modelUpdates"),
    Refused("no such rollout", server(rollout="Recreate"), "spec.rollout"),
    Refused("verbosity", server(logVerbosity=10), "spec.logVerbosity"),
    Refused("other repository", _args("--model-repository=/x"), "spec.args[0]", "sets this flag"),
    Refused("abbreviated flag", _args("--model-rep=/x"), "spec.args[0]", "sets this flag"),
    Refused("open model control", _args("--http-restricted-api=x"), "spec.args[0]", "remove it"),
    Refused(
        "open model control by gRPC",
        _args("--log-info=1", "--grpc-restricted-protocol=x"),
        "spec.args[1]",
        "remove it",
    ),
    Refused("other control mode", _args("--model-control-mode=poll"), "spec.args[0]", "remove"),
    Refused("sagemaker", _args("--allow-sagemaker=true"), "spec.args[0]", "remove it"),
    Refused("vertex", _args("--allow-vertex-ai=true"), "spec.args[0]", "remove it"),
    Refused("port", _args("--http-port=80"), "spec.args[0]", "remove it"),
    Refused("cache", _args("--cache-config=local,size=1"), "spec.args[0]", "responseCache"),
    Refused("flag that waits for a value", _args("--log-file"), "spec.args[0]", "--flag=value"),
    Refused("bare word", _args("x"), "spec.args[0]", "--flag=value"),
    Refused("variable twice", server(env=[{"name": "A"}, {"name": "A"}]), "spec.env"),
    Refused("variable name", server(env=[{"name": "A B"}]), "spec.env[0].name"),
    Refused(
        "two values",
        server(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]),
        "spec.env[0]",
        "value and valueFrom",
    ),
    Refused(
        "GPUs that nobody counts",
        server(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]),
        "spec.env[0]",
        "remove it, and set the number of GPUs with gpus",
    ),
)

ACCEPTED = {
    "beginner": model(),
    "shared": model(**SHARED),
    "shared with dots": model("resnet50.v2", **SHARED),
    "name for clients": model(modelName="ResNet_50.v2-" + "x" * 50),
    "own server with defaults": model(server={}),
    "own server with two GPUs": model(
        config={"instanceGroup": [{"kind": "KIND_GPU", "gpus": [0, 1]}]}, server={"gpus": 2}
    ),
    "GPU index on a shared server": model(config={"instanceGroup": [{"gpus": [7]}]}, **SHARED),
    "no GPU": model(config={"instanceGroup": [{"kind": "KIND_CPU"}]}, server={"gpus": 0}),
    "ensemble": model(
        versions=None,
        config={
            "platform": "ensemble",
            "maxBatchSize": 8,
            "ensembleScheduling": {
                "step": [
                    {
                        "modelName": "preprocessor",
                        "modelVersion": -1,
                        "inputMap": {"RAW_IMAGE": "raw"},
                        "outputMap": {"PREPROCESSED_IMAGE": "image"},
                    }
                ]
            },
        },
        **SHARED,
    ),
    "ensemble as text": model(versions=None, configText="ensemble_scheduling { step {} }"),
    "files only": model(
        versions=[{"version": 1, "files": {"model.py": "x", "lib/a.py": "y", "..a": "z"}}],
        files={"labels.txt": "cat", "warmup/image": "", "v1/x": ""},
    ),
    "from the claim": model(
        versions=[{"version": 1, "source": {"uri": "pvc://resnet/1", "sha256": "0" * 64}}]
    ),
    "typed config": model(
        config={
            "backend": "onnxruntime",
            "maxBatchSize": 8,
            "input": [
                {
                    "name": "images",
                    "dataType": "TYPE_FP32",
                    "format": "FORMAT_NCHW",
                    "dims": [3, 224, -1],
                }
            ],
            "output": [{"name": "output", "dataType": "TYPE_FP32", "dims": [1000]}],
            "dynamicBatching": {
                "preferredBatchSize": [4, 8],
                "priorityLevels": 2,
                "defaultPriorityLevel": 2,
                "priorityQueuePolicy": {"1": {"maxQueueSize": 10}},
            },
            "versionPolicy": {"specific": {"versions": [1]}},
            "parameters": {
                "EXECUTION_ENV_PATH": {"stringValue": "$$TRITON_MODEL_DIRECTORY/env.tar.gz"}
            },
            "defaultModelFilename": "a..b/model.onnx",
            "modelMetrics": {"metricControl": [{"histogramOptions": {"buckets": [0.5, 10]}}]},
            "modelWarmup": [{"name": "w", "inputs": {"images": {"randomData": True}}}],
        }
    ),
    "largest and smallest values": model(
        config={
            "maxBatchSize": 8,
            "input": [
                {"name": "x", "dims": [-1, 1], "reshape": {"shape": [-1]}},
                {"name": "scalar", "dims": [1], "reshape": {"shape": []}},
            ],
            "output": [{"name": "y", "dims": [1]}],
            "batchInput": [
                {"targetName": ["n"], "dataType": "TYPE_FP32", "sourceInput": ["x"]},
                {"dataType": "TYPE_INT32", "sourceInput": ["x"]},
            ],
            "batchOutput": [{"targetName": ["y", "z"], "sourceInput": ["x"]}],
            "dynamicBatching": {
                "preferredBatchSize": [1, 8, 8],
                "preserveOrdering": True,
                "priorityLevels": 1,
                "defaultPriorityLevel": 1,
                "priorityQueuePolicy": {"1": {}},
            },
            "metricTags": {"a_1": "x y", "1a": "", "model": "m"},
            "modelTransactionPolicy": {"decoupled": True},
            "responseCache": {"enable": False},
            "versionPolicy": {"specific": {"versions": [2, 1]}},
            "modelWarmup": [{"inputs": {"x": {"dims": [0], "zeroData": False}}}],
        }
    ),
    "ensemble of single versions": model(
        versions=None,
        config={
            "platform": "ensemble",
            "backend": "",
            "ensembleScheduling": {"step": [STEP, {**STEP, "modelVersion": 1}]},
            "instanceGroup": [],
            "responseCache": {"enable": True},
        },
    ),
    "signals of a sequence": model(
        config={
            "sequenceBatching": {
                "controlInput": [
                    {
                        "name": "x",
                        "control": [
                            {"int32FalseTrue": [0, 1], "boolFalseTrue": []},
                            {"kind": "CONTROL_SEQUENCE_CORRID", "dataType": "TYPE_STRING"},
                        ],
                    },
                    {"name": "y"},
                ],
                "state": [{"initialState": [ZEROS]}, {"initialState": []}],
            }
        }
    ),
    "order without delay": model(
        config={
            "dynamicBatching": {
                "preserveOrdering": True,
                "defaultQueuePolicy": {"timeoutAction": "DELAY"},
                "priorityQueuePolicy": {"1": {"defaultTimeoutMicroseconds": 1}},
            }
        }
    ),
    "delay without order": model(config={"dynamicBatching": {"defaultQueuePolicy": LATER}}),
    "levels out of use": model(
        config={"dynamicBatching": {"defaultPriorityLevel": 1, "priorityQueuePolicy": {"3": {}}}}
    ),
    "largest slot utilization": model(
        config={
            "sequenceBatching": {"direct": {"minimumSlotUtilization": 1}},
            "instanceGroup": [{"kind": "KIND_AUTO", "gpus": [0]}, {"kind": "KIND_CPU", "gpus": []}],
        }
    ),
    "sequences in batches": model(
        config={
            "maxBatchSize": 8,
            "sequenceBatching": {"oldest": {"preferredBatchSize": [8]}},
            "versionPolicy": {"latest": {"numVersions": 1}},
            "responseCache": {"enable": True},
        }
    ),
    "server with defaults": server(),
    "fixed server": server(replicas=0, rollout="Availability"),
    "server that surges where it can": server(rollout="Auto"),
    "immutable server": server(modelUpdates="Rollout", rollout="Availability"),
    "scaled server": server(autoscaling={"maxReplicas": 4, "mode": "Observe"}),
    "scaled server with everything": server(
        autoscaling={
            "minReplicas": 2,
            "maxReplicas": 8,
            "targetQueueTimeMilliseconds": 250,
            "tail": 0.01,
            "scaleUp": {"stabilizationWindowSeconds": 30, "maxPods": 4, "periodSeconds": 60},
            "scaleDown": {
                "stabilizationWindowSeconds": 120,
                "longestWindowSeconds": 120,
                "maxPercent": 100,
                "periodSeconds": 60,
            },
            "priority": 10,
        }
    ),
    "claim of one's own": server(repository={"claimName": "models"}),
    "claim to be made": server(
        repository={
            "size": "100Gi",
            "storageClassName": "nfs",
            "accessModes": ["ReadWriteMany"],
        }
    ),
    "claim that one node at a time can mount": server(
        repository={"accessModes": ["ReadWriteOnce"], "size": 1073741824}
    ),
    "server with everything": server(
        image="registry.example/tritonserver:26.07-py3",
        imagePullPolicy="IfNotPresent",
        gpus=2,
        gpuResourceName="nvidia.com/mig-1g.5gb",
        resources={"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"memory": "32Gi"}},
        replicas=3,
        responseCache={"size": "256Mi"},
        sharedMemorySize="4Gi",
        logVerbosity=1,
        args=["--log-format=ISO8601", "--metrics-config=summary_latencies=true"],
        env=[
            {"name": "A", "value": ""},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        service={"type": "LoadBalancer", "annotations": {"a/b": "c"}, "headless": True},
        podTemplate={
            "metadata": {"labels": {"team": "vision"}},
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [{"maxSkew": 1}],
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "imagePullSecrets": [{"name": "s"}],
            "serviceAccountName": "triton",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "securityContext": {"runAsUser": 1000},
        },
        drainSeconds=30,
        startupTimeoutSeconds=600,
    ),
}
