"""A selection of labelled images keeps each label with its image."""

import torch

from spikebridge.data.images.labelled import LabelledImages


def test_places_give_their_order_and_marks_keep_it():
    three = LabelledImages(torch.arange(3.0).view(3, 1, 1), torch.tensor([7, 8, 9]))
    chosen = three.select(torch.tensor([2, 0]))

    assert chosen.images.flatten().tolist() == [2, 0] and chosen.labels.tolist() == [9, 7]
    assert three.select(torch.tensor([True, False, True])).labels.tolist() == [7, 9]
