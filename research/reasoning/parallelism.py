"""Speed of the batched reasoning graph, and growth of its time and steps with the scene and the batch.

    python research/reasoning/parallelism.py [--data FOLDER]

One thread, process time, medians of interleaved rounds. Three ways to the same answers on the same programs:

- *engine*: all programs about all videos in one pass, worlds built once, sparse.
- *by loops*: one program and one world at a time, as the published code: the graph is built for each question by loops
  over objects and events into a dense matrix, then multiplied step by step. It gives equal answers.
- *by arrays*: one program and one world at a time with the code of the package, dense.

Building and compiling are included everywhere. With `--data` there are real questions in addition to random ones.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from research.reasoning.graphs.published_graph import MAX_EVENTS, PublishedTable, compile_as_published, published
from research.reasoning.scenes import QuestionSet, crowded_scene, random_questions, real_questions
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.executor import Executor
from spikebridge.networks.reasoning.graph.compiler import compile_program
from spikebridge.networks.reasoning.graph.run import (
    Execution,
    Query,
    RunOptions,
    answer,
    assign_slots,
    run_batch,
    run_questions,
)
from spikebridge.networks.reasoning.graph.worlds import World
from spikebridge.networks.reasoning.parsing.operators import OperatorTable
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "parallelism.json"
TABLE = PublishedTable()
ROUNDS = 3
SAMPLE = 60
PROGRAM = (
    "events objects blue filter_color unique filter_collision first filter_order objects blue filter_color unique "
    "query_collision_partner query_color"
)


def by_loops(scene: Scene, tokens: tuple[str, ...]) -> str | None:
    """One program as in the published code: a dense graph by loops, built for this question."""
    program = compile_as_published(tokens, TABLE)
    matrix, place = _graph_by_loops(scene)
    v = spikes = torch.zeros(len(matrix))

    for name in [*program.names, "silence"][: len(program.names) + 1]:
        steps = TABLE.trains[name] if name != "silence" or len(program.names) == 0 else ((),)
        for stimulated in steps:
            x = torch.zeros(len(matrix))
            for neuron in stimulated:
                x[place[neuron]] = 200.0 if neuron in TABLE.words else 100.0
            v = x + matrix @ spikes
            spikes = (v >= 100).float()

    if program.reads in TABLE.attributes:
        return next((value for value in TABLE.attributes[program.reads] if spikes[place[value]]), None)

    level = int(v[place["match" if program.reads == "match" else "count"]])
    if program.reads == "count":
        return str(level)
    if program.reads == "exist":
        return "yes" if level else "no"

    return "correct" if bool(level) != program.negated else "wrong"


class Observation(NamedTuple):
    """Events in order of time, and the objects that are visible and that move at each sample."""

    events: list[tuple[str, int, list[int]]]
    frames: list[int]
    visible: list[set[int]]
    moving: list[set[int]]


def _observe_by_loops(scene: Scene) -> Observation:
    """Entrances, exits and motion, sample by sample and object by object."""
    frames = [int(frame) for frame in scene.frames]
    at = [{o: row[o] for o in range(scene.num_objects) if not np.isnan(row[o][0])} for row in scene.positions]
    moving: list[set[int]] = []
    changes: list[tuple[str, int, list[int]]] = []

    for i, places in enumerate(at):
        moving.append(set())
        for o, place in places.items():
            speeds = []
            if i > 0 and o in at[i - 1]:
                speeds.append((place - at[i - 1][o]) / (frames[i] - frames[i - 1]))
            elif i > 0:
                changes.append(("in", frames[i], [o]))

            if i + 1 < len(at) and o in at[i + 1]:
                speeds.append((at[i + 1][o] - place) / (frames[i + 1] - frames[i]))
            elif i + 1 < len(at):
                changes.append(("out", frames[i + 1], [o]))

            if speeds and np.linalg.norm(np.average(speeds, axis=0)) > 0.1:
                moving[-1].add(o)

    events: list[tuple[str, int, list[int]]] = [("start", 0, []), ("end", 125, [])]
    # exits of a frame come before its entrances
    events += sorted(changes, key=lambda event: event[0] == "in")
    events += [("collision", int(frame), [int(a), int(b)]) for frame, a, b in scene.collisions]

    return Observation(sorted(events, key=lambda event: event[1]), frames, [set(places) for places in at], moving)


def _graph_by_loops(scene: Scene) -> tuple[torch.Tensor, dict[str, int]]:
    """The published weights, one by one (drive 100, gate 99, channel 1)."""
    observation = _observe_by_loops(scene)
    events = observation.events[:MAX_EVENTS]
    names = published().layout.names(scene.num_objects, len(events))
    place = {name: n for n, name in enumerate(names)}
    matrix = torch.zeros(len(names), len(names))

    def join(source: str, target: str, weight: float) -> None:
        matrix[place[target], place[source]] = weight

    for kind, values in TABLE.attributes.items():
        for value in values:
            join(f"kind_{kind}", value, 99)

    for o in range(scene.num_objects):
        neuron = f"object[{o}]"
        for source, weight in (("all_objects", 100), (neuron, 100), ("admit_objects", 99), ("dismiss_objects", -1)):
            join(source, neuron, weight)

        for source, weight in (("veto", -100), ("moving", 1), ("still", 1), ("involved", 1)):
            join(f"object_{source}[{o}]", neuron, weight)

        memory = f"object_memory[{o}]"
        for source, weight in (("store_objects", 99), (neuron, 1), (memory, 100), ("compare", -1)):
            join(source, memory, weight)

        join(f"object_involved[{o}]", memory, 1)
        join(memory, "match", 1)
        join(neuron, "count", 1)
        join("veto", f"object_veto[{o}]", 99)
        join(neuron, f"object_veto[{o}]", 1)
        join("ask_moving", f"object_moving[{o}]", 99)
        join("ask_still", f"object_still[{o}]", 100)
        join("ask_involved", f"object_involved[{o}]", 99)

        for value in scene.objects[o]:
            join(neuron, value, 1)
            join(value, neuron, 1)

    needs: list[set[int]] = []
    for j, (word, frame, members) in enumerate(events):
        neuron = f"event[{j}]"
        memory = f"event_memory[{j}]"
        for source, weight in (("all_events", 100), (neuron, 100), ("admit_events", 99), ("dismiss_events", -1)):
            join(source, neuron, weight)

        for source in ("touched", "cause", "earlier", "later"):
            join(f"event_{source}[{j}]", neuron, 1)

        for source, weight in (("store_events", 99), (neuron, 1), (memory, 100), ("compare", -1)):
            join(source, memory, weight)

        join(memory, "match", 1)
        join(neuron, "count", 1)
        join("ask_causes", f"event_cause[{j}]", 99)

        for source, group, weight in (
            ("ask_before", "earlier", 100),
            ("ask_first", "earlier", 101),
            ("ask_first_two", "earlier", 102),
            ("ask_after", "later", 100),
            ("ask_last", "later", 101),
        ):
            join(source, f"event_{group}[{j}]", weight)

        for k in range(j + 1):
            join(f"event[{k}]", f"event_earlier[{j}]", -1)
            join(neuron, f"event_later[{k}]", -1)

        if word in ("start", "end"):
            join(word, neuron, 1)
        else:
            join({"in": "ask_entering", "out": "ask_leaving"}.get(word, "ask_colliding"), f"event_touched[{j}]", 99)

        frames = observation.frames
        sample = min(range(len(frames)), key=lambda s, frame=frame: abs(frames[s] - frame))
        for o in range(scene.num_objects):
            if o in members:
                join(neuron, f"object_involved[{o}]", 1)
                join(f"object[{o}]", f"event_touched[{j}]", 1)

            moves = o in observation.moving[sample]
            if moves or (word == "collision" and o in members):
                join(neuron, f"object_moving[{o}]", 1)
            if o not in observation.visible[sample] or moves:
                join(neuron, f"object_still[{o}]", -1)

        needs.append(set())
        for k in range(j):
            if set(members) & set(events[k][2]):
                needs[j] |= {k} | needs[k]

        for k in needs[j]:
            join(neuron, f"event_cause[{k}]", 1)

    return matrix, place


def seconds(run: Callable[..., object], *arguments: object) -> float:
    """Process time of one call."""
    begin = time.process_time()
    run(*arguments)
    return time.process_time() - begin


def median_seconds(number: int, run: Callable[..., object], *arguments: object) -> float:
    """The median of a number of calls."""
    return statistics.median(seconds(run, *arguments) for _ in range(number))


def execute_repeatedly(executor: Executor, number: int) -> None:
    """Runs the same program a number of times."""
    for _ in range(number):
        executor.run(PROGRAM.split())


def build_and_run(scenes: list[Scene], queries: list[Query], options: RunOptions) -> None:
    """Builds the graph of queries and runs it."""
    run_batch(assign_slots(scenes, queries, options), options)


def compare_one_at_a_time(data: QuestionSet) -> dict[str, object]:
    """Milliseconds of a program in three ways and by the executor, and their ratios, in interleaved rounds."""
    scene_of = {scene.video: scene for scene in data.scenes}
    flat = [(scene_of[q.video], program) for q in data.questions for program in q.programs]
    rng = np.random.default_rng(0)
    sample = [flat[i] for i in rng.choice(len(flat), min(SAMPLE, len(flat)), replace=False)]
    alone = [(scene, [Question(scene.video, "descriptive", program)]) for scene, program in sample]
    paper = [run_questions([scene], question, published())[0][0].value for scene, question in alone]
    equal = sum(value == by_loops(*pair) for value, pair in zip(paper, sample, strict=True))
    ways: dict[str, list[float]] = {"engine": [], "engine, paper": [], "by loops": [], "by arrays": [], "executor": []}

    # the ways take turns, so that a busy machine slows all of them
    for _ in range(ROUNDS):
        ways["engine"].append(seconds(lambda: answer(data.scenes, data.questions)) / len(flat))
        ways["engine, paper"].append(
            seconds(lambda: run_questions(data.scenes, data.questions, published())) / len(flat)
        )
        ways["by loops"].append(seconds(lambda: [by_loops(*pair) for pair in sample]) / len(sample))
        ways["by arrays"].append(
            seconds(lambda: [answer(*pair, execution=Execution("dense")) for pair in alone]) / len(sample)
        )
        ways["executor"].append(seconds(lambda: [Executor(scene).run(p) for scene, p in sample]) / len(sample))

    ms = {way: round(1e3 * statistics.median(times), 4) for way, times in ways.items()}
    return {
        "scenes": data.name,
        "num_videos": len(data.scenes),
        "num_programs": len(flat),
        "sample_of_one_at_a_time": len(sample),
        "by_loops_equal_to_paper_preset": f"{equal} of {len(sample)}",
        "ms_a_program": ms,
        "engine_over_loops": round(ms["by loops"] / ms["engine"], 1),
        "engine_over_arrays": round(ms["by arrays"] / ms["engine"], 1),
        "paper_engine_over_loops": round(ms["by loops"] / ms["engine, paper"], 1),
        "spread_of_rounds_ms": {way: [round(1e3 * min(t), 4), round(1e3 * max(t), 4)] for way, t in ways.items()},
    }


def growth_with_the_scene() -> dict[str, object]:
    """Steps, connections and time of a batch of 16 equal queries, by number of objects and events."""
    rows = []
    for num_objects, num_events in ((2, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, 256)):
        scene = crowded_scene(num_objects, num_events, seed=num_objects)
        table = OperatorTable(attributes=scene.attributes)
        options = RunOptions(table=table)
        program = compile_program(PROGRAM.split(), table)
        queries = [Query(World(0), program)] * 16
        batch = assign_slots([scene.scene], queries, options)
        build = median_seconds(3, assign_slots, [scene.scene], queries, options)
        run = median_seconds(5, run_batch, batch, options)
        executor = Executor(scene.scene, table)
        execution = median_seconds(3, execute_repeatedly, executor, 16)

        rows.append(
            {
                "objects": num_objects,
                "events": num_events,
                "neurons": batch.graph.indices.num_neurons,
                "connections": batch.graph.num_connections,
                "steps": program.num_steps(table),
                "build_ms": round(1e3 * build, 3),
                "run_ms": round(1e3 * run, 3),
                "executor_ms": round(1e3 * execution, 3),
            }
        )

        print(rows[-1], flush=True)

    # smaller scenes take little more than the calls themselves
    large = rows[3:]
    slope = np.polyfit(np.log([r["connections"] for r in large]), np.log([r["run_ms"] for r in large]), 1)[0]

    return {"rows": rows, "power_of_run_time_in_connections_from_16_objects": round(float(slope), 2)}


def growth_with_the_batch(data: QuestionSet) -> dict[str, object]:
    """Time of a query, by number of queries about one video, and by number of videos."""
    program = compile_program(PROGRAM.split(), TABLE)
    options = RunOptions()
    queries = []

    for number in (1, 4, 16, 64, 256, 1024):
        batch = assign_slots(data.scenes[:1], [Query(World(0), program)] * number, options)
        run = median_seconds(3, run_batch, batch, options)
        queries.append({"queries": number, "run_ms": round(1e3 * run, 3), "ms_a_query": round(1e3 * run / number, 4)})
        print(queries[-1], flush=True)

    videos = []
    for number in (1, 4, 16, 64, 256):
        # a set may have fewer videos
        scenes = (list(data.scenes) * 256)[:number]
        worlds = [Query(World(v), program) for v in range(number)]
        total = median_seconds(3, build_and_run, scenes, worlds, options)
        videos.append({"videos": number, "ms": round(1e3 * total, 3), "ms_a_video": round(1e3 * total / number, 4)})
        print(videos[-1], flush=True)

    return {"queries_about_one_video": queries, "videos_with_building": videos}


def main() -> None:
    """Runs all three parts and writes their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with clevrer/; without it only random scenes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    random = random_questions(num_videos=200, programs_a_video=8, seed=0)
    sets = [random] if options.data is None else [real_questions(options.data), random]

    results = {
        "beside_one_at_a_time": [compare_one_at_a_time(data) for data in sets],
        "growth_with_the_scene": growth_with_the_scene(),
        "growth_with_the_batch": growth_with_the_batch(random),
        "targets": {"engine_over_loops": 20, "steps": "constant", "power_in_connections": "near 1"},
        "environment": {**describe_environment(), "threads": 1, "clock": "process time"},
    }

    print(json.dumps(results["beside_one_at_a_time"], indent=1))
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
