"""A picture of the chart's dashboard, drawn by Grafana's own components over a real Prometheus.

    python -m tests.drawing docs/telemetry/dashboard.png [height in pixels]

It shows what a Grafana makes of the queries, units, legends, thresholds and transformations, with
the packages @grafana/data and @grafana/ui; draw.tsx holds what the application around them does.
No test needs it. Needs `make servers`, npm and chromium; the packages take 600 MB in build/drawing.
"""

import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.drawing.hour import SCRAPE, SECONDS, write_hour
from tests.wire.prometheus import prometheus
from tests.wire.servers import LOOPBACK, program

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "drawing"
DASHBOARD = ROOT / "charts/triton-operator/files/dashboards/triton-operator.json"
WIDTH, HEIGHT = 1600, 1334
SHOWN_SECONDS = SECONDS - 120
TRIES = 5


def main(picture: str, height: int = HEIGHT) -> None:
    build()
    with TemporaryDirectory() as name:
        folder, end = Path(name), int(time.time())
        end -= end % SCRAPE  # on which steps fall
        pages = folder / "pages.txt"
        with pages.open("w") as file:
            file.writelines(write_hour(end - SECONDS))
        data = folder / "data"  # of `prometheus` below
        run(program("promtool"), "tsdb", "create-blocks-from", "openmetrics", pages, data)
        with prometheus(folder, rules={"groups": []}) as judge:
            view(f"prometheus={judge.url}&end={end}&seconds={SHOWN_SECONDS}", picture, height)


def build() -> None:
    """Make the page, with the packages that package.json names."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "draw.tsx"):
        shutil.copy(HERE / name, BUILD)
    run("npm", "install", "--legacy-peer-deps", "--no-audit", "--no-fund", cwd=BUILD)
    packages = BUILD / "node_modules"
    run(
        packages / ".bin" / "esbuild", "draw.tsx", "--bundle", "--minify", "--outfile=draw.js",
        "--jsx=automatic", "--loader:.svg=dataurl", "--loader:.ttf=dataurl",
        "--define:global=window", '--define:process.env.NODE_ENV="production"',
        f"--alias:dashboard={DASHBOARD}",
        # In those of .mjs, esbuild takes the default export of older packages as Node.js does.
        *(f"--alias:@grafana/{each}={packages}/@grafana/{each}/dist/cjs/index.cjs"
          for each in ("data", "ui")),
        cwd=BUILD,
    )  # fmt: skip
    (BUILD / "drawn").touch()
    (BUILD / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=stylesheet href=draw.css>"
        "<div id=root></div><script src=draw.js></script>"
    )
    icons = packages / "@grafana" / "ui" / "dist" / "public"
    shutil.copytree(icons, BUILD / "public", dirs_exist_ok=True)


class Handler(SimpleHTTPRequestHandler):
    """Serves the page, and hears from it when all panels are drawn."""

    drawn = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/drawn":
            self.drawn.set()
        super().do_GET()


def view(query: str, picture: str, height: int) -> None:
    """Have a browser look at the page; on a busy machine its time may run out before the end."""
    handler = partial(Handler, directory=BUILD)
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(TRIES):
            run(
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--window-size={WIDTH},{height}", "--virtual-time-budget=60000",
                f"--screenshot={Path(picture).absolute()}",
                f"http://{LOOPBACK}:{server.server_port}/index.html?{query}",
            )  # fmt: skip
            if Handler.drawn.is_set():
                break
        server.shutdown()
    if not Handler.drawn.is_set():
        sys.exit(f"{picture} lacks some panels: none of {TRIES} tries drew all of them")


def run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run([str(each) for each in command], cwd=cwd, check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [picture]:
            main(picture)
        case [picture, height]:
            main(picture, int(height))
        case _:
            sys.exit(__doc__)
