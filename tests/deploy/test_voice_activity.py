"""Utterances in a stream: the answers of a network are those of its words, not of the silence between them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikebridge.deploy.streaming.activity import ActivityState, VoiceActivity
from spikebridge.deploy.streaming.samples import SampleReader, SampleSteps
from spikebridge.networks.signals.data.activity import activity_times, voice_activity
from spikebridge.networks.signals.data.windows import Windows

Samples = NDArray[np.float32]
BLOCK = 160
SECONDS = 0.02  # of a block
DETECTOR = VoiceActivity(SECONDS, hangover=9, shortest=3)
WORDS = {"low": 10, "high": 40}  # periods in a block


class FrontEnd:
    """Blocks as they are."""

    rate_hz = BLOCK / SECONDS
    num_channels = 1
    block = BLOCK

    def initial_state(self) -> None:
        return None

    def advance(self, samples: Samples, state: None) -> tuple[dict[str, Samples], None]:
        return {"x": samples}, None


def answers_of(inputs: dict[str, Any], state: Any, ticks: int) -> tuple[dict[str, Any], Any]:
    """Logits of "low" and "high" by the frequency, of "other" by anything else."""
    power = np.abs(np.fft.rfft(inputs["x"][:, 0])) ** 2
    shares = [power[periods] / (power.sum() + 1e-9) for periods in WORDS.values()]
    return {"answer": 5 * np.array([*shares, 1 - sum(shares)])}, state


def steps_of(detector: VoiceActivity | None, window: int = 35) -> SampleSteps:
    reader = SampleReader(FrontEnd(), 1, window, (*WORDS, "other"), activity=detector)
    return SampleSteps(reader, frozenset({"x"}), answers_of)


def word(name: str, blocks: int = 15, level: float = -20.0) -> Samples:
    """A word that swells and fades, at a level [dB]."""
    phase = 2 * np.pi * WORDS[name] * np.arange(blocks * BLOCK) / BLOCK
    shape = np.sin(np.pi * (np.arange(blocks * BLOCK) + 0.5) / (blocks * BLOCK)) + 0.03
    return (np.sqrt(2) * 10 ** (level / 20) * shape * np.sin(phase)).astype(np.float32)


def background(blocks: int, level: float | None) -> Samples:
    """White noise at a level [dB], or digital silence."""
    amplitude = 0.0 if level is None else 10 ** (level / 20)
    return (amplitude * np.random.default_rng(0).standard_normal(blocks * BLOCK)).astype(np.float32)


def played(steps: SampleSteps, pieces: Sequence[Samples], together: int = 1) -> list[str]:
    """The final answers of a stream of pieces, with some blocks a step."""
    samples = np.concatenate(pieces)[:, None]
    blocks = [samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK)]
    state = None
    for start in range(0, len(blocks), together):
        _, state = steps(blocks[start : start + together], state)

    return [answer["answer"] for answer in steps.finish()]


@pytest.mark.parametrize("noise", [None, -60.0], ids=["digital silence", "noise"])
@pytest.mark.parametrize("before", [0, 12, 40])
@pytest.mark.parametrize("level", [-10.0, -30.0])
@pytest.mark.parametrize("blocks", [8, 30])
def test_a_word_in_silence_or_noise_is_the_last_answer(
    noise: float | None, before: int, level: float, blocks: int
) -> None:
    for name in WORDS:
        stream = [background(before, noise), word(name, blocks, level), background(60, noise)]
        assert played(steps_of(DETECTOR), stream)[-1] == name
        # a clock ends in the silence
        assert played(steps_of(None), stream)[-1] != name or before + blocks > 60


@pytest.mark.parametrize("together", [1, 4, 200])
def test_words_with_pauses_are_answered_one_by_one_however_many_blocks_a_step_takes(together: int) -> None:
    names = ["low", "high", "high", "low"]
    pieces = [piece for name in names for piece in (word(name), background(20, -70.0))]
    assert played(steps_of(DETECTOR), pieces, together) == names


def test_a_pause_shorter_than_the_hangover_is_part_of_a_word() -> None:
    def answers(pause: int) -> list[str]:
        return played(steps_of(DETECTOR), [word("low", 8), background(pause, None), word("low", 8)])

    assert answers(3) == ["low"]
    assert answers(12) == ["low", "low"]


def test_a_recording_that_is_cut_to_its_word_is_answered() -> None:
    phase = 2 * np.pi * WORDS["high"] * np.arange(10 * BLOCK) / BLOCK
    assert played(steps_of(DETECTOR), [(0.1 * np.sin(phase)).astype(np.float32)]) == ["high"]


def test_clicks_and_steady_noise_are_no_words() -> None:
    click = word("high", 1)
    assert played(steps_of(DETECTOR), [word("low"), background(20, None), click, background(20, None)]) == ["low"]
    assert played(steps_of(DETECTOR), [background(100, -40.0)]) == []
    assert played(steps_of(DETECTOR), [background(50, None), background(100, -40.0)]) == []


def test_the_silence_between_words_has_no_answer_and_takes_no_step_of_the_network() -> None:
    steps = steps_of(DETECTOR)
    calls = []
    steps.advance = lambda inputs, state, ticks: calls.append(1) or answers_of(inputs, state, ticks)  # type: ignore[func-returns-value]
    state = None
    blocks = np.concatenate([word("low", 10), background(50, None)])[:, None].reshape(-1, BLOCK, 1)
    for block in blocks:
        answer, state = steps([block], state)

    assert answer["answer"] is None
    assert len(calls) <= 10 + DETECTOR.hangover


def test_an_unfinished_window_is_no_final_answer_but_where_there_is_no_other() -> None:
    silence = background(5, None)
    assert played(steps_of(None, window=10), [word("low", 10), silence]) == ["low"]
    assert played(steps_of(None, window=10), [word("high", 8)]) == ["high"]


def test_each_stream_has_its_answers() -> None:
    steps = steps_of(DETECTOR)
    for name in WORDS:
        state = None
        for block in word(name).reshape(-1, BLOCK, 1):
            _, state = steps([block], state)

    assert [answer["answer"] for answer in steps.finish()] == list(WORDS)


def test_the_times_of_a_detector_are_those_of_the_training_recordings() -> None:
    longest = np.concatenate([word("low", 6), background(5, None), word("low", 6)])
    samples = np.stack([longest, np.concatenate([word("high", 12), background(5, None)])])[:, :, None]
    zeros = np.zeros(2, np.int64)
    lengths = np.array([17 * BLOCK, 12 * BLOCK])
    times = activity_times(Windows(samples, lengths, zeros, zeros, zeros, np.zeros((2, 0), np.float32)), SECONDS, BLOCK)
    detector = voice_activity(times, SECONDS)

    # soft ends of the words are 20 dB below their peaks, one block each
    assert detector.hangover in (6, 7, 8)
    assert 4 <= detector.shortest <= 6
    assert voice_activity({}, SECONDS) == DETECTOR


def test_the_floor_follows_noise_that_grows_and_falls() -> None:
    state = ActivityState(False)
    for level in (-70.0, -50.0, -70.0):
        for block in background(100, level).reshape(-1, BLOCK, 1):
            state = DETECTOR.advance(block, state)

        assert not state.is_open
        assert abs(state.floor - level) < 3
