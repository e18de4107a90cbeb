"""YAML text to a checked config. Imports no JAX.

``load`` is the way in. ``reader`` knows places, ``overrides`` the command line, ``blocks`` the user's composites,
``schema`` the fields; ``check`` finds the place of what is wrong, ``wording`` its words, ``suggest`` the line to write;
``classes`` tells whose fields stand where; ``writer`` writes what ``reader`` reads back, ``json_schema`` what editors
check by.
"""
