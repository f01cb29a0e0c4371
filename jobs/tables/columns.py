"""Every column name, once."""

USER_ID = "user_id"


ITEM_ID = "item_id"


ITEM_INDEX = "item_index"


RATING = "rating"


TIMESTAMP = "timestamp"


REASON = "reason"


RAW = "raw"


FILE = "file"


PIECE_NUMBER = "piece"


TIMES = "times"


RECENT = "recent"


SEEN = "seen"


SOURCE = "source"


SCORE = "score"


RANK = "rank"


PLACE = "place"


TITLE = "title"


MODEL_SOURCE, POPULARITY_SOURCE = "model", "popularity"
"""What made a list: the values of the column ``source``."""
