"""Where a suite's data come from: a folder, or the hub when it can be reached."""

from pathlib import Path

from stepaudio.errors import InputError
from stepaudio.evaluation.suites.base import SuiteConfig


def data_folder(config: SuiteConfig, given: Path | None) -> Path:
    """Return the folder of a suite's data, fetched from the hub when none is given.

    Raises:
        InputError: there is no such folder, no public data set, or the hub cannot be reached.
    """
    if given is not None:
        if not given.is_dir():
            raise InputError(f"--data {given}: no such folder")
        return given.resolve()
    if not config.dataset:
        raise InputError(f"{config.name} needs data: give a folder with --data (see evals/README.md)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = list(config.dataset_files) or None
        return Path(snapshot_download(config.dataset, repo_type="dataset", allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{config.name}: cannot fetch {config.dataset} ({reason}); give a folder with --data"
        ) from None
