"""The screen after a run."""

from made import described

from experiments.reports.screen import print_results

METRICS = {"val/acc": 0.9935, "val/best_acc": 0.9940, "val/best_epoch": 13, "epochs": 14}


def test_the_screen_of_a_run_is_as_kept(screen, capsys):
    cfg, figures = described("s13", "optimizer.lr=0.03")
    metrics = figures | METRICS | {"train_seconds": 125}
    title = "step 13, seed 0, optimizer.lr=0.03: trained"
    print_results(cfg, title, metrics, "cpu (AMD EPYC)")
    screen("train-end", capsys.readouterr().out)
