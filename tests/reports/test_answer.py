"""The sentence on the first screen, on runs of every fate."""

import numpy as np
import pytest
from synthetic_run import outcome

from reports.answer import answer
from reports.comparison import compare
from reports.terminal import leaderboard


def said(run):
    return " ".join(answer(compare([run]), "field", "auc", "native"))


def noisy(mean, n=40, seed=0, spread=0.05):
    values = np.random.default_rng(seed).normal(0, spread, n)
    return mean + values - values.mean()


def test_a_winner_is_named_with_its_interval_and_stands_ahead_of_all_others():
    run = outcome({"weak": noisy(0.6), "strong": noisy(0.8, seed=1), "middle": noisy(0.7, seed=2)})
    assert said(run).startswith("Best on the unperturbed images: strong (.800 [.78")
    assert "ahead of all others" in said(run)
    board = compare([run]).board("field", "auc", "native").set_index("model")
    assert board["rank"].to_dict() == {"strong": 1, "middle": 2, "weak": 3}


def test_a_tie_is_not_a_win():
    run = outcome({"a": noisy(0.8), "b": noisy(0.801, seed=1), "low": noisy(0.6, seed=2)})
    assert "Best on the unperturbed images: b (.801" in said(run)
    assert "not distinguishable from a." in said(run)
    board = compare([run]).board("field", "auc", "native").set_index("model")
    assert board["rank"].to_dict() == {"a": 1, "b": 1, "low": 3}
    both = outcome({"a": noisy(0.8), "b": noisy(0.801, seed=1)})
    assert said(both).startswith("No localizer is shown to be best on the unperturbed images: b has the highest mean")


def test_a_control_that_wins_is_unranked_and_shames_the_others():
    run = outcome({"a": noisy(0.7), "centre": noisy(0.8, seed=1)}, groups={"centre": ["controls"]})
    assert "The control (centre) has .800, no less than every ranked localizer" in said(run)
    board = compare([run]).board("field", "auc", "native").set_index("model")
    assert board.loc["centre", "placed"] == "control" and np.isnan(board.loc["centre", "rank"])
    some = outcome(
        {"good": noisy(0.9), "near": noisy(0.805, seed=2), "centre": noisy(0.8, seed=1)},
        groups={"centre": ["controls"]},
    )
    assert "The control (centre) has .800: near is not shown to beat it." in said(some)


def test_a_localizer_trained_on_the_set_is_not_said_to_beat_the_control():
    values = {"a": noisy(0.7), "b": noisy(0.6, seed=2), "seen": noisy(0.95, seed=1), "centre": noisy(0.8, seed=3)}
    run = outcome(values, groups={"centre": ["controls"]}, trained=("seen",))
    assert "The control (centre) has .800, no less than every ranked localizer" in said(run)
    even = values | {"a": noisy(0.801)}
    run = outcome(even, groups={"centre": ["controls"]}, trained=("seen",))
    assert "The control (centre) has .800: no ranked localizer is shown to beat it." in said(run)


def test_a_rank_is_one_more_than_the_localizers_shown_to_be_better():
    """By its definition, from the ties of the board alone; equal numbers carry a sign in the terminal."""
    means = (0.80, 0.795, 0.77, 0.6)
    run = outcome({f"m{i}": noisy(mean, 25, seed=i, spread=0.04) for i, mean in enumerate(means)})
    board = compare([run]).board("field", "auc", "native").set_index("model")
    better = {
        name: 1 + sum(other not in row["ties"] and board.loc[other, "clean"] > row["clean"] for other in board.index)
        for name, row in board.iterrows()
    }
    assert board["rank"].to_dict() == better
    shown = [line.split()[0] for line in leaderboard(compare([run])).splitlines()[1:5]]
    ranks = board["rank"].astype(int).tolist()
    assert shown == [f"{rank}{'=' if ranks.count(rank) > 1 else ''}" for rank in ranks]
    assert "1=" in shown and shown[-1] == "4"


def test_a_winner_that_was_trained_on_the_set_stands_apart():
    run = outcome({"a": noisy(0.7), "b": noisy(0.6, seed=2), "seen": noisy(0.95, seed=1)}, trained=("seen",))
    assert said(run).startswith("Best on the unperturbed images: a (.700")
    assert "seen (.950) was trained on these images and not ranked." in said(run)


def test_of_one_image_nothing_is_said_beyond_its_value():
    run = outcome({"a": [0.7], "b": [0.9]})
    assert said(run).startswith("One image: b has the highest value (.900), which says nothing of others.")
    assert np.isnan(compare([run]).board("field", "auc", "native")["rank"]).all()


def test_without_an_image_it_says_so():
    run = outcome({"a": [0.7, 0.8]}, failed=[("a", 0), ("a", 1)])
    assert said(run) == "No localizer has a value of Pixel AUC here; the sections below say why."


def test_few_images_are_said():
    assert "Only 6 images" in said(outcome({"a": noisy(0.7, 6), "b": noisy(0.9, 6, seed=1)}))


def test_other_images_are_not_ranked():
    run = outcome({"a": noisy(0.7), "half": noisy(0.9, seed=1)}, failed=[("half", i) for i in range(20)])
    assert "Not ranked, as measured on fewer images: half (20 of 40)." in said(run)
    assert said(run).startswith("a has .700")


def test_most_robust_is_the_one_that_keeps_most_of_what_it_has():
    run = outcome({"a": noisy(0.9), "b": noisy(0.7, seed=1)}, drop=0.1)
    assert "Most robust: a keeps 75 % of its excess over chance under perturbation." in said(run)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_terminal_shows_ten_lines_at_most(count):
    run = outcome({f"m{i}": noisy(0.6 + 0.01 * i, seed=i) for i in range(count)})
    lines = leaderboard(compare([run])).splitlines()
    assert len(lines) <= 10 and "Pixel AUC (native), field" in lines[0]
    assert ("and 13 more in the report" in lines) == (count == 20)
