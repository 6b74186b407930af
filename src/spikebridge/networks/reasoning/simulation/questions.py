"""Random descriptive questions about the objects of a scene, in words and as programs."""

from numpy.random import Generator

from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.simulation.templates import Reference, descriptive


def unique_reference(scene: Scene, number: int, generator: Generator) -> Reference:
    """A random reference that selects one object of a scene and no other."""
    objects = scene.objects
    for size in (1, 1, 2, 2, 3):
        named = set(generator.permutation(3)[:size].tolist())
        values = [value if k in named else None for k, value in enumerate(objects[number])]
        selected = [o for o in objects if all(v is None or v == w for v, w in zip(values, o, strict=True))]
        if len(selected) == 1:
            return Reference(*values)

    return Reference(*objects[number])


def descriptive_question(scene: Scene, generator: Generator) -> Question:
    """A random descriptive question without an answer; its references select objects of the scene."""

    def refer_set() -> Reference:
        is_named = generator.random(3) < (0.35, 0.3, 0.35)
        values = scene.objects[int(generator.integers(len(scene.objects)))]
        return Reference(*(value if named else None for value, named in zip(values, is_named, strict=True)))

    def refer_one() -> Reference:
        return unique_reference(scene, int(generator.integers(len(scene.objects))), generator)

    subtype, phrase = descriptive(generator, refer_set, refer_one)
    return Question(scene.video, "descriptive", phrase.program, text=phrase.text, subtype=subtype)
