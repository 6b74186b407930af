"""An oracle of the published network: its instructions as plain changes of sets, with its clips, without spikes."""

from typing import Any

from research.reasoning.graphs.published_graph import PublishedTable, compile_as_published
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.executor import Event, Executor
from spikebridge.networks.reasoning.graph.compiler import Instructions

CLIP = 20
CLIP_SUPPOSED = 5
ASKS = {"filter_in": "in", "filter_out": "out", "filter_collision": "collision"}


class AsPublished:
    """Runs programs about a scene as the published network does."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.table = PublishedTable()
        self.executor = Executor(scene)

    def run(self, tokens: list[str]) -> str | None:
        program = compile_as_published(tokens, self.table)
        events = self.executor.seen.events[:CLIP]
        if program.removal is not None:
            found = _Sets(self, events, True).after(program.removal).objects
            rows = self.scene.what_if.get(max(found), []) if found else []
            return self._supposed(program, rows)

        if program.world == "predicted":
            return self._supposed(program, self.scene.predicted)

        sets = _Sets(self, events, True).after(program)
        if program.reads in self.table.attributes:
            values = {self.executor._value(o, program.reads) for o in sets.objects}
            return next((v for v in self.table.attributes[program.reads] if v in values), None)

        if program.reads == "match":
            level = len(sets.stored_objects) + len(sets.stored_events)
            return "correct" if bool(level) != program.negated else "wrong"

        level = len(sets.objects) + len(sets.events)
        return str(level) if program.reads == "count" else ("yes" if level else "no")

    def _supposed(self, program: Instructions, rows: Any) -> str:
        events = [
            Event(k, "collision", 0, frozenset((int(a), int(b)))) for k, (_, a, b) in enumerate(rows[:CLIP_SUPPOSED])
        ]
        sets = _Sets(self, events, False).after(program)
        return "correct" if bool(sets.objects or sets.events) != program.negated else "wrong"


class _Sets:
    """The four sets that a net holds; events by rank."""

    def __init__(self, owner: AsPublished, events: list[Event], observed: bool) -> None:
        self.executor = owner.executor
        self.table = owner.table
        self.all = events
        self.observed = observed
        self.objects: set[int] = set()
        self.events: set[int] = set()
        self.stored_objects: set[int] = set()
        self.stored_events: set[int] = set()

    def after(self, program: Instructions) -> "_Sets":
        for name in program.names:
            self.take(name)
        return self

    def involved(self) -> set[int]:
        return set().union(*(self.all[k].objects for k in self.events)) if self.events else set()

    def moves(self, o: int, event: Event) -> bool:
        partner = event.kind == "collision" and o in event.objects
        return self.observed and (partner or self.executor._moves(o, event.frame))

    def is_still(self, o: int, event: Event) -> bool:
        frame = event.frame
        return self.observed and self.executor._is_visible(o, frame) and not self.executor._moves(o, frame)

    def take(self, name: str) -> None:
        ranks = range(len(self.all))
        if name == "objects":
            self.objects = set(range(self.executor.scene.num_objects))
        elif name.startswith("events"):
            if "storing" in name:
                self.stored_objects |= self.objects
                self.stored_events |= self.events
            self.events = set(ranks)
        elif name in ASKS:
            self.events = {
                k for k in self.events if self.all[k].kind == ASKS[name] and self.all[k].objects & self.objects
            }
            self.objects = set()
        elif name in ("filter_start", "filter_end"):
            self.events = {k for k in self.events if self.all[k].kind == name.removeprefix("filter_")}
        elif name == "filter_moving":
            self.objects = {o for o in self.objects if any(self.moves(o, self.all[k]) for k in self.events)}
            self.events = set()
        elif name == "filter_stationary":
            self.objects = {o for o in self.objects if all(self.is_still(o, self.all[k]) for k in self.events)}
            self.events = set()
        elif name == "filter_ancestor":
            self.events = {k for k in ranks for j in self.events if (j, k) in self.executor.seen.causes}
        elif name == "filter_before":
            self.events = {j for j in ranks if not any(k <= j for k in self.events)}
        elif name == "filter_after":
            self.events = {j for j in ranks if not any(k >= j for k in self.events)}
        elif name in ("first", "last", "second"):
            ordered = sorted(self.events)
            kept = {"first": ordered[:1], "last": ordered[-1:], "second": ordered[:2][-1:]}
            self.events = set(kept[name])
        elif name == "query_object":
            self.objects |= self.involved()
        elif name == "query_collision_partner":
            self.objects = self.involved() - self.objects
        elif name == "belong_to":
            self.stored_objects &= self.involved() | self.objects
            self.stored_events &= self.events
        elif name.removeprefix("filter_") in self.table.words:
            value = name.removeprefix("filter_")
            self.objects = {o for o in self.objects if value in self.executor.scene.objects[o]}
