"""Batches: functions of seed and image count; no text is called wrong that suits the image."""

from __future__ import annotations

import pytest
import torch

from tests.tiny_training import write_data
from textgan.errors import UserError
from textgan.facts import wording
from textgan.facts.schema import VALUES
from textgan.training_data import SAID_ALWAYS, contradictions, load_split

NAMES = list(VALUES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty squares with captions."""
    root = tmp_path_factory.mktemp("data")
    return load_split(*write_data(root), "train", 16)


def row(**facts: str) -> torch.Tensor:
    """Facts as indices."""
    return torch.tensor([VALUES[name].index(facts[name]) if name in facts else -1 for name in NAMES])


def test_said_always_is_what_captions_say():
    """The training's list is the wording's."""
    assert set(SAID_ALWAYS) == set(wording.ALWAYS)


def test_only_what_a_caption_says_can_contradict():
    """Equal and unknown facts never do; a fact that is said sometimes does where the caption says all."""
    image = row(kind="cat", colour="red", pose="sitting")
    others = torch.stack([image, row(kind="cat"), row(colour="red", pose="lying"), row(kind="car", colour="red")])
    some, full = torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    assert contradictions(image[None], others, some).tolist() == [[False, False, False, True]]
    assert contradictions(image[None], others, full).tolist() == [[False, False, True, True]]


def test_epochs_show_each_image_once(data):
    """Wherever a batch begins, the sequence is the same, and an epoch is a permutation."""
    whole = data.order(3, 0, 2 * len(data))
    assert sorted(whole[: len(data)].tolist()) == list(range(len(data)))
    assert torch.equal(data.order(3, 17, 50), whole[17:67])
    assert not torch.equal(whole[: len(data)], whole[len(data) :])


def test_hard_mismatches_differ_in_one_fact(data):
    """Their captions contradict the image, in one of its two facts where the data have such an image."""
    batch = data.batch(0, 16, 8, hard=3)
    assert batch.token_ids.shape[0] == 8 + 24 and not batch.wrong.diagonal().any()
    for image in range(8):
        assert batch.wrong[image, 8 + 3 * image : 8 + 3 * image + 3].all()


def test_ablations_change_the_texts_alone(data):
    """shuffled keeps images and words and breaks their link; none says nothing and contradicts nothing."""
    plain, none = data.batch(0, 0, 8, 1), data.batch(0, 0, 8, 1, "none")
    shuffled = data.batch(0, 0, 8, 1, "shuffled")
    assert torch.equal(plain.index, none.index) and torch.equal(plain.index, shuffled.index)
    assert not none.token_ids.any() and not none.wrong.any()
    assert not shuffled.wrong.diagonal().any()


def test_a_token_outside_the_vocabulary_is_refused(tmp_path):
    """The message names the pairs and the size of the vocabulary."""
    with pytest.raises(UserError, match="token id outside the vocabulary of 5 words"):
        load_split(*write_data(tmp_path), "train", 5)
