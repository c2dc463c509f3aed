"""Which images a run got wrong, in a file that a stranger may have written."""

import json

from experiments.tracking.wrong import LARGEST, WRONG, read_wrong

GOOD = {"split": "test", "digest": "1e35582d42a9", "images": 5, "wrong": [1, 4]}


def test_only_a_valid_file_of_bounded_size_is_read(workplace):
    client = workplace.client
    experiment = client.create_experiment("e", workplace.folder.as_uri())
    run = client.create_run(experiment).info.run_id
    assert read_wrong(client, run) is None
    for changed in ({}, {"wrong": []}):
        client.log_text(run, json.dumps(GOOD | changed), WRONG)
        assert read_wrong(client, run).model_dump() == GOOD | changed
    bad = ({"wrong": [4, 1]}, {"wrong": [5]}, {"wrong": [1, 1]}, {"wrong": [-1]}, {"wrong": ["1"]})
    for changed in (*bad, {"split": "train"}, {"images": 0}, {"digest": "x" * 65}):
        client.log_text(run, json.dumps(GOOD | changed), WRONG)
        assert read_wrong(client, run) is None, changed
    for text in ("", "[" * 100_000, json.dumps(GOOD) + " " * LARGEST):
        client.log_text(run, text, WRONG)
        assert read_wrong(client, run) is None, text[:20]
