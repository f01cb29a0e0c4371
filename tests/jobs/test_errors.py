"""Exit codes are said once, and every failure has one of them."""

from jobs.errors import EXIT_CODES, PUBLISHED, JobError
from jobs.process.stop import Stopped


def list_failures(base: type[JobError] = JobError) -> list[type[JobError]]:
    return [base, *(failure for inner in base.__subclasses__() for failure in list_failures(inner))]


def test_every_code_is_there_once_and_means_something() -> None:
    assert len({ending.code for ending in EXIT_CODES}) == len(EXIT_CODES)
    assert all(ending.meaning and ending.current for ending in EXIT_CODES)


def test_every_failure_has_a_code_of_the_list_and_every_code_a_failure() -> None:
    codes = {failure.exit_code for failure in (*list_failures(), Stopped)}
    assert codes == {ending.code for ending in EXIT_CODES} - {PUBLISHED.code}


def test_only_success_moves_what_readers_see() -> None:
    assert [ending.code for ending in EXIT_CODES if "unchanged" not in ending.current] == [0]
    assert Stopped.exit_code == 143
