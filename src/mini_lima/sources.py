"""Where things come from: one way to write it down, and what of it enters a stage's identity.

    embedded:<name>            ships with the package
    hub:<data set>/<file>      a data set's file on the Hugging Face hub
    anything else              a path on this machine, or, for models, a hub id
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError

ASSETS = Path(__file__).parent / "assets"
SECONDS = 10.0
"""How long the hub may take to answer a question about a model."""


@dataclass(frozen=True)
class HubModel:
    """A model on the hub at one commit; the same wherever its files are kept."""

    id: str
    commit: str


def local_file(source: str) -> Path:
    """Return the path of a file that is here, or is fetched from the hub first.

    Raises:
        UserError: it does not exist, or the hub cannot be reached.
    """
    if source.startswith("hub:"):
        return _hub_file(source)
    embedded = source.startswith("embedded:")
    path = ASSETS / source.removeprefix("embedded:") if embedded else Path(source)
    if not path.exists():
        shipped = ", ".join(sorted(each.name for each in ASSETS.iterdir()))
        raise UserError(f"{source}: no such file" + (f"; embedded are {shipped}" if embedded else ""))
    return path


def model(source: str, revision: str) -> Path | HubModel:
    """Return the folder of a local or embedded model, or the commit of one on the hub.

    Raises:
        UserError: neither a folder nor a model that the hub, or its cache here, knows.
    """
    if source.startswith(("embedded:", "/", "./", "../", "~")) or Path(source).is_dir():
        return local_file(str(Path(source).expanduser()))
    return HubModel(source, _commit(source, revision))


def _commit(repository: str, revision: str) -> str:
    from huggingface_hub import HfApi, constants, file_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    reasons: Any = (HfHubHTTPError, HFValidationError, OSError)
    reason: object = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        try:
            found = HfApi().model_info(repository, revision=revision, timeout=SECONDS).sha
            assert found is not None
            return found
        except reasons as error:
            reason = str(error).strip().splitlines()[0]
    folder = file_download.repo_folder_name(repo_id=repository, repo_type="model")
    reference = Path(constants.HF_HUB_CACHE, folder, "refs", revision)
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    raise UserError(
        f"model {repository} cannot be reached ({reason}): check its name and the network, or give"
        " a local folder as model.source"
    )


def _hub_file(source: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    owner, name, file = source.removeprefix("hub:").split("/", 2)
    errors: Any = (HfHubHTTPError, HFValidationError, OSError)
    try:
        found = hf_hub_download(f"{owner}/{name}", file, repo_type="dataset", etag_timeout=SECONDS)
    except errors as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{source} cannot be fetched ({reason}): check the network, or download the file and"
            " give its path"
        ) from None
    return Path(found)
