"""Which of its versions a model serves."""

from triton_operator.api.model import TritonModelSpec
from triton_operator.plan.ensembles import is_ensemble
from triton_operator.repository.model_config_schema import ModelConfig


def served_versions(spec: TritonModelSpec, config: ModelConfig) -> tuple[int, ...]:
    """Return the versions that the version policy makes Triton serve, ascending."""
    present = sorted(version.version for version in spec.versions)
    if is_ensemble(config) and not present:
        return (1,)
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return tuple(present)
        case "specific":
            return tuple(each for each in present if each in policy.specific.versions)
        case "latest":
            return tuple(present[-policy.latest.num_versions :])
        case _:
            return tuple(present[-1:])
