"""Makes the samples' two photographs: synthetic, small, and the same every time.

    python model_repository/make_images.py

writes ``images/landscape.jpg`` (for the image classifier) and ``images/board.jpg`` (a circuit board
with copper-red defects, for the detector). Needs the packages ``pillow`` and ``numpy``.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).parent / "images"
DEFECTS = [(170, 150, 26), (520, 120, 20), (630, 420, 32), (260, 380, 22)]
"""Centre and radius in pixels of the spots on the board."""


def landscape() -> Image.Image:
    """Sky, hills and a sun, 480 x 320."""
    width, height = 480, 320
    fade = np.linspace(0, 1, height)[:, None, None]
    top, bottom = np.array([70, 120, 200]), np.array([250, 210, 170])
    sky = np.broadcast_to(top * (1 - fade) + bottom * fade, (height, width, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((330, 50, 400, 120), fill=(255, 235, 150))
    xs = np.arange(width)
    for base, swing, colour in ((210, 30, (90, 120, 90)), (250, 20, (50, 90, 50))):
        ridge = base + swing * np.sin(xs / (40 + swing)) + 8 * np.sin(xs / 11)
        outline = [(0, height), *zip(xs.tolist(), ridge.tolist(), strict=True), (width, height)]
        draw.polygon(outline, fill=colour)
    return image.filter(ImageFilter.GaussianBlur(1))


def board() -> Image.Image:
    """A green board with traces, pads and a few red spots, 800 x 560."""
    random = np.random.default_rng(8)
    image = Image.new("RGB", (800, 560), (20, 90, 45))
    draw = ImageDraw.Draw(image)
    for _ in range(26):
        x, y = (int(v) for v in random.integers((20, 20), (780, 540)))
        length = int(random.integers(60, 240))
        draw.line((x, y, x + length, y), fill=(50, 130, 75), width=4)
        draw.line((x + length, y, x + length, y + length // 2), fill=(50, 130, 75), width=4)
    for _ in range(30):
        x, y = (int(v) for v in random.integers((20, 20), (780, 540)))
        draw.ellipse((x - 7, y - 7, x + 7, y + 7), fill=(190, 190, 180))
    for x, y, radius in DEFECTS:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(215, 60, 40))
    return image.filter(ImageFilter.GaussianBlur(1))


def main() -> None:
    """Writes both files and names them."""
    FOLDER.mkdir(exist_ok=True)
    for name, build in (("landscape", landscape), ("board", board)):
        path = FOLDER / f"{name}.jpg"
        build().save(path, quality=80)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
