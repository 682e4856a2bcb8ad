"""A real Kubernetes for the tests: `python3 -m tests.cluster up`.

A development machine here has no container engine, so the cluster is made of its own programs,
run as ordinary processes by root: etcd, kube-apiserver, kube-controller-manager, kube-scheduler,
containerd, kubelet, kube-proxy. Nothing is imitated: pods are containers, Services are iptables
rules, a claim is a folder, DNS is CoreDNS in a pod. Only two things are claims rather than facts:
the node's two GPUs, which are a number patched into its status.

Three kinds of cluster answer to the same commands (`choice.py`):

- `KUBECONFIG` is set: that cluster is used and never changed;
- a Docker engine answers: `kind` (`kind.py`);
- otherwise: the processes described above (`local.py`).

Everything that takes long to make is kept in a cache folder and keyed by what it was made from:
Go programs by version (`binaries.py`), images by a hash of their inputs (`images.py`). Everything
that a running cluster writes lies under one state folder, which `down` removes together with the
processes, mounts, links and iptables rules. A cluster found half dead (a killed run, a restarted
machine) is taken down and made anew: it takes seconds, and no repair can go wrong.

Only the standard library is used, and the system's Python 3.11 is enough.
"""
