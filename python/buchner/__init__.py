"""Buchner: a gateway for Flask and any other WSGI app."""
