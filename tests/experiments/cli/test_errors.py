"""Passwords are in no message."""

import pytest
from omegaconf import OmegaConf

from experiments.cli.errors import UserError, refuse_password, scrubbed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:secret@host:5000/x", "http://me:***@host:5000/x"),
        ("of postgresql://u:s/e@cret@h/db failed", "of postgresql://u:***@h/db failed"),
        ("redis://:secret@host", "redis://:***@host"),
        ("http://host:5000/page, write to a@b", "http://host:5000/page, write to a@b"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
    ],
)
def test_a_text_is_scrubbed(text, expected):
    assert scrubbed(text) == expected


def test_a_password_has_to_come_from_the_environment(monkeypatch):
    uri = "postgresql://me:secret@host/runs"
    cfg = OmegaConf.create({"storage": uri})
    with pytest.raises(UserError, match=r"storage=postgresql://me:\*\*\*@host/runs: .*set OPTUNA"):
        refuse_password(cfg)
    monkeypatch.setenv("OPTUNA_STORAGE", uri)
    refuse_password(cfg)
