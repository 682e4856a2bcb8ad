"""Everything that a sync may be asked to do to a claim, each from a state that an earlier one left.

The models are such that Triton can load them.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.unit.repository.claim import Claim, Content, MemorySources, digest, model, version
from tests.unit.repository.claim import serving as _serving
from triton_operator.repository import materialize
from triton_operator.repository.manifest import Generation, Link, Manifest

URI = "https://models.example/resnet/model.py"
FOLDER = "pvc://models/bert/"
CODE = """\
class TritonPythonModel:
    def execute(self, requests):
        return []
"""
ARTIFACTS: Mapping[str, Content] = {
    URI: CODE.encode(),
    FOLDER: {"model.py": CODE.encode() + b"# 1\n", "vocab/en.txt": b"a\nb\n"},
}
_TENSORS = """\
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


def _config(name: str, priority: int) -> str:
    queue = f"default_queue_policy {{ max_queue_size: {priority} }}"
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: 8\n{_TENSORS}'
        f"instance_group [ {{ kind: KIND_CPU }} ]\ndynamic_batching {{ {queue} }}\n"
    )


RESNET = model("resnet", _config("resnet", 1), version(1, URI, digest(CODE.encode())))
RESNET_2 = model(
    "resnet", _config("resnet", 2), version(1, URI), version(2, model_py=CODE + "# two\n")
)
SCRIPT = model("script", _config("script", 1), version(1, model_py=CODE))
BERT = model("bert", _config("bert", 1), version(1, FOLDER), labels_txt="a\n")

BEFORE = _serving(RESNET, SCRIPT)
AFTER = _serving(RESNET_2, BERT)
UPDATED = replace(AFTER, keep=((RESNET.object, RESNET.hash),))
ROLLED_BACK = Manifest(
    "vision",
    (BERT,),
    (Link("bert", "bert", BERT.hash), Link("resnet", "resnet", RESNET.hash)),
    keep=((RESNET_2.object, RESNET_2.hash),),
)
WHOLE: Mapping[tuple[str, str], Generation] = {
    (each.object, each.hash): each for each in (RESNET, RESNET_2, SCRIPT, BERT)
}


@dataclass(frozen=True)
class Scenario:
    """One sync, and what is on the claim before it."""

    then: Manifest
    first: tuple[Manifest, ...] = ()
    harm: Callable[[Path], object] | None = None
    """What somebody does to the files before a repair."""

    def prepare(self, root: Path) -> Claim:
        """Make the state before the sync."""
        claim = Claim(root, MemorySources(ARTIFACTS))
        for manifest in self.first:
            assert not claim.sync(manifest).failed
        if self.harm is not None:
            self.harm(root)
        return claim

    def run(self, claim: Claim) -> None:
        """Make the sync, to its end."""
        outcome = claim.sync(self.then, repair=self.harm is not None)
        assert outcome.complete
        assert not outcome.failed


HASTE = -1.0
"""Seconds that the pods of a new server wait for models, where each is linked when it comes."""


def run_hastily(scenario: Scenario, claim: Claim) -> None:
    """Make the sync, to its end, in a process of its own; each model is linked when it comes."""
    materialize._FIRST_LINKS_SECONDS = HASTE
    scenario.run(claim)


def _harm(root: Path) -> None:
    """Change, add and remove files, but none without which Triton could load the models."""
    served = root / "servers/vision"
    config = served / "resnet/config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 4"))
    (served / "resnet/1/model.py").write_text(f"{CODE}# edited by hand, on the blob too\n")
    (served / "resnet/1/core").write_text("left behind")
    (served / "bert/1/model.py").write_text(CODE)
    shutil.rmtree((served / "bert/1/vocab").resolve())


SCENARIOS: Mapping[str, Scenario] = {
    "first sync": Scenario(BEFORE),
    "update": Scenario(UPDATED, (BEFORE,)),
    "rollback": Scenario(ROLLED_BACK, (BEFORE, UPDATED)),
    "prune": Scenario(_serving(RESNET_2), (BEFORE, UPDATED)),
    "removal": Scenario(replace(AFTER, remove=True), (AFTER,)),
    "removal by name": Scenario(Manifest("vision", remove=True), (AFTER,)),
    "repair": Scenario(AFTER, (AFTER,), _harm),
}
