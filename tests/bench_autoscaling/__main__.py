"""``python -m tests.bench_autoscaling``: every policy on every load, as a table and plots."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

from tests.bench_autoscaling.cost import measure_cost
from tests.bench_autoscaling.frontier import describe_defeats
from tests.bench_autoscaling.load import GENERATED, RECORDED, Counts, build_counts, read_counts
from tests.bench_autoscaling.policies import OURS, POLICIES
from tests.bench_autoscaling.report import (
    build_table,
    plot_day,
    plot_frontiers,
    write_outcomes,
)
from tests.bench_autoscaling.simulator import Routing, Service
from tests.bench_autoscaling.trial import Outcome, Scenario, run_trial

BATCHING = Service(fixed=0.04, each=0.008, max_batch=8)
"""A single request takes 48 ms, a batch of eight 104 ms: 77 requests per second instead of 21."""
SHOWN = (f"{OURS}, tail 5 % (default)", "HPA, utilisation 40 %", "Knative, concurrency 0.7")


def main() -> None:
    arguments = _arguments()
    scenarios = _scenarios(arguments)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(1, arguments.seeds + 1)
    everything: dict[str, dict[str, list[Outcome]]] = {}
    tables = [f"Command: `python -m tests.bench_autoscaling {' '.join(sys.argv[1:])}`\n"]
    began = perf_counter()
    with ProcessPoolExecutor() as pool:
        for scenario in scenarios:
            trials = {
                name: [pool.submit(_run, arguments, scenario, name, seed) for seed in seeds]
                for name in POLICIES
                if name.startswith(tuple(arguments.policy))
            }
            outcomes = {name: [each.result() for each in some] for name, some in trials.items()}
            everything[scenario.name] = outcomes
            tables.append(build_table(scenario.name, outcomes))
            print(tables[-1], describe_defeats({scenario.name: outcomes}), sep="\n", flush=True)
            write_outcomes(out / "outcomes.csv", everything)
            first = _counts(arguments, scenario, 1)
            shown = {name: outcomes[name] for name in SHOWN if name in outcomes}
            file = out / f"{scenario.name.replace(', ', '-').replace(' ', '-')}.svg"
            plot_day(file, first, scenario.service.capacity, shown)
    plot_frontiers(out / "frontiers.svg", everything)
    tables.append(describe_defeats(everything))
    tables.append(f"One decision for 1000 pods with 3 models: {1000 * measure_cost():.1f} ms.\n")
    (out / "tables.md").write_text("\n".join(tables), encoding="utf-8")
    print("\n".join(tables[-2:]))
    print(f"{perf_counter() - began:.0f} s; tables and plots are in {out}")


def _run(arguments: argparse.Namespace, scenario: Scenario, policy: str, seed: int) -> Outcome:
    return run_trial(POLICIES[policy], scenario, _counts(arguments, scenario, seed), seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench_autoscaling", description=__doc__)
    parser.add_argument("--trace", type=Path, help="requests per second, one number per second")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the trace by this")
    parser.add_argument("--full", action="store_true", help="days, five seeds, every routing")
    parser.add_argument("--seeds", type=int, help="seeds of each load (1, with --full 5)")
    parser.add_argument("--hours", type=float, help="length of generated loads (1, --full 24)")
    parser.add_argument("--load", nargs="+", choices=[*RECORDED, *GENERATED], help="only these")
    parser.add_argument("--routing", nargs="+", choices=[each.name.lower() for each in Routing])
    parser.add_argument("--policy", nargs="+", default=[""], help="only those that begin so")
    parser.add_argument("--startup", type=float, default=60.0, help="seconds until a pod is ready")
    parser.add_argument("--target", type=float, default=0.5, help="wait to keep, in seconds")
    parser.add_argument("--service", type=float, default=0.1, help="service time in seconds")
    parser.add_argument("--max-pods", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/bench-autoscaling"))
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (5 if arguments.full else 1)
    arguments.hours = arguments.hours or (24.0 if arguments.full else 1.0)
    return arguments


def _scenarios(arguments: argparse.Namespace) -> list[Scenario]:
    if arguments.routing:
        routings = [Routing[each.upper()] for each in arguments.routing]
    elif arguments.full or arguments.trace:
        routings = list(Routing)
    else:
        routings = [Routing.RANDOM, Routing.LEAST_PENDING]
    known = arguments.load or [*RECORDED, *GENERATED]
    loads = [arguments.trace.stem] if arguments.trace else known
    common = {
        "startup": arguments.startup,
        "target": arguments.target,
        "most": arguments.max_pods,
    }
    service = Service(fixed=arguments.service)
    found = [Scenario(load, routing, service, **common) for load in loads for routing in routings]
    if not arguments.trace and not arguments.load:
        found.append(Scenario("diurnal", routings[0], BATCHING, factor=4.0, **common))
    return found


def _counts(arguments: argparse.Namespace, scenario: Scenario, seed: int) -> Counts:
    if arguments.trace:
        return read_counts(arguments.trace, seed, arguments.scale)
    return build_counts(scenario.load, seed, round(3600 * arguments.hours), scenario.factor)


if __name__ == "__main__":
    main()
