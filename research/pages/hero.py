"""The picture at the head of the README: a hybrid network, and its spikes, membranes and answers over time.

python research/pages/hero.py   # writes docs/images/hero.svg
"""

import re
import runpy
from pathlib import Path

import torch

from spikebridge.analysis.plots.network_diagram import draw_network
from spikebridge.analysis.replay.lanes import Lane, Spikes
from spikebridge.analysis.replay.network import record_network
from spikebridge.data.io.atomic import write_text

DOCS = Path(__file__).parents[2] / "docs"
NETWORK = DOCS / "gallery" / "two_cameras.py"  # the network of the README
FILE = DOCS / "images" / "hero.svg"
STYLE = """.sb-hero{--p:#fff;--plot:#f5f7fa;--ink:#1b2430;--muted:#5a6675;--s0:#2f6fd0;--s1:#d1701a;--s2:#2a8f5b;
--s3:#9a4bc2;--s4:#b3344c;--s5:#55708c;font:12px system-ui,"Segoe UI","Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
@media (prefers-color-scheme:dark){.sb-hero{--p:#161b22;--plot:#1c232c;--ink:#e6ebf2;--muted:#9ba7b6;--s0:#78a6f5;
--s1:#f0a35a;--s2:#5fc794;--s3:#c992ee;--s4:#ee8596;--s5:#a3b8cd}}
.sb-hero path{fill:none;vector-effect:non-scaling-stroke;stroke-width:1.6}
.sb-hero .title{fill:var(--ink);font-weight:650}.sb-hero .note{fill:var(--muted)}"""
HEIGHTS = (96, 64, 56, 56)


def draw_lane(lane: Lane, top: float, height: float, width: float, columns: int) -> list[str]:
    """A lane with its name above it."""
    # a row for each neuron, or 0 to 100 with a margin
    high = len(lane.names) if isinstance(lane, Spikes) else 112
    begin = -0.5 if isinstance(lane, Spikes) else -6
    stroke = f"stroke-width:{0.62 * height / high:.1f}" if isinstance(lane, Spikes) else ""
    paths = [
        f'<path d="{path}" style="stroke:var(--s{k});{stroke}"/>' for k, path in enumerate(lane.paths(stride=1)) if path
    ]

    return [
        f'<text class="title" x="20" y="{top - 6:.0f}">{lane.name}</text>',
        f'<rect x="20" y="{top:.0f}" width="{width - 40:.0f}" height="{height}" fill="var(--plot)"/>',
        f'<svg x="20" y="{top:.0f}" width="{width - 40:.0f}" height="{height}" viewBox="0 {begin} {columns} {high}" '
        f'preserveAspectRatio="none">{"".join(paths)}</svg>',
    ]


def main() -> None:
    """Writes the picture."""
    torch.manual_seed(3)
    hybrid = runpy.run_path(str(NETWORK))["network"]
    with torch.no_grad():
        # untrained weights of both signs give few spikes
        hybrid.parts["where"].fc.weight.abs_().mul_(1.6)

    share = 0.02 + 0.09 * torch.sin(torch.linspace(0, 7, 96)).square().reshape(96, 1, 1)
    events = (torch.rand(96, 1, 100) < share).float()
    replay = record_network(hybrid, {"frames": torch.randn(16, 1, 64), "events": events})
    lanes = [lane for lane in replay.lanes if "unit what" not in lane.name]
    drawing = draw_network(hybrid)
    width, height = (float(size) for size in re.findall(r'viewBox="0 0 (\d+) (\d+)"', drawing)[0])
    top = height + 26
    parts = []

    for lane, high in zip(lanes, HEIGHTS, strict=True):
        parts += draw_lane(lane, top, high, width, replay.num_columns)
        top += high + 30

    parts += [f'<text class="note" x="20" y="{top - 12:.0f}">0 ms</text>']
    parts += [f'<text class="note" x="{width - 20:.0f}" y="{top - 12:.0f}" text-anchor="end">400 ms</text>']
    inner = re.sub(
        r'width="\d+" height="\d+" role="img"', f'width="{width:.0f}" height="{height:.0f}"', drawing, count=1
    )
    title = "A hybrid network and its activity: an ANN on frames and an SNN on events, linked by hybrid units"
    paper = '<rect width="100%" height="100%" rx="10" fill="var(--p)"/>'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sb-hero" viewBox="0 0 {width:.0f} {top:.0f}" role="img">'
        f"<title>{title}</title><style>{STYLE}</style>{paper}{inner}{''.join(parts)}</svg>\n"
    )

    write_text(FILE, svg)
    print(FILE, len(svg))


if __name__ == "__main__":
    main()
