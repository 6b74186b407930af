"""Explanations as text, as JSON, and as one self-contained HTML page.

The page shows key frames of the video, the answer, and for each choice the spike raster and the chain of causes.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image, ImageDraw

from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.ask import Observation, QuestionAnswers, explain_question
from spikebridge.networks.reasoning.explain.causes import Evidence, ExplanationStep
from spikebridge.networks.reasoning.explain.explain import Explanation
from spikebridge.networks.reasoning.explain.labels import object_labels
from spikebridge.networks.reasoning.simulation.render import PALETTE

_SCHEMA_VERSION = 1
"""Of the JSON; it changes when a field is renamed or goes."""

_CELL, _ROW = 22, 16
_TRACE_TEMPLATE = Path(__file__).with_name("trace.html.j2")


def as_text(explanation: Explanation, question: str = "") -> str:
    """Each step with its stimulated neurons and the members of the sets, then the chain of causes.

    Args:
        explanation: from `explain`.
        question: its words, for the first line.

    Example:
        >>> from spikebridge.networks.reasoning.data.scene import Scene
        >>> from spikebridge.networks.reasoning.explain.explain import explain
        >>> scene = Scene.from_lists(1, [["red", "metal", "cube"]], [[0, [[0, 9.0, 9.0]]]], [])
        >>> print(as_text(explain(scene, "objects unique query_color".split())))
        answer: red (ok, confidence 1.00)
        step 0, objects: all_objects
        step 1, objects: objects: red cube
        step 2, query_color: kind_color; objects: red cube
        step 3, read: objects: red cube
        because
          red (step 3): red
            step 2, kind_color
            step 1, object[0]: red cube is red
          kind_color (step 2): kind color, by query_color
          object[0] (step 1): red cube is in the set
            step 0, all_objects
          all_objects (step 0): all objects, by objects
    """
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
    answer, world = explanation.answer, explanation.program.world
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
    """One self-contained page: the answer, the spike raster with names, the sets, the chain of causes.

    Args:
        explanation: from `explain`.
        question: its words.
        frames: key frames of the video, each a caption and a data URI.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TRACE_TEMPLATE.read_text(encoding="utf-8")).render(
        question=question or " ".join(explanation.tokens),
        explanation=explanation,
        removed=_removed_label(explanation) if explanation.removal is not None else "",
        nothing=_no_evidence_text(explanation),
        raster=_raster(explanation),
        sets=[(step, _sets(explanation, step.objects, step.events)) for step in explanation.steps],
        step_text=_step_text,
        facts=_facts(explanation),
        frames=frames,
    )


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


def _raster(explanation: Explanation) -> dict[str, Any]:
    """Rows and coordinates of all neurons that fired, for the spike raster."""
    order = {name: n for n, name in enumerate(explanation.names)}
    fired = sorted({name for step in explanation.steps for name in step.fired}, key=order.__getitem__)
    needed = {(link.step, link.neuron) for link in explanation.cause_chain}
    row_of = {name: row for row, name in enumerate(fired)}
    dots = [
        {
            "x": _CELL * (step.step + 0.5),
            "y": _ROW * (row_of[name] + 0.5),
            "kind": "needed" if (step.step, name) in needed else "outside" if name in step.stimulated else "inside",
            "title": f"step {step.step}, {step.instruction}: {name}",
        }
        for step in explanation.steps
        for name in step.fired
    ]
    return {
        "rows": [{"name": name, "y": _ROW * (row_of[name] + 0.5) + 4} for name in fired],
        "steps": [{"number": step.step, "x": _CELL * (step.step + 0.5)} for step in explanation.steps],
        "dots": dots,
        "width": _CELL * len(explanation.steps),
        "height": _ROW * len(fired),
    }


_SCALE = 2
_MAX_PICTURES = 6
_TRAIL = 5  # samples of the path drawn behind an object
_PAGE_TEMPLATE = Path(__file__).with_name("page.html.j2")


def explanation_page(observation: Observation, answered: QuestionAnswers) -> str:
    """One self-contained page about a question: key frames, and for each choice the answer and its explanation.

    Args:
        observation: the subject of the question.
        answered: the question with its answers.
    """
    explanations = explain_question(observation, answered.question)
    frames = _key_frames(observation)
    if answered.question.kind == "descriptive":
        return as_html(explanations[0], answered.question.text, frames)
    judged = zip(answered.question.choices, answered.answers, explanations, strict=True)
    sections = [(choice.text, one, as_html(explanation, choice.text)) for choice, one, explanation in judged]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_PAGE_TEMPLATE.read_text(encoding="utf-8"))
    opened = next((k for k, one in enumerate(answered.answers) if one.value == "correct"), 0)
    return template.render(question=answered.question, frames=frames, sections=sections, opened=opened)


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
