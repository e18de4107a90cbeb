"""YAML text to a checked config. Imports no JAX.

``load`` is the way in. ``reader`` reads YAML with places, ``overrides`` the command line, ``blocks`` writes out the
user's composites, ``schema`` lists the fields. ``problems`` turns validation errors into problems with a place,
``messages`` into text, ``suggest`` says what to write instead; ``field_lookup`` finds the class at a location of the
config. ``writer`` writes what ``reader`` reads back; ``json_schema`` is for editors.
"""
