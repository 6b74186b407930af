"""How sure an answer is: the product of the perception scores of what it rests on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from spikebridge.networks.questions import Instructions
from spikebridge.networks.reasoning_reading import Record, Seat
from spikebridge.networks.reasoning_worlds import Worlds


def confidences(
    programs: Sequence[Instructions], seats: Sequence[Seat], record: Record, worlds: Worlds, num_steps: Sequence[int]
) -> Float[np.ndarray, "P"]:
    """The product of the scores of all objects and events that a program singled out or ended with.

    Objects count with the scores of all their attributes, events with their own. What was told, and not perceived, has
    the score 1.

    Args:
        programs: one a seat.
        seats: where they ran.
        record: of the run.
        worlds: in which they ran.
        num_steps: of each program.
    """
    sure = np.ones(len(programs))
    if (worlds.value_scores == 1).all() and (worlds.events.score == 1).all():
        return sure
    scores = {"object": worlds.value_scores.prod(1), "event": worlds.events.score}
    fired = {"object": record.objects.cpu().numpy(), "event": record.events.cpu().numpy()}
    numbers = {"object": worlds.num_objects, "event": worlds.num_events}
    total = len(fired["object"])
    for p, (program, seat, steps) in enumerate(zip(programs, seats, num_steps, strict=True)):
        for group in ("object", "event"):
            first = numbers[group][: seat.world].sum()
            own = slice(first, first + numbers[group][seat.world])
            moments = {
                total - steps + probe.step for probe in program.probes if probe.group == group and probe.most == 1
            }
            used = fired[group][sorted(moments | {total - 1}), own, seat.column].any(0)
            sure[p] *= scores[group][own][used].prod()
    return sure
