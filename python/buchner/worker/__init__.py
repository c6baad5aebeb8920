"""The program that runs in a worker process: imports the app, then serves the control socket; slots are threads."""
