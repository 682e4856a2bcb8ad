"""Ensembles, checked before a pod has to refuse them.

The rules are those by which Triton validates an ensemble when it loads it: every step names a model
of the same repository, every tensor has one producer, and what is connected agrees in type and
shape. Members that declare no tensors (Triton completes them from the file) are not judged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from triton_operator.repository.model_config_schema import DataType, ModelConfig, ModelEnsembling

Versions = Mapping[str, Sequence[int]]
"""The versions that models serve, by name; what is not in it is not known, and not judged."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor at one end of a connection."""

    where: str
    data_type: int
    dims: tuple[int, ...]
    batched: bool

    @property
    def full_dims(self) -> tuple[int, ...]:
        """The dims with the batch dimension that batching models leave out."""
        return (-1, *self.dims) if self.batched else self.dims

    def __str__(self) -> str:
        kind = DataType.Name(self.data_type)
        batch = " per request of a batch" if self.batched else ""
        return f"{self.where} is {kind}{list(self.dims)}{batch}"


def is_ensemble(config: ModelConfig) -> bool:
    """Return whether a config is an ensemble's."""
    return bool(config.WhichOneof("scheduling_choice") == "ensemble_scheduling")


def members(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of the models that an ensemble calls; empty for other models."""
    if not is_ensemble(config):
        return ()
    return tuple(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def all_members(name: str, configs: Mapping[str, ModelConfig]) -> frozenset[str]:
    """Return what an ensemble calls, also through other ensembles; empty for other models."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        config = configs.get(waiting.pop())
        new = set(members(config)) - found if config is not None else set()
        found |= new
        waiting += new
    return frozenset(found)


def check_ensemble(name: str, configs: Mapping[str, ModelConfig], versions: Versions) -> str | None:
    """Return why an ensemble cannot work among the models of its server, or None if it can."""
    return next(find_problems(name, configs, versions), None)


def find_problems(
    name: str, configs: Mapping[str, ModelConfig], versions: Versions
) -> Iterator[str]:
    """Yield everything that keeps an ensemble from working among the models of its server."""
    config = configs[name]
    if cycle := _find_cycle(name, configs):
        yield f"the ensemble calls itself: {' → '.join(cycle)}; take one step out of the circle"
        return
    for index, step in enumerate(config.ensemble_scheduling.step):
        if step.model_name not in configs:
            yield (
                f"step {index + 1} calls model {step.model_name!r}, which no accepted TritonModel"
                f" of this server serves; it serves {_list(set(configs) - {name})}"
            )
        served, asked = versions.get(step.model_name, ()), step.model_version
        if served and asked > 0 and asked not in served:
            yield (
                f"step {index + 1} asks for modelVersion {asked} of {step.model_name!r}, which"
                f" serves {', '.join(map(str, served))}; set it to what is served or to -1, the"
                " latest, or have the member serve it (its versions and config.versionPolicy)"
            )
    if configs.keys() >= set(members(config)):
        yield from _check_batching(config, configs)
        yield from _check_tensors(config, configs)


def load_order(configs: Mapping[str, ModelConfig]) -> tuple[tuple[str, ...], ...]:
    """Return the models in levels: everything that a model calls is on an earlier level."""
    levels: list[tuple[str, ...]] = []
    done: set[str] = set()
    rest = dict(configs)
    while rest:
        level = tuple(
            sorted(
                name
                for name, config in rest.items()
                if all(m in done or m not in configs for m in members(config))
            )
        )
        # A circle was refused before it comes here; never loop for ever on one all the same.
        level = level or tuple(sorted(rest))
        levels.append(level)
        done.update(level)
        rest = {name: config for name, config in rest.items() if name not in done}
    return tuple(levels)


def _find_cycle(start: str, configs: Mapping[str, ModelConfig]) -> tuple[str, ...] | None:
    seen: set[str] = set()
    paths: list[tuple[str, ...]] = [(start,)]
    while paths:
        path = paths.pop()
        for member in members(configs[path[-1]]) if path[-1] in configs else ():
            if member == start:
                return (*path, member)
            if member not in seen:
                seen.add(member)
                paths.append((*path, member))
    return None


def _check_batching(config: ModelConfig, configs: Mapping[str, ModelConfig]) -> Iterator[str]:
    for step in config.ensemble_scheduling.step:
        limit = configs[step.model_name].max_batch_size
        if is_ensemble(configs[step.model_name]) or not _declares(configs[step.model_name]):
            continue
        if 0 < limit < config.max_batch_size:
            yield (
                f"maxBatchSize {config.max_batch_size} is more than the {limit} of its member"
                f" {step.model_name!r}; lower it to {limit}"
            )


def _check_tensors(config: ModelConfig, configs: Mapping[str, ModelConfig]) -> Iterator[str]:
    batched = config.max_batch_size > 0
    made = {
        tensor.name: Tensor(
            f"the ensemble's input {tensor.name!r}", tensor.data_type, tuple(tensor.dims), batched
        )
        for tensor in config.input
    }
    steps = list(config.ensemble_scheduling.step)
    for step in steps:
        yield from _add_outputs(step, configs[step.model_name], made)
    for index, step in enumerate(steps):
        yield from _check_inputs(index, step, config, configs[step.model_name], made)
    yield from _check_outputs(config, made, batched)
    yield from _check_flow(config, steps)


def _add_outputs(
    step: ModelEnsembling.Step, member: ModelConfig, made: dict[str, Tensor]
) -> Iterator[str]:
    declared = {tensor.name: tensor for tensor in member.output}
    for name, tensor in step.output_map.items():
        if declared and name not in declared:
            yield (
                f"outputMap of the step {step.model_name!r} names output {name!r};"
                f" the model has {_list(declared)}"
            )
        if tensor in made:
            yield f"tensor {tensor!r} is made twice: by {made[tensor].where} and by the step" + (
                f" {step.model_name!r}; give one of them another name"
            )
            continue
        where = f"output {name!r} of {step.model_name!r}"
        known = declared.get(name)
        made[tensor] = Tensor(
            where,
            known.data_type if known else 0,
            tuple(known.dims) if known else (),
            member.max_batch_size > 0,
        )


def _check_inputs(
    index: int,
    step: ModelEnsembling.Step,
    config: ModelConfig,
    member: ModelConfig,
    made: Mapping[str, Tensor],
) -> Iterator[str]:
    declared = {tensor.name: tensor for tensor in member.input}
    for each in member.input:
        if not each.optional and each.name not in step.input_map:
            yield (
                f"inputMap of the step {step.model_name!r} leaves out input {each.name!r};"
                " map a tensor to it"
            )
    for name, tensor in step.input_map.items():
        if declared and name not in declared:
            yield (
                f"inputMap of the step {step.model_name!r} names input {name!r};"
                f" the model has {_list(declared)}"
            )
        if tensor not in made:
            yield (
                f"step {index + 1} ({step.model_name!r}) needs tensor {tensor!r}, which is neither"
                f" an input of the ensemble nor an output of a step; there are {_list(made)}"
            )
        if name not in declared or tensor not in made:
            continue
        wanted = Tensor(
            f"input {name!r} of {step.model_name!r}",
            declared[name].data_type,
            tuple(declared[name].dims),
            member.max_batch_size > 0,
        )
        if problem := _compare(tensor, made[tensor], wanted, config):
            yield problem


def _check_outputs(config: ModelConfig, made: Mapping[str, Tensor], batched: bool) -> Iterator[str]:
    for output in config.output:
        if output.name not in made:
            yield f"no step makes the ensemble's output {output.name!r}; map one in an outputMap"
            continue
        wanted = Tensor(
            f"the ensemble's output {output.name!r}", output.data_type, tuple(output.dims), batched
        )
        if problem := _compare(output.name, made[output.name], wanted, config):
            yield problem


def _check_flow(config: ModelConfig, steps: Sequence[ModelEnsembling.Step]) -> Iterator[str]:
    given = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    made = {tensor for step in steps for tensor in step.output_map.values()}
    taken = {tensor for step in steps for tensor in step.input_map.values()}
    # Tensors that nobody makes are another mistake, told already: mostly one in another's name.
    unmade = (taken | outputs) - made - given
    known, waiting = given | unmade, list(steps)
    while waiting:
        able = [step for step in waiting if known.issuperset(step.input_map.values())]
        if not able:
            names = _list(step.model_name for step in waiting)
            yield f"the steps {names} wait for each other's outputs; take the circle out"
            break
        known.update(tensor for step in able for tensor in step.output_map.values())
        waiting = [step for step in waiting if step not in able]
    for name in sorted((given | (made - outputs)) - taken) if not unmade else ():
        what = "the ensemble's input" if name in given else "tensor"
        yield f"no step takes {what} {name!r}; map it in an inputMap or take it out"


def _compare(tensor: str, made: Tensor, wanted: Tensor, config: ModelConfig) -> str | None:
    if not made.data_type or not wanted.data_type:  # is not known
        return None
    if made.data_type != wanted.data_type:
        return f"types differ at tensor {tensor!r}: {made}, but {wanted}"
    differ = f"shapes differ at tensor {tensor!r}: {made}, but {wanted}"
    if made.batched == wanted.batched:
        return None if _match(made.dims, wanted.dims) else differ
    if _match(made.full_dims, wanted.full_dims):
        return None
    if config.max_batch_size:
        return differ
    return f"{differ}; members of this ensemble batch, so it needs a maxBatchSize of its own"


def _match(left: Sequence[int], right: Sequence[int]) -> bool:
    return len(left) == len(right) and all(
        a == b or -1 in (a, b) for a, b in zip(left, right, strict=True)
    )


def _declares(config: ModelConfig) -> bool:
    return bool(config.input or config.output)


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(set(names)))) or "none"
