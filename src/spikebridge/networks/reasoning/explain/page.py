"""Explanations as text, as JSON, and as one self-contained HTML page.

The page shows key frames of the video, the answer, and for each choice a replay of the graph, in which a click on a
spike shows its causes, and the chain of causes as a table.
"""

import base64
import io
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from markupsafe import escape
from PIL import Image, ImageDraw

from spikebridge.analysis.replay.lanes import Spikes
from spikebridge.analysis.replay.replay import Cause, Reason, Replay
from spikebridge.analysis.report import Picture, Section, Table, render_report
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.ask import Observation, QuestionAnswers, explain_question
from spikebridge.networks.reasoning.explain.causes import Evidence, ExplanationStep
from spikebridge.networks.reasoning.explain.explain import Explanation
from spikebridge.networks.reasoning.explain.labels import object_labels
from spikebridge.networks.reasoning.graph.readout import GraphAnswer
from spikebridge.networks.reasoning.simulation.render import PALETTE

_SCHEMA_VERSION = 1
"""Of the JSON; it changes when a field is renamed or goes."""

_KINDS = ("by other neurons", "from outside", "needed by the answer")


def as_text(explanation: Explanation, question: str = "") -> str:
    """Each step with its stimulated neurons and the members of the sets, then the chain of causes."""
    lines = [question] if question else []
    if explanation.removal is not None:
        lines += [f"removed: {_removed_label(explanation)}"]

    answer = explanation.answer
    lines.append(f"answer: {answer.value} ({answer.status}, confidence {answer.confidence:.2f})")
    for step in explanation.steps:
        sets = _sets(explanation, step.objects, step.events)
        parts = [", ".join(step.stimulated), *(f"{name}: {', '.join(words)}" for name, words in sets.items() if words)]
        lines.append(f"step {step.step}, {step.instruction}: {'; '.join(part for part in parts if part) or 'silence'}")

    lines.append("because" if explanation.cause_chain else _no_evidence_text(explanation))
    for link in explanation.cause_chain:
        lines.append(f"  {_step_text(link)}")
        for one in link.evidence:
            fact = f": {one.fact}" if one.fact else ""
            score = f" ({one.score:.2f})" if one.fact and one.score < 1 else ""
            lines.append(f"    step {one.step}, {one.neuron}{fact}{score}")

    return "\n".join(lines)


def _as_dict(explanation: Explanation, question: str = "") -> dict[str, Any]:
    answer = explanation.answer
    world = explanation.program.world

    return {
        "schema": "spikebridge.explanation",
        "version": _SCHEMA_VERSION,
        "video": explanation.scene.video,
        "question": question,
        "program": list(explanation.tokens),
        "preset": explanation.options.preset.name,
        # the names of version 1 of the schema: world `supposed`, `reasons` with `says` and `grounds`
        "world": "supposed" if world == "counterfactual" else world,
        "answer": asdict(answer),
        "objects": explanation.objects,
        "events": explanation.events,
        "steps": [asdict(step) for step in explanation.steps],
        "reasons": [
            {
                "step": step.step,
                "neuron": step.neuron,
                "says": step.meaning,
                "grounds": [asdict(one) for one in step.evidence],
                "instruction": step.instruction,
            }
            for step in explanation.cause_chain
        ],
        "removal": None if explanation.removal is None else _as_dict(explanation.removal),
    }


def as_json(explanation: Explanation, question: str = "") -> str:
    """The explanation as a JSON document, with a version of its schema."""
    return json.dumps(_as_dict(explanation, question), indent=1)


def as_html(explanation: Explanation, question: str = "", frames: Sequence[tuple[str, str]] = ()) -> str:
    """One self-contained page: the answer, the facts that it needs, a replay of the graph, the chain of causes."""
    title = question or " ".join(explanation.tokens)
    return render_report(
        title, [*_video(frames), *_sections(explanation)], _run_facts(explanation), lead=_lead(explanation.answer)
    )


def _lead(answer: GraphAnswer) -> str:
    value = answer.value if answer.value is not None else "no answer"
    return f"{value} ({answer.status}, confidence {answer.confidence:.2f})"


def _run_facts(explanation: Explanation) -> dict[str, Any]:
    removed = {"without": _removed_label(explanation)} if explanation.removal is not None else {}
    return {
        "answer": explanation.answer.value if explanation.answer.value is not None else "no answer",
        "margin [s]": f"{explanation.answer.margin:.2f}",
        "preset": explanation.options.preset.name,
        "world": explanation.program.world,
        **removed,
    }


def _video(frames: Sequence[tuple[str, str]]) -> list[Section]:
    pictures = [
        Picture(
            f'<svg xmlns="http://www.w3.org/2000/svg" class="sb-figure" viewBox="0 0 {width} {height}" role="img">'
            f'<title>{escape(caption)}</title><image width="{width}" height="{height}" href="{escape(source)}"/></svg>',
            caption,
        )
        for caption, source in frames
        for width, height in [_size(source)]
    ]
    return [Section("What was seen", "", thumbnails=pictures)] if pictures else []


def _size(source: str) -> tuple[int, int]:
    """Width and height from the header of a PNG in a `data:` address; those of the videos where it is none."""
    header = source.partition(",")[2][:32].encode()
    content = base64.b64decode(header) if len(header) == 32 else b""
    return (*struct.unpack(">II", content[16:24]),) if content.startswith(b"\x89PNG") else (480, 320)


def _sections(explanation: Explanation) -> list[Section]:
    """Why the answer is what it is, and what fired."""
    facts = [{"perceived fact": one.fact, "confidence": round(one.score, 2)} for one in _facts(explanation)]
    chain = [
        {
            "step": str(link.step),
            "neuron": link.neuron,
            "meaning": link.meaning + (f", by {link.instruction}" if link.instruction else ""),
            "needed": "; ".join(_evidence_text(one) for one in link.evidence),
        }
        for link in explanation.cause_chain
    ]

    sets = [
        {"step": str(step.step), "instruction": step.instruction, "from outside": ", ".join(step.stimulated)}
        | {name: "; ".join(words) for name, words in _sets(explanation, step.objects, step.events).items()}
        for step in explanation.steps
    ]

    tables = [Table(facts, "Perceived facts that the answer needs.")] if facts else []
    tables += [Table(chain, "The whole chain, spike by spike, latest first", folded=True)] if chain else []
    nothing = _no_evidence_text(explanation)

    return [
        Section("Why", [] if chain else f"{nothing[0].upper()}{nothing[1:]}.", tables),
        Section(
            "What fired", _FIRED, [Table(sets, "The sets, step by step", folded=True)], replays=[_replay(explanation)]
        ),
    ]


_FIRED = (
    "Each row is a neuron of the graph, each column a time step. A click on a spike shows the spikes that it needed."
)


def _evidence_text(one: Evidence) -> str:
    score = f" ({one.score:.2f})" if one.fact and one.score < 1 else ""
    return f"{one.neuron} at step {one.step}" + (f": {one.fact}{score}" if one.fact else "")


def _replay(explanation: Explanation) -> Replay:
    """The neurons that fired, step by step, with the causes of the spikes that the answer needs."""
    order = {name: n for n, name in enumerate(explanation.names)}
    fired = sorted({name for step in explanation.steps for name in step.fired}, key=order.__getitem__)
    row_of = {name: row for row, name in enumerate(fired)}
    values = np.zeros((len(explanation.steps), len(fired)), dtype=int)

    for t, step in enumerate(explanation.steps):
        for name in step.fired:
            values[t, row_of[name]] = 2 if name in step.stimulated else 1

    reasons = _reasons(explanation, row_of)
    for t, row in reasons:
        values[t, row] = 3

    notes = []
    for step in explanation.steps:
        sets = _sets(explanation, step.objects, step.events)
        parts = [step.instruction, *(f"{name}: {', '.join(words)}" for name, words in sets.items() if words)]
        notes.append("; ".join(parts))

    return Replay("spikes of the graph", [Spikes("spikes", values, fired, _KINDS)], notes=notes, reasons=reasons)


def _reasons(explanation: Explanation, row_of: dict[str, int]) -> dict[tuple[int, int], Reason]:
    """The chain of causes by step and row; a neuron that holds its activity needs the step before."""
    last = len(explanation.steps) - 1
    used: dict[tuple[int, str], int] = {}
    for link in explanation.cause_chain:
        for one in link.evidence:
            key = (one.step, one.neuron)
            used[key] = max(used.get(key, 0), link.step - 1)

    reasons = {}
    for link in explanation.cause_chain:
        row = row_of[link.neuron]
        by = f", by {link.instruction}" if link.instruction else ""
        causes = [Cause(one.step, row_of[one.neuron], one.fact or "") for one in link.evidence]
        reasons[link.step, row] = Reason(link.meaning + by, causes)

        # what no other spike needed is the answer, which is read at the last step
        for t in range(link.step + 1, used.get((link.step, link.neuron), last) + 1):
            if link.neuron in explanation.steps[t].fired:
                reasons[t, row] = Reason(f"{link.meaning}, active since", [Cause(link.step, row)])

    return reasons


def _facts(explanation: Explanation) -> list[Evidence]:
    """The perceived facts of the chain, each once, those nearest to the answer first."""
    evidence = [one for step in explanation.cause_chain for one in step.evidence if one.fact]
    return list({one.fact: one for one in evidence}.values())


def _removed_label(explanation: Explanation) -> str:
    """The object that a counterfactual world is without."""
    selected = explanation.removal.selected if explanation.removal is not None else -1
    return explanation.objects[selected] if selected >= 0 else "nothing: no object fits"


def _no_evidence_text(explanation: Explanation) -> str:
    """Why there is no chain: the answer is that nothing fired."""
    if explanation.program.reads == "match":
        return "because nothing in memory belongs to the set: no neuron fires that would say so"
    return "because the set is empty: no neuron fires that would say otherwise"


def _step_text(step: ExplanationStep) -> str:
    by = f", by {step.instruction}" if step.instruction else ""
    return f"{step.neuron} (step {step.step}): {step.meaning}{by}"


def _sets(explanation: Explanation, objects: Sequence[int], events: Sequence[int]) -> dict[str, list[str]]:
    return {
        "objects": [explanation.objects[o] for o in objects],
        "events": [explanation.events[e] for e in events],
    }


_SCALE = 2
_MAX_PICTURES = 6
_TRAIL = 5  # samples of the path drawn behind an object


def explanation_page(observation: Observation, answered: QuestionAnswers) -> str:
    """One self-contained page about a question: key frames, and for each choice the answer and its explanation."""
    explanations = explain_question(observation, answered.question)
    frames = _key_frames(observation)
    if answered.question.kind == "descriptive":
        return as_html(explanations[0], answered.question.text, frames)

    question = answered.question
    rows = []
    sections = []

    for number, (choice, one, explanation) in enumerate(
        zip(question.choices, answered.answers, explanations, strict=True), start=1
    ):
        rows.append(
            {
                "choice": choice.text,
                "answer": one.value or "no answer",
                "status": one.status,
                "confidence": round(one.confidence, 2),
            }
        )

        why, fired = _sections(explanation)
        heading = f"{number}. {choice.text}: {one.value or 'no answer'}"
        paragraphs = (*why.paragraphs, *fired.paragraphs)
        tables = (*why.tables, *fired.tables)
        sections.append(Section(heading, paragraphs, tables, replays=fired.replays, folded=one.value != "correct"))

    article = "An" if question.kind[0] == "e" else "A"
    lead = f"{article} {question.kind} question: each choice is judged by a run of the graph of its own."
    marked = [k for k, one in enumerate(answered.answers) if one.value == "correct"]

    return render_report(
        question.text, [Section("Answers", "", [Table(rows, marked=marked)]), *_video(frames), *sections], lead=lead
    )


def _key_frames(observation: Observation) -> list[tuple[str, str]]:
    """Pictures of the begin, the collisions and the end, each with a caption, as data URIs."""
    scene = observation.scene
    names = object_labels(scene)
    moments = [(int(scene.frames[0]), "the video begins")] if len(scene.frames) else []
    met = sorted(scene.collisions.tolist())
    moments += [(frame, f"{names[a]} meets {names[b]}") for frame, a, b in met[: _MAX_PICTURES - 2]]
    moments += [(int(scene.frames[-1]), "the video ends")] if len(scene.frames) > 1 else []

    return [(f"frame {frame}: {words}", _data_uri(_picture(observation, frame, names))) for frame, words in moments]


def _picture(observation: Observation, frame: int, names: list[str]) -> Image.Image:
    scene = observation.scene
    sample = int(np.abs(scene.frames - frame).argmin())

    if observation.pictures is not None:
        original = Image.fromarray(observation.pictures[min(frame, len(observation.pictures) - 1)])
        image = original.resize((original.width * _SCALE, original.height * _SCALE), Image.Resampling.NEAREST)
    else:
        image = Image.new("RGB", _extent(scene), (224, 222, 214))

    draw = ImageDraw.Draw(image)
    for o, name in enumerate(names):
        here = scene.positions[sample, o]
        if np.isnan(here).any():
            continue

        path = scene.positions[max(0, sample - _TRAIL) : sample + 1, o] * _SCALE
        path = path[~np.isnan(path[:, 0])]
        if len(path) > 1:
            draw.line([tuple(point) for point in path.tolist()], fill=(255, 255, 255), width=1)

        x, y = (here * _SCALE).tolist()
        if observation.pictures is None:
            color = tuple(round(255 * share) for share in PALETTE.get(scene.objects[o][0], (0.5, 0.5, 0.5)))
            draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=color)
        else:
            draw.rectangle((x - 16, y - 16, x + 16, y + 16), outline=(255, 255, 255))

        _label(draw, name, x, y - 28, image.width)

    return image


def _label(draw: ImageDraw.ImageDraw, words: str, x: float, y: float, width: int) -> None:
    half = draw.textlength(words) / 2
    left = min(max(x - half, 1), width - 2 * half - 1)
    top = max(y, 0)
    draw.text((left, top), words, fill=(255, 255, 255), stroke_width=1, stroke_fill=(20, 20, 20))


def _extent(scene: Scene) -> tuple[int, int]:
    far = np.nanmax(scene.positions.reshape(-1, 2), axis=0, initial=1.0)
    return int(far[0] * _SCALE) + 40, int(far[1] * _SCALE) + 40


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
