"""Made-up film titles, each recognisable as its genre."""

from collections.abc import Iterator
from itertools import product

import numpy as np

RELEASE_YEARS = (1940, 1995)
"""Before the first rating of the sample: nothing is rated before it is released."""

# Per genre: what a thing is like; the thing; where it is. No thing belongs to two genres.
_WORDS: dict[str, tuple[str, str, str]] = {
    "Adventure": (
        "Lost|Golden|Forgotten|Fearless|Uncharted|Emerald|Sunken|Endless|Daring|Legendary",
        "Expedition|Treasure|Voyage|Temple|Jungle|Island|Explorer|Compass|Lagoon|Galleon",
        "of the Amazon|of the Seven Seas|of Zanzibar|on the Orinoco|of the Sahara|of Borneo",
    ),
    "Children": (
        "Little|Fuzzy|Happy|Sleepy|Brave Little|Tiny|Cuddly|Giggling|Magic|Runaway",
        "Puppy|Bunny|Teddy Bear|Duckling|Kitten|Pony|Snowman|Toy Train|Hamster|Piglet",
        "of Buttercup Farm|of Maple Lane|at the Zoo|in Toyland|of Rainbow Hill|at Grandma's",
    ),
    "Comedy": (
        "Clumsy|Reluctant|Accidental|Hopeless|Wacky|Nosy|Overdressed|Unlucky|Ridiculous|Goofy",
        "Butler|Roommate|Plumber|Mother-in-Law|Babysitter|Dentist|Waiter|Landlord|Mayor|Tourist",
        "on Vacation|of Banana Street|at the Office|in Pajamas|in the Suburbs|on a Diet",
    ),
    "Crime": (
        "Crooked|Wanted|Ruthless|Corrupt|Dirty|Cold-Blooded|Guilty|Double-Crossed|Armed|Hunted",
        "Detective|Heist|Gangster|Witness|Informant|Jewel Thief|Alibi|Mob Boss|Getaway|Bank Job",
        "of Harbor Street|of Chicago|in Cell Block Nine|of the South Side|of Alcatraz|of the Docks",
    ),
    "Fantasy": (
        "Enchanted|Crystal|Last|Mystic|Silver|Ancient|Eternal|Shining|Hidden|Moonlit",
        "Dragon|Wizard|Unicorn|Sword|Sorceress|Elf King|Amulet|Griffin|Oracle|Spellbook",
        "of Avalon|of the Northern Realm|of Eldermere|of the Elves|of the Ivory Tower|of Thornwood",
    ),
    "Horror": (
        "Haunted|Bleeding|Screaming|Rotting|Cursed|Evil|Undead|Silent|Possessed|Gruesome",
        "Cellar|Crypt|Coffin|Scarecrow|Vampire|Graveyard|Zombie|Attic|Demon|Nightmare",
        "of Blackwood Manor|of Ravenmoor|of the Asylum|in the Morgue|of Hollow Hill|of Salem",
    ),
    "Romance": (
        "Tender|Forbidden|Secret|Sweet|Stolen|Summer|Perfect|Unforgettable|First|Faithful",
        "Kiss|Valentine|Wedding|Sweetheart|Love Letter|Bride|Embrace|Honeymoon|Heart|Proposal",
        "in Paris|in Venice|of Primrose Lane|at Sunset|by the Lake|in Springtime",
    ),
    "Sci-Fi": (
        "Cosmic|Quantum|Galactic|Atomic|Robotic|Interstellar|Orbital|Alien|Cybernetic|Infinite",
        "Android|Starship|Planet|Mutation|Time Machine|Robot|Space Station|Clone|Asteroid|Invader",
        "of Proxima Nine|from Mars|of Andromeda|of Sector Zero|from the Year 3000|beyond Saturn",
    ),
    "War": (
        "Final|Fallen|Iron|Valiant|Bloody|Doomed|Unbroken|Decorated|Besieged|Heroic",
        "Battalion|Regiment|Siege|Sergeant|Bomber|Trench|Platoon|Barracks|Submarine|Bugle",
        "of Normandy|of Hill 60|of the Western Front|at Dawn|of Tobruk|of the Pacific",
    ),
    "Western": (
        "Lonesome|Dusty|Six-Gun|Wild|Rugged|Outlaw|Branded|Fastest|Sunburnt|Stubborn",
        "Sheriff|Gunslinger|Cowboy|Saloon|Stagecoach|Rustler|Cattle Drive|Posse|Stallion|Rancher",
        "of Dry Creek|of Tombstone|of the Rio Grande|of Abilene|on the Prairie|of Dodge City",
    ),
}

GENRES = tuple(_WORDS)


def iter_titles(genre: str, rng: np.random.Generator) -> Iterator[str]:
    """Endless distinct titles: the short ones in random order, the long ones, then sequels."""
    kinds, things, places = (words.split("|") for words in _WORDS[genre])
    short = [f"{a} {b}" for a, b in (*product(kinds, things), *product(things, places))]
    long = [f"{a} {b} {c}" for a, b, c in product(kinds, things, places)]
    names = [pool[i] for pool in (short, long) for i in rng.permutation(len(pool))]
    articles = rng.choice(["", ", The"], len(names))
    years = rng.integers(*RELEASE_YEARS, len(names), endpoint=True)
    part = 1
    while True:
        numeral = f" {_format_roman(part)}" if part > 1 else ""
        for name, article, year in zip(names, articles, years, strict=True):
            yield f"{name}{numeral}{article} ({min(year + 2 * (part - 1), RELEASE_YEARS[1])})"
        part += 1


def _format_roman(number: int) -> str:
    values = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
    symbols = ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I")
    numeral = ""
    for value, symbol in zip(values, symbols, strict=True):
        numeral += symbol * (number // value)
        number %= value
    return numeral
