"""Whether somebody is logged in to Weights & Biases here."""

import os


def missing_login() -> str | None:
    """Return what is missing and what to do about it, or None if a key is there."""
    if os.environ.get("WANDB_API_KEY"):
        return None
    from requests.utils import get_netrc_auth

    if get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")) is not None:
        return None
    return "a Weights & Biases login: run wandb login, or set WANDB_API_KEY"
