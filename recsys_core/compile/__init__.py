"""Machine code: the compiler's policy, and vector code where LLVM writes none as good itself."""
