"""Arguments of ``tritonserver`` that a user may not pass: the operator sets them itself.

They choose the repository, guard the model-control API, or keep a pod's ports, probes and
draining in step with its manifest. Triton reads arguments with ``getopt_long``, which takes any
unambiguous beginning of a flag for the flag: beginnings are refused, too.
"""

from typing import Final

RESERVED_FLAGS: Final = (
    "allow-grpc",
    "allow-http",
    "allow-metrics",
    "allow-sagemaker",
    "allow-vertex-ai",
    "cache-config",
    "exit-on-error",
    "exit-timeout-secs",
    "grpc-address",
    "grpc-max-connection-age",
    "grpc-max-connection-age-grace",
    "grpc-port",
    "grpc-restricted-protocol",
    "grpc-use-ssl",
    "grpc-use-ssl-mutual",
    "http-address",
    "http-port",
    "http-restricted-api",
    "load-model",
    "log-verbose",
    "metrics-address",
    "metrics-port",
    "model-config-name",
    "model-control-mode",
    "model-namespacing",
    "model-repository",
    "model-store",
    "repository-poll-secs",
    "response-cache-byte-size",
    "sagemaker-port",
    "sagemaker-safe-port-range",
    "strict-readiness",
    "vertex-ai-default-model",
    "vertex-ai-port",
)

ARGUMENT_PATTERN: Final = r"^--[a-z][a-z0-9-]*=.*$"
"""``--flag=value`` in one piece: a flag that waits for its value would swallow the next one."""


def is_reserved(argument: str) -> bool:
    """Return whether ``argument`` sets a reserved flag, or might."""
    flag = argument.removeprefix("--").split("=")[0]
    return any(reserved.startswith(flag) for reserved in RESERVED_FLAGS)
