"""The node: containerd with its CNI network, kubelet, kube-proxy."""

import json
from pathlib import Path

from tests.cluster import settings

_POD_RANGE_OF_NODE = settings.POD_RANGE.replace(".0.0/16", ".0.0/23")
"""510 addresses on one bridge: enough for `maxPods`, even while old pods still leave."""

# restrict_oom_score_adj: lowering that score takes CAP_SYS_RESOURCE, which root in a container or
# a small virtual machine may lack; without this line every sandbox then fails with "can't get
# final child's PID from pipe".
_CONTAINERD = """\
version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{state}/containerd/runc"
"""


def write_files(folders: settings.Folders) -> None:
    """Write the configurations of containerd, its network and kubelet."""
    state = folders.state
    for folder in ("cni/conf", "containerd", "kubelet", "log/pods"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "containerd.toml").write_text(
        _CONTAINERD.format(
            state=state, socket=folders.containerd_socket, pause=settings.PAUSE_IMAGE
        )
    )
    conflist = json.dumps(cni_network(state), indent=2)
    (state / "cni" / "conf" / f"10-{settings.NAME}.conflist").write_text(conflist)
    (state / "kubelet.json").write_text(json.dumps(kubelet_configuration(folders), indent=2))


def cni_network(state: Path) -> dict[str, object]:
    """A bridge, addresses handed out from files under the state folder, and host ports."""
    return {
        "cniVersion": "0.4.0",
        "name": settings.NAME,
        "plugins": [
            {
                "type": "bridge",
                "bridge": settings.POD_BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state / "cni" / "addresses"),
                    "ranges": [[{"subnet": _POD_RANGE_OF_NODE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_configuration(folders: settings.Folders) -> dict[str, object]:
    """Room for many small pods, no throttle on the way to the API server, and no eviction over a
    full test machine."""
    state = folders.state
    pki = state / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.NODE_IP,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "cgroupDriver": "cgroupfs",
        # A group of our own: what runs in it is known to be ours, whoever else runs pods here.
        "cgroupRoot": f"/{settings.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{folders.containerd_socket}",
        "clusterDomain": settings.DOMAIN,
        "clusterDNS": [settings.DNS_IP],
        "podLogsDir": str(state / "log" / "pods"),
        "volumePluginDir": str(state / "kubelet" / "volume-plugins"),
        "maxPods": 250,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }


def containerd(folders: settings.Folders, program: Path) -> list[str | Path]:
    """The container runtime, apart from one that the machine may have already."""
    return [program, "--config", folders.state / "containerd.toml"]


def kubelet(folders: settings.Folders) -> list[str | Path]:
    """Everything it writes lies under the state folder."""
    return [
        folders.bin / "kubelet",
        f"--config={folders.state / 'kubelet.json'}",
        f"--kubeconfig={folders.state / 'kubelet.kubeconfig'}",
        f"--root-dir={folders.state / 'kubelet'}",
        f"--hostname-override={settings.NAME}",
        f"--node-ip={settings.NODE_IP}",
    ]


def kube_proxy(folders: settings.Folders) -> list[str | Path]:
    """iptables mode; it leaves the machine's connection tracking limits alone."""
    return [
        folders.bin / "kube-proxy",
        f"--kubeconfig={folders.state / 'proxy.kubeconfig'}",
        f"--hostname-override={settings.NAME}",
        f"--cluster-cidr={settings.POD_RANGE}",
        "--proxy-mode=iptables",
        f"--nodeport-addresses={settings.NODE_IP}/32",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
    ]
