"""The page of a scene: frames, events and tracks with a slider, answers with the truth, the followed object.

One self-contained HTML file; a step is an event bin.
"""

from base64 import b64encode
from io import BytesIO

import numpy as np
from PIL import Image

from research.creature.evaluation import Watched, score_question, time_of
from research.creature.scene import BIN_RATE, BINS_A_FRAME
from spikebridge.analysis.replay.lanes import Lane, Spikes, Traces
from spikebridge.analysis.replay.replay import Film, Replay
from spikebridge.analysis.report import Section, Table, render_report
from spikebridge.networks.reasoning.data.scene import COLORS
from spikebridge.networks.reasoning.simulation.table import RADIUS
from spikebridge.networks.reasoning.simulation.video import HEIGHT, WIDTH

_STRIDE = 6  # bins of one set of events


def scene_page(seen: Watched) -> str:
    """The page of a scene with its questions."""
    rows = []
    for number, asked in enumerate(seen.questions):
        score = score_question(seen, number)
        late = [f"{1e3 * one:.0f}" if one is not None else "never" for one in score.latencies]
        rows.append(
            {
                "asked at [s]": f"{asked.first / BIN_RATE:.2f}",
                "question": asked.question.text,
                "true answers": ", then ".join(truth for _, truth in asked.truths),
                "right in 50 ms": "yes" if score.right else "no",
                "after the event [ms]": ", ".join(late),
            }
        )

    text = "The newest frame, the events since then, the track of every object, and what was answered at each bin."
    sections = [
        Section("Replay", text, replays=[_replay(seen)]),
        Section("Questions", "", [Table(rows, "Each stands until the next one is asked.")]),
    ]

    objects = {color: f"{material} {shape}" for color, material, shape in seen.scene.objects}
    return render_report(f"A creature in {seen.scene.name}", sections, objects)


def _replay(seen: Watched) -> Replay:
    num_bins = len(seen.tracks)
    present = seen.tracks[..., 2:].amin(-1).numpy() > 0.5
    boxes = {}

    for color, _, _ in seen.scene.objects:
        slot = COLORS.index(color)
        places = seen.tracks[:, slot, :2].numpy().astype(float)
        around = np.concatenate([places - RADIUS, np.full_like(places, 2 * RADIUS)], 1)
        around[~present[:, slot]] = np.nan
        boxes[color] = around

    happened = np.diff(seen.events[..., :2].sum(1).numpy(), axis=0, prepend=0)
    truth = np.zeros((num_bins, 2))
    for touch in seen.scene.touches:
        truth[touch.bin - 1, 0] = 1

    for left, _ in seen.scene.exits:
        if left <= num_bins:
            truth[left - 1, 1] = 1

    lanes: list[Lane] = [
        Spikes("events of the memory, and true ones", np.concatenate([happened, truth], 1) > 0, _NAMES),
        Spikes("object that is followed", seen.follow[:, : len(COLORS)].numpy(), COLORS),
        Traces("objects in view", {"objects": present.sum(1).astype(float)}, steps=True),
    ]
    return Replay(f"a creature in {seen.scene.name}", lanes, 1 / BIN_RATE, _film(seen, boxes), _notes(seen), word="bin")


_NAMES = ("collision", "exit", "true collision", "true exit")


def _notes(seen: Watched) -> list[str]:
    """The question of each bin with the newest answer and the true one."""
    notes = [""] * len(seen.tracks)
    for number, asked in enumerate(seen.questions):
        answers = [(time_of(run) * BIN_RATE, run.value) for run in seen.answers if run.question == number]
        for when in range(asked.first, min(asked.last, len(notes))):
            said = [value for time, value in answers if time <= when + 1]
            true = [value for first, value in asked.truths if first <= when + 1]
            answer = (said[-1] or "no answer") if said else "not yet answered"
            notes[when] = f"{asked.question.text} {answer} (true: {true[-1]})"

    return notes


def _film(seen: Watched, boxes: dict[str, np.ndarray]) -> Film:
    frames = seen.scene.frames()
    events = seen.scene.events()
    begins = list(range(0, len(events), _STRIDE))
    points = []

    for first in begins:
        polarity, y, x = events[first : first + _STRIDE].amax(0).nonzero().T
        points.append(np.stack([x.numpy(), y.numpy(), 1 - polarity.numpy()], 1))

    pictures = [_picture((255 * frame).byte().permute(1, 2, 0).numpy()) for frame in frames]
    starts = [k * BINS_A_FRAME for k in range(len(pictures))]

    return Film(WIDTH, HEIGHT, pictures, starts, boxes, points, begins)


def _picture(frame: np.ndarray) -> str:
    """A frame as a `data:` address."""
    content = BytesIO()
    Image.fromarray(frame).save(content, "webp", quality=70, method=4)
    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode('ascii')}"
