"""Other stores of vectors, behind one promise, and the same load for each."""
