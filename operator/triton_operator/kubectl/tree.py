"""The tree that ``kubectl triton status`` prints."""

from datetime import datetime

from rich.text import Text
from rich.tree import Tree

from triton_operator.kubectl.view import ModelView, PodView, ServerView, Trouble

_HASH_LENGTH = 10
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))
_GOOD, _BAD, _BUSY, _QUIET = "green", "bold red", "yellow", "dim"


def build_tree(server: ServerView, *, now: datetime) -> Tree:
    """Return a server with its models and pods."""
    tree = Tree(_server_line(server), guide_style=_QUIET, highlight=False)
    _add_troubles(tree, server.troubles)
    models = tree.add(Text("models", style="bold"))
    for model in server.models:
        branch = models.add(_model_line(model))
        _add_troubles(branch, model.troubles)
        _add_last_failure(branch, model, now)
    if not server.models:
        models.add(Text("none names this server", style=_QUIET))
    pods = tree.add(Text("pods", style="bold"))
    for pod in server.pods:
        branch = pods.add(_pod_line(pod, now))
        for name, config_hash in sorted((pod.serves or {}).items()):
            branch.add(_join((name, ""), (_short(config_hash) or "no config of ours", _QUIET)))
    if not server.pods:
        pods.add(Text("none", style=_QUIET))
    return tree


def tell_age(since: datetime | None, now: datetime) -> str:
    """Return the time since then in its largest unit, as kubectl does: ``41s``, ``3h``."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _server_line(server: ServerView) -> Text:
    name = Text(f"{server.namespace}/{server.name}", style="bold")
    if not server.exists:
        return name.append("  there is no TritonServer of this name", style=_BAD)
    ready, _, wanted = server.ready.partition("/")
    whole = bool(ready) and ready == wanted
    gpus = {None: "", 0: "CPU", 1: "1 GPU"}.get(server.gpus, f"{server.gpus} GPUs")
    queue, busy = server.queue_time_milliseconds, server.utilization
    return name.append("  ").append_text(
        _join(
            (
                f"{server.ready} ready" if server.ready else "no status yet",
                _GOOD if whole else _BAD,
            ),
            (f"{gpus} per pod" if server.gpus else gpus, ""),
            (f"wants {server.desired}" if server.desired is not None else "", ""),
            (f"queue {queue:g} ms" if queue is not None else "", ""),
            (f"{busy:.0%} busy" if busy is not None else "", ""),
            ("the spec is newer than the status" if server.outdated else "", _BUSY),
        )
    )


def _model_line(model: ModelView) -> Text:
    alias = f"as {model.model_name}" if model.model_name != model.name else ""
    versions = ", ".join(map(str, model.versions))
    return _join(
        (model.name, "bold"),
        (alias, ""),
        ("Ready", _GOOD) if model.ready else ("not ready", _BAD),
        (model.reason, ""),
        (f"version{'s' if len(model.versions) > 1 else ''} {versions}" if versions else "", ""),
        (_short(model.config_hash), _QUIET),
        (f"on {model.loaded} pods" if model.loaded else "", ""),
        (f"copied {model.sync}" if model.sync else "", _BUSY),
        ("the spec is newer than the status" if model.outdated else "", _BUSY),
    )


def _pod_line(pod: PodView, now: datetime) -> Text:
    plural = "" if pod.restarts == 1 else "s"
    return _join(
        (pod.name, "bold"),
        (pod.state, _GOOD if pod.ready else _BUSY),
        (f"on {pod.node}" if pod.node else "", ""),
        (f"{pod.restarts} restart{plural}" if pod.restarts else "", _BUSY),
        (tell_age(pod.created_at, now), ""),
        (f"revision {_short(pod.repository)}" if pod.repository else "", _QUIET),
    )


def _add_troubles(branch: Tree, troubles: tuple[Trouble, ...]) -> None:
    for each in troubles:
        line = Text(each.type, style=_BUSY).append(f" {each.reason}", style="default")
        if each.message:
            line.append(f": {each.message}", style="default")
        branch.add(line)


def _add_last_failure(branch: Tree, model: ModelView, now: datetime) -> None:
    failure = model.last_failure
    if failure is None:
        return
    line = f"last failure {tell_age(failure.time, now)} ago {failure.reason}"
    told = any(failure.message in each.message for each in model.troubles)
    if failure.message and not told:
        line += f": {failure.message}"
    branch.add(Text(line, style=_QUIET))


def _join(*parts: tuple[str, str]) -> Text:
    """Return the parts that are not empty, each in its style, two spaces between them."""
    return Text("  ").join(Text(text, style=style) for text, style in parts if text)


def _short(config_hash: str) -> str:
    return config_hash[:_HASH_LENGTH]
