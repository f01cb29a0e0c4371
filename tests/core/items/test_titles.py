import pytest

from recsys_core.items.titles import TitleIndex, normalize_title

TITLES = [
    "Toy Story (1995)",
    "Matrix, The (1999)",
    "Sabrina (1954)",
    "Sabrina (1995)",
    "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    "Misérables, Les (1995)",
    None,
    "Heat",
    "HEAT",
    "Bug's Life, A (1998)",
    "2012 (2009)",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Toy Story (1995)", [0]),
        ("toy  story", [0]),
        ("The Matrix", [1]),
        ("the matrix (1999)", [1]),
        ("Matrix", [1]),
        ("MATRIX, THE", [1]),
        ("Sabrina (1995)", [3]),
        ("sabrina", [2, 3]),
        ("les miserables", [5]),
        ("Heat", [7]),
        ("heat", [7, 8]),
        ("a bug's life", [9]),
        ("2012", [10]),
        ("2012 (2009)", [10]),
        ("matrix (1999)", [1]),
        ("Toy Story (1996)", []),
        ("Matrix (2000)", []),
        ("Nowhere", []),
        ("", []),
    ],
)
def test_a_title_is_found_as_people_type_it(text: str, expected: list[int]) -> None:
    assert TitleIndex(TITLES).find(text) == expected


def test_normalizing_twice_changes_nothing() -> None:
    for title in filter(None, TITLES):
        assert normalize_title(normalize_title(title)) == normalize_title(title)
