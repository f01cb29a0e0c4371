"""Load a published model from a directory, checked against its hashes. No Spark."""

import hashlib
import json
from pathlib import Path

from jobs.errors import InputError
from recsys_core.errors import ModelFormatError
from recsys_core.model_format import FILES, SavedModel, decode_model


def load_model(directory: Path) -> SavedModel:
    """The model in ``directory``, such as ``OUT/current/model``. Runs no code from it.

    Where the run's manifest lies beside the directory, the files must be those it names.

    Raises:
        InputError: not there, damaged, of another program or of a newer version.
    """
    # One look at the link: a publish in between must not mix the files of two runs.
    place = directory.resolve()
    files = {name: _read(place / name, directory) for name in FILES}
    _check_manifest(place.parent / "manifest.json", files, directory)
    try:
        return decode_model(files)
    except ModelFormatError as error:
        raise InputError(f"--model {directory}: {error}") from None


def _read(file: Path, directory: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"--model {directory}: {file.name} cannot be read ({error.strerror}); "
            "give the 'model' directory of a run, as in OUT/current/model"
        ) from None


def _check_manifest(manifest: Path, files: dict[str, bytes], directory: Path) -> None:
    if not manifest.is_file():
        return
    try:
        expected = json.loads(manifest.read_bytes())["model_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--model {directory}: {manifest.name} beside it is damaged") from None
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != expected.get(name):
            raise InputError(
                f"--model {directory}: {name} is damaged: not the file that was published"
            )
