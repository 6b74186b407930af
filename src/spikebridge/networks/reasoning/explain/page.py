"""Explanations as text, and as one self-contained HTML page.

The page shows key frames of the video, the answer, and for each choice a replay of the graph, in which a click on a
spike shows its causes, and the chain of causes as a table.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import escape
from PIL import Image, ImageDraw

from spikebridge.analysis.replay.lanes import Spikes
from spikebridge.analysis.replay.replay import Cause, Reason, Replay
from spikebridge.analysis.report import Picture, Section, Table, render_report
from spikebridge.networks.reasoning.executor import Event
from spikebridge.networks.reasoning.explain.ask import Observation, QuestionAnswers, explain_question
from spikebridge.networks.reasoning.explain.causes import Evidence, ExplanationStep
from spikebridge.networks.reasoning.explain.explain import Explanation, TraceStep
from spikebridge.networks.reasoning.explain.grounding import GroundedQuestion
from spikebridge.networks.reasoning.explain.labels import event_label, object_labels
from spikebridge.networks.reasoning.graph.readout import GraphAnswer
from spikebridge.networks.reasoning.simulation.render import PALETTE

_SPIKE_KINDS = ("by other neurons", "from outside", "needed by the answer")
_REPLAY_TEXT = (
    "Each row is a neuron of the graph, each column a time step. A click on a spike shows the spikes that it needed."
)
_SCALE = 2  # pixels of a picture on the page for one of the video
_MAX_PICTURES = 6
_TRAIL = 5  # samples of the path drawn behind an object
_WHITE = (255, 255, 255)


def as_text(explanation: Explanation, question: str = "") -> str:
    """Each step with its stimulated neurons and the members of the sets, then the chain of causes."""
    lines = [question] if question else []
    if explanation.removal is not None:
        lines.append(f"removed: {_removed_label(explanation)}")

    lines.append(f"answer: {_answer_text(explanation.answer, none='None')}")
    for step in explanation.steps:
        parts = [", ".join(step.stimulated), *_set_texts(explanation, step)]
        lines.append(f"step {step.step}, {step.instruction}: {'; '.join(part for part in parts if part) or 'silence'}")

    lines.append("because" if explanation.cause_chain else _no_evidence_text(explanation))
    for link in explanation.cause_chain:
        lines.append(f"  {link.neuron} (step {link.step}): {_meaning(link)}")
        lines += [f"    step {one.step}, {one.neuron}{_fact_text(one)}" for one in link.evidence]

    return "\n".join(lines)


def as_html(
    explanation: Explanation,
    question: str = "",
    frames: Sequence[tuple[str, Image.Image]] = (),
    sections: Sequence[Section] = (),
) -> str:
    """One self-contained page: answer, key frames with captions, needed facts, a replay, and the chain of causes."""
    answer = explanation.answer
    facts = {
        "answer": answer.value if answer.value is not None else "no answer",
        "margin [s]": f"{answer.margin:.2f}",
        "preset": explanation.options.preset.name,
        "world": explanation.program.world,
    }
    if explanation.removal is not None:
        facts["without"] = _removed_label(explanation)

    title = question or " ".join(explanation.tokens)
    sections = [*_video(frames), *sections, *_sections(explanation)]
    return render_report(title, sections, facts, lead=_answer_text(answer))


def explanation_page(observation: Observation, answered: QuestionAnswers) -> str:
    """One self-contained page about a question: key frames, and for each choice the answer and its explanation."""
    question = answered.question
    explanations = explain_question(observation, question)
    frames = _key_frames(observation, answered.grounded)
    texts = _texts(answered.grounded, object_labels(observation.scene))
    if question.kind == "descriptive":
        return as_html(explanations[0], question.text, frames, [texts])

    rows = []
    sections = []
    choices = zip(question.choices, answered.answers, explanations, strict=True)
    for number, (choice, answer, explanation) in enumerate(choices, start=1):
        value = answer.value or "no answer"
        confidence = round(answer.confidence, 2)
        rows.append({"choice": choice.text, "answer": value, "status": answer.status, "confidence": confidence})

        why, fired = _sections(explanation)
        paragraphs = (*why.paragraphs, *fired.paragraphs)
        tables = (*why.tables, *fired.tables)
        heading = f"{number}. {choice.text}: {value}"
        sections.append(Section(heading, paragraphs, tables, replays=fired.replays, folded=value != "correct"))

    # of the four kinds only `explanatory` begins with a vowel
    article = "An" if question.kind[0] == "e" else "A"
    lead = f"{article} {question.kind} question: each choice is judged by a run of the graph of its own."
    marked = [k for k, answer in enumerate(answered.answers) if answer.value == "correct"]
    table = Section("Answers", "", [Table(rows, marked=marked)])

    return render_report(question.text, [table, *_video(frames), texts, *sections], lead=lead)


def _texts(grounded: GroundedQuestion, names: Sequence[str]) -> Section:
    texts = [grounded.question.text, *(choice.text for choice in grounded.question.choices)]
    rows = []
    for text, one in zip(texts, (grounded.text, *grounded.choices), strict=True):
        found = "; ".join(f"{_event_text(event, names)} (frame {event.frame})" for event in one.events)
        rows.append({"text": text, "program": " ".join(one.program), "found": found, "note": "; ".join(one.remarks)})

    return Section("How it was read", "", [Table(rows, "Each text, its program and the events that it names.")])


def _event_text(event: Event, names: Sequence[str]) -> str:
    return event_label(event.kind, [names[o] for o in sorted(event.objects)])


def _sections(explanation: Explanation) -> list[Section]:
    facts = {one.fact: one.score for link in explanation.cause_chain for one in link.evidence if one.fact}
    rows = [{"perceived fact": fact, "confidence": round(score, 2)} for fact, score in facts.items()]
    chain = [
        {
            "step": str(link.step),
            "neuron": link.neuron,
            "meaning": _meaning(link),
            "needed": "; ".join(f"{one.neuron} at step {one.step}{_fact_text(one)}" for one in link.evidence),
        }
        for link in explanation.cause_chain
    ]
    sets = [
        {"step": str(step.step), "instruction": step.instruction, "from outside": ", ".join(step.stimulated)}
        | {name: "; ".join(members) for name, members in _members(explanation, step).items()}
        for step in explanation.steps
    ]

    tables = [Table(rows, "Perceived facts that the answer needs.")] if rows else []
    tables += [Table(chain, "The whole chain, spike by spike, latest first", folded=True)] if chain else []
    nothing = _no_evidence_text(explanation)
    steps = Table(sets, "The sets, step by step", folded=True)

    return [
        Section("Why", [] if chain else f"{nothing[0].upper()}{nothing[1:]}.", tables),
        Section("What fired", _REPLAY_TEXT, [steps], replays=[_replay(explanation)]),
    ]


def _replay(explanation: Explanation) -> Replay:
    """The neurons that fired, step by step, with the causes of the spikes that the answer needs."""
    fired = {name for step in explanation.steps for name in step.fired}
    names = [name for name in explanation.names if name in fired]
    row_of = {name: row for row, name in enumerate(names)}
    kinds = np.zeros((len(explanation.steps), len(names)), dtype=int)

    for t, step in enumerate(explanation.steps):
        for name in step.fired:
            kinds[t, row_of[name]] = 2 if name in step.stimulated else 1

    reasons = _reasons(explanation, row_of)
    # needed spikes last, so that their colour wins
    for t, row in reasons:
        kinds[t, row] = 3

    notes = ["; ".join((step.instruction, *_set_texts(explanation, step))) for step in explanation.steps]
    return Replay("spikes of the graph", [Spikes("spikes", kinds, names, _SPIKE_KINDS)], notes=notes, reasons=reasons)


def _reasons(explanation: Explanation, row_of: dict[str, int]) -> dict[tuple[int, int], Reason]:
    """The chain of causes by step and row; a neuron that holds its activity needs the step before."""
    # one entry of the chain stands for all steps at which a neuron holds its activity
    last_use: dict[tuple[int, str], int] = {}
    for link in explanation.cause_chain:
        for one in link.evidence:
            key = (one.step, one.neuron)
            last_use[key] = max(last_use.get(key, 0), link.step - 1)

    reasons = {}
    for link in explanation.cause_chain:
        row = row_of[link.neuron]
        causes = [Cause(one.step, row_of[one.neuron], one.fact or "") for one in link.evidence]
        reasons[link.step, row] = Reason(_meaning(link), causes)

        # a spike that no other spike needed is the answer, which is read at the last step
        last = last_use.get((link.step, link.neuron), len(explanation.steps) - 1)
        for t in range(link.step + 1, last + 1):
            if link.neuron in explanation.steps[t].fired:
                reasons[t, row] = Reason(f"{link.meaning}, active since", [Cause(link.step, row)])

    return reasons


def _answer_text(answer: GraphAnswer, none: str = "no answer") -> str:
    value = answer.value if answer.value is not None else none
    return f"{value} ({answer.status}, confidence {answer.confidence:.2f})"


def _meaning(link: ExplanationStep) -> str:
    return link.meaning + (f", by {link.instruction}" if link.instruction else "")


def _fact_text(one: Evidence) -> str:
    score = f" ({one.score:.2f})" if one.score < 1 else ""
    return f": {one.fact}{score}" if one.fact else ""


def _removed_label(explanation: Explanation) -> str:
    selected = explanation.removal.selected if explanation.removal is not None else -1
    return explanation.objects[selected] if selected >= 0 else "nothing: no object fits"


def _no_evidence_text(explanation: Explanation) -> str:
    if explanation.program.reads == "match":
        return "because nothing in memory belongs to the set: no neuron fires that would say so"
    return "because the set is empty: no neuron fires that would say otherwise"


def _members(explanation: Explanation, step: TraceStep) -> dict[str, list[str]]:
    return {
        "objects": [explanation.objects[o] for o in step.objects],
        "events": [explanation.events[e] for e in step.events],
    }


def _set_texts(explanation: Explanation, step: TraceStep) -> list[str]:
    sets = _members(explanation, step)
    return [f"{name}: {', '.join(members)}" for name, members in sets.items() if members]


def _video(frames: Sequence[tuple[str, Image.Image]]) -> list[Section]:
    pictures = []
    for caption, image in frames:
        size = f'width="{image.width}" height="{image.height}"'
        box = f'viewBox="0 0 {image.width} {image.height}"'
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="sb-figure" {box} role="img">'
            f'<title>{escape(caption)}</title><image {size} href="{_data_uri(image)}"/></svg>'
        )
        pictures.append(Picture(svg, caption))

    return [Section("What was seen", "", thumbnails=pictures)] if pictures else []


def _key_frames(observation: Observation, grounded: GroundedQuestion) -> list[tuple[str, Image.Image]]:
    """Pictures of the begin, the events that the question names, other collisions and the end, with captions."""
    scene = observation.scene
    names = object_labels(scene)
    moments = [(int(scene.frames[0]), "the video begins")] if len(scene.frames) else []
    named = [event._replace(rank=-1) for text in (grounded.text, *grounded.choices) for event in text.events]
    collisions = [Event(-1, "collision", frame, frozenset((a, b))) for frame, a, b in sorted(scene.collisions.tolist())]
    # two of the pictures are the begin and the end
    shown = list(dict.fromkeys((*named, *collisions)))[: _MAX_PICTURES - 2]
    moments += [(event.frame, _event_text(event, names)) for event in sorted(shown, key=lambda event: event.frame)]
    if len(scene.frames) > 1:
        moments.append((int(scene.frames[-1]), "the video ends"))

    return [(f"frame {frame}: {words}", _picture(observation, frame, names)) for frame, words in moments]


def _picture(observation: Observation, frame: int, names: list[str]) -> Image.Image:
    scene = observation.scene
    # a scene may list collisions without a trajectory
    sample = int(np.abs(scene.frames - frame).argmin()) if len(scene.frames) else -1
    # the picture is drawn with the axis to the right first
    places = scene.positions if scene.extent[0] > scene.extent[1] else scene.positions[..., ::-1]
    if observation.pictures is not None:
        original = Image.fromarray(observation.pictures[min(frame, len(observation.pictures) - 1)])
        image = original.resize((original.width * _SCALE, original.height * _SCALE), Image.Resampling.NEAREST)
    else:
        # a scene without a video has no size: the table reaches a little beyond its objects
        farthest = np.nanmax(places.reshape(-1, 2), axis=0, initial=1.0) * _SCALE
        image = Image.new("RGB", (int(farthest[0]) + 40, int(farthest[1]) + 40), (224, 222, 214))

    draw = ImageDraw.Draw(image)
    for o, name in enumerate(names):
        path = places[max(0, sample - _TRAIL) : sample + 1, o] * _SCALE
        # not in view at this sample
        if not len(path) or np.isnan(path[-1]).any():
            continue

        points = [tuple(point) for point in path[~np.isnan(path[:, 0])].tolist()]
        if len(points) > 1:
            draw.line(points, fill=_WHITE, width=1)

        x, y = points[-1]
        if observation.pictures is not None:
            draw.rectangle((x - 16, y - 16, x + 16, y + 16), outline=_WHITE)
        else:
            color = PALETTE.get(scene.objects[o][0], (0.5, 0.5, 0.5))
            draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=tuple(round(255 * share) for share in color))

        _draw_label(draw, name, x, y - 28, image.width)

    return image


def _draw_label(draw: ImageDraw.ImageDraw, words: str, x: float, y: float, width: int) -> None:
    half = draw.textlength(words) / 2
    left = min(max(x - half, 1), width - 2 * half - 1)
    draw.text((left, max(y, 0)), words, fill=_WHITE, stroke_width=1, stroke_fill=(20, 20, 20))


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
