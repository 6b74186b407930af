"""Labels of objects, events, neurons and facts in words."""

from collections.abc import Sequence

from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.events import EVENT_KINDS
from spikebridge.networks.reasoning.graph.worlds import Worlds


def object_labels(scene: Scene) -> list[str]:
    """Objects by colour and shape, with the material where that alone tells two apart."""
    short = [(color, shape) for color, _, shape in scene.objects]
    return [
        f"{color} {shape}" if short.count((color, shape)) == 1 else f"{color} {material} {shape}"
        for color, material, shape in scene.objects
    ]


def event_labels(worlds: Worlds, names: Sequence[str]) -> list[str]:
    """The events of one world."""
    labels = []
    for kind, frame, who in zip(worlds.events.kind, worlds.events.frame, worlds.events.objects, strict=True):
        those = [names[o] for o in who if o >= 0]
        text = {
            "start": "the video begins",
            "end": "the video ends",
            "in": "{} enters",
            "out": "{} leaves",
            "collision": "{} meets {}",
        }[EVENT_KINDS[kind]]

        labels.append(f"{text.format(*those)} (frame {frame})")

    return labels


_MEANINGS = {
    "object": "{} is in the set",
    "object_memory": "{} is remembered",
    "object_veto": "{} is excluded",
    "object_moving": "{} moves then",
    "object_still": "{} is still then",
    "object_involved": "{} takes part",
    "event": "in the set: {}",
    "event_memory": "remembered: {}",
    "event_touched": "involves one of the objects: {}",
    "event_cause": "is a cause: {}",
    "event_earlier": "is early enough: {}",
    "event_later": "is late enough: {}",
    "event_before": "is before: {}",
    "event_after": "is after: {}",
}
_SHARED_MEANINGS = {
    "match": "memory and set agree",
    "count": "the set is counted",
    "whole": "the whole video is looked at",
}


def neuron_label(name: str, objects: Sequence[str], events: Sequence[str]) -> str:
    """The meaning of a spike of a neuron."""
    group, _, rest = name.partition("[")
    if group not in _MEANINGS:
        return _SHARED_MEANINGS.get(name, name.replace("_", " "))

    named = objects if group.startswith("object") else events
    return _MEANINGS[group].format(named[int(rest.rstrip("]"))])


def fact_label(source: str, target: str, objects: Sequence[str], events: Sequence[str]) -> str:
    """The fact that a connection written from the scene states."""
    places = {}
    for name in (source, target):
        group, _, rest = name.partition("[")
        if rest and group.split("_")[0] in ("object", "event"):
            places[group] = int(rest.rstrip("]"))

    o = next((i for group, i in places.items() if group.startswith("object")), None)
    among = [j for group, j in places.items() if group.startswith("event")]
    if "event_cause" in places:
        return f"{events[among[1]]} comes before, and is tied by objects to: {events[among[0]]}"

    if o is not None and among:
        verb = {"object_moving": "moves when", "object_still": "is still when"}
        says = next((verb[group] for group in places if group in verb), "takes part in:")
        return f"{objects[o]} {says} {events[among[0]]}"

    if o is not None:
        value = source if source not in (f"object[{o}]",) else target
        return f"{objects[o]} moves" if "whole" in (source, target) else f"{objects[o]} is {value}"

    kinds = {"ask_entering": "an entrance", "ask_leaving": "an exit", "ask_colliding": "a collision"}
    return f"{events[among[0]]} is {kinds.get(source, f'the {source}')}"
