"""The configuration as a command line composes it, without starting one."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from mini_lima.config import entry
from mini_lima.config.schema import Config

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"


def compose(*overrides: str, conf: Path = CONF) -> DictConfig:
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
    return entry.without_hydra(composed)


def configured(*overrides: str, conf: Path = CONF) -> Config:
    return entry.to_config(compose(*overrides, conf=conf))
