"""The space of a search: the keys that vary, their values, and which of these can be trained."""

import math
from functools import cached_property
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler
from optuna.study import create_study
from optuna.trial import create_trial

from experiments.budget.cost import cost_of
from experiments.budget.network import check_trainable
from experiments.cli.config import RESULT, build, flatten, leaves
from experiments.cli.errors import UserError, one_line
from experiments.cli.keys import kind, unknown
from experiments.data.digest import AFTER_READING

RANGE = {"low", "high", "step", "log"}
NOT_FOUND = object()
FIXED = ("seed", "trainer.max_epochs")  # of the rounds
DRAWS = 100  # networks that are tried before a configuration is refused: seconds

Params = dict[str, Any]  # values by dotted key


class Space:
    """Values for some keys of the configuration `cfg`: in `space`, by dotted key, a list of
    choices, or low and high, with step or log if wanted (whole numbers if both are whole); null:
    the key does not vary. UserError: a key does not exist, or its values are invalid."""

    def __init__(self, cfg: DictConfig, space: DictConfig) -> None:
        self.cfg, entries = cfg, leaves(OmegaConf.to_container(space, resolve=True), ends=RANGE)
        self.sizes: dict[str, int] = {}  # the parameters of values that were tried out
        self.texts: dict[str, str] = {}  # see `network`
        given = {key: values for key, values in dict(entries).items() if values not in (None, {})}
        self.distributions = {key: distribution(key, values) for key, values in given.items()}
        if not self.distributions:
            raise UserError("space is empty; choose one, such as search=blocks")
        for key in self.distributions:
            if OmegaConf.select(cfg, key, default=NOT_FOUND) is NOT_FOUND:
                raise UserError(f"space: {unknown(key, flatten(cfg))}")
            images = key.startswith("data.") and key not in AFTER_READING
            if images or key in FIXED or kind(key) is not RESULT:
                raise UserError(f"space.{key}: must be the same for all networks; leave it out")

    @cached_property
    def own(self) -> Params:
        """The values of the configuration itself."""
        return {key: OmegaConf.select(self.cfg, key) for key in self.distributions}

    @cached_property
    def start(self) -> Params | None:
        """The configuration's own values, for a first trial; None where they are infeasible, such
        as layers that do not fit a smaller image, or outside the space. UserError: even the
        smallest network found is over the budget, or none of `DRAWS` can be trained either."""
        if infeasible := self.why_infeasible(self.own):
            smallest = self.smallest(self.own)
            if not self.too_large(smallest) and self.why_infeasible(smallest):
                study = create_study(sampler=RandomSampler(seed=0))
                draws = [study.ask(self.distributions).params for _ in range(DRAWS)]
                if not all(map(self.why_infeasible, draws)):
                    return None
                smallest = self.smallest(min(draws, key=self.share))
                if not self.too_large(smallest):
                    raise UserError(infeasible)
            if self.too_large(smallest):
                reason = self.why_infeasible(smallest)
                raise UserError(f"space: even the smallest network found in it is {reason}")
            return None
        try:
            create_trial(params=self.own, distributions=self.distributions, value=0)
        except ValueError:
            return None
        return self.own

    def smallest(self, params: Params) -> Params:
        """A small network: each key in turn gets the value that costs the least."""
        for key in filter(lambda key: key.startswith("model."), self.distributions):
            one = self.distributions[key]
            values = getattr(one, "choices", None) or (one.low, one.high)
            params = min(({**params, key: value} for value in values), key=self.share)
        return params

    def share(self, params: Params) -> float:
        """The largest share of a limit of the budget that a network takes; infinite for none."""
        try:
            metrics = cost_of(self.configure(params)).metrics()
        except (UserError, OmegaConfBaseException):
            return math.inf
        limits = self.cfg.budget.items()
        return max(metrics[name] / (limit or math.inf) for name, limit in limits)

    def too_large(self, params: Params) -> bool:
        """Whether values describe a network that only the budget is against."""
        return 1 < self.share(params) < math.inf

    def configure(self, params: Params) -> DictConfig:
        """The configuration with values for all keys of the space."""
        cfg = self.cfg.copy()
        for key, value in params.items():
            OmegaConf.update(cfg, key, value)
        return cfg

    def count(self, params: Params) -> int:
        """The parameters of the network that values describe."""
        return self.sizes.get(str(params)) or cost_of(self.configure(params)).parameters

    def network(self, params: Params) -> str:
        """What values describe, as text: the same one for a factor that gives the same widths."""
        if (key := str(params)) not in self.texts:
            with torch.device("meta"):
                network = build(self.configure(params), "model")
            others = {name: each for name, each in params.items() if not name.startswith("model.")}
            self.texts[key] = f"{network} {others}"
        return self.texts[key]

    def features(self, params: Params) -> tuple[float, ...]:
        """Values as numbers from -1 to 1; one number for each choice."""
        found: list[float] = []
        for key, one in self.distributions.items():
            if isinstance(one, CategoricalDistribution):
                found += [float(params[key] == each) for each in one.choices]
            elif not one.single():
                ends = low, high, value = one.low, one.high, params[key]
                if one.log:
                    low, high, value = map(math.log, ends)
                found.append((2 * value - low - high) / (high - low))
        return tuple(found)

    def why_infeasible(self, params: Params) -> str | None:
        """Why values cannot be trained: over budget, no valid network, or refused by the
        optimizer or its schedule; None where they can."""
        try:
            self.sizes[str(params)] = check_trainable(self.configure(params)).parameters
        except (UserError, OmegaConfBaseException) as error:
            return str(error)
        return None


def distribution(key: str, values: Any) -> BaseDistribution:
    """Optuna's distribution of the values of a key."""
    try:
        choices = isinstance(values, list)
        if not choices and not (
            isinstance(values, dict) and {"low", "high"} <= values.keys() <= RANGE
        ):
            raise ValueError("give a list of choices, or low and high")
        numbers = values if choices else values.values()
        if any(isinstance(one, float) and not math.isfinite(one) for one in numbers):
            raise ValueError("every number must be finite")
        if choices:
            return CategoricalDistribution(values)
        kinds = {type(values["low"]), type(values["high"])}
        if not kinds <= {int, float}:
            raise ValueError("low and high must be numbers")
        return (IntDistribution if kinds == {int} else FloatDistribution)(**values)
    except (ValueError, TypeError) as error:
        raise UserError(f"space.{key}: {one_line(error)}; it is {values}") from error
