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


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://host/runs?user=me&password=secret",
        "postgresql://me:sec/ret@host/runs",
        "postgresql://me:sec ret@host/runs",
        "https://secret@host:5000",
    ],
)
def test_every_form_of_a_password_is_refused_and_hidden(uri, monkeypatch):
    with pytest.raises(UserError, match=r"\*\*\*") as refused:
        refuse_password(OmegaConf.create({"tracking": {"uri": uri}}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for text in (str(refused.value), scrubbed(f"{uri} does not answer")):
        assert "secret" not in text
        assert "ret@" not in text


def test_a_user_without_a_password_is_accepted():
    refuse_password(OmegaConf.create({"storage": "postgresql://me@host/runs"}))
