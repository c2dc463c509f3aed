"""Which images a run got wrong, in a file that a stranger may have written."""

import torch

from experiments.tracking.artifacts import LARGEST, MISTAKES, mistakes, read_mistakes

HEADER = "image,true,predicted\n"


def test_each_mistake_has_its_row():
    truth, predicted = torch.tensor([0, 1, 2]), torch.tensor([0, 7, 2])
    assert mistakes(truth, predicted) == f"{HEADER}1,1,7\n"


def test_only_a_valid_file_of_bounded_size_is_read(workplace):
    client = workplace.client
    experiment = client.create_experiment("e", workplace.folder.as_uri())
    run = client.create_run(experiment).info.run_id
    assert read_mistakes(client, run, 5) is None
    for rows in ("", "1,0,7\n4,3,2\n"):
        client.log_text(run, HEADER + rows, MISTAKES)
        assert read_mistakes(client, run, 5).to_csv(index=False) == HEADER + rows
    bad = ("4,1,1\n1,1,1\n", "5,1,1\n", "1,1,1\n1,1,1\n", "-1,1,1\n", "one,1,1\n", "1.5,1,1\n")
    for rows in (*bad, "1,1\n", f"{10**30},1,1\n", '"1,1,1\n'):
        client.log_text(run, HEADER + rows, MISTAKES)
        assert read_mistakes(client, run, 5) is None, rows
    for text in ("", "[" * 100_000, "a,b,c\n", "\0" * 9, HEADER + " " * LARGEST[MISTAKES]):
        client.log_text(run, text, MISTAKES)
        assert read_mistakes(client, run, 5) is None, text[:20]
