"""pytest plugin of the package, found through the `pytest11` entry point."""
