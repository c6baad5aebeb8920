"""The supervisor: configuration, listeners, signals and processes; never on the path of a request."""
