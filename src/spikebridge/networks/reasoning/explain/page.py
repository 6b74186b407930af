"""An explanation as text, as JSON, and as one self-contained page.

The page of an explained answer: pictures of the video, the answer, for each choice the raster and the reasons.
"""

import base64
import io
import json
from collections.abc import Sequence
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
from spikebridge.networks.reasoning.simulation.render import PAINT

SCHEMA_VERSION = 1
"""Of the JSON; it changes when a field is renamed or goes."""

_CELL, _ROW = 22, 16
_TRACE_TEMPLATE = Path(__file__).with_name("trace.html.j2")


def as_text(explanation: Explanation, question: str = "") -> str:
    """Each step with what is stimulated and what the sets hold, then the chain of reasons.

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
        lines += [f"removed: {removed_words(explanation)}"]
    said = explanation.answer
    lines.append(f"answer: {said.value} ({said.status}, confidence {said.confidence:.2f})")
    for step in explanation.steps:
        sets = _sets(explanation, step.objects, step.events)
        parts = [", ".join(step.stimulated), *(f"{name}: {', '.join(words)}" for name, words in sets.items() if words)]
        lines.append(f"step {step.step}, {step.instruction}: {'; '.join(part for part in parts if part) or 'silence'}")
    lines.append("because" if explanation.cause_chain else nothing_words(explanation))
    for reason in explanation.cause_chain:
        lines.append(f"  {_reason_words(reason)}")
        for ground in reason.grounds:
            fact = f": {ground.fact}" if ground.fact else ""
            sure = f" ({ground.score:.2f})" if ground.fact and ground.score < 1 else ""
            lines.append(f"    step {ground.step}, {ground.neuron}{fact}{sure}")
    return "\n".join(lines)


def as_json(explanation: Explanation, question: str = "") -> dict[str, Any]:
    """The same as plain data, with a version of its schema."""
    said = explanation.answer
    return {
        "schema": "spikebridge.explanation",
        "version": SCHEMA_VERSION,
        "video": explanation.scene.video,
        "question": question,
        "program": list(explanation.tokens),
        "preset": explanation.setting.preset.name,
        "world": explanation.program.world,
        "answer": {"value": said.value, "status": said.status, "confidence": said.confidence, "margin": said.margin},
        "objects": explanation.objects,
        "events": explanation.events,
        "steps": [step.__dict__ for step in explanation.steps],
        "reasons": [
            {**reason.__dict__, "grounds": [g.__dict__ for g in reason.grounds]} for reason in explanation.cause_chain
        ],
        "removal": None if explanation.removal is None else as_json(explanation.removal),
    }


def as_json_text(explanation: Explanation, question: str = "") -> str:
    """The same as a JSON document."""
    return json.dumps(as_json(explanation, question), indent=1)


def as_html(explanation: Explanation, question: str = "", frames: Sequence[tuple[str, str]] = ()) -> str:
    """One page that needs nothing else: the answer, the raster of spikes with names, the sets, the chain.

    Args:
        explanation: from `explain`.
        question: its words.
        frames: pictures of the video to show, each a caption and a data URI.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TRACE_TEMPLATE.read_text(encoding="utf-8")).render(
        question=question or " ".join(explanation.tokens),
        explanation=explanation,
        removed=removed_words(explanation) if explanation.removal is not None else "",
        nothing=nothing_words(explanation),
        raster=_raster(explanation),
        sets=[(step, _sets(explanation, step.objects, step.events)) for step in explanation.steps],
        reason_words=_reason_words,
        facts=facts_of(explanation),
        frames=frames,
    )


def facts_of(explanation: Explanation) -> list[Evidence]:
    """The perceived facts that an answer rests on, each once, those nearest to the answer first."""
    grounds = [ground for reason in explanation.cause_chain for ground in reason.grounds if ground.fact]
    return list({ground.fact: ground for ground in grounds}.values())


def removed_words(explanation: Explanation) -> str:
    """Which object a supposed world is without."""
    found = explanation.removal.found if explanation.removal is not None else -1
    return explanation.objects[found] if found >= 0 else "nothing: no object fits"


def nothing_words(explanation: Explanation) -> str:
    """Why there is no chain: the answer is that nothing fired."""
    if explanation.program.reads == "match":
        return "because nothing in memory belongs to the set: no neuron fires that would say so"
    return "because the set is empty: no neuron fires that would say otherwise"


def _reason_words(reason: ExplanationStep) -> str:
    by = f", by {reason.instruction}" if reason.instruction else ""
    return f"{reason.neuron} (step {reason.step}): {reason.says}{by}"


def _sets(explanation: Explanation, objects: Sequence[int], events: Sequence[int]) -> dict[str, list[str]]:
    return {
        "objects": [explanation.objects[o] for o in objects],
        "events": [explanation.events[e] for e in events],
    }


def _raster(explanation: Explanation) -> dict[str, Any]:
    """Rows and places of all neurons that fired, for the drawing."""
    order = {name: n for n, name in enumerate(explanation.names)}
    fired = sorted({name for step in explanation.steps for name in step.fired}, key=order.__getitem__)
    needed = {(reason.step, reason.neuron) for reason in explanation.cause_chain}
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
_MOST_PICTURES = 6
_TRAIL = 5  # samples of the way that an object came
_PAGE_TEMPLATE = Path(__file__).with_name("page.html.j2")


def explanation_page(seen: Observation, reply: QuestionAnswers) -> str:
    """One page that needs nothing else.

    Args:
        seen: what was asked about.
        reply: what was answered.
    """
    explanations = explain_question(seen, reply.question)
    frames = picture_strip(seen)
    if reply.question.kind == "descriptive":
        return as_html(explanations[0], reply.question.text, frames)
    judged = zip(reply.question.choices, reply.answers, explanations, strict=True)
    sections = [(choice.text, said, as_html(explanation, choice.text)) for choice, said, explanation in judged]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_PAGE_TEMPLATE.read_text(encoding="utf-8"))
    opened = next((k for k, said in enumerate(reply.answers) if said.value == "correct"), 0)
    return template.render(question=reply.question, frames=frames, sections=sections, opened=opened)


def picture_strip(seen: Observation) -> list[tuple[str, str]]:
    """The moments that matter, each a caption and a picture as a data URI: begin, collisions, end."""
    scene = seen.scene
    names = object_labels(scene)
    moments = [(int(scene.frames[0]), "the video begins")] if len(scene.frames) else []
    met = sorted(scene.collisions.tolist())
    moments += [(frame, f"{names[a]} meets {names[b]}") for frame, a, b in met[: _MOST_PICTURES - 2]]
    moments += [(int(scene.frames[-1]), "the video ends")] if len(scene.frames) > 1 else []
    return [(f"frame {frame}: {words}", _data_uri(_picture(seen, frame, names))) for frame, words in moments]


def _picture(seen: Observation, frame: int, names: list[str]) -> Image.Image:
    scene = seen.scene
    sample = int(np.abs(scene.frames - frame).argmin())
    if seen.pictures is not None:
        shown = Image.fromarray(seen.pictures[min(frame, len(seen.pictures) - 1)])
        image = shown.resize((shown.width * _SCALE, shown.height * _SCALE), Image.Resampling.NEAREST)
    else:
        image = Image.new("RGB", _extent(scene), (224, 222, 214))
    draw = ImageDraw.Draw(image)
    for o, name in enumerate(names):
        here = scene.positions[sample, o]
        if np.isnan(here).any():
            continue
        way = scene.positions[max(0, sample - _TRAIL) : sample + 1, o] * _SCALE
        way = way[~np.isnan(way[:, 0])]
        if len(way) > 1:
            draw.line([tuple(point) for point in way.tolist()], fill=(255, 255, 255), width=1)
        x, y = (here * _SCALE).tolist()
        if seen.pictures is None:
            paint = tuple(round(255 * share) for share in PAINT.get(scene.objects[o][0], (0.5, 0.5, 0.5)))
            draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=paint)
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
