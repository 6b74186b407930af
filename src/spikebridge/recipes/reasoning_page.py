"""The page of an explained answer: pictures of the video, the answer, for each choice the raster and the reasons."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image, ImageDraw

from spikebridge.data.rolling_pictures import PAINT
from spikebridge.data.scenes import Scene
from spikebridge.networks.tracing_pages import as_html
from spikebridge.networks.tracing_words import object_words
from spikebridge.recipes.reasoning_answers import Reply, Seen, reasons

_SCALE = 2
_MOST_PICTURES = 6
_TRAIL = 5  # samples of the way that an object came
_TEMPLATE = Path(__file__).with_name("reasoning_page.html.j2")


def explained_page(seen: Seen, reply: Reply) -> str:
    """One page that needs nothing else.

    Args:
        seen: what was asked about.
        reply: what was answered.
    """
    explanations = reasons(seen, reply.question)
    frames = picture_strip(seen)
    if reply.question.kind == "descriptive":
        return as_html(explanations[0], reply.question.text, frames)
    judged = zip(reply.question.choices, reply.answers, explanations, strict=True)
    sections = [(choice.text, said, as_html(explanation, choice.text)) for choice, said, explanation in judged]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    opened = next((k for k, said in enumerate(reply.answers) if said.value == "correct"), 0)
    return template.render(question=reply.question, frames=frames, sections=sections, opened=opened)


def picture_strip(seen: Seen) -> list[tuple[str, str]]:
    """The moments that matter, each a caption and a picture as a data URI: begin, collisions, end."""
    scene = seen.scene
    names = object_words(scene)
    moments = [(int(scene.frames[0]), "the video begins")] if len(scene.frames) else []
    met = sorted(scene.collisions.tolist())
    moments += [(frame, f"{names[a]} meets {names[b]}") for frame, a, b in met[: _MOST_PICTURES - 2]]
    moments += [(int(scene.frames[-1]), "the video ends")] if len(scene.frames) > 1 else []
    return [(f"frame {frame}: {words}", _data_uri(_picture(seen, frame, names))) for frame, words in moments]


def _picture(seen: Seen, frame: int, names: list[str]) -> Image.Image:
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
