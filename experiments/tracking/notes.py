"""What MLflow shows as the description of a parent run, and of a logged model; Markdown."""

import math

from mlflow.entities import Run
from omegaconf import DictConfig

from experiments.cli.text import percent
from experiments.tracking.identity import DIGEST

USE = """\
`mlflow.pyfunc.load_model("models:/{model}").predict(images)` gives the class of each image, and
with `params={{"logits": True}}` the outputs of the network. Images are {shape}, or rows of
{pixels} pixels, from 0 to 255, or from 0 to 1."""


def note(cfg: DictConfig) -> str:
    """What a configuration changes and why, its target, and what was published; Markdown."""
    lines = [f"**{cfg.description}**"] if cfg.description else []
    if cfg.why:
        lines.append(f"Why: {cfg.why}.")
    goals = [f"at most {cfg.budget.parameters:,} parameters"] if cfg.budget.parameters else []
    if cfg.target.val_acc is not None:
        goals.append(f"{percent(cfg.target.val_acc)} after the last epoch")
    if goals:
        lines.append(f"Target: {', '.join(goals)}.")
    if published := cfg.published:
        figures = [f"{published.parameters:,} parameters"] if "parameters" in published else []
        for key, when in (("last_val_acc", "last epoch"), ("best_val_acc", "best")):
            if key in published:
                figures.append(f"{percent(published[key])} after the {when}")
        lines.append(f"Published ({published.step}, one run): {', '.join(figures)}.")
    return "\n\n".join(lines)


def card(cfg: DictConfig, seed: Run, model: str, verdict: str) -> str:
    """What a model is, what it costs, how sure its accuracy is, and what it takes.

    Args:
        seed: the run that it is of.
        model: its id.
        verdict: over all seeds.
    """
    data, limits = cfg.data, cfg.budget.items()
    costs = [
        f"{seed.data.metrics[key]:,.0f} {key}{f' (at most {limit:,})' if limit else ''}"
        for key, limit in limits
    ]
    shape = (data.in_channels, data.image_size, data.image_size)
    lines = [
        f"A network that tells {data.num_classes} classes of images apart: {seed.info.run_name}.",
        note(cfg),
        f"Accuracy: {verdict}.",
        f"Cost: {', '.join(costs)}.",
        f"Images: digest `{seed.data.tags[DIGEST]}`.",
        USE.format(
            model=model, shape=f"(N, {', '.join(map(str, shape))})", pixels=math.prod(shape)
        ),
    ]
    return "\n\n".join(filter(None, lines))
