"""The digest of images is kept once, whatever is done with the images afterwards."""

import pytest
from conftest import configure

from experiments.data.digest import state


@pytest.fixture(scope="module")
def usual():
    return state(configure("train"))


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("data.batch_size=7", True),
        ("data.mean=0", True),
        ("data.shuffle=false", True),
        ("data.holdout=100", False),
        ("data.classes=[1]", False),
        ("data.num_classes=5", False),  # labels are checked against it when they are read
    ],
)
def test_what_decides_which_images_are_read(usual, override, same):
    assert (state(configure("train", override)) == usual) == same
