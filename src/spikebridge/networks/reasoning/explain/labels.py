"""Labels of objects, events, neurons and facts in words; the words are in `labels.json`."""

from collections.abc import Sequence
from pathlib import Path

from spikebridge.data.io.json_text import read_json
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.events import EVENT_KINDS
from spikebridge.networks.reasoning.graph.worlds import Worlds

_WORDS: dict[str, dict[str, str]] = read_json(Path(__file__).with_suffix(".json"), "labels of neurons")


def object_labels(scene: Scene) -> list[str]:
    """Objects by colour and shape, with the material where that alone distinguishes two."""
    # most videos have at most one object of a colour and shape
    short = [(color, shape) for color, _, shape in scene.objects]
    return [
        f"{color} {shape}" if short.count((color, shape)) == 1 else f"{color} {material} {shape}"
        for color, material, shape in scene.objects
    ]


def event_labels(worlds: Worlds, objects: Sequence[str]) -> list[str]:
    """The events of a batch of one world, from the labels of its objects."""
    labels = []
    for kind, frame, numbers in zip(worlds.events.kind, worlds.events.frame, worlds.events.objects, strict=True):
        label = event_label(EVENT_KINDS[kind], [objects[o] for o in numbers if o >= 0])
        labels.append(f"{label} (frame {frame})")

    return labels


def event_label(kind: str, objects: Sequence[str]) -> str:
    """An event of a kind in words: `blue cube meets red ball`."""
    return _WORDS["events"][kind].format(*objects)


def neuron_label(name: str, objects: Sequence[str], events: Sequence[str]) -> str:
    """The meaning of a spike of a neuron: `object_moving[0]` is `blue cube moves then`."""
    group, _, number = name.rstrip("]").partition("[")
    if group not in _WORDS["neurons"]:
        return _WORDS["shared neurons"].get(name, name.replace("_", " "))

    labels = objects if group.startswith("object") else events
    return _WORDS["neurons"][group].format(labels[int(number)])


def fact_label(source: str, target: str, objects: Sequence[str], events: Sequence[str]) -> str:
    """The fact that a connection written from the scene states: `blue cube moves when red ball enters`."""
    numbers = {}
    for name in (source, target):
        group, _, number = name.rstrip("]").partition("[")
        if number and group.split("_")[0] in ("object", "event"):
            numbers[group] = int(number)

    # the two groups decide the kind of the fact
    event_names = [events[j] for group, j in numbers.items() if group.startswith("event")]
    if "event_cause" in numbers:
        return f"{event_names[1]} comes before, and is tied by objects to: {event_names[0]}"

    object_name = next((objects[o] for group, o in numbers.items() if group.startswith("object")), None)
    if object_name is None:
        return f"{event_names[0]} is {_WORDS['kinds of events'].get(source, f'the {source}')}"

    if event_names:
        verbs = {"object_moving": "moves when", "object_still": "is still when", "event_struck": "strikes in:"}
        verb = next((verbs[group] for group in numbers if group in verbs), "takes part in:")
        return f"{object_name} {verb} {event_names[0]}"

    if "whole" in (source, target):
        return f"{object_name} moves"

    return f"{object_name} is {target if source.startswith('object[') else source}"
