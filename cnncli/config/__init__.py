"""YAML text to a checked config. Imports no JAX.

``load`` is the way in; ``reader`` knows places, ``overrides`` the command line, ``blocks`` the user's composites,
``schema`` the fields, ``check`` the wording of what is wrong.
"""
