import optuna
import pytest
from conftest import composing
from hydra import compose
from omegaconf import OmegaConf

from experiments.cli.errors import UserError
from experiments.study.space import Space
from experiments.study.storage import begin_or_resume


def resume(study: optuna.Study, *overrides: str, digest: str = "some") -> None:
    with composing():
        cfg = compose("search", overrides=["search=plain", *overrides])
        space = Space(OmegaConf.masked_copy(cfg, list(compose("train"))), cfg.space)
    begin_or_resume(study, cfg, space, digest)


def test_a_study_keeps_its_settings():
    study = optuna.create_study(study_name="night")
    resume(study)
    assert study.ask().suggest_int("model.widths.0", 4, 12) == 8
    resume(study, "trials=7", "data.root=/data", "checkpoints.root=/checkpoints")
    assert len(study.get_trials()) == 1
    for changed, complaint in (
        ("trainer.max_epochs=3", "trainer.max_epochs=2, which is now 3"),
        ("budget.parameters=4000", "budget.parameters=5000, which is now 4000"),
        ("final.seeds=9", "final.seeds=20, which is now 9"),
        ("smallest_above=0.9", "smallest_above=None, which is now 0.9"),
        ("+space.model.head=[1]", r"space.model.head=Cat.*\(1, 3\)\), which is now Cat.*\(1,\)"),
    ):
        with pytest.raises(UserError, match=f"the study night was begun with {complaint}"):
            resume(study, changed)
    with pytest.raises(UserError, match="begun with images=some, which is now others"):
        resume(study, digest="others")


def test_a_study_may_get_larger_until_it_has_all_its_finalists():
    study = optuna.create_study(study_name="night")
    resume(study, "trials=20", "full=8")
    study.set_user_attr("finalists", [3, 4])
    resume(study, "trials=30", "full=8")
    study.set_user_attr("finalists", [3, 4, 11])
    resume(study, "trials=30", "full=8")
    resume(study, "trials=20", "full=8")
    for larger in ("trials=31,full=8", "trials=20,full=9"):
        with pytest.raises(UserError, match=r"night has all its finalists, which .*, before .*can"):
            resume(study, *larger.split(","))
