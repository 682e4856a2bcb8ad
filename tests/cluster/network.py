"""The machine's side of the cluster network, and putting it back as it was.

Pods hang on a bridge of their own (made by the CNI plugin), Services are iptables rules (made by
kube-proxy).

Stray traffic stays here. An address of the pod or Service range that nobody holds would leave the
machine through its default route, to whoever holds it there. So a second bridge, without ports
(the *sink*), takes the routes of both ranges: packets sent there vanish and the sender times out.
Routes of living pods are more specific and win; Service addresses are rewritten by kube-proxy
before they are routed. Nothing is forwarded from pods to the outside.

The sink also carries the node's address, so that it is the same on every machine.
"""

import contextlib
import json
from pathlib import Path

from tests.cluster import settings
from tests.cluster.shell import run, succeeds, which

_SWITCHES = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}
_CNI_NOTES = Path("/var/lib/cni/results")
_OTHERS_WRITE = ("net/ipv4/conf/all/route_localnet",)
_OURS = ("KUBE-", "CNI-", settings.NAME)
"""Words by which an iptables line is known as the cluster's: kube-proxy's and kubelet's, the
plugins', our own."""


def build_network(state: Path) -> None:
    """Make the sink with its routes and the rule that keeps pods' traffic here; note the
    switches' former values."""
    if which("modprobe"):
        for module in ("br_netfilter", "overlay"):
            succeeds(["modprobe", module])
    former = {name: _switch(name).read_text() for name in (*_SWITCHES, *_OTHERS_WRITE)}
    (state / "switches.json").write_text(json.dumps(former))
    for name, value in _SWITCHES.items():
        _switch(name).write_text(value)
    ip = which("ip") or "ip"
    sink = settings.SINK
    run([ip, "link", "add", sink, "type", "bridge"])
    run([ip, "address", "add", f"{settings.NODE_IP}/32", "dev", sink])
    run([ip, "link", "set", sink, "up"])
    run([ip, "route", "replace", settings.SERVICE_RANGE, "dev", sink])
    run([ip, "route", "replace", settings.POD_RANGE, "dev", sink, "metric", "5000"])
    bridge = settings.POD_BRIDGE
    # "Not to the pod bridge" and not "to the outer interface": right whatever the machine's
    # interfaces are called.
    rule = ["FORWARD", "-i", bridge, "!", "-o", bridge, "-j", "DROP"]
    run([_iptables(), "-w", "-I", *rule, "-m", "comment", "--comment", settings.NAME])


def remove_network(state: Path) -> None:
    """Undo build_network and what the CNI plugins, kubelet and kube-proxy added; nothing to do is
    fine."""
    ip = which("ip") or "ip"
    for link in (settings.SINK, settings.POD_BRIDGE):
        if Path(f"/sys/class/net/{link}").exists():
            run([ip, "link", "delete", link])
    for family in ("iptables", "ip6tables"):
        _remove_rules(family)
    # One note for each interface of each pod, also for the loopback; the pod's network lies below
    # our state folder.
    for note in _CNI_NOTES.glob("*"):
        if f'"{state}/' in note.read_text():
            note.unlink()
    with contextlib.suppress(OSError):
        _CNI_NOTES.rmdir()
        _CNI_NOTES.parent.rmdir()
    with contextlib.suppress(OSError, ValueError):
        for name, value in json.loads((state / "switches.json").read_text()).items():
            _switch(name).write_text(value)


def without_our_rules(saved: str) -> str:
    """The text of `iptables-save` less every chain and rule that belongs to the cluster."""
    kept = [line for line in saved.splitlines() if not any(word in line for word in _OURS)]
    return "\n".join(kept) + "\n"


def _remove_rules(family: str) -> None:
    save, restore = which(f"{family}-save"), which(f"{family}-restore")
    if not save or not restore:
        return
    saved = run([save], check=False)
    kept = without_our_rules(saved)
    if kept.strip() != saved.strip():
        run([restore, "-w"], stdin=kept)


def _iptables() -> Path:
    return which("iptables") or Path("iptables")


def _switch(name: str) -> Path:
    return Path("/proc/sys") / name
