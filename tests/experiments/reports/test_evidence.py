"""The evidence that the gate judges."""

import pytest

from experiments.cli.errors import UserError
from experiments.reports.evidence import read_scores


@pytest.mark.parametrize(
    "text", ["", "name,step\nstep 13,s13\n", "name,seeds,accuracies\na,1 2,x y"]
)
def test_a_file_that_is_not_a_baseline_is_refused(tmp_path, text):
    path = tmp_path / "baseline.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"experiments.compare csv=FILE"):
        read_scores(path)
