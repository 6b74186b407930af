"""A manifest agrees with itself and with the signals of the trained network on the sample."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import DT, edited
from torch import Tensor, nn

from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, Runner, export
from spikebridge.deploy.bundle.consistency import check_consistency
from spikebridge.deploy.bundle.manifest import ClockRecord, Manifest, StageRecord, UnitRecord
from spikebridge.errors import DataError
from spikebridge.hybrid import HybridNetwork, Transmission, every

# spiking_network on 12 ticks of 2 streams: events (3) -> first (4), every tick; by Tumbling(2) -> second (4), every
# second tick from tick 1; the mean of second -> first.fire.r, held, 2 ticks later


def part(name: str, **values: Any) -> Callable[[Manifest], Manifest]:
    return lambda m: replace(m, parts={**m.parts, name: replace(m.parts[name], **values)})


def link(index: int, **values: Any) -> Callable[[Manifest], Manifest]:
    return lambda m: replace(
        m, links=tuple(replace(one, **values) if i == index else one for i, one in enumerate(m.links))
    )


def sample_of(bundle: Bundle) -> dict[str, Any]:
    return dict(bundle.numbers(bundle.manifest.sample.file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (part("first", spikes=False), "part 'first' has spikes = false, but it gave spikes on the sample"),
        (part("first", shape=(5,)), r"'first' gave values of shape \(4,\) on the sample, but the manifest says \(5,\)"),
        (part("first", side="ann"), "side 'ann' in format 'nir' and has no file of a first state, which do not fit"),
        (part("first", format="onnx"), "side 'snn' in format 'onnx' and has no file of a first state"),
        (part("first", clock=ClockRecord(1, 1)), "clocks do not fit: values come every 1 ticks from tick 0"),
        (link(0, shape=(4,)), r"no unit, so it carries \(3,\) of 'events', but the manifest says \(4,\)"),
        (
            link(0, emits=ClockRecord(1, 1)),
            "every 1 ticks from tick 0, but the manifest says every 1 ticks from tick 1",
        ),
        (link(1, shape=(3,)), r"'first_to_second' carried \(4,\) on the sample, but the manifest says \(3,\)"),
        # values come at 1 + 2, 3 + 2, ...: at odd ticks, and the part runs at every tick
        (link(2, held=False), "'second_to_first' is not held, but its clocks do not fit: values come every 2 ticks"),
        (link(0, delay=1, held=False, emits=ClockRecord(2, 0)), "has no unit, so it emits as 'events' does"),
        (link(1, delay=1), "values come every 2 ticks from tick 2, and part 'second' runs every 2 ticks from tick 1"),
        (link(0, into="x"), "0 links lead into part 'first' by position"),
        (link(2, into="r"), "into = 'r'; expected the name of an argument, and only of a transmission"),
        (link(0, into="no name"), "into = 'no name'; expected the name of an argument"),
        (lambda m: replace(m, sample=replace(m.sample, ticks=11)), "'first' has 12 samples of 2 streams in the sample"),
        (lambda m: replace(m, sample=replace(m.sample, batch=3)), "but the manifest says 12 of 3: every 1 ticks"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_the_sample_is_refused(
    spiking: Bundle, change: Callable[[Manifest], Manifest], message: str
) -> None:
    sample = sample_of(spiking)
    check_consistency(spiking.manifest, sample)
    with pytest.raises(DataError, match=message) as caught:
        check_consistency(change(spiking.manifest), sample)

    assert len(str(caught.value).splitlines()) == 1


def test_a_delayed_sampled_link_may_wrap_around_its_period(spiking: Bundle) -> None:
    # 1 + 4 ticks is tick 5, where a clock of 2 ticks from tick 1 runs; an initial value fills the gap
    check_consistency(link(1, delay=4)(spiking.manifest), sample_of(spiking))


def test_a_part_whose_sample_is_no_spikes_may_not_claim_them(small: Bundle) -> None:
    sample = sample_of(small)
    check_consistency(small.manifest, sample)
    with pytest.raises(DataError, match="part 'ann' has spikes = true, but it gave other values than the spikes"):
        check_consistency(part("ann", spikes=True)(small.manifest), sample)

    sample["parts.snn"] = sample["parts.snn"] + np.float32(0.5)
    with pytest.raises(DataError, match="part 'snn' has spikes = true, but it gave other values"):
        check_consistency(small.manifest, sample)


def test_a_sample_without_a_part_is_refused(spiking: Bundle) -> None:
    sample = sample_of(spiking)
    del sample["parts.second"]
    with pytest.raises(DataError, match=r"the sample has no tensor 'parts\.second'"):
        check_consistency(spiking.manifest, sample)


@pytest.mark.parametrize(("window", "step"), [(None, 0.002), (StageRecord("Hold", {"length": 2}), 0.001)])
def test_a_kernel_has_the_step_of_its_source(spiking: Bundle, window: StageRecord | None, step: float) -> None:
    # second runs every 2 ticks of 1 ms; a hold of 2 makes two steps of it
    def manifest(dt: float) -> Manifest:
        kernel = StageRecord("Exponential", {"tau": 0.01, "dt": dt, "keep": True})
        return link(2, unit=UnitRecord(window, kernel))(spiking.manifest)

    sample = sample_of(spiking)
    check_consistency(manifest(step), sample)
    with pytest.raises(DataError, match=f"the kernel of link 'second_to_first' was made for a step of {2 * step} s"):
        check_consistency(manifest(2 * step), sample)


def test_the_command_says_in_one_line_what_does_not_agree(
    copied: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(copied(), lambda plain: plain["parts"]["first"].update(spikes=False))
    assert main(["run", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "part 'first' has spikes = false" in line


class _Difference(nn.Module):
    def forward(self, x: Tensor, less: Tensor) -> Tensor:
        """The difference."""
        return x - less


def test_an_onnx_part_takes_its_links_by_position_before_those_by_name(tmp_path: Path) -> None:
    links = [Transmission("a", "part", into="less", name="named"), Transmission("b", "part", name="first")]
    network = HybridNetwork(
        dt=DT, inputs={"a": every(DT), "b": every(DT)}, parts={"part": _Difference()}, links=links, outputs=["part"]
    )
    a = torch.ones(2, 1, 1)
    b = torch.full((2, 1, 1), 4.0)
    bundle = export(network.eval(), {"a": a, "b": b}, tmp_path / "bundle")

    assert Runner(bundle).run({"a": a.numpy(), "b": b.numpy()})["part"].tolist() == [[[3.0]], [[3.0]]]

    def swapped(plain: dict[str, Any]) -> None:
        plain["links"][0]["into"] = None
        plain["links"][1]["into"] = "less"

    changed = Bundle.open(edited(bundle.path, swapped))
    with pytest.raises(DataError, match=r"takes \['first', 'named'\], but by .* should take \['named', 'first'\]"):
        Runner(changed)
