"""How fast data is read from an object store."""
