"""Open MLflow's UI on a table with parameters, seeds, mean and verdict of each arm.

python -m experiments.ui
python -m experiments.ui port=5001
python -m experiments.ui tracking.experiment=parsimony
"""

import os
import subprocess
import sys
import time
import urllib.request
import webbrowser
from http.client import HTTPException

from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.program import program


@program("ui")
def main(cfg: DictConfig) -> None:
    from experiments.tracking.view import share

    uri, link = share(cfg.tracking, cfg.port)
    if uri.startswith("http"):
        show(link)
        return
    if answers(cfg.port):
        raise UserError(f"port={cfg.port} is in use; choose another one")
    command = [sys.executable, "-m", "mlflow", "ui", "--workers=1", "--host=127.0.0.1"]
    # not an option: it may hold a password, and every user sees the options of a process
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}
    with subprocess.Popen([*command, f"--port={cfg.port}"], env=environment) as server:
        try:
            while server.poll() is None and not answers(cfg.port):
                time.sleep(0.2)
            if server.poll() is not None:
                raise UserError(f"MLflow's UI does not start on port={cfg.port}")
            show(link)
            server.wait()
        finally:
            server.terminate()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except HTTPException:  # another program
        return True
    except OSError:
        return False


def show(link: str) -> None:
    """Print an address, and open it where there is a desktop."""
    print(link, flush=True)
    if sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        webbrowser.open(link)


if __name__ == "__main__":
    main()
