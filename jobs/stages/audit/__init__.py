"""A staged run read back and held to what it promises, before anyone else can read it."""
