"""Train one network within its budget, and keep the run in MLflow.

python -m experiments.train step=s13 seed=0
python -m experiments.train step=s13 model.widths=[8,8,12,12,10] budget.parameters=5000
python -m experiments.train -m step=s09,s13 'seed=range(5)' launcher=local  # a sweep
"""

import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.config import class_name
from experiments.cli.errors import UserError
from experiments.cli.jobs import announce, is_job
from experiments.cli.keys import key_of
from experiments.cli.program import program
from experiments.cli.text import pluralize, trained_on, unusual
from experiments.reports import screen
from experiments.tracking.identity import prepared, refuse_part, run_name
from experiments.training.grid import expand, is_fused


def begin(cfg: DictConfig) -> None:
    """Say what is trained, and give it its name."""
    refuse_no_choice(cfg)
    if cfg.until_verdict is not None:
        refuse_part(cfg)
    name = run_name(prepared(cfg), len(expand(cfg)))
    announce(name=name, state="running")
    if not is_job():
        epochs, data = pluralize(cfg.trainer.max_epochs, "epoch"), class_name(cfg.data.train)
        tables.say(f"{name}: {epochs} on {data}", sys.stderr)


@program("train", sweep=True, first=begin)
def main(cfg: DictConfig) -> str:
    from experiments.budget.network import build_networks

    cfgs, fused = expand(cfg), is_fused(cfg)
    networks, cost = build_networks(cfgs)  # a run over its budget stops here
    if not is_job():
        print(f"network: {pluralize(cost.parameters, 'parameter')}", file=sys.stderr)

    from experiments.reports import until  # MLflow and Lightning: seconds
    from experiments.tracking.parent_runs import judged
    from experiments.training.fit import train

    if cfg.until_verdict is not None:
        needed, report = until.judge_arms(cfg)
        if not needed:
            announce(report=report)
            return "not needed"
    outcome, store, trainings = train(cfgs, networks, cost, fused)
    if fused and not is_job():
        screen.print_fused_results(trainings, store)
    if failures := [training.failure for training in trainings if training.failure]:
        raise UserError("; ".join(failures))
    found = [training.run.data.metrics for training in trainings]
    accuracies = [metrics[judged(metrics)] for metrics in found]
    tags = trainings[0].run.data.tags
    verdict = "" if fused else tags.get("verdict", "")
    accuracy = sum(accuracies) / len(accuracies)
    announce(val_acc=accuracy, verdict=verdict, backend=unusual(tags))
    if cfg.until_verdict is not None:
        try:
            announce(report=until.judge_arms(cfg)[1])
        except UserError as error:  # the run is trained all the same
            announce(report=[str(error)])
    if not fused and not is_job():
        [training] = trainings
        run = training.run
        again = " (force=true trains it again)" if outcome == "trained before" else ""
        title = f"{training.name}: {outcome}{again}"
        screen.print_results(training.cfg, title, run.data.metrics, trained_on(tags))
        tables.print_report(unusual(tags))
        tables.say(f"to look at it: {store.how_to_open(run.info.run_id)}")
        tables.say(f"checkpoints and log: {training.folder}")
    return outcome


def refuse_no_choice(cfg: DictConfig) -> None:
    """Raise UserError where the command says nothing of the network to train."""
    given = {key_of(item).partition(".")[0] for item in HydraConfig.get().overrides.task}
    if not (cfg.step or cfg.experiment or "model" in given):
        raise UserError(
            f"without a step, this would train {class_name(cfg.model)} on "
            f"{class_name(cfg.data.train)} for {pluralize(cfg.trainer.max_epochs, 'epoch')}; "
            "choose step=s13, experiment=NAME, or a network of your own, such as "
            "model.widths=[8,8,12,12,10]"
        )


if __name__ == "__main__":
    main()
