"""`python3 -m tests.cluster COMMAND`, from the repository's root.

up: start the cluster, or bring a running one's images up to date; down: end it and remove all it
left; status: say what runs; images: build the images and, where a cluster runs, import them;
servers: install the other programs that tests use; kubeconfig: print its path; env: print shell
lines that put kubeconfig and programs in force: eval "$(python3 -m tests.cluster env)"
"""

import argparse
import sys

from tests.cluster import choice, perf_analyzer, settings
from tests.cluster.binaries import install_servers, path_with
from tests.cluster.progress import ClusterError, say

COMMANDS = ("up", "down", "status", "images", "servers", "kubeconfig", "env")


def main() -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args().command
    folders = settings.folders()
    cluster = choice.choose(folders)
    try:
        match command:
            case "up":
                with choice.one_at_a_time(folders):
                    cluster.up()
                print(f"export KUBECONFIG={cluster.kubeconfig}")
            case "down":
                with choice.one_at_a_time(folders):
                    cluster.down()
            case "images":
                with choice.one_at_a_time(folders):
                    cluster.images()
            case "servers":
                with choice.one_at_a_time(folders):
                    install_servers(folders)
                    perf_analyzer.install(folders)
            case "status":
                print(cluster.status())
            case "kubeconfig":
                print(cluster.kubeconfig)
            case "env":
                print(f"export KUBECONFIG={cluster.kubeconfig}")
                print(f"export PATH={path_with(folders)}")
    except (ClusterError, OSError) as error:
        say(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
