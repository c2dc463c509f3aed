"""`make ui` shows the runs of a store."""

import json
import sys
from pathlib import Path

from conftest import PROJECT, closed_port, get, serving


def test_make_ui_serves_the_store_on_the_loopback_address(workplace):
    client, port = workplace.client, closed_port()
    experiment = client.create_experiment("parsimony")
    client.create_run(experiment, run_name="step 13, seed 2")
    here = (f"BIN={Path(sys.executable).parent}", f"PORT={port}", f"STORE={workplace.uri}")
    with serving(["make", "--old-file=setup", "ui", *here], port, cwd=PROJECT) as address:
        assert b"<title>MLflow</title>" in get(address)
        search = json.dumps({"experiment_ids": [experiment]}).encode()
        [run] = json.loads(get(address + "/ajax-api/2.0/mlflow/runs/search", search))["runs"]
        assert run["info"]["run_name"] == "step 13, seed 2"
