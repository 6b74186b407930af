"""The hybrid reasoning network: questions about scenes, answered by a spiking graph (R. Zhao et al., 2022).

Scenes become worlds, worlds connections, programs spike trains; the graph runs, and answers are read off its spikes.
All questions run in one pass; where an object is removed, a first pass finds which, and a second runs without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from spikebridge.data.scene_questions import Question
from spikebridge.data.scenes import Scene
from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.networks.operators import OperatorTable
from spikebridge.networks.program_tree import with_blanks
from spikebridge.networks.questions import Instructions, compile_program
from spikebridge.networks.questions_paper import compile_as_published
from spikebridge.networks.reasoning_reading import Answer, Status
from spikebridge.networks.reasoning_runs import Finding, Job, Setting, run_jobs
from spikebridge.networks.reasoning_worlds import World
from spikebridge.networks.spiking_graph import Faults
from spikebridge.networks.spiking_graph_presets import PRESETS, Preset, preset_of
from spikebridge.ops.graph_sums import Path

ReadsCollisions = Callable[[Sequence[Scene]], Sequence[Scene]]
"""What reads collisions from trajectories: the same scenes with collisions of its own (`Scene.with_collisions`)."""

__all__ = ["PRESETS", "Answer", "Faults", "ReadsCollisions", "Status", "answer"]


def answer(
    scenes: Scene | Sequence[Scene],
    questions: Sequence[Question],
    preset: str | Preset = "compartment",
    collisions: ReadsCollisions | None = None,
    causal: bool = False,
    abstain: bool = False,
    table: OperatorTable | None = None,
    path: Path | None = None,
    faults: Faults | None = None,
    device: str = "cpu",
) -> list[tuple[Answer, ...]]:
    """Answers questions about scenes, all in one pass (two where an object is removed).

    Args:
        scenes: the scenes that the questions name by `video`; a single scene serves all questions.
        questions: of any kind.
        preset: `paper`, `scaled` or `compartment`, or one of your own.
        collisions: reads collisions anew from the trajectories; None takes those of the scenes.
        causal: what-if events from those seen and foreseen where the removed object has no part in them.
        abstain: no value unless the status is `ok`.
        table: operators and attributes; None for the public vocabulary.
        path: how spikes are summed, `dense`, `sparse` or `events`; all give equal spikes.
        faults: what goes wrong in the graph; None for nothing.
        device: where the graph runs.

    Returns:
        For each question one answer a whole program (`Question.programs`): one for a descriptive question, else one a
        choice.

    Raises:
        ConfigError: a program that is not well typed, or that the graph cannot hold.
        DataError: a question about a video that is not there, or a scene that is too large.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"], ["blue", "rubber", "sphere"]],
        ...     trajectory=[[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]],
        ...     collisions=[[5, 0, 1]],
        ... )
        >>> program = "events objects red filter_color unique filter_collision unique objects red filter_color unique"
        >>> question = Question(1, "descriptive", (*program.split(), "query_collision_partner", "query_shape"))
        >>> answer(scene, [question])
        [(Answer(value='sphere', status='ok', confidence=1.0, margin=0.5),)]
    """
    table = table if table is not None else OperatorTable()
    setting = Setting(preset_of(preset), table, causal, path, faults, device)
    given = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if collisions is not None:
        given = list(collisions(given))
    number_of = _numbers(given)
    programs = _Programs(setting)
    asked = []
    for question in questions:
        scene = 0 if isinstance(scenes, Scene) else _find(question.video, number_of)
        asked.append([(scene, programs.compiled(tokens)) for tokens in question.programs])
    flat = [pair for pairs in asked for pair in pairs]
    answers = iter(_answers(given, flat, setting, abstain))
    return [tuple(next(answers) for _ in pairs) for pairs in asked]


def _answers(
    scenes: Sequence[Scene], asked: Sequence[tuple[int, Instructions]], setting: Setting, abstain: bool
) -> list[Answer]:
    """First everything about what was seen, and who is removed; then everything that is foreseen or supposed."""
    removals: list[tuple[int, Instructions | None]] = list(
        dict.fromkeys((scene, p.removal) for scene, p in asked if p.removal is not None)
    )
    seen = [number for number, (_, program) in enumerate(asked) if program.world == "observed"]
    jobs = [Job(World(scene), removal) for scene, removal in removals if removal is not None]
    jobs += [Job(World(asked[number][0]), asked[number][1]) for number in seen]
    findings = run_jobs(scenes, jobs, setting)
    removed: dict[tuple[int, Instructions | None], Finding] = dict(zip(removals, findings, strict=False))
    result = dict(zip(seen, findings[len(removals) :], strict=True))
    other = [number for number in range(len(asked)) if number not in result]
    jobs = [Job(_world(*asked[number], removed), asked[number][1]) for number in other]
    for number, finding in zip(other, run_jobs(scenes, jobs, setting), strict=True):
        scene, program = asked[number]
        result[number] = _joined(finding, removed.get((scene, program.removal)))
    return [_said(result[number], abstain) for number in range(len(asked))]


def _world(scene: int, program: Instructions, removed: dict[tuple[int, Instructions | None], Finding]) -> World:
    if program.world == "predicted":
        return World(scene, "predicted")
    return World(scene, removed[scene, program.removal].found)


def _joined(finding: Finding, removal: Finding | None) -> Finding:
    """An answer rests on the finding of the removed object, too."""
    if removal is None:
        return finding
    return finding._replace(
        status=removal.status if removal.status != "ok" else finding.status,
        confidence=finding.confidence * removal.confidence,
        margin=min(finding.margin, removal.margin),
    )


def _said(finding: Finding, abstain: bool) -> Answer:
    said = Answer(finding.value, finding.status, finding.confidence, finding.margin)
    return replace(said, value=None) if abstain and finding.status != "ok" else said


class _Programs:
    """Programs that differ in their words alone are compiled once."""

    def __init__(self, setting: Setting) -> None:
        self.table = setting.table
        self.compiler = compile_program if setting.preset.exact else compile_as_published
        self.known: dict[tuple[str, ...], Instructions] = {}

    def compiled(self, tokens: tuple[str, ...]) -> Instructions:
        blank, words = with_blanks(tokens, self.table)
        if blank not in self.known:
            try:
                self.known[blank] = self.compiler(blank, self.table)
            except ConfigError:
                return self.compiler(tokens, self.table)  # which says it in the words that were given
        return self.known[blank].filled(words)


def _numbers(scenes: Sequence[Scene]) -> dict[int | str, int]:
    number_of: dict[int | str, int] = {}
    for number, scene in enumerate(scenes):
        if scene.video in number_of:
            raise DataError(f"there are two scenes of video {scene.video}; give each once")
        number_of[scene.video] = number
    return number_of


def _find(video: int | str, number_of: dict[int | str, int]) -> int:
    if video not in number_of:
        raise DataError(
            f"a question is about video {video}, but there is no scene of it; "
            f"{did_you_mean(str(video), [str(known) for known in list(number_of)[:20]])}"
        )
    return number_of[video]
