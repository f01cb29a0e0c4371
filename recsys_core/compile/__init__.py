"""Machine code: the compiler's settings, and vectors where it writes none by itself."""
