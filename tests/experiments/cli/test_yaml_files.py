"""A file of the configuration that cannot be read: one line with its name and the place."""

import time

import pytest
from conftest import configure

from experiments.cli.errors import UserError
from experiments.cli.program import prepare_process

FIRST = "# @package _global_\n"
BOMB = "k0: &a0 [x, x]\n"  # 2 ** 30 texts
BOMB += "".join(f"k{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model:\n\twidths: [1]\n", "bad.yaml, line 3: found character '\\t' that cannot start"),
        ("seed: 1\nseed: 2\n", "bad.yaml, line 3: found duplicate key seed"),
        ("model: {widths: [1\n", "bad.yaml, line 3: expected ',' or ']'"),
        ("description: caf\xe9\n", "bad.yaml, line 2: is not UTF-8"),
        ("a: &a [*a]\n", "bad.yaml: refers to itself"),
        (
            f"a: {'[' * 2000}{']' * 2000}\n",
            "bad.yaml: has over 20 aliases (*name), or 50 nested levels",
        ),
        (BOMB, "bad.yaml: has over 20 aliases"),
    ],
    ids=["tab", "duplicate", "open", "latin-1", "circle", "deep", "bomb"],
)
def test_a_file_that_cannot_be_read(tmp_path, text, complaint):
    prepare_process()
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "bad.yaml").write_bytes((FIRST + text).encode("latin-1"))
    start = time.process_time()
    with pytest.raises(UserError) as error:
        configure("train", f"hydra.searchpath=[{tmp_path}]", "step=bad")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    assert time.process_time() - start < 2


def test_a_file_with_a_byte_order_mark(tmp_path):
    prepare_process()
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "bad.yaml").write_text(FIRST, encoding="utf-8-sig")
    with pytest.raises(UserError, match=r"bad.yaml: begins with a byte order mark"):
        configure("train", f"hydra.searchpath=[{tmp_path}]", "step=bad")


@pytest.mark.parametrize("program", ["train", "gate"])
def test_defaults_in_a_circle(tmp_path, program, run_here):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "bad.yaml").write_text(f"{FIRST}defaults: [bad, _self_]\n")
    status, output, errors = run_here(program, f"hydra.searchpath=[{tmp_path}]", "step=bad")
    assert (status != 0, output) == (True, "")
    assert "in a circle" in errors and len(errors.splitlines()) == 1
