"""Keys stay in the environment: what is refused, and what is recorded of what comes from there."""

import json
import os

import hydra
import pytest

from mini_lima import text
from mini_lima.config import entry
from mini_lima.config.mistakes import Refused
from mini_lima.errors import UserError
from mini_lima.experiment.callback import AroundAllCells
from tests.composing import CONF, compose, configured

SECRET = "hunter2-Z9k4"
LOCAL = ("teacher=local", "teacher.model=m")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv(text.HIDE, "")  # is taken back afterwards
    monkeypatch.setenv("SOME_API_KEY", "sk-typed-0123")
    monkeypatch.setenv("GATEWAY", SECRET)
    monkeypatch.setenv("NODE", "gpu-node-17")
    monkeypatch.setenv("WHO", "alice")
    monkeypatch.setenv("STAGE", "production")
    monkeypatch.setenv("WHO_PAYS", "sk-pays-0123")


@pytest.mark.parametrize(
    "override",
    [
        f"teacher.base_url=http://user:{SECRET}@host/v1",
        f"teacher.base_url=http://{SECRET}@host/v1",
        f"teacher.base_url='http://host/v1?api_key={SECRET}'",
        f"teacher.base_url='https://host/v1?x={SECRET}'",
        f"teacher.base_url='host:{SECRET}'",
        f"teacher.base_url='http://host:{SECRET}/v1'",
        f"teacher.base_url='http://{SECRET} x/v1'",
        "teacher.base_url='http://[::1'",
        "teacher.base_url=http://host:65536/v1",
        f"teacher.base_url=http://{'a' * 64}.example/v1",
        "teacher.base_url='http://${oc.env:GATEWAY}:pw@host/v1'",
        "teacher.base_url=http://host/sk-typed-0123/v1",
        f"teacher.api_key_env={SECRET}",
        "teacher.api_key_env=gsk_0123456789abcdefGHIJKL",
        "teacher.api_key_env='${oc.env:SOME_API_KEY}'",
        f"evaluation.engine.base_url=http://u:{SECRET}@host/v1",
        f"evaluation.engine.api_key_env={SECRET}",
        f"evaluation.engine.command='serve --proxy http://u:{SECRET}@host'",
        f"data.seeds='https://host/seeds.jsonl?X-Amz-Signature={SECRET}'",
        f"evaluation.reference_outputs='https://u:{SECRET}@host/f.json'",
        "+teacher.extra_body.header='${oc.env:GATEWAY}'",
        f"+teacher.extra_body.options.api-key={SECRET}",
    ],
)
def test_what_would_be_written_into_records_is_refused_and_not_repeated(override):
    with pytest.raises(UserError) as refused:
        configured(*LOCAL, override)
    assert override.partition("=")[0].lstrip("+") in str(refused.value)
    assert "\n" not in str(refused.value)
    for secret in (SECRET, "sk-typed-0123", "gsk_0123"):
        assert secret not in str(refused.value)


def test_names_of_variables_and_addresses_as_people_have_them_are_taken(monkeypatch):
    monkeypatch.setenv("my_2nd_token_for_gateway_xyz123", "x")
    for name in ("OPENAI_API_KEY", "key", "TEAM_2_LLM_TOKEN", "my_2nd_token_for_gateway_xyz123"):
        assert configured(*LOCAL, f"teacher.api_key_env={name}").teacher.api_key_env == name
    for url in ("http://[::1]:8000/v1", "https://bücher.example/v1", "http://a_b:1/", "http://h"):
        assert configured(*LOCAL, f"teacher.base_url='{url}'").teacher.base_url == url


def test_what_comes_from_the_environment_is_recorded_as_it_was_written():
    composed = compose(
        *LOCAL,
        "teacher.base_url='http://${oc.env:NODE}:80/${oc.env:STAGE}/${oc.env:GATEWAY}/v1'",
        "teacher.endpoint='${teacher.base_url}'",
        "teacher.concurrency='${oc.env:NUMBER,3}'",
        "annotator=local",
        "annotator.chat.model='${oc.env:WHO}'",
        "annotator.chat.base_url=http://h/v1",
        "annotator.chat.api_key_env=WHO_PAYS",
        "tracking.group='${oc.env:WHO}'",
    )
    config = entry.to_config(composed)
    assert config.teacher.base_url == f"http://gpu-node-17:80/production/{SECRET}/v1"
    recorded = entry.resolved(composed)
    assert (
        recorded["teacher"]["base_url"]
        == "http://${oc.env:NODE}:80/${oc.env:STAGE}/${oc.env:GATEWAY}/v1"
    )
    assert recorded["teacher"]["endpoint"] == "${teacher.base_url}"
    assert recorded["teacher"]["concurrency"] == 3
    assert recorded["annotator"]["chat"]["model"] == "${oc.env:WHO}"
    assert recorded["tracking"]["group"] == "alice", "W&B is told it, and finds runs by it"
    assert SECRET not in json.dumps(recorded)
    assert configured("+teacher.extra_body.skip_special_tokens=true").teacher.extra_body
    hidden = os.environ[text.HIDE].split(",")
    assert {"GATEWAY", "WHO_PAYS"} <= {*hidden}
    assert not {"WHO", "NODE", "STAGE"} & {*hidden}, "names, hosts and words are no secrets"


@pytest.mark.parametrize(
    "override",
    [
        "hydra.run.dir='out/${oc.env:SOME_API_KEY}'",
        "hydra.run.dir=out/sk-typed-0123",
        "hydra.job.name=sk-typed-0123",
        "+hydra.job.env_set.OPENAI_API_KEY=sk-other-0123",
        "teacher.model=sk-typed-0123",
    ],
)
def test_hydra_s_own_records_are_never_made_with_a_secret_in_them(override):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("config", [override], return_hydra_config=True)
        with pytest.raises(Refused) as refused:
            AroundAllCells().on_run_start(composed)
    assert isinstance(refused.value.cause, UserError)
    assert "sk-" not in str(refused.value)
