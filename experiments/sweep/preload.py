"""The imports of a run, which the server of a local sweep does before it forks workers.

A script for that server, which can only be given the name of a module: nothing else imports it.
The server ignores a module that it cannot import, so a test checks this one.
"""

from experiments.cli.program import prepare_process

prepare_process()

import mlflow.pytorch  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401

import experiments.budget.network  # noqa: E402
import experiments.tracking.arms  # noqa: E402
import experiments.training.fit  # noqa: E402
import experiments.training.grid  # noqa: E402
import experiments.training.outputs  # noqa: E402, F401
