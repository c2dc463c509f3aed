"""Open MLflow's UI on a table with parameters, seeds, mean and verdict of each network.

python -m experiments.ui
python -m experiments.ui port=5001
python -m experiments.ui tracking.experiment=parsimony
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser

from omegaconf import DictConfig

from experiments.cli.errors import UserError, scrubbed
from experiments.cli.program import program


@program("ui")
def main(cfg: DictConfig) -> None:
    from experiments.tracking.store import Store

    store = Store(cfg.tracking, create=False)
    uri, link = store.uri, store.share_view(cfg.port)
    if uri.startswith("http"):
        open_page(link)
        return
    if is_open(cfg.port):
        raise UserError(f"port={cfg.port} is in use; choose another one")
    command = [sys.executable, "-m", "mlflow", "ui", "--workers=1", "--host=127.0.0.1"]
    # not an option: it may hold a password, and every user sees the options of a process
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # takes seconds to start
    command += [f"--port={cfg.port}"]
    with (
        tempfile.TemporaryFile("w+") as errors,  # 15 lines, and warnings
        subprocess.Popen(command, env=environment, stdout=errors, stderr=errors) as server,
    ):
        try:
            while not is_open(cfg.port) and server.poll() is None:
                time.sleep(0.2)
            if server.poll() is not None:
                errors.seek(0)
                why = scrubbed((errors.read().strip().splitlines() or ["it gives no message"])[-1])
                raise UserError(f"MLflow's UI does not start on port={cfg.port}: {why}")
            open_page(link)
            print("Ctrl-C stops the server", file=sys.stderr)
            server.wait()
        finally:
            server.terminate()


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def open_page(link: str) -> None:
    """Print an address, and open it where there is a desktop."""
    print(link, flush=True)
    if sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        webbrowser.open(link)


if __name__ == "__main__":
    main()
