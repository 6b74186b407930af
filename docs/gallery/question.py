"""A question and its causes

A spiking graph with one neuron a concept answers a question about a scene. The spikes that the answer needs are
traced back to perceived facts.
"""

import numpy as np
from matplotlib.figure import Figure

from spikebridge.analysis.plots.figures import to_svg
from spikebridge.analysis.plots.style import PAGE_WIDTH, SERIES, style_axes
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.explain.explain import explain
from spikebridge.networks.reasoning.explain.page import as_text

objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
scene = Scene.from_lists(1, objects, [[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]], [[5, 0, 1]])
explanation = explain(scene, ["objects", "cube", "filter_shape", "unique", "query_color"])  # What color is the cube?
print(as_text(explanation))

fired = sorted({name for step in explanation.steps for name in step.fired}, key=explanation.names.index)
needed = {(link.step, link.neuron) for link in explanation.cause_chain}
figure = Figure(figsize=(PAGE_WIDTH, 2.6), layout="constrained")
axes = figure.subplots()
style_axes(axes)

for step in explanation.steps:
    for name in step.fired:
        colour = SERIES[4] if (step.step, name) in needed else SERIES[0]
        axes.plot([step.step - 0.4, step.step + 0.4], [fired.index(name)] * 2, color=colour, linewidth=6)

axes.set_yticks(np.arange(len(fired)), fired)
axes.set(xlabel="step", ylim=(len(fired) - 0.5, -0.5))
picture = to_svg(figure, "neurons that fired; those that the answer needs in red")
