"""Configuration: gateway.toml, nginx.conf or a dict, checked and resolved to the plan the gateway process takes."""

from buchner.config.load import load, load_dict
from buchner.config.model import AppSettings, Loaded, ProcessSettings

__all__ = ["AppSettings", "Loaded", "ProcessSettings", "load", "load_dict"]
