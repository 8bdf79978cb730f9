"""The version of the extension, read by ``setup.py`` and written into every dump."""

__version__ = "0.1.0"
