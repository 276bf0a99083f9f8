"""Where objects are: the store, its verbs, the ways to patch, deletion and garbage."""
