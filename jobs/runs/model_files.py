"""Load a published model, checked against its hashes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from recsys_core.errors import ModelFormatError
from recsys_core.query.saved_model import FILES, SavedModel, decode_model


def load_model(directory: Path) -> SavedModel:
    """The model in ``directory``, such as ``OUT/current/model``. Runs no code from it.

    Where the run's manifest lies beside the directory, the files must be those it names.

    Raises:
        InputError: not there, damaged, of another program or of a newer version.
    """
    # One look at the link: a publish in between must not mix the files of two runs.
    place = directory.resolve()
    files = {name: _read(place / name, directory) for name in FILES}
    sha256 = _read_hashes(place.parent / "manifest.json", directory)
    return open_model(files, sha256, f"--model {directory}")


def open_model(
    files: Mapping[str, bytes], sha256: Mapping[str, Any] | None, label: str
) -> SavedModel:
    """The model in these files.

    Args:
        sha256: what the run's manifest says of each file; None where there is no manifest.
        label: what the message of an error begins with.

    Raises:
        InputError: a file is missing, damaged, of another program or of a newer version.
    """
    for name in FILES:
        if name not in files:
            raise InputError(f"{label}: {name} is missing")
        if sha256 is not None and hashlib.sha256(files[name]).hexdigest() != sha256.get(name):
            raise InputError(f"{label}: {name} is damaged: not the file that was published")
    try:
        saved = decode_model(files)
    except ModelFormatError as error:
        raise InputError(f"{label}: {error}") from None
    _check_facts(saved, label)
    return saved


def _read(file: Path, directory: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"--model {directory}: {file.name} cannot be read ({error.strerror}); "
            "give the 'model' directory of a run, as in OUT/current/model"
        ) from None


def _read_hashes(manifest: Path, directory: Path) -> dict[str, Any] | None:
    if not manifest.is_file():
        return None
    try:
        return dict(json.loads(manifest.read_bytes())["model_sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"--model {directory}: {manifest.name} beside it is damaged") from None


def _check_facts(saved: SavedModel, label: str) -> None:
    """A model without a manifest beside it vouches for itself: look at what commands rely on."""
    facts = saved.facts
    rating_range = facts.get("rating_range")
    sound = {
        "rating_range": isinstance(rating_range, list)
        and len(rating_range) == 2
        and all(map(_is_number, rating_range)),
        "run_id": isinstance(facts.get("run_id"), str),
        "n_users": _is_count(facts.get("n_users")),
        "n_ratings": _is_count(facts.get("n_ratings")),
        "losses": isinstance(facts.get("losses"), list) and all(map(_is_number, facts["losses"])),
        "figures": isinstance(facts.get("figures"), dict)
        and all(map(_is_number, facts["figures"].values())),
        "rating_files": _are_texts(facts.get("rating_files")),
        "columns": isinstance(facts.get("columns"), dict)
        and facts["columns"].keys() >= {"user", "item", "rating", "timestamp", "separator"},
        "excluded_items": all(
            isinstance(item.item_id, (int, str)) and isinstance(item.title, (str, type(None)))
            for item in saved.catalog.excluded
        ),
    }
    damaged = [name for name, is_sound in sound.items() if not is_sound]
    if damaged:
        raise InputError(f"{label}: model.json is damaged: {', '.join(damaged)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
