"""`make ui` shows the runs of a store."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from conftest import PROJECT, closed_port


def test_make_ui_serves_the_store_on_the_loopback_address(workplace):
    client, port = workplace.client, closed_port()
    experiment = client.create_experiment("parsimony")
    client.create_run(experiment, run_name="step 13, seed 2")
    here = (f"BIN={Path(sys.executable).parent}", f"PORT={port}", f"STORE={workplace.uri}")
    server = subprocess.Popen(
        ["make", "--old-file=setup", "ui", *here],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address + "/health")
        assert b"<title>MLflow</title>" in get(address)
        search = json.dumps({"experiment_ids": [experiment]}).encode()
        [run] = json.loads(get(address + "/ajax-api/2.0/mlflow/runs/search", search))["runs"]
        assert run["info"]["run_name"] == "step 13, seed 2"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def get(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            get(url)
            return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
