"""Agreement and retrieval: right is right, and the controls come out where arithmetic says."""

import numpy as np
import pytest

from textgan.errors import UserError
from textgan.facts.schema import Fact
from textgan.metrics.agreement import NOT_SEEN, agreement, all_right, best_values, derangement
from textgan.metrics.chance import chance_of_facts, expected_hits
from textgan.metrics.intervals import share_of_units, wilson
from textgan.metrics.retrieval import mismatches, r_precision, why_not


def prompts(count: int) -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    colours, kinds = ("red", "blue", "green", "white"), ("cat", "car")
    return [{"kind": kinds[rng.integers(2)], "colour": colours[rng.integers(4)]} for _ in range(count)]


def test_a_generator_that_listens_is_right_and_its_control_is_the_base_rate():
    asked = prompts(400)
    for fact in agreement(asked, asked, seed=0):
        assert fact.matched.value == 1.0
        assert fact.shuffled_exact == pytest.approx(fact.base_rate)
        assert abs(fact.shuffled.value - fact.base_rate) < 0.1
        assert sum(map(sum, fact.confusion)) == fact.count == 400


def test_a_generator_that_does_not_listen_scores_as_its_control():
    """Pictures that have nothing to do with their prompts: the interval holds the exact control."""
    asked, seen = prompts(400), prompts(800)[400:]
    for fact in agreement(asked, seen, seed=0):
        assert fact.matched.low < fact.shuffled_exact < fact.matched.high


def test_the_exact_control_is_the_mean_over_all_other_prompts():
    asked, seen = prompts(40), prompts(80)[40:]
    (colour,) = (fact for fact in agreement(asked, seen, 0) if fact.name == "colour")
    pairs = [seen[i]["colour"] == asked[j]["colour"] for i in range(40) for j in range(40) if i != j]
    assert colour.shuffled_exact == pytest.approx(np.mean(pairs))


def test_a_fact_that_is_not_seen_is_wrong():
    (fact,) = agreement([{"colour": "red"}, {"colour": "red"}], [{}, {"colour": "red"}], 0)
    assert fact.matched.value == 0.5
    assert fact.values == ("red", NOT_SEEN) and fact.confusion == ((1, 1),)


def test_all_right_asks_for_every_fact_that_the_prompt_says():
    asked = [{"kind": "cat", "colour": "red"}, {"kind": "car"}]
    assert all_right(asked, [{"kind": "cat", "colour": "blue"}, {"kind": "car"}], ("kind", "colour")).value == 0.5


def test_a_prompt_that_says_nothing_is_no_success():
    """It once counted as all right: photos whose facts nobody can measure would have lifted the share."""
    asked = [{"kind": "cat"}, {"light": "dark"}, {}]
    found = all_right(asked, [{"kind": "car"}, {}, {}], ("kind", "colour"))
    assert (found.value, found.count) == (0.0, 1)
    assert all_right([{}, {}], [{}, {}], ("kind",)).count == 0


def test_all_facts_at_once_have_a_control_and_a_chance():
    """Two kinds and four colours: an eighth by luck; a generator that listens is far beyond, its control is not."""
    asked, others = prompts(400), prompts(800)[400:]
    both = ("kind", "colour")
    listening, deaf = all_right(asked, asked, both), all_right(asked, others, both)
    assert listening.value == 1 and listening.chance.high < 0.2 < listening.low
    for found in (listening, deaf):
        assert found.chance.value == pytest.approx(1 / 8, abs=0.02)
        assert found.chance.low - 0.02 <= found.shuffled <= found.chance.high + 0.02
    assert deaf.chance.low <= deaf.value <= deaf.chance.high


def test_what_is_silent_is_never_right_by_chance():
    """A prompt that does not say the fact does not count; a picture of which nothing is measured is wrong."""
    asked = [{"colour": "red"}, {"kind": "cat"}]
    assert chance_of_facts(asked, [{}, {}], ("colour",), range(2), 0, "x").high == 0
    seen = [{"colour": "red"}, {"colour": "red"}]
    assert chance_of_facts(asked, seen, ("colour",), range(2), 0, "x").low == 1


@pytest.mark.parametrize("count", [2, 3, 50])
def test_everyone_gets_anothers_prompt(count):
    other = derangement(count, 0)
    assert sorted(other) == list(range(count)) and all(place != idx for idx, place in enumerate(other))


def test_the_surest_of_two_measurements_counts():
    facts = [Fact("colour", "red", 0.9, "m"), Fact("colour", "blue", 0.2, "m")]
    assert best_values(facts) == {"colour": "red"}


def test_wilson_knows_the_textbook():
    """8 of 10: 0.490 to 0.943 (Newcombe 1998)."""
    interval = wilson(8, 10)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.49, 0.943)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def test_pictures_of_one_unit_are_one_witness():
    """40 units of 10 pictures each that stand or fall together: an interval as of 40 pictures, not of 400."""
    asked = [{"colour": "red"}] * 400
    seen = [{"colour": "red" if (place // 10) % 4 else "blue"} for place in range(400)]
    units = [place // 10 for place in range(400)]
    (alone,) = agreement(asked, seen, 0)
    (together,) = agreement(asked, seen, 0, units=units)
    assert alone.matched.value == together.matched.value == 0.75
    assert alone.matched == wilson(300, 400)
    honest = wilson(30, 40)
    width = together.matched.high - together.matched.low
    assert width == pytest.approx(honest.high - honest.low, rel=0.15) and width > 2.5 * (
        alone.matched.high - alone.matched.low
    )
    assert all_right(asked, seen, ("colour",), 0, units).low < alone.matched.low


def test_units_that_are_all_right_are_not_sure():
    """Drawn again they are all right each time; so many units can still be wrong about it."""
    interval = share_of_units([5] * 8, [5] * 8, 0, "x")
    assert (interval.value, interval.low) == (1.0, wilson(8, 8).low) and interval.low < 0.7
    even = share_of_units([1] * 16, [8] * 16, 0, "x")  # of a G of one picture, one colour word in eight is right
    assert even.value == 0.125 and even.low < 0.05 and even.high > 0.3
    alone = share_of_units([1], [2], 0, "x")  # drawn again, a single unit is always itself
    assert (alone.value, alone.low, alone.high) == (0.5, 0.0, 1.0)


def test_a_generator_that_does_not_listen_scores_within_the_interval_of_chance():
    asked, seen = prompts(400), prompts(800)[400:]
    for fact in agreement(asked, seen, seed=0):
        assert fact.chance.low <= fact.matched.value <= fact.chance.high
        assert fact.chance.value == pytest.approx(fact.shuffled_exact, abs=0.01)


def test_pictures_that_hang_together_widen_the_interval_of_chance():
    """Every picture four times says no more than once."""
    asked, seen = prompts(100), prompts(200)[100:]
    (_, once) = agreement(asked, seen, 0)
    (_, again) = agreement(asked * 4, seen * 4, 0, list(range(100)) * 4)
    (_, pretended) = agreement(asked * 4, seen * 4, 0)
    assert again.chance.high - again.chance.low == pytest.approx(once.chance.high - once.chance.low, rel=0.1)
    assert pretended.chance.high - pretended.chance.low < 0.7 * (once.chance.high - once.chance.low)


def unit(seed: int, count: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, 32))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def apart(said: list[str]) -> np.ndarray:
    """Captions that say other things are wrong of each other's images."""
    return np.asarray([[one != other for other in said] for one in said])


def test_r_precision_is_one_for_own_captions_and_chance_for_others():
    texts, wrong = unit(0, 600), apart([str(i) for i in range(600)])
    assert r_precision(texts, texts, wrong, 0).value == 1.0
    chance = r_precision(unit(1, 600), texts, wrong, 0)
    assert chance.low <= 0.01 <= chance.high
    assert chance.chance.low <= chance.value <= chance.chance.high


def test_expected_hits_are_what_many_folds_come_to():
    """The closed form against a count over drawn captions, twins among them."""
    rng, said = np.random.default_rng(0), [str(i // 2) for i in range(40)]
    scores = rng.standard_normal((40, 40))
    hits = expected_hits(scores, apart(said), 5)
    for row, column in ((0, 0), (3, 17), (39, 2)):
        others = [i for i in range(40) if said[i] != said[column]]
        drawn = [scores[row, rng.choice(others, 5, replace=False)].max() < scores[row, column] for _ in range(4000)]
        assert hits[row, column] == pytest.approx(np.mean(drawn), abs=0.03)


def test_captions_that_say_the_same_are_no_mistakes():
    """Every caption twice: without the mask, half of the own captions would lose a tie."""
    texts = np.repeat(unit(0, 200), 2, axis=0)
    result = r_precision(texts, texts, apart([str(i // 2) for i in range(400)]), 0, 200, 200)
    assert result.value == 1.0 and result.distinct == 200 and result.masked == 1


def test_captions_that_are_true_of_a_picture_are_no_mistakes():
    """`a red cat` is true of a red cat on the left; nothing is known of the light, so its words contradict nothing."""
    facts = [
        {"kind": "cat", "colour": "red", "side": "left"},
        {"kind": "cat", "colour": "red", "side": "right"},
        {"kind": "car", "colour": "red"},
    ]
    wrong = mismatches(["a red cat on the left", "a red cat", "un coche rojo"], facts)
    assert wrong.tolist() == [[False, False, True], [True, False, True], [True, True, False]]
    silent = mismatches(["a red cat on the left", "lovely", "lovely"], facts)  # the facts of their images stand in
    assert silent.tolist() == [[False, True, True], [True, False, True], [True, True, False]]


def test_too_few_other_captions_are_refused():
    with pytest.raises(UserError, match="needs 99 captions that are wrong of a picture"):
        r_precision(unit(0, 50), unit(0, 50), apart([str(i) for i in range(50)]), 0)


def test_why_not_is_none_exactly_where_r_precision_can_be_computed():
    """150 captions of photos that say two different things: a reason that counts them, in place of a crash."""
    few = apart(["car", "cat"] * 75)
    reason = why_not(few)
    assert reason is not None and "among 150 captions there is a picture with only 75" in reason
    with pytest.raises(UserError):
        r_precision(unit(0, 150), unit(0, 150), few, 0)
    enough = apart(["car"] * 99 + ["cat"] * 99)
    assert why_not(enough) is None
    assert r_precision(unit(0, 198), unit(0, 198), enough, 0).masked == 98
