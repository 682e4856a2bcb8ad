"""``make demo``: the operator at work on a cluster, told step by step.

    python -m tests.demo up      install the operator, serve models, ask them, change one
    python -m tests.demo down    take it all away again

Uses the cluster that KUBECONFIG names. On the test cluster the images are there already; elsewhere
name yours: DEMO_OPERATOR_IMAGE=… DEMO_TRITON_IMAGE=… (see model_repository/README.md for what the
server's image has to contain).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tritonclient.grpc
import tritonclient.http

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "model_repository"
SYSTEM = "triton-system"
NAMESPACE = "triton-demo"
OPERATOR_IMAGE = os.environ.get("DEMO_OPERATOR_IMAGE", "localhost/triton-operator:dev")
TRITON_IMAGE = os.environ.get("DEMO_TRITON_IMAGE", "localhost/tritonserver:test")
READY_SECONDS = 300

CHANGE = {"spec": {"config": {"dynamicBatching": {"maxQueueDelayMicroseconds": 500}}}}


def main(arguments: list[str]) -> int:
    match arguments:
        case ["up"]:
            up()
        case ["down"]:
            down()
        case _:
            print(__doc__)
            return 2
    return 0


def up() -> None:
    say("Installing the operator with its chart")
    install()
    say(f"Putting the samples' weights on a claim in namespace {NAMESPACE}")
    kubectl("create", "namespace", NAMESPACE, check=False)
    run(sys.executable, SAMPLES / "seed.py", "--namespace", NAMESPACE, "--image", TRITON_IMAGE)

    say("Applying an image classifier (three models on one server) and resnet50 (its own server)")
    started = time.monotonic()
    for sample in ("image-classifier", "resnet50"):
        show("apply", "-f", SAMPLES / sample / "cpu")
    show("wait", "tm", "--all", "--for=condition=Ready", f"--timeout={READY_SECONDS}s")
    print(f"   all models serve after {time.monotonic() - started:.1f} s")

    say("Sending a real JPEG through the ensemble")
    with forwarded("image-classifier") as ports:
        before = ask(ports)

    say("Changing the classifier's batching while it serves; no pod is replaced")
    pods = pod_names("image-classifier")
    patch = json.dumps(CHANGE)
    show("patch", "tm", "classifier", "--type=merge", "-p", patch)
    generation = kubectl("get", "tm", "classifier", "-o", "jsonpath={.metadata.generation}")
    started = time.monotonic()
    seen = f"--for=jsonpath={{.status.observedGeneration}}={generation}"
    show("wait", "tm/classifier", seen, f"--timeout={READY_SECONDS}s")
    show("wait", "tm/classifier", "--for=condition=Ready", f"--timeout={READY_SECONDS}s")
    print(
        f"   served after {time.monotonic() - started:.1f} s, by the same pods: {', '.join(pods)}"
    )
    assert pod_names("image-classifier") == pods, "the pods were replaced"
    with forwarded("image-classifier") as ports:
        delay = effective_delay(ports)
        after = ask(ports)
    print(f"   Triton's own config now says max_queue_delay_microseconds: {delay}")
    assert np.allclose(before, after), "the same image got another answer"

    say("What kubectl shows")
    show("get", "tm,ts")
    print(NEXT)


def install() -> None:
    repository, _, tag = OPERATOR_IMAGE.rpartition(":")
    deployment = ("deployment/triton-operator", f"--namespace={SYSTEM}")
    before = kubectl("get", *deployment, "-o", "jsonpath={.metadata.generation}", check=False)
    run(
        "helm",
        "upgrade",
        "--install",
        "triton-operator",
        ROOT / "charts" / "triton-operator",
        f"--namespace={SYSTEM}",
        "--create-namespace",
        f"--set=image.repository={repository}",
        f"--set=image.tag={tag}",
        f"--set=serverImage={TRITON_IMAGE}",
        "--wait",
        "--timeout=3m",
    )
    if before:
        # The image of the same name may be another by now.
        kubectl("rollout", "restart", *deployment)
        kubectl("rollout", "status", *deployment, "--timeout=3m")


def down() -> None:
    """Take the models away first: they are the operator's to remove."""
    say(f"Deleting namespace {NAMESPACE}: its servers finish what they were asked, up to a minute")
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", check=False)
    say("Uninstalling the operator and its CRDs")
    run("helm", "uninstall", "triton-operator", f"--namespace={SYSTEM}", "--wait", check=False)
    kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", check=False)
    kubectl("delete", "-f", ROOT / "crds", "--ignore-not-found", check=False)


def ask(ports: tuple[int, int]) -> np.ndarray:
    """Ask the ensemble over HTTP and over gRPC; print and return the scores."""
    jpeg = np.fromfile(SAMPLES / "images" / "landscape.jpg", dtype=np.uint8)[np.newaxis]
    scores = {}
    for name, library, port in zip(
        ("HTTP", "gRPC"), (tritonclient.http, tritonclient.grpc), ports, strict=True
    ):
        image = library.InferInput("RAW_IMAGE", list(jpeg.shape), "UINT8")
        image.set_data_from_numpy(jpeg)
        with library.InferenceServerClient(f"127.0.0.1:{port}") as client:
            answer = client.infer("ensemble_model", [image])
        scores[name] = answer.as_numpy("output__0")
        print(f"   {name}: {np.array2string(scores[name][0], precision=4)}")
    assert np.allclose(scores["HTTP"], scores["gRPC"]), "HTTP and gRPC disagree"
    return scores["HTTP"]


def effective_delay(ports: tuple[int, int]) -> int:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{ports[0]}") as client:
        config = client.get_model_config("classifier")
    return int(config["dynamic_batching"]["max_queue_delay_microseconds"])


def pod_names(server: str) -> list[str]:
    selector = f"triton-operator.io/server={server},app.kubernetes.io/component=server"
    return sorted(kubectl("get", "pods", "-l", selector, "-o", "name").split())


@contextmanager
def forwarded(server: str) -> Iterator[tuple[int, int]]:
    """Reach a server's Service from here; yields the local ports of HTTP and gRPC."""
    command = ["kubectl", "-n", NAMESPACE, "port-forward", f"service/{server}", ":8000", ":8001"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found: dict[str, int] = {}
        while len(found) < 2:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"kubectl port-forward ended with {process.wait()}")
            if line.startswith("Forwarding from 127.0.0.1:"):
                local, remote = line.split("127.0.0.1:")[1].split(" -> ")
                found[remote.strip()] = int(local)
        yield found["8000"], found["8001"]
    finally:
        process.terminate()
        process.wait()


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def show(*arguments: str | Path) -> None:
    """Run kubectl in front of everybody."""
    shown = [str(a).replace(f"{ROOT}/", "") for a in arguments]
    print(f"   $ kubectl {' '.join(shown)}", flush=True)
    for line in kubectl(*arguments).splitlines():
        print(f"   {line}")


def kubectl(*arguments: str | Path, check: bool = True) -> str:
    return run("kubectl", f"--namespace={NAMESPACE}", *arguments, check=check)


def run(*command: str | Path, check: bool = True) -> str:
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


TWO = """'{"spec": {"replicas": 2}}'"""
NEXT = f"""
== It keeps running. What to try next
   {'eval "$(python3 -m tests.cluster env)"':<60} # kubectl for this cluster
   {f"kubectl config set-context --current --namespace {NAMESPACE}":<60} # look there by default
   {"kubectl get tm --watch":<60} # in a second terminal
   {"kubectl edit tm preprocessor":<60} # break model.py: what does READY say? does it still serve?
   {"kubectl describe tm preprocessor":<60} # Triton's own error, and what keeps serving
   {"kubectl patch ts image-classifier --type=merge -p " + TWO:<60} # a second pod
   {"kubectl delete tm resnet50":<60} # its server, claim and files go with it
   {"make demo-down":<60} # leaves nothing running
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
