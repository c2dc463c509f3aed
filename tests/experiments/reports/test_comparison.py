"""What an arm is compared with, what is said to differ, and which network is the smallest."""

import pytest
from made import arm

from experiments.cli.errors import UserError
from experiments.reports.comparison import (
    FIRST,
    ITSELF,
    NO_MATCH,
    NO_STEP,
    OTHER_IMAGES,
    changes,
    compare,
    mixed_in,
    smallest,
)
from experiments.tracking.arms import Arm

ARMS = [
    arm("step 1", "s01", "digits", 0.98, 0.981, 0.982),
    arm("step 1 (other)", "s01", "clothes", 0.88, 0.881, 0.882),
    arm("step 2", "s02", "digits", 0.99, 0.991, 0.992),
    arm("step 2 (other)", "s02", "clothes", 0.89, 0.891, 0.892),
]


def test_arms_are_compared_with_the_one_before_on_the_same_images():
    rows = compare(ARMS)
    assert [row.against for row in rows] == [FIRST, FIRST, "step 1", "step 1 (other)"]
    assert [bool(row.difference) for row in rows] == [False, False, True, True]


def test_arms_judged_on_test_images_and_on_images_held_out_are_not_compared():
    trial = arm("step 2", "s02", "digits", 0.99, 0.991, 0.992)
    rows = compare([ARMS[0]._replace(metric="test/acc"), trial], "step 1")
    assert (rows[1].against, rows[1].difference) == (OTHER_IMAGES, None)


@pytest.mark.parametrize(
    ("against", "found"),
    [
        ("step 1", [ITSELF, OTHER_IMAGES, "step 1", OTHER_IMAGES]),
        ("first", [ITSELF, ITSELF, "step 1", "step 1 (other)"]),  # of the same images
    ],
)
def test_arms_on_other_images_have_no_verdict_and_say_why(against, found):
    rows = compare(ARMS, against)
    assert [row.against for row in rows] == found
    assert [bool(row.difference) for row in rows] == [False, False, True, against == "first"]


def test_the_one_before_is_the_step_before_with_the_same_overrides_or_else_the_step_itself():
    names = [
        ("step 1", "s01", FIRST),
        ("step 1, lr=2", "s01", "step 1"),
        ("step 2", "s02", "step 1"),
        ("step 2, lr=2", "s02", "step 1, lr=2"),
        ("step 2, lr=3", "s02", "step 2"),
        ("step 4, lr=4, width=5", "s04", NO_MATCH),
        ("mine", "mine", "step 2"),
        ("tiny", "tiny", "step 2"),
        ("tiny, lr=2", "tiny", "step 2, lr=2"),
        ("scratch_mlp", None, NO_STEP),
        ("scratch_mlp, lr=2", None, "scratch_mlp"),
    ]
    rows = compare([arm(name, step, "digits", 0.98, 0.981) for name, step, _ in names])
    assert [row.against for row in rows] == [against for *_, against in names]
    grouped = [
        arm(f"lr={rate}, width={width}", "s01", "", 0.9, 0.8) for rate in (1, 2) for width in (5, 6)
    ]
    assert [row.against for row in compare(grouped)][2:] == ["lr=1, width=5", "lr=1, width=6"]


def test_a_name_without_its_overrides_stands_for_the_only_arm_that_has_it():
    arms = [arm(name, "s", "digits", 0.98, 0.97) for name in ("a, lr=1", "b, lr=1", "c, x=1", "c")]
    assert [row.against for row in compare(arms, "a")][1:] == ["a, lr=1"] * 3
    assert compare(arms, "c")[0].against == "c"
    assert compare(arms, "step=b")[1].against == ITSELF
    with_step = [arm("step=s09, lr=1", "s09", "", 0.9, 0.8), arm("step=s10, lr=1", "s10", "", 0.9)]
    for text in ("10", "s10, lr=1", "step 10", "step=s10, lr=1"):  # in group=[step,lr]
        assert compare(with_step, text)[1].against == ITSELF
    for several in ("a, l", "d"):
        with pytest.raises(UserError, match="choose one of previous"):
            compare(arms, several)
    with pytest.raises(UserError):
        compare([*arms, arm("a, lr=2", "s", "digits", 0.98)], "a")


def test_keys_in_which_runs_of_one_arm_differ_are_named():
    settings = {"data.batch_size": "64"} | dict.fromkeys("gfedcba", "several")
    assert mixed_in([arm("lr=1", "s01", "", 0.9, settings=settings)]) == "a, b, c, d, e and 2 more"
    assert mixed_in([arm("lr=1", "s01", "", 0.9, settings={"a": "several"})]) == "a"
    assert mixed_in(ARMS) == ""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"lr": "1"}, {"lr": "2"}, "lr=2"),
        (
            {"model.widths": "[1, 2]"},
            {"model.widths": "[1, 3]", "loss": "x"},
            "loss=x, model.widths=[1,3]",
        ),
        (
            {},
            {"scheduler._target_": "torch.StepLR", "scheduler.gamma": "1"},
            "scheduler=StepLR, scheduler.gamma=1",
        ),
        ({"scheduler._target_": "torch.StepLR", "scheduler.gamma": "1"}, {}, "scheduler=null"),
        ({"lr": "1"}, {"lr": "1"}, ""),
        (
            {"model._target_": "a.One", "model.bias": "True", "model.widths": "[8, 8]"},
            {"model._target_": "mine.Two", "model.widths": "[4]"},
            "model=Two, model.widths=[4]",
        ),
    ],
)
def test_what_changed_is_what_differs_with_its_values(before, after, expected):
    assert changes(before, after) == expected


def test_one_sentence_names_the_smallest_network_that_holds_its_target_or_says_why_none_does():
    def sized(name: str, parameters: int, *scores: float) -> Arm:
        return arm(name, "s", "digits", *scores, parameters=parameters, target=0.99)

    arms = [
        sized("large", 900, 0.9950, 0.9951, 0.9952),
        sized("middle", 800, 0.9930, 0.9931, 0.9932),
        sized("small", 700, 0.985, 0.995, 0.990),
        sized("tiny", 600, 0.9801, 0.9802, 0.9803),
    ]
    assert smallest(compare(arms)) == (
        "The smallest network that holds its target is middle, with 800 parameters: "
        "99.31 % (99.29 to 99.33), n = 3 (target when it was last trained: 99.00 %). "
        "1 smaller may hold theirs, too: more seeds would tell."
    )
    assert smallest(compare(arms[2:])) == (
        "The smallest network that holds its target: none yet, because targets are missed by "
        "1 network and open for 1 network. The nearest is small, with 700 parameters: "
        "99.00 % (97.76 to 100.00), n = 3 (target when it was last trained: 99.00 %)."
    )
    assert "because no network has a target" in smallest(compare(ARMS))
